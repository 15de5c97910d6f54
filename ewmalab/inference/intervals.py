"""How the rows of a series depend on each other, and confidence intervals of its mean."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ewmalab.inference.bootstrap import Floats, optimal_block

LEVEL = 0.95
REPLICATIONS = 1000
MIN_DIFFERENCES = 8
"""Fewest rows for an interval or a test of a mean."""
MIN_STRETCHES = 4.0
"""Fewest independent stretches of rows for an interval or a test of a mean; see ``benchmarks/null_coverage.py``."""
_MIN_FOR_BLOCK = 16  # fewest rows for an estimate of autocorrelations


@dataclass(frozen=True, slots=True)
class Dependence:
    """How the rows of a series depend on each other.

    Attributes
    ----------
    rows : int
    overlap : float
        How many consecutive rows share a part of what they observe, from `overlap_of`; at least 1.
    block : float
        Rows after which the series has forgotten itself: at least twice the overlap.
    """

    rows: int
    overlap: float
    block: float

    @classmethod
    def of(cls, series: Floats, overlap: float = 1.0) -> Dependence:
        """Estimate the dependence of a series (n,), or of several (n, k), of which the longest block counts."""
        overlap = max(1.0, overlap)
        chosen = 2.0 * overlap if overlap > 1.0 else 1.0
        table = series.reshape(len(series), -1) if len(series) else np.zeros((0, 0))
        varying = table[:, np.ptp(table, axis=0) > 0] if table.size else table
        if len(table) >= _MIN_FOR_BLOCK and varying.shape[1]:
            chosen = float(np.nanmax([chosen, *map(optimal_block, varying.T)]))
        return cls(len(series), overlap, chosen)

    @property
    def stretches(self) -> float:
        """Return the number of independent stretches: rows over the overlap, or over half a block if that is longer."""
        return self.rows / max(self.overlap, self.block / 2.0)

    @property
    def enough(self) -> bool:
        """Return whether the rows allow an interval or a test."""
        return self.rows >= MIN_DIFFERENCES and self.stretches >= MIN_STRETCHES

    @property
    def shortage(self) -> str:
        """Return what is missing in words; empty if the rows are enough."""
        if self.enough:
            return ""
        if self.stretches < MIN_STRETCHES:
            shown = np.floor(10 * self.stretches) / 10
            return f"too few independent prompts: {shown:.1f} of the {MIN_STRETCHES:g} needed"
        return f"too few prompts: {self.rows} of the {MIN_DIFFERENCES} needed"

    @property
    def freedom(self) -> int:
        """Return the degrees of freedom of the long-run variance: one per block, at most 0.4 n**(2/3)."""
        return max(1, int(min(0.4 * self.rows ** (2 / 3), self.rows / self.block)))


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


def standard_errors(differences: Floats, dependence: Dependence) -> Floats:
    """Return the standard error of each column's mean, robust to autocorrelation and changing variance.

    The long-run variance is the mean square of the first v cosine coefficients of the series, where v is
    `Dependence.freedom`. If rows overlap, it is divided by the mean of the spectrum of a moving average of that length
    at these frequencies, because that spectrum falls from its value at zero.

    Parameters
    ----------
    differences : (n, k) float64
        In time order.
    dependence : Dependence

    Returns
    -------
    (k,) float64

    References
    ----------
    Lazarus, Lewis, Stock and Watson (2018), HAR inference: recommendations for practice,
    doi:10.1080/07350015.2018.1506926
    """
    from scipy import fft

    n, v = len(differences), dependence.freedom
    coefficients = fft.dct(differences, axis=0, norm="ortho")[1 : v + 1]
    angles = np.pi * np.arange(1, v + 1) / (2 * n)
    kernel = (np.sin(angles * dependence.overlap) / (dependence.overlap * np.sin(angles))) ** 2
    return np.asarray(np.sqrt(np.mean(coefficients**2, axis=0) / kernel.mean() / n), np.float64)


def mean_intervals(differences: Floats, dependence: Dependence, *, level: float = LEVEL) -> list[ConfidenceInterval]:
    """Return the confidence interval of each column's mean.

    It holds the values that `diebold_mariano` does not reject.

    Parameters
    ----------
    differences : (n, k) float64
        Paired differences, time along the first axis.
    dependence : Dependence
    level : float
        Probability with which an interval holds the true mean.

    Returns
    -------
    list of ConfidenceInterval
        Bounds are infinite if the rows are not enough.
    """
    from scipy import special

    if not len(differences):
        return [ConfidenceInterval(np.nan, -np.inf, np.inf)] * differences.shape[1]
    means = differences.mean(axis=0)
    if not dependence.enough:
        return [ConfidenceInterval(float(mean), -np.inf, np.inf) for mean in means]
    reach = special.stdtrit(dependence.freedom, (1.0 + level) / 2.0) * standard_errors(differences, dependence)
    return [ConfidenceInterval(float(m), float(m - r), float(m + r)) for m, r in zip(means, reach, strict=True)]


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
