"""Calibration checks of a forecast's spread, per prompt at a few horizons."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from ewmalab.compiled import njit
from ewmalab.scoring.sample_moments import mean_and_deviation

HORIZONS = (60, 300, 1800, 3600, 10_800, 86_400)
"""Seconds after the start time at which forecasts are checked, if the prompt reaches them."""


@dataclass(frozen=True, slots=True)
class HorizonCheck:
    """A forecast of the price at one horizon against the realised price.

    Attributes
    ----------
    horizon : int
        Seconds after the start time.
    pit : float
        Probability integral transform: the share of paths that moved less than the price since the start time, in
        (0, 1). Uniform over prompts if the forecast is calibrated.
    error : float
        Realised log-return since the start time, less the paths' mean, basis points.
    spread : float
        Standard deviation of the paths' log-returns, basis points.
    """

    horizon: int
    pit: float
    error: float
    spread: float


def check_horizons(
    paths: npt.NDArray[np.float32], anchor: float, truth: npt.NDArray[np.float64], time_increment: int
) -> tuple[HorizonCheck, ...]:
    """Compare paths with the realised prices at each of the prompt's `HORIZONS` with a known price.

    Parameters
    ----------
    paths : (steps + 1, n) float32
        Log-returns since the anchor.
    anchor : float
    truth : (steps + 1,) float64
        Realised prices, NaN where missing.
    time_increment : int
        Seconds between points.

    Notes
    -----
    Moves are measured from the start time, as in the score. The move between the anchor and the start is not part of a
    forecast and would make every one look too narrow at short horizons. If the price at the start is missing, the
    anchor replaces it.

    The rank histogram's convention holds: of n paths, ``(below + (equal + 1) / 2) / (n + 1)``; see Hamill (2001),
    doi:10.1175/1520-0493(2001)129<0550:IORHFV>2.0.CO;2.

    Examples
    --------
    >>> paths = np.log(np.array([[100, 100, 100], [99, 100, 102]], np.float32) / 100)
    >>> check_horizons(paths, 100.0, np.array([100.0, 101.0]), 60)[0].pit
    0.625
    """
    horizons, steps = _horizons(time_increment, len(truth))
    origin = anchor if np.isnan(truth[0]) else truth[0]
    outcomes = np.log(truth[steps] / origin)
    found = np.empty((len(steps), 3))
    _compare(paths, steps, outcomes, found)
    return tuple(
        HorizonCheck(horizon, *row)
        for horizon, outcome, row in zip(horizons, outcomes.tolist(), found.tolist(), strict=True)
        if not math.isnan(outcome)
    )


@lru_cache(maxsize=64)
def _horizons(time_increment: int, points: int) -> tuple[tuple[int, ...], npt.NDArray[np.int64]]:
    """Return the horizons on a grid, and their points."""
    found = [h for h in HORIZONS if h % time_increment == 0 and h // time_increment < points]
    return tuple(found), np.array(found, np.int64) // time_increment


@njit(nogil=True, cache=True)
def _compare(
    paths: npt.NDArray[np.float32],
    steps: npt.NDArray[np.int64],
    outcomes: npt.NDArray[np.float64],
    found: npt.NDArray[np.float64],
) -> None:
    """Write transform, error and spread at each point to the rows of `found`; arbitrary where no outcome is known."""
    n = paths.shape[1]
    ensemble, squares = np.empty(n), np.empty(n)
    for k in range(len(steps)):
        ranks = 1
        for j in range(n):
            x = float(paths[steps[k], j])
            ranks += int(x < outcomes[k]) + int(x <= outcomes[k])
            ensemble[j] = x
        mean, deviation = mean_and_deviation(ensemble, squares)
        found[k, 0] = ranks / (2 * n + 2)
        found[k, 1] = 1e4 * (outcomes[k] - mean)
        found[k, 2] = 1e4 * deviation
