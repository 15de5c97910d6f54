"""The cache: what goes in comes out bit for bit, or not at all."""

from __future__ import annotations

import errno
import hashlib
import json
import multiprocessing
import os
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from ewmalab import atomic_files as files_module
from ewmalab.atomic_files import TEMP_PREFIX
from ewmalab.errors import CorruptPartitionError, DataError
from ewmalab.market import asset_folder
from ewmalab.market.asset_folder import QUARANTINE, AssetFolder
from ewmalab.market.bars import Bars
from ewmalab.market.cache import Cache
from ewmalab.market.damage_survey import survey
from ewmalab.market.partition import Partition, Provenance, decode, encode, seal
from ewmalab.market.quality import COLUMNS
from ewmalab.market.ranges import Range, subtract, union
from ewmalab.times import DAY, day_name, day_start

MONDAY = day_start("2026-01-12")
KEY = ("pyth", "BTC")
DAYS = [MONDAY + DAY * i for i in range(4)]


def market(seed: int, start: int, minutes: int, *, close_only: bool = False, step: int = 60) -> Bars:
    """Return a random walk with real ranges, or none."""
    rng = np.random.default_rng(seed)
    close = 50_000 * np.exp(np.cumsum(rng.normal(0, 1e-3, minutes)))
    times = start + step * np.arange(minutes)
    if close_only:
        return Bars.from_closes(times, close)
    open_ = close * np.exp(rng.normal(0, 1e-4, minutes))
    return Bars(times, open_, np.maximum(open_, close) * 1.0001, np.minimum(open_, close) * 0.9999, close)


def span(bars: Bars) -> Range:
    return int(bars.timestamp[0]), int(bars.timestamp[-1]) + 60


TEST = Provenance("test", 1_800_000_000)


def put(
    cache: Cache,
    bars: Bars,
    covered: list[Range] | None = None,
    provenance: Provenance = TEST,
    *,
    replace: bool = False,
) -> int:
    return cache.write(*KEY, bars, covered or [span(bars)], provenance, replace=replace)


def day(cache: Cache, start: int) -> Bars:
    return cache.read(*KEY, start, start + DAY)


def same(one: Bars, other: Bars) -> bool:
    return one.digest() == other.digest()


def leftovers(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.name.startswith(TEMP_PREFIX)]


def damaged_days(cache: Cache, place: tuple[str, str] = KEY) -> list[str]:
    """Return the days with damage, which every check of an asset's files finds alike."""
    found, quick = (survey(cache, *place, thorough=thorough).damage for thorough in (True, False))
    assert found == quick
    return [one.day for one in found]


def entries(cache: Cache) -> dict[str, Partition]:
    """Return what each day's footer says."""
    return cache.days(*KEY)


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


@pytest.fixture
def full(cache: Cache) -> Cache:
    """Three days: ranges real, close-only, and partly covered."""
    put(cache, market(1, DAYS[0], 1440))
    put(cache, market(2, DAYS[1], 1440, close_only=True))
    put(cache, market(3, DAYS[2] + 3600, 300))
    return cache


# --- round trips and coverage


@pytest.mark.parametrize("close_only", [False, True])
def test_what_is_written_is_read_back_bit_for_bit(cache, close_only):
    bars = market(7, MONDAY + 600, 4000, close_only=close_only)
    put(cache, bars)
    got = cache.read(*KEY, *span(bars))
    assert same(got, bars)
    for name in COLUMNS:
        assert getattr(got, name).tobytes() == getattr(bars, name).tobytes()


PRICES = st.floats(min_value=5e-324, max_value=1.7e308, allow_subnormal=True)


@pytest.mark.ci
@examples(40)
@given(st.dictionaries(st.integers(0, 3000), PRICES, max_size=20), st.booleans())
def test_any_prices_survive(tmp_path_factory, prices, close_only):
    cache = Cache(tmp_path_factory.mktemp("any"))
    times = np.array(sorted(prices), np.int64) * 60 + MONDAY
    closes = np.array([prices[m] for m in sorted(prices)], np.float64)
    bars = Bars.from_closes(times, closes) if close_only else Bars(times, closes, closes, closes, closes)
    put(cache, bars, [(MONDAY, MONDAY + 3001 * 60)])
    assert same(cache.read(*KEY, MONDAY, MONDAY + 4 * DAY), bars)


def test_bars_are_split_at_midnight_utc(cache):
    put(cache, market(1, DAYS[1] - 120, 4))
    names = sorted(path.name for path in cache.folder(*KEY).glob("*.parquet"))
    assert names == ["2026-01-12.parquet", "2026-01-13.parquet"]
    assert [len(day(cache, d)) for d in DAYS[:2]] == [2, 2]
    assert {name: entry.covered for name, entry in entries(cache).items()} == {
        "2026-01-12": ((DAYS[1] - 120, DAYS[1]),),
        "2026-01-13": ((DAYS[1], DAYS[1] + 120),),
    }


