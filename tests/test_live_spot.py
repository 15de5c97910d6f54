"""Spot prices: each source's shape, what its faults leave behind, and which price a path may start from."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import faulty_feed as fs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from live_rig import PATIENCE, SettableClock, live_settings, patch_live_http, until
from patience import Patience

from ewmalab.errors import FeedError
from ewmalab.live.clock import Clock
from ewmalab.live.miner.spot import IMPLAUSIBLE, Spot, Spots, SpotSource, choose_anchor
from ewmalab.live.miner.spot_sources import make_spots
from ewmalab.market.bars import Bars
from ewmalab.market.feeds.http import HttpClient
from ewmalab.rulebook import load_rulebook
from ewmalab.times import MINUTE, parse_time

BOOK = load_rulebook()
NOW = parse_time("2026-10-03T04:00:30")
KEY = "sk-0123456789abcdef"
PRICES = {"BTC": 95_000.0, "ETH": 3_300.0, "HYPE": 25.0, "XAU": 4_600.0, "WTIOIL": 62.5}
FEEDS = {
    "binance": ("BTC", "ETH"),
    "hyperliquid": ("HYPE",),
    "hyperliquid-xyz": ("XAU", "WTIOIL"),
    "pyth-lazer": ("BTC", "XAU"),
    "pyth-hermes": ("WTIOIL",),
}
PATHS = {
    "binance": "/api/v3/ticker/price",
    "hyperliquid": "/info",
    "hyperliquid-xyz": "/info",
    "pyth-lazer": "/v1/latest_price",
    "pyth-hermes": "/v2/updates/price/latest",
}
TIMED = ("pyth-lazer", "pyth-hermes")


def feed_of(source: str) -> str:
    return source.partition("-")[0]


def bars_of(asset: str) -> Bars:
    """Two hours of bars, each with another close, around now."""
    times = [NOW // MINUTE * MINUTE + MINUTE * i for i in range(-60, 60)]
    closes = [PRICES[asset] * (1 + i / 10_000) for i in range(120)]
    opens = [PRICES[asset], *closes[:-1]]
    return Bars(times, opens, closes, opens, closes)  # type: ignore[arg-type]


class Server(fs.FaultyFeed):
    """A feed server that fails on some paths alone."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.broken: dict[str, fs.Fault] = {}

    def take(self, seen: fs.Seen) -> fs.Fault | None:
        return super().take(seen) or self.broken.get(seen.path)


@pytest.fixture(scope="module")
def one_server() -> Iterator[Server]:
    bars, ids = {}, {}
    for name in PRICES:
        asset = BOOK.asset(name)
        bars |= dict.fromkeys(asset.symbols.values(), bars_of(name))
        ids |= {str(i): asset.symbols["pyth"] for i in (asset.lazer_id, asset.hermes_id) if i is not None}
    with Server(bars, clock=lambda: NOW, ids=ids) as running:
        yield running


@pytest.fixture
def clock() -> SettableClock:
    return SettableClock(NOW)


