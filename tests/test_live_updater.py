"""The updater against a feed it does not control: its state is that of the final closed bars, bit for bit, always."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import lru_cache
from pathlib import Path
from threading import Event
from typing import Any

import faulty_feed as fs
import numpy as np
import numpy.typing as npt
import orjson
import pytest
from examples import some
from live_rig import SettableClock, live_settings, patch_live_http, until
from mean_move import WIDE
from patience import Patience

from ewmalab.errors import ConfigError, ForecasterError, StateError
from ewmalab.forecast.model import DEFAULT_WARMUP, Model, RunningState
from ewmalab.live.audit.answer_log import AMENDMENTS
from ewmalab.live.clock import Clock
from ewmalab.live.feeds import choose_feeds
from ewmalab.live.state_store import QUARANTINE, StateStore
from ewmalab.live.status import HEARTBEAT
from ewmalab.live.updater.follower import Follower
from ewmalab.live.updater.revisions import Amendment, undo
from ewmalab.live.updater.updater import Updater
from ewmalab.market.bars import Bars
from ewmalab.market.cache import Cache
from ewmalab.market.feeds.candles import HttpFeed
from ewmalab.market.feeds.http import HttpClient
from ewmalab.market.feeds.hyperliquid import REACH
from ewmalab.market.feeds.parsing import read_candles
from ewmalab.market.feeds.simulated import SimulatedFeed
from ewmalab.market.quality import COLUMNS
from ewmalab.rulebook import load_rulebook
from ewmalab.times import DAY, MINUTE, parse_time

BOOK = load_rulebook()
HOUR = 3600
BEGIN = parse_time("2026-10-03T04:00")
FIRST, LAST = BEGIN - 10 * DAY, BEGIN + 5 * DAY
PRICES = {"BTC": 95_000.0, "ETH": 3_300.0, "XAU": 4_600.0}
SCORED = {"BTC": "binance", "XAU": "hyperliquid"}
SHORT: dict[str, Any] = {"replay__warmup": "1d"}
KEY = "sk-0123456789abcdef"


# --------------------------------------------------------------------------------------------- the bench


@lru_cache
def final_bars(asset: str) -> Bars:
    """Fifteen days of bars with a real range, of which a few are missing for good."""
    rng = np.random.default_rng(sum(asset.encode()))
    count = (LAST - FIRST) // MINUTE
    close = PRICES[asset] * np.exp(np.cumsum(rng.normal(0, 4e-4, count)))
    opened = np.concatenate([[PRICES[asset]], close[:-1]])
    up, down = np.exp(np.abs(rng.normal(0, 3e-4, (2, count))))
    columns = (np.maximum(opened, close) * up, np.minimum(opened, close) / down, close)
    keep = rng.random(count) >= 0.01
    return Bars(*(c[keep] for c in (FIRST + MINUTE * np.arange(count), opened, *columns)))


def scaled(bars: Bars, factor: npt.ArrayLike) -> Bars:
    """Bars at other prices."""
    return Bars.from_columns(bars.columns() | {name: getattr(bars, name) * factor for name in COLUMNS[1:]})


class Market:
    """The final bars of one asset, and how its feed shows some of them before they are final.

    Attributes
    ----------
    hidden : dict of int to float
        Until when a bar is not served.
    early : dict of int to (float, float)
        Until when a bar is served at prices that differ by a factor.
    """

    def __init__(self, final: Bars, now: Callable[[], float]) -> None:
        self.final, self._now = final, now
        self.hidden: dict[int, float] = {}
        self.early: dict[int, tuple[float, float]] = {}

    def between(self, start: int, end: int) -> Bars:
        bars, now = self.final.between(start, end), self._now()
        hidden = [label for label, until in self.hidden.items() if now < until]
        if hidden:
            keep = ~np.isin(bars.timestamp, hidden)
            bars = Bars.from_columns({name: column[keep] for name, column in bars.columns().items()})
        early = {label: factor for label, (factor, until) in self.early.items() if now < until}
        if early:
            bars = scaled(bars, np.array([early.get(int(label), 1.0) for label in bars.timestamp]))
        return bars


class Server(fs.FaultyFeed):
    """A feed server that fails for some symbols alone.

    Attributes
    ----------
    broken : dict of str to Fault
        What each request for a symbol meets.
    planned : dict of str to deque of Fault or None
        What the next requests for a symbol meet, one each.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.broken: dict[str, fs.Fault] = {}
        self.planned: dict[str, deque[fs.Fault | None]] = {}

    def take(self, seen: fs.Seen) -> fs.Fault | None:
        fault, symbol = super().take(seen), symbol_of(seen)
        if fault is None and self.planned.get(symbol):
            return self.planned[symbol].popleft()
        return fault or self.broken.get(symbol)


def symbol_of(seen: fs.Seen) -> str:
    if seen.body is not None:
        return str(seen.body["req"]["coin"]) if "req" in seen.body else ""
    return seen.query.get("symbol", "")


def asked(seen: fs.Seen) -> tuple[int, int]:
    """The labels that a request asks for, ``[from, to)``."""
    span = seen.query if seen.body is None else seen.body["req"]
    if "from" in span:
        return int(span["from"]), int(span["to"])
    return int(span["startTime"]) // 1000, (int(span["endTime"]) + 1) // 1000


