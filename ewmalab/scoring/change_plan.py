"""Which changes of a path a scoring rule compares."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from ewmalab.errors import PredictionError
from ewmalab.rulebook import ScoringRule
from ewmalab.scoring import kernels


@dataclass(frozen=True, slots=True, eq=False)
class ChangePlan:
    """Which pairs of grid points are compared; intervals that compare the same pairs share a series."""

    names: tuple[str, ...]
    series_of: tuple[int, ...]  # interval -> series
    begin: npt.NDArray[np.int64]
    end: npt.NDArray[np.int64]
    kind: npt.NDArray[np.int8]
    series: npt.NDArray[np.int64]  # change -> series
    series_count: int
    blocks: tuple[tuple[int, int, float], ...]  # (seconds, steps, weight)


@lru_cache(maxsize=64)
def plan_changes(rule: ScoringRule, time_increment: int, steps: int) -> ChangePlan:
    """Lay out the changes of `rule` on a grid of `steps` increments (subnet rules, interval by interval)."""
    found: dict[tuple[int, str], int] = {}
    begin: list[int] = []
    end: list[int] = []
    kind: list[int] = []
    series: list[int] = []
    series_of: list[int] = []
    for interval in rule.intervals:
        stride = interval.seconds // time_increment
        if stride < 1:
            raise PredictionError(
                f"scoring interval {interval.name!r} ({interval.seconds} s) is shorter than the increment "
                f"({time_increment} s): the prediction does not belong to this competition"
            )
        shape = interval.kind
        if shape == "gap" and rule.gaps_as_series:
            shape = "changes"
        if shape == "abs":
            stride = min(stride, steps)  # the validator lowers the stride until a second point is left
        if (stride, shape) not in found:
            index = found[stride, shape] = len(found)
            points = range(0, steps + 1, stride)
            pairs = list(pairwise(points))
            for a, b in pairs[:1] if shape == "gap" else pairs:
                begin.append(0 if shape == "abs" else a)  # a price, relative to the start
                end.append(b)
                kind.append(kernels.ABSOLUTE if shape == "abs" else kernels.CHANGE)
                series.append(index)
        series_of.append(found[stride, shape])
    return ChangePlan(
        names=tuple(interval.name for interval in rule.intervals),
        series_of=tuple(series_of),
        begin=np.array(begin, np.int64),
        end=np.array(end, np.int64),
        kind=np.array(kind, np.int8),
        series=np.array(series, np.int64),
        series_count=len(found),
        blocks=tuple((seconds, seconds // time_increment, weight) for seconds, weight in rule.volatility_blocks),
    )
