"""Fits as files: numbers with their provenance, named by the digest of their content."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import orjson

from ewmalab.atomic_files import write_atomic
from ewmalab.errors import ForecasterError
from ewmalab.forecast.model import Fit
from ewmalab.forecast.protocol import Numbers
from ewmalab.market.bars import Bars
from ewmalab.times import iso, parse_time

FORMAT: Final = 4


@dataclass(frozen=True, slots=True)
class Artifact:
    """A fit with its provenance.

    Attributes
    ----------
    forecaster : str
        Name without a preset.
    fit : Fit
    feed : str
        Source of the bars.
    seen : mapping of asset to mapping
        ``bars, first, last, sha256`` of the bars that the fit saw.
    prior : str
        Digest of the prior that the fit was shrunk towards; empty: none.
    """

    forecaster: str
    fit: Fit
    feed: str
    seen: Mapping[str, Mapping[str, Any]]
    prior: str = ""


def artifact_from(
    name: str, numbers: Numbers, bars: Mapping[str, Bars], *, end: int, feed: str = "", prior: str = ""
) -> Artifact:
    """Return the artifact of a fit.

    Parameters
    ----------
    name : str
        Forecaster, without a preset.
    numbers : mapping
        What the fit returned.
    bars : mapping of asset to Bars
        What it saw.
    end : int
        Time of the fit, seconds since 1970-01-01 UTC.
    feed, prior : str
        For the record, as in `Artifact`.

    Raises
    ------
    ForecasterError
        If a number is not finite, or JSON cannot hold the numbers.
    """
    seen = {
        asset: {
            "bars": len(own),
            "first": iso(int(own.timestamp[0])),
            "last": iso(int(own.timestamp[-1])),
            "sha256": own.digest(),
        }
        for asset, own in bars.items()
        if len(own)
    }
    try:
        data = _encode(name, end, feed, seen, prior, numbers)
    except ForecasterError:
        _refuse_unfinished(name, numbers)  # says more
        raise
    if b"null" in data:
        _refuse_unfinished(name, numbers)
    return Artifact(name, Fit(end, orjson.loads(data)["numbers"], _digest(data)), feed, seen, prior)


def short_name(forecaster: str) -> str:
    """Return what the file names of a forecaster's artifacts begin with."""
    return re.sub(r"[^A-Za-z0-9-]+", "-", forecaster.rpartition(":")[2])


def write_artifact(artifact: Artifact, folder: Path) -> Path:
    """Write ``<forecaster>-<digest>.json``, named by its content, and return its path."""
    fit, short = artifact.fit, short_name(artifact.forecaster)
    data = _encode(artifact.forecaster, fit.end, artifact.feed, artifact.seen, artifact.prior, fit.numbers)
    path = folder / f"{short}-{_digest(data)}.json"
    write_atomic(path, data)
    return path


@lru_cache(maxsize=16)
def read_artifact(path: str) -> Artifact:
    """Read an artifact and check its bytes against its name.

    Raises
    ------
    ForecasterError
        If it cannot be read, is damaged, or has another format.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise ForecasterError(f"{path}: {error.strerror}; `ewmalab fit` makes an artifact") from error
    if _digest(data) not in Path(path).name:
        raise ForecasterError(
            f"{path}: its content does not match the digest in its name: fit again, or restore the file's name"
        )
    found: dict[str, Any] = orjson.loads(data)
    if found.get("format") != FORMAT:
        raise ForecasterError(f"{path}: format {found.get('format')!r}, this version reads {FORMAT}: fit again")
    fit = Fit(parse_time(found["end"]), found["numbers"], _digest(data))
    return Artifact(found["forecaster"], fit, found["feed"], found["seen"], found["prior"])


def _encode(name: str, end: int, feed: str, seen: Mapping[str, Any], prior: str, numbers: Mapping[str, Any]) -> bytes:
    whole = {
        "format": FORMAT,
        "forecaster": name,
        "end": iso(end),
        "feed": feed,
        "seen": seen,
        "prior": prior,
        "numbers": numbers,
    }
    options = orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    try:
        return orjson.dumps(whole, option=options)
    except TypeError as error:
        raise ForecasterError(f"the fit of {name} returned what JSON cannot hold: {error}") from error


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def _refuse_unfinished(name: str, numbers: object, where: str = "") -> None:
    """Refuse numbers that are not finite, which JSON would hold as null.

    Raises
    ------
    ForecasterError
    """
    if isinstance(numbers, Mapping):
        for key, value in numbers.items():
            _refuse_unfinished(name, value, f"{where}.{key}" if where else str(key))
    elif isinstance(numbers, list | tuple):
        for i, value in enumerate(numbers):
            _refuse_unfinished(name, value, f"{where}[{i}]")
    elif isinstance(numbers, float) and not math.isfinite(numbers):
        raise ForecasterError(f"the fit of {name} failed: {where} is {numbers}; check the bars: `ewmalab data list`")
