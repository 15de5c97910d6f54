"""Fit volatility by horizon to averages of several memories, by the CRPS of the scored changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy import optimize

from ewmalab.forecast.seasonal_har.fit_kernels import crps_of_scales
from ewmalab.forecast.seasonal_har.parts import Curve, Season
from ewmalab.forecast.seasonal_har.state import SIZE, features, follow, initial_state, smoothness
from ewmalab.market.bars import Bars
from ewmalab.times import DAY, MINUTE

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
RIDGE = {300: 3.0, 60: 0.3}
"""By increment: how strongly slopes are pulled to those of the prior, divided by the days of history."""
RIDGE_ALONE = 1e-3
"""How strongly they are pulled to equal slopes where there is no prior, for any history."""
_CHANGES, _STEPS = 4, 2  # changes used per start time and knot, and their length in steps
_GOLDEN = 0.6180339887498949
_SAMPLED = 2000  # start times of which every step is used


@dataclass(frozen=True, slots=True)
class Design:
    """What is fitted for prompts of one increment.

    Attributes
    ----------
    step, length : int
        Seconds: increment, and horizon.
    knots : tuple of float
        Minutes.
    memories, trends : tuple of int
        Half-lives, seconds, of the averages and trends that volatility depends on.
    every : int
        Seconds between the start times that are used.
    lengths : tuple of int
        Scored lengths, steps.
    """

    step: int
    length: int
    knots: tuple[float, ...]
    memories: tuple[int, ...]
    every: int
    lengths: tuple[int, ...]
    trends: tuple[int, ...] = ()


DESIGNS = (
    Design(300, 86_400, (7.5, 37.0, 120.0, 270.0, 540.0, 1080.0), (1800, 14_400, 259_200), 2400, (1, 6, 36, 288)),
    Design(
        60, 3600, (1.5, 6.5, 20.0, 45.0), (600, 3600, 21_600, 172_800), 600, (1, 2, 5, 15, 30, 60), (600, 3600, 14_400)
    ),
)


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """Deseasonalised outcomes of one asset, and what was known.

    Attributes
    ----------
    outcomes : (n, J) float64
        Returns around each knot, divided by the root of the season's variance: per root minute.
    logs : (n, K + T) float64
        Features of the state at the request.
    """

    outcomes: Floats
    logs: Floats


@dataclass(frozen=True, eq=False)
class Past:
    """One asset's bars, and what the forecaster knew at each start time of a design.

    Attributes
    ----------
    bars : Bars
    season : Season
    price : (m,) float64
        Logarithm of the last close of each minute since the first bar, present or not.
    variance : (m + 1,) float64
        The season's, summed.
    starts : mapping of Design to (n,) int64
        Start times with a known outcome, at least a day after the first bar.
    logs : mapping of Design to (n, K + T) float64
        Features of the state that the design uses, a minute before each start time.
    smoothness : float
        Of all closes.
    """

    bars: Bars
    season: Season
    price: Floats
    variance: Floats
    starts: Mapping[Design, Ints]
    logs: Mapping[Design, Floats]
    smoothness: float

    @property
    def days(self) -> float:
        """Return how many days of bars there are."""
        return len(self.bars) * MINUTE / DAY

    @classmethod
    def of(cls, bars: Bars, season: Season) -> Past:
        """Follow bars with the forecaster's state; it is kept at the start times alone, to save memory."""
        times = bars.timestamp
        grid = np.arange(times[0], times[-1] + MINUTE, MINUTE, dtype=np.int64)
        price = np.repeat(np.log(bars.close), np.diff(times // MINUTE, append=times[-1] // MINUTE + 1))
        variance = np.concatenate([[0.0], np.cumsum(season.variance(grid))])
        states = np.empty((len(bars), SIZE))
        follow(initial_state(), bars, season, states)
        starts = {design: _starts(bars, design) for design in DESIGNS}
        rows = {d: np.searchsorted(times, own - 2 * MINUTE, side="right") - 1 for d, own in starts.items()}
        logs = {d: features(states[own], d.memories, d.trends) for d, own in rows.items()}
        return cls(bars, season, price, variance, starts, logs, smoothness(states[-1]))

    def minute(self, times: Ints) -> Ints:
        """Return the number of minutes from the first bar to each time."""
        return (times - int(self.bars.timestamp[0])) // MINUTE


def _starts(bars: Bars, design: Design) -> Ints:
    first = -(-(int(bars.timestamp[0]) + DAY) // design.every) * design.every
    return np.arange(first, int(bars.timestamp[-1]) + MINUTE - design.length, design.every, dtype=np.int64)


def windows(past: Past, design: Design) -> Windows:
    """Collect short changes around each knot for every start time, and the states a minute before the start.

    Most scored changes are short. Their places in a knot's stretch follow a low-discrepancy sequence.
    """
    starts = past.starts[design]
    place, step = past.minute(starts), design.step // MINUTE
    outcomes = np.empty((len(starts), _CHANGES, len(design.knots)))
    shift = (np.arange(len(starts)) * _GOLDEN)[:, None] + np.arange(_CHANGES) / _CHANGES
    for j, (a, b) in enumerate(pairwise(edges_of(design))):
        length = min(_STEPS * step, b - a)
        first = place[:, None] + a + (shift % 1.0 * ((b - a - length) // step + 1)).astype(np.int64) * step
        moved = past.price[first + length] - past.price[first]
        outcomes[:, :, j] = moved / np.sqrt(past.variance[first + length] - past.variance[first])
    logs = np.repeat(past.logs[design], _CHANGES, axis=0)
    return Windows(outcomes.reshape(len(logs), -1), logs)


def standardised(past: Past, curve: Curve, design: Design) -> dict[int, Floats]:
    """Return the returns over each scored length (steps), divided by the root of the expected variance."""
    starts = past.starts[design]
    kept = slice(None, None, max(1, len(starts) // _SAMPLED))
    steps, minutes = design.length // design.step, design.step // MINUTE
    place = past.minute(starts[kept])[:, None] + minutes * np.arange(steps + 1)
    tau = np.asarray((np.arange(steps) + 0.5) * minutes, np.float64)
    log_sigma = curve.at(past.logs[design][kept], tau)
    variance = np.diff(past.variance[place], axis=1) * np.exp(2 * log_sigma)
    total = np.concatenate([np.zeros((len(place), 1)), np.cumsum(variance, axis=1)], axis=1)
    price = past.price[place]
    return {
        length: (np.diff(price[:, ::length], axis=1) / np.sqrt(np.diff(total[:, ::length], axis=1))).ravel()
        for length in design.lengths
    }


def edges_of(design: Design) -> list[int]:
    """Return the edges between the knots' stretches, minutes."""
    inner = [round(float(np.sqrt(a * b))) for a, b in pairwise(design.knots)]
    return [0, *inner, design.length // MINUTE]


def fit_curves(
    found: Mapping[str, Windows], design: Design, pool: Executor, targets: Mapping[str, Floats], ridge: float
) -> dict[str, Curve]:
    """Fit intercepts of each asset and slopes, knot by knot, minimising the CRPS of a Student-t.

    Slopes are those of each asset's target plus a difference that is common to all. All assets weigh the same: scores
    are relative to an asset's mean absolute outcome.

    Parameters
    ----------
    found : mapping of asset to Windows
    design : Design
    pool : Executor
        Runs one task per knot.
    targets : mapping of asset to (J, K + T) float64
        Slopes to shrink towards.
    ridge : float
        Weight of the squared difference.
    """
    centres = np.stack([own.logs.mean(axis=0) for own in found.values()])
    centred = [np.ascontiguousarray(own.logs - centre) for own, centre in zip(found.values(), centres, strict=True)]
    aims = np.stack([targets[asset] for asset in found], axis=1)
    outcomes = [[np.ascontiguousarray(own.outcomes[:, j]) for own in found.values()] for j in range(len(design.knots))]
    fitted = pool.map(partial(_fit_knot, logs=centred, ridge=ridge), outcomes, aims)
    levels, slopes = (np.stack(column, axis=1) for column in zip(*fitted, strict=True))
    return {
        asset: Curve(
            np.array(design.knots), design.memories, levels[i] - slopes[i] @ centres[i], slopes[i], design.trends
        )
        for i, asset in enumerate(found)
    }


def _fit_knot(outcomes: Sequence[Floats], aims: Floats, logs: Sequence[Floats], ridge: float) -> tuple[Floats, Floats]:
    """Return level and slopes of each asset, from outcomes, slopes to shrink towards, and centred logarithms."""
    count, memories = aims.shape
    means = [float(np.abs(y).mean()) for y in outcomes]
    first = np.concatenate([np.log(means), np.zeros(memories)])

    def loss(p: Floats) -> tuple[float, Floats]:
        total, gradient, away = 0.0, np.zeros_like(p), p[count:]
        for i, (y, x, mean) in enumerate(zip(outcomes, logs, means, strict=True)):
            value = crps_of_scales(y, x, p[i], aims[i] + away, gradient[count:], 1.0 / (mean * len(y) * count))
            total += value[0]
            gradient[i] = value[1]
        gradient[count:] += 2 * ridge * away
        return total + ridge * float(away @ away), gradient

    found = optimize.minimize(loss, first, jac=True, method="L-BFGS-B", options={"maxiter": 300}).x
    return found[:count], aims + found[count:]
