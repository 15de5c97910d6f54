"""Stratified draws: at each step, every path gets another of M equally likely parts of a distribution.

The M strata are those of a Latin hypercube sample (McKay, Beckman and Conover, 1979, doi:10.2307/1268522) with one
point per path. Within the strata, all quantiles of a step stand at one random offset, as in systematic sampling. A
shuffle, `ewmalab.forecast.draws.stratified`, hands them to the paths.

For each path alone, draws are independent and have the distribution itself, on about CELLS equally likely values. Two
paths differ from independent ones in that they never share a stratum. The error of the M paths at a step then nearly
vanishes, and that of sums over steps is about halved (Stein, 1987, doi:10.2307/1269769).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache, partial

import numpy as np
import numpy.typing as npt

Strata = npt.NDArray[np.float32]
"""Quantiles of a distribution, (offsets, M): rows are offsets within the strata, ascending, columns the strata."""

CELLS = 65_536
"""Quantiles per distribution, at least; no draw lies beyond the outermost, with the tail probability 1 / (2 CELLS)."""


@lru_cache(maxsize=128)
def student_t_strata(nu: float, count: int) -> Strata:
    """Return the strata of the Student-t distribution of unit variance.

    Parameters
    ----------
    nu : float
        Degrees of freedom, > 2.
    count : int
        Number of paths.

    Returns
    -------
    (offsets, count) float32
        Read-only; the paths of many prompts share it.
    """
    from scipy import special

    return _strata(partial(special.stdtrit, nu), math.sqrt((nu - 2.0) / nu), count)


@lru_cache(maxsize=16)
def normal_strata(count: int) -> Strata:
    """Return the strata of the standard normal distribution, as `student_t_strata`."""
    from scipy import special

    return _strata(special.ndtri, 1.0, count)


def _strata(quantile: Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]], scale: float, count: int) -> Strata:
    """Return the strata of a symmetric distribution."""
    offsets = -(-CELLS // count)
    cells = offsets * count
    lower = scale * quantile((np.arange(cells // 2) + 0.5) / cells)
    both = np.concatenate([lower, np.zeros(cells % 2), -lower[::-1]]).astype(np.float32)
    strata = np.ascontiguousarray(both.reshape(count, offsets).T)
    strata.flags.writeable = False
    return strata
