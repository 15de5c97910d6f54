"""Random draws of the path kernels, in float32: uniform, normal, Student-t, and stratified over the paths.

A *lane* is one path with its own xoshiro128++ generator (Blackman and Vigna, 2021, doi:10.1145/3460772), so that the
innermost loop of a path kernel runs over lanes and vectorises. A kernel works through blocks of lanes, whose generators
then stay in the first-level cache::

    for first in range(0, lanes.shape[1], BLOCK):
        block = take_block(lanes, first)
        for step in range(steps):
            for j in range(block[0].shape[0]):
                z, lane = normal(load_lane(block, j))
                store_lane(block, j, lane)
        put_block(lanes, first, block)

Stratified draws are made for all paths of a step at once, from one block of lanes::

    order, shock = order_space(paths), np.empty(paths, np.float32)
    block = take_block(lanes, 0)
    for step in range(steps):
        stratified(block, strata, order, shock)

A draw takes the state of a lane, four uint32, and returns the next one. Several draws in a row therefore cost one load
and one store. The compiler inlines each function here. numba caches a kernel under the time stamp of the kernel's own
file, so delete the ``__pycache__`` folders after a change in this module.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from ewmalab.elementary import FAST, cos_2pi_uniform, exp2m1, minus_log2_uniform

BLOCK = 128
"""Lanes per block: 128 lanes of state and variance fit the first-level cache with room for the rows."""

_f32, _u32, _u64 = np.float32, np.uint32, np.uint64
_TWO_LN2 = _f32(2.0 * math.log(2.0))


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
def take_block(lanes, first):
    """Return the states of up to BLOCK lanes from `first` on, as four arrays.

    Separate arrays let the compiler see that they do not overlap.
    """
    a, b, c, d = lanes[0], lanes[1], lanes[2], lanes[3]
    last = first + BLOCK
    return a[first:last].copy(), b[first:last].copy(), c[first:last].copy(), d[first:last].copy()


@njit
def put_block(lanes, first, block):
    """Write the states of a block back, so that the generators continue where they stopped."""
    a, b, c, d = block
    last = first + a.shape[0]
    lanes[0, first:last] = a
    lanes[1, first:last] = b
    lanes[2, first:last] = c
    lanes[3, first:last] = d


@njit
def load_lane(block, j):
    """Return the state of lane j of a block."""
    a, b, c, d = block
    return a[j], b[j], c[j], d[j]


@njit
def store_lane(block, j, lane):
    """Store the state of lane j of a block."""
    a, b, c, d = block
    a[j], b[j], c[j], d[j] = lane


@njit
def uniform(lane):
    """Return a uint32 draw u, which stands for (u + 1/2) / 2**32, and the lane's next state (xoshiro128++)."""
    a, b, c, d = lane
    draw = _u32(_rotl(_u32(a + d), 7) + a)
    shifted = _u32(b << _u32(9))
    c = _u32(c ^ a)
    d = _u32(d ^ b)
    b = _u32(b ^ c)
    a = _u32(a ^ d)
    c = _u32(c ^ shifted)
    d = _rotl(d, 11)
    return draw, (a, b, c, d)


@njit(fastmath=FAST)
def normal(lane):
    """Return a standard normal draw and the lane's next state.

    One of the pair of Box and Muller (1958), doi:10.1214/aoms/1177706645: with uniform U and V,
    ``sqrt(-2 ln U) cos(2 pi V)``.
    """
    u, lane = uniform(lane)
    v, lane = uniform(lane)
    return np.sqrt(_TWO_LN2 * minus_log2_uniform(u)) * cos_2pi_uniform(v), lane


@njit(fastmath=FAST)
def student_t(lane, power, scale):
    """Return a Student-t draw of any variance, its square, and the lane's next state.

    Bailey's polar form (Bailey, 1994, doi:10.1090/S0025-5718-1994-1219702-8): with uniform U and V,
    ``sqrt(nu (U**(-2 / nu) - 1)) cos(2 pi V)`` has the t distribution with nu degrees of freedom; with the factor
    ``(nu - 2) variance`` in place of nu it has that variance. It needs one square root per draw and no table.

    Parameters
    ----------
    lane : four uint32
    power : float32
        2 / nu, with nu > 2.
    scale : float32
        (nu - 2) variance.
    """
    u, lane = uniform(lane)
    v, lane = uniform(lane)
    radius = scale * exp2m1(power * minus_log2_uniform(u))
    cosine = cos_2pi_uniform(v)
    return np.sqrt(radius) * cosine, radius * cosine * cosine, lane


@njit
def order_space(paths):
    """Return space for the shuffle of so many paths: whole blocks of generators."""
    return np.empty((paths + BLOCK - 1) // BLOCK * BLOCK, np.uint32)


@njit
def stratified(block, strata, order, out):
    """Fill `out` with one draw for each path.

    Durstenfeld's shuffle (Knuth, The Art of Computer Programming 2, 3.4.2) from the inside out, with 32-bit uniforms
    for which a place among M is likelier than another by at most M / 2**32, relative. The shuffle has no use for the
    draw of the first place, which chooses the offset.

    Parameters
    ----------
    block : four (BLOCK,) uint32
        Generators, from `take_block`; advanced in place.
    strata : (offsets, M) float32
    order : uint32
        Space for the shuffle, from `order_space`.
    out : (M,) float32
        Result.
    """
    width = block[0].shape[0]
    u, _ = uniform(load_lane(block, 0))
    row = strata[(_u64(u) * _u64(strata.shape[0])) >> _u64(32)]
    for first in range(0, order.shape[0], width):
        part = order[first : first + width]
        for j in range(width):
            u, lane = uniform(load_lane(block, j))
            store_lane(block, j, lane)
            part[j] = _u32((_u64(u) * _u64(_u32(first + j + 1))) >> _u64(32))
    for i in range(row.shape[0]):
        place = order[i]
        out[i] = out[place]
        out[place] = row[i]
