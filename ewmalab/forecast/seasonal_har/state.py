"""The state of `seasonal-har`: sizes and trends of the deseasonalised return over several memories."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ewmalab.forecast.seasonal_har import kernels as hk
from ewmalab.forecast.seasonal_har.parts import HALF_LIVES, MIN_AVERAGE, Season
from ewmalab.market.bars import Bars
from ewmalab.times import MINUTE

Floats = npt.NDArray[np.float64]
SIZE = hk.FIRST + 2 * len(HALF_LIVES)
"""How many numbers a state has."""
_KEEP = np.array([0.5 ** (MINUTE / half_life) for half_life in HALF_LIVES])
_STILL = 0.3  # added to the relative size of a trend, so that a market without one has a logarithm
_DRIFT_KEEP = 0.5 ** (1 / 5)  # minutes: what makes closes smooth or jumpy is over within some


def initial_state() -> Floats:
    """Return the state before any bar: (SIZE,) float64."""
    return np.concatenate([[np.nan, np.nan, -1.0], np.zeros(SIZE - 3)])


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
    hk.follow(state, _KEEP, _DRIFT_KEEP, bars.timestamp, bars.close, begin, season.variance(minutes), states)


def features(states: Floats, memories: Sequence[int], trends: Sequence[int]) -> Floats:
    """Return what a volatility curve depends on.

    Parameters
    ----------
    states : (..., SIZE) float64
    memories, trends : sequence of int
        Half-lives, seconds.

    Returns
    -------
    (..., K + T) float64
        Logarithms of the averages, and of the trends' sizes relative to the averages of the same half-life.
    """

    def average(half_lives: Sequence[int]) -> Floats:
        chosen: Floats = np.maximum(states[..., [hk.FIRST + HALF_LIVES.index(one) for one in half_lives]], MIN_AVERAGE)
        return chosen

    moved = states[..., [hk.FIRST + len(HALF_LIVES) + HALF_LIVES.index(one) for one in trends]]
    found: Floats = np.log(np.concatenate([average(memories), np.abs(moved) / average(trends) + _STILL], axis=-1))
    return found


def smoothness(state: Floats) -> float:
    """Return how far prices move within minutes relative to their single minutes: 1 for independent normal returns.

    Smooth closes, such as averages over venues, give more; closes that bounce between bid and ask give less. It is the
    mean size of a decaying sum of returns, scaled as if they were independent, divided by that of the returns.
    """
    return float(state[hk.DRIFTS] / state[hk.MOVES]) if state[hk.MOVES] > 0 < state[hk.DRIFTS] else 1.0
