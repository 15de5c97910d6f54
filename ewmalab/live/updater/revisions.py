"""Merge new bars into the known ones, and record bars that arrived late or were revised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ewmalab.errors import FeedError
from ewmalab.market.bars import Bars
from ewmalab.market.quality.sift import select

OTHER_MARKET = 0.02
"""In log: no revision moves a close by this much; another symbol's closes differ by more."""
_MIN_OVERLAP = 3


@dataclass(frozen=True, slots=True)
class Amendment:
    """A change to past bars: a bar that arrived after a later one (`old` is None), or a revised bar.

    Attributes
    ----------
    label : int
        Label of the bar.
    old : tuple of four float, or None
        Open, high, low and close before the change.
    """

    label: int
    old: tuple[float, float, float, float] | None


@dataclass(frozen=True, slots=True)
class Merged:
    """Bars after an answer of the feed.

    Attributes
    ----------
    bars : Bars
    new : int
        Number of bars after those known before.
    amended : tuple of Amendment
        Changes to the bars known before.
    """

    bars: Bars
    new: int
    amended: tuple[Amendment, ...]


def merge(known: Bars, fresh: Bars) -> Merged:
    """Return the union of bars. A fresh bar replaces a known one, since a later fetch would return the fresh one.

    Fresh bars before the first known bar are dropped.
    """
    if not len(known):
        return Merged(fresh, len(fresh), ())
    fresh = fresh.rows(int(np.searchsorted(fresh.timestamp, known.timestamp[0])), len(fresh))
    if not len(fresh):
        return Merged(known, 0, ())
    at = np.minimum(np.searchsorted(known.timestamp, fresh.timestamp), len(known) - 1)
    shared = known.timestamp[at] == fresh.timestamp
    late = ~shared & (fresh.timestamp < known.timestamp[-1])
    amended = [Amendment(int(fresh.timestamp[i]), None) for i in np.flatnonzero(late)]
    differs = known.disagreements(fresh)
    amended += [Amendment(int(fresh.timestamp[i]), _row(known, int(at[i]))) for i in np.flatnonzero(differs)]
    new = int((fresh.timestamp > known.timestamp[-1]).sum())
    if not new and not amended:
        return Merged(known, 0, ())
    return Merged(known.union(fresh), new, tuple(sorted(amended, key=lambda a: a.label)))


def check_symbol(known: Bars, fresh: Bars) -> None:
    """Refuse the answer for another symbol.

    Raises
    ------
    FeedError
        If most shared bars differ by more than any revision.
    """
    closes = known.closes_at(fresh.timestamp)
    shared = np.isfinite(closes)
    moved = np.abs(np.log(fresh.close[shared] / closes[shared]))
    if len(moved) >= _MIN_OVERLAP and np.median(moved) > OTHER_MARKET:
        raise FeedError(
            f"the answer disagrees with {int((moved > OTHER_MARKET).sum())} of {len(moved)} known bars by more than "
            f"{OTHER_MARKET:.0%}: it is for another symbol"
        )


def without(bars: Bars, labels: Sequence[int]) -> Bars:
    """Return the bars without those of some labels."""
    if not labels:
        return bars
    return select(bars, ~np.isin(bars.timestamp, labels))


def undo(bars: Bars, amended: Sequence[Amendment]) -> Bars:
    """Return the bars before amendments, which are given oldest first."""
    before: dict[int, tuple[float, ...] | None] = {}
    for change in amended:
        before.setdefault(change.label, change.old)
    changed = np.isin(bars.timestamp, list(before))
    if not changed.any():
        return bars
    labels = [label for label in bars.timestamp[changed].tolist() if before[label] is not None]
    o, h, l, c = np.array([before[label] for label in labels], np.float64).reshape(-1, 4).T
    return select(bars, ~changed).union(Bars(np.array(labels, np.int64), o, h, l, c, bars.resolution))


def _row(bars: Bars, i: int) -> tuple[float, float, float, float]:
    return float(bars.open[i]), float(bars.high[i]), float(bars.low[i]), float(bars.close[i])
