"""CRPS of one prompt's paths times each of several factors, from one simulation and one sort.

A positive factor keeps the order of a change's members. The changes of the paths are therefore sorted once, and each
factor costs one pass over them. Deviations inside blocks keep their order only nearly, so those are sorted each time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from ewmalab.rulebook import ScoringRule
from ewmalab.scoring.change_plan import ChangePlan, plan_changes
from ewmalab.scoring.crps import check_log_returns, observed_changes, observed_deviations
from ewmalab.scoring.evaluators import EVALUATORS
from ewmalab.scoring.scaled_kernels import differences, joined_deviations, scaled_sums

_ROWS = 64  # changes sorted at a time, so that they stay in the second-level cache

_CHANGES = EVALUATORS["scaled"].kernel
_DEVIATIONS = EVALUATORS["sorted_float32"].kernel


def score_scaled(
    log_returns: npt.NDArray[np.float32],
    scales: npt.ArrayLike,
    anchor: float,
    realised: npt.NDArray[np.float64],
    rule: ScoringRule,
    time_increment: int,
) -> npt.NDArray[np.float64]:
    """Score the ensembles ``scale * log_returns`` of one prompt.

    Parameters
    ----------
    log_returns : (steps + 1, n) float32
        Time along the first axis; row 0 is zero.
    scales : (k,) array_like
        Above 0; no scaled path may leave +-30.
    anchor : float
        Price at which the paths start.
    realised, rule, time_increment
        As in `ewmalab.scoring.crps.score_paths`.

    Returns
    -------
    (k,) float64
        Basis points, within 1e-6, relative, of `score_log_returns` of the scaled paths. The bits of a score do not
        depend on the other factors.

    Raises
    ------
    PredictionError
        If the shapes do not match.
    """
    check_log_returns(log_returns, realised)
    plan = plan_changes(rule, time_increment, len(realised) - 1)
    observed, unit, rows = observed_changes(realised, anchor, plan)
    counted = np.bincount(plan.series_of, minlength=plan.series_count)[plan.series[rows]]
    factors = np.asarray(scales, np.float32)
    out = np.zeros(len(factors))
    members = np.empty((_ROWS, log_returns.shape[1]), np.float32)
    for first in range(0, len(rows), _ROWS):
        here = slice(first, first + _ROWS)
        block = members[: len(rows[here])]
        differences(log_returns, plan.begin[rows[here]], plan.end[rows[here]], block)
        block.sort(axis=1)
        _CHANGES(block, factors, observed[here] / unit[here], unit[here] * counted[here], out)
    if plan.blocks:
        out += _volatility_terms(log_returns, factors, realised, plan)
    return out


def _volatility_terms(
    log_returns: npt.NDArray[np.float32],
    factors: npt.NDArray[np.float32],
    realised: npt.NDArray[np.float64],
    plan: ChangePlan,
) -> npt.NDArray[np.float64]:
    """Return the volatility term under each factor: (k,) float64."""
    n, shortest = log_returns.shape[1], math.gcd(*plan.block_length.tolist())
    total = np.empty(((len(realised) - 1) // shortest, n))
    square = np.empty_like(total)
    truths = list(_observed_blocks(realised, plan))
    out = np.zeros(len(factors))
    for v, factor in enumerate(factors):
        scaled_sums(log_returns, factor, shortest, total, square)
        for length, weight, kept, truth in truths:
            members, crps = np.empty((len(kept), n), np.float32), np.empty(len(kept))
            joined_deviations(total, square, kept, length, length // shortest, members)
            members.sort(axis=1)
            _DEVIATIONS(members, 1e-4 * truth, crps)
            out[v] += 1e4 * weight * crps.sum()
    return out


def _observed_blocks(
    realised: npt.NDArray[np.float64], plan: ChangePlan
) -> Iterator[tuple[int, float, npt.NDArray[np.int64], npt.NDArray[np.float64]]]:
    """Yield length and weight of each kind of block, which of its blocks count, and their realised deviations."""
    truth, rows = observed_deviations(realised, plan)
    for (_, weight), (a, b) in zip(plan.blocks, pairwise(plan.block_edges.tolist()), strict=True):
        if a < b:
            mine = (rows >= a) & (rows < b)
            yield int(plan.block_length[a]), weight, rows[mine] - a, truth[mine]
