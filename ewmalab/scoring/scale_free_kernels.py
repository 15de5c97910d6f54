"""Kernels of `scale_free`: the series' coefficients of a sorted change, and the score of each prompt from them.

Kernels over several prompts use no fast-math: the bits of one must not depend on the others.
"""

from __future__ import annotations

import math

import numpy as np

from ewmalab.compiled import njit

TERMS = 8
# Beyond this the exponential itself replaces the series. At the limit the first omitted term, x**9 / 9!, is 5e-9, of a
# member whose weight in the score is about 2 / N.
_SERIES_LIMIT = 0.5
_MOVE_LIMIT = 30.0  # the limit of any path
_PROMPTS = 64  # searched side by side, so that the latencies of their loads overlap
_F = tuple(1.0 / math.factorial(m) for m in range(1, TERMS + 1))


@njit(nogil=True, cache=True)
def tabulate(z, pairs, table):
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


@njit(nogil=True, fastmath={"reassoc", "contract", "nsz"})  # harmless here: depends on the ensemble only
def _constants(z, pairs):
    """Return sums of z**m / m! with each member's weight in the mean less the pair term, for k = 0."""
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
def evaluate(z, pairs, table, prompts, observed, out):
    """Add one change's CRPS to each prompt's total.

    Parameters
    ----------
    z : (n,) float32
        The change in each member of the reference ensemble, ascending.
    pairs : float
        Weight of a pair of members.
    table : (n + 1, TERMS) float64
        From `tabulate`.
    prompts : tuple
        Volatility (p,), its powers (p, TERMS), its inverse (p,) float32 and price ratio (p,) of each prompt.
    observed : tuple
        The realised change: relative (p,), its log1p (p,) float32, its weight, and whether it is absolute.
    out : (p,) float64
        Result.
    """
    volatility, powers, inverse, price_ratio = prompts
    change, logs, weight, absolute = observed
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
    """Return the correction for members beyond the range of the series."""
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
