"""CRPS of ensembles that differ by their volatility alone, from one ensemble.

Where a forecaster's log-returns are ``s z`` with z independent of the relative volatility s, one ensemble of z serves
every prompt. With z_0 <= ... <= z_{N-1} a change's members, x_i = expm1(s z_i) and k members at or below the
observation y, ::

    CRPS = y (2 k / N - 1) + sum_i x_i (1 / N - (2 i - N + 1) / N**2) - 2 / N sum_{i<k} x_i

and the exponential's series makes each sum a polynomial in s whose coefficients are prefix sums of z**m / m!. A change
is sorted and summed once; then each prompt costs one binary search and one dot product of 8 terms.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

from ewmalab.rulebook import ScoringRule
from ewmalab.scoring import kernels
from ewmalab.scoring import sorting_network as lanes
from ewmalab.scoring.change_plan import plan_changes

TERMS = 8
# Beyond this the series gives way to the exponential itself; at it the first term left out, x**9 / 9!, is 5e-9, of a
# member whose weight in the score is about 2 / N.
_SERIES_LIMIT = 0.5
_MOVE_LIMIT = 30.0  # as far as any path goes
_PROMPTS = 64  # searched side by side, so that the waits of their loads overlap
_F = tuple(1.0 / math.factorial(m) for m in range(1, TERMS + 1))


@dataclass(frozen=True, slots=True, eq=False)
class Observations:
    """What came, for prompts of one competition, ready to be scored many times.

    Attributes
    ----------
    begin, end : (c,) int64
        Grid indices of the changes that the rule compares.
    weight : (c,) float64
        Basis points times how many intervals count the change.
    absolute : (c,) bool
        Whether the change is scored as a price relative to the last one.
    change : (c, p) float64
        Relative changes; NaN where not scored.
    log_change : (c, p) float32
        Their log1p.
    price_ratio : (p,) float64
        Anchor over last realised price: the factor of absolute changes.
    """

    begin: npt.NDArray[np.int64]
    end: npt.NDArray[np.int64]
    weight: npt.NDArray[np.float64]
    absolute: npt.NDArray[np.bool_]
    change: npt.NDArray[np.float64]
    log_change: npt.NDArray[np.float32]
    price_ratio: npt.NDArray[np.float64]

    @classmethod
    def of(
        cls,
        rule: ScoringRule,
        time_increment: int,
        anchors: npt.NDArray[np.float64],
        realised: npt.NDArray[np.float64],
    ) -> Observations:
        """Lay out what a rule compares.

        Parameters
        ----------
        rule : ScoringRule
            Without a volatility term: a deviation inside a block does not scale exactly.
        time_increment : int
            Seconds between grid points.
        anchors : (p,) float64
            Prices at which the paths start.
        realised : (p, steps + 1) float64
            Prices on each prompt's grid, NaN where missing.

        Raises
        ------
        ValueError
            If the rule has a volatility term.
        """
        if rule.volatility_blocks:
            raise ValueError(f"rule {rule.name} has a volatility term, which does not scale with the volatility")
        plan = plan_changes(rule, time_increment, realised.shape[1] - 1)
        counted = np.bincount(plan.series_of, minlength=plan.series_count)
        absolute = plan.kind == kernels.ABSOLUTE
        a, b, last = realised[:, plan.begin].T, realised[:, plan.end].T, realised[:, -1]
        base = np.where(absolute[:, None], anchors, a)
        change = np.where(absolute[:, None] & np.isnan(last), np.nan, (b - base) / base)
        return cls(
            plan.begin, plan.end, 1e4 * counted[plan.series].astype(np.float64), absolute,
            change, np.log1p(change).astype(np.float32), anchors / last,
        )  # fmt: skip

    @classmethod
    def concatenate(cls, parts: Sequence[Observations]) -> Observations:
        """Join the prompts of several sets under the same rule and grid."""
        first = parts[0]
        return cls(
            first.begin, first.end, first.weight, first.absolute,
            np.concatenate([p.change for p in parts], axis=1),
            np.concatenate([p.log_change for p in parts], axis=1),
            np.concatenate([p.price_ratio for p in parts]),
        )  # fmt: skip


def scale_free_scores(
    log_returns: npt.NDArray[np.float32],
    volatility: npt.NDArray[np.float64],
    observations: Observations,
    members: int | None = None,
) -> npt.NDArray[np.float64]:
    """Score ensembles ``volatility * log_returns``, one per prompt.

    Parameters
    ----------
    log_returns : (steps + 1, n) float32
        The reference ensemble; time along the first axis.
    volatility : (p,) float64
        Relative volatility of each prompt's ensemble, > 0.
    observations : Observations
        Of p prompts.
    members : int, optional
        Size of the ensembles whose expected score is wanted, at most n: the pair term then has the factor that
        ensembles of that size have on average. By default n: the score of this very ensemble.

    Returns
    -------
    (p,) float64
        Basis points, as `ewmalab.scoring.crps.Score.total`.

    Raises
    ------
    ValueError
        If `members` is out of range, or the shapes do not belong together.
    """
    n = log_returns.shape[1]
    size = n if members is None else members
    if not 1 <= size <= n:
        raise ValueError(f"members must lie between 1 and {n}, got {size}")
    if observations.change.shape[1] != len(volatility) or observations.end.max() >= len(log_returns):
        raise ValueError(
            f"{len(volatility)} volatilities and {len(log_returns)} points do not fit observations of "
            f"{observations.change.shape[1]} prompts up to point {observations.end.max()}"
        )
    pairs = 1.0 / (n * n) if size == n else (1.0 - 1.0 / size) / (n * (n - 1.0))
    out = np.zeros(len(volatility))
    powers = np.cumprod(np.repeat(volatility[:, None], TERMS, axis=1), axis=1)
    inverse = (1.0 / volatility).astype(np.float32)
    buffer = np.empty(lanes.padded(n) * lanes.LANES, np.float32)
    table = np.empty((n + 1, TERMS))
    for first in range(0, len(observations.begin), lanes.LANES):
        part = slice(first, first + lanes.LANES)
        rows = np.empty((len(observations.begin[part]), n), np.float32)
        lanes.sort_changes(log_returns, observations.begin[part], observations.end[part], buffer, rows)
        for z, weight, absolute, change, logs in zip(
            rows, observations.weight[part], observations.absolute[part],
            observations.change[part], observations.log_change[part], strict=True,
        ):  # fmt: skip
            _tabulate(z, pairs, table)
            _evaluate(z, pairs, table, volatility, powers, inverse, change, logs,
                      weight, absolute, observations.price_ratio, out)  # fmt: skip
    return out


# No fast-math where prompts stand side by side: the bits of one must not depend on the others.


@njit(nogil=True, cache=True)
def _tabulate(z, pairs, table):
    """Fill table (n + 1, TERMS): row k holds the coefficients of s, s**2, ... with k members at or below y."""
    n = z.shape[0]
    t = 2.0 / n
    c0, c1, c2, c3, c4, c5, c6, c7 = _constants(z, pairs)
    t1, t2, t3, t4, t5, t6, t7 = t * _F[1], t * _F[2], t * _F[3], t * _F[4], t * _F[5], t * _F[6], t * _F[7]
    for i in range(n + 1):
        row = table[i]
        row[0], row[1], row[2], row[3], row[4], row[5], row[6], row[7] = c0, c1, c2, c3, c4, c5, c6, c7
        if i == n:
            break
        x = np.float64(z[i])
        x2 = x * x
        x3 = x2 * x
        x4 = x2 * x2
        c0 -= t * x
        c1 -= t1 * x2
        c2 -= t2 * x3
        c3 -= t3 * x4
        c4 -= t4 * (x4 * x)
        c5 -= t5 * (x4 * x2)
        c6 -= t6 * (x4 * x3)
        c7 -= t7 * (x4 * x4)


@njit(nogil=True, fastmath={"reassoc", "contract", "nsz"})  # harmless here: it depends on the ensemble alone
def _constants(z, pairs):
    """Sums of z**m / m! with each member's weight in the mean less the pair term, for k = 0."""
    n = z.shape[0]
    c0 = c1 = c2 = c3 = c4 = c5 = c6 = c7 = 0.0
    weight = 1.0 / n + (n - 1.0) * pairs
    slope = 2.0 * pairs
    for i in range(n):
        x = np.float64(z[i])
        w = weight - slope * i
        x2 = x * x
        x3 = x2 * x
        wx = w * x
        wx5 = wx * (x2 * x2)
        c0 += wx
        c1 += wx * x
        c2 += wx * x2
        c3 += wx * x3
        c4 += wx5
        c5 += wx5 * x
        c6 += wx5 * x2
        c7 += wx5 * x3
    return c0, c1 * _F[1], c2 * _F[2], c3 * _F[3], c4 * _F[4], c5 * _F[5], c6 * _F[6], c7 * _F[7]


