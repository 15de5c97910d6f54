"""Kernels of `seasonal-har`: its state, and paths with stochastic volatility."""

from __future__ import annotations

import math

import numpy as np

from ewmalab.compiled import njit
from ewmalab.elementary import FAST, exp2m1
from ewmalab.forecast.draws import order_space, stratified, take_block
from ewmalab.forecast.paths import LOG_RETURN_LIMIT

LAST_TIME, LAST_CLOSE, COUNT, DRIFT, DRIFTS, MOVES, FIRST = range(7)
"""Entries of a state: label and close of the newest bar, returns seen; the sum of returns that decays, the means of its
size and of the returns' size; from FIRST on the averages, and after them the trends."""

_f32 = np.float32


@njit(nogil=True, cache=True)
def follow(state, keep, drift_keep, timestamp, close, begin, season, states):
    """Update averages of the deseasonalised absolute return with bars; `state` is advanced in place.

    A return over several minutes is one observation: |r| divided by the root of the season's variance summed over them.
    Observations have equal weights until the decay's own weight is larger. With their signs they also enter decaying
    sums, scaled to their size if they are independent: a short one, whose mean size tells whether closes are smooth or
    jumpy, and the trend of each memory.

    Parameters
    ----------
    state : (6 + 2 K,) float64
    keep : (K,) float64
        Decay factors per minute.
    drift_keep : float
        Decay factor of the sum per minute.
    timestamp, close : (n,)
    begin : int
        Label of the first minute of `season`.
    season : (m,) float64
        Squared season of each minute, present or not, up to the last bar.
    states : (n or 0, 6 + 2 K) float64
        Filled with the state after each bar, if it has rows.
    """
    count = keep.shape[0]
    for i in range(timestamp.shape[0]):
        if state[COUNT] >= 0.0:
            last = int(state[LAST_TIME])
            variance = 0.0
            for minute in range((last + 60 - begin) // 60, (timestamp[i] - begin) // 60 + 1):
                variance += season[minute]
            minutes = (timestamp[i] - last) // 60
            z = math.log(close[i] / state[LAST_CLOSE]) / math.sqrt(variance)
            x = abs(z)
            state[COUNT] += 1.0
            stay = drift_keep if minutes == 1 else drift_keep**minutes
            state[DRIFT] = stay * state[DRIFT] + math.sqrt(1.0 - stay * stay) * z
            state[DRIFTS] += (abs(state[DRIFT]) - state[DRIFTS]) / state[COUNT]
            state[MOVES] += (x - state[MOVES]) / state[COUNT]
            for k in range(count):
                held = keep[k] ** minutes
                gain = max(1.0 - held, 1.0 / state[COUNT])
                state[FIRST + k] += gain * (x - state[FIRST + k])
                state[FIRST + count + k] = held * state[FIRST + count + k] + math.sqrt(1.0 - held * held) * z
        else:
            state[COUNT] = 0.0
        state[LAST_TIME] = timestamp[i]
        state[LAST_CLOSE] = close[i]
        if states.shape[0]:
            states[i] = state


@njit(nogil=True, cache=True, fastmath=FAST)
def stochastic_volatility_paths(lanes, strata, normals, level, wave, persistence, sigma, out):
    """Fill `out` with cumulative log-returns: ``sigma[t] exp(level U + wave V_t) e_t``, V an AR(1) of unit variance.

    U is one standard normal per path, V starts in its stationary distribution, e is the shock. U, e and the start and
    the innovations of V are stratified draws.

    Parameters
    ----------
    lanes : (4, BLOCK) uint32
        Generator states.
    strata, normals : (offsets, n) float32
        Strata of the shock, of unit variance, and of the standard normal distribution.
    level, wave : float
        Standard deviations of the log-volatility's constant and moving part.
    persistence : float
        Autocorrelation of V from step to step.
    sigma : (steps,) float32
        Volatility of each step.
    out : (steps + 1, n) float32
        Result; row 0 is zero.
    """
    n = out.shape[1]
    to_log2 = 1.0 / math.log(2.0)
    fixed, moving, stay = _f32(level * to_log2), _f32(wave * to_log2), _f32(persistence)
    push = _f32(wave * to_log2 * math.sqrt(max(0.0, 1.0 - persistence * persistence)))
    limit = _f32(LOG_RETURN_LIMIT)
    block = take_block(lanes, 0)
    order = order_space(n)
    base, slow, path = np.empty(n, np.float32), np.empty(n, np.float32), np.zeros(n, np.float32)
    shock, innovation = np.empty(n, np.float32), np.empty(n, np.float32)
    stratified(block, normals, order, base)
    stratified(block, normals, order, slow)
    for j in range(n):
        base[j] *= fixed
        slow[j] *= moving
    out[0] = _f32(0)
    for t in range(sigma.shape[0]):
        stratified(block, strata, order, shock)
        stratified(block, normals, order, innovation)
        row = out[t + 1]
        size = sigma[t]
        for j in range(n):
            factor = _f32(1.0) + exp2m1(base[j] + slow[j])
            moved = min(max(path[j] + size * factor * shock[j], -limit), limit)
            path[j] = moved
            row[j] = moved
            slow[j] = stay * slow[j] + push * innovation[j]
