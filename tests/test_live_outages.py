"""The updater after outages and amid faults of its feeds: nothing is lost, and nothing wrong comes in."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import faulty_feed as fs
import numpy as np
import pytest
from examples import some
from test_live_updater import (
    BEGIN,
    BOOK,
    FIRST,
    HOUR,
    SCORED,
    Bench,
    Make,
    Market,
    Server,
    asked,
    assert_final,
    benches,
    dumped,
    final_bars,
    plant,
    scaled,
    symbol_of,
)

from ewmalab.market.bars import Bars
from ewmalab.market.cache import Cache
from ewmalab.market.feeds.hyperliquid import REACH
from ewmalab.market.partition import Provenance
from ewmalab.times import DAY, MINUTE

OUTAGES = {"1 min": MINUTE, "10 min": 10 * MINUTE, "2 h": 2 * HOUR, "12 h": 12 * HOUR, "72 h": 72 * HOUR}
SOME = ("10 min", "2 h", "72 h")
ASSETS = ("BTC", "XAU")


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    yield from benches(tmp_path, monkeypatch)


def assert_nothing_wrong(bench: Bench, asset: str) -> None:
    """What is known is final bars, all of those between the first and the newest, and the state that they give."""
    follower = bench.follower(asset)
    if len(follower.bars):
        first, newest = (int(label) for label in follower.bars.timestamp[[0, -1]])
        assert newest + MINUTE <= bench.host.now()
        assert follower.bars.digest() == bench.markets[asset].final.between(first, newest + 1).digest()
        assert dumped(follower) == follower.model.forecaster.dump_state(follower.model.state_of(follower.bars))


def assert_archived(bench: Bench, *assets: str) -> None:
    """Once archived, the cache has the final bars."""
    bench.updater.archive(int(bench.host.now()))
    for asset in assets or tuple(bench.markets):
        assert bench.cached(asset).digest() == bench.follower(asset).bars.digest()


# --------------------------------------------------------------------------------------------- outages


@pytest.mark.parametrize("outage", OUTAGES)
@pytest.mark.parametrize("killed", [False, True], ids=["suspended", "killed"])
def test_after_an_outage_the_state_is_that_of_all_final_bars(outage: str, killed: bool, make: Make):
    bench = make(*ASSETS, begun=True)
    bench.run(2)
    if killed:
        bench.restart()
    bench.at(BEGIN + 2 * MINUTE + OUTAGES[outage] + 2)
    assert_final(bench)
    for _ in bench.minutes(2):
        assert_final(bench)
    assert_archived(bench)
    assert bench.amendments() == []


def run_beside(make: Make, outage: int, every: int = MINUTE) -> None:
    """Compare an updater after an outage with one that went on."""
    bench, uninterrupted = make(*ASSETS), make(*ASSETS)
    for each in (bench, uninterrupted):
        each.at(BEGIN + 2)
    for passed in range(every, outage + 1, every):
        uninterrupted.at(BEGIN + passed + 2)
    bench.at(BEGIN + outage + 2)
    for i in range(1, 4):
        for asset in ASSETS:
            assert bench.dumped(asset) == uninterrupted.dumped(asset)
            assert bench.follower(asset).bars.digest() == uninterrupted.follower(asset).bars.digest()
        for each in (bench, uninterrupted):
            each.at(BEGIN + outage + i * MINUTE + 2)
            assert_final(each)


@pytest.mark.parametrize("outage", some(["1 min", "10 min", "2 h"], "10 min"))
def test_an_updater_after_an_outage_equals_one_that_went_on(outage: str, make: Make):
    run_beside(make, OUTAGES[outage])


@pytest.mark.slow
@pytest.mark.parametrize("outage", ["12 h", "72 h"])
def test_an_updater_after_a_long_outage_equals_one_that_went_on(outage: str, make: Make):
    run_beside(make, OUTAGES[outage])


@pytest.mark.ci
@pytest.mark.parametrize("outage", SOME)
def test_while_a_feed_is_out_its_asset_stands_still_and_then_catches_up(outage: str, make: Make):
    bench = make(*ASSETS, begun=True)
    before = bench.dumped("BTC")
    bench.server.broken["BTCUSDT"] = fs.status(503)
    tries = np.linspace(MINUTE, OUTAGES[outage], 10).astype(int) // MINUTE * MINUTE
    for count, passed in enumerate(tries.tolist(), 1):
        bench.at(BEGIN + passed + 2)
        assert bench.dumped("BTC") == before
        assert bench.heartbeat()["assets"]["BTC"]["feed_errors"] == count
        assert_final(bench, "XAU")
    bench.server.broken.clear()
    bench.run(1)
    assert_final(bench)
    assert_archived(bench)


def test_an_outage_from_the_first_build_on_is_made_up_for(make: Make):
    bench = make(*ASSETS)
    bench.server.always = fs.status(503)
    bench.at(BEGIN + 2)
    assert {entry["newest"] for entry in bench.heartbeat()["assets"].values()} == {None}
    assert list(bench.updater.store.root.glob("*.msgpack")) == []
    bench.run(2)
    bench.server.always = None
    bench.run(1)
    assert_final(bench)


def test_a_server_that_is_gone_and_comes_back_is_followed_again(make: Make):
    bench = make(*ASSETS, begun=True)
    bars, port = bench.server.bars, int(bench.server.host.partition(":")[2])
    bench.server.__exit__()
    bench.run(3)
    for entry in bench.heartbeat()["assets"].values():
        assert "the connection failed" in entry["error"]
        assert entry["feed_errors"] == 3
    bench.server = Server(bars, port=port, clock=bench.host.now)
    bench.server.__enter__()
    bench.run(1)
    assert_final(bench)


@pytest.mark.parametrize("outage", SOME)
@pytest.mark.parametrize("asset", ASSETS)
def test_a_bar_that_is_late_when_an_outage_begins_is_known_after_it(asset: str, outage: str, make: Make):
    """An updater that went on would have asked for it again."""
    bench = make(asset)
    label = BEGIN - 2 * MINUTE
    bench.markets[asset].hidden[label] = BEGIN + 40
    bench.at(BEGIN + 2)
    assert bench.follower(asset).newest == BEGIN - MINUTE
    bench.at(BEGIN + OUTAGES[outage] + 2)
    bench.run(1)
    assert_final(bench)
    assert_archived(bench)


@pytest.mark.parametrize("outage", SOME)
def test_a_bar_that_is_revised_while_an_outage_lasts_is_known_as_revised(outage: str, make: Make):
    bench = make()
    label = BEGIN - 2 * MINUTE
    bench.markets["BTC"].early[label] = (1.001, BEGIN + 40)
    bench.at(BEGIN + 2)
    bench.at(BEGIN + OUTAGES[outage] + 2)
    bench.run(1)
    assert_final(bench)
    assert_archived(bench)


@pytest.mark.parametrize("outage", SOME)
def test_a_bar_that_is_late_when_an_outage_ends_is_followed_when_it_comes(outage: str, make: Make):
    bench = make(*ASSETS, begun=True)
    end = BEGIN + OUTAGES[outage]
    for asset in ASSETS:
        for label in bench.markets[asset].final.between(end - 7 * MINUTE, end - MINUTE).timestamp[::2].tolist():
            bench.markets[asset].hidden[label] = end + 90
    bench.at(end + 2)
    with pytest.raises(AssertionError):
        assert_final(bench)
    bench.run(2)
    assert_final(bench)
    assert_archived(bench)
    assert {line["old"] for line in bench.amendments()} == {None}


def test_a_bar_that_is_late_at_the_first_build_is_followed_when_it_comes(make: Make):
    bench = make(*ASSETS)
    for asset in ASSETS:
        bench.markets[asset].hidden[BEGIN - 3 * MINUTE] = BEGIN + 3 * MINUTE
    bench.at(BEGIN + 2)
    bench.run(3)
    assert_final(bench)
    assert_archived(bench)


@pytest.mark.parametrize("first", [False, True], ids=["after an outage", "first build"])
def test_bars_that_others_put_into_the_cache_leave_no_hole_where_the_feed_fails(first: bool, make: Make):
    """A command may have fetched the latest hours already: what lies before them is wanted none the less."""
    bench = make()
    later = BEGIN + 12 * HOUR
    if not first:
        bench.at(BEGIN + 2)
    cache, span = Cache(Path(bench.settings.values.data.cache_dir)), (later - 2 * HOUR, later)
    cache.write("binance", "BTC", final_bars("BTC").between(*span), [span], Provenance("a command", later))
    bench.restart()
    bench.server.always = fs.status(503)
    bench.at(later + 2)
    bench.server.always = None
    bench.run(2)
    assert_final(bench)


def test_the_clock_is_not_said_to_differ_while_the_feed_is_out(make: Make):
    bench = make(*ASSETS, begun=True)
    bench.server.always = fs.RESET
    for _ in bench.minutes(5):
        skew = bench.heartbeat()["clock_skew"]
        assert skew is None or abs(skew) <= 1


# --------------------------------------------------------------------------------------------- faults

FAULTS = {
    "429": fs.status(429, Retry_After="1"),
    "429 without a time": fs.status(429),
    "500": fs.status(500),
    "502 with a page": fs.status(502, b"<html>bad gateway</html>"),
    "503": fs.status(503),
    "hang": fs.HANG,
    "reset": fs.RESET,
    "reset in the body": fs.RESET_IN_BODY,
    "truncated": fs.TRUNCATE,
    "truncated chunk": fs.TRUNCATE_CHUNKED,
    "HTML": fs.HTML,
    "empty": fs.EMPTY,
    "not JSON": fs.NOT_JSON,
    "no candles": fs.body(b"{}"),
    "404": fs.status(404),
    "403": fs.status(403),
    "another symbol": None,  # the bars of another one under this one's name
}
CAUSES = {
    "429": "HTTP 429",
    "429 without a time": "rate-limited for another 60 s",
    "500": "HTTP 500",
    "502 with a page": "HTTP 502",
    "503": "HTTP 503",
    "hang": "no answer within 0.5 s",
    "reset": "ConnectionResetError",
    "reset in the body": "ConnectionResetError",
    "truncated": "IncompleteRead",
    "truncated chunk": "IncompleteRead",
    "HTML": "the body is HTML",
    "empty": "the body is empty",
    "not JSON": "the body is not JSON",
    "no candles": "the answer is {}, not a list",
    "404": "HTTP 404",
    "403": "HTTP 403",
    "another symbol": "it is for another symbol",
}
PASSING = [what for what in FAULTS if what not in ("429 without a time", "no candles", "404", "403", "another symbol")]


def begin(bench: Bench, asset: str, what: str) -> None:
    """Let each request for an asset meet a fault."""
    fault = FAULTS[what]
    if fault is None:
        other = {"BTC": "ETH", "XAU": "BTC"}[asset]
        bench.server.bars[bench.symbol(asset)] = Market(final_bars(other), bench.host.now)
    else:
        bench.server.broken[bench.symbol(asset)] = fault


def end(bench: Bench) -> None:
    """Let all requests be answered well again."""
    bench.server.broken.clear()
    bench.server.planned.clear()
    for asset, market in bench.markets.items():
        bench.server.bars[bench.symbol(asset)] = market


def check_faults(what: str, count: int, make: Make) -> None:
    bench = make(*ASSETS, begun=True)
    errors = dict.fromkeys(ASSETS, 0)
    for i in range(count):
        asset, other = ASSETS if i % 2 else ASSETS[::-1]
        before, generation = bench.dumped(asset), bench.follower(asset).generation
        begin(bench, asset, what)
        bench.run(1)
        errors[asset] += 1
        note = bench.heartbeat()["assets"]
        assert CAUSES[what] in note[asset]["error"]
        assert {name: entry["feed_errors"] for name, entry in note.items()} == errors
        assert bench.dumped(asset) == before
        assert bench.follower(asset).generation == generation
        assert note[other]["error"] == ""
        assert_final(bench, other)
        end(bench)
        bench.run(1)
        assert {entry["error"] for entry in bench.heartbeat()["assets"].values()} == {""}
        assert_final(bench)
    assert bench.amendments() == []
    assert_archived(bench)


@pytest.mark.parametrize("what", some(FAULTS, *list(FAULTS)[::3]))
def test_a_fault_is_named_and_leaves_no_trace(what: str, make: Make, monkeypatch):
    check_faults(what, 2 if what == "hang" else 6, make)


@pytest.mark.slow
@pytest.mark.parametrize("what", FAULTS)
def test_fifty_faults_are_named_and_leave_no_trace(what: str, make: Make, monkeypatch):
    check_faults(what, 50, make)


@pytest.mark.parametrize("what", PASSING)
def test_a_fault_that_passes_is_not_noticed(what: str, make: Make, monkeypatch):
    bench = make(*ASSETS, begun=True)
    for asset in ASSETS:
        bench.server.planned[bench.symbol(asset)] = deque([FAULTS[what]])
    seen = len(bench.server.seen)
    bench.run(1)
    assert len(bench.server.seen) - seen == 2 * len(ASSETS)
    assert {entry["error"] for entry in bench.heartbeat()["assets"].values()} == {""}
    assert_final(bench)


def test_hyperliquids_candles_of_another_coin_are_refused(make: Make):
    bench = make("XAU", begun=True)
    bench.server.broken["xyz:GOLD"] = fs.edit(lambda rows: [row | {"s": "xyz:SILVER"} for row in rows])
    for minutes in (1, 10, 120):
        bench.at(bench.host.now() + minutes * MINUTE)
        assert "not for" in bench.heartbeat()["assets"]["XAU"]["error"]
        assert bench.follower("XAU").newest == BEGIN - MINUTE
    end(bench)
    bench.run(1)
    assert_final(bench)


class Reaching(Market):
    """A market of which only the last candles exist, as on Hyperliquid."""

    def between(self, start: int, end: int) -> Bars:
        return super().between(max(start, int(self._now()) // MINUTE * MINUTE - REACH), end)


@pytest.mark.parametrize(("days", "killed"), [(3, True), (4, False), (6, True), (9, False), (9, True)])
def test_after_an_outage_beyond_a_feeds_reach_the_asset_is_current_again(days: int, killed: bool, make: Make):
    """What is gone is gone; the warm-up's bars are there, and with them the state."""
    begin = BEGIN - 5 * DAY
    bench = make("XAU", begin=begin + 2)
    market = bench.markets["XAU"] = Reaching(final_bars("XAU"), bench.host.now)
    bench.server.bars["xyz:GOLD"] = market
    bench.at(begin + 2)
    if killed:
        bench.restart()
    bench.at(begin + days * DAY + 2)
    bench.run(1)
    follower, closed = bench.follower("XAU"), market.final.known_at(int(bench.host.now()))
    assert bench.heartbeat()["assets"]["XAU"]["error"] == ""
    assert follower.newest == closed.timestamp[-1]
    assert dumped(follower) == follower.model.forecaster.dump_state(follower.model.state_of(closed))


