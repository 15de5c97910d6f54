"""Wrong bars in a live feed: no state takes them, no answer starts from them, no asset stops for them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from examples import some
from live_faults import live_through, served
from test_live_updater import BEGIN, HOUR, Bench, Make, assert_followed, benches, final_bars, of_rows, scaled

from ewmalab.live.audit.answer_log import AnswerLog, LiveLog
from ewmalab.live.audit.parity import check_parity
from ewmalab.live.updater.gate import Gate
from ewmalab.live.updater.revisions import Amendment, undo
from ewmalab.market.bars import Bars
from ewmalab.market.cache import Cache
from ewmalab.market.fetch import fetch_missing
from ewmalab.market.quality.aside_record import read_aside
from ewmalab.market.quality.sift import Doubts
from ewmalab.market.quality.suspects import SPIKE
from ewmalab.times import MINUTE


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    yield from benches(tmp_path, monkeypatch)


def label(minutes: int) -> int:
    """Return the label of a minute after the beginning, for which there is a bar and for its neighbours."""
    times = final_bars("BTC").timestamp
    at = int(np.searchsorted(times, BEGIN + minutes * MINUTE))
    while times[at + 3] - times[at - 3] != 6 * MINUTE:
        at += 1
    return int(times[at])


def until_closed(bench: Bench, bar: int) -> None:
    """Update each minute up to the one in which a bar has closed."""
    while int(bench.host.now()) // MINUTE * MINUTE < bar + MINUTE:
        bench.run(1)


ROUGH = ("close x10", "3 candles x10", "high x1.25", "close null")


@pytest.mark.parametrize("kind", some(ROUGH, "close x10", "close null"))
def test_wrong_bars_reach_neither_state_nor_anchor(kind: str, make: Make):
    outcome = live_through(make(begun=True), served(kind, 2, 44), 40)
    assert outcome.wrong >= 2
    assert (outcome.taken, outcome.longest) == (0, 0)
    assert outcome.answered == outcome.asked > 0
    assert outcome.worst_anchor < 0.01


@pytest.mark.ci
def test_without_the_gate_answers_would_start_from_wrong_bars(make: Make, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Gate, "admit", lambda self, known, fresh, now: fresh)
    outcome = live_through(make(begun=True), served("close x10", 2, 44), 40, spot=False)
    assert outcome.taken == 2
    assert outcome.longest > 0


@pytest.mark.ci
def test_answers_amid_wrong_bars_are_reproduced_bit_for_bit(make: Make):
    bench = make(begun=True)
    log = AnswerLog(bench.settings.values.live.log_dir, keep_paths=False)
    log.start(bench.settings)
    outcome = live_through(bench, served("close x1.25", 3, 44), 40, log=log)
    bench.updater.archive(int(bench.ours.now()))
    log.close()
    report = check_parity(LiveLog.read(bench.settings.values.live.log_dir), bench.settings)
    assert report.answers == outcome.answered > 0
    assert report.identical == report.answers
    assert report.backtest.differences == []


def test_a_spike_is_said_recorded_and_taken_once_the_feed_has_it_right(make: Make):
    bench = make(begun=True)
    wrong = label(4)
    bench.markets["BTC"].early[wrong] = (10.0, wrong + 6 * MINUTE)
    until_closed(bench, wrong)
    entry = bench.heartbeat()["assets"]["BTC"]
    assert (entry["newest"], entry["error"]) == (wrong - MINUTE, "")
    assert entry["waiting"] == [float(final_bars("BTC").closes_at([wrong])[0] * 10)]
    assert "waiting for a bar that confirms it" in entry["notes"][0]
    bench.run(1)
    entry = bench.heartbeat()["assets"]["BTC"]
    assert (entry["newest"], entry["waiting"]) == (wrong + MINUTE, [])
    assert "requested again: 1 x price that came back at once" in entry["notes"][0]
    bench.updater.archive(int(bench.ours.now()))
    cache = Cache(Path(bench.settings.values.data.cache_dir))
    assert [(bar.label, bar.reason) for bar in read_aside(cache, "binance", "BTC")] == [(wrong, SPIKE)]
    assert wrong not in bench.cached().timestamp
    assert cache.missing("binance", "BTC", wrong - HOUR, wrong + MINUTE) == []
    until_closed(bench, wrong + 7 * MINUTE)
    assert_followed(bench)
    assert bench.heartbeat()["assets"]["BTC"]["notes"] == []
    assert [(line["label"], line["old"]) for line in bench.amendments()] == [(wrong, None)]
    bench.updater.archive(int(bench.ours.now()))
    assert read_aside(cache, "binance", "BTC") == []


MALFORMED: dict[str, Callable[[list[Any]], Any]] = {
    "close is null": lambda row: [*row[:4], None, *row[5:]],
    "close time": lambda row: [*row[:6], row[6] + 1, *row[7:]],
    "high below low": lambda row: [*row[:2], row[3], row[2], *row[4:]],
    "duplicate timestamp": lambda row: None,
}


@pytest.mark.parametrize("what", MALFORMED)
def test_a_malformed_candle_is_a_missing_minute_that_is_requested_again(what: str, make: Make):
    bench, wrong = make(begun=True), label(4)

    def spoil(rows: list[Any]) -> list[Any]:
        out = []
        for row in rows:
            if row[0] != wrong * 1000:
                out.append(row)
            elif what == "duplicate timestamp":
                out += [row, [*row[:4], row[3], *row[5:]]]
            else:
                out.append(MALFORMED[what](row))
        return out

    bench.server.broken["BTCUSDT"] = of_rows(spoil)
    until_closed(bench, wrong + MINUTE)
    entry = bench.heartbeat()["assets"]["BTC"]
    assert (entry["newest"], entry["error"]) == (wrong + MINUTE, "")
    assert f"1 x {what}" in entry["notes"][0]
    bench.server.broken = {}
    bench.run(1)
    assert_followed(bench)
    assert bench.heartbeat()["assets"]["BTC"]["notes"] == []


def test_a_move_that_stays_is_taken_with_its_successor(make: Make):
    bench, at = make(begun=True), label(4)
    moved = after(at, 0.96)
    serve(bench, moved)
    until_closed(bench, at)
    assert bench.follower().newest == at - MINUTE
    bench.run(1)
    assert_followed(bench)
    assert bench.follower().newest == at + MINUTE
    assert bench.heartbeat()["assets"]["BTC"]["notes"] == []


@pytest.mark.ci
def test_a_split_waits_for_a_fetch_that_names_it(make: Make):
    bench, at = make(begun=True), label(4)
    serve(bench, after(at, 0.1))
    until_closed(bench, at + 61 * MINUTE)
    assert bench.follower().newest == at - MINUTE
    note = bench.heartbeat()["assets"]["BTC"]["notes"][0]
    assert "a split of 10:1; bars wait for: ewmalab data fetch --feed binance --assets BTC" in note
    before = bench.follower().bars
    bench.updater.archive(int(bench.ours.now()))
    cache = Cache(Path(bench.settings.values.data.cache_dir))
    now, feed = int(bench.ours.now()), bench.follower().feed
    fetch_missing(cache, feed, "BTC", at - HOUR, now, now=now, doubts=Doubts(splits=((10, 1),)))
    bench.run(2)
    follower = bench.follower()
    assert follower.newest == int(bench.host.now()) // MINUTE * MINUTE - MINUTE
    assert bench.heartbeat()["assets"]["BTC"]["notes"] == []
    assert float(np.abs(np.diff(np.log(follower.bars.close))).max()) < 0.02
    past = int(follower.bars.timestamp[0]), at
    changes = [Amendment(line["label"], line["old"]) for line in bench.amendments()]
    assert undo(follower.bars.between(*past), changes).digest() == before.between(*past).digest()


def test_a_feed_that_stands_still_lets_the_state_age(make: Make):
    bench = make(begun=True)
    good, first = final_bars("BTC"), label(3)
    frozen = {name: np.array(column) for name, column in good.columns().items()}
    rows = (good.timestamp >= first) & (good.timestamp < first + 40 * MINUTE)
    for name in ("open", "high", "low", "close"):
        frozen[name][rows] = good.closes_at([first - MINUTE])[0]
    serve(bench, Bars.from_columns(frozen))
    until_closed(bench, first + 35 * MINUTE)
    newest = bench.follower().newest
    assert newest is not None
    assert newest < first + 15 * MINUTE
    assert "x feed stood still" in bench.heartbeat()["assets"]["BTC"]["notes"][0]
    until_closed(bench, first + 44 * MINUTE)
    assert bench.follower().newest == int(bench.host.now()) // MINUTE * MINUTE - MINUTE


def after(at: int, factor: float) -> Bars:
    """Return the final bars, at other prices from a label on."""
    good = final_bars("BTC")
    return scaled(good, np.where(good.timestamp >= at, factor, 1.0))


def serve(bench: Bench, bars: Bars) -> None:
    bench.markets["BTC"].final = bars
