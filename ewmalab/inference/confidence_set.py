"""The set of columns that the data cannot tell from the best."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ewmalab.inference.bootstrap import Floats, resampled_means
from ewmalab.inference.intervals import LEVEL, REPLICATIONS, Dependence
from ewmalab.inference.paired_tests import diebold_mariano, holm


def confidence_set(
    losses: Floats,
    dependence: Dependence,
    rng: np.random.Generator,
    *,
    level: float = LEVEL,
    replications: int = REPLICATIONS,
) -> npt.NDArray[np.bool_]:
    """Return which columns the data cannot tell from the best.

    This is the model confidence set, joined with every column whose difference from the best sample mean is not
    significant by `diebold_mariano` at the Holm-adjusted level. With few blocks the set alone misses the true best
    too often.

    Parameters
    ----------
    losses : (n, k) float64
        Losses on the same rows, smaller is better; time along the first axis.
    dependence : Dependence
    rng : numpy Generator
        For the bootstrap.
    level : float
        Probability with which the set holds the true best.
    replications : int

    Returns
    -------
    (k,) bool

    References
    ----------
    Hansen, Lunde and Nason (2011), The model confidence set, doi:10.3982/ECTA5771
    """
    k = losses.shape[1]
    best = int(np.argmin(losses.mean(axis=0)))
    if not dependence.enough or not np.ptp(losses):
        return np.ones(k, bool)
    adjusted = holm(diebold_mariano(losses[:, j] - losses[:, best], dependence) for j in range(k) if j != best)
    within = np.insert(adjusted > 1.0 - level, best, True)
    # The set's statistic divides by the variance of differences, which is zero for columns that differ by a constant
    # or by rounding. Those are judged here, and one column represents all that equal it.
    relative = np.round((losses - losses[:, [best]]) / np.abs(losses).mean(), 12)
    constant = np.ptp(relative, axis=0) == 0
    within[constant] = relative[0, constant] == 0
    columns, group = np.unique(relative[:, ~constant], axis=1, return_inverse=True)
    if columns.shape[1]:
        kept = _model_confidence_set(columns, dependence.block, rng, level=level, replications=replications // 2)
        within[~constant] |= kept[group.ravel()]
    return within


def _model_confidence_set(
    relative: Floats, block: float, rng: np.random.Generator, *, level: float, replications: int
) -> npt.NDArray[np.bool_]:
    """Return which columns of losses relative to the best share its model confidence set.

    Columns are eliminated one by one: the one with the largest studentised difference from another that is left,
    unless resampled differences are often as large.
    """
    n, k = relative.shape
    field = np.column_stack([np.zeros(n), relative])  # the best, then the others
    means = field.mean(axis=0)
    drawn = resampled_means(field - means, block, rng, replications)
    noise = drawn[:, :, None] - drawn[:, None, :]
    scale = np.sqrt(np.mean(noise**2, axis=0) + np.eye(k + 1))
    noise /= scale
    apart = (means[:, None] - means) / scale
    left = np.arange(k + 1)
    while len(left) > 1:
        among = np.ix_(left, left)
        worst = int(np.argmax(apart[among].max(axis=1)))
        largest = noise[:, left[:, None], left].max(axis=(1, 2))
        if np.mean(largest > apart[among].max()) > 1.0 - level:
            break
        left = np.delete(left, worst)
    return np.isin(np.arange(1, k + 1), left)