@pytest.mark.parametrize("refetch", ["60s", "10m", "1d"])
def test_another_symbols_bars_are_refused_however_much_is_asked_again(refetch: str, make: Make):
    bench = make(live__refetch=refetch)
    bench.at(BEGIN + 2)
    before = bench.dumped()
    begin(bench, "BTC", "another symbol")
    for minutes in (1, 5, 120):
        bench.at(bench.host.now() + minutes * MINUTE)
        assert CAUSES["another symbol"] in bench.heartbeat()["assets"]["BTC"]["error"]
        assert bench.dumped() == before
    end(bench)
    bench.run(1)
    assert_final(bench)


@pytest.mark.parametrize("outage", SOME)
@pytest.mark.parametrize("asset", ASSETS)
def test_another_symbols_bars_after_an_outage_are_refused(asset: str, outage: str, make: Make):
    """Neither Binance nor Pyth names the symbol in its answer: only the prices tell."""
    bench = make(asset, begun=True)
    before = bench.dumped(asset)
    begin(bench, asset, "another symbol")
    bench.at(BEGIN + OUTAGES[outage] + 2)
    entry = bench.heartbeat()["assets"][asset]
    end(bench)
    assert bench.dumped(asset) == before
    assert CAUSES["another symbol"] in entry["error"]
    bench.run(2)
    assert_final(bench)
    assert_archived(bench)