class Bench:
    """An updater and the feed that it follows, each with a clock that the test sets; waiting takes no time."""

    def __init__(
        self, folder: Path, patch: pytest.MonkeyPatch, assets: tuple[str, ...], begin: float, **flags: Any
    ) -> None:
        self.ours, self.host = SettableClock(begin), SettableClock(begin)
        self._patch, self._steady = patch, 0.0
        self.markets = {asset: Market(final_bars(asset), self.host.now) for asset in assets}
        symbols = {s: self.markets[asset] for asset in assets for s in BOOK.asset(asset).symbols.values()}
        self.server = Server(symbols, clock=self.host.now)
        self.folder = folder
        self.settings = live_settings(folder, self.server.url, assets, **(SHORT | flags))
        self._held = ExitStack()
        self.updater: Updater

    def start(self, **flags: Any) -> Bench:
        """Begin as a new process does, with changed settings if there are any."""
        self.settings = self.settings.with_flags({key.replace("__", "."): value for key, value in flags.items()})
        patch_live_http(
            self._patch, sleep=self._sleep, monotonic=lambda: self._steady, timeout=Patience.of(self._hangs, 0.5)
        )
        self.updater = Updater.of(self.settings, self.ours)
        self._held.enter_context(self.updater.store.writing())
        for follower in self.updater.followers.values():
            self._held.callback(follower.feed.close)  # type: ignore[attr-defined]
        self.updater.restore()
        return self

    def _hangs(self) -> bool:
        planned = [fault for plan in self.server.planned.values() for fault in plan]
        return fs.HANG in [*self.server.broken.values(), *planned]

    def _sleep(self, seconds: float) -> None:
        self._steady += seconds

    def stop(self) -> None:
        """End as a killed process does: nothing is archived."""
        self._held.close()

    def restart(self, **flags: Any) -> Bench:
        self.stop()
        return self.start(**flags)

    def at(self, when: float, *, ahead: float = 0.0) -> Bench:
        """Update at a time of the feed's clock; ours is ahead of it."""
        self._steady += max(1.0, when - self.host.now())
        self.host.set(when)
        self.ours.set(when + ahead)
        self.updater.update(int(self.ours.now()))
        return self

    def minutes(self, count: int, second: float = 2.0) -> Iterator[int]:
        """Update in each of the next minutes, and yield it after its update."""
        for _ in range(count):
            minute = int(self.host.now()) // MINUTE * MINUTE + MINUTE
            self.at(minute + second)
            yield minute

    def run(self, count: int) -> None:
        for _ in self.minutes(count):
            pass

    def follower(self, asset: str = "BTC") -> Follower:
        return self.updater.followers[asset]

    def dumped(self, asset: str = "BTC") -> dict[str, Any]:
        """The state in memory in a form that tells each bit."""
        return dumped(self.follower(asset))

    def heartbeat(self) -> dict[str, Any]:
        return orjson.loads((self.updater.store.root / HEARTBEAT).read_bytes())  # type: ignore[no-any-return]

    def amendments(self) -> list[dict[str, Any]]:
        path = self.log_dir / AMENDMENTS
        return [orjson.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []

    @property
    def log_dir(self) -> Path:
        return Path(self.settings.values.live.log_dir)

    def symbol(self, asset: str = "BTC") -> str:
        return BOOK.asset(asset).symbols[self.follower(asset).feed.name]

    def cached(self, asset: str = "BTC") -> Bars:
        """What the cache has of the labels that the updater knows."""
        bars = self.follower(asset).bars
        cache = Cache(Path(self.settings.values.data.cache_dir))
        return cache.read(self.follower(asset).feed.name, asset, int(bars.timestamp[0]), int(bars.timestamp[-1]) + 1)

    def __enter__(self) -> Bench:
        self.server.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()
        self.server.__exit__(*error)


Make = Callable[..., Bench]


def benches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Yield what makes benches, each in a folder of its own unless it is named.

    One that has `begun` has the update at BEGIN + 2 behind it; its files are copies of those that the first one saved.
    """
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with ExitStack() as stack:
        count = 0

        def build(
            *assets: str,
            begin: float = BEGIN + 2,
            folder: str = "",
            start: bool = True,
            begun: bool = False,
            **flags: Any,
        ) -> Bench:
            nonlocal count
            count += 1
            where, assets = tmp_path / (folder or f"bench-{count}"), assets or ("BTC",)
            if begun:
                first = tmp_path.parent / f"begun-{'-'.join(assets)}"
                if not first.exists():
                    with Bench(first, monkeypatch, assets, begin) as bench:
                        bench.start().at(begin)
                shutil.copytree(first, where)
            bench = stack.enter_context(Bench(where, monkeypatch, assets, begin, **flags))
            return bench.start() if start else bench

        yield build


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    yield from benches(tmp_path, monkeypatch)


def dumped(follower: Follower) -> dict[str, Any]:
    return follower.model.forecaster.dump_state(follower.state)


def assert_followed(bench: Bench, *assets: str) -> None:
    """In memory are exactly the final bars that are closed by the feed's clock, and the state that they give."""
    for asset in assets or tuple(bench.markets):
        follower = bench.follower(asset)
        closed = bench.markets[asset].final.known_at(int(bench.host.now()))
        assert follower.newest == closed.timestamp[-1]
        assert follower.bars.digest() == closed.between(int(follower.bars.timestamp[0]), LAST).digest()
        forecaster = follower.model.forecaster
        assert dumped(follower) == forecaster.dump_state(follower.model.state_of(closed))


def assert_final(bench: Bench, *assets: str) -> None:
    """As `assert_followed`; and on disk is what is in memory."""
    assert_followed(bench, *assets)
    for asset in assets or tuple(bench.markets):
        follower = bench.follower(asset)
        saved, problems = bench.updater.store.load(asset)
        assert saved is not None
        assert not problems
        assert saved.bars.digest() == follower.bars.digest()
        assert saved.generation == follower.generation
        assert saved.states[follower.model.name].state == dumped(follower)
        assert saved.states[follower.model.name].parameters == follower.model.parameters


def gap(asset: str, after: int) -> int:
    """The first minute after a time for which there is no final bar."""
    return next(a for a, _ in final_bars(asset).gaps() if a > after)


# --------------------------------------------------------------------------------------------- every minute


def test_at_every_minute_the_state_is_that_of_the_final_bars(make: Make):
    bench = make("BTC", "XAU")
    assert {asset: f.feed.name for asset, f in bench.updater.followers.items()} == SCORED
    bench.at(BEGIN + 2)
    assert_final(bench)
    for second in (2, 31, 59.5):
        for _ in bench.minutes(12, second):
            assert_final(bench)
    assert bench.amendments() == []
    assert all(not f.counts.error and not f.counts.revised for f in bench.updater.followers.values())


def test_at_every_minute_the_state_of_pyths_bars_is_that_of_the_final_ones(make: Make):
    bench = make("BTC", "XAU", live__feed="pyth", feeds__pyth__api_key=KEY)
    assert {f.feed.name for f in bench.updater.followers.values()} == {"pyth"}
    for _ in bench.minutes(12, 30):
        assert_final(bench)


def test_with_the_default_warm_up_the_state_is_that_of_the_final_bars(make: Make):
    bench = make(replay__warmup="0s")
    assert bench.follower().model.warmup == DEFAULT_WARMUP == 5 * DAY
    for _ in bench.minutes(4):
        assert_final(bench)


def test_an_update_within_a_minute_changes_nothing(make: Make):
    bench = make(begun=True)
    before, generation = bench.dumped(), bench.follower().generation
    for second in (3, 10, 30, 59, 59.9):
        bench.at(BEGIN + second)
        assert bench.dumped() == before
        assert bench.follower().generation == generation
    bench.at(BEGIN + 60)
    assert bench.dumped() != before
    assert_final(bench)


@pytest.mark.ci
@pytest.mark.parametrize("days", [1, 4])
def test_bars_two_days_older_than_the_warm_up_are_dropped_and_the_state_is_that_of_all(days: int, make: Make):
    bench = make(begin=BEGIN - 5 * DAY, replay__warmup=f"{days}d")
    for day in range(10):
        bench.at(BEGIN - 5 * DAY + day * DAY + 2)
        assert_final(bench)
    span = bench.follower().bars.timestamp[[0, -1]]
    kept = (days + 2) * DAY
    assert kept - 10 * MINUTE <= span[1] - span[0] < kept


@pytest.mark.ci
def test_the_warm_up_that_a_plug_in_asks_for_is_fetched_and_kept(tmp_path: Path):
    settings = live_settings(tmp_path, "http://127.0.0.1:9", ["BTC"], live__forecaster=WIDE)
    feed = SimulatedFeed(BOOK, seed=3)
    clock = SettableClock(BEGIN + 2)
    updater = Updater.of(settings, clock, {"BTC": feed})
    follower = updater.followers["BTC"]
    model, midnight = follower.model, BEGIN - BEGIN % DAY
    assert model.warmup == 20 * DAY
    with updater.store.writing():
        for day in range(4):
            now = BEGIN + day * DAY + 2
            updater.update(now)
            first, newest = map(int, follower.bars.timestamp[[0, -1]])
            assert newest == now - now % MINUTE - MINUTE
            assert first == max(midnight - 20 * DAY, newest + MINUTE - 22 * DAY) <= model.origin(newest)
            whole = feed.fetch("BTC", midnight - 30 * DAY, newest + MINUTE, now)
            assert dumped(follower) == model.forecaster.dump_state(model.state_of(whole))
            saved, _ = updater.store.load("BTC")
            assert saved is not None
            assert saved.bars.digest() == follower.bars.digest()


@pytest.mark.ci
def test_at_midnight_the_state_begins_anew_from_the_warm_up(make: Make):
    midnight = BEGIN - BEGIN % DAY + DAY
    bench = make("BTC", "XAU", begin=midnight - 4 * MINUTE + 2)
    bench.at(midnight - 4 * MINUTE + 2)
    gone_on, compared = {}, 0
    for minute in bench.minutes(10):
        assert_final(bench)
        for asset, follower in bench.updater.followers.items():
            if minute <= midnight:
                gone_on[asset] = follower.state
                continue
            newest = follower.bars.rows(len(follower.bars) - 1, len(follower.bars))
            if minute == midnight + MINUTE and newest.timestamp[0] == midnight:
                on = follower.model.forecaster.update(gone_on[asset], newest)
                # the control: without the new beginning it would be another state
                assert follower.model.forecaster.dump_state(on) != dumped(follower)
                compared += 1
    assert compared == 2


# --------------------------------------------------------------------------------------------- the forming candle


@pytest.mark.parametrize("feed", ["binance", "pyth"])
def test_the_server_shows_the_forming_candle_with_another_close(feed: str, make: Make):
    """Without it the tests of this file would show nothing."""
    bench = make(live__feed=feed)
    for minute in bench.minutes(5, 30):
        label = minute
        source = bench.follower().feed
        assert isinstance(source, HttpFeed)
        columns = source.candles("BTC", bench.symbol(), label, label + MINUTE, label + MINUTE)
        shown = read_candles(columns, feed=feed, asset="BTC", start=label, end=label + MINUTE).bars
        final = final_bars("BTC").between(label, label + MINUTE)
        assert len(shown) == len(final)
        assert not len(final) or (shown.close != final.close).all()


class TakesForming:
    """A feed that hands out the candle which still forms."""

    def __init__(self, feed: HttpFeed) -> None:
        self._feed = feed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._feed, name)

    def shown(self, asset: str, start: int, end: int, now: int) -> Bars:
        columns = self._feed.candles(asset, BOOK.asset(asset).symbols[self._feed.name], start, end, now)
        return read_candles(columns, feed=self._feed.name, asset=asset, start=start, end=end).bars

    def fetch(self, asset: str, start: int, end: int, now: int) -> Bars:
        return self.shown(asset, start, end + MINUTE, now)


