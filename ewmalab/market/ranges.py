"""Sets of times as sorted, disjoint half-open ranges ``[from, to)`` in seconds."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from ewmalab.times import MINUTE

Range = tuple[int, int]


def union(ranges: Iterable[Range]) -> list[Range]:
    """Return the ranges sorted, with touching and overlapping ranges joined.

    Examples
    --------
    >>> union([(60, 120), (0, 60), (300, 360)])
    [(0, 120), (300, 360)]
    """
    joined: list[Range] = []
    for a, b in sorted((int(a), int(b)) for a, b in ranges if b > a):
        if joined and a <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(b, joined[-1][1]))
        else:
            joined.append((a, b))
    return joined


def subtract(whole: Iterable[Range], taken: Iterable[Range]) -> list[Range]:
    """Return the parts of `whole` that are not in `taken`.

    Examples
    --------
    >>> subtract([(0, 300)], [(60, 120)])
    [(0, 60), (120, 300)]
    """
    rest: list[Range] = []
    holes = union(taken)
    first = 0
    for a, b in union(whole):
        while first < len(holes) and holes[first][1] <= a:
            first += 1
        at = first
        while at < len(holes) and holes[at][0] < b:
            if holes[at][0] > a:
                rest.append((a, holes[at][0]))
            a = max(a, holes[at][1])
            at += 1
        if a < b:
            rest.append((a, b))
    return rest


def intersect(one: Iterable[Range], other: Iterable[Range]) -> list[Range]:
    """Return the parts that are in both.

    Examples
    --------
    >>> intersect([(0, 100)], [(50, 200)])
    [(50, 100)]
    """
    left = union(one)
    return subtract(left, subtract(left, other))


def clip(ranges: Sequence[Range], start: int, end: int) -> list[Range]:
    """Return the parts of sorted, disjoint ranges in ``[start, end)``, in the time of a binary search.

    Examples
    --------
    >>> clip([(0, 100), (200, 300), (400, 500)], 50, 250)
    [(50, 100), (200, 250)]
    """
    first = bisect_right(ranges, start, key=lambda one: one[1])
    last = bisect_left(ranges, end, key=lambda one: one[0])
    return [(max(a, start), min(b, end)) for a, b in ranges[first:last]]


def runs(labels: npt.NDArray[np.int64]) -> list[Range]:
    """Return sorted labels of minutes as ranges.

    Examples
    --------
    >>> runs(np.array([0, 60, 180]))
    [(0, 120), (180, 240)]
    """
    if not len(labels):
        return []
    breaks = np.flatnonzero(np.diff(labels) != MINUTE)
    firsts, lasts = labels[np.r_[0, breaks + 1]], labels[np.r_[breaks, len(labels) - 1]] + MINUTE
    return union(zip(firsts.tolist(), lasts.tolist(), strict=True))


def minutes(ranges: Iterable[Range]) -> int:
    """Return the number of minutes in disjoint ranges."""
    return sum(b - a for a, b in ranges) // MINUTE
