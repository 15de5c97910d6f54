"""Adjust the cached bars of an asset for a split."""

from __future__ import annotations

from collections.abc import Iterable
from math import log

import numpy as np

from ewmalab.market.bars import Bars
from ewmalab.market.cache import Cache
from ewmalab.market.partition import Provenance
from ewmalab.market.quality.sift import adjust
from ewmalab.market.quality.splits import PriceSplit
from ewmalab.market.ranges import intersect
from ewmalab.times import day_start


def adjust_cached(cache: Cache, feed: str, asset: str, splits: Iterable[PriceSplit], now: int, fresh: Bars) -> None:
    """Put the cached prices before splits in the units after them, unless an earlier import has.

    Parameters
    ----------
    cache : Cache
    feed, asset : str
    splits : iterable of PriceSplit
    now : int
        Current time, seconds since 1970-01-01 UTC.
    fresh : Bars
        New bars in the units after the splits, by which is told whether the cached ones have these already.
    """
    for split in splits:
        days = cache.days(feed, asset, 0, split.at)
        known = [start for day, entry in days.items() if entry.rows and (start := day_start(day)) < split.at]
        if known and _is_adjusted(cache.read(feed, asset, known[-1], split.at), split, fresh):
            continue
        for entry in days.values():
            for start, end in intersect(entry.covered, [(0, split.at)]):
                bars = cache.read(feed, asset, start, end)
                if len(bars):
                    note = Provenance(entry.source, now, entry.synthetic)
                    cache.write(feed, asset, adjust(bars, split), [(start, end)], note, replace=True)


def _is_adjusted(cached: Bars, split: PriceSplit, fresh: Bars) -> bool:
    """Return whether cached bars before a split have the units of new ones already."""
    if not len(cached) or not len(fresh):
        return False
    near = min(int(np.searchsorted(fresh.timestamp, cached.timestamp[-1])), len(fresh) - 1)
    moved = log(cached.close[-1] / fresh.close[near])
    return abs(moved) < abs(moved - log(split.new / split.old))
