"""Reproduce logged answers: from cached bars to the bytes that were sent, and as a backtest of the prompts."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from ewmalab.errors import EwmalabError, MissingDataError
from ewmalab.forecast.model import Model, paths_digest, state_digest
from ewmalab.forecast.protocol import LogReturns
from ewmalab.live.audit.answer_log import LiveLog, Record, prompt_of
from ewmalab.live.audit.log_stream import Span, widened
from ewmalab.live.state_store import StateStore
from ewmalab.live.updater.revisions import undo, without
from ewmalab.market.bars import Bars
from ewmalab.market.cache import open_cache
from ewmalab.market.partition import Partition
from ewmalab.market.ranges import Range, intersect, subtract, union
from ewmalab.replay.fits import artifact_at, load_model
from ewmalab.replay.knowledge import Knowledge, moments
from ewmalab.rulebook import load_rulebook
from ewmalab.scoring.answer_format import render
from ewmalab.settings import LoadedSettings
from ewmalab.times import DAY, MINUTE, iso

_STATES = 64  # states kept in memory, by asset and newest bar
_MAX_WARMUP = 100 * DAY
_LATE = 2**40  # a time after the end of any prior


@dataclass
class Reproducer:
    """Reproduces the states and paths of logged answers.

    Parameters
    ----------
    log : LiveLog
    settings : LoadedSettings
        Name the cache and the state folder, and configure forecasters that did not answer. Answers are reproduced
        with their recorded settings.
    spans : mapping of (feed, asset) to Span, optional
        By default those of the log's answers.
    """

    log: LiveLog
    settings: LoadedSettings
    spans: Mapping[tuple[str, str], Span] | None = None

    def __post_init__(self) -> None:
        if self.spans is None:
            spans: dict[tuple[str, str], Span] = {}
            for record in self.log.answers:
                key = record["feed"], record["asset"]
                spans[key] = widened(spans.get(key), record)
            self.spans = spans
        self._recorded = lru_cache(maxsize=None)(self.log.settings)
        self._model = lru_cache(maxsize=None)(self._make)
        self._all_bars = lru_cache(maxsize=None)(self._read_bars)
        self._bars = lru_cache(maxsize=_STATES)(self._as_known)
        self._state = lru_cache(maxsize=_STATES)(self._make_state)

    def model(self, record: Record, name: str | None = None) -> Model:
        """Return the model that answered, with its recorded settings, or another with the current settings."""
        if name is None or name == record["forecaster"]:
            fitted = bool(record.get("fit"))
            return self._model(record["forecaster"], record["asset"], record["settings"], fitted)
        fitted = artifact_at(name, self.settings, record["request_time"]) is not None
        return self._model(name, record["asset"], None, fitted)

    def _make(self, name: str, asset: str, settings: str | None, fitted: bool) -> Model:
        chosen = self.settings if settings is None else self._recorded(settings)
        return load_model(name, load_rulebook().asset(asset), chosen, _LATE if fitted else 0)

    def state(self, record: Record, name: str | None = None) -> Any:
        """Return a forecaster's state after the bars that the answer knew.

        Raises
        ------
        MissingDataError
            If the cache lacks some of these bars.
        """
        known = (record[key] for key in ("feed", "asset", "newest", "saved_at"))
        return self._state(self.model(record, name), *known)

    def _make_state(self, model: Model, feed: str, asset: str, newest: int, saved_at: int) -> Any:
        return model.state_of(self._bars(feed, asset, model.origin(newest), newest, saved_at))

    def paths(self, record: Record, name: str | None = None) -> LogReturns:
        """Return the paths of an answer, or those that the forecaster `name` would have answered with."""
        model = self.model(record, name)
        return model.paths(self.state(record, name), record["newest"], prompt_of(record), record["seed"])

    def bars(self, record: Record) -> Bars:
        """Return all bars of an answer's asset as known now."""
        return self._all_bars(record["feed"], record["asset"])[0]

    def _as_known(self, feed: str, asset: str, origin: int, newest: int, saved_at: int) -> Bars:
        """Return the bars from an origin to the newest, as they were known when a state was saved."""
        everything, covered = self._all_bars(feed, asset)
        end = newest + MINUTE
        holes = subtract([(max(origin, covered[0][0]), end)], covered) if covered else [(origin, end)]
        if holes:
            where = ", ".join(f"{iso(a)} to {iso(b)}" for a, b in holes)
            raise MissingDataError(f"{feed} {asset}: the cache lacks bars that the answer used: {where}")
        changes = [change for at, change in self.log.amendments.get(asset, []) if at > saved_at]
        return undo(everything, changes).between(origin, end)

    def _read_bars(self, feed: str, asset: str) -> tuple[Bars, list[Range]]:
        """Return the cached bars, with those of the state where the cache has none yet, and the ranges they cover."""
        assert self.spans is not None
        first, last, began = self.spans[feed, asset]
        first = first // DAY * DAY - _MAX_WARMUP
        cache = open_cache(self.settings.values.data.cache_dir)
        missing = cache.missing(feed, asset, first, last)
        unseen = self._unseen(asset, began, cache.days(feed, asset, first, last).values())
        parts = [(a, b, without(cache.read(feed, asset, a, b), unseen)) for a, b in subtract([(first, last)], missing)]
        saved, _ = StateStore(self.settings.values.live.state_dir).load(asset)
        if saved is not None and saved.feed == feed:
            span = [(int(saved.bars.timestamp[0]), saved.newest + MINUTE)]
            parts += [(a, b, saved.bars.between(a, b)) for a, b in intersect(missing, span)]
        parts.sort(key=lambda part: part[0])
        return Bars.concatenate([bars for _, _, bars in parts]), union((a, b) for a, b, _ in parts)

    def _unseen(self, asset: str, began: int, days: Iterable[Partition]) -> list[int]:
        """Return the labels of late bars that a fetch brought into the cache, and that the miner never saw."""
        seen = {change.label for _, change in self.log.amendments.get(asset, [])}
        return [label for day in days for label, came in day.late if came > began and label not in seen]


