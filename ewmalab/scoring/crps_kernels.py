"""Kernels of the CRPS with one sort per row, and of the rows.

For members x_0 <= ... <= x_{N-1} and observation y, the ensemble CRPS with the 1 / N**2 pair term is
``mean|x_i - y| - sum_i (2 i - N + 1) x_i / N**2`` (Gneiting and Raftery, 2007, doi:10.1198/016214506000001437, by
sorting). The pair term's weights sum to zero, so x_i - y may replace x_i, which keeps float32 accurate.
"""

from __future__ import annotations

import math

import numpy as np

from ewmalab.compiled import njit
from ewmalab.elementary import FAST, expm1
from ewmalab.scoring.change_plan import ABSOLUTE
from ewmalab.scoring.sample_moments import mean_and_deviation

_CHUNK = 128  # members summed in float32 before the float64 total takes over

_f32, _i32 = np.float32, np.int32


@njit(nogil=True, cache=True)
def sorted_float64(rows, observed, out):
    """Write the CRPS of each row of `rows` (r, n), sorted ascending, against observed (r,) to out (r,)."""
    r, n = rows.shape
    for e in range(r):
        y = observed[e]
        spread = 0.0
        pairs = 0.0
        for i in range(n):
            d = rows[e, i] - y
            spread += abs(d)
            pairs += (2.0 * i - n + 1.0) * d
        out[e] = spread / n - pairs / n / n


@njit(nogil=True, cache=True, fastmath=FAST)
def sorted_float32(rows, observed, out):
    """Do as `sorted_float64` with float32 members: chunks in float32, totals in float64."""
    r, n = rows.shape
    inverse = 1.0 / n
    for e in range(r):
        row = rows[e]
        y = _f32(observed[e])
        spread = 0.0
        pairs = 0.0
        first = 0
        while first < n:
            last = min(first + _CHUNK, n)
            part = _f32(0)
            pair = _f32(0)
            for i in range(first, last):
                d = row[i] - y
                part += abs(d)
                pair += _f32(_i32(2 * i - n + 1)) * d
            spread += part
            pairs += pair
            first = last
        out[e] = spread * inverse - pairs * inverse * inverse


@njit(nogil=True, cache=True)
def observe(realised, anchor, begin, end, kind, observed, scale, rows):
    """Collect the changes that can be scored; return their number.

    A change is skipped if the price at either end is missing, an absolute one also if the last price is missing.
    Observations are in basis points relative to the anchor's path, so that members are ``scale * expm1(L)``.

    Parameters
    ----------
    realised : (steps + 1,) float64
        Prices on the grid, NaN where missing.
    anchor : float
        Price at which the paths start.
    begin, end, kind : (e,) int
        Grid indices and kind of each change.
    observed, scale : (e,) float64
        Results, for the changes kept.
    rows : (e,) int64
        Indices of the changes kept.
    """
    last = realised[realised.shape[0] - 1]
    kept = 0
    for e in range(begin.shape[0]):
        a = realised[begin[e]]
        b = realised[end[e]]
        if kind[e] == ABSOLUTE:
            if math.isnan(b) or math.isnan(last):
                continue
            scale[kept] = 1e4 * anchor / last
            observed[kept] = 1e4 * (b - anchor) / last
        else:
            if math.isnan(a) or math.isnan(b):
                continue
            scale[kept] = 1e4
            observed[kept] = 1e4 * (b - a) / a
        rows[kept] = e
        kept += 1
    return kept


@njit(nogil=True, cache=True)
def observe_deviations(realised, starts, lengths, observed, rows):
    """Collect the blocks that can be scored; return their number.

    A block counts if at least two of its realised changes exist; its realised deviation is that of the existing ones.

    Parameters
    ----------
    realised : (steps + 1,) float64
        Prices on the grid, NaN where missing.
    starts, lengths : (b,) int64
        First change and number of changes of each block.
    observed : (b,) float64
        Result: sample standard deviations, basis points, of the blocks kept.
    rows : (b,) int64
        Indices of the blocks kept.
    """
    changes = np.empty(realised.shape[0])
    squares = np.empty(realised.shape[0])
    kept = 0
    for k in range(starts.shape[0]):
        count = 0
        for t in range(starts[k], starts[k] + lengths[k]):
            change = 1e4 * (realised[t + 1] - realised[t]) / realised[t]
            if not math.isnan(change):
                changes[count] = change
                count += 1
        if count >= 2:
            _, observed[kept] = mean_and_deviation(changes[:count], squares[:count])
            rows[kept] = k
            kept += 1
    return kept


@njit(nogil=True, cache=True, fastmath=FAST)
def member_changes(log_returns, out):
    """Fill `out` with the changes from step to step, basis points.

    Parameters
    ----------
    log_returns : (steps + 1, n) float32
        Cumulative log-returns.
    out : (steps, n) float32
        Result.
    """
    for t in range(out.shape[0]):
        a = log_returns[t]
        b = log_returns[t + 1]
        for j in range(out.shape[1]):
            out[t, j] = _f32(1e4) * expm1(b[j] - a[j])


@njit(nogil=True, cache=True)
def block_deviations(changes, starts, lengths, out):
    """Fill `out` with the sample standard deviation (ddof 1) of each column of `changes` in blocks.

    Parameters
    ----------
    changes : (steps, n)
    starts, lengths : (b,) int64
        First row and number of rows, at least 2, of each block.
    out : (b, n) float64
        Result.
    """
    n = changes.shape[1]
    mean = np.empty(n)
    square = np.empty(n)
    for k in range(starts.shape[0]):
        begin, length = starts[k], lengths[k]
        mean[:] = 0.0
        square[:] = 0.0
        for t in range(begin, begin + length):
            for j in range(n):
                mean[j] += changes[t, j]
        for j in range(n):
            mean[j] /= length
        for t in range(begin, begin + length):
            for j in range(n):
                d = changes[t, j] - mean[j]
                square[j] += d * d
        for j in range(n):
            out[k, j] = math.sqrt(square[j] / (length - 1))
