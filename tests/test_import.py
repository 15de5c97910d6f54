"""Importing bar files: what a file says is cached as it says it, and no bad row vanishes."""

from __future__ import annotations

import csv
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from examples import examples
from hypothesis import assume, given
from hypothesis import strategies as st

from ewmalab.errors import BarsError, DataError, RulebookError
from ewmalab.market.bars import Bars
from ewmalab.market.cache import Cache
from ewmalab.market.feeds.file import FileFeed
from ewmalab.market.files.bar_file import read_bars
from ewmalab.market.files.importer import Choices, Imported, import_file
from ewmalab.market.files.rows import split_rows
from ewmalab.market.files.search import BarFile, find_files
from ewmalab.market.files.table import Hints
from ewmalab.market.inventory import list_cached
from ewmalab.market.quality import COLUMNS
from ewmalab.rulebook import Rulebook, load_rulebook
from ewmalab.times import DAY, day_start

MONDAY = day_start("2026-01-12")
LATER = MONDAY + 365 * DAY


def market(minutes: int = 200, start: int = MONDAY, *, close_only: bool = False) -> Bars:
    rng = np.random.default_rng(5)
    close = 50_000 * np.exp(np.cumsum(rng.normal(0, 1e-3, minutes)))
    times = start + 60 * np.arange(minutes)
    if close_only:
        return Bars.from_closes(times, close)
    open_ = close * np.exp(rng.normal(0, 1e-4, minutes))
    return Bars(times, open_, np.maximum(open_, close) * 1.0001, np.minimum(open_, close) * 0.9999, close)


def same(one: Bars, other: Bars) -> bool:
    return one.digest() == other.digest()


def rows_of(bars: Bars) -> list[list[Any]]:
    columns = [column.tolist() for column in bars.columns().values()]
    return [[None if v != v else v for v in row] for row in zip(*columns, strict=True)]


