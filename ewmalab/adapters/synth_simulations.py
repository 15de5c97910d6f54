"""Drop-in functions for ``synth.miner.simulations``.

With these in place of the module's own functions, its miner and its offline tests forecast with ewmalab::

    import synth.miner.simulations as simulations
    from ewmalab.adapters import synth_simulations

    simulations.generate_simulations = synth_simulations.generate_simulations
    simulations.get_asset_price = synth_simulations.get_asset_price

They use the bars of the live state folder if it has any, otherwise those of the cache; in either case only bars that
were closed when the prompt was sent.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from ewmalab.errors import MissingDataError
from ewmalab.forecast.model import RunningState
from ewmalab.forecast.protocol import Prompt
from ewmalab.live.state_store import StateStore
from ewmalab.market.bars import Bars
from ewmalab.market.cache import open_cache
from ewmalab.market.feeds.make import cache_name
from ewmalab.replay.fits import load_model
from ewmalab.rulebook import Rulebook, load_rulebook
from ewmalab.scoring.answer_format import render
from ewmalab.settings import LoadedSettings, load_settings
from ewmalab.times import DAY, MINUTE, iso, parse_time

_AHEAD = 2 * DAY  # cached bars are read this far ahead
_STATE_REACH = 3600  # seconds after its newest bar that a live state is still used


@dataclass(frozen=True, slots=True)
class _Held:
    """Bars in memory, complete from `begin` to `end`."""

    stamp: tuple[int, int]
    begin: int
    end: int
    bars: Bars


class Simulations:
    """Forecasts for programs that choose their own start times.

    Parameters
    ----------
    settings : LoadedSettings
        ``live.forecaster`` names the forecaster; ``live.state_dir``, or ``data.feed`` and ``data.cache_dir``, the bars.
    """

    def __init__(self, settings: LoadedSettings) -> None:
        self._settings = settings
        self._rulebook: Rulebook = load_rulebook()
        self._store = StateStore(settings.values.live.state_dir)
        self._cache = open_cache(settings.values.data.cache_dir)
        self._states: dict[str, RunningState] = {}
        self._held: dict[str, _Held] = {}
        self._followed: dict[str, Bars] = {}
        self._now: dict[str, int] = {}

    def generate_simulations(
        self,
        asset: str = "BTC",
        start_time: str | datetime = "",
        time_increment: int = 300,
        time_length: int = 86_400,
        num_simulations: int = 1,
        **_: Any,
    ) -> tuple[Any, ...]:
        """Return simulated paths in the subnet's format: ``(start, increment, [path 1], ...)``.

        Parameters
        ----------
        asset : str
        start_time : str or datetime
            ISO 8601.
        time_increment, time_length : int
            Seconds.
        num_simulations : int

        Raises
        ------
        RulebookError
            If `start_time` is not a time.
        MissingDataError
            If no bar is known at the request.
        """
        start = parse_time(start_time.isoformat() if isinstance(start_time, datetime) else start_time)
        found = self._rulebook.at(start).competition_of(asset, time_increment, time_length)
        competition = found.name if found else ""
        lead = self._settings.values.replay.request_lead or (found.request_lead if found else MINUTE)
        request = start - lead
        prompt = Prompt(start, competition, asset, request, time_increment, time_length, num_simulations)
        bars = self._known(asset, request)
        running = self._running(asset)
        state = running.follow(bars, amended=self._amended(asset))
        anchor, seed = float(bars.close[-1]), self._settings.values.run.seed
        paths = running.model.paths(state, int(bars.timestamp[-1]), prompt, seed)
        return tuple(orjson.loads(render(start, time_increment, anchor, paths)))

    def get_asset_price(self, asset: str = "BTC") -> float:
        """Return the newest close known at the asset's last prompt; before any prompt, the newest close of all.

        Raises
        ------
        MissingDataError
            If there is none.
        """
        now = self._now.get(asset)
        if now is None:
            saved, _ = self._store.load(asset)
            if saved is None:
                raise MissingDataError(f"no price of {asset} yet: simulate first, or start `ewmalab live updater`")
            return float(saved.bars.close[-1])
        return float(self._known(asset, now).close[-1])

    def _amended(self, asset: str) -> bool:
        """Return whether the bars were reread since the last forecast, so that some may have changed."""
        before, self._followed[asset] = self._followed.get(asset), self._held[asset].bars
        return before is not self._held[asset].bars

    def _known(self, asset: str, when: int) -> Bars:
        """Return the bars since the origin that are closed at `when`."""
        self._now[asset] = when
        held = self._held.get(asset)
        stamp = self._stamp(asset)
        model = self._running(asset).model
        begin = model.origin(when)
        if held is None or held.stamp != stamp or held.begin > begin or when > held.end:
            held = self._read(asset, begin, when, stamp)
        known = held.bars.known_at(when)
        if len(known):  # after a gap, the origin follows from the newest bar, not from `when`
            begin = model.origin(int(known.timestamp[-1]))
            if begin < held.begin:
                held = self._read(asset, begin, when, stamp)
                known = held.bars.known_at(when)
        self._held[asset] = held
        if not len(known):
            raise MissingDataError(
                f"no bar of {asset} is known at {iso(when)}: `ewmalab data fetch`, or run `ewmalab live updater`"
            )
        return known

    def _running(self, asset: str) -> RunningState:
        if asset not in self._states:
            name, now = self._settings.values.live.forecaster, self._now[asset]
            model = load_model(name, self._rulebook.asset(asset), self._settings, now)
            self._states[asset] = RunningState(model)
        return self._states[asset]

    def _stamp(self, asset: str) -> tuple[int, int]:
        """Return a value that changes with every state that a live updater saves."""
        try:
            stat = self._store.path(asset).stat()
        except FileNotFoundError:
            return 0, 0
        return stat.st_ino, stat.st_mtime_ns

    def _read(self, asset: str, begin: int, when: int, stamp: tuple[int, int]) -> _Held:
        """Return the bars of the live state if they cover `when`, otherwise those of the cache."""
        values = self._settings.values
        saved, _ = self._store.load(asset)
        if saved is not None and saved.bars.timestamp[0] <= when - DAY and when <= saved.newest + _STATE_REACH:
            return _Held(stamp, begin, saved.newest + MINUTE, saved.bars)
        bars = self._cache.read(cache_name(values.data.feed, values), asset, begin, when + _AHEAD)
        return _Held(stamp, begin, int(bars.timestamp[-1]) + MINUTE if len(bars) else begin, bars)


_default: Simulations | None = None


def configure(settings: LoadedSettings | None = None) -> Simulations:
    """Set the settings for the functions of this module, by default those of the working directory."""
    global _default
    _default = Simulations(settings or load_settings())
    return _default


def generate_simulations(
    asset: str = "BTC",
    start_time: str | datetime = "",
    time_increment: int = 300,
    time_length: int = 86_400,
    num_simulations: int = 1,
    **options: Any,
) -> tuple[Any, ...]:
    """Return simulated paths; see `Simulations.generate_simulations`.

    Parameters
    ----------
    asset : str
    start_time : str or datetime
        ISO 8601.
    time_increment, time_length : int
        Seconds.
    num_simulations : int
    **options
        Ignored.
    """
    made = _default or configure()
    return made.generate_simulations(asset, start_time, time_increment, time_length, num_simulations, **options)


def get_asset_price(asset: str = "BTC") -> float:
    """Return the anchor price; see `Simulations.get_asset_price`."""
    return (_default or configure()).get_asset_price(asset)