def test_another_symbols_bars_amid_a_long_catch_up_are_refused(make: Make):
    bench = make(begun=True)
    wrong = fs.edit(lambda rows: [[row[0], *(str(float(price) / 29) for price in row[1:5]), *row[5:]] for row in rows])
    bench.server.planned["BTCUSDT"] = deque([None, None, wrong])
    bench.at(BEGIN + 72 * HOUR + 2)
    assert_nothing_wrong(bench, "BTC")
    bench.run(2)
    assert_final(bench)
    assert_archived(bench)


def test_a_market_that_moved_far_during_an_outage_is_followed(make: Make):
    """Only bars that were known before tell another symbol: a crash is none."""
    bench = make(begun=True)
    final = final_bars("BTC")
    crashed = Bars.concatenate([final.between(FIRST, BEGIN), scaled(final.between(BEGIN, BEGIN + 5 * DAY), 0.7)])
    bench.server.bars["BTCUSDT"] = bench.markets["BTC"] = Market(crashed, bench.host.now)
    bench.at(BEGIN + 30 * MINUTE + 2)
    assert_final(bench)
    bench.at(BEGIN + 3 * HOUR + 2)
    assert_final(bench)


def test_a_silence_that_a_host_asks_for_is_kept_and_made_up_for(make: Make):
    bench = make(*ASSETS, begun=True)
    begin(bench, "BTC", "429")
    bench.server.broken["BTCUSDT"] = fs.status(429, Retry_After="600")
    bench.run(1)
    end(bench)
    seen = len(bench.server.seen)
    for left in range(9, 0, -1):
        bench.run(1)
        assert f"rate-limited for another {left * 60} s" in bench.heartbeat()["assets"]["BTC"]["error"]
        assert_final(bench, "XAU")
    assert "BTCUSDT" not in {symbol_of(request) for request in bench.server.seen[seen:]}
    bench.run(1)
    assert_final(bench)


