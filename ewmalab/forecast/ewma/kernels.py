"""Kernels of `ewma`: the variance's filter, and paths of Student-t shocks.

The filter is float64 without fast-math, so that batches and single bars give the same bits; paths are float32.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from ewmalab.elementary import FAST
from ewmalab.forecast.draws import (
    BLOCK,
    load_lane,
    order_space,
    put_block,
    store_lane,
    stratified,
    student_t,
    take_block,
)
from ewmalab.forecast.paths import LOG_RETURN_LIMIT

HOLD, REVERT, DECAY = 0, 1, 2

# Layout of one resolution's state vector.
VARIANCE, LONG_RUN, COUNT, LAST_TIME, LAST_CLOSE = range(5)

MAX_VARIANCE = 1e4

_f32 = np.float32


@njit(nogil=True, cache=True)
def variance_proxies(
    timestamp,
    opens,
    highs,
    lows,
    closes,
    resolution,
    last_time,
    last_close,
    alpha,
    floor,
    spread_gaps,
    scale,
    proxies,
    elapsed,
):
    """Fill `proxies` with each bar's variance and `elapsed` with the bars since the previous one.

    With ``r = ln(close / previous close)`` and a real range,
    ``v = alpha r**2 + (1 - alpha) ln(high / low)**2 / (4 ln 2)`` (Parkinson, 1980, doi:10.1086/296071). A close-only
    bar gives ``v = r**2``; the first bar, which has no return, the range alone.

    Parameters
    ----------
    timestamp, opens, highs, lows, closes : (n,)
        Bars.
    resolution : int
        Seconds per bar.
    last_time, last_close : float
        Label and close of the bar before the first; NaN if none.
    alpha : float
        Weight of the squared return against the squared range.
    floor : float
        Smallest variance per bar.
    spread_gaps : bool
        Whether a return over k bars counts as k returns of a k-th of its variance.
    scale : (n,) float64
        Volatility of each bar relative to the estimated level; divided out.
    proxies, elapsed : (n,) float64
        Results. A bar without information (the first, if close-only) gives NaN.
    """
    parkinson = 1.0 / (4.0 * math.log(2.0))
    for i in range(timestamp.shape[0]):
        bars = (timestamp[i] - last_time) / resolution if not math.isnan(last_time) else 1.0
        r2 = math.nan
        if not math.isnan(last_close):
            r = math.log(closes[i] / last_close)
            r2 = r * r
        if spread_gaps:
            r2 = r2 / bars
        if math.isnan(highs[i]):
            v = r2
        else:
            width = math.log(highs[i] / lows[i])
            range2 = width * width * parkinson
            v = range2 if math.isnan(r2) else alpha * r2 + (1.0 - alpha) * range2
        proxies[i] = max(v / (scale[i] * scale[i]), floor) if not math.isnan(v) else math.nan
        elapsed[i] = bars
        last_time = timestamp[i]
        last_close = closes[i]


@njit(nogil=True, cache=True)
def filter_variances(
    proxies, elapsed, decays, variances, long_run, count, long_decay, expanding, gap_policy, gap_decay, track
):
    """Run EWMA recursions for many decays at once, in place: ``h <- decay h + (1 - decay) v``.

    Parameters
    ----------
    proxies, elapsed : (n,) float64
        From `variance_proxies`; a NaN proxy leaves everything as it is.
    decays, variances : (k,) float64
        Decays, and their variances before and (result) after.
    long_run : (1,) float64
        The long-run variance; updated.
    count : float
        Bars seen so far.
    expanding : bool
        Weigh the first bars equally (weight 1 / count while that is above 1 - decay). The first bar then replaces the
        start value.
    long_decay, gap_decay : float
        Decays per bar of the long-run variance, and of the distance to it over a gap.
    gap_policy : int
        HOLD keeps the variance over a gap; REVERT moves it towards the long-run variance by `gap_decay` per missing
        bar; DECAY multiplies it by its own decay per missing bar.
    track : (n, k) or (0, k) float64
        Receives the variances after each bar if it has rows.

    Returns
    -------
    float
        Bars seen, these included.
    """
    number = decays.shape[0]
    keep_all = track.shape[0] > 0
    for i in range(proxies.shape[0]):
        v = proxies[i]
        if not math.isnan(v):
            missing = elapsed[i] - 1.0
            if missing > 0.0 and gap_policy == DECAY:
                for j in range(number):
                    variances[j] *= decays[j] ** missing
            elif missing > 0.0 and gap_policy == REVERT:
                weight = gap_decay**missing
                for j in range(number):
                    variances[j] = long_run[0] + (variances[j] - long_run[0]) * weight
            count += 1.0
            if expanding:
                first = 1.0 / count
                for j in range(number):
                    gain = max(1.0 - decays[j], first)
                    variances[j] = (1.0 - gain) * variances[j] + gain * v
            else:
                for j in range(number):
                    variances[j] = decays[j] * variances[j] + (1.0 - decays[j]) * v
            gain = max(1.0 - long_decay, 1.0 / count)
            long_run[0] = (1.0 - gain) * long_run[0] + gain * v
        if keep_all:
            for j in range(number):
                track[i, j] = variances[j]
    return count


def decay_of(half_life: float, step: float) -> float:
    """Return the decay per step of `step` seconds: exp(-ln 2 step / half_life).

    Examples
    --------
    >>> decay_of(60, 60)
    0.5
    """
    return float(np.exp(-math.log(2.0) * step / half_life))


@njit(nogil=True, cache=True, fastmath=FAST)
def ewma_paths(lanes, nu, decay, variance, scale, out):
    """Fill `out` with cumulative log-returns of paths with Student-t shocks and EWMA variance.

    Per step, with a unit-variance shock e: ``x = sqrt(h) e``, the path moves by ``scale[t] x`` and
    ``h <- decay h + (1 - decay) x**2``.

    Parameters
    ----------
    lanes : (4, n) uint32
        Generator states; advanced in place.
    nu : float
        Degrees of freedom, > 2.
    decay : float
        In-path decay; 1 keeps the variance of every path constant.
    variance : float
        Variance per step at the start.
    scale : (steps,) float32
        Factor on the volatility of each step.
    out : (steps + 1, n) float32
        Result; row 0 is zero.
    """
    power, unit = _f32(2.0 / nu), _f32(nu - 2.0)
    keep, gain = _f32(decay), _f32(1.0 - decay)
    limit, top = _f32(LOG_RETURN_LIMIT), _f32(MAX_VARIANCE)
    for first in range(0, lanes.shape[1], BLOCK):
        block = take_block(lanes, first)
        m = block[0].shape[0]
        h = np.full(m, _f32(variance))
        path = np.zeros(m, np.float32)
        out[0, first : first + m] = _f32(0)
        for t in range(scale.shape[0]):
            row = out[t + 1, first : first + m]
            factor = scale[t]
            for j in range(m):
                x, square, lane = student_t(load_lane(block, j), power, h[j] * unit)
                store_lane(block, j, lane)
                moved = min(max(path[j] + factor * x, -limit), limit)
                path[j] = moved
                row[j] = moved
                h[j] = min(keep * h[j] + gain * square, top)
        put_block(lanes, first, block)


@njit(nogil=True, cache=True, fastmath=FAST)
def stratified_ewma_paths(lanes, strata, decay, variance, scale, out):
    """Fill `out` as `ewma_paths`, with stratified shocks.

    Parameters
    ----------
    lanes : (4, BLOCK) uint32
        Generator states.
    strata : (offsets, n) float32
        From `student_t_strata`.
    decay, variance, scale, out
        As for `ewma_paths`.
    """
    n = out.shape[1]
    keep, gain = _f32(decay), _f32(1.0 - decay)
    limit, top = _f32(LOG_RETURN_LIMIT), _f32(MAX_VARIANCE)
    block = take_block(lanes, 0)
    order, shock = order_space(n), np.empty(n, np.float32)
    h, path = np.full(n, _f32(variance)), np.zeros(n, np.float32)
    out[0] = _f32(0)
    for t in range(scale.shape[0]):
        stratified(block, strata, order, shock)
        row = out[t + 1]
        factor = scale[t]
        for j in range(n):
            x = np.sqrt(h[j]) * shock[j]
            moved = min(max(path[j] + factor * x, -limit), limit)
            path[j] = moved
            row[j] = moved
            h[j] = min(keep * h[j] + gain * x * x, top)