def write_csv(path: Path, header: list[str], rows: list[list[Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def write_parquet(path: Path, columns: dict[str, Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)
    return path


@pytest.fixture(scope="module")
def rulebook() -> Rulebook:
    return load_rulebook()


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def take(cache: Cache, path: Path, **options: Any) -> Imported:
    now = options.pop("now", LATER)
    item = BarFile(path, "pyth", "BTC")
    (done,) = import_file(cache, item, now=now, rulebook=load_rulebook(), choices=Choices(**options))
    return done


def cached(cache: Cache, feed: str = "pyth", asset: str = "BTC") -> Bars:
    return cache.read(feed, asset, 0, LATER)


# --- shapes


def as_csv(path: Path, bars: Bars) -> Path:
    return write_csv(path.with_suffix(".csv"), list(COLUMNS), rows_of(bars))


def as_csv_nan(path: Path, bars: Bars) -> Path:
    rows = [["nan" if v is None else v for v in row] for row in rows_of(bars)]
    return write_csv(path.with_suffix(".csv"), list(COLUMNS), rows)


def as_csv_other_order(path: Path, bars: Bars) -> Path:
    rows = [["x", *row[::-1]] for row in rows_of(bars)]
    return write_csv(path.with_suffix(".csv"), ["note", *COLUMNS[::-1]], rows)


def as_parquet(path: Path, bars: Bars) -> Path:
    return write_parquet(path.with_suffix(".parquet"), bars.columns())


def as_parquet_null(path: Path, bars: Bars) -> Path:
    columns = {name: pa.array(column, from_pandas=True) for name, column in bars.columns().items()}
    return write_parquet(path.with_suffix(".parquet"), columns)


def as_parquet_typed_time(path: Path, bars: Bars) -> Path:
    times = pa.array(bars.timestamp * 1000, pa.timestamp("ms", "UTC"))
    return write_parquet(path.with_suffix(".parquet"), {**bars.columns(), "timestamp": times})


def as_json_rows(path: Path, bars: Bars) -> Path:
    return dump(path, rows_of(bars))


def as_json_objects(path: Path, bars: Bars) -> Path:
    return dump(path, [dict(zip(COLUMNS, row, strict=True)) for row in rows_of(bars)])


def as_json_columns(path: Path, bars: Bars) -> Path:
    rows = rows_of(bars)
    return dump(path, {name: [row[i] for row in rows] for i, name in enumerate(COLUMNS)})


def dump(path: Path, data: Any) -> Path:
    path = path.with_suffix(".json")
    path.write_text(json.dumps(data))
    return path


SHAPES = [
    as_csv,
    as_csv_nan,
    as_csv_other_order,
    as_parquet,
    as_parquet_null,
    as_parquet_typed_time,
    as_json_rows,
    as_json_objects,
    as_json_columns,
]


@pytest.mark.parametrize("close_only", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_gives_the_same_bars_bit_for_bit(cache, tmp_path, shape, close_only):
    bars = market(3000, close_only=close_only)
    report = take(cache, shape(tmp_path / "BTC", bars))
    assert same(cached(cache), bars)
    assert (report.bars, report.days_written, report.gap_minutes) == (3000, 3, 0)
    assert (report.close_only, report.rejected, report.quarantine) == (3000 * close_only, None, None)


def test_a_file_may_hold_times_and_closes_alone(cache, tmp_path):
    bars = market(close_only=True)
    pairs = [[row[0], row[4]] for row in rows_of(bars)]
    files = [
        write_csv(tmp_path / "a.csv", ["timestamp", "close"], pairs),
        dump(tmp_path / "a", pairs),
        write_parquet(tmp_path / "a.parquet", {"timestamp": bars.timestamp, "close": bars.close}),
    ]
    for file in files:
        assert same(read_bars(file)[0], bars)


def test_a_file_covers_its_bars_and_no_hole_and_gaps_inside_are_counted(cache, tmp_path):
    bars = market(300)
    bars = Bars.concatenate([bars.rows(10, 50), bars.rows(57, 290)])
    report = take(cache, as_csv(tmp_path / "BTC", bars))
    assert report.gap_minutes == 7
    assert cache.covered("pyth", "BTC") == [(MONDAY + 600, MONDAY + 50 * 60), (MONDAY + 57 * 60, MONDAY + 290 * 60)]


def test_the_feed_file_reads_every_shape(tmp_path):
    bars = market(300)
    for suffix, shape in {".csv": as_csv, ".parquet": as_parquet, ".json": as_json_rows}.items():
        folder = tmp_path / suffix[1:]
        folder.mkdir()
        shape(folder / "BTC", bars)
        feed = FileFeed(folder)
        assert same(feed.fetch("BTC", MONDAY, MONDAY + DAY, LATER), bars)
        assert same(feed.fetch("BTC", MONDAY, MONDAY + DAY, MONDAY + 659), bars.rows(0, 10))


BAD_FILES = {
    "no such column": ("BTC.csv", "when,close\n60,1\n", "no column timestamp; it has when, close"),
    "empty": ("BTC.csv", "", "no column timestamp or close"),
    "a word": ("BTC.csv", f"timestamp,close\n{MONDAY},abc\n", "abc"),
    "no number of seconds": ("BTC.csv", f"timestamp,close\n{MONDAY}.5,1\n", "whole seconds"),
    "no time": ("BTC.csv", "timestamp,close\n,1\n", "timestamp"),
    "seconds of 1970": ("BTC.csv", "timestamp,close\n60,1\n", "between 2000 and 2099"),
    "not JSON": ("BTC.json", "[[1,", "not a readable bar file"),
    "a number": ("BTC.json", "7", "list of rows"),
    "ragged": ("BTC.json", "[[60, 1], [120, 1, 1, 1, 1]]", "rows differ in length"),
    "unequal columns": ("BTC.json", '{"timestamp": [60, 120], "close": [1]}', "differ in length"),
    "not Parquet": ("BTC.parquet", "PAR1", "not a readable bar file"),
    "unknown": ("BTC.xls", "x", "unknown file type"),
}


@pytest.mark.parametrize("what", BAD_FILES)
def test_a_file_that_holds_no_bars_is_refused_by_name(cache, tmp_path, what):
    name, content, why = BAD_FILES[what]
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(BarsError, match=why) as caught:
        take(cache, path, quarantine=True)
    assert str(path) in str(caught.value)
    assert len(cached(cache)) == 0


@pytest.mark.parametrize("shape", [as_csv, as_parquet, as_json_rows])
def test_milliseconds_are_read_in_every_shape(cache, tmp_path, shape):
    path = shape(tmp_path / "BTC", Bars.trusted({**market().columns(), "timestamp": market().timestamp * 1000}, 60))
    assert "milliseconds" in take(cache, path).understood
    assert same(cached(cache), market())


def test_a_damaged_parquet_file_is_refused(cache, tmp_path):
    path = tmp_path / "BTC.parquet"
    pq.write_table(pa.table(market().columns()), path, write_page_checksum=True)
    data = bytearray(path.read_bytes())
    data[200] ^= 1
    path.write_bytes(data)
    with pytest.raises(BarsError, match="not a readable bar file"):
        take(cache, path)


def test_a_file_without_a_good_row_is_refused(cache, tmp_path):
    with pytest.raises(BarsError, match="no bars"):
        take(cache, write_csv(tmp_path / "BTC.csv", ["timestamp", "close"], []), quarantine=True)
    with pytest.raises(BarsError, match="no row is good"):
        take(cache, write_csv(tmp_path / "BTC.csv", ["timestamp", "close"], [[MONDAY, -1]]), quarantine=True)


# --- bad rows

GOOD = [100.0, 102.0, 99.0, 101.0]


def bad_rows() -> list[list[Any]]:
    """Return twenty rows of which ten are bad, and two repeat others."""
    rows: list[list[Any]] = [[MONDAY + 60 * i, *GOOD] for i in range(20)]
    rows[2][4] = None
    rows[3][4] = -5.0
    rows[4][2] = 98.5  # high < low
    rows[5][4] = 103.0  # close > high
    rows[6][1] = 98.0  # open < low
    rows[7][1] = None  # a part of the range
    rows[8][0] += 7
    rows[10][0] = MONDAY + 60 * 9
    rows[11][0] = MONDAY + 60 * 9
    rows[13] = [MONDAY + 60, 100.5, 102.0, 99.0, 101.0]
    rows[15][2] = "inf"
    return rows


REASONS = {
    2: "close missing or not finite",
    3: "price not positive",
    4: "high below low",
    5: "close outside low..high",
    6: "open outside low..high",
    7: "open, high, low only partly present",
    8: "timestamp not a multiple of 60 s",
    13: "out of order",
    15: "open, high or low not finite",
}


def test_bad_rows_refuse_the_file_with_their_count_by_reason(cache, tmp_path):
    path = write_csv(tmp_path / "BTC.csv", list(COLUMNS), bad_rows())
    with pytest.raises(BarsError, match="--quarantine") as caught:
        take(cache, path)
    message = str(caught.value)
    assert str(path) in message
    for reason in set(REASONS.values()):
        rows = [row for row, why in REASONS.items() if why == reason]
        assert f"{len(rows)} x {reason} (first: row {rows[0]}," in message
    assert len(cached(cache)) == 0
    assert not list(cache.root.rglob("*.csv"))
    with pytest.raises(BarsError, match="1 x"):
        read_bars(path)


def test_quarantine_holds_every_bad_row_its_values_and_the_reason(cache, tmp_path):
    rows = bad_rows()
    path = write_csv(tmp_path / "BTC.csv", list(COLUMNS), rows)
    report = take(cache, path, quarantine=True)
    assert report.bars == 18 - len(REASONS)
    assert "2 repeated row(s)" in report.understood
    with Path(report.quarantine).open(newline="") as file:
        aside = list(csv.DictReader(file))
    assert {int(row["row"]): row["reason"] for row in aside} == REASONS
    assert report.bars + len(aside) + 2 == len(rows)  # nothing lost
    for row in aside:
        values = [float(row[name]) for name in COLUMNS]
        expected = [float("nan") if v is None else float(v) for v in rows[int(row["row"])]]
        np.testing.assert_array_equal(values, expected)
    good = [row for i, row in enumerate(rows) if i not in {*REASONS, 10, 11}]
    assert rows_of(cached(cache)) == good


def test_files_of_one_name_keep_their_bad_rows_apart(cache, tmp_path):
    reports = []
    for i, folder in enumerate("ab"):
        rows = [[MONDAY + 600 * i, *GOOD], [MONDAY + 600 * i + 60, *GOOD[:3], -1.0 - i]]
        path = write_csv(tmp_path / folder / "BTC.csv", list(COLUMNS), rows)
        reports.append(take(cache, path, quarantine=True))
    texts = [Path(report.quarantine).read_text() for report in reports]
    assert "-1.0" in texts[0]
    assert "-2.0" in texts[1]


def test_a_bar_that_is_not_closed_is_a_bad_row(cache, tmp_path):
    path = as_csv(tmp_path / "BTC", market(10))
    with pytest.raises(BarsError, match=r"3 x not closed yet .first: row 7"):
        take(cache, path, now=MONDAY + 7 * 60 + 59)
    assert take(cache, path, now=MONDAY + 7 * 60 + 59, quarantine=True).bars == 7
    assert take(cache, path, now=MONDAY + 600).bars == 10


@pytest.mark.parametrize("known_from", ["the file's time", "the present"])
def test_the_newest_bar_is_left_out_while_it_forms_and_is_not_final_when_it_has_just_closed(
    cache, tmp_path, known_from
):
    bars = market(10)
    path = as_csv(tmp_path / "BTC", bars)
    newest = int(bars.timestamp[-1])
    for second, count, words in ((59, 9, "still forming"), (60, 10, "is not final"), (119, 10, "is not final")):
        moment = newest + second
        written, now = (moment, LATER) if known_from == "the file's time" else (MONDAY - DAY, moment)
        os.utime(path, (written, written))
        done = take(cache, path, now=now)
        assert done.bars == count
        assert words in done.understood
        (day,) = cache.days("pyth", "BTC").values()
        assert day.provisional == (newest - 60 * (10 - count),)  # the newest that had closed
        assert cache.provisional("pyth", "BTC", MONDAY, LATER, newest + 120) == [(t, t + 60) for t in day.provisional]
    os.utime(path, (newest + 120, newest + 120))
    assert "is not final" not in take(cache, path).understood
    assert cache.provisional("pyth", "BTC", MONDAY, LATER, LATER) == []


@pytest.mark.parametrize("minutes", [2, 5])
def test_bars_of_a_longer_resolution_are_refused_by_import_and_feed(cache, tmp_path, minutes):
    whole = market(200)
    longer = Bars.from_columns({name: column[::minutes] for name, column in whole.columns().items()})
    path = as_csv(tmp_path / "BTC", longer)
    said = rf"BTC\.csv: from timestamp {MONDAY} on, bars are {60 * minutes} s apart, not 60 s"
    for quarantine in (False, True):
        with pytest.raises(BarsError, match=said):
            take(cache, path, quarantine=quarantine)
    with pytest.raises(BarsError, match=said):
        FileFeed(tmp_path).fetch("BTC", MONDAY, MONDAY + DAY, LATER)
    assert len(cached(cache)) == 0


def test_uneven_gaps_are_a_quiet_market_and_few_even_ones_are_in_doubt(cache, tmp_path):
    whole = market(200)
    few = Bars.from_columns({name: column[:45:5] for name, column in whole.columns().items()})
    path = as_csv(tmp_path / "few" / "BTC", few)
    with pytest.raises(BarsError, match="--interval 1m"):
        take(cache, path)
    assert take(cache, path, hints=Hints(interval="1m")).bars == 9
    uneven = Bars.from_columns({name: column[[*range(50, 100, 5), 98]] for name, column in whole.columns().items()})
    assert take(cache, as_csv(tmp_path / "uneven" / "BTC", uneven)).bars == 11


def sound(row: tuple[float, ...], now: int) -> bool:
    t, o, h, l, c = row
    whole = not any(map(np.isnan, (o, h, l)))
    alone = all(map(np.isnan, (o, h, l)))
    good = t % 60 == 0 and np.isfinite(c) and c > 0 and (whole or alone) and t + 60 <= now
    return bool(good and (alone or (0 < l <= min(o, c) and max(o, c) <= h < np.inf)))


CELL = st.sampled_from([99.0, 100.0, 101.0, 102.0, float("nan"), float("inf"), -1.0, 0.0])
ROW = st.one_of(
    st.tuples(st.integers(0, 30).map(lambda m: 60 * m), *map(st.just, GOOD)),
    st.tuples(st.integers(0, 30).map(lambda m: 30 * m), CELL, CELL, CELL, CELL),
)


@pytest.mark.ci
@examples(300)
@given(st.lists(ROW, max_size=25))
def test_each_row_is_a_bar_a_gap_a_repeat_or_bad_and_bars_are_sorted(rows):
    columns = {
        name: np.array([row[i] for row in rows], np.int64 if i == 0 else np.float64) for i, name in enumerate(COLUMNS)
    }
    try:
        split = split_rows(columns, now=1500, minute_bars=True)
    except BarsError as error:
        assume("apart" not in str(error))
        raise
    bars = list(zip(*(column.tolist() for column in split.bars.columns().values()), strict=True))
    assert all(any(np.array_equal(bar, row, equal_nan=True) for row in rows) for bar in bars)
    times = [row[0] for row in rows if sound(row, 1500)]
    assert all(sound(bar, 1500) for bar in bars)
    distinct = {tuple(map(str, row)) for row in rows}
    alone = [t for t in set(times) if sum(key[0] == str(t) for key in distinct) == 1]
    lost = set(alone) - set(split.bars.timestamp.tolist())
    stray = split.rejected.get("out of order", np.zeros(len(rows), bool))
    assert lost == {rows[i][0] for i in np.flatnonzero(stray)} & set(alone)
    assert stray.sum() <= max(1, len(rows) // 20)


def test_a_late_row_at_the_top_of_a_long_file_loses_no_other():
    bars = market(200_000)
    columns = {name: np.concatenate([column[-1:], column]) for name, column in bars.columns().items()}
    split = split_rows(columns)
    assert same(split.bars, bars)
    assert split.notes == ("1 repeated row(s)",)
    assert not split.rejected


# --- conflicts


def test_bars_that_differ_from_cached_ones_are_refused_unless_replaced(cache, tmp_path):
    bars = market(200)
    take(cache, as_csv(tmp_path / "BTC", bars))
    columns = {name: column.copy() for name, column in bars.columns().items()}
    columns["close"][[7, 9]] = np.nextafter(columns["close"][[7, 9]], columns["high"][[7, 9]])
    other = as_parquet(tmp_path / "BTC", Bars.from_columns(columns))
    with pytest.raises(DataError, match=rf"2 bar\(s\) differ .*timestamp {MONDAY + 420}.*--replace"):
        take(cache, other)
    assert same(cached(cache), bars)
    take(cache, other, replace=True)
    assert same(cached(cache), Bars.from_columns(columns))


def test_importing_the_same_file_again_changes_nothing(cache, tmp_path):
    path = as_csv(tmp_path / "BTC", market(2000))
    take(cache, path)
    assert take(cache, path).days_written == 0


# --- what a file is


def test_the_folder_names_the_feed_and_the_file_the_asset(cache, tmp_path, rulebook):
    bars = market(5)
    for where in ("pyth_1m/BTC", "binance/ETH", "hyperliquid_2026_01/HYPE"):
        path = tmp_path / where
        path.parent.mkdir(parents=True)
        as_csv(path, bars)
    found, skipped = find_files([tmp_path], feed=None, asset=None, rulebook=rulebook)
    done = [one for item in found for one in import_file(cache, item, now=LATER, rulebook=rulebook)]
    assert [(one.feed, one.asset) for one in done] == [("binance", "ETH"), ("hyperliquid", "HYPE"), ("pyth", "BTC")]
    assert skipped == []


def test_a_link_is_known_by_its_own_name(cache, tmp_path, rulebook):
    (tmp_path / "elsewhere").mkdir()
    as_csv(tmp_path / "elsewhere" / "rows", market(5))
    link = tmp_path / "pyth_BTC.csv"
    link.symlink_to(tmp_path / "elsewhere" / "rows.csv")
    (item,), _ = find_files([link], feed=None, asset=None, rulebook=rulebook)
    (done,) = import_file(cache, item, now=LATER, rulebook=rulebook)
    assert (done.feed, done.asset) == ("pyth", "BTC")


def test_folders_inside_an_archive_name_the_feed_as_folders_do(cache, tmp_path, rulebook):
    as_csv(tmp_path / "BTC", market(5))
    with zipfile.ZipFile(tmp_path / "bars.zip", "w") as archive:
        for place in ("pyth/BTC.csv", "mine/hyperliquid_1m/ETH/2026.csv"):
            archive.write(tmp_path / "BTC.csv", place)
    found, _ = find_files([tmp_path / "bars.zip"], feed=None, asset=None, rulebook=rulebook)
    done = [one for item in found for one in import_file(cache, item, now=LATER, rulebook=rulebook)]
    assert {(one.feed, one.asset) for one in done} == {("pyth", "BTC"), ("hyperliquid", "ETH")}
    (tmp_path / "binance").mkdir()
    (tmp_path / "bars.zip").rename(tmp_path / "binance" / "bars.zip")
    found, _ = find_files([tmp_path / "binance"], feed=None, asset=None, rulebook=rulebook)
    with pytest.raises(BarsError, match="say binance and pyth"):
        import_file(cache, next(one for one in found if "pyth" in one.member), now=LATER, rulebook=rulebook)


def test_what_is_no_bar_file_is_passed_over_and_what_has_no_name_refused(cache, tmp_path, rulebook):
    (tmp_path / "README.md").write_text("x")
    as_csv(tmp_path / "BTC", market(5))
    (tmp_path / "pyth").mkdir()
    as_csv(tmp_path / "pyth" / "prices", market(5))
    (tmp_path / "BTC.zip").write_bytes(b"PK cut")
    (tmp_path / "._BTC.csv").write_bytes(b"of a file system")
    found, skipped = find_files([tmp_path, tmp_path / "gone.csv"], feed=None, asset=None, rulebook=rulebook)
    assert [Path(path).name for path, _ in skipped] == ["README.md"]
    whys = ("no feed in its folder's name", "not a readable archive", "no asset in its name", "does not exist")
    for item, why in zip(found, whys, strict=True):
        with pytest.raises(BarsError, match=why):
            import_file(cache, item, now=LATER, rulebook=rulebook)
    (tmp_path / "BTC.zip").unlink()
    found, _ = find_files([tmp_path], feed="file", asset="btc", rulebook=rulebook)
    assert {(f.path.name, f.feed, f.asset) for f in found} == {
        ("BTC.csv", "file", "BTC"),
        ("prices.csv", "file", "BTC"),
    }


def test_an_unknown_asset_is_an_error(tmp_path, rulebook):
    as_csv(tmp_path / "BTC", market(5))
    with pytest.raises(RulebookError):
        find_files([tmp_path], feed="pyth", asset="NOSUCH", rulebook=rulebook)


def test_partitions_of_another_program_are_imported_by_their_folders(cache, tmp_path, rulebook):
    bars = market(3 * 1440, close_only=True)
    for i, date in enumerate(("2026-01-12", "2026-01-13", "2026-01-14")):
        part = bars.rows(1440 * i, 1440 * (i + 1))
        n = len(part)
        write_parquet(
            tmp_path / f"prices/BTC/1m/date={date}.parquet",
            {
                "timestamp": part.timestamp,
                "close": part.close,
                "source": ["pyth"] * n,
                "ingested_at": [1_770_000_000.5] * n,
                "is_final": [True] * n,
            },
        )
    found, skipped = find_files([tmp_path / "prices"], feed="pyth", asset=None, rulebook=rulebook)
    assert skipped == []
    reports = [one for item in found for one in import_file(cache, item, now=LATER, rulebook=rulebook)]
    assert [(one.feed, one.asset) for one in reports] == [("pyth", "BTC")] * 3
    assert [report.bars for report in reports] == [1440] * 3
    assert same(cached(cache), bars)
    assert cache.missing("pyth", "BTC", MONDAY, MONDAY + 3 * DAY) == []


# --- the real bars


@pytest.mark.ci
def test_all_shared_bars_are_imported_as_they_are(cache, shared_data, rulebook):
    found, skipped = find_files([shared_data], feed=None, asset=None, rulebook=rulebook)
    assert [Path(path).name for path, _ in skipped] == ["README.md"]
    assert len(found) == len(list(shared_data.rglob("*.parquet")))
    bars = 0
    for item in found:
        (report,) = import_file(cache, item, now=LATER, rulebook=rulebook)
        columns = {name: column.to_numpy() for name, column in pq.read_table(item.path).to_pandas().items()}
        assert report.rejected is None
        assert report.bars == len(columns["timestamp"])
        got = cached(cache, report.feed, report.asset)
        for name in COLUMNS:
            assert getattr(got, name).tobytes() == columns[name].tobytes()
        assert report.gap_minutes == sum(b - a for a, b in got.gaps()) // 60
        bars += report.bars
    listed = list_cached(cache, thorough=True)
    assert not [one.damage for one in listed if one.damage]
    print(f"{len(found)} files, {bars} bars, {sum(one.checked for one in listed)} partitions")
