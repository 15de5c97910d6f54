"""Kernels of the fit: CRPS of many distributions, and of one distribution at many scales."""

from __future__ import annotations

import numpy as np
from scipy import special

from ewmalab.compiled import njit

_BLOCK = 256
_CONSTANT = float(4.0 / 3.0 * special.beta(0.5, 3.5) / special.beta(0.5, 2.0) ** 2)


@njit(nogil=True, cache=True, error_model="numpy")
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
    sigma, value, slope = np.empty(_BLOCK), np.empty(_BLOCK), np.empty(_BLOCK)
    for begin in range(0, len(y), _BLOCK):
        count = min(_BLOCK, len(y) - begin)
        for i in range(count):
            exponent = level
            for k in range(memories):
                exponent += logs[begin + i, k] * slopes[k]
            sigma[i] = np.exp(min(max(exponent, -25.0), 5.0))
        for i in range(count):  # apart from the exponentials and the sums, so that it becomes vector code
            z = abs(y[begin + i]) / sigma[i]
            square = 1.0 + z * z / 4.0
            root = np.sqrt(square)
            twice = 0.75 * z / root * (1.0 - z * z / (12.0 * square))  # 2 F(z) - 1
            density = 0.375 / (square * square * root)
            standard = z * twice + 2.0 / 3.0 * density * (4.0 + z * z) - _CONSTANT
            value[i] = sigma[i] * standard
            # the derivative of sigma crps(y / sigma) is crps(z) - z crps'(z), and crps'(z) = 2 F(z) - 1
            slope[i] = weight * sigma[i] * (standard - z * twice)
        for i in range(count):
            total += value[i]
            by_level += slope[i]
            for k in range(memories):
                gradient[k] += slope[i] * logs[begin + i, k]
    return weight * total, by_level


@njit
def _advance(draws, k, z):
    """Return the first place from `k` on whose draw is larger than `z`, or not a number."""
    k += draws[k] <= z  # without a branch: mostly it is none or one, which no processor predicts
    while draws[k] <= z:
        k += 1
    return k


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
    ended = np.full(m + 2, np.nan)
    ended[:m] = draws
    below = np.zeros(m + 1)
    spread = 0.0
    for i in range(m):
        below[i + 1] = below[i] + draws[i]
        spread += (2.0 * (i + 1) - m - 1.0) * draws[i]
    spread /= float(m) * m
    out = np.empty(len(scales))
    places = np.empty(n, np.int64)
    part = n // 4
    for s in range(len(scales)):
        z = observed / scales[s]
        a, b, c, d = np.searchsorted(draws, z[np.arange(4) * part])
        for i in range(part):  # four merges side by side, since each step waits for the one before it
            places[i] = a = _advance(ended, a, z[i])
            places[part + i] = b = _advance(ended, b, z[part + i])
            places[2 * part + i] = c = _advance(ended, c, z[2 * part + i])
            places[3 * part + i] = d = _advance(ended, d, z[3 * part + i])
        for i in range(4 * part, n):
            places[i] = d = _advance(ended, d, z[i])
        distance = 0.0
        for i in range(n):
            distance += (2.0 * places[i] - m) * z[i] + below[m] - 2.0 * below[places[i]]
        out[s] = scales[s] * (distance / (float(n) * m) - spread)
    return out
