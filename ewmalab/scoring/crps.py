"""CRPS of an ensemble of numbers, and of an ensemble of paths under a dated scoring rule.

Each function checks its input and passes it to the evaluator that `ewmalab.scoring.evaluators` names for the case.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import isfinite

import numpy as np
import numpy.typing as npt

from ewmalab.errors import PredictionError
from ewmalab.rulebook import ScoringRule
from ewmalab.scoring import sorting_network as network
from ewmalab.scoring.change_plan import ABSOLUTE, ChangePlan, plan_changes
from ewmalab.scoring.crps_kernels import block_deviations, member_changes, observe, observe_deviations
from ewmalab.scoring.evaluators import EVALUATORS
from ewmalab.scoring.sample_moments import pairwise_sum

INVALID = -1.0  # the validators' score of an ensemble that holds a price of zero

_SORTED = {np.float64: EVALUATORS["sorted_float64"].kernel, np.float32: EVALUATORS["sorted_float32"].kernel}
_NETWORK = EVALUATORS["sorting_network"].kernel


@dataclass(frozen=True, slots=True)
class Score:
    """The CRPS of one prompt.

    Attributes
    ----------
    total : float
        Basis points: the sum over intervals plus the volatility term; -1 if the ensemble is invalid.
    intervals : mapping of str to float
        CRPS per scoring interval, basis points; 0 where nothing could be scored.
    changes : int
        Number of scored changes.
    volatility_term : float
        The part of `total` that the volatility rule adds; 0 if it is not in force.
    volatility : mapping of int to float
        Sum of the CRPS of block deviations, per block length in seconds.
    """

    total: float
    intervals: Mapping[str, float]
    changes: int
    volatility_term: float = 0.0
    volatility: Mapping[int, float] | None = None


def crps_ensemble(observed: npt.ArrayLike, members: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return the ensemble CRPS with the 1/N^2 pair term: ``mean_i |x_i - y| - mean_ij |x_i - x_j| / 2``.

    Parameters
    ----------
    observed : (...) array_like
        Observations y.
    members : (..., N) array_like
        Ensembles, finite or NaN. For float32 members the observation is rounded to float32 too; all other types are
        summed in float64.

    Returns
    -------
    (...) float64
        In the unit of the members; NaN where the observation or a member is NaN.

    Raises
    ------
    ValueError
        If there are no members, or the leading shapes differ.

    References
    ----------
    Gneiting and Raftery (2007), Strictly proper scoring rules, prediction, and estimation,
    doi:10.1198/016214506000001437

    Examples
    --------
    >>> float(crps_ensemble(0.0, [-1.0, 1.0]))
    0.5
    """
    x, y = _checked_ensembles(observed, members)
    rows = np.sort(x.reshape(-1, x.shape[-1]), axis=1)
    flat = np.ascontiguousarray(y.reshape(-1))
    bad = np.isnan(flat) | np.isnan(rows[:, -1])  # sorting puts NaN last
    if bad.any():
        rows[bad] = 0
        flat = np.where(bad, 0.0, flat)
    out = np.empty(len(flat))
    _SORTED[rows.dtype.type](rows, flat, out)
    out[bad] = np.nan
    return out.reshape(y.shape)