def test_an_asset_that_always_fails_holds_up_no_other(make: Make):
    bench = make("BTC", "ETH", "XAU")
    bench.server.broken["BTCUSDT"] = fs.status(500)
    bench.at(BEGIN + 2)
    for _ in bench.minutes(3):
        assert_final(bench, "ETH", "XAU")
    entry = bench.heartbeat()["assets"]["BTC"]
    assert (entry["newest"], entry["generation"], entry["feed_errors"]) == (None, 0, 4)


def soak(minutes: int, seed: int, make: Make) -> None:
    """Faults of all kinds, late and revised bars and restarts at random."""
    bench, rng = make(*ASSETS), np.random.default_rng(seed)
    bench.at(BEGIN + 2)
    kinds = [what for what in FAULTS if what != "hang"]
    for asset in ASSETS:
        plant(bench, asset, minutes, seed)
    for _ in range(minutes):
        for asset in ASSETS:
            if rng.random() < 0.3:
                begin(bench, asset, str(rng.choice(kinds)))
        if rng.random() < 0.1:
            bench.restart()
        bench.run(1)
        end(bench)
    bench.run(12)
    assert_final(bench)
    assert_archived(bench)


@pytest.mark.parametrize("seed", some(range(2), 0))
def test_after_faults_late_bars_and_restarts_the_state_is_that_of_the_final_bars(seed: int, make: Make):
    soak(40, seed, make)