@pytest.fixture
def server(one_server: Server, clock: SettableClock, monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    waited = SettableClock(0.0)  # waiting takes no time, and moves the clients' own clock alone
    patch_live_http(monkeypatch, sleep=lambda seconds: waited.set(waited.now() + seconds), monotonic=waited.now)
    one_server.clock, one_server.always, one_server.broken, one_server.seen = clock.now, None, {}, []
    return one_server


Make = Callable[..., Spots]


@pytest.fixture
def make(server: Server, clock: SettableClock, tmp_path: Path) -> Make:
    def build(feeds: Mapping[str, str], **flags: Any) -> Spots:
        settings = live_settings(tmp_path, server.url, tuple(feeds), **flags)
        return make_spots(feeds, settings.values, BOOK, clock)

    return build


def one(make: Make, source: str, **flags: Any) -> Spots:
    """Spots of one source."""
    spots = make(dict.fromkeys(FEEDS[source], feed_of(source)), **flags)
    assert [s.name for s in spots.sources] == [source]
    assert spots.sources[0].assets == FEEDS[source]
    return spots


def priced(server: Server, asset: str, source: str) -> float:
    return server.spot(BOOK.asset(asset).symbols[feed_of(source)])


def every(spots: Spots, source: str) -> dict[str, Spot | None]:
    return {asset: spots.latest(asset) for asset in FEEDS[source]}


# --------------------------------------------------------------------------------------------- good answers


@pytest.mark.parametrize("source", FEEDS)
def test_a_source_gives_the_prices_of_all_its_assets_with_one_request(source: str, make: Make, server: Server):
    spots = one(make, source)
    assert set(every(spots, source).values()) == {None}
    spots.refresh()
    assert len(server.seen) == 1
    assert server.seen[0].path == PATHS[source]
    for asset, spot in every(spots, source).items():
        assert spot is not None
        assert spot.price == pytest.approx(priced(server, asset, source), rel=1e-9)
        assert (spot.at, spot.source) == (NOW, source)
    assert spots.errors == {source: 0}


@pytest.mark.parametrize("source", FEEDS)
def test_a_price_follows_the_market(source: str, make: Make, server: Server, clock: SettableClock):
    spots = one(make, source)
    for seconds in (0, 5, 29, 31, 90, 600):
        clock.set(NOW + seconds)
        spots.refresh()
        for asset, spot in every(spots, source).items():
            assert spot is not None
            assert spot.price == pytest.approx(priced(server, asset, source), rel=1e-9)
            assert spot.at == NOW + seconds


def test_requests_have_the_hosts_own_terms(make: Make, server: Server):
    feeds = {"BTC": "binance", "ETH": "binance", "HYPE": "hyperliquid", "XAU": "hyperliquid"}
    make(feeds).refresh()
    make({"BTC": "pyth", "XAU": "pyth", "WTIOIL": "pyth"}).refresh()
    seen = {(s.path, str(s.body and s.body.get("dex"))): s for s in server.seen}
    assert len(seen) == len(server.seen) == 5
    assert seen["/api/v3/ticker/price", "None"].query == {"symbols": '["BTCUSDT","ETHUSDT"]'}
    assert seen["/info", "None"].body == {"type": "allMids"}
    assert seen["/info", "xyz"].body == {"type": "allMids", "dex": "xyz"}
    body = seen["/v1/latest_price", "None"].body
    assert body["priceFeedIds"] == [BOOK.asset("BTC").lazer_id, BOOK.asset("XAU").lazer_id]
    assert {"price", "exponent"} <= set(body["properties"])
    assert seen["/v2/updates/price/latest", "None"].query == {"ids[]": BOOK.asset("WTIOIL").hermes_id}


def test_several_of_hermes_ids_are_asked_for_at_once(make: Make, server: Server, monkeypatch):
    monkeypatch.setattr(type(BOOK.asset("BTC")), "lazer_id", None)
    spots = make({"BTC": "pyth", "ETH": "pyth", "WTIOIL": "pyth"})
    spots.refresh()
    assert [s.path for s in server.seen] == [PATHS["pyth-hermes"]]
    for asset in ("BTC", "ETH", "WTIOIL"):
        spot = spots.latest(asset)
        assert spot is not None
        assert spot.price == pytest.approx(priced(server, asset, "pyth-hermes"), rel=1e-9)


def test_each_asset_has_its_price_from_the_feed_that_its_bars_come_from(make: Make):
    spots = make({"BTC": "binance", "XAU": "hyperliquid", "WTIOIL": "pyth"})
    spots.refresh()
    sources = {asset: spot.source for asset in ("BTC", "XAU", "WTIOIL") if (spot := spots.latest(asset))}
    assert sources == {"BTC": "binance", "XAU": "hyperliquid-xyz", "WTIOIL": "pyth-hermes"}


def test_all_that_compete_have_a_source(make: Make):
    scored = {a: rules.scored_feed for a, rules in BOOK.at(NOW).assets.items() if rules.scored_feed}
    spots = make(scored)
    assert {asset for source in spots.sources for asset in source.assets} == set(scored)
    keyed = {asset: "pyth" for asset in scored if "pyth" in BOOK.asset(asset).symbols}
    assert {asset for source in make(keyed).sources for asset in source.assets} == set(keyed)


def test_simulated_bars_have_no_spot_price(make: Make):
    spots = make({"BTC": "simulated"})
    spots.refresh()
    assert spots.sources == []
    assert spots.latest("BTC") is None


def test_an_unknown_asset_has_no_price(make: Make):
    assert one(make, "binance").latest("DOGE") is None


class Walking(SettableClock):
    """A clock that a wait moves on."""

    def wait(self, until: float, stop: Event, wake: Event | None = None) -> bool:
        self.set(until)
        return stop.is_set()


def test_prices_are_looked_up_at_each_interval_until_the_stop(make: Make, server: Server):
    spots, clock, stop, seen = one(make, "binance"), Walking(NOW), Event(), []
    server.clock, spots.clock = clock.now, clock
    (source,) = spots.sources

    def noted() -> Any:
        told = source.ask()
        seen.append(clock.now() - NOW)
        if len(seen) == 4:
            stop.set()
        return told

    spots.sources = [replace(source, ask=noted)]
    spots.follow(5, stop)
    assert until(lambda: (spot := spots.latest("BTC")) is not None and spot.at == NOW + 15)
    assert seen == [0, 5, 10, 15]


def test_a_source_that_does_not_answer_delays_no_other_nor_the_end(make: Make):
    held, stop = Event(), Event()

    def late() -> dict[str, tuple[float, None]]:
        held.wait(PATIENCE)
        return {}

    slow = SpotSource("slow", ("XAU",), late)
    quick = SpotSource("quick", ("BTC",), lambda: {"BTC": (100.0, None)})
    spots, before = Spots([slow, quick], Clock()), set(threading.enumerate())
    spots.follow(60, stop)
    mine = set(threading.enumerate()) - before
    try:
        assert until(lambda: spots.latest("BTC") is not None)
        assert len(mine) == 2
        assert all(thread.daemon for thread in mine)
    finally:
        stop.set()
        held.set()


def test_at_the_end_it_is_no_news_that_nobody_answers(caplog: pytest.LogCaptureFixture):
    asked, stop = Event(), Event()

    def gone() -> dict[str, tuple[float, None]]:
        asked.set()
        stop.wait(PATIENCE)
        raise FeedError("gone")

    spots, before = Spots([SpotSource("gone", ("BTC",), gone)], Clock()), set(threading.enumerate())
    spots.follow(60, stop)
    assert asked.wait(PATIENCE)
    (mine,) = set(threading.enumerate()) - before
    stop.set()
    mine.join(PATIENCE)
    assert not mine.is_alive()
    assert spots.errors["gone"] == 0
    assert not caplog.records


# --------------------------------------------------------------------------------------------- keys


@pytest.mark.parametrize("source", TIMED)
def test_a_key_is_sent_as_a_bearer_token_and_never_logged(source: str, make: Make, server: Server, caplog):
    with caplog.at_level(logging.DEBUG):
        spots = one(make, source, feeds__pyth__api_key=KEY)
        spots.refresh()
        echo = f"the key {KEY} is not known".encode()
        for fault in (fs.status(401, echo), fs.status(403, echo), fs.status(400, echo), fs.body(echo), fs.RESET):
            server.always = fault
            spots.refresh()
    assert len(server.seen) >= 6
    assert {seen.headers["Authorization"] for seen in server.seen} == {f"Bearer {KEY}"}
    assert spots.errors == {source: 5}
    assert "PYTH_API_KEY" in caplog.text
    assert KEY not in caplog.text
    assert KEY not in repr(spots.sources)


@pytest.mark.parametrize("source", FEEDS)
def test_without_a_key_none_is_sent(source: str, make: Make, server: Server):
    one(make, source).refresh()
    assert "Authorization" not in server.seen[0].headers


@pytest.mark.parametrize("source", [source for source in FEEDS if source not in TIMED])
def test_pyths_key_goes_to_nobody_else(source: str, make: Make, server: Server):
    one(make, source, feeds__pyth__api_key=KEY).refresh()
    assert KEY not in str(server.seen)


# --------------------------------------------------------------------------------------------- faults

FAULTS = {
    "429": fs.status(429, Retry_After="1"),
    "429 without a time": fs.status(429),
    "500": fs.status(500),
    "503": fs.status(503),
    "404": fs.status(404),
    "hang": fs.HANG,
    "reset": fs.RESET,
    "reset in the body": fs.RESET_IN_BODY,
    "truncated": fs.TRUNCATE,
    "truncated chunk": fs.TRUNCATE_CHUNKED,
    "HTML": fs.HTML,
    "empty": fs.EMPTY,
    "not JSON": fs.NOT_JSON,
}
SHAPES = {
    "null": b"null",
    "a number": b"7",
    "a text": b'"BTCUSDT"',
    "true": b"true",
    "numbers": b"[1, 2]",
    "nulls": b"[null]",
    "empty objects": b"[{}]",
    "other symbols": b'[{"symbol": "DOGEUSDT", "price": "1"}]',
    "empty parsed": b'{"parsed": null}',
    "parsed number": b'{"parsed": 3}',
    "no exponent": b'{"parsed": {"timestampUs": "1", "priceFeeds": [{"priceFeedId": 1, "price": "1"}]}}',
    "no price": b'{"parsed": [{"id": "00"}]}',
    "an error": b'{"code": -1121, "msg": "Invalid symbol."}',
    "nested": b"[" * 100 + b"]" * 100,
}


@pytest.mark.parametrize("source", FEEDS)
@pytest.mark.parametrize("what", FAULTS)
def test_a_fault_leaves_the_last_price_and_is_counted(what, source, make, server, clock, caplog, monkeypatch):
    patch_live_http(monkeypatch, timeout=Patience.of(lambda: server.always is fs.HANG))
    spots = one(make, source)
    spots.refresh()
    before = every(spots, source)
    server.always = FAULTS[what]
    clock.set(NOW + 10)
    spots.refresh()
    assert every(spots, source) == before
    assert spots.errors == {source: 1}
    assert f"spot {source}: " in caplog.text


@pytest.mark.parametrize("source", FEEDS)
@pytest.mark.parametrize("what", SHAPES)
def test_an_answer_of_another_shape_leaves_the_last_price(what, source, make, server, clock):
    spots = one(make, source)
    spots.refresh()
    before = every(spots, source)
    server.always = fs.body(SHAPES[what])
    clock.set(NOW + 10)
    spots.refresh()
    assert every(spots, source) == before
    # an object without our symbols is what Hyperliquid answers where it does not know them
    assert spots.errors[source] == 1 or feed_of(source) == "hyperliquid"


def test_a_fault_that_passes_is_not_noticed(make: Make, server: Server):
    spots = one(make, "binance")
    for fault in (fs.status(503), fs.RESET, fs.TRUNCATE, fs.HTML):
        server.plan(fault)
        spots.refresh()
    assert spots.errors == {"binance": 0}


def test_a_source_that_fails_holds_up_no_other(make: Make, server: Server, clock: SettableClock):
    spots = make({"BTC": "binance", "XAU": "hyperliquid", "WTIOIL": "pyth", "ETH": "pyth"})
    spots.refresh()
    names = {asset: spot.source for asset in ("BTC", "XAU", "WTIOIL", "ETH") if (spot := spots.latest(asset))}
    assert len(set(names.values())) == 4
    for i, (asset, name) in enumerate(names.items(), 1):
        server.broken = {PATHS[name]: fs.status(500)}
        clock.set(NOW + 100 * i)
        spots.refresh()
        fresh = {a for a in names if (spot := spots.latest(a)) and spot.at == clock.now()}
        assert fresh == set(names) - {asset}
    assert set(spots.errors.values()) == {1}


def test_an_asset_that_an_answer_lacks_keeps_its_last_price(make: Make, server: Server, clock: SettableClock):
    spots = one(make, "hyperliquid-xyz")
    spots.refresh()
    before = spots.latest("WTIOIL")
    server.always = fs.edit(lambda mids: {coin: mid for coin, mid in mids.items() if coin != "xyz:CL"})
    clock.set(NOW + 10)
    spots.refresh()
    assert spots.latest("WTIOIL") == before
    other = spots.latest("XAU")
    assert other is not None
    assert other.at == NOW + 10
    assert spots.errors == {"hyperliquid-xyz": 0}


# --------------------------------------------------------------------------------------------- impossible prices


def with_price(source: str, asset: str, change: Callable[[Any], Any]) -> fs.Fault:
    """An answer in which one asset's price is another."""
    known = BOOK.asset(asset)

    def apply(answer: Any) -> Any:
        if source == "binance":
            rows, name = [row for row in answer if row["symbol"] == known.symbols["binance"]], "price"
        elif feed_of(source) == "hyperliquid":
            rows, name = [answer], known.symbols["hyperliquid"]
        elif source == "pyth-lazer":
            rows, name = [r for r in answer["parsed"]["priceFeeds"] if r["priceFeedId"] == known.lazer_id], "price"
        else:
            rows, name = [r["price"] for r in answer["parsed"] if r["id"] == known.hermes_id], "price"
        for row in rows:
            row[name] = change(row[name])
        return answer

    return fs.edit(apply)


BAD = ["0", "-1", "-0.0", "nan", "NaN", "inf", "-inf", "1e999", "", "abc", None, [], {}]


@pytest.mark.parametrize("source", FEEDS)
@pytest.mark.parametrize("value", BAD, ids=str)
def test_an_impossible_price_is_refused(value, source, make, server, clock):
    spots = one(make, source)
    spots.refresh()
    asset = FEEDS[source][0]
    before = spots.latest(asset)
    server.always = with_price(source, asset, lambda _: value)
    clock.set(NOW + 10)
    spots.refresh()
    assert spots.latest(asset) == before


@pytest.mark.parametrize("source", [source for source in FEEDS if len(FEEDS[source]) > 1])
@pytest.mark.parametrize("value", ["0", "-1"])
def test_an_impossible_price_of_one_asset_leaves_the_others_their_own(value, source, make, server, clock):
    spots = one(make, source)
    bad, good = FEEDS[source]
    server.always = with_price(source, bad, lambda _: value)
    spots.refresh()
    assert spots.latest(bad) is None
    spot = spots.latest(good)
    assert spot is not None
    assert spot.price == pytest.approx(priced(server, good, source), rel=1e-9)


@pytest.mark.parametrize(("source", "name"), [("pyth-lazer", "exponent"), ("pyth-hermes", "expo")])
@pytest.mark.parametrize("exponent", [-400, 400, 5000, 10**30, None, "-8", [], "x"])
def test_an_impossible_exponent_is_refused(exponent, source, name, make, server):
    def apply(answer: Any) -> Any:
        rows = answer["parsed"]["priceFeeds"] if source == "pyth-lazer" else [r["price"] for r in answer["parsed"]]
        for row in rows:
            row[name] = exponent
        return answer

    spots = one(make, source)
    server.always = fs.edit(apply)
    spots.refresh()
    assert set(every(spots, source).values()) == {None}


@pytest.mark.parametrize("source", FEEDS)
@pytest.mark.parametrize("factor", [1e-3, 0.5, 1.5, 1e3])
def test_another_symbols_price_is_no_anchor(factor, source, make, server):
    spots = one(make, source)
    asset = FEEDS[source][0]
    close = priced(server, asset, source)
    whole = source in TIMED
    server.always = with_price(source, asset, lambda p: str(round(int(p) * factor) if whole else float(p) * factor))
    spots.refresh()
    anchor = choose_anchor(spots.latest(asset), close, NOW // MINUTE * MINUTE, NOW, 30.0)
    assert anchor == (close, NOW // MINUTE * MINUTE + 60.0, "close")


def test_a_close_that_the_closes_before_contradict_gives_way_to_the_spot_price():
    spot, before = Spot(95_000.0, NOW, "binance"), [95_000.0 + i for i in range(30)]
    label = NOW // MINUTE * MINUTE - MINUTE
    for close in (950_000.0, 950.0, 95_000.0 * 1.3):
        assert choose_anchor(spot, close, label, NOW, 30.0, before=before)[0] == spot.price
        assert choose_anchor(spot, close, label, NOW + 31, 30.0, before=before)[0] == close
    wrong = Spot(950_000.0, NOW, "binance")
    assert choose_anchor(wrong, 95_000.0, label, NOW, 30.0, before=before)[0] == 95_000.0
    assert choose_anchor(wrong, 95_000.0, label, NOW, 30.0, before=before, waiting=94_000.0)[0] == 95_000.0
    assert choose_anchor(wrong, 95_000.0, label, NOW, 30.0, before=before, waiting=949_000.0)[0] == wrong.price


def test_a_spot_price_that_jumps_by_a_splits_ratio_counts_once_it_has_stayed(clock):
    prices = {"NVDAX": 184.0}
    spots = Spots([SpotSource("pyth", ("NVDAX",), lambda: {a: (p, None) for a, p in prices.items()})], clock)

    def anchor() -> float:
        return choose_anchor(spots.latest("NVDAX"), 184.0, int(clock.now()) - 60, clock.now(), 30.0, before=[184.0])[0]

    spots.refresh()
    for price, expected in ((18.4, 18.4), (25.0, 184.0), (2.0, 184.0)):  # 10:1, none, and 92:1, which no share has had
        prices["NVDAX"] = price
        for seconds, found in ((0, 184.0), (5, 184.0), (15, expected), (60, expected)):
            clock.set(NOW + seconds)
            spots.refresh()
            assert anchor() == found
        prices["NVDAX"] = 184.0
        spots.refresh()
    always = Spots([SpotSource("pyth", ("NVDAX",), lambda: {"NVDAX": (18.4, None)})], clock)
    for seconds in (0, 60):  # a source that was never right
        clock.set(NOW + seconds)
        always.refresh()
        assert choose_anchor(always.latest("NVDAX"), 184.0, NOW, clock.now(), 90.0)[0] == 184.0


# --------------------------------------------------------------------------------------------- times


def at_time(source: str, at: Any) -> fs.Fault:
    """An answer with another time of the source's own."""

    def apply(answer: Any) -> Any:
        if source == "pyth-lazer":
            answer["parsed"]["timestampUs"] = str(int(at * 1e6)) if isinstance(at, float | int) else at
        else:
            for row in answer["parsed"]:
                row["price"]["publish_time"] = at
        return answer

    return fs.edit(apply)


@pytest.mark.parametrize("source", TIMED)
@pytest.mark.parametrize("age", [0, 1, 29, 30, 31, 3600, 86_400 * 3])
def test_the_sources_own_time_decides_whether_a_price_is_fresh(age, source, make, server):
    """A market that is closed has an old price, however lately it was asked for."""
    spots = one(make, source)
    asset = FEEDS[source][0]
    server.always = at_time(source, NOW - age)
    spots.refresh()
    spot = spots.latest(asset)
    assert spot is not None
    assert spot.at == NOW - age
    _, at, chosen = choose_anchor(spot, spot.price, NOW // MINUTE * MINUTE - MINUTE, NOW, 30.0)
    assert (chosen, at) == ((source, NOW - age) if age <= 30 else ("close", NOW // MINUTE * MINUTE))


@pytest.mark.parametrize("source", TIMED)
@pytest.mark.parametrize("ahead", [0.5, 5, 86_400, 10**8])
def test_a_price_of_the_future_counts_as_of_now_and_ages_from_then_on(ahead, source, make, server, clock):
    spots = one(make, source)
    asset = FEEDS[source][0]
    server.always = at_time(source, NOW + ahead)
    spots.refresh()
    spot = spots.latest(asset)
    assert spot is not None
    assert spot.at == NOW
    assert choose_anchor(spot, spot.price, NOW - 90, NOW + 30.0, 30.0)[2] == source
    assert choose_anchor(spot, spot.price, NOW - 90, NOW + 30.1, 30.0)[2] == "close"


@pytest.mark.parametrize("source", TIMED)
@pytest.mark.parametrize("at", ["nan", None, "soon", []])
def test_a_price_without_a_usable_time_is_no_anchor(at, source, make, server):
    spots = one(make, source)
    asset = FEEDS[source][0]
    server.always = at_time(source, at)
    spots.refresh()
    spot = spots.latest(asset)
    close = priced(server, asset, source)
    assert choose_anchor(spot, close, NOW - 90, NOW, 30.0)[2] == "close"


@pytest.mark.parametrize("source", FEEDS)
def test_after_our_clock_was_set_back_the_close_counts_until_the_next_look(source, make, clock):
    spots = one(make, source)
    asset = FEEDS[source][0]
    spots.refresh()
    before = spots.latest(asset)
    assert before is not None
    clock.set(NOW - 3600)
    assert choose_anchor(before, before.price, NOW - 3690, clock.now(), 30.0)[2] == "close"
    spots.refresh()
    spot = spots.latest(asset)
    assert spot is not None
    assert choose_anchor(spot, spot.price, NOW - 3690, clock.now(), 30.0)[2] == source


# --------------------------------------------------------------------------------------------- any answer at all

LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["", "1", "-1", "0", "nan", "inf", "1e400", "95000.5", "BTCUSDT", "xyz:GOLD", "1" * 400])
)
JSON = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["parsed", "symbol", "price", "id", "expo"]) | st.text(max_size=2), inner)
    ),
    max_leaves=12,
)
LAZER_ID, HERMES_ID = BOOK.asset("BTC").lazer_id, BOOK.asset("WTIOIL").hermes_id
NEARLY = {
    "binance": st.lists(st.fixed_dictionaries({"symbol": st.just("BTCUSDT") | LEAVES, "price": LEAVES}), max_size=3),
    "hyperliquid-xyz": st.fixed_dictionaries({"xyz:GOLD": LEAVES, "xyz:CL": LEAVES}),
    "pyth-lazer": st.fixed_dictionaries(
        {
            "parsed": st.fixed_dictionaries(
                {
                    "timestampUs": LEAVES | st.just(str(NOW * 10**6)),
                    "priceFeeds": st.lists(
                        st.fixed_dictionaries(
                            {"priceFeedId": st.just(LAZER_ID) | LEAVES, "price": LEAVES, "exponent": LEAVES}
                        ),
                        max_size=3,
                    ),
                }
            )
        }
    ),
    "pyth-hermes": st.fixed_dictionaries(
        {
            "parsed": st.lists(
                st.fixed_dictionaries(
                    {
                        "id": st.just(HERMES_ID) | LEAVES,
                        "price": st.fixed_dictionaries({"price": LEAVES, "expo": LEAVES, "publish_time": LEAVES}),
                    }
                ),
                max_size=3,
            )
        }
    ),
}
SETTINGS = live_settings(Path("unused"), "http://127.0.0.1:9", ("BTC",)).values