def score_paths(paths: npt.ArrayLike, realised: npt.ArrayLike, rule: ScoringRule, time_increment: int) -> Score:
    """Score an ensemble of price paths in float64, as validators do.

    Parameters
    ----------
    paths : (n, steps + 1) array_like
        Simulated prices; the first column is the price at the start time.
    realised : (steps + 1,) array_like
        Realised prices on the same grid, NaN where missing.
    rule : ScoringRule
        From the rulebook: ``load_rulebook().at(date).competitions["24h"].scoring``.
    time_increment : int
        Seconds between grid points.

    Returns
    -------
    Score
        Invalid if a simulated price is zero, or the CRPS is not finite; negative prices are scored.

    Raises
    ------
    PredictionError
        If the shapes do not match, or a realised price is not positive.
    """
    prices, truth = _checked(paths, realised)
    plan = plan_changes(rule, time_increment, len(truth) - 1)
    if (prices == 0).any():
        return Score(INVALID, {}, 0)
    by_time = np.ascontiguousarray(prices.T)
    # With anchor 0, observations and members of absolute changes are prices relative to the last one.
    observed, _, rows = observed_changes(truth, 0.0, plan)
    members = np.empty((len(rows), by_time.shape[1]))
    absolute = plan.kind[rows] == ABSOLUTE
    a, b = by_time[plan.begin[rows]], by_time[plan.end[rows]]
    with np.errstate(over="ignore", invalid="ignore"):
        members[absolute] = 1e4 * (b[absolute] / truth[-1])
        members[~absolute] = 1e4 * ((b[~absolute] - a[~absolute]) / a[~absolute])
        members.sort(axis=1)
        crps = np.empty(len(rows))
        _SORTED[np.float64](members, observed, crps)
        volatility = {}
        if plan.blocks:
            volatility = _volatility(1e4 * (by_time[1:] - by_time[:-1]) / by_time[:-1], truth, plan)
        found = _collect(plan, crps, rows, volatility)
    return found if isfinite(found.total) else Score(INVALID, {}, 0)


def score_log_returns(
    log_returns: npt.NDArray[np.float32],
    anchor: float,
    realised: npt.NDArray[np.float64],
    rule: ScoringRule,
    time_increment: int,
) -> Score:
    """Score an ensemble of cumulative log-returns, in float32 where that is harmless; replays use it.

    Parameters
    ----------
    log_returns : (steps + 1, n) float32
        Time along the first axis; row 0 is zero; within +-30.
    anchor : float
        Price at which the paths start.
    realised, rule, time_increment
        As in `score_paths`.

    Returns
    -------
    Score
        Within 1e-6, relative, of ``score_paths(anchor * exp(log_returns).T, ...)``.
    """
    check_log_returns(log_returns, realised)
    plan = plan_changes(rule, time_increment, len(realised) - 1)
    observed, scale, rows = observed_changes(realised, anchor, plan)
    crps = np.empty(len(rows))
    buffer = _workspace(network.padded(log_returns.shape[1]) * network.WIDTH)
    _NETWORK(log_returns, plan.begin, plan.end, rows, scale, observed, buffer, crps)
    volatility = {}
    if plan.blocks:
        changes = np.empty((len(realised) - 1, log_returns.shape[1]), np.float32)
        member_changes(log_returns, changes)
        volatility = _volatility(changes, realised, plan)
    return _collect(plan, crps, rows, volatility)


_local = threading.local()


def _workspace(size: int) -> npt.NDArray[np.float32]:
    """Return this thread's working space; allocating 256 KB per prompt costs more than filling it."""
    buffer: npt.NDArray[np.float32] | None = getattr(_local, "buffer", None)
    if buffer is None or len(buffer) != size:
        buffer = _local.buffer = np.empty(size, np.float32)
    return buffer


def _checked_ensembles(
    observed: npt.ArrayLike, members: npt.ArrayLike
) -> tuple[npt.NDArray[np.floating], npt.NDArray[np.float64]]:
    """Return members, float32 kept and all else as float64, and observations."""
    x = np.asarray(members)
    if x.dtype != np.float32:
        x = x.astype(np.float64)
    y = np.asarray(observed, np.float64)
    if x.ndim == 0 or x.shape[-1] == 0:
        raise ValueError("members need at least one value along the last axis")
    if x.shape[:-1] != y.shape:
        raise ValueError(f"observed has shape {y.shape}, members {x.shape}: leading shapes must agree")
    return x, y


