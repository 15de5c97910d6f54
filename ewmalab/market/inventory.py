"""What the cache holds: an entry per asset, with its damaged days, and the repair of these."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ewmalab.errors import BarsError, DataError, FeedError
from ewmalab.market.cache import Cache
from ewmalab.market.coverage import Coverage, coverage_of, span_of
from ewmalab.market.damage_survey import Damage, survey
from ewmalab.market.feeds.base import Feed
from ewmalab.market.fetch import fetch_missing
from ewmalab.market.quality import AsideBar
from ewmalab.market.quality.aside_record import count_reasons, read_aside
from ewmalab.times import DAY, day_start


@dataclass(frozen=True, slots=True)
class CachedAsset:
    """The cached bars of an asset.

    Attributes
    ----------
    feed, asset : str
    begin, end : int
        Ends of the fetched range, seconds since 1970-01-01 UTC; both 0 if every day is damaged.
    days, final_days : int
        Sound partitions, and those that cover their whole day.
    checked : int
        Partitions that were checked, sound or damaged.
    coverage : Coverage
        From `begin` to `end`.
    synthetic : bool
    damage : tuple of Damage
    aside : tuple of AsideBar
        Wrong bars that were set aside and are still missing.
    """

    feed: str
    asset: str
    begin: int
    end: int
    days: int
    final_days: int
    checked: int
    coverage: Coverage
    synthetic: bool
    damage: tuple[Damage, ...]
    aside: tuple[AsideBar, ...] = ()

    @property
    def set_aside(self) -> dict[str, int]:
        """Return how many bars were set aside, by reason."""
        return count_reasons(self.aside)


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
        What could not be done, and why.
    damage : tuple of Damage
        Days whose bars are not back.
    """

    feed: str
    asset: str
    done: tuple[str, ...]
    refetched: int = 0
    error: str | None = None
    damage: tuple[Damage, ...] = ()


def list_cached(
    cache: Cache,
    feed: str | None = None,
    asset: str | None = None,
    *,
    hours: Callable[[str, str], str | None] = lambda feed, asset: None,
    thorough: bool = False,
) -> list[CachedAsset]:
    """Return the cached assets, all or those of one feed or name, in name order; checks every byte.

    Parameters
    ----------
    cache : Cache
    feed, asset : str, optional
    hours : callable
        Returns the calendar of a feed's market of an asset, None if it never closes.
    thorough : bool
        Whether the bars of every day are also decoded; see `survey`.
    """
    out = []
    for name in cache.assets():
        if feed not in (None, name[0]) or asset not in (None, name[1]):
            continue
        found = survey(cache, *name, thorough=thorough)
        days = {day: entry for day, entry in found.days.items() if entry.covered}
        if not days and not found.damage:
            continue
        begin, end = span_of(days.values()) if days else (0, 0)
        out.append(
            CachedAsset(
                *name,
                begin=begin,
                end=end,
                days=len(days),
                final_days=sum(entry.final for entry in days.values()),
                checked=found.checked,
                coverage=coverage_of(cache, *name, days, (begin, end), hours(*name)),
                synthetic=any(entry.synthetic for entry in days.values()),
                damage=found.damage,
                aside=tuple(read_aside(cache, *name)),
            )
        )
    return out


def repair_cache(cache: Cache, make_feed: Callable[[str], Feed] | None, *, now: int) -> list[Repair]:
    """Move damaged partitions to quarantine, and fetch again what came from feeds.

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
        done, errors, bars = [], [], 0
        try:
            done = cache.repair(feed, asset)
        except (DataError, OSError) as failure:
            errors.append(f"not repaired: {failure}")
        damage = survey(cache, feed, asset).damage
        if make_feed is not None and not errors:
            for day in [one.day for one in damage if not one.origin.is_file]:
                try:
                    span = day_start(day), day_start(day) + DAY
                    source = make_feed(feed)
                    if source.name != feed:  # a synthetic market of other settings
                        raise FeedError(f"the settings are those of {source.name}")
                    bars += fetch_missing(cache, source, asset, *span, now=now).bars
                except (FeedError, BarsError, DataError, ValueError) as failure:
                    errors.append(f"{day} not fetched again: {failure}")
            damage = survey(cache, feed, asset).damage if damage else damage
        if done or damage or errors:
            out.append(Repair(feed, asset, tuple(done), bars, "; ".join(errors) or None, damage))
    return out