@given(data=st.data(), source=st.sampled_from(list(NEARLY)))
def test_any_json_gives_a_usable_price_or_none(data: st.DataObject, source: str):
    spots = make_spots(dict.fromkeys(FEEDS[source], feed_of(source)), SETTINGS, BOOK, SettableClock(NOW))
    answer = data.draw(JSON | NEARLY[source])
    with pytest.MonkeyPatch.context() as patch:
        for name in ("get_json", "post_json"):
            patch.setattr(HttpClient, name, lambda *_, **__: answer)
        spots.refresh()
    for asset, spot in every(spots, source).items():
        assert spot is None or (math.isfinite(spot.price) and spot.price > 0 and spot.at <= NOW)
        price, _, chosen = choose_anchor(spot, 95_000.0, NOW - 90, NOW, 30.0)
        assert chosen in ("close", source), asset
        assert (price == 95_000.0) if chosen == "close" else (spot is not None and price == spot.price)


# --------------------------------------------------------------------------------------------- the anchor

POSITIVE = st.floats(min_value=0, exclude_min=True, allow_infinity=False)
CLOSE = st.floats(1e-6, 1e7)
SECONDS = st.floats(-1e6, 1e6)


@given(price=POSITIVE, close=CLOSE, age=SECONDS, max_age=st.floats(1, 3600), newest=st.integers(-600, 0))
def test_the_anchor_is_the_spot_price_or_the_close_and_nothing_else(price, close, age, max_age, newest):
    spot = Spot(price, NOW - age, "somewhere")
    got = choose_anchor(spot, close, NOW + newest, NOW, max_age)
    assert got in ((price, NOW - age, "somewhere"), (close, NOW + newest + 60.0, "close"))
    if got[2] == "somewhere":
        assert 0 <= NOW - spot.at <= max_age
        assert math.exp(-IMPLAUSIBLE) * (1 - 1e-9) <= price / close <= math.exp(IMPLAUSIBLE) * (1 + 1e-9)


