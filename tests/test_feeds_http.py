"""The HTTP feeds against a local server that misbehaves in every way a real one does."""

from __future__ import annotations

import gzip
import json
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from email.utils import formatdate
from itertools import pairwise
from pathlib import Path
from typing import Any

import faulty_feed as fs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from patience import Patience

from ewmalab.errors import ConfigError, EwmalabError, FeedAuthError, FeedError, FeedUnavailable
from ewmalab.market.bars import Bars
from ewmalab.market.feeds.answers import retry_after
from ewmalab.market.feeds.base import Feed
from ewmalab.market.feeds.binance import BinanceFeed
from ewmalab.market.feeds.candles import HttpFeed
from ewmalab.market.feeds.host import Host, HttpOptions
from ewmalab.market.feeds.http import HttpClient
from ewmalab.market.feeds.hyperliquid import REACH, HyperliquidFeed
from ewmalab.market.feeds.parsing import read_candles
from ewmalab.market.feeds.pyth import PythFeed
from ewmalab.market.feeds.rate_limiter import RateLimiter

START = 1_770_000_000
MINUTES = 300
LATER = START + MINUTES * 60 + 3600
KEY = "sk-0123456789abcdef"
FEEDS = ("pyth", "binance", "hyperliquid")
PATHS = {"pyth": "/v1/shims/tradingview/history", "binance": "/api/v3/klines", "hyperliquid": "/info"}
SYMBOLS = {
    "pyth": {"BTC": "Crypto.BTC/USD", "ETH": "Crypto.ETH/USD"},
    "binance": {"BTC": "BTCUSDT", "ETH": "ETHUSDT"},
    "hyperliquid": {"BTC": "@107", "ETH": "xyz:GOLD"},
}


def random_bars(seed: int, minutes: int = MINUTES, start: int = START) -> Bars:
    rng = np.random.default_rng(seed)
    close = 50_000 * np.exp(np.cumsum(rng.normal(0, 1e-4, minutes)))
    open_ = close * np.exp(rng.normal(0, 1e-5, minutes))
    high, low = np.maximum(open_, close) * 1.0001, np.minimum(open_, close) * 0.9999
    keep = np.ones(minutes, bool)
    keep[[7, 30, 31, 32]] = False  # missing minutes stay missing
    columns = (start + 60 * np.arange(minutes), open_, high, low, close)
    return Bars(*(column[keep] for column in columns))


BARS = {"BTC": random_bars(1), "ETH": random_bars(2)}


