"""CRPS of ensembles that differ by their volatility alone, from one sorted set of normalised returns.

Where a forecaster's log-returns are ``s z`` with z independent of the initial volatility s, one set of z serves every
prompt. With z_0 <= ... <= z_{N-1}, x_i = expm1(s z_i) and k members at or below the observation y, ::

    CRPS = y (2 k / N - 1) + (sum_i x_i - 2 sum_{i<k} x_i) / N - sum_i (2 i - N + 1) x_i / N**2

and the exponential's series makes each sum a polynomial in s whose coefficients are prefix sums of z**m / m!. A score
then costs one binary search and one dot product of 8 terms.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

TERMS = 8  # the first term left out is (s z)**9 / 9!: 3e-15 for a move of 10 %


_BLOCK = 8  # members per stored prefix: fewer would leave the second-level cache, more would cost at each evaluation


@dataclass(frozen=True, slots=True, eq=False)
class ChangeTable:
    """What the CRPS of one change needs of the normalised returns.

    Attributes
    ----------
    sorted_returns : (n,) float32
        Normalised log-returns over the change, ascending.
    prefixes : (n // 8 + 1, 8) float64
        Row b: sums of z**m / m! over the first 8 b members, m = 1..8.
    constants : (8,) float64
        Coefficients that do not depend on the observation.
    """

    sorted_returns: npt.NDArray[np.float32]
    prefixes: npt.NDArray[np.float64]
    constants: npt.NDArray[np.float64]


def change_table(sorted_returns: npt.NDArray[np.float32], members: int | None = None) -> ChangeTable:
    """Prepare one change.

    Parameters
    ----------
    sorted_returns : (n,) float32
        Normalised log-returns over the change, ascending.
    members : int, optional
        Size of the ensembles whose expected CRPS is wanted, at most n: the pair term then has the factor that ensembles
        of that size have on average. By default n: the CRPS of this very ensemble.

    Returns
    -------
    ChangeTable

    Raises
    ------
    ValueError
        If `members` exceeds n.
    """
    n = len(sorted_returns)
    size = members or n
    if not 1 <= size <= n:
        raise ValueError(f"members must lie between 1 and {n}, got {size}")
    pairs = 1.0 / (n * n) if size == n else (1.0 - 1.0 / size) / (n * (n - 1.0))
    prefixes, constants = np.empty((n // _BLOCK + 1, TERMS)), np.empty(TERMS)
    _build(sorted_returns, pairs, prefixes, constants)
    return ChangeTable(sorted_returns, prefixes, constants)


def scale_free_crps(
    table: ChangeTable, volatility: npt.NDArray[np.float64], observed: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return the CRPS of ensembles ``expm1(volatility * z)`` against relative changes `observed`.

    Parameters
    ----------
    table : ChangeTable
    volatility : (p,) float64
        Initial volatility of each prompt's ensemble, > 0.
    observed : (p,) float64
        Relative changes, above -1; NaN where the change is not scored.

    Returns
    -------
    (p,) float64
        As relative changes; NaN where not scored.
    """
    out = np.empty(len(observed))
    _evaluate(table.sorted_returns, table.prefixes, table.constants, volatility, observed, np.log1p(observed), out)
    return out


_INVERSE_FACTORIALS = np.array([1.0 / math.factorial(m) for m in range(1, TERMS + 1)])


@njit(nogil=True, cache=True, fastmath={"contract"})
def _build(z, pairs, prefixes, constants):
    n = z.shape[0]
    power = np.empty(TERMS)
    total = np.zeros(TERMS)
    gini = np.zeros(TERMS)
    for i in range(n):
        if i % _BLOCK == 0:
            prefixes[i // _BLOCK] = total
        x = np.float64(z[i])
        x2 = x * x
        x4 = x2 * x2
        power[0] = x
        power[1] = x2
        power[2] = x2 * x
        power[3] = x4
        power[4] = x4 * x
        power[5] = x4 * x2
        power[6] = x4 * x2 * x
        power[7] = x4 * x4
        weight = 2.0 * i - n + 1.0
        for m in range(TERMS):
            total[m] += power[m]
            gini[m] += weight * power[m]
    if n % _BLOCK == 0:
        prefixes[n // _BLOCK] = total
    for b in range(prefixes.shape[0]):
        for m in range(TERMS):
            prefixes[b, m] *= _INVERSE_FACTORIALS[m]
    for m in range(TERMS):
        constants[m] = (total[m] / n - gini[m] * pairs) * _INVERSE_FACTORIALS[m]


@njit(nogil=True, cache=True)
def _evaluate(z, prefixes, constants, volatility, observed, logs, out):
    n = z.shape[0]
    for p in range(observed.shape[0]):
        y = observed[p]
        s = volatility[p]
        if math.isnan(y):
            out[p] = y
            continue
        limit = logs[p] / s
        below = 0  # members at or below the observation, by a search whose steps do not branch
        left = n
        while left > 1:
            half = left >> 1
            below += half * (z[below + half - 1] <= limit)
            left -= half
        below += z[below] <= limit
        total = y * (2.0 * below / n - 1.0)
        block = below // _BLOCK
        power = 1.0
        for m in range(TERMS):
            power *= s
            total += (constants[m] - 2.0 / n * prefixes[block, m]) * power
        rest = 0.0
        for i in range(block * _BLOCK, below):
            x = s * z[i]
            series = 0.0
            for m in range(TERMS - 1, -1, -1):
                series = (series + _INVERSE_FACTORIALS[m]) * x
            rest += series
        out[p] = total - 2.0 / n * rest