def test_reading_returns_the_labels_asked_for_and_nothing_of_what_was_not_fetched(full):
    assert len(full.read(*KEY, DAYS[2], DAYS[2] + 3600)) == 0
    assert len(full.read(*KEY, DAYS[2] + 3540, DAYS[2] + 3720)) == 2
    assert len(full.read(*KEY, MONDAY - DAY, MONDAY)) == 0
    assert len(full.read("pyth", "ETH", MONDAY, MONDAY + DAY)) == 0
    assert len(full.read(*KEY, MONDAY + DAY - 60, MONDAY + DAY + 60)) == 2


def test_missing_is_what_was_asked_less_what_was_fetched(full):
    assert full.covered(*KEY) == [(DAYS[0], DAYS[2]), (DAYS[2] + 3600, DAYS[2] + 3600 + 300 * 60)]
    assert full.missing(*KEY, DAYS[0] - 60, DAYS[3]) == [
        (DAYS[0] - 60, DAYS[0]),
        (DAYS[2], DAYS[2] + 3600),
        (DAYS[2] + 3600 + 300 * 60, DAYS[3]),
    ]
    assert full.missing(*KEY, DAYS[0], DAYS[2]) == []
    assert full.missing("pyth", "ETH", 0, 60) == [(0, 60)]


def test_a_day_is_final_once_all_of_it_is_covered(cache):
    bars = market(1, MONDAY, 1440)
    put(cache, bars.rows(0, 700))
    assert not entries(cache)["2026-01-12"].final
    put(cache, bars.rows(701, 1440))
    assert not entries(cache)["2026-01-12"].final
    put(cache, bars.rows(700, 701))
    assert entries(cache)["2026-01-12"].final
    assert same(day(cache, MONDAY), bars)


def test_a_day_covered_without_a_bar_is_covered_and_empty(cache):
    assert put(cache, Bars.empty(), [(MONDAY, MONDAY + DAY)]) == 1
    assert cache.missing(*KEY, MONDAY, MONDAY + DAY) == []
    assert len(day(cache, MONDAY)) == 0
    entry = entries(cache)["2026-01-12"]
    assert (entry.rows, entry.final) == (0, True)
    assert list(cache.read_with_fingerprint(*KEY, MONDAY, MONDAY + DAY)[1]) == ["2026-01-12"]


def test_the_footer_says_what_each_file_holds(cache):
    bars = market(1, MONDAY, 10)
    put(cache, bars, [(MONDAY, MONDAY + 1200)], Provenance("a host", 1_768_300_000, synthetic=True))
    entry = entries(cache)["2026-01-12"]
    assert (entry.rows, entry.covered) == (10, ((MONDAY, MONDAY + 1200),))
    assert (entry.source, entry.fetched_at, entry.synthetic, entry.final) == ("a host", 1_768_300_000, True, False)
    found, partitions = cache.read_with_fingerprint(*KEY, MONDAY, MONDAY + DAY)
    assert same(found, bars)
    data = (cache.folder(*KEY) / "2026-01-12.parquet").read_bytes()
    assert partitions == {"2026-01-12": replace(entry, sha256=hashlib.sha256(data).hexdigest())}
    assert entry.digest == bars.digest()
    (cache.root / "notes" / "figures").mkdir(parents=True)
    assert cache.assets() == [KEY]


def test_other_programs_read_a_partition_as_the_parquet_file_that_it_is(cache):
    bars = market(1, MONDAY, 1440)
    put(cache, bars)
    table = pq.read_table(cache.folder(*KEY) / "2026-01-12.parquet")
    assert same(Bars.from_columns({name: table[name].to_numpy() for name in COLUMNS}), bars)


def test_a_footer_longer_than_usual_is_read_whole(cache):
    bars = market(1, MONDAY, 1440)
    covered = [(MONDAY + 120 * i, MONDAY + 120 * i + 60) for i in range(720)]
    kept = Bars.concatenate([bars.between(*part) for part in covered])
    put(cache, kept, covered)
    assert cache.covered(*KEY) == covered
    assert same(day(cache, MONDAY), kept)


# --- merging


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_parts_of_a_day_join_whatever_their_order(cache, order):
    bars = market(1, MONDAY, 900)
    parts = [bars.rows(0, 300), bars.rows(300, 600), bars.rows(600, 900)]
    for i in order:
        put(cache, parts[i])
    assert same(day(cache, MONDAY), bars)
    assert cache.covered(*KEY) == [span(bars)]


def test_overlapping_equal_bars_join(cache):
    bars = market(1, MONDAY, 900)
    put(cache, bars.rows(0, 600))
    put(cache, bars.rows(400, 900))
    assert same(day(cache, MONDAY), bars)