class Clock:
    """A clock that only sleeping moves, for many threads."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []
        self._lock = threading.Lock()

    def sleep(self, seconds: float) -> None:
        with self._lock:
            self.slept.append(seconds)
            self.now += seconds

    def monotonic(self) -> float:
        with self._lock:
            return self.now


def waiting_by(clock: Clock, **patience: Any) -> HttpOptions:
    return HttpOptions(**({"sleep": clock.sleep, "monotonic": clock.monotonic} | patience))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[fs.FaultyFeed]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    known = {symbol: BARS[asset] for symbols in SYMBOLS.values() for asset, symbol in symbols.items()}
    with fs.FaultyFeed(known) as running:
        yield running


@pytest.fixture
def make(server: fs.FaultyFeed, clock: Clock) -> Iterator[Callable[..., HttpFeed]]:
    made: list[HttpFeed] = []

    def build(name: str, *, host: str | None = None, api_key: str | None = None, **patience: Any) -> HttpFeed:
        common: dict[str, Any] = {"host": host or server.url, "options": waiting_by(clock, **patience)}
        if name == "pyth":
            made.append(PythFeed(SYMBOLS[name], path=PATHS[name], api_key=api_key, **common))
        else:
            made.append({"binance": BinanceFeed, "hyperliquid": HyperliquidFeed}[name](SYMBOLS[name], **common))
        return made[-1]

    yield build
    for feed in made:
        feed.close()


@pytest.fixture
def client(server: fs.FaultyFeed, clock: Clock) -> Iterator[Callable[..., HttpClient]]:
    made: list[HttpClient] = []

    def build(
        key_setting: str | None = None,
        headers: dict[str, str] | None = None,
        rate: tuple[int, float] = (30, 10.0),
        **patience: Any,
    ) -> HttpClient:
        host = Host(server.url, rate, key_setting=key_setting)
        made.append(HttpClient(host, waiting_by(clock, **patience), headers=headers))
        return made[-1]

    yield build
    for each in made:
        each.close()


def get(feed: HttpFeed, asset: str = "BTC", start: int = START, minutes: int = 120, now: int = LATER) -> Bars:
    return feed.fetch(asset, start, start + 60 * minutes, now)


def expected(asset: str = "BTC", start: int = START, minutes: int = 120, now: int = LATER) -> Bars:
    return BARS[asset].between(start, start + 60 * minutes).known_at(now)


def same(got: Bars, wanted: Bars) -> bool:
    return got.digest() == wanted.digest() and len(got) == len(wanted)


# --- what is asked, and good answers


@pytest.mark.parametrize("name", FEEDS)
def test_good_answer_gives_exactly_the_servers_bars(name, make, server):
    feed = make(name)
    for asset in ("BTC", "ETH"):
        assert same(get(feed, asset), expected(asset))
    assert len(server.seen) == 2
    assert {seen.path for seen in server.seen} == {PATHS[name]}


@pytest.mark.parametrize("name", FEEDS)
def test_feeds_satisfy_the_protocol(name, make, server):
    feed = make(name, host=server.url + "/")
    assert isinstance(feed, Feed)
    assert (feed.name, feed.source, feed.synthetic) == (name, server.host, False)


def test_chunks_are_what_one_call_of_each_host_can_answer():
    assert (PythFeed.chunk, BinanceFeed.chunk, HyperliquidFeed.chunk) == (86_400, 60_000, 300_000)


def test_requests_have_the_hosts_own_terms(make, server):
    for name in FEEDS:
        get(make(name))
    pyth, binance, hyperliquid = server.seen
    assert pyth.query == {"symbol": "Crypto.BTC/USD", "resolution": "1", "from": str(START), "to": str(START + 7200)}
    assert binance.query == {
        "symbol": "BTCUSDT",
        "interval": "1m",
        "startTime": str(START * 1000),
        "endTime": str((START + 7200) * 1000 - 1),
        "limit": "1000",
    }
    assert hyperliquid.method == "POST"
    assert hyperliquid.body == {
        "type": "candleSnapshot",
        "req": {"coin": "@107", "interval": "1m", "startTime": START * 1000, "endTime": (START + 7200) * 1000 - 1},
    }
    assert all("Authorization" not in seen.headers for seen in server.seen)


@pytest.mark.parametrize("name", FEEDS)
def test_a_range_without_candles_gives_empty_bars(name, make):
    assert len(get(make(name), start=START + 30 * 60, minutes=3)) == 0


@pytest.mark.parametrize("name", FEEDS)
@pytest.mark.parametrize("seam", [1, 7, 8, 30, 31, 33, 119])
def test_neighbouring_ranges_join_without_a_gap_or_a_duplicate(name, seam, make):
    feed = make(name)
    parts = [get(feed, minutes=seam), get(feed, start=START + 60 * seam, minutes=120 - seam)]
    assert same(Bars.concatenate(parts), expected())


def test_a_whole_binance_chunk_is_one_request_with_all_of_its_bars(make, server):
    long = random_bars(3, minutes=2100)
    server.bars["BTCUSDT"] = long
    feed, now = make("binance"), START + 10**6
    parts = [feed.fetch("BTC", START + i * 60_000, START + (i + 1) * 60_000, now) for i in range(2)]
    assert same(Bars.concatenate(parts), long.between(START, START + 120_000))
    assert len(server.seen) == 2


# --- nothing unclosed, nothing unasked


@pytest.mark.parametrize("name", FEEDS)
@pytest.mark.parametrize("offset", [0, 1, 29, 59, 60, 61])
@pytest.mark.parametrize("generous", [False, True])
def test_an_unclosed_candle_is_never_returned(name, offset, generous, make, server):
    server.generous = generous
    now = START + 100 * 60 + offset
    got = get(make(name), now=now)
    assert same(got, expected(now=now))
    assert got.timestamp[-1] + 60 <= now < got.timestamp[-1] + 120


@pytest.mark.parametrize("name", FEEDS)
def test_candles_outside_the_range_are_left_out(name, make, server):
    server.generous = True
    start = START + 50 * 60
    assert same(get(make(name), start=start, minutes=20), expected(start=start, minutes=20))


@pytest.mark.parametrize("name", FEEDS)
def test_nothing_is_asked_when_nothing_can_be_closed(name, make, server):
    feed = make(name)
    assert len(get(feed, now=START)) == len(get(feed, now=START + 59)) == len(get(feed, minutes=0)) == 0
    assert server.seen == []
    assert len(get(feed, now=START + 60)) == 1


# --- arguments


BAD_ARGUMENTS = {
    "start off the minute": (START + 1, START + 60, LATER),
    "end off the minute": (START, START + 61, LATER),
    "backwards": (START + 60, START, LATER),
    "negative": (-60, 0, LATER),
    "fraction": (START + 0.5, START + 60, LATER),
    "no number": (START, "now", LATER),
    "now a fraction": (START, START + 60, float(LATER)),
}


@pytest.mark.parametrize("name", FEEDS)
@pytest.mark.parametrize("what", BAD_ARGUMENTS)
def test_bad_ranges_are_refused_without_a_request(name, what, make, server):
    with pytest.raises(FeedError, match=f"^{name} BTC: "):
        make(name).fetch("BTC", *BAD_ARGUMENTS[what])
    assert server.seen == []


@pytest.mark.parametrize("name", FEEDS)
def test_the_longest_range_is_a_chunk(name, make, server):
    feed = make(name)
    feed.fetch("BTC", START, START + feed.chunk, START + feed.chunk + 60)
    assert len(server.seen) == 1
    with pytest.raises(FeedError, match=f"limit of {feed.chunk} s"):
        feed.fetch("BTC", START, START + feed.chunk + 60, LATER + 10**6)
    assert len(server.seen) == 1


@pytest.mark.parametrize("name", FEEDS)
def test_an_unknown_asset_is_refused_with_the_list_of_known_ones(name, make, server):
    with pytest.raises(FeedError, match=rf"^{name} DOGE: .*BTC, ETH"):
        get(make(name), "DOGE")
    assert server.seen == []


# --- faults that pass


TRANSIENT = {
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
    "broken gzip": fs.status(200, b"no gzip at all", Content_Encoding="gzip"),
    "204": fs.status(204),
}
CAUSES = {
    "500": "HTTP 500",
    "502 with a page": "HTTP 502",
    "503": "HTTP 503",
    "hang": "no answer within 0.25 s",
    "reset": "ConnectionResetError",
    "reset in the body": "broke off after .*ConnectionResetError",
    "truncated": "broke off after .*IncompleteRead",
    "truncated chunk": "broke off after .*IncompleteRead",
    "HTML": "the body is HTML",
    "empty": "the body is empty",
    "not JSON": "the body is not JSON",
    "broken gzip": "broke off",
    "204": "the body is empty",
}


def patience(server: fs.FeedServer) -> Patience:
    return Patience.of(lambda: (server._plan[0] if server._plan else server.always) is fs.HANG)


@pytest.mark.parametrize("name", FEEDS)
@pytest.mark.parametrize("what", TRANSIENT)
def test_three_faults_then_success(name, what, make, server, clock):
    server.plan(*[TRANSIENT[what]] * 3)
    assert same(get(make(name, timeout=patience(server))), expected())
    assert len(server.seen) == 4
    assert clock.slept == [0.5, 1.0, 2.0]
    assert all(seen == server.seen[0] for seen in server.seen)


@pytest.mark.parametrize("name", FEEDS)
@pytest.mark.parametrize("what", TRANSIENT)
def test_only_faults_end_after_exactly_the_attempts(name, what, make, server, clock):
    server.always = TRANSIENT[what]
    with pytest.raises(FeedUnavailable, match=CAUSES[what]) as caught:
        get(make(name, timeout=patience(server), attempts=3))
    assert len(server.seen) == 3
    assert clock.slept == [0.5, 1.0]
    text = str(caught.value)
    assert text.startswith(server.host + PATHS[name])
    assert "3 attempts" in text


def test_five_attempts_by_default_and_pauses_double_up_to_the_limit(make, server, clock):
    server.always = fs.status(500)
    with pytest.raises(FeedUnavailable, match="5 attempts"):
        get(make("pyth"))
    assert len(server.seen) == 5
    assert clock.slept == [0.5, 1.0, 2.0, 4.0]
    clock.slept.clear()
    with pytest.raises(FeedUnavailable, match="8 attempts"):
        get(make("pyth", attempts=8, max_backoff=3.0))
    assert clock.slept == [0.5, 1.0, 2.0, 3.0, 3.0, 3.0, 3.0]


def test_different_faults_share_the_attempts(make, server):
    server.plan(fs.RESET, fs.HTML, fs.status(503), fs.TRUNCATE)
    assert same(get(make("binance")), expected())
    assert len(server.seen) == 5


def test_a_closed_port_is_unavailable(make, clock):
    with fs.FaultyFeed({}) as gone:
        address = gone.url
    with pytest.raises(FeedUnavailable, match="the connection failed"):
        get(make("binance", host=address, attempts=2))
    assert clock.slept == [0.5]


def test_a_trickling_answer_ends_at_the_deadline(server):
    server.always = fs.DRIP  # a byte every 10 ms never trips the read timeout
    feed = BinanceFeed(SYMBOLS["binance"], host=server.url, options=HttpOptions(attempts=1, deadline=0.1))
    with closing(feed), pytest.raises(FeedUnavailable, match=r"not complete after 0\.1 s"):
        get(feed)
    assert len(server.seen) == 1


def test_gzip_is_understood(client, server):
    server.always = fs.status(200, gzip.compress(b'{"a": [1, 2.5]}'), Content_Encoding="gzip")
    assert client().get_json("/x") == {"a": [1, 2.5]}


@pytest.mark.parametrize("packed", [False, True])
def test_an_answer_beyond_the_size_cap_is_refused_at_once(packed, client, server):
    long = b'"' + b"a" * 200_000 + b'"'
    server.always = fs.status(200, gzip.compress(long), Content_Encoding="gzip") if packed else fs.body(long)
    with pytest.raises(FeedError, match="limit of 100000 bytes") as caught:
        client(max_bytes=100_000).get_json("/x")
    assert not isinstance(caught.value, FeedUnavailable)
    assert len(server.seen) == 1
    assert len(client(max_bytes=len(long)).get_json("/x")) == 200_000


# --- refusals


@pytest.mark.parametrize("name", FEEDS)
@pytest.mark.parametrize("code", [400, 404, 405, 410, 422, 451])
def test_other_refusals_are_final(name, code, make, server):
    server.always = fs.status(code, b'{"code": -1121, "msg": "Invalid symbol."}')
    with pytest.raises(FeedError, match=f"{server.host}{PATHS[name]}: HTTP {code}") as caught:
        get(make(name))
    assert type(caught.value) is FeedError
    assert ("Invalid symbol" in str(caught.value)) == (code != 451)
    assert len(server.seen) == 1


@pytest.mark.parametrize("code", [401, 403])
def test_a_refused_key_names_the_variable(code, make, server):
    server.always = fs.status(code)
    with pytest.raises(FeedAuthError, match=f"HTTP {code}.*PYTH_API_KEY"):
        get(make("pyth", api_key=KEY))
    with pytest.raises(FeedAuthError, match=f"HTTP {code}.*takes no key; set BINANCE_API_HOST"):
        get(make("binance"))
    with pytest.raises(FeedAuthError, match=f"HTTP {code}.*Hyperliquid's host"):
        get(make("hyperliquid"))
    assert len(server.seen) == 3


def test_a_refusal_whose_body_breaks_off_is_still_that_refusal(client, server):
    server.always = fs.status(401, b"no gzip", Content_Encoding="gzip")
    with pytest.raises(FeedAuthError, match="HTTP 401"):
        client(key_setting="X").get_json("/x")
    assert len(server.seen) == 1


def test_451_names_the_host_override(make, server):
    server.always = fs.status(451)
    with pytest.raises(FeedError, match=r"set BINANCE_API_HOST .*data-api\.binance\.vision"):
        get(make("binance"))


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(code, make, server):
    with fs.FaultyFeed({}) as other:
        server.always = fs.status(code, Location=other.url + "/elsewhere")
        with pytest.raises(FeedError, match=f"HTTP {code}.*set Pyth's host"):
            get(make("pyth", api_key=KEY))
        assert other.seen == []
    assert len(server.seen) == 1


# --- silence


@pytest.mark.parametrize("name", FEEDS)
def test_429_means_silence_for_as_long_as_stated(name, make, server, clock):
    server.plan(*[fs.status(429, Retry_After="7")] * 3)
    assert same(get(make(name)), expected())
    assert len(server.seen) == 4
    assert sum(clock.slept) == pytest.approx(21)  # the usual pause counts towards the silence


@pytest.mark.parametrize("name", FEEDS)
def test_only_429_ends_after_exactly_the_attempts_without_a_last_wait(name, make, server, clock):
    server.always = fs.status(429)
    with pytest.raises(FeedUnavailable, match=r"5 attempts.*HTTP 429"):
        get(make(name))
    assert len(server.seen) == 5
    assert sum(clock.slept) == pytest.approx(4 * 60)


def http_date(when: float) -> str:
    return formatdate(when, usegmt=True)


SILENCES = {
    "seconds": ({"Retry_After": "13"}, 13),
    "zero": ({"Retry_After": "0"}, 0.5),  # what remains is the pause between attempts
    "not stated": ({}, 60),
    "date": ({"Retry_After": http_date(LATER + 45), "Date": http_date(LATER)}, 45),
    "date in the past": ({"Retry_After": http_date(LATER - 45), "Date": http_date(LATER)}, 0.5),
    "date without a present": ({"Retry_After": http_date(LATER + 45)}, 60),
    "date, garbled present": ({"Retry_After": http_date(LATER + 45), "Date": "today"}, 60),
    "garbled": ({"Retry_After": "soon"}, 60),
    "negative": ({"Retry_After": "-3"}, 60),
    "fraction": ({"Retry_After": "1.5"}, 60),
}


@pytest.mark.parametrize("what", SILENCES)
def test_every_form_of_retry_after(what, make, server, clock):
    headers, seconds = SILENCES[what]
    server.plan(fs.status(429, **headers))
    assert same(get(make("binance")), expected())
    assert sum(clock.slept) == pytest.approx(seconds)


@given(st.text(), st.text())
def test_no_retry_after_breaks_its_parser(stated, present):
    seconds = retry_after({"Retry-After": stated, "Date": present})
    assert seconds is not None
    assert seconds >= 0


def test_418_silences_binance_and_is_an_ordinary_refusal_elsewhere(make, server, clock):
    server.plan(fs.status(418, Retry_After="30"))
    assert same(get(make("binance")), expected())
    assert sum(clock.slept) == pytest.approx(30)
    server.plan(fs.status(418, Retry_After="30"))
    with pytest.raises(FeedError, match="HTTP 418, the request was refused"):
        get(make("pyth"))


def test_503_is_silent_when_it_says_so(make, server, clock):
    server.plan(fs.status(503, Retry_After="9"))
    get(make("pyth"))
    assert sum(clock.slept) == pytest.approx(9)


def test_silence_outlasts_the_call_and_holds_for_every_asset(make, server, clock):
    server.plan(fs.status(429, Retry_After="20"))
    feed = make("hyperliquid", attempts=1)
    with pytest.raises(FeedUnavailable):
        get(feed, "BTC")
    assert clock.slept == []
    assert same(get(feed, "ETH"), expected("ETH"))
    assert clock.slept == [20.0]


def test_silence_holds_for_all_threads(make, server):
    class Stamped(Clock):
        def sleep(self, seconds: float) -> None:
            assert len(server.seen) == 1, "somebody asked during the silence"
            super().sleep(seconds)

    clock = Stamped()
    feed = make("pyth", sleep=clock.sleep, monotonic=clock.monotonic, attempts=1)
    server.plan(fs.status(429, Retry_After="20"))
    with pytest.raises(FeedUnavailable):
        get(feed)
    begin = threading.Barrier(6)

    def work(_: int) -> float:
        begin.wait()
        get(feed)
        return clock.now

    with ThreadPoolExecutor(6) as pool:
        ends = list(pool.map(work, range(6)))
    assert min(ends) >= 1020
    assert len(server.seen) == 7


def test_a_silence_too_long_to_wait_for_fails_at_once_and_asks_nothing(make, server, clock):
    server.plan(fs.status(418, Retry_After="86400"))
    feed = make("binance")
    with pytest.raises(FeedUnavailable, match=r"rate-limited for another 86\d\d\d s"):
        get(feed)
    with pytest.raises(FeedUnavailable, match="rate-limited"):
        get(feed)
    assert len(server.seen) == 1
    assert sum(clock.slept) <= 0.5
    clock.now += 86_400
    assert same(get(feed), expected())


# --- the rate limit


def test_the_window_never_holds_more_than_the_limit(client, clock):
    asked = client(rate=(3, 10.0))
    for _ in range(10):
        asked.get_json(PATHS["pyth"], {"symbol": "Crypto.BTC/USD", "from": START, "to": START + 60})
    assert clock.slept == [10.0, 10.0, 10.0]
    assert clock.now == 1030.0


def test_the_limit_is_shared_by_threads():
    clock, entered, lock = Clock(), [], threading.Lock()
    gate = RateLimiter(5, 1.0, sleep=clock.sleep, monotonic=clock.monotonic)

    def work(_: int) -> None:
        for _ in range(10):
            assert gate.enter(0.0)
            with lock:
                entered.append(clock.now)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert len(entered) == 80
    # the clock moves only when somebody sleeps, so 80 turns at 5 a second need 15 full windows
    assert clock.now >= 1000.0 + 15


def test_the_limit_holds_in_real_time():
    gate = RateLimiter(10, 0.05, sleep=time.sleep, monotonic=time.monotonic)
    began = time.monotonic()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: gate.enter(0.0), range(60)))
    assert time.monotonic() - began >= 5 * 0.05


@given(st.lists(st.floats(0, 3), min_size=1, max_size=60), st.integers(1, 5), st.floats(0.1, 4))
def test_any_window_holds_at_most_the_limit(pauses, limit, period):
    clock, entered = Clock(), []
    gate = RateLimiter(limit, period, sleep=clock.sleep, monotonic=clock.monotonic)
    for pause in pauses:
        clock.now += pause
        assert gate.enter(0.0)
        entered.append(clock.now)
    assert all(later >= first + period for first, later in zip(entered, entered[limit:], strict=False))
    assert all(a <= b for a, b in pairwise(entered))


# --- keys


def all_text(error: BaseException) -> str:
    return "".join(traceback.format_exception(error)) + repr(error)


ECHO = json.dumps({"s": "error", "errmsg": f"bad token Bearer {KEY}", "t": [KEY]}).encode()
ANY_FAULT = TRANSIENT | {
    "400": fs.status(400, ECHO),
    "401": fs.status(401, ECHO),
    "403": fs.status(403, KEY.encode() * 40),
    "429": fs.status(429, ECHO),
    "451": fs.status(451, ECHO),
    "302": fs.status(302, ECHO, Location=f"/{KEY}?token={KEY}"),
    "errmsg": fs.body(ECHO),
    "status echo": fs.body(json.dumps({"s": KEY}).encode()),
    "row echo": fs.body(json.dumps({"s": "ok", **{c: [KEY * 30] for c in "tohlc"}}).encode()),
    "bare echo": fs.body(json.dumps(KEY * 20).encode()),
}


@pytest.mark.parametrize("what", ANY_FAULT)
def test_the_key_never_shows(what, make, server):
    server.always = ANY_FAULT[what]
    feed = make("pyth", api_key=KEY, timeout=patience(server), attempts=2)
    with pytest.raises(FeedError) as caught:
        get(feed)
    assert server.seen[0].headers["Authorization"] == f"Bearer {KEY}"
    assert KEY not in all_text(caught.value)
    assert KEY[:6] not in str(caught.value)
    assert KEY not in repr(feed) + feed.source


def test_a_key_in_a_clients_headers_never_shows(client, server):
    server.always = fs.status(400, ECHO)
    with pytest.raises(FeedError, match="bad token") as caught:
        client(headers={"X-Api-Key": KEY}).get_json("/x")
    assert server.seen[0].headers["X-Api-Key"] == KEY
    assert KEY not in all_text(caught.value)


@pytest.mark.parametrize("key", [None, "", "  "])
def test_pyth_pro_needs_a_key_and_says_where_to_put_it(key):
    feed = PythFeed(SYMBOLS["pyth"], api_key=key)
    assert feed.source == "pyth.dourolabs.app"
    with pytest.raises(FeedAuthError, match="PYTH_API_KEY"):
        get(feed)


@pytest.mark.parametrize("key", ["abcdefgh\nijkl", "abcdefgh ijkl", "schlüssel", "abcdefgh\x00"])
def test_a_malformed_key_is_refused_without_showing_it(key):
    with pytest.raises(FeedAuthError, match="PYTH_API_KEY") as caught:
        PythFeed(SYMBOLS["pyth"], api_key=key)
    assert key not in all_text(caught.value)
    with pytest.raises(ConfigError, match="X-Api-Key") as refused:
        HttpClient(Host("http://127.0.0.1:9"), headers={"X-Api-Key": key + "\n"})
    assert key not in all_text(refused.value)


def test_netrc_does_not_replace_the_key(make, server, tmp_path: Path, monkeypatch):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password something\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    get(make("pyth", api_key=KEY))
    assert server.seen[0].headers["Authorization"] == f"Bearer {KEY}"


# --- the client's arguments


@pytest.mark.parametrize(
    "url", ["", "127.0.0.1:80", "ftp://a", "https://", "https://me:secret@a", "http://a:99999", "http://a?b=c"]
)
def test_unusable_hosts_are_refused(url):
    with pytest.raises(ConfigError, match="http") as caught:
        HttpClient(Host(url))
    assert "secret" not in str(caught.value)


def test_unusable_numbers_are_refused():
    with pytest.raises(ConfigError, match="attempts"):
        HttpClient(Host("http://a"), HttpOptions(attempts=0))
    with pytest.raises(ConfigError, match="rate"):
        HttpClient(Host("http://a", (0, 1.0)))


# --- answers of the wrong shape


SHAPES = {
    "null": b"null",
    "number": b"7",
    "text": b'"ok"',
    "object": b'{"a": 1}',
    "list of numbers": b"[1, 2]",
    "list of lists": b"[[1], [2]]",
    "list of objects": b'[{"t": 1}]',
    "status alone": b'{"s": "ok"}',
    "columns no lists": b'{"s": "ok", "t": 1, "o": 1, "h": 1, "l": 1, "c": 1}',
    "unknown status": b'{"s": "maybe", "t": []}',
    "rows in no_data": b'{"s": "no_data", "t": [60]}',
    "error": b'{"s": "error", "errmsg": "unknown symbol"}',
}


@pytest.mark.parametrize("name", FEEDS)
@pytest.mark.parametrize("what", SHAPES)
def test_wrong_shapes_are_refused_at_once(name, what, make, server):
    server.always = fs.body(SHAPES[what])
    with pytest.raises(FeedError, match=f"^{name} BTC: "):
        get(make(name))
    assert len(server.seen) == 1


def test_pyths_error_message_is_passed_on(make, server):
    server.always = fs.body(SHAPES["error"])
    with pytest.raises(FeedError, match=r"'Crypto\.BTC/USD': unknown symbol"):
        get(make("pyth"))


@pytest.mark.parametrize("answer", [b'{"s": "no_data"}', b'{"s": "no_data", "t": []}'])
def test_pyths_no_data_is_empty(answer, make, server):
    server.always = fs.body(answer)
    assert same(get(make("pyth")), Bars.empty())


@pytest.mark.parametrize(("field", "value"), [("s", "@1"), ("s", None), ("i", "5m")])
def test_hyperliquids_other_coin_or_interval_is_refused(field, value, make, server):
    server.always = fs.edit(lambda rows: [row | {field: value} if i == 4 else row for i, row in enumerate(rows)])
    with pytest.raises(FeedError, match=r"^hyperliquid BTC: row 4 is for .*@107.*1m"):
        get(make("hyperliquid"))


def test_hyperliquids_empty_answer_beyond_its_reach_is_an_error(make, server):
    feed, now = make("hyperliquid"), START + 10 * 86_400
    server.bars["@107"] = Bars.empty()
    with pytest.raises(FeedError, match=f"5000 are kept; fetch from {now - REACH} on"):
        get(feed, now=now)
    assert len(feed.fetch("BTC", now - REACH, now - REACH + 60, now)) == 0
    server.bars["@107"] = BARS["BTC"]  # what is still there is taken
    assert same(get(feed, now=now), expected())


# --- bad rows


KEYS = {
    "pyth": dict(zip(("timestamp", "open", "high", "low", "close"), "tohlc", strict=True)),
    "binance": {"timestamp": 0, "open": 1, "high": 2, "low": 3, "close": 4, "last": 6},
    "hyperliquid": {"timestamp": "t", "open": "o", "high": "h", "low": "l", "close": "c", "last": "T"},
}


def cell(name: str, column: str, row: int, change: Callable[[Any], Any]) -> fs.Fault:
    def apply(answer: Any) -> Any:
        key = KEYS[name][column]
        if name == "pyth":
            answer[key][row] = change(answer[key][row])
        else:
            answer[row][key] = change(answer[row][key])
        return answer

    return fs.edit(apply)


def rows(name: str, change: Callable[[list[Any]], list[Any]]) -> fs.Fault:
    def apply(answer: Any) -> Any:
        if name == "pyth":
            return {key: value if key == "s" else change(value) for key, value in answer.items()}
        return change(answer)

    return fs.edit(apply)


def without(*rows: int) -> Bars:
    """Return the bars of the usual range without some rows."""
    keep = np.ones(len(expected()), bool)
    keep[list(rows)] = False
    return Bars.from_columns({name: column[keep] for name, column in expected().columns().items()})


def aside(feed: HttpFeed) -> list[tuple[int, str]]:
    """Return row and reason of the candles that the last answer for BTC had wrong."""
    first = int(expected().timestamp[0])
    return [((bar.label - first) // 60, bar.reason) for bar in feed.malformed["BTC"]]


@pytest.mark.parametrize("name", FEEDS)
@pytest.mark.parametrize("column", ["open", "high", "low", "close"])
@pytest.mark.parametrize("value", [None, True, "abc", "", "nan", "inf", "1_000", " 1", "0x1", [], {}, "1e999"])
def test_a_price_that_is_no_number_is_a_missing_minute(name, column, value, make, server):
    server.always = cell(name, column, 5, lambda _: value)
    feed = make(name)
    assert same(get(feed), without(5))
    assert [(row, reason.split(" is ")[0]) for row, reason in aside(feed)] == [(5, column)]
    server.always = None
    assert same(get(feed), expected())
    assert aside(feed) == []


@pytest.mark.parametrize("name", FEEDS)
@pytest.mark.parametrize("value", [None, True, "abc", 1.5, -60_000, 2**63, [], "1770000000"])
def test_a_label_that_is_no_time_is_a_missing_minute(name, value, make, server):
    server.always = cell(name, "timestamp", 5, lambda _: value)
    feed = make(name)
    assert same(get(feed), without(5))


@pytest.mark.parametrize("name", FEEDS)
@pytest.mark.parametrize(
    ("column", "value", "rule"),
    [
        ("close", 0, "not positive"),
        ("low", -1, "not positive"),
        ("high", 1, "high below low"),
        ("close", 1e9, "close outside"),
        ("open", 1e9, "open outside"),
    ],
)
def test_impossible_prices_are_a_missing_minute(name, column, value, rule, make, server):
    server.always = cell(name, column, 5, lambda _: value)
    feed = make(name)
    assert same(get(feed), without(5))
    ((row, reason),) = aside(feed)
    assert row == 5
    assert rule in reason


@pytest.mark.parametrize("name", FEEDS)
@pytest.mark.parametrize("count", [24, 115])
def test_many_malformed_candles_are_another_format(name, count, make, server):
    def spoil(answer: Any) -> Any:
        for row in range(count):
            if name == "pyth":
                answer["c"][row] = None
            else:
                answer[row][KEYS[name]["close"]] = None
        return answer

    server.always = fs.edit(spoil)
    at = int(expected().timestamp[0])
    with pytest.raises(FeedError, match=rf"^{name} BTC: {count} of .*row 0 \(timestamp {at}\): close is null"):
        get(make(name))


@pytest.mark.parametrize("name", FEEDS)
@pytest.mark.parametrize(
    "change", [lambda x: [*x[:4], *x[3:]], lambda x: x + x, lambda x: x[::-1], lambda x: [x[1], x[0], *x[2:]]]
)
def test_repeated_candles_and_any_order_give_the_same_bars(name, change, make, server):
    server.always = rows(name, change)
    feed = make(name)
    assert same(get(feed), expected())
    assert aside(feed) == []


@pytest.mark.parametrize("name", FEEDS)
def test_candles_that_differ_in_one_minute_are_both_wrong(name, make, server):
    def double(answer: Any) -> Any:
        first = {"pyth": lambda: None, "binance": lambda: list(answer[5]), "hyperliquid": lambda: dict(answer[5])}[
            name
        ]()
        if name == "pyth":
            for key in "tohlc":
                answer[key].insert(5, answer[key][5])
            answer["c"][5] = answer["l"][5]
        else:
            first[KEYS[name]["close"]] = first[KEYS[name]["low"]]
            answer.insert(5, first)
        return answer

    server.always = fs.edit(double)
    feed = make(name)
    assert same(get(feed), without(5))
    assert {reason for _, reason in aside(feed)} == {"duplicate timestamp"}


@pytest.mark.parametrize("name", FEEDS)
def test_a_candle_off_the_minute_is_a_missing_minute(name, make, server):
    def later(answer: Any) -> Any:
        if name == "pyth":
            answer["t"][5] += 30
        else:
            for column in ("timestamp", "last"):
                answer[5][KEYS[name][column]] += 30_000
        return answer

    server.always = fs.edit(later)
    feed = make(name)
    assert same(get(feed), without(5))
    ((row, reason),) = aside(feed)
    assert row == 5
    assert "not a multiple of 60 s" in reason


@pytest.mark.parametrize("name", FEEDS)
def test_candles_of_a_longer_interval_are_refused(name, make, server):
    server.bars = dict.fromkeys(server.bars, Bars.from_columns({k: v[40::5] for k, v in BARS["BTC"].columns().items()}))
    with pytest.raises(FeedError, match=f"^{name} BTC: .*bars are 300 s apart"):
        get(make(name), minutes=MINUTES)


@pytest.mark.parametrize("name", ["binance", "hyperliquid"])
@pytest.mark.parametrize("off", [240_000, 1])
def test_a_candle_that_does_not_last_a_minute_is_a_missing_minute(name, off, make, server):
    server.always = cell(name, "last", 5, lambda last: last + off)
    feed = make(name)
    assert same(get(feed), without(5))
    ((row, reason),) = aside(feed)
    assert row == 5
    assert reason.startswith("close time")


@pytest.mark.parametrize("column", "tohlc")
def test_columns_of_unequal_length_are_refused(column, make, server):
    server.always = fs.edit(lambda answer: answer | {column: answer[column][:-2]})
    with pytest.raises(FeedError, match=r"^pyth BTC: columns differ in length, from row 115 on"):
        get(make("pyth"))


@pytest.mark.parametrize("column", "tohlc")
def test_a_missing_column_is_refused(column, make, server):
    server.always = fs.edit(lambda answer: {k: v for k, v in answer.items() if k != column})
    with pytest.raises(FeedError, match="is null, not a list"):
        get(make("pyth"))


@pytest.mark.parametrize("name", ["binance", "hyperliquid"])
@pytest.mark.parametrize("row", [None, 7, "x", []])
def test_a_row_that_is_no_candle_is_a_missing_minute(name, row, make, server):
    server.always = rows(name, lambda x: [*x[:6], row, *x[7:]])
    feed = make(name)
    assert same(get(feed), without(6))
    ((place, reason),) = aside(feed)
    assert place == 6
    assert " is not a " in reason


# --- any answer at all


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(list("stohlciT")) | st.text(max_size=2), inner, max_size=9)
    ),
    max_leaves=20,
)
CELL = st.none() | st.sampled_from([START, START + 60, START * 1000, 1.5, "1.5", "x", -1, 0, True, 2**70 * 1.0])
TABLE = st.fixed_dictionaries({"s": st.just("ok"), **{c: st.lists(CELL, max_size=3) for c in "tohlc"}})


class Scripted(HttpClient):
    """A client whose host answers what it is told."""

    answer: Any = None

    def get_json(self, *_: Any, **__: Any) -> Any:
        return self.answer

    post_json = get_json


@given(JSON | TABLE | st.lists(st.lists(CELL, min_size=7, max_size=7), max_size=3), st.sampled_from(FEEDS))
def test_any_json_gives_bars_or_an_error_of_ours(answer, name):
    client = Scripted(Host("http://127.0.0.1:9"))
    client.answer = answer
    kind = {"binance": BinanceFeed, "hyperliquid": HyperliquidFeed}
    feed = PythFeed(SYMBOLS["pyth"], host="http://127.0.0.1:9", api_key=None) if name == "pyth" else None
    feed = feed or kind[name](SYMBOLS[name])
    feed._client = client
    trouble, bars = "", Bars.empty()
    try:
        bars = get(feed)
    except EwmalabError as error:
        trouble = str(error)
    assert not trouble or trouble.startswith(f"{name} BTC: ")
    assert len(trouble) < 1000
    assert ((bars.timestamp >= START) & (bars.timestamp < START + 7200)).all()


@given(st.integers(-5, MINUTES + 5), st.integers(0, 400))
def test_the_parser_returns_exactly_the_rows_of_the_range(first, minutes):
    columns = {name: column.tolist() for name, column in BARS["BTC"].columns().items()}
    start, end = START + first * 60, START + (first + minutes) * 60
    got = read_candles(columns, feed="f", asset="a", start=start, end=end).bars
    assert same(got, BARS["BTC"].between(start, end))


def test_few_sparse_rows_are_a_quiet_market_not_a_wrong_interval():
    def taken(times: list[int]) -> int:
        columns = {"timestamp": times, **dict.fromkeys(("open", "high", "low", "close"), [1.0] * len(times))}
        return len(read_candles(columns, feed="f", asset="a", start=START, end=START + 86_400).bars)

    assert taken([START + 300 * i for i in range(9)]) == 9
    with pytest.raises(FeedError, match="bars are 300 s apart"):  # one odd row does not make minute bars
        taken([START + 300 * i for i in range(99)] + [START + 300 * 99 + 60])
    with pytest.raises(FeedError, match=f"^f a: from timestamp {START} on, bars are 120 s apart, not 60 s"):
        taken([START + 120 * i for i in (0, 1, 2, 4, 5, 7, 8, 9, 12, 20)])