def _checked(paths: npt.ArrayLike, realised: npt.ArrayLike) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    try:
        prices, truth = np.asarray(paths, np.float64), np.asarray(realised, np.float64)
    except (TypeError, ValueError) as error:
        raise PredictionError(f"paths and realised prices must be tables of numbers: {error}") from error
    if prices.ndim != 2 or prices.shape[0] == 0:
        raise PredictionError(f"paths must be an (n, steps + 1) table with n >= 1; got shape {prices.shape}")
    if truth.shape != prices.shape[1:]:
        raise PredictionError(f"paths have {prices.shape[1]} points, realised prices have shape {truth.shape}")
    _check_realised(truth)
    return prices, truth


def check_log_returns(log_returns: npt.NDArray[np.float32], realised: npt.NDArray[np.float64]) -> None:
    """Refuse log-returns that are no (steps + 1, n) table or do not fit the realised prices, and impossible prices.

    Raises
    ------
    PredictionError
    """
    if log_returns.ndim != 2 or log_returns.shape[1] == 0:
        raise PredictionError(f"log-returns must be a (steps + 1, n) table with n >= 1; got {log_returns.shape}")
    if log_returns.shape[0] != len(realised):
        raise PredictionError(f"paths have {log_returns.shape[0]} points, realised prices {len(realised)}")
    _check_realised(realised)


def _check_realised(truth: npt.NDArray[np.float64]) -> None:
    if len(truth) < 2:
        raise PredictionError(f"a path needs at least 2 points, got {len(truth)}")
    if np.isinf(truth).any() or (truth <= 0).any():
        raise PredictionError("realised prices must be positive, or missing (NaN, null)")


def observed_changes(
    realised: npt.NDArray[np.float64], anchor: float, plan: ChangePlan
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Return observation, factor of the members, and index of each change that can be scored: see `observe`."""
    count = len(plan.begin)
    observed, scale, rows = np.empty(count), np.empty(count), np.empty(count, np.int64)
    kept = observe(realised, anchor, plan.begin, plan.end, plan.kind, observed, scale, rows)
    return observed[:kept], scale[:kept], rows[:kept]


def observed_deviations(
    realised: npt.NDArray[np.float64], plan: ChangePlan
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Return the realised deviations of the blocks that count, basis points, and the indices of these blocks."""
    observed, rows = np.empty(len(plan.block_begin)), np.empty(len(plan.block_begin), np.int64)
    kept = observe_deviations(realised, plan.block_begin, plan.block_length, observed, rows)
    return observed[:kept], rows[:kept]


def _volatility(
    changes: npt.NDArray[np.floating], realised: npt.NDArray[np.float64], plan: ChangePlan
) -> dict[int, float]:
    """Return the summed CRPS of the deviations in the blocks of each length."""
    observed, rows = observed_deviations(realised, plan)
    members = np.empty((len(rows), changes.shape[1]))
    block_deviations(changes, plan.block_begin[rows], plan.block_length[rows], members)
    members.sort(axis=1)
    crps = np.empty(len(rows))
    _SORTED[np.float64](members, observed, crps)
    edges = pairwise(np.searchsorted(rows, plan.block_edges).tolist())
    return {seconds: pairwise_sum(crps[a:b]) for (seconds, _), (a, b) in zip(plan.blocks, edges, strict=True)}


def _collect(
    plan: ChangePlan, crps: npt.NDArray[np.float64], rows: npt.NDArray[np.int64], volatility: Mapping[int, float]
) -> Score:
    series = plan.series[rows]
    totals = np.bincount(series, weights=crps, minlength=plan.series_count).tolist()
    counts = np.bincount(series, minlength=plan.series_count).tolist()
    intervals = {name: totals[s] for name, s in zip(plan.names, plan.series_of, strict=True)}
    term = sum(weight * volatility[seconds] for seconds, weight in plan.blocks)
    return Score(
        total=sum(intervals.values()) + term,
        intervals=intervals,
        changes=sum(counts[s] for s in plan.series_of),
        volatility_term=term,
        volatility=volatility or None,
    )