class SkipsFinal(TakesForming):
    """The predecessor's feed: a candle is taken while it forms, and its final version is skipped."""

    def __init__(self, feed: HttpFeed) -> None:
        super().__init__(feed)
        self._rows: dict[int, Bars] = {}

    def fetch(self, asset: str, start: int, end: int, now: int) -> Bars:
        for row in self.shown(asset, start, end + MINUTE, now):
            self._rows.setdefault(int(row.timestamp[0]), row)
        return Bars.concatenate([row for label, row in sorted(self._rows.items()) if start <= label < end])


@pytest.mark.parametrize("defect", [TakesForming, SkipsFinal])
def test_a_planted_updater_that_takes_the_forming_candle_is_caught(defect: type[TakesForming], make: Make):
    bench = make(begun=True)
    assert_final(bench)
    feed = bench.follower().feed
    assert isinstance(feed, HttpFeed)
    bench.follower().feed = defect(feed)
    bench.run(2)
    with pytest.raises(AssertionError):
        assert_final(bench)


def test_a_clock_that_is_ahead_is_caught_where_the_feed_does_not_tell_its_time(make: Make, monkeypatch):
    """So it is the time that the feed tells which keeps forming candles out."""
    bench = make(begun=True)
    monkeypatch.setattr(HttpClient, "host_time", None)
    bench.at(BEGIN + 90, ahead=30)
    with pytest.raises(AssertionError):
        assert_final(bench)


def test_a_forming_candle_that_came_in_is_replaced_by_its_final_version(make: Make, monkeypatch):
    bench = make(begun=True)
    with monkeypatch.context() as patch:
        patch.setattr(HttpClient, "host_time", None)
        bench.at(BEGIN + 90, ahead=30)
    bench.at(BEGIN + 122)
    assert_final(bench)
    assert [line["label"] for line in bench.amendments()] == [BEGIN + 60]


# --------------------------------------------------------------------------------------------- late and revised bars