def test_bars_may_fill_a_gap_that_was_covered(cache):
    bars = market(1, MONDAY, 100)
    put(cache, Bars.concatenate([bars.rows(0, 40), bars.rows(60, 100)]))
    put(cache, bars.rows(40, 60))
    assert same(day(cache, MONDAY), bars)


@pytest.mark.parametrize("close_only", [False, True])
def test_writing_the_same_again_touches_nothing(cache, close_only):
    bars = market(1, MONDAY, 3000, close_only=close_only)
    assert put(cache, bars) == 3
    before = {p.name: (p.stat().st_mtime_ns, p.read_bytes()) for p in cache.folder(*KEY).glob("*.*")}
    assert put(cache, bars, provenance=Provenance("elsewhere", 1_900_000_000)) == 0
    assert put(cache, bars.rows(100, 200)) == 0
    assert {p.name: (p.stat().st_mtime_ns, p.read_bytes()) for p in cache.folder(*KEY).glob("*.*")} == before


def changed(bars: Bars, row: int, name: str = "close") -> Bars:
    columns = {k: v.copy() for k, v in bars.columns().items()}
    columns[name][row] = np.nextafter(columns[name][row], columns["low" if name == "high" else "high"][row])
    return Bars.from_columns(columns)


@pytest.mark.parametrize("name", ["open", "high", "low", "close"])
def test_a_bar_that_differs_in_one_bit_is_refused_and_nothing_is_written(cache, name):
    bars = market(1, MONDAY, 3000)
    put(cache, bars)
    other = changed(changed(bars, 2000, name), 2001, name)
    with pytest.raises(DataError, match=rf"2026-01-13: 2 bar.*{bars.timestamp[2000]}.*--replace"):
        put(cache, Bars.concatenate([market(5, MONDAY - DAY, 1440), other]))
    assert same(cache.read(*KEY, MONDAY - DAY, MONDAY + 3 * DAY), bars)
    assert leftovers(cache.root) == []


def test_replace_prefers_the_new_bars_and_keeps_the_others(cache):
    bars = market(1, MONDAY, 1440)
    put(cache, bars)
    new = changed(bars, 700)
    assert put(cache, new.rows(650, 750), replace=True) == 1
    assert same(day(cache, MONDAY), new)


def test_equal_closes_take_no_range_away_and_others_conflict(cache):
    bars = market(1, MONDAY, 10)
    put(cache, bars)
    put(cache, Bars.from_closes(bars.timestamp, bars.close))
    assert cache.read(*KEY, MONDAY, MONDAY + 600).digest() == bars.digest()
    with pytest.raises(DataError, match="10 bar"):
        put(cache, Bars.from_closes(bars.timestamp, bars.close * 1.01))


@pytest.mark.parametrize("covered", [[(MONDAY, MONDAY + 540)], [(MONDAY + 60, MONDAY + 600)], [(0, 60)]])
def test_bars_outside_what_they_are_said_to_cover_are_refused(cache, covered):
    with pytest.raises(DataError, match="outside the range"):
        put(cache, market(1, MONDAY, 10), covered)
    assert cache.covered(*KEY) == []


# --- damage


def flip(path: Path, bit: int) -> bytes:
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)
    return bytes(data)


def check_flips(cache: Cache, root: Path, flips: int) -> None:
    good = {d: day(cache, d) for d in DAYS[:3]}
    rng = np.random.default_rng(20_260_115)
    folder = cache.folder(*KEY)
    aside = folder / QUARANTINE
    detected = served = 0
    for _ in range(flips):
        hit = DAYS[int(rng.integers(3))]
        name = day_name(hit)
        path = folder / f"{name}.parquet"
        damaged = flip(path, int(rng.integers(8 * path.stat().st_size)))
        assert damaged_days(cache) == [name]
        try:
            whole = rng.random() < 0.5
            got = cache.read(*KEY, DAYS[0], DAYS[3]) if whole else day(cache, hit)
            served += len(got)
        except CorruptPartitionError as error:
            detected += 1
            message = str(error)
        assert str(path) in message
        assert str(aside) in message
        assert f"ewmalab data fetch --feed pyth --assets BTC --start {name} --days 1" in message
        assert damaged in [p.read_bytes() for p in aside.iterdir()]
        assert not path.exists()
        for d in DAYS[:3]:  # the others are still served, the damaged day is simply not there
            assert same(day(cache, d), Bars.empty() if d == hit else good[d])
        assert cache.missing(*KEY, hit, hit + DAY) == [(hit, hit + DAY)]
        put(cache, good[hit], [span(good[hit])])
        assert same(cache.read(*KEY, DAYS[0], DAYS[3]), Bars.concatenate(list(good.values())))
        shutil.rmtree(aside)
    assert (detected, served) == (flips, 0)
    print(f"{flips} flipped bits: {detected} detected, {served} bars of damaged days served")


@pytest.mark.ci
def test_every_flipped_bit_of_a_partition_is_detected_and_its_day_can_be_fetched_again(full, tmp_path):
    check_flips(full, tmp_path, 50)


