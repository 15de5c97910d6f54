"""Kernels of the fit: CRPS of many distributions, and of one distribution at many scales."""

from __future__ import annotations

import numpy as np
from numba import njit
from scipy import special

_CONSTANT = float(4.0 / 3.0 * special.beta(0.5, 3.5) / special.beta(0.5, 2.0) ** 2)


@njit(nogil=True, cache=True)
def crps_of_scales(y, logs, level, slopes, gradient, weight):
    """Sum the CRPS of Student-t distributions with 4 degrees of freedom and scales ``exp(level + logs @ slopes)``.

    Jordan, Krueger and Lerch (2019), doi:10.18637/jss.v090.i12, with the distribution's closed forms.

    Parameters
    ----------
    y : (n,) float64
    logs : (n, K) float64
    level : float
    slopes : (K,) float64
    gradient : (K,) float64
        Receives the derivative by the slopes, added to what it holds.
    weight : float
        Factor on everything.

    Returns
    -------
    float, float
        The sum, and its derivative by the level.
    """
    total, by_level = 0.0, 0.0
    memories = len(slopes)
    for i in range(len(y)):
        exponent = level
        for k in range(memories):
            exponent += logs[i, k] * slopes[k]
        sigma = np.exp(min(max(exponent, -25.0), 5.0))
        z = abs(y[i]) / sigma
        square = 1.0 + z * z / 4.0
        root = np.sqrt(square)
        twice = 0.75 * z / root * (1.0 - z * z / (12.0 * square))  # 2 F(z) - 1
        density = 0.375 / (square * square * root)
        standard = z * twice + 2.0 / 3.0 * density * (4.0 + z * z) - _CONSTANT
        total += sigma * standard
        # the derivative of sigma crps(y / sigma) is crps(z) - z crps'(z), and crps'(z) = 2 F(z) - 1
        slope = weight * sigma * (standard - z * twice)
        by_level += slope
        for k in range(memories):
            gradient[k] += slope * logs[i, k]
    return weight * total, by_level


@njit(nogil=True, cache=True)
def crps_by_scale(observed, draws, scales):
    """Return the mean CRPS of draws times each scale.

    Parameters
    ----------
    observed, draws : (n,), (m,) float64
        Ascending.
    scales : (S,) float64

    Returns
    -------
    (S,) float64
    """
    n, m = len(observed), len(draws)
    total, spread = 0.0, 0.0
    for i in range(m):
        total += draws[i]
        spread += (2.0 * (i + 1) - m - 1.0) * draws[i]
    spread /= float(m) * m
    out = np.empty(len(scales))
    for s in range(len(scales)):
        distance, below, k = 0.0, 0.0, 0
        for i in range(n):
            z = observed[i] / scales[s]
            while k < m and draws[k] <= z:
                below += draws[k]
                k += 1
            distance += (2.0 * k - m) * z + total - 2.0 * below
        out[s] = scales[s] * (distance / (float(n) * m) - spread)
    return out
