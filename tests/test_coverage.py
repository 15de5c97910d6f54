"""What is covered: listing, verifying and replaying agree on holes, and tell closed markets from missing data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ewmalab import api
from ewmalab.errors import MissingDataError
from ewmalab.market.bars import Bars
from ewmalab.market.cache import Cache
from ewmalab.market.coverage import Coverage, coverage_of
from ewmalab.market.fetch import fetch_missing
from ewmalab.market.files.importer import Imported, import_file
from ewmalab.market.files.search import BarFile
from ewmalab.market.inventory import list_cached
from ewmalab.market.partition import Provenance
from ewmalab.market.ranges import Range, minutes, runs, subtract, union
from ewmalab.market.sessions import closures
from ewmalab.replay.data import Needs, find_data
from ewmalab.rulebook import load_rulebook
from ewmalab.times import DAY, HOUR, day_start

THURSDAY = day_start("2026-01-15")
WEEK = (THURSDAY, THURSDAY + 7 * DAY)
NOW = THURSDAY + 30 * DAY


def bars_at(times: np.ndarray) -> Bars:
    moves = np.random.default_rng(3).normal(0, 3e-4, len(times))
    return Bars.from_closes(times, 100 * np.exp(np.cumsum(moves)))


def open_bars(calendar: str, span: Range = WEEK, without: list[Range] | None = None) -> Bars:
    """Return bars on every minute on which a market is open, but for some."""
    ranges = subtract([span], union([*closures(calendar, *span), *(without or [])]))
    return bars_at(np.concatenate([np.arange(a, b, 60) for a, b in ranges]))


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def take(cache: Cache, feed: str, asset: str, bars: Bars, folder: Path) -> Imported:
    rows = [f"{t},{c!r}" for t, c in zip(bars.timestamp.tolist(), bars.close.tolist(), strict=True)]
    path = folder / f"{asset}.csv"
    path.write_text("\n".join(["timestamp,close", *rows]) + "\n")
    (done,) = import_file(cache, BarFile(path, feed, asset), now=NOW, rulebook=load_rulebook())
    return done


def found(cache: Cache, feed: str, asset: str) -> Coverage:
    hours = load_rulebook().asset(asset).hours.get(feed)
    (one,) = list_cached(cache, feed, asset, hours=lambda *_: hours)
    return one.coverage


MARKETS = pytest.mark.parametrize(
    ("feed", "asset", "calendar"),
    [
        ("file", "NVDAX", "XNYS"),
        ("hyperliquid", "AAPLX", "XNYS"),
        ("hyperliquid", "XAU", "us_futures"),
        ("hyperliquid", "WTIOIL", "us_futures"),
        ("hyperliquid", "SP500", "CMES"),
    ],
)


@MARKETS
def test_a_file_of_a_market_with_hours_has_no_holes_but_those_in_its_sessions(cache, tmp_path, feed, asset, calendar):
    lost = (THURSDAY + 16 * HOUR, THURSDAY + 16 * HOUR + 1800)  # 11:00 in New York
    bars = open_bars(calendar, without=[lost])
    done = take(cache, feed, asset, bars, tmp_path)
    got = found(cache, feed, asset)
    assert (done.gap_minutes, done.closed_minutes) == (30, minutes(got.closed))
    ends = int(bars.timestamp[0]), int(bars.timestamp[-1]) + 60
    assert got == Coverage(len(bars), (), tuple(closures(calendar, *ends)), (lost,))
    assert cache.missing(feed, asset, *ends) == [lost]


@MARKETS
def test_a_feed_that_was_asked_has_closed_minutes_and_missing_ones(cache, feed, asset, calendar):
    quiet = (THURSDAY + 16 * HOUR, THURSDAY + 16 * HOUR + 120)
    bars = open_bars(calendar, without=[quiet])
    cache.write(feed, asset, bars, [WEEK], Provenance("a host", NOW))
    got = found(cache, feed, asset)
    assert got == Coverage(len(bars), (quiet,), tuple(closures(calendar, *WEEK)), ())


def test_bars_of_a_closed_market_are_bars_like_others(cache):
    bars = bars_at(np.arange(*WEEK, 60))  # a perpetual that trades all week
    cache.write("hyperliquid", "XAU", bars, [WEEK], Provenance("a host", NOW))
    assert found(cache, "hyperliquid", "XAU") == Coverage(len(bars), (), (), ())


@pytest.mark.parametrize(("feed", "asset"), [("pyth", "AAPLX"), ("pyth", "XAU"), ("binance", "BTC")])
def test_a_market_that_never_closes_has_missing_minutes_on_weekends(cache, tmp_path, feed, asset):
    bars = open_bars("XNYS")
    take(cache, feed, asset, bars, tmp_path)
    got = found(cache, feed, asset)
    assert got.closed == got.missing == ()
    assert len(got.holes) > 2


class Feed:
    """A feed that has some bars."""

    name, source, chunk, reach, synthetic, complete = "hyperliquid", "a host", DAY, None, False, False

    def __init__(self, bars: Bars) -> None:
        self.bars = bars

    def fetch(self, asset: str, start: int, end: int, now: int) -> Bars:
        return self.bars.between(start, end).known_at(now)


def test_a_fetch_on_a_weekend_finds_the_market_closed_and_asks_on_when_it_opens(cache):
    feed, friday = Feed(open_bars("us_futures")), THURSDAY + DAY + 22 * HOUR  # the close
    key = ("hyperliquid", "XAU")
    for hours in (10, 20):
        now = friday + hours * HOUR
        got = fetch_missing(cache, feed, "XAU", THURSDAY, now, now=now, calendar="us_futures")
        assert got.unanswered == []
        assert cache.missing(*key, THURSDAY, now) == []
    now = friday + 50 * HOUR  # an hour after the opening
    fetch_missing(cache, feed, "XAU", THURSDAY, now, now=now, calendar="us_futures")
    assert cache.read(*key, *WEEK).digest() == feed.bars.known_at(now).digest()


def test_a_quiet_minute_of_a_market_that_trades_while_its_underlying_is_closed_is_asked_for_again(cache):
    now = THURSDAY + DAY + 30 * HOUR  # a Saturday
    feed = Feed(bars_at(np.arange(THURSDAY, now - 120, 60)))
    got = fetch_missing(cache, feed, "XAU", THURSDAY, now, now=now, calendar="us_futures")
    assert got.unanswered == [(now - 120, now)]


def test_an_empty_answer_about_a_weekend_amid_cached_bars_is_no_answer(cache):
    bars = open_bars("us_futures")
    weekend = (THURSDAY + DAY + 22 * HOUR, THURSDAY + 3 * DAY + 23 * HOUR)
    cache.write("hyperliquid", "XAU", bars, subtract([WEEK], [weekend]), Provenance("a host", NOW))
    got = fetch_missing(cache, Feed(bars_at(np.arange(0))), "XAU", *WEEK, now=NOW, calendar="us_futures")
    assert got.unanswered == [weekend]


def test_silence_before_the_close_is_not_taken_for_a_closed_market(cache):
    friday = THURSDAY + DAY + 22 * HOUR
    feed = Feed(open_bars("us_futures", (THURSDAY, friday - 2 * HOUR)))
    now = friday + 10 * HOUR
    got = fetch_missing(cache, feed, "XAU", THURSDAY, now, now=now, calendar="us_futures")
    assert got.unanswered == [(friday - 2 * HOUR, now)]


def test_a_closure_is_not_answered_for_by_a_file_that_lacks_the_session_before_it(cache, tmp_path):
    bars = open_bars("XNYS", without=[(day_start("2026-01-16"), day_start("2026-01-17"))])
    take(cache, "file", "NVDAX", bars, tmp_path)
    holes = found(cache, "file", "NVDAX").holes
    assert holes[0][0] == day_start("2026-01-15") + 21 * HOUR  # Thursday's close
    assert holes[0][1] == day_start("2026-01-20") + 14 * HOUR + 1800  # Tuesday's opening, after a holiday
    assert len(holes) == 1


def test_listing_verifying_and_a_replay_agree_on_holes(cache, tmp_path):
    lost = [(THURSDAY + 3600 * h, THURSDAY + 3600 * h + 60 * n) for h, n in ((5, 1), (20, 30), (50, 200))]
    bars = bars_at(np.concatenate([np.arange(a, b, 60) for a, b in subtract([WEEK], lost)]))
    take(cache, "binance", "BTC", bars, tmp_path)
    settings = api.load_settings(flags={"data.cache_dir": str(cache.root)})
    (row,) = api.list_bars(settings=settings).json()
    verified = api.verify_bars(settings=settings)
    assert verified.ok
    assert (row["holes"], row["hole_minutes"], row["missing_minutes"]) == (3, 231, 0)
    assert len(verified.json()["holes"]) == 3
    assert "3 hole(s) of 231 minutes" in verified.text()
    need = Needs(first=WEEK[0] + 60, last=WEEK[1], warmup=0, scored=WEEK, newest=WEEK[0])
    with pytest.raises(MissingDataError) as caught:
        find_data(cache, {"BTC": need}, "binance", "binance")
    assert str(caught.value).count("binance      BTC") == 3
    assert str(caught.value).count("was damaged") == 0


def test_a_replay_that_lacks_a_damaged_day_says_so(cache, tmp_path):
    take(cache, "binance", "BTC", bars_at(np.arange(*WEEK, 60)), tmp_path)
    truncated = cache.folder("binance", "BTC") / "2026-01-16.parquet"
    truncated.write_bytes(truncated.read_bytes()[:50])
    cache.repair("binance", "BTC")
    need = Needs(first=WEEK[0] + 60, last=WEEK[1], warmup=0, scored=WEEK, newest=WEEK[0])
    with pytest.raises(MissingDataError, match=r"BTC 2026-01-16: it was damaged .*ewmalab data import /.*/BTC\.csv"):
        find_data(cache, {"BTC": need}, "binance", "binance")


def test_every_minute_is_of_one_kind(cache):
    rng = np.random.default_rng(5)
    there = np.arange(*WEEK, 60)[rng.random(7 * 1440) < 0.7]
    covered = [(WEEK[0] + 600, WEEK[0] + 2 * DAY), (WEEK[0] + 3 * DAY, WEEK[1] - 600)]
    bars = bars_at(np.concatenate([there[(there >= a) & (there < b)] for a, b in covered]))
    cache.write("hyperliquid", "SP500", bars, covered, Provenance("a host", NOW))
    got = coverage_of(cache, "hyperliquid", "SP500", cache.days("hyperliquid", "SP500"), WEEK, "CMES")
    kinds = [runs(bars.timestamp), got.missing, got.closed, got.holes]
    assert union(part for kind in kinds for part in kind) == [WEEK]
    assert sum(minutes(kind) for kind in kinds) == 7 * 1440
    assert got.bars == len(bars)
