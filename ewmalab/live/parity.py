"""Making logged answers again: from the bars of the cache to the bits that were sent."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from ewmalab.errors import EwmalabError, MissingDataError
from ewmalab.forecast.protocol import LogReturns
from ewmalab.forecast.wire import render
from ewmalab.live.answers import paths_digest, paths_of, state_digest
from ewmalab.live.history import undo
from ewmalab.live.records import LiveLog, prompt_of
from ewmalab.live.store import StateStore
from ewmalab.live.tracker import Model, origin_of
from ewmalab.market.bars import DAY, MINUTE, Bars
from ewmalab.market.ranges import subtract
from ewmalab.market.remote import open_cache
from ewmalab.rulebook import load_rulebook
from ewmalab.settings import LoadedSettings

_STATES = 64  # kept at once, by asset and newest bar


@dataclass
class Rebuilder:
    """Makes the states and paths of logged answers again.

    Parameters
    ----------
    log : LiveLog
    settings : LoadedSettings
        Name the cache and the state folder; all that shapes an answer comes from the settings recorded with it.
    """

    log: LiveLog
    settings: LoadedSettings
    _bars: dict[tuple[str, str], Bars] = field(default_factory=dict, repr=False)
    _states: OrderedDict[tuple[str, str, str, int, int], Any] = field(default_factory=OrderedDict, repr=False)

    def __post_init__(self) -> None:
        self._recorded = lru_cache(maxsize=None)(self.log.settings)
        self._model = lru_cache(maxsize=None)(self._make)
        self._undone = lru_cache(maxsize=_STATES)(self._as_known)

    def model(self, record: dict[str, Any], name: str | None = None) -> Model:
        """Return the forecaster that answered, or the one called `name`, under the settings recorded."""
        return self._model(name or record["forecaster"], record["asset"], record["settings"])

    def _make(self, name: str, asset: str, settings: str) -> Model:
        return Model.of(name, load_rulebook().asset(asset), self._recorded(settings))

    def state(self, record: dict[str, Any], model: Model) -> Any:
        """Return a forecaster's state after the bars that were known to the answer.

        Raises
        ------
        MissingDataError
            If the cache lacks some of them.
        """
        key = (model.name, model.parameters, record["asset"], record["newest"], record["saved_at"])
        if key not in self._states:
            origin = origin_of(record["newest"], model.warmup)
            bars = self._undone(record["feed"], record["asset"], origin, record["newest"], record["saved_at"])
            self._states[key] = model.state_of(bars)
            if len(self._states) > _STATES:
                self._states.popitem(last=False)
        return self._states[key]

    def paths(self, record: dict[str, Any], name: str | None = None) -> LogReturns:
        """Return the paths of an answer, or those that the forecaster `name` would have answered with."""
        model = self.model(record, name)
        anchor = record["anchor"]
        return paths_of(
            model.forecaster, self.state(record, model), prompt_of(record), anchor["price"], int(anchor["at"]),
            record["seed"], record["aged"],
        )  # fmt: skip

    def _as_known(self, feed: str, asset: str, origin: int, newest: int, saved_at: int) -> Bars:
        """Return the bars from an origin to the newest, as they were known when a state was saved."""
        changes = [change for at, change in self.log.amendments.get(asset, []) if at > saved_at]
        bars = undo(self._all_bars(feed, asset), changes).between(origin, newest + MINUTE)
        if not len(bars) or bars.timestamp[-1] != newest:
            raise MissingDataError(f"{feed} {asset}: the cache lacks bars that the answer rested on")
        return bars

    def _all_bars(self, feed: str, asset: str) -> Bars:
        """Return the cached bars, and those of the state that were not archived yet."""
        key = (feed, asset)
        if key not in self._bars:
            records = [r for r in self.log.answers if (r["feed"], r["asset"]) == key]
            first = min(r["newest"] for r in records) // DAY * DAY - 100 * DAY
            last = max(r["newest"] for r in records) + MINUTE
            cache = open_cache(self.settings.values.data.cache_dir)
            covered = subtract([(first, last)], cache.missing(feed, asset, first, last))
            parts = [cache.read(feed, asset, a, b) for a, b in covered]
            saved, _ = StateStore(self.settings.values.live.state_dir).load(asset)
            end = covered[-1][1] if covered else first
            if saved is not None and saved.feed == feed:
                parts.append(saved.bars.between(end, last))
            self._bars[key] = Bars.concatenate(parts)
        return self._bars[key]


@dataclass(frozen=True, slots=True)
class Difference:
    """A logged answer that could not be made again.

    Attributes
    ----------
    record : dict
    what : str
        ``state``, ``paths``, ``bytes``, or why it could not be tried.
    """

    record: dict[str, Any]
    what: str


@dataclass(frozen=True, slots=True)
class ParityReport:
    """What `check_parity` found.

    Attributes
    ----------
    answers : int
    identical : int
    differences : list of Difference
    """

    answers: int
    identical: int
    differences: list[Difference]


def check_parity(log: LiveLog, settings: LoadedSettings, *, progress: Callable[[], None] | None = None) -> ParityReport:
    """Make every logged answer again from cached bars and compare state, paths and bytes, bit for bit."""
    rebuilder = Rebuilder(log, settings)
    differences = []
    for record in log.answers:
        try:
            what = _differing(rebuilder, record)
        except EwmalabError as error:
            what = str(error)
        if what:
            differences.append(Difference(record, what))
        if progress:
            progress()
    return ParityReport(len(log.answers), len(log.answers) - len(differences), differences)


def _differing(rebuilder: Rebuilder, record: dict[str, Any]) -> str:
    """Return the first thing that differs, or nothing."""
    model = rebuilder.model(record)
    if state_digest(model.forecaster, rebuilder.state(record, model)) != record["state_sha256"]:
        return "state"
    paths = rebuilder.paths(record)
    if paths_digest(paths) != record["paths_sha256"]:
        return "paths"
    body = render(record["start_time"], record["time_increment"], record["anchor"]["price"], paths)
    return "" if hashlib.sha256(body).hexdigest() == record["body_sha256"] else "bytes"