@pytest.mark.slow
def test_every_one_of_many_flipped_bits_is_detected(full, tmp_path):
    check_flips(full, tmp_path, 2000)


@pytest.mark.ci
def test_no_flipped_bit_of_a_footer_changes_what_a_day_is_said_to_hold(full):
    described = entries(full)
    rng = np.random.default_rng(7)
    refused = 0
    for _ in range(300):
        name = str(rng.choice(sorted(described)))
        path = full.folder(*KEY) / f"{name}.parquet"
        whole = path.read_bytes()
        length = int.from_bytes(whole[-8:-4], "little") + 8
        flip(path, 8 * (len(whole) - length) + int(rng.integers(8 * length)))
        said = ""
        try:
            assert entries(full) == described  # the bit says nothing of the day
            assert damaged_days(full) == [name]
        except CorruptPartitionError as error:
            said = str(error)
            refused += 1
        if said:
            assert f"{name}.parquet" in said
            assert f"--start {name} --days 1" in said
            assert entries(full).keys() == described.keys() - {name}
        path.write_bytes(whole)
        shutil.rmtree(full.folder(*KEY) / QUARANTINE, ignore_errors=True)
    assert refused > 100


@pytest.mark.parametrize("kept", [0.0, 0.01, 0.5, 0.99])
def test_a_truncated_partition_is_detected(full, kept):
    path = full.folder(*KEY) / "2026-01-13.parquet"
    os.truncate(path, int(path.stat().st_size * kept))
    with pytest.raises(CorruptPartitionError, match=r"2026-01-13\.parquet"):
        day(full, DAYS[1])
    assert len(day(full, DAYS[0])) == 1440


def test_a_deleted_partition_counts_as_never_fetched(full):
    (full.folder(*KEY) / "2026-01-13.parquet").unlink()
    assert damaged_days(full) == []
    assert len(full.read(*KEY, DAYS[0], DAYS[3])) == 1740
    assert full.missing(*KEY, DAYS[1], DAYS[2]) == [(DAYS[1], DAYS[2])]


def test_an_older_whole_version_of_a_day_is_served_and_its_digest_tells(full):
    path = full.folder(*KEY) / "2026-01-14.parquet"
    older, recorded = path.read_bytes(), entries(full)["2026-01-14"].digest
    put(full, market(4, DAYS[2], 60))
    newer = entries(full)["2026-01-14"].digest
    path.write_bytes(older)
    assert damaged_days(full) == []
    assert full.read_with_fingerprint(*KEY, DAYS[2], DAYS[3])[1]["2026-01-14"].digest == recorded != newer


def test_a_damaged_day_is_written_anew_and_the_damaged_file_kept_aside(full):
    path = full.folder(*KEY) / "2026-01-13.parquet"
    damaged = flip(path, 4000)
    bars = market(2, DAYS[1], 1440, close_only=True)
    put(full, bars.rows(0, 100))
    assert same(day(full, DAYS[1]), bars.rows(0, 100))
    assert [p.read_bytes() for p in (full.folder(*KEY) / QUARANTINE).iterdir()] == [damaged]


def test_quarantine_keeps_every_damaged_file_of_a_day(full):
    path, kept = full.folder(*KEY) / "2026-01-13.parquet", []
    for bit in (4000, 5000, 6000):
        kept.append(flip(path, bit))
        put(full, market(2, DAYS[1], 1440, close_only=True))
    assert sorted(p.read_bytes() for p in (full.folder(*KEY) / QUARANTINE).iterdir()) == sorted(kept)


def check_a_stray_file(cache: Cache, place: tuple[str, str], name: str) -> None:
    folder = cache.folder(*place)
    assert damaged_days(cache, place) == [Path(name).stem]
    assert len(cache.repair(*place)) == 1
    assert [p.name for p in (folder / QUARANTINE).iterdir()] == [name]
    assert damaged_days(cache) == []
    assert cache.repair(*place) == []


@pytest.mark.parametrize("name", ["2026-01-15.parquet", "2025-12-31.parquet", "copy of 2026-01-12.parquet"])
def test_a_stray_file_is_never_served(full, name):
    folder = full.folder(*KEY)
    good, described = full.read(*KEY, 0, DAYS[3]), entries(full)
    shutil.copy(folder / "2026-01-12.parquet", folder / name)
    if not name.startswith("copy"):
        with pytest.raises(CorruptPartitionError, match=rf"{name}: it holds pyth/BTC/2026-01-12, not.*moved aside"):
            full.read(*KEY, 0, DAYS[3] + DAY)
        shutil.move(folder / QUARANTINE / name, folder / name)
        with pytest.raises(CorruptPartitionError, match=name):
            full.covered(*KEY)
        shutil.move(folder / QUARANTINE / name, folder / name)
        put(full, market(9, day_start(Path(name).stem), 10))  # a write moves it aside as well
        assert len(day(full, day_start(Path(name).stem))) == 10
        (folder / name).unlink()
        shutil.move(folder / QUARANTINE / name, folder / name)
    else:
        assert same(full.read(*KEY, 0, DAYS[3] + DAY), good)
        assert entries(full) == described
    check_a_stray_file(full, KEY, name)
    assert same(full.read(*KEY, 0, DAYS[3] + DAY), good)


