"""Priors: fits made in advance, which serve where an asset has no fit and towards which fits are shrunk."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Final

from ewmalab.errors import ForecasterError
from ewmalab.replay.artifacts import Artifact, read_artifact, short_name
from ewmalab.settings import LoadedSettings
from ewmalab.times import MINUTE, iso, parse_time

SHIPPED: Final = "shipped"
FOLDER: Final = Path(__file__).with_name("priors")
"""One artifact for each forecaster that has a prior; ``benchmarks/make_prior.py`` writes it."""


def prior_of(name: str, settings: LoadedSettings) -> Artifact | None:
    """Return the prior of a forecaster: that of the package, or another artifact if ``fit.prior`` names one.

    Raises
    ------
    ForecasterError
        If it cannot be read, is damaged, or has seen bars after its end.
    """
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
