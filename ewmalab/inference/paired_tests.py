"""Tests of paired differences, and their correction for multiple comparisons."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ewmalab.inference.bootstrap import Floats
from ewmalab.inference.intervals import MIN_DIFFERENCES


def diebold_mariano(differences: Floats, block: float) -> float:
    """Return the two-sided p-value that the mean of paired differences is zero.

    The long-run variance, robust to heteroskedasticity and autocorrelation, is the mean square of the first v cosine
    coefficients of the series; the statistic then has Student's t distribution with v degrees of freedom. v is the
    number of blocks, at most 0.4 n**(2/3).

    Parameters
    ----------
    differences : (n,) float64
        In time order.
    block : float
        From `block_length`.

    Returns
    -------
    float
        1 if there are too few differences, or their mean is zero.

    References
    ----------
    Diebold and Mariano (1995), doi:10.1080/07350015.1995.10524599; Lazarus, Lewis, Stock and Watson (2018), HAR
    inference: recommendations for practice, doi:10.1080/07350015.2018.1506926

    Examples
    --------
    >>> diebold_mariano(np.zeros(50), 1.0)
    1.0
    """
    from scipy import fft, special

    n = len(differences)
    mean = float(differences.mean()) if n else 0.0
    if n < MIN_DIFFERENCES or mean == 0.0:
        return 1.0
    freedom = max(1, int(min(0.4 * n ** (2 / 3), n / block)))
    coefficients = fft.dct(differences, norm="ortho")[1 : freedom + 1]
    variance = float(np.mean(coefficients**2))
    if variance == 0.0:
        return 0.0
    return float(2.0 * special.stdtr(freedom, -abs(mean) / np.sqrt(variance / n)))


def holm(p_values: Iterable[float]) -> Floats:
    """Return p-values adjusted for their number, which controls the family-wise error rate.

    References
    ----------
    Holm (1979), A simple sequentially rejective multiple test procedure, https://www.jstor.org/stable/4615733

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.06, 0.06]
    """
    p = np.array(list(p_values), np.float64)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty(len(p))
    # Not statsmodels' multipletests: it runs the garbage collector at every call, a tenth of a second.
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1.0)
    return adjusted
