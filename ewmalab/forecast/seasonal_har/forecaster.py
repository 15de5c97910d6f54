"""The forecaster ``seasonal-har``: volatility by the clock, by several memories, and by the horizon."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import log
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from ewmalab.errors import ForecasterError
from ewmalab.forecast.paths import LOG_RETURN_LIMIT
from ewmalab.forecast.protocol import LogReturns, Numbers, Prompt, check_bars
from ewmalab.forecast.seasonal_har import kernels as hk
from ewmalab.forecast.seasonal_har.parts import SMOOTHED, Fitted
from ewmalab.forecast.seasonal_har.paths import wave_paths
from ewmalab.forecast.seasonal_har.state import SIZE, features, follow, initial_state, smoothness
from ewmalab.forecast.streams import RandomStream
from ewmalab.market.bars import Bars
from ewmalab.rulebook import Asset
from ewmalab.times import DAY, MINUTE

Floats = npt.NDArray[np.float64]
_SMOOTHNESS_BARS = 1440.0  # with so many bars the smoothness of the closes has half its weight


@dataclass(frozen=True, eq=False)
class SeasonalHar:
    """Seasonality times a volatility curve over memories, with stochastic-volatility shocks; one asset.

    Parameters
    ----------
    asset : Asset
    volatility_scale : float
        Factor on the fitted volatility.
    shocks : {"waves", "windows"}
        Stochastic volatility, or filtered historical simulation from past days and hours (Barone-Adesi, Giannopoulos
        and Vosper, 1999), which needs a fit with the same choice.
    fitted : Fitted
        From `with_fit`.
    """

    asset: Asset
    volatility_scale: float = 1.0
    shocks: str = "waves"
    fitted: Fitted = field(default_factory=Fitted.nothing)

    STATE_VERSION: ClassVar[int] = 3
    warmup: ClassVar[int] = 14 * DAY
    path_scale: ClassVar[str] = "volatility_scale"

    def fit(
        self,
        bars: Mapping[str, Bars],
        assets: Mapping[str, Asset],
        *,
        end: int,
        prior: Numbers | None = None,
        threads: int = 1,
    ) -> Numbers:
        """Return the numbers of a fit; see `ewmalab.forecast.seasonal_har.fit.fit`.

        Parameters
        ----------
        bars, assets, end, prior, threads
            As in `Fittable.fit`.
        """
        from ewmalab.forecast.seasonal_har.fit import fit  # scipy.optimize is slow to import, and serving needs no fit

        return fit(bars, assets, end=end, prior=prior, windows=self.shocks == "windows", threads=threads)

    def with_fit(self, numbers: Numbers) -> SeasonalHar:
        """Return the forecaster with the fit of its asset, else the pooled fit of its class, else the defaults.

        An entry of a prior keeps no windows: its shocks are then waves.

        Raises
        ------
        ForecasterError
            If the numbers are damaged, or hold no windows and `shocks` needs them.
        """
        try:
            entry, _ = self._entry(numbers)
            fitted = Fitted.nothing() if entry is None else Fitted.of(entry)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ForecasterError(f"seasonal-har: the fit of {self.asset.symbol} is damaged: {error}") from error
        if entry is None:
            return replace(self, fitted=fitted)
        if (
            self.shocks == "windows"
            and not entry.get("prior")
            and (fitted.windows is None or fitted.windows.keys() != fitted.curves.keys())
        ):
            raise ForecasterError(
                f"seasonal-har: the fit keeps no windows of {self.asset.symbol}: fit with seasonal_har.shocks=windows"
            )
        return replace(self, fitted=fitted)

    def fit_remark(self, numbers: Numbers | None) -> str:
        """Return a remark for users on the fit for this asset; see `Explained`."""
        return self._entry(numbers)[1]

    def fit_table(self, numbers: Numbers) -> dict[str, dict[str, str]]:
        """Return the share of own bars, and scale and degrees of freedom of the shocks; see `Explained`."""
        return {asset: _described(entry) for asset, entry in numbers["assets"].items()}

    def _entry(self, numbers: Numbers | None) -> tuple[Mapping[str, Any] | None, str]:
        """Return the entry of a fit that the asset uses, and a remark for users on it."""
        name, alike = self.asset.symbol, self.asset.asset_class
        if numbers is None:
            return None, f"{name}: not fitted yet: volatility without a season, from recent days only"
        if name in numbers["assets"]:
            return numbers["assets"][name], ""
        if alike in numbers["pooled"]:
            pooled = numbers["pooled"][alike]
            if not pooled.get("prior"):
                return pooled, f"{name} was not fitted: it uses the mean fit of {pooled['of']} of its class ({alike})"
            remark = f"{name} was not fitted: it uses the prior of its class ({alike})" if numbers["assets"] else ""
            return pooled, remark
        known = ", ".join(numbers["assets"])
        return (
            None,
            f"{name}: none of its class was fitted (only {known}): volatility without a season, from recent days only",
        )

    def initial_state(self) -> Floats:
        """Return the state before any bar."""
        return initial_state()

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
        follow(new, bars, self.fitted.season, np.empty((0, len(state))))
        return new

    def simulate(self, state: Floats, prompt: Prompt, stream: RandomStream) -> LogReturns:
        """Return cumulative log-returns; see `Forecaster.simulate`.

        Raises
        ------
        ForecasterError
            If no return has been seen, or nothing was fitted for this increment.
        """
        if state[hk.COUNT] < 1:
            raise ForecasterError(f"seasonal-har: no return of {self.asset.symbol} seen yet")
        if prompt.time_increment not in self.fitted.curves:
            steps = sorted(self.fitted.curves)
            raise ForecasterError(f"seasonal-har is fitted for steps of {steps} s, not {prompt.time_increment} s")
        if self._windows is not None:
            return self._live_again(self._windows[prompt.time_increment], state, prompt, stream)
        shocks, sigma = self.fitted.shocks[prompt.time_increment], self.volatility(state, prompt)
        return wave_paths(stream, shocks, prompt.time_increment, sigma, prompt.num_simulations)

    @property
    def _windows(self) -> Mapping[int, Floats] | None:
        return self.fitted.windows if self.shocks == "windows" else None

    def _live_again(self, windows: Floats, state: Floats, prompt: Prompt, stream: RandomStream) -> LogReturns:
        """Return paths of past windows and their mirror images, all equally often, in random order."""
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
        season = np.sqrt(self.fitted.season.variance(minutes).reshape(prompt.steps, step // MINUTE).sum(axis=1))
        tau = (np.arange(prompt.steps) + 0.5) * step / MINUTE
        curve = self.fitted.curves[step]
        log_sigma = curve.at(features(state, curve.memories, curve.trends), tau)
        scale = self.volatility_scale * (self.fitted.shocks[step].scale if self._windows is None else 1.0)
        log_sigma += SMOOTHED[step] * self._smoother(state)
        sigma: npt.NDArray[np.float32] = (scale * season * np.exp(log_sigma)).astype(np.float32)
        return sigma

    def _smoother(self, state: Floats) -> float:
        """Return the logarithm of the smoothness of these closes relative to those of the fit, shrunk towards 0."""
        if not self.fitted.smoothness:
            return 0.0
        seen = float(state[hk.COUNT])
        return log(smoothness(state) / self.fitted.smoothness) * seen / (seen + _SMOOTHNESS_BARS)

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
        if state.shape != (SIZE,):
            raise ForecasterError(f"seasonal-har: a state has {SIZE} numbers, not {len(state)}")
        return state


def _described(entry: Mapping[str, Any]) -> dict[str, str]:
    shocks = {"24h: scale, nu": entry["shocks"].get("300"), "1h: scale, nu": entry["shocks"].get("60")}
    own = {"own": f"{100 * entry.get('own', 1.0):.0f} %"}
    return own | {name: f"{one['scale']:.2f}, {one['nu']:.3g}" if one else "" for name, one in shocks.items()}
