"""The parts of `seasonal-har`: a season, volatility curves over memories, and the shape of the shocks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ewmalab.forecast.seasonal_har.clock import WEEK_BINS, day_classes, week_bins
from ewmalab.times import MINUTE

Floats = npt.NDArray[np.float64]
HALF_LIVES = (600, 1800, 3600, 14_400, 21_600, 172_800, 259_200)
"""Memories of the state, seconds; a curve uses the averages and the trends of some of them."""
SMOOTHED = {300: 1.0, 60: 0.5}
"""By increment: how much of a market's smoothness the volatility of a step contains."""
MIN_AVERAGE = 1e-7  # floor of an average absolute return per minute, so that a market that stands still has a logarithm


@dataclass(frozen=True, eq=False)
class Season:
    """Relative volatility by the clock, its mean square 1.

    Parameters
    ----------
    clock : {"week", "day"}
        5-minute bins of New York's week, or parts of the equities' trading day.
    level : (2016,) or (10,) float64
    minute : (60,) float64
        Factor of the minute of the hour.
    """

    clock: str
    level: Floats
    minute: Floats

    def variance(self, minutes: npt.NDArray[np.int64]) -> Floats:
        """Return the squared season of minutes, by their labels."""
        bins = week_bins(minutes) if self.clock == "week" else day_classes(minutes)
        found: Floats = (self.level[bins] * self.minute[minutes // MINUTE % 60]) ** 2
        return found


@dataclass(frozen=True, eq=False)
class Curve:
    """Log-volatility per minute, by horizon: ``a(tau) + sum_k b_k(tau) x_k``.

    Parameters
    ----------
    knots : (J,) float64
        Horizons, minutes; between them linear in ln tau, flat outside.
    memories, trends : sequence of int
        Half-lives, seconds, of the averages and of the trends in x; see
        `ewmalab.forecast.seasonal_har.state.features`.
    level : (J,) float64
    slopes : (J, K + T) float64
    """

    knots: Floats
    memories: Sequence[int]
    level: Floats
    slopes: Floats
    trends: Sequence[int] = ()

    def at(self, logs: Floats, tau: Floats) -> Floats:
        """Return ln sigma per minute (deseasonalised) at horizons tau, minutes.

        Parameters
        ----------
        logs : (..., K + T) float64
            Features of states.
        tau : (n,) float64

        Returns
        -------
        (..., n) float64
        """
        knots, place = np.log(self.knots), np.log(tau)
        shares = np.stack([np.interp(place, knots, one) for one in np.eye(len(knots))])
        found: Floats = (self.level + logs @ self.slopes.T) @ shares
        return found

    def homogeneous(self, logs: Floats) -> Curve:
        """Return the curve with the same value at given features whose slopes on averages sum to one at each horizon.

        The longest memory takes what is missing. Such a curve serves markets of any volatility.

        Parameters
        ----------
        logs : (K + T,) float64
        """
        slopes, count = self.slopes.copy(), len(self.memories)
        slopes[:, count - 1] += 1.0 - slopes[:, :count].sum(axis=1)
        return replace(self, level=self.level + (self.slopes - slopes) @ logs, slopes=slopes)


@dataclass(frozen=True, slots=True)
class Shocks:
    """Shape of the shocks: ``exp(level U + wave V) t_nu``, V an AR(1) with a half-life of its own.

    Attributes
    ----------
    scale : float
        Factor on the volatility.
    nu, level, wave : float
    wave_half_life : int
        Seconds.
    """

    scale: float
    nu: float
    level: float
    wave: float
    wave_half_life: int


@dataclass(frozen=True, eq=False)
class Fitted:
    """What a fit found for one asset.

    Parameters
    ----------
    season : Season
    curves : mapping of time increment to Curve
    shocks : mapping of time increment to Shocks
    windows : mapping of time increment to (W, steps) float64, optional
        Past returns divided by the expected volatility of each step.
    smoothness : float, optional
        That of the closes that were fitted; see `ewmalab.forecast.seasonal_har.state.smoothness`.
    """

    season: Season
    curves: Mapping[int, Curve]
    shocks: Mapping[int, Shocks]
    windows: Mapping[int, Floats] | None = None
    smoothness: float | None = None

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> Fitted:
        """Read an asset's entry of a fit; a damaged one raises KeyError, TypeError, ValueError or AttributeError."""
        season, curves = entry["season"], entry["curves"].items()
        windows = entry.get("windows")
        return cls(
            Season(str(season["clock"]), _floats(season["level"]), _floats(season["minute"])),
            {
                int(step): Curve(
                    _floats(c["knots"]),
                    tuple(map(int, c["memories"])),
                    _floats(c["level"]),
                    _floats(c["slopes"]),
                    tuple(map(int, c.get("trends", ()))),
                )
                for step, c in curves
            },
            {int(step): Shocks(**given) for step, given in entry["shocks"].items()},
            windows and {int(step): _floats([line.split() for line in lines]) for step, lines in windows.items()},
            entry.get("smoothness"),
        )

    @classmethod
    def nothing(cls) -> Fitted:
        """Return the defaults without a fit: no season, and equal weights of all memories at every horizon.

        The volatility is the geometric mean of three averages, scaled as for normal returns.
        """
        flat = Season("week", np.ones(WEEK_BINS), np.ones(60))
        level, slopes = np.array([math.log(math.sqrt(math.pi / 2))]), np.full((1, 3), 1 / 3)
        curve = Curve(np.array([1.0]), (1800, 14_400, 259_200), level, slopes)
        shocks = Shocks(0.92, 20.0, 0.2, 0.2, 10_800)
        steps = (60, 300)
        return cls(flat, dict.fromkeys(steps, curve), dict.fromkeys(steps, shocks), smoothness=1.0)


def _floats(values: Any) -> Floats:
    return np.array(values, np.float64)
