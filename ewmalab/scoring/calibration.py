"""Calibration checks of a forecast's spread, per prompt at a few horizons."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

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
    found = []
    origin = anchor if np.isnan(truth[0]) else float(truth[0])
    for horizon in HORIZONS:
        step, rest = divmod(horizon, time_increment)
        if rest or step >= len(truth) or np.isnan(truth[step]):
            continue
        outcome, ensemble = np.log(truth[step] / origin), paths[step].astype(np.float64)
        below = np.count_nonzero(ensemble < outcome) + np.count_nonzero(ensemble <= outcome)
        found.append(
            HorizonCheck(
                horizon,
                float(below + 1) / (2 * len(ensemble) + 2),
                float(1e4 * (outcome - ensemble.mean())),
                float(1e4 * ensemble.std(ddof=1)) if len(ensemble) > 1 else 0.0,
            )
        )
    return tuple(found)
