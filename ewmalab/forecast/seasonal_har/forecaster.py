"""The forecaster ``seasonal-har``: volatility by the clock, by several memories, and by the horizon."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ewmalab.errors import ForecasterError
from ewmalab.forecast.paths import LOG_RETURN_LIMIT
from ewmalab.forecast.protocol import LogReturns, Prompt, check_bars
from ewmalab.forecast.seasonal_har import kernels as hk
from ewmalab.forecast.seasonal_har.clock import WEEK_BINS, day_classes, week_bins
from ewmalab.forecast.streams import RandomStream
from ewmalab.market.bars import Bars
from ewmalab.rulebook import Asset
from ewmalab.times import MINUTE, iso

Floats = npt.NDArray[np.float64]
HALF_LIVES = (600, 1800, 3600, 14_400, 21_600, 172_800, 259_200)
"""Memories of the state, seconds; a curve uses some of them."""
NEVER = -(2**62)
"""Until when a fit has seen bars that has seen none."""
MIN_AVERAGE = 1e-7  # of an average absolute return a minute: a market that stands still has no logarithm


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
    """Log-volatility a minute, by horizon, from the averages: ``a(tau) + sum_k b_k(tau) ln E_k``.

    Parameters
    ----------
    knots : (J,) float64
        Horizons, minutes; between them linear in ln tau, flat outside.
    memories : sequence of int
        Half-lives that are used, seconds.
    level : (J,) float64
    slopes : (J, K) float64
    """

    knots: Floats
    memories: Sequence[int]
    level: Floats
    slopes: Floats

    def at(self, logs: Floats, tau: Floats) -> Floats:
        """Return ln sigma a minute (deseasonalised) at horizons tau, minutes.

        Parameters
        ----------
        logs : (..., K) float64
            Logarithms of the averages.
        tau : (n,) float64

        Returns
        -------
        (..., n) float64
        """
        knots, place = np.log(self.knots), np.log(tau)
        shares = np.stack([np.interp(place, knots, one) for one in np.eye(len(knots))])
        found: Floats = (self.level + logs @ self.slopes.T) @ shares
        return found


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
class SeasonalHar:
    """Seasonality times a volatility curve over memories, with stochastic-volatility shocks; one asset.

    Parameters
    ----------
    asset : Asset
    season : Season
    curves : mapping of time increment to Curve
    shocks : mapping of time increment to Shocks
    fitted_until : int
        The fit has seen the bars closed by then: what was asked before it cannot be forecast.
    volatility_scale : float
        Factor on the fitted volatility.
    windows : mapping of time increment to (W, steps) float64, optional
        Past returns over what was expected of each step, to be lived through again instead of `shocks`: filtered
        historical simulation (Barone-Adesi, Giannopoulos and Vosper, 1999).
    """

    asset: Asset
    season: Season
    curves: Mapping[int, Curve]
    shocks: Mapping[int, Shocks]
    fitted_until: int = NEVER
    volatility_scale: float = 1.0
    windows: Mapping[int, Floats] | None = None

    STATE_VERSION = 1

    @classmethod
    def of(
        cls, asset: Asset, fitted: Mapping[str, Any], *, fitted_until: int = NEVER, volatility_scale: float = 1.0,
        shocks: str = "waves",
    ) -> SeasonalHar:  # fmt: skip
        """Make the forecaster from an asset's entry of an artifact.

        Raises
        ------
        ForecasterError
            If the entry is not whole.
        """
        try:
            season = Season(
                str(fitted["season"]["clock"]), np.array(fitted["season"]["level"], np.float64),
                np.array(fitted["season"]["minute"], np.float64),
            )  # fmt: skip
            curves = {
                int(step): Curve(
                    np.array(c["knots"], np.float64), tuple(int(m) for m in c["memories"]),
                    np.array(c["level"], np.float64), np.array(c["slopes"], np.float64),
                )
                for step, c in fitted["curves"].items()
            }  # fmt: skip
            shapes = {int(step): Shocks(**given) for step, given in fitted["shocks"].items()}
            kept = {int(step): np.array([line.split() for line in lines], np.float64)
                    for step, lines in fitted.get("windows", {}).items()} if shocks == "windows" else None  # fmt: skip
        except (KeyError, TypeError, ValueError) as error:
            raise ForecasterError(
                f"seasonal-har: the artifact's entry of {asset.symbol} is damaged: {error}"
            ) from error
        if kept is not None and kept.keys() != curves.keys():
            raise ForecasterError(
                f"seasonal-har: the artifact keeps no windows of {asset.symbol}: fit with seasonal_har.shocks=windows"
            )
        return cls(asset, season, curves, shapes, fitted_until, volatility_scale, kept)

    @classmethod
    def unfitted(cls, asset: Asset, volatility_scale: float = 1.0) -> SeasonalHar:
        """Make the forecaster that knows nothing yet: no season, and all memories alike at every horizon.

        Its volatility is the geometric mean of three averages, as that of normal returns.
        """
        every = np.array([1.0])
        flat = Season("week", np.ones(WEEK_BINS), np.ones(60))
        level, slopes = np.array([math.log(math.sqrt(math.pi / 2))]), np.full((1, 3), 1 / 3)
        curve = Curve(every, (1800, 14_400, 259_200), level, slopes)
        shocks = Shocks(0.92, 20.0, 0.2, 0.2, 10_800)
        steps = (60, 300)
        return cls(asset, flat, dict.fromkeys(steps, curve), dict.fromkeys(steps, shocks), NEVER, volatility_scale)

    def initial_state(self) -> Floats:
        """Return the state before any bar."""
        return np.concatenate([[np.nan, np.nan, -1.0], np.zeros(len(HALF_LIVES))])

    def update(self, state: Floats, bars: Bars) -> Floats:
        """Return the state after closed minute bars; see `Forecaster.update`.

        Raises
        ------
        ForecasterError
            If the bars are not minute bars, or do not follow those already seen.
        """
        if not len(bars):
            return state
        check_bars("seasonal-har", self.asset.symbol, bars, state[hk.LAST_TIME])
        new = state.copy()
        self.follow(new, bars, np.empty((0, len(state))))
        return new

    def follow(self, state: Floats, bars: Bars, states: Floats) -> None:
        """Advance a state in place, and keep it after each bar where `states` has rows."""
        begin = int(bars.timestamp[0] if math.isnan(state[hk.LAST_TIME]) else state[hk.LAST_TIME] + MINUTE)
        minutes = np.arange(begin, int(bars.timestamp[-1]) + MINUTE, MINUTE, dtype=np.int64)
        hk.follow(state, _KEEP, bars.timestamp, bars.close, begin, self.season.variance(minutes), states)

    def simulate(self, state: Floats, prompt: Prompt, stream: RandomStream) -> LogReturns:
        """Return cumulative log-returns; see `Forecaster.simulate`.

        Raises
        ------
        ForecasterError
            If nothing has been seen, nothing was fitted for this increment, or the fit has seen the future.
        """
        if prompt.request_time < self.fitted_until:
            raise ForecasterError(
                f"seasonal-har was fitted on bars up to {iso(self.fitted_until)} and is asked for a forecast at "
                f"{iso(prompt.request_time)}: it has seen that future; fit on earlier bars, or along the way "
                "(--refit 1d)"
            )
        if state[hk.COUNT] < 1:
            raise ForecasterError(f"seasonal-har: no return of {self.asset.symbol} seen yet")
        if prompt.time_increment not in self.curves:
            raise ForecasterError(f"seasonal-har is fitted for steps of {sorted(self.curves)} s, not those asked for")
        if self.windows is not None:
            return self._live_again(self.windows[prompt.time_increment], state, prompt, stream)
        shocks = self.shocks[prompt.time_increment]
        out = np.empty((prompt.steps + 1, prompt.num_simulations), np.float32)
        persistence = 0.5 ** (prompt.time_increment / shocks.wave_half_life)
        hk.stochastic_volatility_paths(
            stream.lanes(-(-prompt.num_simulations // 2)), shocks.nu, shocks.level, shocks.wave, persistence,
            self.volatility(state, prompt), out,
        )  # fmt: skip
        return out

    def _live_again(self, windows: Floats, state: Floats, prompt: Prompt, stream: RandomStream) -> LogReturns:
        """Return paths of past windows and their mirror images, each as often as any other, in a random order."""
        half, rng = -(-prompt.num_simulations // 2), stream.generator()
        rounds = [rng.permutation(len(windows)) for _ in range(-(-half // len(windows)))]
        chosen = windows[np.concatenate(rounds)[:half]]
        moved = (self.volatility(state, prompt)[:, None] * chosen.T).astype(np.float32)
        paths = np.concatenate([np.zeros((1, half), np.float32), np.cumsum(moved, axis=0, dtype=np.float32)])
        mirrored = np.concatenate([paths, -paths[:, : prompt.num_simulations - half]], axis=1)
        found: LogReturns = np.clip(mirrored, -LOG_RETURN_LIMIT, LOG_RETURN_LIMIT)
        return found

    def volatility(self, state: Floats, prompt: Prompt) -> npt.NDArray[np.float32]:
        """Return the volatility of each step: (steps,) float32."""
        step = prompt.time_increment
        minutes = np.arange(prompt.start_time, prompt.start_time + prompt.time_length, MINUTE, dtype=np.int64)
        season = np.sqrt(self.season.variance(minutes).reshape(prompt.steps, step // MINUTE).sum(axis=1))
        tau = (np.arange(prompt.steps) + 0.5) * step / MINUTE
        curve = self.curves[step]
        chosen = [hk.FIRST + HALF_LIVES.index(memory) for memory in curve.memories]
        log_sigma = curve.at(np.log(np.maximum(state[chosen], MIN_AVERAGE)), tau)
        scale = self.volatility_scale * (self.shocks[step].scale if self.windows is None else 1.0)
        sigma: npt.NDArray[np.float32] = (scale * season * np.exp(log_sigma)).astype(np.float32)
        return sigma

    def dump_state(self, state: Floats) -> dict[str, Any]:
        """Return the state as a plain dict."""
        return {"forecaster": "seasonal-har", "version": self.STATE_VERSION, "state": [v.hex() for v in state.tolist()]}

    def load_state(self, data: Mapping[str, Any]) -> Floats:
        """Return the state that `dump_state` wrote.

        Raises
        ------
        ForecasterError
        """
        if data.get("forecaster") != "seasonal-har" or data.get("version") != self.STATE_VERSION:
            raise ForecasterError(f"not a state of seasonal-har {self.STATE_VERSION}: {str(dict(data))[:80]}")
        try:
            state = np.array([float.fromhex(v) for v in data["state"]])
        except (KeyError, TypeError, ValueError) as error:
            raise ForecasterError(f"seasonal-har: damaged state: {error}") from error
        if state.shape != (hk.FIRST + len(HALF_LIVES),):
            raise ForecasterError(f"seasonal-har: a state has {hk.FIRST + len(HALF_LIVES)} numbers, not {len(state)}")
        return state


_KEEP = np.array([0.5 ** (MINUTE / half_life) for half_life in HALF_LIVES])
