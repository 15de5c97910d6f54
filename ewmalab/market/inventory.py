"""List what the cache holds, and repair it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ewmalab.errors import CorruptPartitionError, FeedError
from ewmalab.market.cache import Cache
from ewmalab.market.feeds.base import Feed
from ewmalab.market.fetch import fetch_missing
from ewmalab.market.quality import AsideBar
from ewmalab.market.quality.aside import count_reasons, read_aside
from ewmalab.market.ranges import union
from ewmalab.times import DAY, MINUTE, day_start


@dataclass(frozen=True, slots=True)
class CachedAsset:
    """The cached bars of an asset.

    Attributes
    ----------
    feed, asset : str
    begin, end : int
        Ends of the fetched range, seconds since 1970-01-01 UTC.
    days, final_days : int
        Partitions, and those that cover their whole day.
    bars, missing_minutes : int
    holes : int
        Ranges between `begin` and `end` that were never fetched.
    synthetic : bool
    set_aside : dict of str to int
        Wrong bars that were set aside and are still missing, by reason.
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
    set_aside: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SetAside:
    """The wrong bars of an asset that were set aside and are still missing."""

    feed: str
    asset: str
    bars: tuple[AsideBar, ...]


@dataclass(frozen=True, slots=True)
class Repair:
    """The repair of an asset's bars.

    Attributes
    ----------
    feed, asset : str
    done : tuple of str
        One line per action.
    refetched : int
        Number of bars fetched again.
    error : str or None
        Why bars moved to quarantine could not be fetched again.
    """

    feed: str
    asset: str
    done: tuple[str, ...]
    refetched: int = 0
    error: str | None = None


def list_cached(cache: Cache, feed: str | None = None) -> tuple[list[CachedAsset], list[str]]:
    """Return the cached assets of all feeds or of one, in name order, and one line per damaged asset."""
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
                set_aside=count_reasons(read_aside(cache, name, asset)),
            )
        )
    return out, damaged


def list_aside(cache: Cache, feed: str | None = None, asset: str | None = None) -> list[SetAside]:
    """Return what was set aside, of all feeds and assets or of one."""
    names = [name for name in cache.assets() if feed in (None, name[0]) and asset in (None, name[1])]
    found = [SetAside(*name, tuple(read_aside(cache, *name))) for name in names]
    return [one for one in found if one.bars]


def repair_cache(cache: Cache, make_feed: Callable[[str], Feed] | None, *, now: int) -> list[Repair]:
    """Move damaged partitions to quarantine, and fetch their days again.

    Parameters
    ----------
    cache : Cache
    make_feed : callable, optional
        Returns the feed of a name; without it nothing is fetched.
    now : int
        Current time, seconds since 1970-01-01 UTC.
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