@pytest.mark.slow
def test_after_a_day_of_faults_late_bars_and_restarts_the_state_is_that_of_the_final_bars(make: Make):
    soak(1500, 7, make)


# --------------------------------------------------------------------------------------------- amid a long catch-up


@pytest.mark.parametrize("what", ["429 without a time", "503", "truncated", "404"])
def test_what_came_before_a_fault_in_a_long_catch_up_is_kept(what: str, make: Make):
    bench = make(begun=True)
    bench.run(1)
    attempts = 1 if what in ("429 without a time", "no candles", "404", "403") else 2
    bench.server.planned["BTCUSDT"] = deque([None, None, *[FAULTS[what]] * attempts])
    seen = len(bench.server.seen)
    bench.at(BEGIN + 72 * HOUR + 2)
    came = [asked(request) for request in bench.server.seen[seen:]]
    assert CAUSES[what] in bench.heartbeat()["assets"]["BTC"]["error"]
    newest = bench.follower().newest
    assert newest is not None
    assert newest == final_bars("BTC").between(FIRST, came[1][1]).timestamp[-1] > came[0][1]
    assert_nothing_wrong(bench, "BTC")
    saved, _ = bench.updater.store.load("BTC")
    assert saved is not None
    assert saved.newest == newest
    seen = len(bench.server.seen)
    bench.run(1)
    assert_final(bench)
    again = [asked(request) for request in bench.server.seen[seen:]]
    assert min(first for first, _ in again) >= newest - int(bench.settings.values.live.refetch)
    assert_archived(bench)


