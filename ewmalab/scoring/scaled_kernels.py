"""Kernels of `scaled`: differences of paths, the CRPS of scaled changes, and deviations inside blocks.

The kernels treat each scale by itself: the bits of its score do not depend on the others.
"""

from __future__ import annotations

import math

import numpy as np

from ewmalab.compiled import njit
from ewmalab.elementary import FAST, expm1

_CHUNK = 256  # members summed in float32 before the float64 total takes over

_SMALL = np.float32(0.25)  # a change of which a short series is exact in float32
_F1, _F2, _F3, _F4, _F5 = (np.float32(1 / math.factorial(m)) for m in range(2, 7))

_f32 = np.float32


@njit(nogil=True, cache=True)
def differences(log_returns, begin, end, out):
    """Fill out (e, n) with ``L[end] - L[begin]`` of cumulative log-returns L (points, n)."""
    for e in range(begin.shape[0]):
        a = log_returns[begin[e]]
        b = log_returns[end[e]]
        for j in range(log_returns.shape[1]):
            out[e, j] = b[j] - a[j]


@njit(nogil=True, cache=True)
def scaled_changes(rows, scales, observed, weight, out):
    """Add the CRPS of the ensembles ``expm1(scale * z)`` against `observed`, times `weight`, to each scale's total.

    Parameters
    ----------
    rows : (e, n) float32
        Log-returns z of each change, ascending.
    scales : (k,) float32
        Above 0.
    observed : (e,) float64
        Relative changes.
    weight : (e,) float64
    out : (k,) float64
        Totals.
    """
    n = rows.shape[1]
    ranks = np.empty(n, np.float32)
    for i in range(n):
        ranks[i] = 2 * i - n + 1
    members = np.empty(_CHUNK, np.float32)
    for e in range(rows.shape[0]):
        for v in range(scales.shape[0]):
            out[v] += weight[e] * _crps(rows[e], scales[v], _f32(observed[e]), ranks, members)


@njit(nogil=True, fastmath=FAST)
def _crps(z, scale, y, ranks, members):
    """Return mean|x - y| - sum_i (2 i - n + 1) (x_i - y) / n**2 of x = expm1(scale * z); `members` is working space."""
    n = z.shape[0]
    small = scale * max(-z[0], z[n - 1]) <= _SMALL
    spread = 0.0
    pairs = 0.0
    for first in range(0, n, _CHUNK):
        chunk, rank = z[first : first + _CHUNK], ranks[first : first + _CHUNK]
        part = _f32(0)
        pair = _f32(0)
        if small:
            for i in range(chunk.shape[0]):
                d = _small_expm1(scale * chunk[i]) - y
                part += abs(d)
                pair += rank[i] * d
        else:
            # Through memory: reordered sums would join y to the 1 inside expm1 and round it to 6e-8.
            for i in range(chunk.shape[0]):
                members[i] = expm1(scale * chunk[i])
            for i in range(chunk.shape[0]):
                d = members[i] - y
                part += abs(d)
                pair += rank[i] * d
        spread += part
        pairs += pair
    return spread / n - pairs / n / n


@njit(fastmath=FAST)
def _small_expm1(x):
    """Return exp(x) - 1 for |x| <= _SMALL by six terms of its series; the next is below 5e-8, relative."""
    return x * (((((_F5 * x + _F4) * x + _F3) * x + _F2) * x + _F1) * x + _f32(1))


@njit(nogil=True, cache=True, fastmath=FAST)
def scaled_sums(log_returns, scale, length, total, square):
    """Fill `total` and `square` with the sums of ``x = expm1(scale * (L[t + 1] - L[t]))`` and of x**2 in blocks.

    Parameters
    ----------
    log_returns : (steps + 1, n) float32
        Cumulative log-returns L.
    scale : float32
    length : int
        Steps per block.
    total, square : (blocks, n) float64
        Results.
    """
    total[:] = 0.0
    square[:] = 0.0
    for k in range(total.shape[0]):
        sums, squares = total[k], square[k]
        for t in range(k * length, (k + 1) * length):
            a, b = log_returns[t], log_returns[t + 1]
            for j in range(a.shape[0]):
                x = np.float64(expm1(scale * (b[j] - a[j])))
                sums[j] += x
                squares[j] += x * x


@njit(nogil=True, cache=True, fastmath=FAST)
def joined_deviations(total, square, kept, length, join, out):
    """Fill `out` with the sample standard deviation (ddof 1) in blocks that join shorter ones.

    Parameters
    ----------
    total, square : (shorter blocks, n) float64
        From `scaled_sums`.
    kept : (blocks,) int64
        Indices of the blocks.
    length, join : int
        Steps and shorter blocks per block.
    out : (blocks, n) float32
        Result.
    """
    n = total.shape[1]
    sums, squares = np.empty(n), np.empty(n)
    for k in range(kept.shape[0]):
        sums[:] = 0.0
        squares[:] = 0.0
        for i in range(kept[k] * join, (kept[k] + 1) * join):
            more, more_squares = total[i], square[i]
            for j in range(n):
                sums[j] += more[j]
                squares[j] += more_squares[j]
        row = out[k]
        for j in range(n):
            row[j] = np.sqrt(_f32(max(squares[j] - sums[j] * sums[j] / length, 0.0) / (length - 1)))
