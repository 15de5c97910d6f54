"""Sums and standard deviations in compiled code, equal to numpy's bit for bit.

numpy sums pairwise (Higham, 1993, doi:10.1137/0914050), a plain loop does not. Scores that are on record are reproduced
to the last bit, so compiled code must add in the same order.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from ewmalab.compiled import njit

_LEAF = 128  # numpy divides longer arrays

Floats = npt.NDArray[np.float64]


@njit(nogil=True, cache=True)
def pairwise_sum(x: Floats) -> float:
    """Return ``numpy.sum(x)`` of a contiguous array (n,)."""
    n = len(x)
    if n > _LEAF:
        half = n // 2 - n // 2 % 8
        return float(pairwise_sum(x[:half]) + pairwise_sum(x[half:]))
    total, whole = 0.0, 0
    if n >= 8:
        a, b, c, d, e, f, g, h = x[0], x[1], x[2], x[3], x[4], x[5], x[6], x[7]
        whole = n - n % 8
        for i in range(8, whole, 8):
            a += x[i]
            b += x[i + 1]
            c += x[i + 2]
            d += x[i + 3]
            e += x[i + 4]
            f += x[i + 5]
            g += x[i + 6]
            h += x[i + 7]
        total = ((a + b) + (c + d)) + ((e + f) + (g + h))
    for i in range(whole, n):
        total += x[i]
    return total


@njit(nogil=True, cache=True)
def mean_and_deviation(x: Floats, squares: Floats) -> tuple[float, float]:
    """Return ``numpy.mean(x)`` and ``numpy.std(x, ddof=1)`` of an array (n,); `squares` (n,) is working space.

    The deviation of a single value is 0.
    """
    n = len(x)
    mean = pairwise_sum(x) / n
    if n < 2:
        return mean, 0.0
    for i in range(n):
        d = x[i] - mean
        squares[i] = d * d
    return mean, math.sqrt(pairwise_sum(squares) / (n - 1))
