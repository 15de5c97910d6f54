"""Adjust the cached bars of an asset for a split."""

from __future__ import annotations

from collections.abc import Iterable

from ewmalab.market.cache import Cache
from ewmalab.market.partition import Provenance
from ewmalab.market.quality.sift import adjust
from ewmalab.market.quality.splits import PriceSplit
from ewmalab.market.ranges import intersect


def adjust_cached(cache: Cache, feed: str, asset: str, splits: Iterable[PriceSplit], now: int) -> None:
    """Put the cached prices before splits in the units after them.

    Parameters
    ----------
    cache : Cache
    feed, asset : str
    splits : iterable of PriceSplit
    now : int
        Current time, seconds since 1970-01-01 UTC.
    """
    for split in splits:
        for entry in cache.days(feed, asset, 0, split.at).values():
            for start, end in intersect(entry.covered, [(0, split.at)]):
                bars = cache.read(feed, asset, start, end)
                if len(bars):
                    note = Provenance(entry.source, now, entry.synthetic)
                    cache.write(feed, asset, adjust(bars, split), [(start, end)], note, replace=True)
