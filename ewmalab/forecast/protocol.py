"""The protocols of forecasters, and the prompts that they answer."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
import numpy.typing as npt

from ewmalab.errors import ForecasterError
from ewmalab.forecast.streams import RandomStream
from ewmalab.market.bars import Bars
from ewmalab.rulebook import Asset
from ewmalab.times import MINUTE

LogReturns = npt.NDArray[np.float32]
Numbers = Mapping[str, Any]
"""The result of a fit as plain JSON data: numbers, strings, lists and tables."""
State = TypeVar("State")
StateOut = TypeVar("StateOut", covariant=True)


@dataclass(frozen=True, slots=True, order=True)
class Prompt:
    """One request of a validator.

    Attributes
    ----------
    start_time : int
        Seconds since 1970-01-01 UTC; the time of the paths' first point.
    competition, asset : str
    request_time : int
        When the request arrives: only bars closed by then are known.
    time_increment, time_length : int
        Seconds between points, and from the first to the last.
    num_simulations : int
        Number of paths.
    """

    start_time: int
    competition: str
    asset: str
    request_time: int
    time_increment: int
    time_length: int
    num_simulations: int

    @property
    def steps(self) -> int:
        """Return the number of increments."""
        return self.time_length // self.time_increment

    def grid(self) -> npt.NDArray[np.int64]:
        """Return the times of the points: (steps + 1,) int64."""
        return self.start_time + self.time_increment * np.arange(self.steps + 1, dtype=np.int64)

    def stream(self, seed: int) -> RandomStream:
        """Return the prompt's own random stream."""
        return RandomStream.of(seed, self.asset, self.competition, self.start_time)


@runtime_checkable
class Forecaster(Protocol[State]):
    """Makes a state from an asset's bars and simulates paths from it: pure, clock-free, safe to share between threads.

    A forecaster belongs to one asset. It is made by a factory ``factory(asset, **parameters)``, where `asset` is an
    `ewmalab.rulebook.Asset` and the parameters come from the settings. The optional attribute ``warmup`` (seconds) is
    how much history its state needs, by default `ewmalab.forecast.model.DEFAULT_WARMUP`.
    """

    def initial_state(self) -> State:
        """Return the state before any bar."""
        ...

    def update(self, state: State, bars: Bars) -> State:
        """Return the state after closed minute bars that follow those already seen.

        The result does not depend on how the bars are divided into calls, bit for bit. `state` is not modified.
        """
        ...

    def simulate(self, state: State, prompt: Prompt, stream: RandomStream) -> LogReturns:
        """Return cumulative log-returns from the anchor price: (steps + 1, num_simulations) float32.

        Row 0 is zero and all values are finite and within +-30. The same arguments give the same paths.
        """
        ...

    def dump_state(self, state: State) -> dict[str, Any]:
        """Return the state as plain numbers, strings and lists, with an integer ``version``."""
        ...

    def load_state(self, data: Mapping[str, Any]) -> State:
        """Return the state that `dump_state` wrote, bit for bit.

        Raises
        ------
        ForecasterError
            If the version or a field is unknown.
        """
        ...


@runtime_checkable
class Fittable(Protocol):
    """A forecaster whose numbers are estimated from bars: by ``ewmalab fit``, during a replay, and live.

    The factory makes it without a fit. It returns and takes numbers, and reads or writes no files.
    """

    def fit(
        self, bars: Mapping[str, Bars], assets: Mapping[str, Asset], *, end: int, prior: Numbers | None = None
    ) -> Numbers:
        """Return the estimates for all assets at once; they do not depend on the asset of `self`.

        A method with another keyword ``threads`` is told how many it may use; its estimates do not depend on that.

        Parameters
        ----------
        bars : mapping of asset to Bars
            Closed minute bars, all of them known at `end`.
        assets : mapping of asset to Asset
            With the same keys.
        end : int
            Time of the fit, seconds since 1970-01-01 UTC.
        prior : mapping, optional
            Numbers of an earlier fit to shrink towards.

        Raises
        ------
        MissingDataError
            If the bars are too few.
        """
        ...

    def with_fit(self, numbers: Numbers) -> Forecaster[Any]:
        """Return the forecaster of the same asset and parameters that uses a fit.

        Raises
        ------
        ForecasterError
            If the numbers do not come from such a fit.
        """
        ...


@runtime_checkable
class Explained(Protocol):
    """A `Fittable` that describes its fits to users."""

    def fit_remark(self, numbers: Numbers | None) -> str:
        """Return a remark for users on the fit for this asset (None: no fit yet), or an empty string."""
        ...

    def fit_table(self, numbers: Numbers) -> Mapping[str, Mapping[str, str]]:
        """Return a few columns that describe the fit of each asset."""
        ...


@runtime_checkable
class Ageing(Protocol[State]):
    """A forecaster with a rule for the silence after its newest bar."""

    def aged(self, state: State, until: int) -> State:
        """Return the state aged by the gap rule to `until`, seconds since 1970-01-01 UTC; `state` is not modified."""
        ...


@runtime_checkable
class ScaleFree(Protocol[StateOut]):
    """A forecaster whose paths are those of a reference state times one number, the relative volatility.

    ``simulate(state, prompt, stream)`` equals ``volatility * simulate(reference_state(), prompt, stream)`` up to the
    rounding of float32, for every prompt and stream. One reference ensemble then scores any number of prompts.
    """

    def shape(self, time_increment: int) -> Hashable | None:
        """Return what the reference paths of prompts with this increment depend on, besides stream and size.

        Forecasters of one class with equal shapes share an ensemble. None means that the paths do not scale and are
        simulated prompt by prompt.
        """
        ...

    def reference_state(self) -> StateOut:
        """Return the state whose paths are the reference."""
        ...

    def relative_volatility(self, state: Any, time_increment: int) -> float:
        """Return the volatility of a state relative to the reference, > 0."""
        ...

    def relative_volatilities(
        self, bars: Bars, known: npt.NDArray[np.int64], time_increment: int
    ) -> npt.NDArray[np.float64]:
        """Return `relative_volatility` after each number of bars at once: (p,) float64, > 0.

        Parameters
        ----------
        bars : Bars
            From the start of the warm-up on.
        known : (p,) int64
            Entry i uses only the first ``known[i]`` bars. Its state equals that of `update` over them, bit for bit.
        time_increment : int
            Increment of the prompts, seconds.
        """
        ...


@runtime_checkable
class Scaled(Protocol):
    """A forecaster with a parameter that multiplies its paths and changes nothing else.

    Paths under a value v > 0 are v times those under 1, up to the rounding of float32 and the limit of +-30, and states
    do not depend on it. A sweep then simulates each prompt once for all values of the parameter.

    Attributes
    ----------
    path_scale : str
        The parameter's name.
    """

    path_scale: str


def check_bars(name: str, asset: str, bars: Bars, seen: float) -> None:
    """Refuse bars that are not minute bars, or do not follow the newest seen.

    Parameters
    ----------
    name, asset : str
        Forecaster and asset, for the message.
    bars : Bars
        At least one.
    seen : float
        Label of the newest bar seen; NaN if none.

    Raises
    ------
    ForecasterError
    """
    if bars.resolution != MINUTE:
        raise ForecasterError(f"{name} takes bars of {MINUTE} s, got {bars.resolution} s")
    if bars.timestamp[0] <= seen:
        raise ForecasterError(
            f"{name}: bar {int(bars.timestamp[0])} of {asset} is not after the newest seen, {int(seen)}"
        )
