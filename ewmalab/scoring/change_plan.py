"""The price changes that a scoring rule compares."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from ewmalab.errors import PredictionError
from ewmalab.rulebook import ScoringInterval, ScoringRule

CHANGE, ABSOLUTE = 0, 1
"""Kinds of change: relative to the price at its begin, or a price relative to the last one."""


@dataclass(frozen=True, slots=True, eq=False)
class ChangePlan:
    """The pairs of grid points that are compared; intervals that compare the same pairs share a series.

    Attributes
    ----------
    names : tuple of str
        Names of the scoring intervals.
    series_of : tuple of int
        The series of each interval.
    begin, end : (e,) int64
        Grid indices of each change.
    kind : (e,) int8
        CHANGE or ABSOLUTE.
    series : (e,) int64
        The series of each change.
    series_count : int
    blocks : tuple of (int, float)
        Seconds and weight of each block length of the volatility term.
    block_begin, block_length : (b,) int64
        First step and number of steps of every whole block, one block length after the other.
    block_edges : (lengths + 1,) int64
        Where the blocks of each length begin, and their number.
    """

    names: tuple[str, ...]
    series_of: tuple[int, ...]
    begin: npt.NDArray[np.int64]
    end: npt.NDArray[np.int64]
    kind: npt.NDArray[np.int8]
    series: npt.NDArray[np.int64]
    series_count: int
    blocks: tuple[tuple[int, float], ...]
    block_begin: npt.NDArray[np.int64]
    block_length: npt.NDArray[np.int64]
    block_edges: npt.NDArray[np.int64]


@lru_cache(maxsize=64)
def plan_changes(rule: ScoringRule, time_increment: int, steps: int) -> ChangePlan:
    """Lay out the changes of `rule` on a grid of `steps` increments (subnet rules, interval by interval).

    Raises
    ------
    PredictionError
        If an interval is shorter than the increment.
    """
    found: dict[tuple[int, str], int] = {}
    changes: list[tuple[int, int, int, int]] = []  # begin, end, kind, series
    series_of: list[int] = []
    for interval in rule.intervals:
        stride = _stride(interval, time_increment)
        shape = interval.kind
        if shape == "gap" and rule.gaps_as_series:
            shape = "changes"
        if shape == "abs":
            stride = min(stride, steps)  # the validator lowers the stride until a second point is left
        if (stride, shape) not in found:
            found[stride, shape] = len(found)
            kind = ABSOLUTE if shape == "abs" else CHANGE
            pairs = list(pairwise(range(0, steps + 1, stride)))
            for a, b in pairs[:1] if shape == "gap" else pairs:
                changes.append((0 if shape == "abs" else a, b, kind, found[stride, shape]))  # a price, from the start
        series_of.append(found[stride, shape])
    begin, end, kinds, series = np.array(changes, np.int64).reshape(-1, 4).T.copy()
    lengths = [seconds // time_increment for seconds, _ in rule.volatility_blocks]
    blocks = [(first, length) for length in lengths for first in range(0, steps - length + 1, length)]
    block_begin, block_length = np.array(blocks, np.int64).reshape(-1, 2).T.copy()
    return ChangePlan(
        names=tuple(interval.name for interval in rule.intervals),
        series_of=tuple(series_of),
        begin=begin,
        end=end,
        kind=kinds.astype(np.int8),
        series=series,
        series_count=len(found),
        blocks=rule.volatility_blocks,
        block_begin=block_begin,
        block_length=block_length,
        block_edges=np.cumsum([0, *(steps // length for length in lengths)]),
    )


def _stride(interval: ScoringInterval, time_increment: int) -> int:
    """Return the number of increments in an interval."""
    stride = interval.seconds // time_increment
    if stride < 1:
        raise PredictionError(
            f"scoring interval {interval.name!r} ({interval.seconds} s) is shorter than the increment "
            f"({time_increment} s): the prediction does not belong to this competition"
        )
    return stride