def plant(bench: Bench, asset: str, minutes: int, seed: int) -> None:
    """Let bars of the next minutes come late, or be revised after they were served, within the time asked again."""
    rng = np.random.default_rng(seed)
    now = int(bench.host.now())
    market = bench.markets[asset]
    for label in market.final.between(now // MINUTE * MINUTE, now + minutes * MINUTE).timestamp.tolist():
        until = label + MINUTE * int(rng.integers(2, 11)) + 1
        match int(rng.integers(6)):
            case 0:
                market.hidden[label] = until
            case 1:
                market.early[label] = (float(np.exp(rng.normal(0, 2e-3))), until)
            case 2:
                market.hidden[label] = until - 4 * MINUTE
                market.early[label] = (1.001, until)


@pytest.mark.parametrize("seed", some(range(2), 0))
def test_late_and_revised_bars_give_the_state_of_an_updater_that_saw_only_final_ones(seed: int, make: Make):
    bench, spared = make("BTC", "XAU"), make("BTC", "XAU")
    for each in (bench, spared):
        each.at(BEGIN + 2)
    for asset in bench.markets:
        plant(bench, asset, 30, seed)
    known: dict[str, list[tuple[int, Bars]]] = {asset: [] for asset in bench.markets}
    saved: dict[tuple[str, int], int] = {}
    for _ in bench.minutes(42):
        now = int(bench.host.now())
        for asset, follower in bench.updater.followers.items():
            known[asset].append((now, follower.bars))
            saved[asset, now] = follower.generation
            state = follower.model.forecaster.dump_state(follower.model.state_of(follower.bars))
            assert dumped(follower) == state
    spared.at(bench.host.now())
    assert_final(bench)
    assert_final(spared)
    lines = bench.amendments()
    for asset, follower in bench.updater.followers.items():
        assert bench.dumped(asset) == spared.dumped(asset)
        mine = [line for line in lines if line["asset"] == asset]
        assert follower.counts.late == sum(line["old"] is None for line in mine) > 0
        assert follower.counts.revised == sum(line["old"] is not None for line in mine) > 0
        assert all(line["generation"] == saved[asset, line["at"]] for line in mine)
        changes = [(line["at"], Amendment(line["label"], line["old"] and tuple(line["old"]))) for line in mine]
        for at, bars in known[asset]:
            # The record is complete: it leads from the bars of today to those of any minute.
            newest = int(bars.timestamp[-1])
            then = [change for when, change in changes if when > at and change.label <= newest]
            assert undo(follower.bars.between(FIRST, newest + 1), then).digest() == bars.digest()
    assert spared.amendments() == []


def test_a_late_bar_is_recorded_with_the_generation_that_has_it(make: Make):
    bench = make()
    label = BEGIN + MINUTE
    bench.markets["BTC"].hidden[label] = label + 5 * MINUTE
    bench.at(BEGIN + 2)
    generations = {minute: bench.follower().generation for minute in bench.minutes(8)}
    assert_final(bench)
    came = label + 5 * MINUTE
    line = {"asset": "BTC", "at": came + 2, "generation": generations[came], "label": label, "old": None}
    assert bench.amendments() == [line]


def test_a_revised_bar_is_recorded_as_it_was_before(make: Make):
    bench = make()
    label = BEGIN + MINUTE
    bench.markets["BTC"].early[label] = (1.001, label + 4 * MINUTE)
    bench.at(BEGIN + 2)
    bench.run(8)
    assert_final(bench)
    (line,) = bench.amendments()
    row = scaled(final_bars("BTC").between(label, label + 1), 1.001)
    assert (line["at"], line["label"]) == (label + 4 * MINUTE + 2, label)
    assert line["old"] == [float(getattr(row, name)[0]) for name in COLUMNS[1:]]


def test_missing_minutes_stay_missing(make: Make):
    label = gap("BTC", BEGIN)
    bench = make(begin=label - 3 * MINUTE + 2)
    bench.at(label - 3 * MINUTE + 2)
    for minute in bench.minutes(6):
        closed = final_bars("BTC").known_at(minute)
        assert bench.follower().newest == closed.timestamp[-1]
        assert_final(bench)
    assert bench.follower().bars.between(label, label + MINUTE).timestamp.size == 0
    assert bench.amendments() == []


@pytest.mark.ci
def test_a_late_bar_is_followed_whatever_the_settings_ask_again(make: Make):
    bench = make(live__refetch="30m")
    label = BEGIN + MINUTE
    bench.markets["BTC"].hidden[label] = label + 28 * MINUTE
    bench.at(BEGIN + 2)
    bench.run(32)
    assert_final(bench)
    assert [line["label"] for line in bench.amendments()] == [label]


# --------------------------------------------------------------------------------------------- bad rows


def of_rows(change: Callable[[list[Any]], list[Any]]) -> fs.Fault:
    """A fault that changes the rows of an answer, whatever its shape."""

    def apply(answer: Any) -> Any:
        if isinstance(answer, dict):  # columns
            return {k: change(v) if isinstance(v, list) else v for k, v in answer.items()}
        return change(answer)

    return fs.edit(apply)


ROWS = {
    "a duplicate": of_rows(lambda rows: [*rows[:3], *rows[2:]]),
    "all twice": of_rows(lambda rows: rows + rows),
    "backwards": of_rows(lambda rows: rows[::-1]),
    "two swapped": of_rows(lambda rows: [rows[1], rows[0], *rows[2:]]),
    "a null": of_rows(lambda rows: [*rows[:2], None, *rows[3:]]),
}


@pytest.mark.parametrize("what", ROWS)
def test_bad_rows_stop_no_asset_and_leave_no_trace(what: str, make: Make):
    bench = make("BTC", "XAU", begun=True)
    bench.server.broken = {bench.symbol(asset): ROWS[what] for asset in bench.markets}
    bench.run(2)
    for asset in bench.markets:
        assert bench.heartbeat()["assets"][asset]["error"] == ""
    assert_final(bench)
    assert bench.amendments() == []


def test_rows_that_an_answer_leaves_out_are_followed_when_they_come(make: Make):
    bench = make("BTC", "XAU", begun=True)
    for asset in bench.markets:
        bench.server.broken[bench.symbol(asset)] = of_rows(lambda rows: rows[::2])
    bench.at(BEGIN + 8 * MINUTE + 2)
    with pytest.raises(AssertionError):
        assert_final(bench)
    bench.server.broken = {}
    bench.run(1)
    assert_final(bench)
    assert {line["old"] for line in bench.amendments()} == {None}


def test_a_generous_answer_gives_what_was_asked_for_alone(make: Make):
    bench = make("XAU")
    bench.server.bars["xyz:GOLD"] = final_bars("XAU").between(BEGIN - 2 * DAY, BEGIN + HOUR)  # of the future too
    bench.server.generous = True
    for _ in bench.minutes(5):
        assert_final(bench)


# --------------------------------------------------------------------------------------------- clocks


@pytest.mark.parametrize(
    ("ahead", "feed"), [(1, "auto"), (30, "auto"), (59, "pyth"), (60, "auto"), (90, "pyth"), (HOUR, "auto")]
)
def test_a_clock_that_is_ahead_lets_no_forming_candle_in(ahead: int, feed: str, make: Make):
    bench = make("BTC", "XAU", live__feed=feed)
    bench.at(BEGIN + 2)
    for second in (2, 30, 59):
        minute = int(bench.host.now()) // MINUTE * MINUTE + MINUTE
        bench.at(minute + second, ahead=ahead)
        assert_followed(bench)
        assert bench.heartbeat()["clock_skew"] == pytest.approx(ahead, abs=1)
    bench.run(2)
    assert_final(bench)
    assert bench.heartbeat()["clock_skew"] == pytest.approx(0, abs=1)
    assert bench.amendments() == []


@pytest.mark.parametrize("skew", [-HOUR, HOUR])
@pytest.mark.parametrize("before", [20 * HOUR, 10 * MINUTE, -10 * MINUTE], ids=["day", "evening", "night"])
def test_a_first_build_with_a_wrong_clock_gives_the_state_once_it_is_set_right(before: int, skew: int, make: Make):
    """Where it is already tomorrow for our clock alone, the warm-up would begin a day late."""
    begin = BEGIN - BEGIN % DAY + DAY - before
    bench = make("BTC", "XAU", begin=begin + 2)
    bench.at(begin + 30, ahead=skew)
    if skew > 0 and before > skew:
        assert_final(bench)
    bench.run(2)
    assert_final(bench)


def test_an_answer_for_another_asset_does_not_close_a_forming_candle(make: Make, monkeypatch):
    """Threads share a client: the time that counts is the one that came with the candles themselves."""
    bench = make("BTC", "ETH")
    feed = bench.follower("BTC").feed
    assert isinstance(feed, HttpFeed)
    plain = feed.candles

    def overtaken(asset: str, symbol: str, start: int, end: int, now: int) -> Any:
        columns = plain(asset, symbol, start, end, now)
        bench.host.set(BEGIN + 121)
        plain("ETH", "ETHUSDT", start, end, now)
        return columns

    monkeypatch.setattr(feed, "candles", overtaken)
    bench.host.set(BEGIN + 119)
    got = feed.fetch("BTC", BEGIN, BEGIN + 120, BEGIN + 121)
    assert got.digest() == final_bars("BTC").between(BEGIN, BEGIN + 60).digest()


@pytest.mark.parametrize("behind", [1, 59, 61, 600, HOUR])
def test_a_clock_that_is_behind_leaves_the_state_as_it_was_until_it_is_set_right(behind: int, make: Make):
    bench = make("BTC", "XAU", begun=True)
    bench.run(3)
    for i in range(5):
        before = {asset: f.newest for asset, f in bench.updater.followers.items()}
        bench.at(BEGIN + (4 + i) * MINUTE + 30, ahead=-behind)
        for asset, follower in bench.updater.followers.items():
            assert follower.newest is not None
            assert follower.newest >= before[asset]
            closed = final_bars(asset).between(int(follower.bars.timestamp[0]), follower.newest + 1)
            assert follower.bars.digest() == closed.digest()
            want = follower.model.forecaster.dump_state(follower.model.state_of(closed))
            assert dumped(follower) == want
    bench.run(2)
    assert_final(bench)
    assert bench.heartbeat()["clock_skew"] == pytest.approx(0, abs=1)
    assert bench.amendments() == []


@pytest.mark.parametrize("skew", [-HOUR, -90, 90, HOUR])
def test_the_heartbeat_tells_by_how_much_our_clock_differs_as_long_as_it_does(skew: int, make: Make):
    """It is what makes /health name the clock: where it shrinks by itself, the cause goes unnamed."""
    bench = make("BTC", "XAU", begun=True)
    for minute in range(1, 6):
        bench.at(BEGIN + minute * MINUTE + 2, ahead=skew)
        assert bench.heartbeat()["clock_skew"] == pytest.approx(skew, abs=1)


@pytest.mark.parametrize("jump", [-HOUR, HOUR])
def test_after_a_jump_over_midnight_and_back_the_state_is_that_of_the_final_bars(jump: int, make: Make):
    midnight = BEGIN - BEGIN % DAY + DAY
    for begin in (midnight - 3 * MINUTE, midnight + 3 * MINUTE):
        bench = make("BTC", "XAU", begin=begin + 2)
        bench.at(begin + 2)
        bench.at(begin + MINUTE + 2, ahead=jump)
        bench.run(5)
        assert_final(bench)


# --------------------------------------------------------------------------------------------- restarts


@pytest.mark.ci
def test_a_restart_at_any_minute_goes_on_bit_for_bit(make: Make):
    bench = make("BTC", "XAU", begun=True)
    for minute in range(1, 16):
        before = {asset: bench.dumped(asset) for asset in bench.markets}
        generation = bench.follower().generation
        bench.restart()
        assert {asset: bench.dumped(asset) for asset in bench.markets} == before
        assert bench.follower().generation == generation
        bench.at(BEGIN + minute * MINUTE + 2)
        assert_final(bench)
        assert {e["restored"] for e in bench.heartbeat()["assets"].values()} == {"saved state"}


def test_a_restart_around_midnight_goes_on_bit_for_bit(make: Make):
    midnight = BEGIN - BEGIN % DAY + DAY
    bench = make(begin=midnight - 2 * MINUTE + 2)
    for i in range(-2, 4):
        bench.restart().at(midnight + i * MINUTE + 2)
        assert_final(bench)


@pytest.mark.ci
def test_a_restart_amid_late_and_revised_bars_goes_on_bit_for_bit(make: Make):
    bench = make(begun=True)
    plant(bench, "BTC", 15, 5)
    for minute in range(1, 28):
        bench.restart().at(BEGIN + minute * MINUTE + 2)
    assert_final(bench)
    assert bench.amendments()


def test_a_changed_half_life_takes_effect_at_the_restart(make: Make):
    """The predecessor's saved decay overrode the configured one."""
    bench = make("BTC", "XAU", begun=True)
    bench.run(3)
    old = {asset: bench.dumped(asset) for asset in bench.markets}
    bench.restart(ewma__half_life_1m="7m")
    changed = Model.of("ewma", BOOK.asset("BTC"), bench.settings)
    state = changed.forecaster.dump_state(changed.state_of(bench.follower().bars))
    assert bench.dumped() == state
    bench.run(1)
    assert_final(bench)
    fresh = make("BTC", "XAU", begin=bench.host.now(), ewma__half_life_1m="7m")
    fresh.at(bench.host.now())
    for asset in bench.markets:
        assert bench.dumped(asset) == fresh.dumped(asset)
        assert bench.dumped(asset) != old[asset]


def test_a_changed_half_life_is_saved_even_while_the_feed_stands_still(make: Make):
    bench = make(begun=True)
    bench.restart(ewma__half_life_5m="35m")
    bench.server.always = fs.status(503)
    bench.run(1)
    saved, _ = bench.updater.store.load("BTC")
    assert saved is not None
    assert saved.states["ewma"].parameters == bench.follower().model.parameters
    assert saved.states["ewma"].state == bench.dumped()


def test_an_unchanged_setting_goes_on_from_the_saved_state_itself(make: Make, monkeypatch):
    bench = make(begun=True)
    monkeypatch.setattr(Model, "state_of", lambda *_: pytest.fail("rebuilt from the bars"))
    bench.restart().at(BEGIN + 62)


@pytest.mark.ci
@pytest.mark.parametrize("days", [3, 9])
def test_a_longer_warm_up_takes_effect_at_the_restart(days: int, make: Make):
    """A state that lacks the older bars is not the one that a fresh build gives, for as long as the warm-up lasts."""
    bench = make(begun=True)
    bench.run(2)
    bench.restart(replay__warmup=f"{days}d").run(1)
    fresh = make(begin=bench.host.now(), replay__warmup=f"{days}d")
    fresh.at(bench.host.now())
    assert_final(fresh)
    assert bench.dumped() == fresh.dumped()
    assert_final(bench)


def test_a_shorter_warm_up_takes_effect_at_the_restart(make: Make):
    bench = make(replay__warmup="4d")
    bench.at(BEGIN + 2)
    bench.restart(replay__warmup="2d").run(1)
    assert_final(bench)


# --------------------------------------------------------------------------------------------- damaged and other states


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def damage(bench: Bench, *, both: bool) -> None:
    for asset in bench.markets:
        flip(bench.updater.store.path(asset))
        if both:
            flip(bench.updater.store.previous(asset))


def test_when_both_files_are_damaged_the_state_is_rebuilt_bit_for_bit(make: Make):
    bench = make("BTC", "XAU", begun=True)
    bench.run(13)
    before = {asset: bench.dumped(asset) for asset in bench.markets}
    damage(bench, both=True)
    seen = len(bench.server.seen)
    bench.restart().at(bench.host.now())
    assert_final(bench)
    assert {asset: bench.dumped(asset) for asset in bench.markets} == before
    assert {e["restored"] for e in bench.heartbeat()["assets"].values()} == {"cache"}
    # What the cache has is not asked for again.
    assert min(asked(request)[0] for request in bench.server.seen[seen:]) >= BEGIN
    assert len(list((bench.updater.store.root / QUARANTINE).glob("BTC*.msgpack"))) == 2
    bench.run(3)
    assert_final(bench)


@pytest.mark.ci
@pytest.mark.parametrize("asset", ["BTC", "XAU"])
def test_after_days_the_rebuilt_state_is_the_one_that_was_lost(asset: str, make: Make):
    """Of a feed that reaches back for a shorter time than the warm-up, the cache alone has the older bars."""
    bench = make(asset, replay__warmup="5d")
    bench.at(BEGIN + 2)
    later = BEGIN + 50 * HOUR + 2
    bench.at(later)
    before = bench.dumped(asset)
    assert later - later % DAY - 5 * DAY > BEGIN - REACH + 10 * MINUTE
    damage(bench, both=True)
    bench.restart().at(later)
    assert bench.dumped(asset) == before
    assert_final(bench)


def test_when_states_and_cache_are_gone_the_state_is_rebuilt_from_the_feed(make: Make):
    bench = make(begun=True)
    bench.run(3)
    before = bench.dumped()
    damage(bench, both=True)
    for path in (bench.folder / "cache").rglob("*.parquet"):
        path.unlink()
    for path in (bench.folder / "cache").rglob("*.json"):
        path.unlink()
    bench.restart().at(bench.host.now())
    assert bench.dumped() == before
    assert_final(bench)


def test_when_the_newest_file_is_damaged_the_one_before_is_taken_up(make: Make):
    bench = make("BTC", "XAU", begun=True)
    bench.run(4)
    generation = bench.follower().generation
    damage(bench, both=False)
    bench.restart()
    assert bench.follower().generation == generation - 1
    bench.run(1)
    assert {e["restored"] for e in bench.heartbeat()["assets"].values()} == {"saved state"}
    assert_final(bench)
    # The readable generation was not pushed out by the save that followed.
    assert [p.name[:4] for p in (bench.updater.store.root / QUARANTINE).glob("BTC*")] == ["BTC-"]


def test_damage_is_told_and_names_the_file(make: Make, caplog):
    bench = make(begun=True)
    bench.run(1)
    damage(bench, both=True)
    with caplog.at_level(logging.WARNING, "ewmalab.updater"):
        bench.restart()
    assert f"{bench.updater.store.path('BTC')}: damaged" in caplog.text
    assert f"{bench.updater.store.previous('BTC')}: damaged" in caplog.text
    assert "moved aside: " in caplog.text


def test_a_state_of_another_feed_is_set_aside(make: Make, caplog):
    bench = make(begun=True)
    bench.run(2)
    other = Market(scaled(final_bars("BTC"), 1.0007), bench.host.now)
    bench.server.bars["Crypto.BTC/USD"] = bench.markets["BTC"] = other
    with caplog.at_level(logging.WARNING, "ewmalab.updater"):
        bench.restart(live__feed="pyth")
    assert "BTC: the saved bars are from binance, not pyth" in caplog.text
    assert bench.follower().newest is None
    assert bench.updater.store.load("BTC")[0] is None
    assert len(list((bench.updater.store.root / QUARANTINE).iterdir())) == 2
    bench.run(2)
    assert_final(bench)
    saved, _ = bench.updater.store.load("BTC")
    assert saved is not None
    assert saved.feed == "pyth"
    assert bench.amendments() == []


def test_a_second_updater_of_a_state_folder_is_refused(make: Make):
    bench = make(folder="shared")
    bench.at(BEGIN + 2)
    second = make(folder="shared", start=False)
    with pytest.raises(StateError, match="another updater writes to this folder"):
        second.start()
    bench.run(1)
    assert_final(bench)
    bench.stop()
    second.start().at(bench.host.now())
    assert_final(second)


# --------------------------------------------------------------------------------------------- heartbeat and archive


def test_the_heartbeat_says_how_things_stand(make: Make):
    bench = make("BTC", "XAU")
    bench.at(BEGIN + 2)
    note = bench.heartbeat()
    assert {k: note[k] for k in ("pid", "at", "interval", "updates", "missed", "clock_skew")} == {
        "pid": os.getpid(), "at": BEGIN + 2, "interval": 60, "updates": 1, "missed": 0, "clock_skew": 0.0,
    }  # fmt: skip
    assert abs(note["system_time"] - Clock().system()) < 60
    bench.run(2)
    note = bench.heartbeat()
    assert note["updates"] == 3
    for asset, entry in note["assets"].items():
        follower = bench.follower(asset)
        assert entry == {
            "feed": SCORED[asset], "source": bench.server.host, "synthetic": False,
            "newest": final_bars(asset).known_at(BEGIN + 120).timestamp[-1], "generation": 3,
            "new": len(follower.bars), "late": 0, "revised": 0, "feed_errors": 0, "save_errors": 0, "model_errors": 0,
            "restored": "nothing saved", "error": "", "waiting": [], "notes": [],
        }  # fmt: skip


def test_a_long_first_build_says_that_it_gets_on(make: Make, monkeypatch):
    bench = make(start=False)
    bench.start().updater.beat = 0.0
    notes: list[dict[str, Any]] = [{"steps": 0}]
    fetch = bench.follower().feed.fetch

    def slowly(*span: Any) -> Bars:
        bars = fetch(*span)
        assert until(lambda: bench.follower().steps == 0 or notes[-1]["steps"] == bench.follower().steps)
        return bars

    heartbeat = bench.updater.heartbeat

    def noted(now: int) -> None:
        heartbeat(now)
        notes.append(bench.heartbeat() | {"steps": bench.follower().steps})

    monkeypatch.setattr(bench.follower().feed, "fetch", slowly)
    monkeypatch.setattr(bench.updater, "heartbeat", noted)
    bench.at(BEGIN + 2)
    assert len(notes) > 3
    assert [note["updates"] for note in notes[1:]] == [0] * (len(notes) - 2) + [1]


def test_an_update_that_hangs_says_nothing(make: Make, monkeypatch):
    bench = make(begun=True)
    bench.updater.beat = 0.01
    before, during = bench.heartbeat(), []
    fetch = bench.follower().feed.fetch

    def hangs(*span: Any) -> Bars:
        time.sleep(0.2)
        during.append(bench.heartbeat())
        return fetch(*span)

    monkeypatch.setattr(bench.follower().feed, "fetch", hangs)
    bench.at(BEGIN + 62)
    assert during == [before]


def test_synthetic_prices_are_told(make: Make):
    bench = make()
    bench.server.synthetic = True
    bench.at(BEGIN + 2)
    bench.run(1)
    assert bench.heartbeat()["assets"]["BTC"]["synthetic"] is True
    saved, _ = bench.updater.store.load("BTC")
    assert saved is not None
    assert saved.synthetic


def test_a_heartbeat_that_cannot_be_written_stops_nothing(make: Make, caplog):
    bench = make()
    (bench.updater.store.root / HEARTBEAT).mkdir()
    bench.at(BEGIN + 2)
    assert "heartbeat cannot be written" in caplog.text
    assert_final(bench)


def test_the_key_is_in_no_file_and_no_line(make: Make, caplog):
    with caplog.at_level(logging.DEBUG):
        bench = make(live__feed="pyth", feeds__pyth__api_key=KEY)
        bench.at(BEGIN + 2)
        for fault in (fs.status(401, f"key {KEY} is refused".encode()), fs.status(500), fs.HTML):
            bench.server.always = fault
            bench.run(1)
            assert bench.heartbeat()["assets"]["BTC"]["error"]
    assert all(seen.headers["Authorization"] == f"Bearer {KEY}" for seen in bench.server.seen)
    assert KEY not in caplog.text
    files = [path for path in bench.folder.rglob("*") if path.is_file()]
    assert len(files) > 3
    assert not [path for path in files if KEY.encode() in path.read_bytes()]


@pytest.mark.ci
def test_every_ten_minutes_the_cache_has_the_bars_of_the_state(make: Make):
    bench = make("BTC", "XAU")
    bench.at(BEGIN + 2)
    for asset in bench.markets:
        plant(bench, asset, 20, 8)
    archived = 0
    for minute in bench.minutes(31):
        if (minute - BEGIN) % (10 * MINUTE) == 0:
            archived += 1
            for asset in bench.markets:
                assert bench.cached(asset).digest() == bench.follower(asset).bars.digest()
    assert archived == 3
    assert bench.amendments()


def test_what_the_cache_lost_is_archived_again(make: Make):
    bench = make()
    bench.at(BEGIN + 2)
    for path in (bench.folder / "cache").rglob("*.json"):
        path.unlink()
    for path in (bench.folder / "cache").rglob("*.parquet"):
        path.unlink()
    bench.run(10)
    assert bench.cached().digest() == bench.follower().bars.digest()


class Walking(SettableClock):
    """A clock that a wait moves on."""

    def wait(self, until: float, stop: Event, wake: Event | None = None) -> bool:
        self.set(until)
        return stop.is_set()


def walk(bench: Bench, after: Callable[[Walking, int], None], **events: Event) -> list[float]:
    """Run a bench's updater on a clock that waits move on, and call `after` after each update; return their times."""
    clock, began = Walking(BEGIN + 40), []
    updater, update = bench.updater, bench.updater.update

    def noted(now: int) -> None:
        began.append(clock.now() - BEGIN)
        update(now)
        after(clock, len(began))

    bench.server.clock, updater.clock, updater.update = clock.now, clock, noted  # type: ignore[method-assign]
    updater.run(events.pop("stop", Event()), **events)
    return began


@pytest.mark.parametrize("event", ["stop", "reload"])
def test_the_updater_runs_once_a_minute_shortly_after_it_and_archives_at_the_end(event: str, make: Make):
    bench, ended = make(), Event()

    def after(clock: Walking, count: int) -> None:
        if count == 4:
            clock.set(clock.now() + 150)  # an update that took so long
        if count == 6:
            ended.set()

    assert walk(bench, after, **{event: ended}) == [40, 62, 122, 182, 362, 422]
    assert bench.updater.missed == 2
    assert bench.follower().newest == final_bars("BTC").known_at(BEGIN + 422).timestamp[-1]
    assert bench.cached().digest() == bench.follower().bars.digest()


def test_the_updater_archives_also_when_it_fails(make: Make):
    bench = make()

    def after(_: Walking, count: int) -> None:
        if count == 3:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        walk(bench, after)
    assert bench.cached().digest() == bench.follower().bars.digest()


# --------------------------------------------------------------------------------------------- disks


def refuse(code: int) -> Callable[..., Path]:
    def write_temp(*_: Any, **__: Any) -> Path:
        raise OSError(code, os.strerror(code))

    return write_temp


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_a_disk_that_takes_no_state_leaves_the_old_one_and_is_named(code: int, make: Make, monkeypatch):
    bench = make("BTC", "XAU", begun=True)
    label = BEGIN + MINUTE
    bench.markets["BTC"].hidden[label] = label + 3 * MINUTE
    bench.run(2)
    files = {path.name: path.read_bytes() for path in bench.updater.store.root.glob("*.msgpack")}
    generations = {asset: f.generation for asset, f in bench.updater.followers.items()}
    with monkeypatch.context() as patch:
        patch.setattr("ewmalab.live.state_store.write_temp", refuse(code))
        for i in range(1, 4):
            bench.run(1)
            assert {path.name: path.read_bytes() for path in bench.updater.store.root.glob("*.msgpack")} == files
            for asset, entry in bench.heartbeat()["assets"].items():
                assert os.strerror(code) in entry["error"]
                assert "cannot be saved" in entry["error"]
                assert (entry["save_errors"], entry["generation"]) == (i, generations[asset])
    recorded = bench.amendments()  # before the generation that has it
    bench.run(1)
    assert_final(bench)
    assert {entry["error"] for entry in bench.heartbeat()["assets"].values()} == {""}
    assert {asset: f.generation - 1 for asset, f in bench.updater.followers.items()} == generations
    assert bench.amendments() == recorded
    assert [(line["label"], line["generation"]) for line in recorded] == [(label, generations["BTC"] + 1)]


def test_what_could_not_be_saved_is_fetched_again_after_a_restart(make: Make, monkeypatch):
    bench = make(begun=True)
    with monkeypatch.context() as patch:
        patch.setattr("ewmalab.live.state_store.write_temp", refuse(errno.ENOSPC))
        bench.run(3)
    bench.restart().run(1)
    assert_final(bench)


def test_a_log_folder_that_cannot_be_written_stops_nothing(make: Make, caplog):
    bench = make()
    bench.log_dir.parent.mkdir(exist_ok=True)
    bench.log_dir.write_bytes(b"")  # a file where the folder should be
    bench.at(BEGIN + 2)
    bench.markets["BTC"].hidden[BEGIN + MINUTE] = BEGIN + 4 * MINUTE
    bench.run(5)
    assert "amendments cannot be recorded" in caplog.text
    assert_final(bench)


def test_unrecorded_amendments_are_counted(make: Make):
    bench = make(begun=True)
    bench.log_dir.parent.mkdir(exist_ok=True)
    bench.log_dir.write_bytes(b"")
    assert bench.heartbeat()["unrecorded"] == 0
    bench.markets["BTC"].hidden[BEGIN + MINUTE] = BEGIN + 4 * MINUTE
    bench.run(5)
    assert bench.heartbeat()["unrecorded"] == 1


# --------------------------------------------------------------------------------------------- crashes


class Crash(BaseException):
    """The end of a process."""


def fails(error: BaseException) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


@pytest.mark.parametrize("error", [ForecasterError("Mine.update failed"), RuntimeError("of a plug-in")], ids=repr)
def test_a_forecaster_that_fails_for_one_asset_leaves_the_others_running(error: Exception, make: Make, monkeypatch):
    bench = make("BTC", "ETH", begun=True)
    with monkeypatch.context() as patch:
        patch.setattr("ewmalab.live.updater.follower.RunningState.follow", failing_for(bench, "ETH", error))
        for _ in bench.minutes(3):
            assert_final(bench, "BTC")
    heartbeat = bench.heartbeat()["assets"]
    assert heartbeat["BTC"]["error"] == ""
    assert str(error) in heartbeat["ETH"]["error"]
    bench.run(1)
    assert_final(bench)
    assert bench.heartbeat()["assets"]["ETH"]["error"] == ""


def failing_for(bench: Bench, asset: str, error: Exception) -> Callable[..., Any]:
    """Return a `RunningState.follow` that fails for one asset."""
    follow, symbol = RunningState.follow, bench.follower(asset).model.asset.symbol

    def followed(self: RunningState, bars: Bars, **options: Any) -> Any:
        if self.model.asset.symbol == symbol:
            raise error
        return follow(self, bars, **options)

    return followed


@pytest.mark.parametrize("error", [ForecasterError("Mine.load_state failed"), RuntimeError("of a plug-in")], ids=repr)
def test_a_saved_state_that_one_forecaster_cannot_take_up_keeps_no_asset_from_starting(
    error: Exception, make: Make, monkeypatch
):
    bench = make("BTC", "ETH", begun=True)
    with monkeypatch.context() as patch:
        for name in ("adopt", "follow"):
            original = getattr(RunningState, name)

            def called(self: RunningState, *args: Any, original: Any = original, **options: Any) -> Any:
                if self.model.asset.symbol == "ETH":
                    raise error
                return original(self, *args, **options)

            patch.setattr(RunningState, name, called)
        bench.restart().run(1)
        assert_final(bench, "BTC")
    bench.run(1)
    assert_final(bench)


@pytest.mark.parametrize("where", ["ewmalab.live.state_store.write_temp", "ewmalab.market.asset_folder.write_temp"])
def test_a_crash_while_a_changed_bar_is_written_finds_the_change_recorded(where: str, make: Make, monkeypatch):
    """Otherwise answers from before the change could not be told from wrong ones."""
    bench = make(begun=True)
    bench.markets["BTC"].early[BEGIN + MINUTE] = (1.0003, BEGIN + 4 * MINUTE)
    bench.run(3)
    with monkeypatch.context() as patch:
        patch.setattr(where, fails(Crash()))
        with pytest.raises(Crash):
            bench.run(1)
    assert [record["label"] for record in bench.amendments()] == [BEGIN + MINUTE]
    bench.restart().run(2)
    assert_final(bench)
    assert {record["label"] for record in bench.amendments()} == {BEGIN + MINUTE}


def test_a_line_that_a_crash_truncated_does_not_take_the_next_one_with_it(make: Make):
    bench = make(begun=True)
    bench.log_dir.mkdir(parents=True)
    (bench.log_dir / AMENDMENTS).write_bytes(b'{"asset":"BTC","at":')
    bench.markets["BTC"].hidden[BEGIN + MINUTE] = BEGIN + 4 * MINUTE
    bench.run(5)
    torn, whole = (bench.log_dir / AMENDMENTS).read_bytes().splitlines()
    assert orjson.loads(whole)["label"] == BEGIN + MINUTE
    assert torn == b'{"asset":"BTC","at":'


def test_a_first_start_that_is_killed_leaves_no_hole_where_a_bar_came_late(make: Make, monkeypatch):
    bench = make()
    late = BEGIN - 2 * MINUTE
    assert late in bench.markets["BTC"].final.timestamp
    bench.markets["BTC"].hidden[late] = BEGIN + MINUTE
    with monkeypatch.context() as patch:
        patch.setattr("ewmalab.live.state_store.StateStore.save", refuse(errno.EIO))
        bench.at(BEGIN + 2)
    assert not bench.updater.store.path("BTC").exists()
    bench.restart().at(BEGIN + 40 * MINUTE + 2)
    assert_final(bench)
    assert late in bench.cached().timestamp


def test_a_full_disk_while_archiving_stops_nothing(make: Make, monkeypatch, caplog):
    bench = make()
    bench.at(BEGIN + 2)
    with monkeypatch.context() as patch:
        patch.setattr("ewmalab.market.asset_folder.write_temp", refuse(errno.ENOSPC))
        for _ in bench.minutes(11):
            assert_final(bench)
    assert "bars cannot be archived" in caplog.text
    bench.run(9)
    assert bench.cached().digest() == bench.follower().bars.digest()


def test_a_full_disk_under_the_cache_does_not_stop_a_catch_up(make: Make, monkeypatch):
    """The cache may lie on another disk than the states; the updater must outlive either."""
    bench = make("BTC", "XAU", begun=True)
    with monkeypatch.context() as patch:
        patch.setattr("ewmalab.market.asset_folder.write_temp", refuse(errno.ENOSPC))
        bench.at(BEGIN + 30 * HOUR + 2)
        assert_final(bench)
    bench.run(1)
    assert_final(bench)
    bench.updater.archive(int(bench.host.now()))
    assert all(bench.cached(a).digest() == f.bars.digest() for a, f in bench.updater.followers.items())


def test_a_full_disk_under_the_cache_does_not_stop_a_first_build(make: Make, monkeypatch):
    bench = make()
    with monkeypatch.context() as patch:
        patch.setattr("ewmalab.market.asset_folder.write_temp", refuse(errno.ENOSPC))
        bench.at(BEGIN + 2)
        assert os.strerror(errno.ENOSPC) in bench.heartbeat()["assets"]["BTC"]["error"]
    bench.run(1)
    assert_final(bench)


def test_a_full_disk_under_the_cache_loses_no_revision(make: Make, monkeypatch):
    bench = make(begun=True)
    label = BEGIN + MINUTE
    bench.markets["BTC"].early[label] = (1.002, BEGIN + 14 * MINUTE)  # archived before it is revised
    bench.settings = bench.settings.with_flags({"live.refetch": "20m"})
    bench.restart()
    bench.run(13)
    with monkeypatch.context() as patch:
        patch.setattr("ewmalab.market.asset_folder.write_temp", refuse(errno.ENOSPC))
        bench.run(2)
    bench.run(2)
    assert_final(bench)
    bench.updater.archive(int(bench.host.now()))
    assert bench.cached().digest() == bench.follower().bars.digest()


def test_a_damaged_partition_of_the_cache_does_not_stop_a_catch_up(make: Make):
    bench = make(begun=True)
    for path in (bench.folder / "cache").rglob("*.parquet"):
        flip(path)
    bench.at(BEGIN + 3 * HOUR + 2)
    bench.run(2)
    assert_final(bench)
    assert bench.heartbeat()["assets"]["BTC"]["error"] == ""


# --------------------------------------------------------------------------------------------- which feed


def choice(now: int = BEGIN, **flags: Any) -> Any:
    assets = flags.pop("assets", ("BTC", "XAU"))
    settings = live_settings(Path("unused"), "http://127.0.0.1:9", assets, **flags)
    return choose_feeds(settings.values, BOOK, now)


def test_without_a_key_the_scored_feeds_are_followed_and_nothing_is_warned_of():
    got = choice()
    assert got.feeds == SCORED
    assert got.line.startswith("feeds (no PYTH_API_KEY")
    assert got.line.endswith("binance: BTC; hyperliquid: XAU")
    assert got.warnings == ()


def test_with_a_key_pyth_is_followed_and_what_is_scored_otherwise_is_warned_of():
    got = choice(feeds__pyth__api_key=KEY)
    assert got.feeds == {"BTC": "pyth", "XAU": "pyth"}
    assert got.line == "feeds (PYTH_API_KEY is set): pyth: BTC XAU"
    assert got.warnings == (
        "BTC: the model uses pyth, validators score binance",
        "XAU: the model uses pyth, validators score hyperliquid",
    )


def test_a_feed_that_is_configured_counts_whether_there_is_a_key_or_not():
    assert choice(live__feed="binance", feeds__pyth__api_key=KEY).feeds == SCORED
    assert choice(live__feed="pyth").feeds == {"BTC": "pyth", "XAU": "pyth"}
    assert "as configured" in choice(live__feed="pyth").line


def test_an_asset_that_pyth_lacks_comes_from_the_scored_feed_and_the_line_says_so():
    got = choice(assets=("BTC", "SP500"), live__feed="pyth", feeds__pyth__api_key=KEY)
    assert got.feeds == {"BTC": "pyth", "SP500": "hyperliquid"}
    assert got.line == "feeds (as configured): pyth: BTC; hyperliquid: SP500"
    assert got.warnings == ("BTC: the model uses pyth, validators score binance",)


def test_an_asset_whose_scored_feed_cannot_be_fetched_comes_from_another_with_a_warning():
    got = choice(parse_time("2026-07-10"), assets=("BTC", "SPCX"))
    assert got.feeds == {"BTC": "pyth", "SPCX": "hyperliquid"}
    assert got.warnings == ("SPCX: the model uses hyperliquid, validators score pyth",)


def test_an_asset_that_no_feed_has_is_refused():
    with pytest.raises(ConfigError, match="no usable feed for SPYX; known: pyth"):
        choice(assets=("BTC", "SPYX"))
    assert choice(assets=("SPYX",), live__feed="pyth").feeds == {"SPYX": "pyth"}


def test_simulated_prices_are_warned_of():
    got = choice(live__feed="simulated")
    assert set(got.feeds.values()) == {"simulated"}
    assert got.warnings == ("SYNTHETIC prices: not market data",)


def test_all_that_compete_are_followed_where_no_asset_is_named():
    competing = {asset for c in BOOK.at(BEGIN).competitions.values() for asset in c.assets}
    assert set(choice(assets=()).feeds) == competing
    assert all(feed in BOOK.asset(asset).symbols for asset, feed in choice(assets=()).feeds.items())


def test_the_choice_is_logged_and_no_key_is(make: Make, caplog):
    with caplog.at_level(logging.DEBUG):
        make("BTC", feeds__pyth__api_key=KEY)
    assert "feeds (PYTH_API_KEY is set): pyth: BTC" in caplog.text
    assert "BTC: the model uses pyth, validators score binance" in caplog.text
    assert KEY not in caplog.text


def test_assets_of_one_feed_share_its_rate_limit(make: Make):
    bench = make("BTC", "XAU", live__feed="pyth")
    assert bench.follower("BTC").feed is bench.follower("XAU").feed


def test_states_are_where_the_settings_say(make: Make):
    bench = make("BTC", "XAU", begun=True)
    store = StateStore(bench.folder / "state")
    for asset in ("BTC", "XAU"):
        state, troubles = store.load(asset)
        assert troubles == []
        assert state is not None
        assert state.asset == asset
