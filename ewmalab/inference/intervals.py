"""Block lengths of dependent series, and confidence intervals of their means."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ewmalab.inference.bootstrap import Floats, optimal_block, resampled_means

LEVEL = 0.95
REPLICATIONS = 1000
MIN_DIFFERENCES = 8
"""Fewest rows for an interval or a test of a mean."""
_MIN_FOR_BLOCK = 16  # fewest rows for an estimate of autocorrelations


@dataclass(frozen=True, slots=True)
class ConfidenceInterval:
    """A mean and its confidence interval.

    Attributes
    ----------
    mean, low, high : float
        In the unit of the series; the bounds are infinite if there are too few rows.
    """

    mean: float
    low: float
    high: float

    @property
    def sign(self) -> int:
        """Return -1 or 1 if the whole interval lies below or above zero, else 0."""
        return -1 if self.high < 0 else 1 if self.low > 0 else 0


def overlap_of(starts: npt.NDArray[np.int64], horizon: int) -> float:
    """Return how many consecutive rows share a part of what they observe: horizon over cadence, at least 1.

    Parameters
    ----------
    starts : (n,) int64
        Start times of the rows, ascending, seconds.
    horizon : int
        Length of each row, seconds.

    Examples
    --------
    >>> overlap_of(np.arange(0, 86_400, 3600), 86_400)
    24.0
    """
    if len(starts) < 2:
        return 1.0
    return max(1.0, horizon / float(np.median(np.diff(starts))))


def block_length(series: Floats, overlap: float = 1.0) -> float:
    """Return the mean block length of the stationary bootstrap for a dependent series.

    Parameters
    ----------
    series : (n,) or (n, k) float64
        With several series the longest block counts.
    overlap : float
        How many consecutive rows share a part of what they observe, from `overlap_of`.

    Returns
    -------
    float
        `optimal_block`, but at least twice the overlap, and at most a third of the series.
    """
    if not len(series):
        return 1.0
    table = series.reshape(len(series), -1)
    varying = table[:, np.ptp(table, axis=0) > 0]
    chosen = 1.0
    if len(table) >= _MIN_FOR_BLOCK and varying.shape[1]:
        chosen = float(np.nanmax([1.0, *map(optimal_block, varying.T)]))
    return max(1.0, min(max(chosen, 2.0 * max(overlap, 1.0)), len(table) / 3.0))


def mean_intervals(
    differences: Floats,
    block: float,
    rng: np.random.Generator,
    *,
    level: float = LEVEL,
    replications: int = REPLICATIONS,
) -> list[ConfidenceInterval]:
    """Return the confidence interval of each column's mean by the stationary block bootstrap.

    Parameters
    ----------
    differences : (n, k) float64
        Paired differences, time along the first axis; all columns share the resampled rows.
    block : float
        From `block_length`.
    rng : numpy Generator
        Draws the blocks.
    level : float
        Probability with which an interval holds the true mean.
    replications : int
        Number of resampled series.

    Returns
    -------
    list of ConfidenceInterval
        Percentile bounds, their distance from the mean multiplied by `widening`.
    """
    n = len(differences)
    means = differences.mean(axis=0)
    if n < MIN_DIFFERENCES:
        return [ConfidenceInterval(float(mean), -np.inf, np.inf) for mean in means]
    drawn = resampled_means(differences - means, block, rng, replications)
    tail = (1.0 - level) / 2.0
    below, above = np.quantile(drawn, [tail, 1.0 - tail], axis=0) * widening(n, block, level)
    return [
        ConfidenceInterval(float(mean), float(mean + a), float(mean + b))
        for mean, a, b in zip(means, below, above, strict=True)
    ]


def widening(count: int, block: float, level: float = LEVEL) -> float:
    """Return the factor by which bootstrap deviations are too small with few blocks.

    It is ``t / z * sqrt(m / (m - 1))`` with m = count / block and Student's t at m - 1 degrees of freedom; near 1 for
    many blocks.

    Examples
    --------
    >>> round(widening(168, 48.0), 2), round(widening(10_000, 1.0), 2)
    (2.16, 1.0)
    """
    from scipy import special

    blocks = count / block
    tail = (1.0 - level) / 2.0
    return float(special.stdtrit(blocks - 1.0, tail) / special.ndtri(tail) * np.sqrt(blocks / (blocks - 1.0)))
