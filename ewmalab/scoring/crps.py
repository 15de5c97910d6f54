"""CRPS of an ensemble of numbers, and of an ensemble of paths under a dated scoring rule.

Each function checks its input and passes it to the evaluator that `ewmalab.scoring.evaluators` names for the case.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ewmalab.errors import PredictionError
from ewmalab.rulebook import ScoringRule
from ewmalab.scoring import sorting_network as network
from ewmalab.scoring.change_plan import ABSOLUTE, ChangePlan, plan_changes
from ewmalab.scoring.crps_kernels import block_deviations, member_changes, observe
from ewmalab.scoring.evaluators import EVALUATORS

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

    Raises
    ------
    PredictionError
        If the shapes do not match, a simulated price is negative or not finite, or a change overflows.
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
    with np.errstate(over="ignore"):
        members[absolute] = 1e4 * (b[absolute] / truth[-1])
        members[~absolute] = 1e4 * ((b[~absolute] - a[~absolute]) / a[~absolute])
    if not np.isfinite(members).all():
        raise PredictionError("a path changes by more than a float64 can hold")
    members.sort(axis=1)
    crps = np.empty(len(rows))
    _SORTED[np.float64](members, observed, crps)
    changes = 1e4 * (by_time[1:] - by_time[:-1]) / by_time[:-1] if plan.blocks else by_time
    return _collect(plan, crps, rows, changes, truth)


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
    changes = log_returns
    if plan.blocks:
        steps = len(realised) - 1
        changes = np.empty((steps, log_returns.shape[1]), np.float32)
        index = np.arange(steps)
        member_changes(log_returns, index, index + 1, index, np.full(steps, 1e4), changes)
    return _collect(plan, crps, rows, changes, realised)


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
    if not np.isfinite(prices).all() or (prices < 0).any():
        raise PredictionError("paths hold prices that are negative or not finite")
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


def _collect(
    plan: ChangePlan,
    crps: npt.NDArray[np.float64],
    rows: npt.NDArray[np.int64],
    changes: npt.NDArray[np.floating],
    realised: npt.NDArray[np.float64],
) -> Score:
    series = np.bincount(plan.series[rows], weights=crps, minlength=plan.series_count)
    counts = np.bincount(plan.series[rows], minlength=plan.series_count)
    intervals = {name: float(series[s]) for name, s in zip(plan.names, plan.series_of, strict=True)}
    volatility = {seconds: _volatility(changes, realised, length) for seconds, length, _ in plan.blocks}
    term = sum(weight * volatility[seconds] for seconds, _, weight in plan.blocks)
    return Score(
        total=sum(intervals.values()) + term,
        intervals=intervals,
        changes=int(sum(counts[s] for s in plan.series_of)),
        volatility_term=term,
        volatility=volatility or None,
    )


def observed_deviations(
    realised: npt.NDArray[np.float64], length: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return the whole blocks of `length` changes that count, and their realised deviations, basis points.

    A block counts if at least two of its realised changes exist; its realised deviation is that of the existing ones.
    """
    observed_changes = 1e4 * np.diff(realised) / realised[:-1]
    blocks = len(observed_changes) // length
    cut = observed_changes[: blocks * length].reshape(blocks, length)
    present = ~np.isnan(cut)
    kept = np.flatnonzero(present.sum(axis=1) >= 2)
    if len(kept) == blocks and present.all():
        return kept, np.std(cut, axis=1, ddof=1)
    return kept, np.array([np.std(cut[k][present[k]], ddof=1) for k in kept], np.float64)


def _volatility(changes: npt.NDArray[np.floating], realised: npt.NDArray[np.float64], length: int) -> float:
    """Return the summed CRPS of the deviations in whole blocks of `length` changes."""
    kept, truth = observed_deviations(realised, length)
    if not len(kept):
        return 0.0
    members = np.empty((len(kept), changes.shape[1]))
    block_deviations(changes, kept * length, length, members)
    members.sort(axis=1)
    out = np.empty(len(kept))
    _SORTED[np.float64](members, truth, out)
    return float(out.sum())
