"""Elementary functions in float32 as short polynomials, so that loops over them vectorise.

For compiled code only. Each is accurate to a few units in the last place over the range that its docstring states.
"""

from __future__ import annotations

import math

import numpy as np

from ewmalab.compiled import njit

# For kernels whose values are finite by construction: allows reordered sums and fused products.
FAST = {"nnan", "ninf", "nsz", "arcp", "contract", "afn", "reassoc"}

_f32, _i32 = np.float32, np.int32

# Least-squares fits on Chebyshev nodes, float32; the tests repeat the fits and bound their errors.
# log2(1 + m) / m on [0, 1]
_LOG = tuple(
    _f32(c)
    for c in (
        1.4426947832107544,
        -0.7213107347488403,
        0.4800737500190735,
        -0.3534546494483948,
        0.2561796307563782,
        -0.15559986233711243,
        0.06378752738237381,
        -0.012370623648166656,
    )
)
# (2**f - 1) / f on [-1/2, 1/2]
_EXP = tuple(
    _f32(c)
    for c in (
        0.6931471824645996,
        0.24022650718688965,
        0.055503569543361664,
        0.009618056938052177,
        0.0013390866806730628,
        0.00015461447765119374,
    )
)
# sin(2 pi x) / x in x**2 on [-1/4, 1/4]
_SIN = tuple(
    _f32(c) for c in (6.2831854820251465, -41.34168243408203, 81.60247802734375, -76.58128356933594, 39.76072311401367)
)
_L0, _L1, _L2, _L3, _L4, _L5, _L6, _L7 = _LOG
_E0, _E1, _E2, _E3, _E4, _E5 = _EXP
_S0, _S1, _S2, _S3, _S4 = _SIN

_LOG2E = _f32(math.log2(math.e))
_MANTISSA, _ONE = _i32(0x007FFFFF), _i32(0x3F800000)


@njit
def _bits(x):
    return np.float32(x).view(np.int32)


@njit
def _from_bits(x):
    return np.int32(x).view(np.float32)


@njit(fastmath=FAST)
def minus_log2_uniform(u):
    """Return -log2((u + 1/2) / 2**32) of a uint32 draw."""
    x = _f32(u) + _f32(0.5)
    bits = _bits(x)
    exponent = _f32(_i32(_i32(bits >> _i32(23)) - _i32(127)))
    m = _from_bits(_i32(_i32(bits & _MANTISSA) | _ONE)) - _f32(1)
    p = ((((((_L7 * m + _L6) * m + _L5) * m + _L4) * m + _L3) * m + _L2) * m + _L1) * m + _L0
    return _f32(32) - exponent - m * p


@njit(fastmath=FAST)
def exp2m1(y):
    """Return 2**y - 1 for |y| < 126."""
    k = np.floor(y + _f32(0.5))
    f = y - k
    p = f * (((((_E5 * f + _E4) * f + _E3) * f + _E2) * f + _E1) * f + _E0)
    power = _from_bits(_i32(_i32(_i32(k) + _i32(127)) << _i32(23)))
    return power * p + (power - _f32(1))


@njit(fastmath=FAST)
def expm1(x):
    """Return exp(x) - 1 for |x| < 87, float32."""
    return exp2m1(x * _LOG2E)


@njit(fastmath=FAST)
def cos_2pi_uniform(u):
    """Return cos(2 pi u / 2**32) of a uint32 draw."""
    x = _f32(0.25) - abs(_f32(_i32(u)) * _f32(2.0**-32))
    z = x * x
    return x * ((((_S4 * z + _S3) * z + _S2) * z + _S1) * z + _S0)
