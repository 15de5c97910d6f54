"""Fitted parameters in files that are named by their content: equal names, equal forecasts."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import orjson

from ewmalab.atomic_files import write_atomic
from ewmalab.errors import ForecasterError
from ewmalab.forecast.seasonal_har import SeasonalHar
from ewmalab.rulebook import Asset
from ewmalab.times import parse_time

FORMAT = 2


def write_artifact(artifact: Mapping[str, Any], folder: Path) -> Path:
    """Write an artifact as ``seasonal-har-<digest>.json`` and return its path."""
    data = orjson.dumps(dict(artifact), option=orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    path = folder / f"seasonal-har-{_digest(data)}.json"
    write_atomic(path, data)
    return path


@lru_cache(maxsize=16)
def read_artifact(path: str) -> dict[str, Any]:
    """Return an artifact whose bytes are those that its name says.

    Raises
    ------
    ForecasterError
        If it cannot be read, is damaged, or of another format.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise ForecasterError(f"{path}: {error.strerror}; `ewmalab fit` makes an artifact of seasonal-har") from error
    if _digest(data) not in Path(path).name:
        raise ForecasterError(
            f"{path}: its content is not what its name says: fit again, or give the file its name back"
        )
    found: dict[str, Any] = orjson.loads(data)
    if found.get("format") != FORMAT:
        raise ForecasterError(f"{path}: format {found.get('format')!r}, this version reads {FORMAT}")
    return found


def seasonal_har(
    asset: Asset, artifact: str, volatility_scale: float = 1.0, shocks: str = "waves", refit: int = 0, **_fitting: Any
) -> SeasonalHar:
    """Make ``seasonal-har`` for an asset, with what was fitted for it or for its like; see `entry_for`.

    Parameters
    ----------
    asset : Asset
    artifact : str
        Path, from `write_artifact`.
    volatility_scale : float
        Factor on the fitted volatility.
    shocks : {"waves", "windows"}
    refit : int
        Whether it is fitted along the way: then there may be no fit yet, and the forecaster is one that knows nothing.

    Raises
    ------
    ForecasterError
        If there is no artifact, or it is damaged.
    """
    if not artifact:
        if refit:
            return SeasonalHar.unfitted(asset, volatility_scale)
        raise ForecasterError(
            "seasonal-har has not been fitted: `ewmalab fit`, then set seasonal_har.artifact; or --refit 1d"
        )
    found = read_artifact(artifact)
    entry, _ = entry_for(asset, found)
    if entry is None:
        return SeasonalHar.unfitted(asset, volatility_scale)
    return SeasonalHar.of(
        asset, entry, fitted_until=parse_time(found["end"]), volatility_scale=volatility_scale, shocks=shocks
    )  # fmt: skip


def entry_for(asset: Asset, artifact: Mapping[str, Any] | None) -> tuple[Mapping[str, Any] | None, str]:
    """Return the entry of an artifact that an asset takes, and what a user should know about it.

    Its own; else what the fitted assets of its class have in common; else none: no season, no curve.

    Returns
    -------
    mapping or None
    str
        Empty for its own.
    """
    name = asset.symbol
    if artifact is None:
        return None, f"{name}: nothing has been fitted yet: volatility without a season, from the last days alone"
    if name in artifact["assets"]:
        return artifact["assets"][name], ""
    if asset.asset_class in artifact["pooled"]:
        pooled = artifact["pooled"][asset.asset_class]
        return pooled, f"{name} was not fitted: it takes what {pooled['of']} of its class ({asset.asset_class}) share"
    known = ", ".join(artifact["assets"])
    return (
        None,
        f"{name}: nothing like it was fitted (only {known}): volatility without a season, from the last days alone",
    )


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]
