"""A forecaster and the rule that makes its state from bars, shared by replay, sweeps, live, parity and checks."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from inspect import signature
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from ewmalab.errors import ForecasterError
from ewmalab.forecast.load import code_version, identity_of, load_forecaster
from ewmalab.forecast.paths import check_paths
from ewmalab.forecast.plugin_errors import naming_plugin
from ewmalab.forecast.protocol import Ageing, Fittable, Forecaster, LogReturns, Numbers, Prompt, ScaleFree
from ewmalab.market.bars import Bars
from ewmalab.rulebook import Asset
from ewmalab.settings import LoadedSettings
from ewmalab.settings.schema import asset_value
from ewmalab.times import DAY, MINUTE, iso

DEFAULT_WARMUP = 5 * DAY
"""Warm-up of a forecaster that does not state its own, seconds."""


def fit_of(
    maker: Fittable,
    bars: Mapping[str, Bars],
    assets: Mapping[str, Asset],
    *,
    end: int,
    prior: Numbers | None = None,
    threads: int = 1,
) -> Numbers:
    """Return what a forecaster's `fit` returns; it gets threads only if it takes them, a prior only if there is one.

    Parameters
    ----------
    maker : Fittable
    bars, assets, end, prior, threads
        As in `Fittable.fit`.
    """
    given: dict[str, Any] = {"prior": prior} if prior else {}
    if "threads" in signature(maker.fit).parameters:
        given["threads"] = threads
    return maker.fit(bars, assets, end=end, **given)


def origin_of(newest: int, warmup: int) -> int:
    """Return the label of the first bar of a state: the warm-up's length before the midnight before the newest bar.

    The warm-up restarts at each midnight (UTC). A state's history is therefore bounded and depends on the clock alone,
    not on where a replay began or how long a process has run.

    Examples
    --------
    >>> from ewmalab.times import iso, parse_time
    >>> iso(origin_of(parse_time("2026-01-15T14:00"), 5 * 86_400))
    '2026-01-10T00:00:00Z'
    """
    return newest - newest % DAY - warmup


def warmup_of(forecaster: object, asset: str, settings: LoadedSettings) -> int:
    """Return the warm-up of a forecaster: seconds, whole days.

    It is the setting ``replay.warmup``, or what the forecaster asks for if that is 0.
    """
    wanted = asset_value(settings.values.replay.warmup, asset) or getattr(forecaster, "warmup", DEFAULT_WARMUP)
    return DAY * max(1, -int(-wanted // DAY))


@dataclass(frozen=True)
class Fit:
    """The result of fitting a forecaster.

    Attributes
    ----------
    end : int
        The fit saw the bars closed by then. A prompt requested earlier is refused.
    numbers : mapping
    digest : str
        Equal digests mean equal numbers.
    """

    end: int
    numbers: Numbers
    digest: str


@dataclass(frozen=True, eq=False)
class Model:
    """A forecaster of one asset, and the rule from bars to its state.

    Attributes
    ----------
    name : str
        As in the settings: ``ewma``, ``ewma@seed``, ``package.module:attribute``.
    asset : Asset
    forecaster : Forecaster
    warmup : int
        Seconds, whole days.
    stale_after : int
        Seconds without a bar after which the state ages by the forecaster's own rule.
    fit : Fit or None
    given : mapping
        Everything that shaped the forecaster except code; see `parameters`.
    """

    name: str
    asset: Asset
    forecaster: Forecaster[Any]
    warmup: int
    stale_after: int
    fit: Fit | None = None
    given: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, name: str, asset: Asset, settings: LoadedSettings, fit: Fit | None = None) -> Model:
        """Make the model of an asset.

        Parameters
        ----------
        name : str
        asset : Asset
        settings : LoadedSettings
        fit : Fit, optional
            Used if the forecaster is `Fittable`.

        Raises
        ------
        ForecasterError, ConfigError
            As in `load_forecaster`.
        """
        forecaster = load_forecaster(name, asset, settings)
        warmup = warmup_of(forecaster, asset.symbol, settings)
        if fit is not None and isinstance(forecaster, Fittable):
            with naming_plugin(forecaster, f"{type(forecaster).__name__}.with_fit", asset.symbol, fit.end):
                forecaster = forecaster.with_fit(fit.numbers)
        given = {
            **identity_of(name, asset.symbol, settings),
            "asset": repr(asset),
            "warmup": warmup,
            "fit": fit.digest if fit else None,
        }
        return cls(name, asset, forecaster, warmup, settings.values.live.stale_after, fit, given)

    @cached_property
    def parameters(self) -> str:
        """Return a digest of parameters and code; a state saved under another digest is rebuilt from its bars."""
        parts = {**(self.given or {}), "code": code_version(self.name.partition("@")[0])}
        return hashlib.sha256(orjson.dumps(parts, option=orjson.OPT_SORT_KEYS)).hexdigest()

    def origin(self, newest: int) -> int:
        """Return the label of the first bar of a state whose newest bar has the label `newest`."""
        return origin_of(newest, self.warmup)

    def is_stale(self, newest: int, when: int) -> bool:
        """Return whether the market has been silent so long at a time that the state ages."""
        return when - (newest + MINUTE) > self.stale_after

    def state_of(self, bars: Bars) -> Any:
        """Return the state after all bars since the `origin` of the newest.

        Parameters
        ----------
        bars : Bars
            At least one; bars before the origin are ignored.
        """
        newest = int(bars.timestamp[-1])
        since = bars.between(self.origin(newest), newest + 1)
        with self.naming("initial_state", newest):
            state = self.forecaster.initial_state()
        return self.updated(state, since)

    def updated(self, state: Any, bars: Bars) -> Any:
        """Return the state after more bars, at least one."""
        with self.naming("update", int(bars.timestamp[-1])):
            return self.forecaster.update(state, bars)

    def loaded(self, data: Mapping[str, Any]) -> Any:
        """Return the state that the forecaster dumped.

        Raises
        ------
        ForecasterError
        """
        with self.naming("load_state"):
            return self.forecaster.load_state(data)

    def naming(self, method: str, when: int | None = None) -> AbstractContextManager[None]:
        """Return a context that names method, asset and time of an error raised inside the forecaster."""
        return naming_plugin(self.forecaster, f"{type(self.forecaster).__name__}.{method}", self.asset.symbol, when)

    def _aged(self, state: Any, until: int) -> Any:
        assert isinstance(self.forecaster, Ageing)
        with self.naming("aged", until):
            return self.forecaster.aged(state, until)

    def paths(self, state: Any, newest: int, prompt: Prompt, seed: int) -> LogReturns:
        """Return the paths that answer a prompt.

        Parameters
        ----------
        state : object
            From `state_of`.
        newest : int
            Label of its newest bar.
        prompt : Prompt
        seed : int

        Returns
        -------
        (steps + 1, num_simulations) float32
            Cumulative log-returns from the anchor.

        Raises
        ------
        ForecasterError
            If the fit has seen the prompt's future, the forecaster fails, or the paths break the protocol.
        """
        self.refuse_seen([prompt])
        if isinstance(self.forecaster, Ageing) and self.is_stale(newest, prompt.request_time):
            state = self._aged(state, prompt.request_time)
        with self.naming("simulate", prompt.request_time):
            paths = self.forecaster.simulate(state, prompt, prompt.stream(seed))
        return check_paths(self.forecaster, paths, prompt)

    def refuse_seen(self, prompts: Iterable[Prompt]) -> None:
        """Refuse prompts from before the end of the fit.

        Raises
        ------
        ForecasterError
        """
        if self.fit is None:
            return
        for prompt in prompts:
            if prompt.request_time < self.fit.end:
                raise ForecasterError(
                    f"{self.name} was fitted on bars up to {iso(self.fit.end)} and is asked for a forecast at "
                    f"{iso(prompt.request_time)}: it refuses prompts from before the end of its fit; fit on earlier "
                    "bars, or refit during the replay (--refit 1d)"
                )

    def relative_volatilities(
        self, bars: Bars, known: npt.NDArray[np.int64], requests: npt.NDArray[np.int64], time_increment: int
    ) -> npt.NDArray[np.float64]:
        """Return the volatility of the states that `state_of` gives, aged as in `paths`, relative to the reference.

        Parameters
        ----------
        bars : Bars
            From the first state's origin on.
        known : (p,) int64
            Number of bars that each state has seen, at least one.
        requests : (p,) int64
            Request times, seconds since 1970-01-01 UTC.
        time_increment : int
            Increment of the prompts, seconds.

        Returns
        -------
        (p,) float64
            See `ScaleFree`.

        Raises
        ------
        ForecasterError
            If a value is not positive and finite, or one is missing.
        """
        forecaster = self.forecaster
        assert isinstance(forecaster, ScaleFree)
        newest = bars.timestamp[known - 1]
        origins = newest - newest % DAY - self.warmup
        found = np.empty(len(known))
        for origin in np.unique(origins).tolist():
            here = origins == origin
            first = int(np.searchsorted(bars.timestamp, origin))
            since = bars.rows(first, int(known[here].max()))
            with self.naming("relative_volatilities", origin):
                values = forecaster.relative_volatilities(since, known[here] - first, time_increment)
            found[here] = self._checked(values, int(here.sum()))
        if isinstance(forecaster, Ageing):
            state, seen = None, -1
            for i in np.flatnonzero(requests - (newest + MINUTE) > self.stale_after).tolist():
                if known[i] != seen:  # the prompts in one silence share a state
                    state, seen = self.state_of(bars.rows(0, int(known[i]))), known[i]
                aged = self._aged(state, int(requests[i]))
                with self.naming("relative_volatility", int(requests[i])):
                    value = forecaster.relative_volatility(aged, time_increment)
                found[i] = self._checked(np.array([value]), 1)[0]
        return found

    def _checked(self, volatilities: npt.NDArray[np.float64], count: int) -> npt.NDArray[np.float64]:
        if volatilities.shape != (count,) or not (np.isfinite(volatilities) & (volatilities > 0)).all():
            raise ForecasterError(
                f"{type(self.forecaster).__name__}.relative_volatilities did not return one positive, finite value per "
                f"state for {self.asset.symbol}"
            )
        return volatilities


class RunningState:
    """Updates a state as bars arrive; it always equals that of `Model.state_of`, bit for bit."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.state: Any = None
        self._origin = self._newest = -1

    def follow(self, bars: Bars, *, amended: bool = False) -> Any:
        """Return the state after all of `bars`.

        Parameters
        ----------
        bars : Bars
            At least one.
        amended : bool
            Whether bars seen before have changed.
        """
        newest = int(bars.timestamp[-1])
        origin = self.model.origin(newest)
        if amended or origin != self._origin or newest < self._newest:
            self.state = self.model.state_of(bars)
        elif newest > self._newest:
            self.state = self.model.updated(self.state, bars.between(self._newest + 1, newest + 1))
        self._origin, self._newest = origin, newest
        return self.state

    def adopt(self, state: Any, newest: int) -> None:
        """Continue from a state that `Model.state_of` gave for bars up to `newest`."""
        self.state, self._newest = state, newest
        self._origin = self.model.origin(newest)


def state_digest(forecaster: Forecaster[Any], state: Any) -> str:
    """Return a digest of a state.

    Raises
    ------
    ForecasterError
        If the state is not dumped as plain numbers, strings and lists.
    """
    with naming_plugin(forecaster, f"{type(forecaster).__name__}.dump_state"):
        data = forecaster.dump_state(state)
    try:
        return hashlib.sha256(orjson.dumps(data, option=orjson.OPT_SORT_KEYS)).hexdigest()
    except TypeError as error:
        raise ForecasterError(
            f"{type(forecaster).__name__}.dump_state returned what JSON cannot hold: {error}"
        ) from error


def paths_digest(paths: LogReturns) -> str:
    """Return the sha256 of the shape and the bits of paths."""
    return hashlib.sha256(repr(paths.shape).encode() + paths.tobytes()).hexdigest()
