"""Merge bars into a day that the cache has: what is kept, what is replaced, and what is still to be asked."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ewmalab.errors import DataError
from ewmalab.market import partition
from ewmalab.market.bars import Bars
from ewmalab.market.partition import Partition, Provenance
from ewmalab.market.quality.sift import select
from ewmalab.market.ranges import Range, runs, subtract, union
from ewmalab.times import MINUTE


def new_day(name: str, bars: Bars, covered: list[Range], provenance: Provenance) -> bytes:
    """Return the file of a day that the cache lacks; see `partition.encode`."""
    return partition.encode(name, bars, covered, provenance, provisional=_unsettled(bars, provenance))


def merged_day(
    name: str,
    entry: Partition,
    known: Bars,
    fresh: Bars,
    covered: list[Range],
    provenance: Provenance,
    *,
    replace: bool,
) -> bytes | None:
    """Return a day's new file, None if nothing changes.

    Parameters
    ----------
    name : str
        ``feed/asset/YYYY-MM-DD``.
    entry, known
        Description and bars of the cached file.
    fresh, covered, provenance
        New bars of that day, as in `Cache.write`. They replace provisional bars, and give a range to bars without one.
    replace : bool
        Whether they replace other bars that differ.

    Raises
    ------
    DataError
        If bars differ and may not be replaced.
    """
    settled = ~np.isin(fresh.timestamp, entry.provisional)
    differs = known.disagreements(fresh, stated=True) & settled
    if differs.any() and not replace:
        raise DataError(
            f"{name.replace('/', ' ')}: {int(differs.sum())} bar(s) differ from the cached ones (first: timestamp "
            f"{int(fresh.timestamp[differs][0])}); nothing was written. Pass --replace to prefer the new ones"
        )
    if not replace:  # closes alone take no range away
        fresh = select(fresh, ~(settled & ~fresh.has_range & known.holds(fresh.timestamp)))
    merged, ranges = known.union(fresh), union([*entry.covered, *covered])
    asked_at = _asked_at(entry, known, fresh, covered, provenance)
    waiting = [label for label in entry.provisional if not _inside(label, covered)]
    provisional = tuple(sorted({*waiting, *_unsettled(fresh, provenance)}))
    same = merged.digest() == entry.digest
    if same and ranges == list(entry.covered) and (asked_at, provisional) == (entry.asked_at, entry.provisional):
        return None
    if same:
        provenance = Provenance(entry.source, entry.fetched_at, entry.synthetic)
    late = entry.late
    if entry.gap_minutes:
        came = [int(t) for t in np.setdiff1d(fresh.timestamp, known.timestamp) if _inside(int(t), entry.covered)]
        late = (*late, *((label, provenance.fetched_at) for label in came))
    return partition.encode(name, merged, ranges, provenance, asked_at=asked_at, provisional=provisional, late=late)


def gaps(covered: list[Range] | tuple[Range, ...], bars: Bars) -> list[Range]:
    """Return the covered minutes without a bar."""
    return subtract(covered, runs(bars.timestamp))


def _asked_at(entry: Partition, known: Bars, fresh: Bars, covered: list[Range], provenance: Provenance) -> int:
    """Return when a feed was last asked for all minutes without a bar."""
    times = []
    if entry.gap_minutes and subtract(gaps(entry.covered, known), covered):
        times.append(entry.asked_at)
    if silent := gaps(covered, known.union(fresh)):
        before = 0 if subtract(silent, entry.covered) else entry.asked_at
        times.append(max(before, provenance.asked_at))
    return min(times, default=entry.asked_at)


def _inside(label: int, ranges: Iterable[Range]) -> bool:
    return any(a <= label < b for a, b in ranges)


def _unsettled(bars: Bars, provenance: Provenance) -> tuple[int, ...]:
    """Return the label of the bar that had closed less than a minute before the source answered."""
    as_of = provenance.as_of
    return tuple(int(t) for t in bars.timestamp[-1:] if as_of is not None and t + MINUTE <= as_of < t + 2 * MINUTE)