@pytest.mark.parametrize("part", [1, 3, 5])
def test_a_fault_in_any_part_of_the_first_build_is_made_up_for(part: int, make: Make):
    bench = make(replay__warmup="4d")
    bench.server.planned["BTCUSDT"] = deque([*[None] * (part - 1), fs.status(503), fs.status(503)])
    bench.at(BEGIN + 2)
    assert bench.heartbeat()["assets"]["BTC"]["feed_errors"] == 1
    assert_nothing_wrong(bench, "BTC")
    bench.restart()
    bench.run(1)
    assert_final(bench)


def test_an_empty_answer_amid_a_long_catch_up_is_asked_for_again(make: Make):
    bench = make(begun=True)
    bench.server.planned["BTCUSDT"] = deque([None, fs.body(b"[]")])
    bench.at(BEGIN + 72 * HOUR + 2)
    assert_final(bench)


@pytest.mark.parametrize("outage", ["10 min", "2 h"])
def test_empty_answers_are_a_market_that_stands_still_until_bars_come(outage: str, make: Make):
    bench = make(*ASSETS, begun=True)
    bench.server.always = fs.body(b"[]")
    for passed in range(1, 6):
        bench.at(BEGIN + OUTAGES[outage] * passed // 5 + 2)
        assert {f.newest for f in bench.updater.followers.values()} == {BEGIN - MINUTE}
    bench.server.always = None
    bench.run(1)
    assert_final(bench)
    assert_archived(bench)


def test_a_long_catch_up_asks_for_no_more_than_a_call_may(make: Make):
    bench = make(*ASSETS, begun=True)
    seen = len(bench.server.seen)
    bench.at(BEGIN + 72 * HOUR + 2)
    for request in bench.server.seen[seen:]:
        first, last = asked(request)
        asset = next(asset for asset in ASSETS if bench.symbol(asset) == symbol_of(request))
        assert last - first <= bench.follower(asset).feed.chunk
    assert {BOOK.asset(asset).symbols[SCORED[asset]] for asset in ASSETS} == {
        symbol_of(request) for request in bench.server.seen[seen:]
    }


def test_a_killed_catch_up_goes_on_where_it_was(make: Make, monkeypatch):
    bench = make(begun=True)
    plain, calls = bench.follower().feed.fetch, []

    class Killed(BaseException):
        pass

    def fetch(*arguments: Any) -> Bars:
        calls.append(arguments)
        if len(calls) == 4:
            raise Killed
        return plain(*arguments)

    monkeypatch.setattr(bench.follower().feed, "fetch", fetch)
    with pytest.raises(Killed):
        bench.at(BEGIN + 72 * HOUR + 2)
    bench.restart()
    seen = len(bench.server.seen)
    bench.run(1)
    assert_final(bench)
    assert min(asked(request)[0] for request in bench.server.seen[seen:]) > BEGIN + DAY