@pytest.mark.parametrize("place", [("pyth", "ETH"), ("binance", "BTC")])
def test_a_file_of_another_asset_or_feed_is_never_served(full, place):
    full.folder(*place).mkdir(parents=True)
    shutil.copy(full.folder(*KEY) / "2026-01-12.parquet", full.folder(*place))
    with pytest.raises(CorruptPartitionError, match=f"it holds pyth/BTC/2026-01-12, not {'/'.join(place)}/2026-01-12"):
        full.read(*place, DAYS[0], DAYS[1])
    shutil.move(full.folder(*place) / QUARANTINE / "2026-01-12.parquet", full.folder(*place))
    check_a_stray_file(full, place, "2026-01-12.parquet")


def test_repair_moves_damage_aside_and_deletes_leftovers(full):
    folder = full.folder(*KEY)
    flip(folder / "2026-01-13.parquet", 4000)
    (folder / f"{TEMP_PREFIX}1-a").write_bytes(b"half")
    done = full.repair(*KEY)
    assert len(done) == 2
    assert "removed 1 unfinished" in done[0]
    assert "2026-01-13: moved aside" in done[1]
    assert full.repair(*KEY) == []
    assert full.covered(*KEY) == [(DAYS[0], DAYS[1]), (DAYS[2] + 3600, DAYS[2] + 3600 + 300 * 60)]


def trust(path: Path) -> None:
    """Seal a file as it is now."""
    data = path.read_bytes()
    at = data.rindex(b"ewmaseal")
    path.write_bytes(seal(data[:at] + data[at + 40 :]))


@pytest.mark.parametrize("column", range(5))
def test_page_checksums_refuse_a_page_even_if_the_seal_vouches_for_the_file(full, column):
    path = full.folder(*KEY) / "2026-01-12.parquet"
    chunk = pq.ParquetFile(path).metadata.row_group(0).column(column)
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    flip(path, 8 * (start + chunk.total_compressed_size - 20))
    trust(path)
    with pytest.raises(CorruptPartitionError, match="CRC"):
        day(full, DAYS[0])


def test_rows_that_are_not_those_described_are_refused_even_if_all_checksums_hold(full):
    path = full.folder(*KEY) / "2026-01-12.parquet"
    table = pq.read_table(path)
    close = table["close"].to_numpy().copy()
    close[5] = np.nextafter(close[5], table["high"].to_numpy()[5])
    position = table.column_names.index("close")
    pq.write_table(table.set_column(position, "close", pa.array(close)), path, write_page_checksum=True)
    path.write_bytes(seal(path.read_bytes()))
    with pytest.raises(CorruptPartitionError, match="its rows have changed since they were written"):
        day(full, DAYS[0])


def test_a_seal_that_is_gone_is_noticed(full):
    path = full.folder(*KEY) / "2026-01-12.parquet"
    data = path.read_bytes()
    at = data.rindex(b"ewmaseal")
    path.write_bytes(data[:at] + data[at + 40 :])
    assert len(pq.read_table(path)) == 1440
    with pytest.raises(CorruptPartitionError, match="no seal"):
        day(full, DAYS[0])


# --- a cache that cannot be written


def check_read_only(cache: Cache, spoil: Callable[[Path], Any], read: Callable[[], Any]) -> None:
    path = cache.folder(*KEY) / "2026-01-13.parquet"
    spoil(path)
    before = {p: p.read_bytes() for p in cache.root.rglob("*") if p.is_file()}
    with pytest.raises(CorruptPartitionError) as caught:
        read()
    said = str(caught.value)
    assert str(path) in said
    assert "cannot be moved aside (Read-only file system)" in said
    assert {p: p.read_bytes() for p in cache.root.rglob("*") if p.is_file()} == before
    assert len(day(cache, DAYS[0])) == 1440
    assert damaged_days(cache) == ["2026-01-13"]


@pytest.mark.parametrize("place", ["the lock", "the folder"])
@pytest.mark.parametrize("spoil", [lambda path: os.truncate(path, 50), lambda path: flip(path, 4000)])
def test_damage_in_a_read_only_cache_is_named_and_nothing_is_moved(full, monkeypatch, place, spoil):
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    if place == "the lock":
        monkeypatch.setattr(asset_folder, "acquire_lock", refuse)
    else:
        for name in ("mkdir", "rename", "replace"):
            monkeypatch.setattr(Path, name, refuse)
    check_read_only(full, spoil, lambda: full.read(*KEY, DAYS[0], DAYS[3]))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_damage_in_a_folder_of_somebody_else_is_named(full):
    folder = full.folder(*KEY)
    os.truncate(folder / "2026-01-13.parquet", 50)
    (folder / ".lock").unlink()
    folder.chmod(0o555)
    try:
        with pytest.raises(
            CorruptPartitionError, match=r"2026-01-13\.parquet.*cannot be moved aside \(Permission denied"
        ):
            full.missing(*KEY, DAYS[0], DAYS[3])
    finally:
        folder.chmod(0o755)


