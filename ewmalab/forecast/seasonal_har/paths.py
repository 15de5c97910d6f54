"""Paths of `seasonal-har` whose shocks have stochastic volatility."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ewmalab.forecast.draws import BLOCK
from ewmalab.forecast.protocol import LogReturns
from ewmalab.forecast.seasonal_har import kernels as hk
from ewmalab.forecast.seasonal_har.parts import Shocks
from ewmalab.forecast.strata import normal_strata, student_t_strata
from ewmalab.forecast.streams import RandomStream


def wave_paths(
    stream: RandomStream, shocks: Shocks, time_increment: int, sigma: npt.NDArray[np.float32], count: int
) -> LogReturns:
    """Return cumulative log-returns: (steps + 1, count) float32.

    Parameters
    ----------
    stream : RandomStream
    shocks : Shocks
        Its scale is left to `sigma`.
    time_increment : int
        Seconds per step.
    sigma : (steps,) float32
        Volatility of each step.
    count : int
        Number of paths.
    """
    out = np.empty((len(sigma) + 1, count), np.float32)
    persistence = 0.5 ** (time_increment / shocks.wave_half_life)
    strata, normals = student_t_strata(shocks.nu, count), normal_strata(count)
    hk.stochastic_volatility_paths(
        stream.lanes(BLOCK), strata, normals, shocks.level, shocks.wave, persistence, sigma, out
    )
    return out
