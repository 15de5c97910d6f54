"""What the cache holds, and its repair."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ewmalab.errors import CorruptPartitionError, FeedError
from ewmalab.market.cache import Cache
from ewmalab.market.feeds.base import Feed
from ewmalab.market.fetch import fetch_missing
from ewmalab.market.ranges import union
from ewmalab.times import DAY, MINUTE, day_start


@dataclass(frozen=True, slots=True)
class CachedAsset:
    """The cached bars of an asset.

    Attributes
    ----------
    feed, asset : str
    begin, end : int
        Of the fetched range, seconds since 1970-01-01 UTC.
    days, final_days : int
        Partitions; those of days that were over when they were written.
    bars, missing_minutes : int
    holes : int
        Ranges within that were never fetched.
    synthetic : bool
    """

    feed: str
    asset: str
    begin: int
    end: int
    days: int
    final_days: int
    bars: int
    missing_minutes: int
    holes: int
    synthetic: bool


@dataclass(frozen=True, slots=True)
class Repair:
    """What was repaired of an asset's bars.

    Attributes
    ----------
    feed, asset : str
    done : tuple of str
        What was done, a line each.
    refetched : int
        Bars.
    error : str or None
        Why bars that were moved aside could not be fetched again.
    """

    feed: str
    asset: str
    done: tuple[str, ...]
    refetched: int = 0
    error: str | None = None


def list_cached(cache: Cache, feed: str | None = None) -> tuple[list[CachedAsset], list[str]]:
    """Return what is cached, of all feeds or of one, in name order; and what is damaged, a line each."""
    out, damaged = [], []
    for name, asset in cache.assets():
        if feed and name != feed:
            continue
        try:
            days = cache.days(name, asset).values()
        except CorruptPartitionError as error:
            damaged.append(f"{name} {asset} is not listed: {error}")
            continue
        if not days:
            continue
        covered, bars = union(r for entry in days for r in entry.covered), sum(entry.rows for entry in days)
        out.append(
            CachedAsset(
                name,
                asset,
                begin=covered[0][0],
                end=covered[-1][1],
                days=len(days),
                final_days=sum(entry.final for entry in days),
                bars=bars,
                missing_minutes=sum(b - a for a, b in covered) // MINUTE - bars,
                holes=len(covered) - 1,
                synthetic=any(entry.synthetic for entry in days),
            )
        )
    return out, damaged


def repair_cache(cache: Cache, make_feed: Callable[[str], Feed] | None, *, now: int) -> list[Repair]:
    """Move damaged partitions aside, and fetch again what was moved aside.

    Parameters
    ----------
    cache : Cache
    make_feed : callable, optional
        Returns the feed of a name; without it nothing is fetched.
    now : int
        The present.
    """
    out = []
    for feed, asset in cache.assets():
        done = tuple(cache.repair(feed, asset))
        if not done:
            continue
        lost = [day_start(line.split(":")[0]) for line in done if "moved aside" in line]
        bars, error = 0, None
        if make_feed is not None:
            try:
                for day in lost:
                    bars += fetch_missing(cache, make_feed(feed), asset, day, day + DAY, now=now).bars
            except (FeedError, ValueError) as failure:
                error = f"not fetched again: {failure}"
        out.append(Repair(feed, asset, done, bars, error))
    return out
