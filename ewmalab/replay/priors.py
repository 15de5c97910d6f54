"""Priors: fits made in advance, which serve where an asset has no fit and towards which fits are shrunk."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Final

import orjson

from ewmalab.errors import ForecasterError
from ewmalab.forecast.load import members_of
from ewmalab.forecast.model import Fit
from ewmalab.replay.artifacts import Artifact, read_artifact, short_name
from ewmalab.settings import LoadedSettings
from ewmalab.times import MINUTE, iso, parse_time

SHIPPED: Final = "shipped"
FOLDER: Final = Path(__file__).with_name("priors")
"""One artifact for each forecaster that has a prior; ``benchmarks/make_prior.py`` writes it."""


def prior_of(name: str, settings: LoadedSettings) -> Artifact | None:
    """Return the prior of a forecaster: that of the package, or another artifact if ``fit.prior`` names one.

    A blend without a prior of its own has those of its members.

    Raises
    ------
    ForecasterError
        If it cannot be read, is damaged, or has seen bars after its end.
    """
    if found := _own_prior(name, settings):
        return found
    return joined(name, {member: prior_of(member, settings) for member in members_of(name, settings)})


def _own_prior(name: str, settings: LoadedSettings) -> Artifact | None:
    base, chosen = name.partition("@")[0], settings.values.fit.prior
    path = _shipped(base) if chosen == SHIPPED else chosen
    found = read_artifact(path) if path else None
    if found is None or found.forecaster != base:
        return None
    last = max((parse_time(seen["last"]) for seen in found.seen.values()), default=found.fit.end - MINUTE)
    if last + MINUTE > found.fit.end:
        raise ForecasterError(
            f"{path}: it saw bars up to {iso(last)}, after its end, {iso(found.fit.end)}; make it again"
        )
    return found


def joined(name: str, parts: Mapping[str, Artifact | None]) -> Artifact | None:
    """Return the fits of a forecaster's members as one, which has seen all that they have seen.

    Parameters
    ----------
    name : str
        The forecaster that is made of them.
    parts : mapping of member to Artifact or None

    Returns
    -------
    Artifact or None
        None if no member has a fit.
    """
    found = {member: part for member, part in parts.items() if part}
    if not found:
        return None
    numbers = {member: part.fit.numbers for member, part in found.items()}
    digests = orjson.dumps([(member, part.fit.digest) for member, part in found.items()])
    end = max(part.fit.end for part in found.values())
    feeds = dict.fromkeys(feed for part in found.values() for feed in part.feed.split(", "))
    fit = Fit(end, numbers, hashlib.sha256(digests).hexdigest()[:16])
    seen = {asset: bars for part in found.values() for asset, bars in part.seen.items()}
    return Artifact(name.partition("@")[0], fit, ", ".join(feeds), seen)


def prior_at(name: str, settings: LoadedSettings, when: int) -> Artifact | None:
    """Return the prior of a forecaster, unless it has seen bars that close after a time (seconds since 1970)."""
    found = prior_of(name, settings)
    return found if found and found.fit.end <= when else None


@lru_cache(maxsize=16)
def _shipped(forecaster: str) -> str:
    paths = sorted(FOLDER.glob(f"{short_name(forecaster)}-*.json"))
    if len(paths) > 1:
        raise ForecasterError(f"{FOLDER} holds {len(paths)} priors of {forecaster}: keep one, or install again")
    return str(paths[0]) if paths else ""
