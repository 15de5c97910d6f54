"""Kernels of `seasonal-har`: its state, and paths with stochastic volatility."""

from __future__ import annotations

import math

import numpy as np

from ewmalab.compiled import njit
from ewmalab.elementary import FAST, exp2m1
from ewmalab.forecast.draws import BLOCK, load_lane, normal, put_block, store_lane, student_t, take_block
from ewmalab.forecast.paths import LOG_RETURN_LIMIT

LAST_TIME, LAST_CLOSE, COUNT, FIRST = range(4)
"""Entries of a state: label and close of the newest bar, returns seen; from FIRST on the averages."""

_f32 = np.float32


@njit(nogil=True, cache=True)
def follow(state, keep, timestamp, close, begin, season, states):
    """Update averages of the deseasonalised absolute return with bars; `state` is advanced in place.

    A return over several minutes is one observation: |r| divided by the root of the season's variance summed over them.
    Observations have equal weights until the decay's own weight is larger.

    Parameters
    ----------
    state : (3 + K,) float64
    keep : (K,) float64
        Decay factors per minute.
    timestamp, close : (n,)
    begin : int
        Label of the first minute of `season`.
    season : (m,) float64
        Squared season of each minute, present or not, up to the last bar.
    states : (n or 0, 3 + K) float64
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
            x = abs(math.log(close[i] / state[LAST_CLOSE])) / math.sqrt(variance)
            state[COUNT] += 1.0
            for k in range(count):
                gain = max(1.0 - keep[k] ** minutes, 1.0 / state[COUNT])
                state[FIRST + k] += gain * (x - state[FIRST + k])
        else:
            state[COUNT] = 0.0
        state[LAST_TIME] = timestamp[i]
        state[LAST_CLOSE] = close[i]
        if states.shape[0]:
            states[i] = state


@njit(nogil=True, cache=True, fastmath=FAST)
def stochastic_volatility_paths(lanes, nu, level, wave, persistence, sigma, out):
    """Fill `out` with cumulative log-returns: ``sigma[t] exp(level U + wave V_t) e_t``, V an AR(1) of unit variance.

    U is one standard normal per path, V starts in its stationary distribution, e is Student-t of unit variance. Paths
    come in antithetic pairs: the second half mirrors the first, with the same volatility.

    Parameters
    ----------
    lanes : (4, m) uint32
        Generator states of the first half: (n + 1) // 2 of them; advanced in place.
    nu : float
        Degrees of freedom, > 2.
    level, wave : float
        Standard deviations of the log-volatility's constant and moving part.
    persistence : float
        Autocorrelation of V from step to step.
    sigma : (steps,) float32
        Volatility of each step.
    out : (steps + 1, n) float32
        Result; row 0 is zero.
    """
    half = lanes.shape[1]
    power, unit = _f32(2.0 / nu), _f32(nu - 2.0)
    stay = _f32(persistence)
    push = _f32(math.sqrt(max(0.0, 1.0 - persistence * persistence)))
    to_log2 = _f32(1.0 / math.log(2.0))
    fixed, moving = _f32(level) * to_log2, _f32(wave) * to_log2
    limit = _f32(LOG_RETURN_LIMIT)
    out[0] = _f32(0)
    for first in range(0, half, BLOCK):
        block = take_block(lanes, first)
        m = block[0].shape[0]
        base = np.empty(m, np.float32)
        slow = np.empty(m, np.float32)
        path = np.zeros(m, np.float32)
        for j in range(m):
            z, lane = normal(load_lane(block, j))
            base[j] = fixed * z
            slow[j], lane = normal(lane)
            store_lane(block, j, lane)
        for t in range(sigma.shape[0]):
            row = out[t + 1]
            size = sigma[t]
            for j in range(m):
                shock, _, lane = student_t(load_lane(block, j), power, unit)
                z, lane = normal(lane)
                store_lane(block, j, lane)
                factor = _f32(1.0) + exp2m1(base[j] + moving * slow[j])
                path[j] = min(max(path[j] + size * factor * shock, -limit), limit)
                slow[j] = stay * slow[j] + push * z
            for j in range(m):
                row[first + j] = path[j]
                if half + first + j < out.shape[1]:
                    row[half + first + j] = -path[j]
        put_block(lanes, first, block)
