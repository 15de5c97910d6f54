"""Which of several the data cannot tell from the best."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ewmalab.inference.intervals import LEVEL, MIN_DIFFERENCES, REPLICATIONS
from ewmalab.inference.paired_tests import diebold_mariano, holm

Floats = npt.NDArray[np.float64]


def confidence_set(
    losses: Floats,
    block: float,
    rng: np.random.Generator,
    *,
    level: float = LEVEL,
    replications: int = REPLICATIONS,
) -> npt.NDArray[np.bool_]:
    """Tell which columns the data cannot tell from the best.

    The model confidence set, joined with every column whose difference from the best sample mean fails
    `diebold_mariano` at the Holm-adjusted level: with few blocks the former alone drops the truth too often.

    Parameters
    ----------
    losses : (n, k) float64
        Scores of the same prompts, smaller is better; time along the first axis.
    block, rng, level, replications
        As in `mean_intervals`.

    Returns
    -------
    (k,) bool

    References
    ----------
    Hansen, Lunde and Nason (2011), The model confidence set, doi:10.3982/ECTA5771
    """
    from arch.bootstrap import MCS

    n, k = losses.shape
    best = int(np.argmin(losses.mean(axis=0)))
    if n < MIN_DIFFERENCES or not np.ptp(losses):
        return np.ones(k, bool)
    adjusted = holm(diebold_mariano(losses[:, j] - losses[:, best], block) for j in range(k) if j != best)
    within = np.insert(adjusted > 1.0 - level, best, True)
    # Columns that differ by a constant, or by rounding, have no variance between them, which the set's statistic
    # divides by: those are judged here, and of equal ones a single column stands for all.
    relative = np.round((losses - losses[:, [best]]) / np.abs(losses).mean(), 12)
    constant = np.ptp(relative, axis=0) == 0
    within[constant] = relative[0, constant] == 0
    columns, group = np.unique(relative[:, ~constant], axis=1, return_inverse=True)
    if columns.shape[1]:
        field = np.column_stack([np.zeros(n), columns])  # the best, then the others
        field += 1e-13 * np.arange(field.shape[1])  # arch fails where two that differ have equal means
        found = MCS(
            field, size=1.0 - level, reps=replications // 2, block_size=max(1, round(block)),
            method="R", bootstrap="stationary", seed=rng,
        )  # fmt: skip
        with np.errstate(divide="ignore", invalid="ignore"):
            found.compute()
        kept = set(np.array(list(found.included), np.int64).tolist())
        within[~constant] |= np.array([int(g) + 1 in kept for g in group.ravel()])
    return within
