"""What is covered: the one count of bars, of missing and closed minutes, and of holes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ewmalab.market.cache import Cache, holes_in
from ewmalab.market.merging import gaps
from ewmalab.market.partition import Partition
from ewmalab.market.ranges import Range, intersect, minutes, subtract, union
from ewmalab.market.sessions import closures
from ewmalab.times import DAY, day_start


@dataclass(frozen=True, slots=True)
class Coverage:
    """The minutes of an asset in a range, each of one kind.

    Attributes
    ----------
    bars : int
        Minutes with a bar.
    missing : tuple of ranges
        Minutes without a bar for which a source has answered, while the market was open.
    closed : tuple of ranges
        The same while the market was closed. A bar from then is a bar like others.
    holes : tuple of ranges
        Minutes that no source has answered for.
    """

    bars: int
    missing: tuple[Range, ...]
    closed: tuple[Range, ...]
    holes: tuple[Range, ...]


def coverage_of(
    cache: Cache, feed: str, asset: str, days: dict[str, Partition], span: Range, hours: str | None
) -> Coverage:
    """Count the minutes of an asset; bars are read only on days with gaps.

    Parameters
    ----------
    cache : Cache
    feed, asset : str
    days : dict of date to Partition
        The sound days that overlap `span`.
    span : (int, int)
        Range of labels ``[from, to)``, seconds since 1970-01-01 UTC.
    hours : str or None
        The market's calendar, see `ewmalab.market.sessions`; None if it never closes.
    """
    silent = []
    for day, entry in days.items():
        if entry.gap_minutes:
            bars = cache.read(feed, asset, start := day_start(day), start + DAY)
            silent += intersect(gaps(entry.covered, bars), [span])
    covered = intersect((part for entry in days.values() for part in entry.covered), [span])
    closed = intersect(silent, closures(hours, *span)) if hours and silent else []
    return Coverage(
        minutes(covered) - minutes(silent),
        tuple(subtract(silent, closed)),
        tuple(closed),
        tuple(holes_in(days.values(), *span)),
    )


def span_of(days: Iterable[Partition]) -> Range:
    """Return the first and the last end of what days cover."""
    covered = union(part for entry in days for part in entry.covered)
    return covered[0][0], covered[-1][1]
