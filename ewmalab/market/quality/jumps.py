"""Jumps of the close: those that come back, those that stay, and those that wait for a successor."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ewmalab.market.quality.rules import Bool, Int
from ewmalab.market.quality.splits import PriceSplit, name_split
from ewmalab.times import DAY, MINUTE

Float = npt.NDArray[np.float64]

FLOOR = 0.02
"""Smallest jump in log that is looked at. True moves that came back within a minute reach 1.8 % in a crash."""
_SCALES = 15.0  # a jump is many times the local scale; true moves that come back reach 12 at 0.5 %, 5 above 1 %
_CAME_BACK = 0.25  # share of a jump that is left when it has come back
_NEAR = 0.15  # and at most this, in log
_WINDOWS = (10, 60)  # returns that tell the local scale: the last minutes in a crash, the last hour otherwise
_LEAST_RETURNS = 5
_MOST_RETURNS = 0.8
_HUGE = 0.375  # in log, below the smallest split; no market moves by as much within a minute
_PATIENCE = ((0.05, 1), (_HUGE, 3), (np.inf, 60))  # minutes within which a jump of up to so much comes back
_LONGEST = 7 * DAY  # of huge excursions that end as they began
_MOST = 5000  # jumps in all; with more, these are no market's prices, and looking far ahead takes too long
_START = 3  # rows before the first jump that it can outweigh


@dataclass(frozen=True, slots=True)
class Jumps:
    """The jumps of n closes: the rows to set aside, the first row that waits (n if none), and the splits."""

    aside: Bool
    waiting: int
    splits: tuple[PriceSplit, ...]


def find_jumps(times: Int, log_close: Float, judged: Bool, ratios: Collection[tuple[int, int]] = ()) -> Jumps:
    """Sort the jumps of the close into excursions, moves, splits, and one at the end that nothing confirms yet.

    Parameters
    ----------
    times : (n,) int64
    log_close : (n,) float64
    judged : (n,) bool
        Rows that may be set aside; others are trusted.
    ratios : collection of (int, int)
        Splits that are known, new units and old.
    """
    size = len(times)
    aside = np.zeros(size, bool)
    places = np.flatnonzero(np.abs(np.diff(log_close)) > FLOOR) + 1
    splits: list[PriceSplit] = []
    few = len(places) < _MOST
    i = int(places[0]) if len(places) else size
    while i < size:
        base = i - 1
        while base > 0 and aside[base]:
            base -= 1
        jump = float(log_close[i] - log_close[base])
        back: int | None = None
        if (judged[i] or judged[base]) and abs(jump) > _threshold(times, log_close, aside, base, i):
            back, sure = _return(times, log_close, base, i, few)
            split = name_split(int(times[i]), jump, ratios)
            unsaid = split is None or (split.new, split.old) not in ratios
            if back is not None:
                aside[i:back] |= judged[i:back]
            elif not sure:
                return Jumps(aside, i, tuple(splits))  # the end of the bars
            elif unsaid and base < _START and i <= _patience(jump) and judged[: base + 1].all():
                aside[: base + 1] = True  # nothing before confirms them
            elif split is not None:
                splits.append(split)
        i = back if back is not None else _next(places, i)
    return Jumps(aside, size, tuple(splits))


def local_scale(times: Int, log_close: Float, aside: Bool, upto: int) -> float:
    """Return the size of a usual one-minute return in the hour up to a row, from quantiles; 0 with too few returns."""
    first = max(0, upto - 2 * _WINDOWS[-1])
    rows = np.flatnonzero(~aside[first : upto + 1]) + first
    rows = rows[-_WINDOWS[-1] - 1 :]
    if len(rows) <= _LEAST_RETURNS:  # the beginning: the bars behind it tell
        rows = np.flatnonzero(~aside[: 2 * _WINDOWS[-1]])
    if len(rows) <= _LEAST_RETURNS:
        return 0.0
    minutes = np.diff(times[rows]) / MINUTE
    sizes = np.abs(np.diff(log_close[rows])) / np.sqrt(minutes)
    usual = 1.4826 * max(float(np.median(sizes[-window:])) for window in _WINDOWS)
    return max(usual, float(np.quantile(sizes, _MOST_RETURNS)) / 1.2816)  # where most minutes stand still


def _threshold(times: Int, log_close: Float, aside: Bool, base: int, i: int) -> float:
    minutes = (times[i] - times[base]) / MINUTE
    return max(FLOOR, _SCALES * local_scale(times, log_close, aside, base) * float(np.sqrt(minutes)))


def _patience(jump: float) -> int:
    return next(minutes for limit, minutes in _PATIENCE if abs(jump) < limit)


def _return(times: Int, log_close: Float, base: int, i: int, few: bool) -> tuple[int | None, bool]:
    """Return the row at which the price is back where it was before row i, and whether more rows could not change it.

    A jump that is neither back nor sure waits.
    """
    jump = log_close[i] - log_close[base]
    until = times[i] + _patience(float(jump)) * MINUTE
    stop = max(int(np.searchsorted(times, until, "right")), min(i + 2, len(times)))
    left = np.abs(log_close[i + 1 : stop] - log_close[base])
    found = np.flatnonzero(left <= min(_CAME_BACK * abs(jump), _NEAR))
    if len(found):
        return i + 1 + int(found[0]), True
    if abs(jump) >= _HUGE and few:
        stop = int(np.searchsorted(times, times[i] + _LONGEST, "right"))
        steps = np.diff(log_close[i:stop])
        undone = np.flatnonzero(np.abs(steps + jump) <= _NEAR)
        if len(undone):
            return i + 1 + int(undone[0]), True
    return None, bool(times[-1] >= until and i + 1 < len(times))


def _next(places: Int, i: int) -> int:
    at = int(np.searchsorted(places, i, "right"))
    return int(places[at]) if at < len(places) else np.iinfo(np.int64).max
