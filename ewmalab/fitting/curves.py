"""Fitting volatility by horizon to averages of several memories, by the CRPS that is paid for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy import optimize, special

from ewmalab.forecast import har_kernels as hk
from ewmalab.forecast.seasonal_har import HALF_LIVES, Curve, Season
from ewmalab.market.bars import MINUTE, Bars

Floats = npt.NDArray[np.float64]
_RIDGE = 1e-3


@dataclass(frozen=True, slots=True)
class Design:
    """What is fitted for prompts of one increment.

    Attributes
    ----------
    step, length : int
        Seconds: increment, and horizon.
    knots : tuple of float
        Minutes.
    memories : tuple of int
        Half-lives, seconds.
    every : int
        Seconds between the start times that are looked at.
    """

    step: int
    length: int
    knots: tuple[float, ...]
    memories: tuple[int, ...]
    every: int


DESIGNS = (
    Design(300, 86_400, (7.5, 37.0, 120.0, 270.0, 540.0, 1080.0), (1800, 14_400, 259_200), 1200),
    Design(60, 3600, (1.5, 6.5, 20.0, 45.0), (600, 3600, 21_600, 172_800), 300),
)


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """Deseasonalised outcomes and what was known, of one asset.

    Attributes
    ----------
    outcomes : (n, J) float64
        Returns over the stretch around each knot, over the root of the season's variance: per root minute.
    logs : (n, K) float64
        Logarithms of the averages at the request.
    """

    outcomes: Floats
    logs: Floats


def windows(bars: Bars, season: Season, states: Floats, design: Design, start: int, end: int) -> Windows:
    """Collect outcomes of start times in ``[start, end - length)`` and the states a minute before them."""
    begin = int(bars.timestamp[0])
    grid = np.arange(begin, int(bars.timestamp[-1]) + MINUTE, MINUTE, dtype=np.int64)
    at = np.searchsorted(bars.timestamp, grid, side="right") - 1
    log_close = np.log(bars.close)[at]
    variance = np.concatenate([[0.0], np.cumsum(season.variance(grid))])
    starts = np.arange(-(-start // design.every) * design.every, end - design.length, design.every, dtype=np.int64)
    known = np.searchsorted(bars.timestamp, starts - MINUTE - MINUTE, side="right") - 1
    starts = starts[known > 1440]
    known = known[known > 1440]
    place = (starts - begin) // MINUTE
    edges = edges_of(design)
    outcomes = np.empty((len(starts), len(design.knots)))
    for j, (a, b) in enumerate(pairwise(edges)):
        moved = log_close[place + b] - log_close[place + a]
        outcomes[:, j] = moved / np.sqrt(variance[place + b] - variance[place + a])
    chosen = [hk.FIRST + HALF_LIVES.index(memory) for memory in design.memories]
    return Windows(outcomes, np.log(np.maximum(states[known][:, chosen], 1e-7)))


def edges_of(design: Design) -> list[int]:
    inner = [round(float(np.sqrt(a * b))) for a, b in pairwise(design.knots)]
    return [0, *inner, design.length // MINUTE]


def fit_curves(found: Mapping[str, Windows], design: Design) -> dict[str, Curve]:
    """Fit intercepts of each asset and slopes common to all, knot by knot, minimising the CRPS of a Student-t.

    Each asset counts alike: its scores are relative to its mean absolute outcome.
    """
    assets = list(found)
    levels, slopes = np.empty((len(assets), len(design.knots))), np.empty((len(design.knots), len(design.memories)))
    for j in range(len(design.knots)):
        outcomes = [found[a].outcomes[:, j] for a in assets]
        logs = [found[a].logs for a in assets]
        solution = _fit_knot(outcomes, logs)
        levels[:, j], slopes[j] = solution[: len(assets)], solution[len(assets) :]
    return {asset: Curve(np.array(design.knots), design.memories, levels[i], slopes) for i, asset in enumerate(assets)}


def _fit_knot(outcomes: Sequence[Floats], logs: Sequence[Floats]) -> Floats:
    count, memories = len(outcomes), logs[0].shape[1]
    means = [float(np.abs(y).mean()) for y in outcomes]
    first = np.concatenate(
        [
            [np.log(mean) - float(x.mean()) for mean, x in zip(means, logs, strict=True)],
            np.full(memories, 1.0 / memories),
        ]
    )
    first[:count] = [np.log(mean) - float(x.mean(axis=1).mean()) for mean, x in zip(means, logs, strict=True)]

    def loss(p: Floats) -> tuple[float, Floats]:
        total, gradient = 0.0, np.zeros_like(p)
        for i, (y, x, mean) in enumerate(zip(outcomes, logs, means, strict=True)):
            sigma = np.exp(np.clip(p[i] + x @ p[count:], -25.0, 5.0))
            value, slope = _crps(y, sigma)
            total += float(value.mean()) / mean / count
            weight = slope * sigma / (mean * len(y) * count)
            gradient[i] += weight.sum()
            gradient[count:] += x.T @ weight
        away = p[count:] - 1.0 / memories
        gradient[count:] += 2 * _RIDGE * away
        return total + _RIDGE * float(away @ away), gradient

    found: Floats = optimize.minimize(loss, first, jac=True, method="L-BFGS-B", options={"maxiter": 300}).x
    return found


def _crps(y: Floats, sigma: Floats) -> tuple[Floats, Floats]:
    """Return the CRPS of a scaled Student-t with 4 degrees of freedom, and its derivative by the scale.

    Jordan, Krueger and Lerch (2019), doi:10.18637/jss.v090.i12, with the distribution's closed forms.
    """
    z = np.abs(y) / sigma
    square = 1.0 + z * z / 4.0
    root = np.sqrt(square)
    twice = 0.75 * z / root * (1.0 - z * z / (12.0 * square))  # 2 F(z) - 1
    density = 0.375 / (square * square * root)
    standard = z * twice + 2.0 / 3.0 * density * (4.0 + z * z) - _CONSTANT
    # the derivative of sigma crps(y / sigma) is crps(z) - z crps'(z), and crps'(z) = 2 F(z) - 1
    return sigma * standard, standard - z * twice


_CONSTANT = 4.0 / 3.0 * special.beta(0.5, 3.5) / special.beta(0.5, 2.0) ** 2
