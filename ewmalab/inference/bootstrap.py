"""The stationary block bootstrap of means, and its automatic block length."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

_CELLS = 1 << 20  # sums of blocks held at once


def resampled_means(table: Floats, block: float, rng: np.random.Generator, replications: int) -> Floats:
    """Return the means of resampled series by the stationary bootstrap.

    Parameters
    ----------
    table : (n, k) float64
        Series in columns; all columns share the resampled rows.
    block : float
        Mean length of a block, rows; rounded. Blocks wrap around the end.
    rng : numpy Generator
    replications : int

    Returns
    -------
    (replications, k) float64

    References
    ----------
    Politis and Romano (1994), The stationary bootstrap, doi:10.1080/01621459.1994.10476870
    """
    n, k = table.shape
    length = max(1, round(block))
    # A block's sum is the difference of two prefix sums, so that a series costs its blocks instead of its rows.
    sums = np.concatenate([np.zeros((1, k)), np.cumsum(np.concatenate([table, table]), axis=0)])
    at_once = 1 + _CELLS * length // (n * k)
    parts = []
    for done in range(0, replications, at_once):
        begin, end, first = _blocks(n, length, rng, min(at_once, replications - done))
        parts.append(np.add.reduceat(sums[end] - sums[begin], first, axis=0) / n)
    return np.concatenate(parts)


def _blocks(n: int, length: int, rng: np.random.Generator, series: int) -> tuple[Ints, Ints, Ints]:
    """Draw the blocks of some series of n rows: first rows, ends, and where each series' blocks begin."""
    rows, places, counts = [], [], []
    for i in range(series):
        drawn = rng.integers(n, size=n)
        new = rng.random(n) <= 1.0 / length  # else the row continues a block
        new[0] = True
        at = np.flatnonzero(new)
        rows.append(drawn[at])
        places.append(at + i * n)
        counts.append(len(at))
    begin, place = np.concatenate(rows), np.concatenate([*places, [series * n]])
    return begin, begin + np.diff(place), np.cumsum([0, *counts[:-1]])


def optimal_block(series: Floats) -> float:
    """Return the block length of the stationary bootstrap that suits a series' autocorrelation.

    Parameters
    ----------
    series : (n,) float64

    Returns
    -------
    float
        Rows; NaN if the autocorrelations are not defined.

    References
    ----------
    Politis and White (2004), doi:10.1081/ETC-120028836, with Patton, Politis and White (2009),
    doi:10.1080/07474930802459016
    """
    n = len(series)
    centred = series - series.mean()
    run = max(5, int(np.log10(n)))  # so many insignificant autocorrelations in a row end the search
    longest = int(np.ceil(np.sqrt(n))) + run
    limit = 2.0 * np.sqrt(np.log10(n) / n)
    products = np.array([centred[lag:] @ centred[: n - lag] for lag in range(longest + 1)])
    covariance = products / n
    slope, variance = 0.0, covariance[0]
    with np.errstate(divide="ignore", invalid="ignore"):
        early, late = (np.cumsum(part**2)[-2 : -longest - 2 : -1] for part in (centred, centred[::-1]))
        lags = _significant_lags(np.abs(products[:-1]) / np.sqrt(early * late) < limit, run)
        for lag in range(1, lags + 1):
            weight = 2.0 * min(1.0, 2.0 * (1.0 - lag / lags))
            slope += weight * lag * covariance[lag]
            variance += weight * covariance[lag]
        found = (2.0 * slope**2 / (2.0 * variance**2)) ** (1 / 3) * n ** (1 / 3)
    return float(np.minimum(found, np.ceil(min(3.0 * np.sqrt(n), n / 3.0))))


def _significant_lags(small: npt.NDArray[np.bool_], run: int) -> int:
    """Return twice the first lag of a run of small autocorrelations, at most the number of lags."""
    length = 0
    for lag, one in enumerate(small):
        length = length + 1 if one else 0
        if length == run:
            return min(2 * max(lag + 1 - run, 1), len(small))
    return len(small)
