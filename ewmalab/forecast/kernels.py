"""Path kernels: cumulative log-returns of many paths at once, in float32.

A *lane* is one path with its own xoshiro128++ generator (Blackman and Vigna, 2021, doi:10.1145/3460772), so
the innermost loop runs over lanes and vectorises. Steps run inside blocks of lanes so that the generators and
variances of a block stay in the first-level cache.

Student-t shocks come from Bailey's polar form (Bailey, 1994, doi:10.1090/S0025-5718-1994-1219702-8): with
uniform U and V, ``sqrt(nu * (U**(-2 / nu) - 1)) * cos(2 pi V)`` has the t distribution with nu degrees of freedom;
unit variance replaces the factor nu by nu - 2. It needs one square root a draw and no table.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from ewmalab.elementary import FAST, cos_2pi_uniform, exp2m1, minus_log2_uniform

_BLOCK = 128  # lanes per block: 128 lanes of state and variance fit the first-level cache with room for the rows

_f32, _u32, _u64 = np.float32, np.uint32, np.uint64

# A path that moved by a factor e^30 has left every format and float32; nothing real comes near it.
LOG_RETURN_LIMIT = 30.0
VARIANCE_LIMIT = 1e4


@njit
def _rotl(x, k):
    return _u32(_u32(x << _u32(k)) | _u32(x >> _u32(32 - k)))


@njit
def _splitmix64(z):
    z = (z ^ (z >> _u64(30))) * _u64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> _u64(27))) * _u64(0x94D049BB133111EB)
    return z ^ (z >> _u64(31))


@njit(nogil=True, cache=True)
def seed_lanes(key_low, key_high, count):
    """Return (4, count) uint32 generator states; lane i is a pure function of (key, i)."""
    states = np.empty((4, count), np.uint32)
    golden = _u64(0x9E3779B97F4A7C15)
    for i in range(count):
        low = _splitmix64(key_low + golden * _u64(i + 1))
        high = _splitmix64(key_high ^ _splitmix64(low + golden))
        states[0, i] = _u32(low)
        states[1, i] = _u32(low >> _u64(32))
        states[2, i] = _u32(high)
        states[3, i] = _u32(high >> _u64(32)) | _u32(1)  # xoshiro's state must not be all zero
    return states


@njit
def _next(a, b, c, d):
    """One xoshiro128++ step: the draw and the new state."""
    draw = _u32(_rotl(_u32(a + d), 7) + a)
    shifted = _u32(b << _u32(9))
    c = _u32(c ^ a)
    d = _u32(d ^ b)
    b = _u32(b ^ c)
    a = _u32(a ^ d)
    c = _u32(c ^ shifted)
    d = _rotl(d, 11)
    return draw, a, b, c, d


@njit(nogil=True, cache=True)
def all_within(paths, limit):
    """Tell whether every value lies within +-limit; NaN does not."""
    for t in range(paths.shape[0]):
        inside = True
        for j in range(paths.shape[1]):
            inside &= abs(paths[t, j]) <= limit
        if not inside:
            return False
    return True


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
    count = lanes.shape[1]
    steps = scale.shape[0]
    power = _f32(2.0 / nu)
    unit = _f32(nu - 2.0)
    keep = _f32(decay)
    gain = _f32(1.0 - decay)
    limit = _f32(LOG_RETURN_LIMIT)
    top = _f32(VARIANCE_LIMIT)
    for first in range(0, count, _BLOCK):
        m = min(_BLOCK, count - first)
        s0 = lanes[0, first : first + m].copy()
        s1 = lanes[1, first : first + m].copy()
        s2 = lanes[2, first : first + m].copy()
        s3 = lanes[3, first : first + m].copy()
        h = np.full(m, _f32(variance))
        path = np.zeros(m, np.float32)
        out[0, first : first + m] = _f32(0)
        for t in range(steps):
            row = out[t + 1, first : first + m]
            factor = scale[t]
            for j in range(m):
                a, b, c, d = s0[j], s1[j], s2[j], s3[j]
                u, a, b, c, d = _next(a, b, c, d)
                v, a, b, c, d = _next(a, b, c, d)
                s0[j] = a
                s1[j] = b
                s2[j] = c
                s3[j] = d
                radius = h[j] * unit * exp2m1(power * minus_log2_uniform(u))
                cosine = cos_2pi_uniform(v)
                x = path[j] + factor * np.sqrt(radius) * cosine
                x = min(max(x, -limit), limit)
                path[j] = x
                row[j] = x
                h[j] = min(keep * h[j] + gain * radius * cosine * cosine, top)
        lanes[0, first : first + m] = s0
        lanes[1, first : first + m] = s1
        lanes[2, first : first + m] = s2
        lanes[3, first : first + m] = s3


@njit(nogil=True, cache=True, fastmath=FAST)
def random_walk_paths(lanes, sigma, out):
    """Fill `out` with cumulative log-returns of ``P *= 1 + sigma N(0, 1)`` (Box-Muller).

    Parameters
    ----------
    lanes : (4, n) uint32
        Generator states; advanced in place.
    sigma : float
        Standard deviation of one step's relative change, below 0.1.
    out : (steps + 1, n) float32
        Result; row 0 is zero.
    """
    count = lanes.shape[1]
    steps = out.shape[0] - 1
    sd = _f32(sigma)
    two_ln2 = _f32(2.0 * math.log(2.0))
    for first in range(0, count, _BLOCK):
        m = min(_BLOCK, count - first)
        s0 = lanes[0, first : first + m].copy()
        s1 = lanes[1, first : first + m].copy()
        s2 = lanes[2, first : first + m].copy()
        s3 = lanes[3, first : first + m].copy()
        path = np.zeros(m, np.float32)
        out[0, first : first + m] = _f32(0)
        for t in range(steps):
            row = out[t + 1, first : first + m]
            for j in range(m):
                a, b, c, d = s0[j], s1[j], s2[j], s3[j]
                u, a, b, c, d = _next(a, b, c, d)
                v, a, b, c, d = _next(a, b, c, d)
                s0[j] = a
                s1[j] = b
                s2[j] = c
                s3[j] = d
                x = sd * np.sqrt(two_ln2 * minus_log2_uniform(u)) * cos_2pi_uniform(v)
                # log(1 + x) to x**5: |x| < 6.7 sd, so the remainder is below 1e-8 for sd up to 0.01 an hour
                step = x * (_f32(1) - x * (_f32(0.5) - x * (_f32(1 / 3) - x * (_f32(0.25) - x * _f32(0.2)))))
                path[j] += step
                row[j] = path[j]
        lanes[0, first : first + m] = s0
        lanes[1, first : first + m] = s1
        lanes[2, first : first + m] = s2
        lanes[3, first : first + m] = s3