@dataclass(frozen=True, slots=True)
class Difference:
    """A logged answer that could not be reproduced.

    Attributes
    ----------
    record : dict
    what : str
        ``state``, ``paths``, ``bytes``, or the error that prevented the check.
    """

    record: Record
    what: str


@dataclass(frozen=True, slots=True)
class BacktestParity:
    """Comparison of logged answers with a backtest of their prompts.

    Attributes
    ----------
    same : int
        Answers whose paths equal those of the backtest, bit for bit.
    late : int
        Different answers for which the miner lacked a bar that was closed at the request time.
    amended : int
        Different answers for which a bar arrived late or was revised afterwards.
    differences : list of Difference
        Answers that differ for neither reason.
    """

    same: int
    late: int
    amended: int
    differences: list[Difference]


@dataclass(frozen=True, slots=True)
class ParityReport:
    """The result of `check_parity`.

    Attributes
    ----------
    torn : int
        Lines of the log that crashes truncated.
    """

    answers: int
    identical: int
    differences: list[Difference]
    backtest: BacktestParity
    torn: int = 0


def check_parity(
    log: LiveLog,
    settings: LoadedSettings,
    *,
    knowledge: Knowledge = moments,
    progress: Callable[[], None] | None = None,
) -> ParityReport:
    """Reproduce every logged answer from cached bars in two ways, and compare bit for bit.

    The first uses what the log says was known and compares state, paths and bytes. The second is a backtest of the
    prompts, which knows only their request times, and compares the paths.

    Parameters
    ----------
    log : LiveLog
    settings : LoadedSettings
    knowledge : callable
        As in `ewmalab.replay.engine.replay`.
    progress : callable, optional
        Called after each answer.
    """
    reproducer = Reproducer(log, settings)
    differences = []
    for record in log.answers:
        try:
            what = _differing(reproducer, record)
        except EwmalabError as error:
            what = str(error)
        if what:
            differences.append(Difference(record, what))
        if progress:
            progress()
    identical = len(log.answers) - len(differences)
    backtest = _backtest(reproducer, log, knowledge)
    return ParityReport(len(log.answers), identical, differences, backtest, log.torn)


def _differing(reproducer: Reproducer, record: Record) -> str:
    """Return the name of the first difference, or an empty string."""
    model = reproducer.model(record)
    if state_digest(model.forecaster, reproducer.state(record)) != record["state_sha256"]:
        return "state"
    paths = reproducer.paths(record)
    if paths_digest(paths) != record["paths_sha256"]:
        return "paths"
    body = render(record["start_time"], record["time_increment"], record["anchor"]["price"], paths)
    return "" if hashlib.sha256(body).hexdigest() == record["body_sha256"] else "bytes"


def _backtest(reproducer: Reproducer, log: LiveLog, knowledge: Knowledge) -> BacktestParity:
    """Replay the logged prompts without using their answers."""
    same = late = amended = 0
    differences: list[Difference] = []
    for record, newest, digest in _replayed(reproducer, log, knowledge):
        if digest == record["paths_sha256"]:
            same += 1
        elif newest is None:
            differences.append(Difference(record, digest))
        elif newest > record["newest"]:
            late += 1
        elif any(c.label <= newest for at, c in log.amendments.get(record["asset"], []) if at > record["saved_at"]):
            amended += 1
        else:
            differences.append(Difference(record, "paths"))
    return BacktestParity(same, late, amended, differences)


def _replayed(reproducer: Reproducer, log: LiveLog, knowledge: Knowledge) -> Iterator[tuple[Record, int | None, str]]:
    """Yield each record, the newest bar known to a backtest, and the digest of its paths (or the error)."""
    groups: dict[tuple[str, ...], list[Record]] = {}
    for record in log.answers:
        key = tuple(record[name] for name in ("settings", "forecaster", "feed", "competition", "asset"))
        groups.setdefault(key, []).append(record)
    for records in groups.values():
        records.sort(key=lambda r: (r["request_time"], r["start_time"]))
        done = 0
        try:
            model, bars = reproducer.model(records[0]), reproducer.bars(records[0])
            for record, moment in zip(records, knowledge(model, bars, map(prompt_of, records)), strict=True):
                yield record, moment.anchor_time, paths_digest(moment.paths(model, record["seed"]))
                done += 1
        except EwmalabError as error:
            for record in records[done:]:
                yield record, None, str(error)