@njit(nogil=True, cache=True)
def _evaluate(z, pairs, table, volatility, powers, inverse, change, logs, weight, absolute, price_ratio, out):
    """Add one change's CRPS to each prompt's total."""
    n = z.shape[0]
    limit = np.empty(_PROMPTS, np.float32)
    below = np.empty(_PROMPTS, np.int64)
    lowest = np.float64(z[0])
    highest = np.float64(z[n - 1])
    for first in range(0, change.shape[0], _PROMPTS):
        count = min(_PROMPTS, change.shape[0] - first)
        for j in range(count):
            limit[j] = logs[first + j] * inverse[first + j]
            below[j] = 0
        left = n
        while left > 0:
            half = (left + 1) >> 1
            for j in range(count):
                below[j] += half * (z[below[j] + half - 1] <= limit[j])
            left -= half
        for j in range(count):
            p = first + j
            y = change[p]
            if math.isnan(y):
                continue
            s = volatility[p]
            k = below[j]
            w = powers[p]
            t = table[k]
            crps = ((t[0] * w[0] + t[1] * w[1]) + (t[2] * w[2] + t[3] * w[3])) + (
                (t[4] * w[4] + t[5] * w[5]) + (t[6] * w[6] + t[7] * w[7])
            )
            crps += y * (2.0 * k / n - 1.0)
            if s * lowest < -_SERIES_LIMIT or s * highest > _SERIES_LIMIT:
                crps += _beyond_series(z, s, k, pairs)
            out[p] += crps * weight * (price_ratio[p] if absolute else 1.0)


@njit(nogil=True, cache=True)
def _beyond_series(z, s, k, pairs):
    """Return what the members far out add to the series' result."""
    n = z.shape[0]
    total = 0.0
    i = 0
    while i < n and s * z[i] < -_SERIES_LIMIT:
        total += _remainder(s * z[i]) * (1.0 / n - (2.0 * i - n + 1.0) * pairs - 2.0 / n * (i < k))
        i += 1
    i = n - 1
    while i >= 0 and s * z[i] > _SERIES_LIMIT:
        total += _remainder(s * z[i]) * (1.0 / n - (2.0 * i - n + 1.0) * pairs - 2.0 / n * (i < k))
        i -= 1
    return total


@njit(nogil=True, cache=True)
def _remainder(x):
    series = 0.0
    for m in range(TERMS - 1, -1, -1):
        series = series * x + _F[m]
    return math.expm1(min(max(x, -_MOVE_LIMIT), _MOVE_LIMIT)) - series * x