# --- partitions of earlier versions: no seal, and a manifest beside them


def as_earlier_versions_wrote(path: Path, bars: Bars, covered: list[Range]) -> None:
    """Write a partition as versions with a manifest did, and a manifest that says nothing true."""
    note = {"covered": covered, "source": "a host", "fetched_at": 1_768_300_000, "synthetic": False}
    described = json.dumps({**note, "digest": bars.digest()}).encode()
    fields = [("timestamp", pa.int64()), *((name, pa.float64()) for name in COLUMNS[1:])]
    metadata = {b"ewmalab": described, b"ewmalab.sha256": hashlib.sha256(described).hexdigest()}
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table(bars.columns(), schema=pa.schema(fields, metadata=metadata))
    pq.write_table(table, path, compression="zstd", write_page_checksum=True)
    (path.parent / "manifest.json").write_text('{"body": {"days": {}}}')


@pytest.fixture
def earlier(cache: Cache) -> Cache:
    for d in DAYS[:2]:
        bars = market(d % 97, d, 1000)
        as_earlier_versions_wrote(cache.folder(*KEY) / f"{day_name(d)}.parquet", bars, [span(bars)])
    return cache


def test_a_cache_of_an_earlier_version_is_read_on(earlier):
    bars = [market(d % 97, d, 1000) for d in DAYS[:2]]
    assert same(earlier.read(*KEY, DAYS[0], DAYS[3]), Bars.concatenate(bars))
    assert earlier.covered(*KEY) == [span(b) for b in bars]
    entry = entries(earlier)["2026-01-12"]
    assert (entry.rows, entry.source, entry.fetched_at, entry.synthetic) == (1000, "a host", 1_768_300_000, False)
    assert (entry.asked_at, entry.provisional, entry.late) == (entry.fetched_at, (), ())
    assert damaged_days(earlier) == []
    assert len(entries(earlier)) == 2
    assert earlier.repair(*KEY) == []
    rest = market(3, DAYS[0] + 60_000, 440)
    assert put(earlier, rest) == 1
    assert same(day(earlier, DAYS[0]), Bars.concatenate([bars[0], rest]))
    assert (earlier.folder(*KEY) / "manifest.json").read_text() == '{"body": {"days": {}}}'


@pytest.mark.ci
def test_no_flipped_bit_of_an_earlier_partition_changes_a_bar_or_the_coverage(earlier):
    good, described = earlier.read(*KEY, DAYS[0], DAYS[3]), entries(earlier)
    path = earlier.folder(*KEY) / "2026-01-13.parquet"
    whole = path.read_bytes()
    rng = np.random.default_rng(5)
    refused = 0
    for _ in range(200):
        flip(path, int(rng.integers(8 * len(whole))))
        try:
            got, found = earlier.read_with_fingerprint(*KEY, DAYS[0], DAYS[3])
            assert same(got, good)
            assert [entry.covered for entry in found.values()] == [entry.covered for entry in described.values()]
        except CorruptPartitionError:
            refused += 1
        path.write_bytes(whole)
    assert refused > 150


def test_a_partition_says_its_bars_and_name_in_any_process():
    bars = market(1, MONDAY, 100)
    data = encode("pyth/BTC/2026-01-12", bars, [span(bars)], TEST)
    assert data == encode("pyth/BTC/2026-01-12", bars, [span(bars)], TEST)
    entry, got = decode(data, "pyth/BTC/2026-01-12")
    assert same(got, bars)
    assert (entry.covered, entry.final) == ((span(bars),), False)


# --- killed writers


class Killed(BaseException):
    """The process ended here."""