@given(close=CLOSE, move=st.floats(-IMPLAUSIBLE + 1e-9, IMPLAUSIBLE - 1e-9), share=st.floats(0, 0.999))
def test_a_fresh_and_plausible_spot_price_is_the_anchor(close, move, share):
    spot = Spot(close * math.exp(move), NOW - 30.0 * share, "somewhere")
    assert choose_anchor(spot, close, NOW - 90, NOW, 30.0) == (spot.price, spot.at, "somewhere")


@given(price=st.floats(), close=CLOSE)
def test_no_price_whatever_stops_an_answer(price, close):
    got = choose_anchor(Spot(price, NOW, "somewhere"), close, NOW - 90, NOW, 30.0)
    assert got in ((price, NOW, "somewhere"), (close, NOW - 30.0, "close"))
    if not (math.isfinite(price) and price > 0):
        assert got[2] == "close"


def test_without_a_spot_price_the_close_is_the_anchor():
    assert choose_anchor(None, 100.0, NOW - 90, NOW, 30.0) == (100.0, NOW - 30.0, "close")


@pytest.mark.parametrize(
    ("age", "chosen"),
    [(-1e-3, "close"), (0.0, "spot"), (1e-3, "spot"), (29.999, "spot"), (30.0, "spot"), (30.001, "close")],
)
def test_a_spot_price_is_fresh_up_to_its_greatest_age(age: float, chosen: str):
    assert choose_anchor(Spot(101.0, NOW - age, "spot"), 100.0, NOW - 90, NOW, 30.0)[2] == chosen


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize(("move", "chosen"), [(0.0, "spot"), (0.1999, "spot"), (0.2001, "close"), (0.5, "close")])
def test_a_spot_price_is_plausible_up_to_a_fifth_either_way(move: float, chosen: str, sign: int):
    spot = Spot(100.0 * math.exp(sign * move), float(NOW), "spot")
    assert choose_anchor(spot, 100.0, NOW - 90, NOW, 30.0)[2] == chosen
