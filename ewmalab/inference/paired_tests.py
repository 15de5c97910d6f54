"""Tests of paired differences, and their correction for multiple comparisons."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ewmalab.inference.bootstrap import Floats
from ewmalab.inference.intervals import LEVEL, Dependence, mean_intervals, standard_errors


def diebold_mariano(differences: Floats, dependence: Dependence) -> float:
    """Return the two-sided p-value that the mean of paired differences is zero.

    The statistic, the mean over its `standard_errors`, has Student's t distribution with as many degrees of freedom
    as the standard error.

    Parameters
    ----------
    differences : (n,) float64
        In time order.
    dependence : Dependence

    Returns
    -------
    float
        1 if the rows are not enough, or their mean is zero.

    References
    ----------
    Diebold and Mariano (1995), doi:10.1080/07350015.1995.10524599

    Examples
    --------
    >>> diebold_mariano(np.zeros(50), Dependence(50, 1.0, 1.0))
    1.0
    """
    from scipy import special

    mean = float(differences.mean()) if len(differences) else 0.0
    if not dependence.enough or mean == 0.0:
        return 1.0
    error = float(standard_errors(differences[:, None], dependence)[0])
    return float(2.0 * special.stdtr(dependence.freedom, -abs(mean) / error)) if error else 0.0


def equivalent(differences: Floats, dependence: Dependence, margin: float, *, level: float = LEVEL) -> bool:
    """Return whether the mean of paired differences is proven to lie within a margin of zero.

    These are two one-sided tests: that the mean is not below ``-margin``, and not above ``margin``.

    Parameters
    ----------
    differences : (n,) float64
        In time order.
    dependence : Dependence
    margin : float
        In the unit of the differences.
    level : float
        Confidence of each test.

    References
    ----------
    Schuirmann (1987), A comparison of the two one-sided tests procedure and the power approach,
    doi:10.1007/BF01068419
    """
    (interval,) = mean_intervals(differences[:, None], dependence, level=2.0 * level - 1.0)
    return -margin < interval.low and interval.high < margin


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
