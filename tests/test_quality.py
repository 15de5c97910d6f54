"""Bars that no market made: found when planted, and no true move taken for one."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import planted
import pyarrow.parquet as pq
import pytest
from conftest import Result

from ewmalab.errors import ConfigError, DataError, FeedError
from ewmalab.market.bars import Bars
from ewmalab.market.cache import Cache
from ewmalab.market.feeds.file import FileFeed
from ewmalab.market.feeds.simulated import SimulatedFeed
from ewmalab.market.fetch import Fetched, fetch_missing
from ewmalab.market.quality import COLUMNS, Bool, rejects
from ewmalab.market.quality.aside_record import count_reasons, read_aside
from ewmalab.market.quality.hours import closed_minutes
from ewmalab.market.quality.sift import Doubts, adjust, sift
from ewmalab.market.quality.splits import PriceSplit, name_split, parse_ratios
from ewmalab.market.quality.suspects import FROZEN, REPEAT, SPIKE, WICK, Verdict, judge
from ewmalab.rulebook import load_rulebook
from ewmalab.times import DAY, MINUTE, day_start, iso

MONDAY = day_start("2026-01-12")
LATER = MONDAY + 30 * DAY
KEY = ("binance", "BTC")


def market(minutes: int = 2880, seed: int = 3, start: int = MONDAY, level: float = 90_000.0) -> Bars:
    """Return synthetic bars with ranges, of a market that moves about 0.04 % a minute."""
    rng = np.random.default_rng(seed)
    close = level * np.exp(np.cumsum(rng.standard_t(4, minutes) * 3e-4))
    open_ = np.r_[level, close[:-1]]
    high = np.maximum(open_, close) * (1 + rng.exponential(1e-4, minutes))
    low = np.minimum(open_, close) * (1 - rng.exponential(1e-4, minutes))
    return Bars(start + 60 * np.arange(minutes), *(np.round(price, 2) for price in (open_, high, low, close)))


GOOD = market()


def changed(bars: Bars, change: Callable[[dict[str, Any]], Any]) -> Bars:
    columns = {name: np.array(column) for name, column in bars.columns().items()}
    change(columns)
    return Bars.from_columns(columns)


def scaled(bars: Bars, first: int, stop: int | None, factor: float) -> Bars:
    def change(columns: dict[str, Any]) -> None:
        for name in COLUMNS[1:]:
            columns[name][first:stop] *= factor

    return changed(bars, change)


def aside(bars: Bars, **options: Any) -> dict[str, list[int]]:
    """Return the rows that are set aside, by reason."""
    verdict = judge(bars.columns(), **options)
    return {reason: mask.nonzero()[0].tolist() for reason, mask in verdict.reasons.items()}


def rows_aside(verdict: Verdict) -> Bool:
    """Return the rows that are set aside for any reason."""
    return np.logical_or.reduce(list(verdict.reasons.values()))


# --- what is found


NEEDS_RANGE = {
    "high x10",
    "high x1.25",
    "low x0.01",
    "low x0.8",
    "high below low",
    "close above high",
    "candle repeated",
}
PLANTED = [(kind, only) for kind in planted.KINDS for only in (False, True) if not (only and kind in NEEDS_RANGE)]


@pytest.mark.parametrize(("kind", "close_only"), PLANTED)
def test_every_planted_row_is_found_and_no_other(kind, close_only):
    fault = planted.plant(GOOD.columns(), kind, 12, seed=5)
    columns = fault.columns
    if close_only:
        columns = {**columns, **dict.fromkeys(COLUMNS[1:4], np.full(len(GOOD), np.nan))}
    bad = np.logical_or.reduce([np.zeros(len(GOOD), bool), *rejects(columns).values()])
    sound = np.flatnonzero(~bad)
    found = judge({name: column[sound] for name, column in columns.items()})
    bad[sound[rows_aside(found)]] = True
    np.testing.assert_array_equal(np.flatnonzero(bad), np.flatnonzero(fault.wrong))


def test_good_bars_are_all_kept():
    assert aside(GOOD) == {}
    for seed in range(5):
        assert aside(market(4000, seed=100 + seed)) == {}


@pytest.mark.parametrize("asset", ["BTC", "XAU", "SPYX"])
def test_bars_of_the_synthetic_market_are_all_kept(asset):
    feed = SimulatedFeed(load_rulebook(), seed=11)
    bars = Bars.concatenate([feed.fetch(asset, d, d + DAY, LATER) for d in range(MONDAY, MONDAY + 4 * DAY, DAY)])
    assert aside(bars) == {}


@pytest.mark.parametrize("step", [-0.5, -0.25, -0.08, 0.04, 0.3])
def test_a_move_that_stays_is_a_move(step):
    assert aside(scaled(GOOD, 1500, None, np.exp(step))) == {}


@pytest.mark.parametrize("back", [0.5, 0.7])
def test_a_crash_that_comes_back_by_a_part_is_a_move(back):
    crash = scaled(GOOD, 1500, None, 0.9)
    assert aside(scaled(crash, 1501, None, 1 + 0.1 * back)) == {}


def test_in_a_wild_market_a_large_return_is_usual():
    wild = changed(GOOD, lambda columns: columns.update({n: columns[n] ** 25 / 9e4**24 for n in COLUMNS[1:]}))
    assert np.abs(np.diff(np.log(wild.close))).max() > 0.05
    assert aside(wild) == {}


def test_prices_that_are_noise_are_kept_from_their_first_minute_on():
    for seed in range(20):
        noise = 100 + np.random.default_rng(seed).normal(0, 1, 600)
        assert aside(Bars.from_closes(MONDAY + 60 * np.arange(600), noise)) == {}


def test_an_illiquid_market_that_trades_at_bid_and_ask_is_kept():
    rng = np.random.default_rng(4)
    side = np.where(rng.random(4000) < 0.3, rng.choice([0.985, 1.015], 4000), 1.0)
    bars = Bars.from_closes(MONDAY + 60 * np.arange(4000), np.round(20 * side, 4))
    assert aside(bars) == {}


def test_the_last_bar_waits_if_it_jumps_and_the_next_decides():
    spike, move = scaled(GOOD, 2000, 2001, 1.03), scaled(GOOD, 2000, None, 1.03)
    for bars in (spike, move):
        waits = judge(bars.rows(0, 2001).columns())
        assert (waits.waiting, waits.reasons) == (2000, {})
        assert judge(bars.rows(0, 2002).columns()).waiting == 2002
    assert aside(spike.rows(0, 2002)) == {SPIKE: [2000]}
    assert aside(move.rows(0, 2002)) == {}


@pytest.mark.ci
def test_verdicts_do_not_change_with_later_bars():
    """What a live miner decides from bars as they come is what an import of all of them decides."""
    bad = GOOD.columns()
    for kind in ("close x1.25", "high x10", "3 candles x10", "candle repeated"):
        bad = planted.plant(bad, kind, 6, seed=len(kind)).columns
    bars = Bars.from_columns(bad)
    whole = rows_aside(judge(bars.columns()))
    assert whole.sum() > 20
    kept = bars.rows(0, 200)
    for end in range(201, 900):
        newest = int(kept.timestamp[-1])
        sifted = sift(bars.between(newest - 5 * MINUTE, int(bars.timestamp[end])), kept, "BTC")
        kept = kept.union(sifted.bars)
    expected = set(bars.timestamp[:900][~whole[:900]].tolist())
    assert set(kept.timestamp[200:-70].tolist()) <= expected
    assert {t for t in expected if kept.timestamp[200] <= t <= kept.timestamp[-70]} <= set(kept.timestamp.tolist())


def test_wrong_first_rows_are_outvoted_by_those_behind_them():
    assert aside(scaled(GOOD, 0, 1, 10)) == {SPIKE: [0]}
    assert aside(scaled(GOOD, 0, 2, 0.1)) == {SPIKE: [0, 1]}


def test_context_is_trusted():
    bars = scaled(GOOD, 1000, 1001, 10)
    own = np.arange(len(bars)) > 1000
    assert 1000 not in aside(bars, judged=own).get(SPIKE, [])


# --- standing still


def flat(first: int, stop: int, bars: Bars = GOOD) -> Bars:
    def change(columns: dict[str, Any]) -> None:
        for name in COLUMNS[1:]:
            columns[name][first:stop] = columns["close"][first - 1]

    return changed(bars, change)


def test_a_feed_that_stands_still_is_set_aside_and_a_market_that_often_does_is_not():
    assert aside(flat(1000, 1060)) == {FROZEN: list(range(1000, 1060))}
    rng = np.random.default_rng(2)
    moves = np.where(rng.random(4000) < 0.4, rng.normal(0, 1e-3, 4000), 0.0)
    quiet = Bars.from_closes(MONDAY + 60 * np.arange(4000), 20 * np.exp(np.cumsum(moves)))
    assert aside(flat(2000, 2060, quiet)) == {}
    assert aside(Bars.from_closes(MONDAY + 60 * np.arange(4000), np.full(4000, 20.0))) == {}


@pytest.mark.parametrize("minutes", [1, 5, 9])
def test_a_few_quiet_minutes_are_kept(minutes):
    assert aside(flat(1000, 1000 + minutes)) == {}


def test_a_closed_market_may_stand_still():
    saturday = MONDAY + 5 * DAY
    bars = market(7 * 1440, seed=9, level=200.0)
    weekend = flat(5 * 1440, 5 * 1440 + 600, bars)
    empty = Bars.empty()
    assert sift(weekend, empty, "XAU").reasons == {}
    assert sift(weekend, empty, "SPYX").reasons == {}
    assert list(sift(weekend, empty, "BTC").reasons) == [FROZEN]
    session = flat(2 * 1440 + 15 * 60, 2 * 1440 + 17 * 60, bars)
    for asset in ("XAU", "SPYX", "BTC"):
        assert sift(session, empty, asset).reasons[FROZEN].sum() == 120
    closed = closed_minutes("XAU", np.array([saturday, MONDAY + 12 * 3600, day_start("2026-01-19") + 12 * 3600]))
    assert closed is not None
    assert closed.tolist() == [True, False, True]


def test_a_repeated_candle_is_found_and_a_market_of_equal_candles_is_not():
    bars = changed(GOOD, lambda c: [c[n].__setitem__(700, c[n][699]) for n in COLUMNS[1:]])
    assert aside(bars) == {REPEAT: [700]}
    alike = Bars(GOOD.timestamp, *(np.full(len(GOOD), price) for price in (100.0, 102.0, 99.0, 101.0)))
    assert aside(alike) == {}


def test_a_wick_is_set_aside_whatever_its_close():
    assert aside(changed(GOOD, lambda c: c["high"].__setitem__(700, c["high"][700] * 1.25))) == {WICK: [700]}
    assert aside(changed(GOOD, lambda c: c["low"].__setitem__(700, c["low"][700] * 0.99))) == {}


# --- splits


@pytest.mark.parametrize(
    ("factor", "ratio"),
    [(0.1, "10:1"), (0.5, "2:1"), (2 / 3, "3:2"), (20, "1:20"), (1000, "1:1000"), (1 / 42.3, "42:1"), (13, "1:13")],
)
def test_a_split_is_named_and_adjusted(factor, ratio):
    bars = scaled(GOOD, 1500, None, factor)
    sifted = sift(bars, Bars.empty(), "NVDAX")
    assert sifted.unnamed is not None
    assert (sifted.unnamed.ratio, sifted.unnamed.at) == (ratio, int(GOOD.timestamp[1500]))
    assert sifted.bars.digest() == bars.rows(0, 1500).digest()
    named = sift(bars, Bars.empty(), "NVDAX", ratios=parse_ratios(ratio))
    assert named.unnamed is None
    assert len(named.bars) == len(bars)
    assert named.bars.digest() == adjust(bars, sifted.unnamed).digest()


def test_prices_that_are_off_for_hours_and_come_back_are_no_split():
    assert aside(scaled(GOOD, 1000, 1300, 0.1)) == {SPIKE: list(range(1000, 1300))}


@pytest.mark.parametrize("text", ["10", "10:10", "0:1", "a:b", "10:1;2:1", ""])
def test_ratios_that_are_none_are_refused(text):
    with pytest.raises(ConfigError, match="NEW:OLD"):
        parse_ratios(text)


def test_a_fall_that_no_ratio_explains_is_no_split():
    for fall in (0.9, 0.8, 0.75, 0.6, 0.55, 0.45):
        assert name_split(0, np.log(fall)) is None


# --- real bars


@pytest.mark.ci
def test_no_real_bar_is_set_aside(shared_data: Path):
    """The crash of 2025-10-10 is among them."""
    files = [*shared_data.glob("*/*.parquet"), *shared_data.parent.glob("data_venues/*/*.parquet")]
    assert len(files) >= 9
    for file in files:
        bars = Bars.from_columns({name: pq.read_table(file, columns=[name])[name].to_numpy() for name in COLUMNS})
        sifted = sift(bars, Bars.empty(), file.stem)
        assert (sifted.reasons, sifted.unnamed, bool(sifted.waiting.any())) == ({}, None, False), file


# --- the doors


class FakeFeed:
    """A feed in memory."""

    name, source, synthetic, reach, complete = "binance", "a fake host", False, None, False

    def __init__(self, bars: Bars, chunk: int = DAY) -> None:
        self.bars, self.chunk = bars, chunk

    def fetch(self, asset: str, start: int, end: int, now: int) -> Bars:
        return self.bars.between(start, end).known_at(now)


BAD = scaled(scaled(GOOD, 700, 701, 10), 1439, 1441, 0.01)


@pytest.mark.ci
@pytest.mark.parametrize("chunk", [DAY, 100 * MINUTE])
def test_fetch_sets_aside_whatever_the_chunks_and_keeps_if_told(chunk, tmp_path):
    cache, end = Cache(tmp_path / "a"), MONDAY + 2 * DAY
    assert fetch_missing(cache, FakeFeed(BAD, chunk), "BTC", MONDAY, end, now=LATER) == Fetched(2877, [], aside=3)
    labels = [int(BAD.timestamp[i]) for i in (700, 1439, 1440)]
    assert cache.missing(*KEY, MONDAY, end) == []
    assert set(BAD.timestamp.tolist()) - set(cache.read(*KEY, MONDAY, end).timestamp.tolist()) == set(labels)
    found = read_aside(cache, *KEY)
    assert [(bar.label, bar.reason, bar.source) for bar in found] == [(t, SPIKE, "a fake host") for t in labels]
    assert found[0].prices[3] == BAD.close[700]
    kept = Cache(tmp_path / "b")
    fetch_missing(kept, FakeFeed(BAD, chunk), "BTC", MONDAY, end, now=LATER, doubts=Doubts(keep=True))
    assert kept.read(*KEY, MONDAY, end).digest() == BAD.digest()


@pytest.mark.ci
def test_bars_wait_for_longer_than_a_chunk(tmp_path):
    bars, cache = scaled(GOOD, 200, 225, 10).rows(0, 300), Cache(tmp_path)
    end = MONDAY + 300 * MINUTE
    assert fetch_missing(cache, FakeFeed(bars, 7 * MINUTE), "BTC", MONDAY, end, now=LATER) == Fetched(275, [], aside=25)
    assert len(cache.read(*KEY, MONDAY, end)) == 275


def test_a_jump_at_the_end_of_a_fetch_is_decided_by_the_bar_behind_it(tmp_path):
    spike, move = scaled(GOOD, 1000, 1001, 1.5), scaled(GOOD, 1000, None, 1.04)
    end = int(GOOD.timestamp[1000]) + MINUTE
    for name, bars, count in (("a", spike, 1000), ("b", move, 1001)):
        cache = Cache(tmp_path / name)
        fetched = fetch_missing(cache, FakeFeed(bars), "BTC", MONDAY, end, now=LATER)
        assert fetched.bars == count
    cache = Cache(tmp_path / "c")
    young = fetch_missing(cache, FakeFeed(move), "BTC", MONDAY, end, now=end)
    assert young.unanswered == [(end - MINUTE, end)]
    assert fetch_missing(cache, FakeFeed(move), "BTC", MONDAY, end, now=end + MINUTE) == Fetched(1, [])


def test_fetch_asks_for_a_word_on_a_split_and_adjusts_what_is_cached(tmp_path):
    split, cache = scaled(GOOD, 1500, None, 0.1), Cache(tmp_path)
    feed, at = FakeFeed(split), int(GOOD.timestamp[1500])
    with pytest.raises(FeedError, match=r"^binance BTC: .* split of 10:1; pass --split 10:1"):
        fetch_missing(cache, feed, "BTC", MONDAY, MONDAY + 2 * DAY, now=LATER)
    assert cache.covered(*KEY) == [(MONDAY, at)]
    fetch_missing(cache, feed, "BTC", MONDAY, MONDAY + 2 * DAY, now=LATER, doubts=Doubts(splits=((10, 1),)))
    expected = adjust(split, PriceSplit(at, 10, 1))
    assert cache.read(*KEY, MONDAY, MONDAY + 2 * DAY).digest() == expected.digest()


def write(path: Path, columns: dict[str, Any]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*(column.tolist() for column in columns.values()), strict=True))
    return path


@pytest.mark.ci
def test_the_commands_set_aside_list_and_keep(ewmalab: Callable[..., Result], tmp_path: Path):
    columns = {name: np.array(column) for name, column in BAD.columns().items()}
    columns["close"][2000] = np.nan
    columns["high"][2100], columns["low"][2100] = columns["low"][2100], columns["high"][2100]
    path, place = write(tmp_path / "BTC.csv", columns), ("--set", f"data.cache_dir={tmp_path / 'cache'}")
    done = ewmalab("data", "import", str(path), "--feed", "binance", *place)
    assert done.code == 0, done.err
    assert "3 x price that came back at once (first: row 700" in done.out
    assert "1 x close missing or not finite (first: row 2000" in done.out
    assert "5 minutes missing inside" in done.out
    cache = Cache(tmp_path / "cache")
    assert cache.missing(*KEY, MONDAY, MONDAY + 2 * DAY) == []
    assert count_reasons(read_aside(cache, *KEY)) == {
        SPIKE: 3, "close missing or not finite": 1, "high below low": 1,
    }  # fmt: skip
    assert "set aside" in ewmalab("data", "list", *place).out
    assert (
        "binance BTC: set aside as missing: 3 x price that came back at once" in ewmalab("data", "verify", *place).out
    )
    (listed,) = json.loads(ewmalab("data", "list", "--json", *place).out)
    assert listed["set_aside"] == {SPIKE: 3, "close missing or not finite": 1, "high below low": 1}
    rows = json.loads(ewmalab("data", "verify", "--json", *place).out)["set_aside"]
    assert rows[0] == ["binance", "BTC", iso(MONDAY + 700 * MINUTE), SPIKE]
    ewmalab("data", "import", str(path), "--feed", "binance", *place)
    assert len(read_aside(cache, *KEY)) == 5
    good = write(tmp_path / "BTC_good.csv", dict(GOOD.columns()))
    elsewhere = ("--set", f"data.cache_dir={tmp_path / 'elsewhere'}")
    for file in (good, path):
        ewmalab("data", "import", str(file), "--feed", "binance", *elsewhere)
    assert read_aside(Cache(tmp_path / "elsewhere"), *KEY) == []
    kept = ewmalab("data", "import", str(path), "--feed", "binance", "--keep-suspicious", *place)
    assert kept.code == 0, kept.err
    assert cache.read(*KEY, MONDAY, MONDAY + DAY).close[700] == BAD.close[700]
    assert set(count_reasons(read_aside(cache, *KEY))) == {"close missing or not finite", "high below low"}


def test_the_file_feed_does_without_a_row_whose_price_is_wrong(tmp_path: Path):
    columns = {name: np.array(column) for name, column in scaled(GOOD, 700, 701, 10).columns().items()}
    columns["close"][200] = np.nan
    write(tmp_path / "BTC.csv", columns)
    cache, feed = Cache(tmp_path / "cache"), FileFeed(tmp_path)
    assert fetch_missing(cache, feed, "BTC", MONDAY, MONDAY + 2 * DAY, now=LATER) == Fetched(2878, [], aside=2)
    found = [(bar.label, bar.reason) for bar in read_aside(cache, "file", "BTC")]
    assert found == [(MONDAY + 200 * MINUTE, "close missing or not finite"), (MONDAY + 700 * MINUTE, SPIKE)]


@pytest.mark.parametrize("data", [b"\xff\xfe", b"head\n" + b"x" * 200_000, b"head\n1,2\n"])
def test_a_damaged_list_of_what_was_set_aside_is_named(tmp_path: Path, data: bytes):
    path = tmp_path / "binance" / "BTC" / "1m" / "quarantine" / "set_aside.csv"
    path.parent.mkdir(parents=True)
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"set_aside\.csv: not a list of bars .*; delete it"):
        read_aside(Cache(tmp_path), "binance", "BTC")


@pytest.mark.ci
def test_import_asks_for_a_word_on_a_split(ewmalab: Callable[..., Result], tmp_path: Path):
    split = scaled(GOOD, 1500, None, 0.1)
    path = write(tmp_path / "NVDAX.csv", dict(split.columns()))

    def run(folder: str, *options: str) -> tuple[Result, Bars]:
        place = ("--set", f"data.cache_dir={tmp_path / folder}")
        done = ewmalab("data", "import", str(path), "--feed", "pyth", *options, *place)
        return done, Cache(tmp_path / folder).read("pyth", "NVDAX", MONDAY, LATER)

    refused, stored = run("a")
    assert refused.code == 1
    assert "split of 10:1; pass --split 10:1" in refused.out
    assert len(stored) == 0
    when = refused.out.split("--until ")[1].split()[0]
    assert run("b", "--until", when)[1].digest() == split.rows(0, 1500).digest()
    assert run("c", "--start", when)[1].digest() == split.rows(1500, 2880).digest()
    assert run("d", "--keep-suspicious")[1].digest() == split.digest()
    adjusted, stored = run("e", "--split", "10:1")
    again, same = run("e", "--split", "10:1")  # as the cache's own advice says, should a day be lost
    assert (again.code, same.digest()) == (0, stored.digest()), again.err
    assert "adjusted for the split 10:1 of 2026-01-13T01:00:00Z" in adjusted.out
    np.testing.assert_allclose(stored.close, GOOD.close / 10, rtol=1e-12)
    stored = run("b", "--start", when, "--split", "10:1")[1]
    np.testing.assert_allclose(stored.close, GOOD.close / 10, rtol=1e-12)
    assert "nothing to adjust for the split 5:1" in run("f", "--split", "10:1,5:1")[0].out
    again, same = run("b", "--start", when, "--split", "10:1")
    assert (again.code, same.digest()) == (0, stored.digest()), again.err


def test_a_split_behind_the_first_rows_is_known_if_it_is_named():
    bars = scaled(GOOD, 2, None, 0.1)
    assert aside(bars) == {SPIKE: [0, 1]}
    assert (
        sift(bars, Bars.empty(), "NVDAX", ratios=[(10, 1)]).bars.digest()
        == adjust(bars, PriceSplit(int(bars.timestamp[2]), 10, 1)).digest()
    )


@pytest.mark.ci
@pytest.mark.parametrize("order", [[0, 1], [1, 0], [0, 1, 0, 1]])
def test_a_split_between_two_files_is_named_and_adjusted_whatever_their_order(ewmalab, tmp_path: Path, order):
    split = scaled(GOOD, 1440, None, 1 / 20)
    paths = [
        write(tmp_path / f"NVDAX_{part}.csv", dict(split.rows(*rows).columns()))
        for part, rows in enumerate([(0, 1440), (1440, 2880)])
    ]

    def run(folder: str, *options: str) -> tuple[Result, Bars]:
        words = [str(paths[part]) for part in order]
        place = ("--set", f"data.cache_dir={tmp_path / folder}")
        done = ewmalab("data", "import", *words, "--feed", "pyth", *options, *place)
        return done, Cache(tmp_path / folder).read("pyth", "NVDAX", MONDAY, LATER)

    assert "pass --split 20:1" in run("a")[0].out
    done, stored = run("b", "--split", "20:1")
    assert done.code == 0, done.out
    np.testing.assert_allclose(stored.close, GOOD.close / 20, rtol=1e-12)
