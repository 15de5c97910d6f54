"""Give prompts the paths that validators published for them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np

from ewmalab.market.field.series import Series
from ewmalab.market.field.store import FieldStore
from ewmalab.replay.schedule import Scheduled


def with_published(
    items: Sequence[Scheduled], store: FieldStore, assets: Collection[str] | None = None
) -> list[Scheduled]:
    """Return prompts with their published paths, as far as the cache has them.

    Parameters
    ----------
    items : sequence of Scheduled
    store : FieldStore
    assets : collection of str, optional
        Only the prompts of these.
    """
    chosen = [item for item in items if assets is None or item.prompt.asset in assets]
    if not chosen:
        return list(items)
    starts = [item.prompt.start_time for item in chosen]
    paths = {
        (asset, length): published_paths(store, asset, length, (min(starts), max(starts) + 1))
        for asset, length in {(item.prompt.asset, item.prompt.time_length) for item in chosen}
    }
    out = []
    for item in items:
        found = paths.get((item.prompt.asset, item.prompt.time_length), {}).get(item.prompt.start_time, b"")
        out.append(replace(item, published=found) if len(found) == 8 * (item.prompt.steps + 1) else item)
    return out


def published_paths(store: FieldStore, asset: str, time_length: int, span: tuple[int, int]) -> dict[int, bytes]:
    """Return published paths by start time, float64 with NaN where a price is missing.

    Parameters
    ----------
    store : FieldStore
    asset : str
    time_length : int
        Seconds.
    span : (int, int)
        Range of start times, seconds since 1970-01-01 UTC.
    """
    table = store.read(Series("paths", asset, time_length), *span)
    starts, paths = table["start_time"].to_pylist(), table["prices"].to_pylist()
    return {
        start: np.array(prices, np.float64).tobytes() for start, prices in zip(starts, paths, strict=True) if prices
    }
