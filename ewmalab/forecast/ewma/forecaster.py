"""The forecaster ``ewma``: EWMA volatility at 1 and 5 minutes with Student-t shocks."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from ewmalab.errors import ForecasterError
from ewmalab.forecast.draws import BLOCK
from ewmalab.forecast.ewma import kernels as ek
from ewmalab.forecast.protocol import LogReturns, Prompt, check_bars
from ewmalab.forecast.strata import student_t_strata
from ewmalab.forecast.streams import RandomStream
from ewmalab.market.bars import Bars
from ewmalab.market.resample import no_forming, resample
from ewmalab.market.sessions import in_session
from ewmalab.rulebook import Asset
from ewmalab.times import MINUTE

FIVE_MINUTES = 300
_NO_TRACK = np.empty((0, 1))
_REFERENCE_VARIANCE = 1e-6  # per step; near real ones, so that the kernels' limits bind as rarely
_GAP_POLICIES = {"hold": ek.HOLD, "revert": ek.REVERT, "decay": ek.DECAY}


@dataclass(frozen=True, slots=True, eq=False)
class EwmaState:
    """State of `Ewma` for one asset.

    Attributes
    ----------
    minute, five_minute : (5,) float64
        Per resolution: variance per bar, long-run variance, bars seen, label and close of the newest bar.
    forming : (5,) float64
        The 5-minute bar under construction.
    """

    minute: npt.NDArray[np.float64]
    five_minute: npt.NDArray[np.float64]
    forming: npt.NDArray[np.float64]


@dataclass(frozen=True)
class Ewma:
    """EWMA volatility with Student-t shocks, one asset.

    The 1-minute state serves prompts with an increment of 60 s, the 5-minute state those with 300 s. Each bar's
    variance proxy v (`kernels.variance_proxies`) enters as ``h <- decay h + (1 - decay) v`` with
    ``decay = exp(-ln 2 dt / half-life)``. Paths start at h; shocks are Student-t of unit variance.

    Parameters
    ----------
    asset : Asset
    half_life_1m, half_life_5m : int
        Half-lives of the variance, seconds.
    nu_1m, nu_5m : float
        Degrees of freedom of the shocks, > 2 (at 2 and below the variance does not exist).
    variance_mixing_alpha : float
        Weight of the squared return against the squared range, for bars with a real range.
    variance_floor : float
        Smallest variance per bar.
    close_only : {"squared_return", "synthesise"}
        Bars without a real range: v = r**2 (unbiased), or high and low from successive closes (0.68 r**2).
    start : {"expanding_mean", "constant"}
        How the variance starts: the mean of the first bars, weighted equally until the decay's own weight is
        larger; or at `initial_variance`, 10 to 1000 times too large for most assets.
    initial_variance : float
        Per bar; only for ``start="constant"``.
    gap_policy : {"hold", "revert", "decay"}
        Over missing bars the variance stays, returns to the long-run variance with `gap_half_life`, or decays
        towards zero (16 h at a half-life of 2 h leave 6 % of the volatility). With the first two a return over k
        bars counts as a k-th of its square.
    gap_half_life, long_run_half_life : int
        Seconds; for ``gap_policy="revert"``.
    feedback : float
        Weight of a path's own shocks in its variance: 0 keeps it at its start, 1 is the full recursion, an IGARCH in
        which the typical path's variance collapses while a few explode.
    off_hours : {"session", "whole_path", "none"}
        For assets that follow the US cash session: volatility outside it is `equity_off_hours_mult` times that
        inside, in the state and per step; or every path is multiplied at any time; or there is no difference.
    equity_off_hours_mult : float
        Volatility outside the session relative to inside.
    draws : {"stratified", "independent"}
        Shocks of a step: one of each stratum of their distribution, in random order (see
        `ewmalab.forecast.strata`); or independent from path to path.
    """

    asset: Asset
    half_life_1m: int
    half_life_5m: int
    nu_1m: float
    nu_5m: float
    variance_mixing_alpha: float
    variance_floor: float
    close_only: str
    start: str
    initial_variance: float
    gap_policy: str
    gap_half_life: int
    long_run_half_life: int
    feedback: float
    off_hours: str
    equity_off_hours_mult: float
    draws: str

    STATE_VERSION = 1
    # Parameters that affect one increment only; all others affect both.
    INCREMENT_OF: ClassVar[Mapping[str, int]] = {
        "half_life_1m": MINUTE,
        "nu_1m": MINUTE,
        "half_life_5m": FIVE_MINUTES,
        "nu_5m": FIVE_MINUTES,
    }

    def __post_init__(self) -> None:
        for name in ("nu_1m", "nu_5m"):
            if not getattr(self, name) > 2:
                raise ForecasterError(
                    f"ewma: {name} = {getattr(self, name)} for {self.asset.symbol}: must be above 2, "
                    "where the shocks' variance exists"
                )

    def initial_state(self) -> EwmaState:
        """Return the state before any bar."""
        core = np.array([self.initial_variance, self.initial_variance, 0.0, np.nan, np.nan])
        return EwmaState(core, core.copy(), no_forming())

    def update(self, state: EwmaState, bars: Bars) -> EwmaState:
        """Return the state after closed minute bars; see `Forecaster.update`.

        Raises
        ------
        ForecasterError
            If the bars are not minute bars, or do not follow those already seen.
        """
        if not len(bars):
            return state
        check_bars("ewma", self.asset.symbol, bars, state.minute[ek.LAST_TIME])
        bars = self._with_ranges(bars, state.minute)
        minute = self._filter(state.minute, bars, self.half_life_1m)
        longer, forming = resample(bars, FIVE_MINUTES, state.forming)
        five = self._filter(state.five_minute, longer, self.half_life_5m) if len(longer) else state.five_minute
        return EwmaState(minute, five, forming)

    def aged(self, state: EwmaState, until: int) -> EwmaState:
        """Return the state after a silence that lasts until `until`; see `Ageing`.

        The filter treats missing bars the same way before it takes the next one: the variance stays with ``hold``,
        approaches the long-run variance with ``revert`` and shrinks with ``decay``.
        """
        five = self._aged(state.five_minute, until, self.half_life_5m, FIVE_MINUTES)
        return EwmaState(self._aged(state.minute, until, self.half_life_1m, MINUTE), five, state.forming)

    def _aged(
        self, core: npt.NDArray[np.float64], until: int, half_life: int, resolution: int
    ) -> npt.NDArray[np.float64]:
        missing = float((until - core[ek.LAST_TIME]) // resolution - 1) if core[ek.COUNT] else 0.0
        if missing <= 0 or self.gap_policy == "hold":
            return core
        new = core.copy()
        if self.gap_policy == "decay":
            new[ek.VARIANCE] *= ek.decay_of(half_life, resolution) ** missing
        else:
            weight = ek.decay_of(self.gap_half_life, resolution) ** missing
            new[ek.VARIANCE] = core[ek.LONG_RUN] + (core[ek.VARIANCE] - core[ek.LONG_RUN]) * weight
        return new

    def simulate(self, state: EwmaState, prompt: Prompt, stream: RandomStream) -> LogReturns:
        """Return cumulative log-returns; see `Forecaster.simulate`.

        Raises
        ------
        ForecasterError
            If the increment is neither 60 nor 300 s, or no bar has been seen.
        """
        _, nu, keep = self._shocks(prompt.time_increment)
        core = state.minute if prompt.time_increment == MINUTE else state.five_minute
        if not core[ek.COUNT]:
            raise self._unseen()
        # Step i of a path runs from the close of the candle at grid point i to that at i + 1.
        moments = prompt.grid()[:-1] + MINUTE
        scale = self._volatility_scale(moments, prompt.time_increment)
        if self.off_hours == "whole_path" and self.asset.sessions:
            scale = scale * self.equity_off_hours_mult
        out = np.empty((prompt.steps + 1, prompt.num_simulations), np.float32)
        variance, steps = max(core[ek.VARIANCE], self.variance_floor), scale.astype(np.float32)
        if self.draws == "independent":
            ek.ewma_paths(stream.lanes(prompt.num_simulations), nu, keep, variance, steps, out)
        else:
            strata = student_t_strata(nu, prompt.num_simulations)
            ek.stratified_ewma_paths(stream.lanes(BLOCK), strata, keep, variance, steps, out)
        return out

    def shape(self, time_increment: int) -> Hashable | None:
        """Return what the reference paths depend on; see `ScaleFree.shape`.

        None if the volatility of a step depends on the clock.
        """
        if self.asset.sessions and self.off_hours == "session":
            return None
        _, nu, keep = self._shocks(time_increment)
        off_hours = self.equity_off_hours_mult if self.asset.sessions and self.off_hours == "whole_path" else 1.0
        return time_increment, nu, keep, off_hours, self.draws

    def reference_state(self) -> EwmaState:
        """Return the state whose paths are the reference; see `ScaleFree.reference_state`."""
        core = np.array([_REFERENCE_VARIANCE, _REFERENCE_VARIANCE, 1.0, np.nan, np.nan])
        return EwmaState(core, core.copy(), no_forming())

    def relative_volatility(self, state: EwmaState, time_increment: int) -> float:
        """Return the volatility of a state relative to the reference; see `ScaleFree`.

        Raises
        ------
        ForecasterError
            If the increment is neither 60 nor 300 s, or no bar of that length is complete.
        """
        self._shocks(time_increment)  # refuses other increments
        core = state.minute if time_increment == MINUTE else state.five_minute
        if not core[ek.COUNT]:
            raise self._unseen()
        return float(self._relative(core[ek.VARIANCE : ek.VARIANCE + 1])[0])

    def relative_volatilities(
        self, bars: Bars, known: npt.NDArray[np.int64], time_increment: int
    ) -> npt.NDArray[np.float64]:
        """Return the volatility relative to the reference after each number of bars; see `ScaleFree`.

        Raises
        ------
        ForecasterError
            If the increment is neither 60 nor 300 s, or no bar of that length is complete.
        """
        half_life, _, _ = self._shocks(time_increment)
        start = self.initial_state()
        bars = self._with_ranges(bars, start.minute)
        complete = known
        if time_increment != MINUTE:
            newest = bars.timestamp[known - 1]
            bars, _ = resample(bars, time_increment, start.forming)
            complete = np.searchsorted(bars.timestamp, newest + MINUTE - time_increment, side="right")
        if not len(complete) or complete.min() < 1:
            raise self._unseen()
        track = np.empty((len(bars), 1))
        core = self._filter(start.minute, bars, half_life, track)
        if not core[ek.COUNT]:
            raise self._unseen()
        return self._relative(track[complete - 1, 0])

    def _relative(self, variances: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        reference = max(_REFERENCE_VARIANCE, self.variance_floor)
        volatilities: npt.NDArray[np.float64] = np.sqrt(np.maximum(variances, self.variance_floor) / reference)
        return volatilities

    def dump_state(self, state: EwmaState) -> dict[str, Any]:
        """Return the state as a plain dict (floats as hexadecimal text, hence exact)."""
        return {
            "forecaster": "ewma",
            "version": self.STATE_VERSION,
            "asset": self.asset.symbol,
            **{k: [float(x).hex() for x in getattr(state, k)] for k in ("minute", "five_minute", "forming")},
        }

    def load_state(self, data: Mapping[str, Any]) -> EwmaState:
        """Return the state that `dump_state` wrote."""
        wanted = {"forecaster": "ewma", "version": self.STATE_VERSION, "asset": self.asset.symbol}
        found = {key: data.get(key) for key in wanted}
        if found != wanted:
            raise ForecasterError(f"state belongs to {found}, expected {wanted}: rebuild it from the cached bars")
        try:
            parts = [np.array([float.fromhex(x) for x in data[k]]) for k in ("minute", "five_minute", "forming")]
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ForecasterError(f"state of {self.asset.symbol} is damaged: {error!r}") from error
        if any(part.shape != (5,) for part in parts):
            raise ForecasterError(f"state of {self.asset.symbol} is damaged: its parts need 5 numbers each")
        return EwmaState(*parts)

    def _shocks(self, time_increment: int) -> tuple[int, float, float]:
        """Return half-life, degrees of freedom and in-path decay of prompts with an increment."""
        if time_increment == MINUTE:
            half_life, nu = self.half_life_1m, self.nu_1m
        elif time_increment == FIVE_MINUTES:
            half_life, nu = self.half_life_5m, self.nu_5m
        else:
            raise ForecasterError(f"ewma simulates increments of 60 and 300 s, not {time_increment} s")
        return half_life, nu, 1.0 - self.feedback * (1.0 - ek.decay_of(half_life, time_increment))

    def _unseen(self) -> ForecasterError:
        return ForecasterError(f"ewma has seen no bar of {self.asset.symbol} yet: warm it up first")

    def _with_ranges(self, bars: Bars, minute: npt.NDArray[np.float64]) -> Bars:
        """Return minute bars, with synthetic ranges if the options ask for them."""
        if self.close_only != "synthesise":
            return bars
        return _with_synthetic_range(bars, minute, spread_gaps=self.gap_policy != "decay")

    def _filter(
        self, core: npt.NDArray[np.float64], bars: Bars, half_life: int, track: npt.NDArray[np.float64] = _NO_TRACK
    ) -> npt.NDArray[np.float64]:
        """Return one resolution's state after `bars`; `track`, if given, receives the variance after each."""
        new = core.copy()
        proxies, elapsed = np.empty(len(bars)), np.empty(len(bars))
        scale = self._volatility_scale(bars.timestamp, bars.resolution)
        ek.variance_proxies(
            bars.timestamp,
            bars.open,
            bars.high,
            bars.low,
            bars.close,
            bars.resolution,
            core[ek.LAST_TIME],
            core[ek.LAST_CLOSE],
            self.variance_mixing_alpha,
            self.variance_floor,
            self.gap_policy != "decay",
            scale,
            proxies,
            elapsed,
        )
        new[ek.COUNT] = ek.filter_variances(
            proxies,
            elapsed,
            np.array([ek.decay_of(half_life, bars.resolution)]),
            new[ek.VARIANCE : ek.VARIANCE + 1],
            new[ek.LONG_RUN : ek.LONG_RUN + 1],
            core[ek.COUNT],
            ek.decay_of(self.long_run_half_life, bars.resolution),
            self.start == "expanding_mean",
            _GAP_POLICIES[self.gap_policy],
            ek.decay_of(self.gap_half_life, bars.resolution),
            track,
        )
        new[ek.LAST_TIME] = bars.timestamp[-1]
        new[ek.LAST_CLOSE] = bars.close[-1]
        return new

    def _volatility_scale(self, begin: npt.NDArray[np.int64], length: int) -> npt.NDArray[np.float64]:
        """Return the volatility of steps of `length` s relative to the level in session (their middle decides)."""
        if not (self.asset.sessions and self.off_hours == "session"):
            return np.ones(len(begin))
        return np.where(in_session(begin + length // 2), 1.0, self.equity_off_hours_mult)


def _with_synthetic_range(bars: Bars, core: npt.NDArray[np.float64], *, spread_gaps: bool) -> Bars:
    """Set the open of close-only bars to the previous close, and high and low to the extremes of the two.

    With `spread_gaps` the square of a range over k bars is divided by k, like that of the return.
    """
    last_time, last_close = core[ek.LAST_TIME], core[ek.LAST_CLOSE]
    before = np.concatenate([[last_close], bars.close[:-1]])
    elapsed = np.diff(bars.timestamp.astype(np.float64), prepend=last_time) / bars.resolution
    first = np.isnan(before)
    before[first] = bars.close[first]
    if spread_gaps:
        gap = np.flatnonzero(elapsed > 1)  # False for the first bar's NaN
        before[gap] = bars.close[gap] * (before[gap] / bars.close[gap]) ** (1 / np.sqrt(elapsed[gap]))
    real = bars.has_range
    columns = bars.columns() | {
        "open": np.where(real, bars.open, before),
        "high": np.where(real, bars.high, np.maximum(before, bars.close)),
        "low": np.where(real, bars.low, np.minimum(before, bars.close)),
    }
    return Bars.trusted(columns, bars.resolution)
