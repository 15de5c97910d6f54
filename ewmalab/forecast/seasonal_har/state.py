"""The state of `seasonal-har`: averages of the deseasonalised absolute return over several memories."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from ewmalab.forecast.seasonal_har import kernels as hk
from ewmalab.forecast.seasonal_har.parts import HALF_LIVES, Season
from ewmalab.market.bars import Bars
from ewmalab.times import MINUTE

Floats = npt.NDArray[np.float64]
SIZE = hk.FIRST + len(HALF_LIVES)
"""How many numbers a state has."""
_KEEP = np.array([0.5 ** (MINUTE / half_life) for half_life in HALF_LIVES])


def initial_state() -> Floats:
    """Return the state before any bar: (SIZE,) float64."""
    return np.concatenate([[np.nan, np.nan, -1.0], np.zeros(len(HALF_LIVES))])


def follow(state: Floats, bars: Bars, season: Season, states: Floats) -> None:
    """Advance a state in place.

    Parameters
    ----------
    state : (SIZE,) float64
    bars : Bars
        At least one; they follow those already seen.
    season : Season
    states : (n or 0, SIZE) float64
        Filled with the state after each bar, if it has rows.
    """
    begin = int(bars.timestamp[0] if math.isnan(state[hk.LAST_TIME]) else state[hk.LAST_TIME] + MINUTE)
    minutes = np.arange(begin, int(bars.timestamp[-1]) + MINUTE, MINUTE, dtype=np.int64)
    hk.follow(state, _KEEP, bars.timestamp, bars.close, begin, season.variance(minutes), states)