class Reaper:
    """Ends a writer at its n-th step that the operating system sees; a dead writer does nothing more."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, at: int | None) -> None:
        self.at = at
        self.steps: list[str] = []
        self.dead = False
        self._patch(monkeypatch, files_module.os, "fsync", self._tear)
        for name in ("replace", "rename", "unlink", "mkdir"):
            self._patch(monkeypatch, Path, name)

    def step(self, what: str) -> None:
        if self.dead:
            raise Killed
        self.steps.append(what)
        if self.at is not None and len(self.steps) > self.at:
            self.dead = True
            raise Killed

    def _patch(
        self, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, dying: Callable[..., None] | None = None
    ) -> None:
        real = getattr(owner, name)

        def wrapper(*args: Any, **kwargs: Any) -> Any:
            try:
                self.step(f"before {name}")
            except Killed:
                if dying is not None:
                    dying(*args)
                raise
            out = real(*args, **kwargs)
            self.step(f"after {name}")
            return out

        monkeypatch.setattr(owner, name, wrapper)

    def _tear(self, handle: int) -> None:
        """Leave half of a file that was not synced yet."""
        state = os.fstat(handle)
        if stat.S_ISREG(state.st_mode):
            os.ftruncate(handle, state.st_size // 2)


OLD = {DAYS[0]: market(1, DAYS[0], 1440), DAYS[1]: market(2, DAYS[1], 600), DAYS[2]: market(3, DAYS[2], 1440)}
NEW = {
    DAYS[0]: OLD[DAYS[0]],  # rewritten as it is
    DAYS[1]: Bars.concatenate([OLD[DAYS[1]], market(4, DAYS[1] + 36_000, 840)]),  # goes on
    DAYS[2]: market(5, DAYS[2], 1440),  # replaced
    DAYS[3]: market(6, DAYS[3], 30),  # begun
}
FRESH = Bars.concatenate([OLD[DAYS[0]], NEW[DAYS[1]].rows(600, 1440), NEW[DAYS[2]], NEW[DAYS[3]]])


def covers(bars: Bars) -> list[Range]:
    return [span(bars)] if len(bars) else []


def write_new(cache: Cache) -> None:
    put(cache, FRESH, [(DAYS[0], DAYS[1]), (DAYS[1] + 36_000, DAYS[3] + 1800)], replace=True)


def check_every_day_is_old_or_new(cache: Cache, spoilt: int | None = None) -> set[str]:
    """Read each day; return which states were seen."""
    covered = cache.covered(*KEY)
    states = set()
    for d in DAYS:
        old, new = OLD.get(d, Bars.empty()), NEW[d]
        try:
            got = day(cache, d)
        except CorruptPartitionError:
            assert d == spoilt
            got = day(cache, d)
        if d == spoilt:
            assert same(got, Bars.empty()) or same(got, new)
            continue
        assert same(got, old) or same(got, new)
        said = subtract([(d, d + DAY)], subtract([(d, d + DAY)], covered))
        assert said in (covers(old), covers(new))
        assert not subtract(said, covers(got))  # nothing is said to be there that is not
        states.add("same" if same(old, new) else "new" if same(got, new) else "old")
    lost = [day_name(spoilt)] if spoilt is not None and not same(day(cache, spoilt), NEW[spoilt]) else []
    assert damaged_days(cache) in ([], lost)
    return states


@pytest.fixture(scope="module")
def before(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("before") / "cache"
    for bars in OLD.values():
        put(Cache(root), bars)
    return root


def killed_write(root: Path, at: int | None) -> tuple[list[str], bool]:
    """Write the new bars, killed at a step; return the steps and whether the writer died."""
    with pytest.MonkeyPatch.context() as patch:
        reaper = Reaper(patch, at)
        try:
            write_new(Cache(root))
        except Killed:
            return reaper.steps, True
    return reaper.steps, False


def killed_states(before: Path, root: Path, spoilt: int | None = None) -> Iterator[tuple[int, str]]:
    """Yield, for every step of the writer, the cache in `root` as a death there leaves it."""
    at = 0
    while True:
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(before, root)
        if spoilt is not None:
            flip(Cache(root).folder(*KEY) / f"{day_name(spoilt)}.parquet", 5000)
        steps, died = killed_write(root, at)
        if not died:
            break
        yield at, steps[-1]
        at += 1
    assert at >= 16  # temporary files, renames, the folder
    print(f"killed at each of {at} steps")


@pytest.mark.parametrize("spoilt", [None, pytest.param(DAYS[2], marks=pytest.mark.ci)])
def test_a_writer_killed_at_any_step_leaves_each_day_old_or_new(before, tmp_path, spoilt):
    root = tmp_path / "cache"
    states = set()
    unfinished = 0
    for _ in killed_states(before, root, spoilt):
        cache = Cache(root)
        shutil.copytree(root, tmp_path / "cleaned")
        states.add(frozenset(check_every_day_is_old_or_new(cache, spoilt)))
        write_new(cache)  # the next writer recovers
        for d in DAYS:
            assert same(day(cache, d), NEW[d])
        assert leftovers(root) == []
        unfinished += len(leftovers(tmp_path / "cleaned"))
        assert Cache(tmp_path / "cleaned").delete_leftovers() >= 0
        assert leftovers(tmp_path / "cleaned") == []
        check_every_day_is_old_or_new(Cache(tmp_path / "cleaned"), spoilt)
        shutil.rmtree(tmp_path / "cleaned")
    # The kills did land before, between and after the renames.
    assert states >= {frozenset({"same", "old"}), frozenset({"same", "old", "new"}), frozenset({"same", "new"})}
    assert unfinished > 20


@pytest.mark.slow
def test_a_writer_killed_while_it_recovers_from_a_kill_leaves_each_day_old_or_new(before, tmp_path):
    root, second = tmp_path / "cache", tmp_path / "second"
    kills = 0
    for _ in killed_states(before, root):
        at = 0
        while True:
            shutil.rmtree(second, ignore_errors=True)
            shutil.copytree(root, second)
            if not killed_write(second, at)[1]:
                break
            check_every_day_is_old_or_new(Cache(second))
            write_new(Cache(second))
            assert same(Cache(second).read(*KEY, DAYS[0], DAYS[3] + DAY), Bars.concatenate(list(NEW.values())))
            assert leftovers(second) == []
            at += 1
        kills += at
    print(f"{kills} pairs of kills")
    assert kills > 250


def test_leftovers_are_deleted_in_quarantine_too_but_not_those_of_a_writer_at_work(full):
    folder = full.folder(*KEY)
    (folder / QUARANTINE).mkdir()
    for place in (folder, folder / QUARANTINE):
        (place / f"{TEMP_PREFIX}1-a").write_bytes(b"half")
    with AssetFolder(folder).locked():
        assert full.delete_leftovers() == 0
    assert full.delete_leftovers() == 2
    assert leftovers(full.root) == []


def test_a_lock_that_another_holds_too_long_is_an_error_that_names_it(full, monkeypatch):
    monkeypatch.setattr(asset_folder, "_LOCK_WAIT", 0.05)
    with AssetFolder(full.folder(*KEY)).locked(), pytest.raises(DataError, match="another process has held the lock"):
        put(full, market(1, DAYS[3], 10))


def test_set_aside_never_overwrites(full):
    paths = [full.set_aside(*KEY, "BTC-1.csv", content) for content in (b"one", b"two", b"three")]
    assert [path.read_bytes() for path in paths] == [b"one", b"two", b"three"]
    assert {path.parent.name for path in paths} == {QUARANTINE}


# --- several processes


SHARED = market(11, DAYS[0], 3 * 1440)
PATIENCE = 300.0  # seconds until a test fails that waits for another process


def write_hours(root: str, hours: list[int], ready: Any, read: Any) -> None:
    """Write these hours of three days at once, hour by hour; after every third wait for the reader to look."""
    cache = Cache(Path(root))
    ready.wait(PATIENCE)
    for i, hour in enumerate(hours):
        if i % 3 == 2:
            assert read.acquire(timeout=PATIENCE)
        ranges = [(d + 3600 * hour, d + 3600 * (hour + 1)) for d in DAYS[:3]]
        put(
            cache,
            Bars.concatenate([SHARED.between(*r) for r in ranges]),
            ranges,
            Provenance(f"hour {hour}", 1_800_000_000),
        )


def check_two_writers(root: Path, rounds: int) -> None:
    context = multiprocessing.get_context("spawn")
    reads = seen_between = 0
    for i in range(rounds):
        cache = Cache(root / str(i))
        order = np.random.default_rng(i).permutation(24).tolist()
        ready = context.Barrier(3)
        # The hours 6 to 17 are written by both.
        shares = ([h for h in order if h < 18], [h for h in order[::-1] if h >= 6])
        read = context.Semaphore(0)
        writers = [context.Process(target=write_hours, args=(str(cache.root), share, ready, read)) for share in shares]
        for writer in writers:
            writer.start()
        ready.wait(PATIENCE)
        deadline = time.monotonic() + PATIENCE
        while any(writer.is_alive() for writer in writers) and time.monotonic() < deadline:
            got = cache.read(*KEY, DAYS[0], DAYS[3])
            hours = union((int(t) - int(t) % 3600, int(t) - int(t) % 3600 + 3600) for t in got.timestamp)
            expected = [SHARED.between(a, b) for a, b in hours]
            assert same(got, Bars.concatenate(expected))  # whole hours as they were written
            if reads % 5 == 0:
                assert damaged_days(cache) == []
            reads += 1
            seen_between += 0 < len(got) < len(SHARED)
            if len(got):
                read.release()
        for writer in writers:
            writer.join(PATIENCE)
            assert writer.exitcode == 0
        assert same(cache.read(*KEY, DAYS[0], DAYS[3]), SHARED)
        assert cache.missing(*KEY, DAYS[0], DAYS[3]) == []
        assert all(entry.final for entry in entries(cache).values())
        assert leftovers(cache.root) == []
    print(f"{rounds} rounds, {reads} reads meanwhile, {seen_between} of a half-filled cache")
    assert seen_between > 3 * rounds


@pytest.mark.ci
def test_two_writers_of_the_same_days_lose_nothing_and_readers_see_whole_writes(tmp_path):
    check_two_writers(tmp_path, 1)


@pytest.mark.slow
def test_two_writers_lose_nothing_in_many_rounds(tmp_path):
    check_two_writers(tmp_path, 30)
