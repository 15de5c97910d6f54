"""Fitted parameters in files that are named by their content: equal names, equal forecasts."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import orjson

from ewmalab.errors import ForecasterError
from ewmalab.forecast.seasonal_har import SeasonalHar
from ewmalab.market.files import write_atomic
from ewmalab.rulebook import Asset

FORMAT = 1


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


def seasonal_har(asset: Asset, artifact: str) -> SeasonalHar:
    """Make ``seasonal-har`` for an asset; one that was not fitted takes what those of its class have in common.

    Parameters
    ----------
    asset : Asset
    artifact : str
        Path, from `write_artifact`.

    Raises
    ------
    ForecasterError
        If there is no artifact, or none of its assets is of this class.
    """
    if not artifact:
        raise ForecasterError("seasonal-har has not been fitted: `ewmalab fit`, then set seasonal_har.artifact")
    found = read_artifact(artifact)
    entry = found["assets"].get(asset.symbol) or found["pooled"].get(asset.asset_class)
    if entry is None:
        known = ", ".join(found["assets"])
        raise ForecasterError(f"{artifact} knows {known}: neither {asset.symbol} nor another {asset.asset_class}")
    return SeasonalHar.of(asset, entry)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]
