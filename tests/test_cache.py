"""The cache: what goes in comes out bit for bit, or not at all."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ewmalab import atomic_files as files_module
from ewmalab.atomic_files import TEMP_PREFIX
from ewmalab.errors import CorruptPartitionError, DataError
from ewmalab.market import cache as cache_module
from ewmalab.market.bars import Bars
from ewmalab.market.cache import QUARANTINE, Cache
from ewmalab.market.manifest import FILE, Manifest
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


def put(cache: Cache, bars: Bars, covered: list[Range] | None = None, **options: Any) -> int:
    return cache.write(*KEY, bars, covered or [span(bars)], **({"source": "test", "now": 1_800_000_000} | options))


def day(cache: Cache, start: int) -> Bars:
    return cache.read(*KEY, start, start + DAY)


def same(one: Bars, other: Bars) -> bool:
    return one.digest() == other.digest()


def leftovers(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.name.startswith(TEMP_PREFIX)]


def entries(cache: Cache) -> dict[str, Any]:
    """Return the settled manifest as what it means."""
    return Manifest.load(cache.folder(*KEY)).days


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


@settings(max_examples=40)
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
    assert list(cache.fingerprint(*KEY, MONDAY, MONDAY + DAY)) == ["2026-01-12"]


def test_the_manifest_says_what_each_file_holds(cache):
    bars = market(1, MONDAY, 10)
    put(cache, bars, [(MONDAY, MONDAY + 1200)], source="a host", now=1_768_300_000, synthetic=True)
    entry = entries(cache)["2026-01-12"]
    assert (entry.rows, entry.covered) == (10, ((MONDAY, MONDAY + 1200),))
    assert (entry.source, entry.fetched_at, entry.synthetic, entry.final) == ("a host", 1_768_300_000, True, False)
    found, partitions = cache.read_with_fingerprint(*KEY, MONDAY, MONDAY + DAY)
    assert same(found, bars)
    assert partitions == {"2026-01-12": entry}
    assert cache.fingerprint(*KEY, MONDAY, MONDAY + DAY) == {"2026-01-12": entry.sha256}
    assert [(f, a, m.days) for f, a, m in cache.entries()] == [(*KEY, {"2026-01-12": entry})]


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
    assert put(cache, bars, source="elsewhere", now=1_900_000_000) == 0
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


def test_a_close_only_bar_conflicts_with_one_that_has_a_range(cache):
    bars = market(1, MONDAY, 10)
    put(cache, bars)
    with pytest.raises(DataError, match="10 bar"):
        put(cache, Bars.from_closes(bars.timestamp, bars.close))


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
        assert [f.day for f in cache.verify() if f.problem] == [name]
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


def test_every_flipped_bit_of_a_partition_is_detected_and_its_day_can_be_fetched_again(full, tmp_path):
    check_flips(full, tmp_path, 50)


@pytest.mark.slow
def test_every_one_of_many_flipped_bits_is_detected(full, tmp_path):
    check_flips(full, tmp_path, 2000)


def check_manifest_flips(cache: Cache, flips: int) -> None:
    good, covered, described = cache.read(*KEY, DAYS[0], DAYS[3]), cache.covered(*KEY), entries(cache)
    path = cache.folder(*KEY) / FILE
    rng = np.random.default_rng(7)
    detected = 0
    for _ in range(flips):
        flip(path, int(rng.integers(8 * path.stat().st_size)))
        detected += [f.day for f in cache.verify() if f.problem] == ["-"]
        if rng.random() < 0.5:
            assert cache.covered(*KEY) == covered
        assert same(cache.read(*KEY, DAYS[0], DAYS[3]), good)
        assert entries(cache) == described
        assert [f.problem for f in cache.verify()] == [None] * 3
    assert detected == flips
    print(f"{flips} flipped bits of a manifest: {detected} detected, the same bars and coverage each time")


def test_a_manifest_with_a_flipped_bit_is_rebuilt_from_the_partitions(full):
    check_manifest_flips(full, 50)


@pytest.mark.slow
def test_a_manifest_with_any_of_many_flipped_bits_is_rebuilt(full):
    check_manifest_flips(full, 2000)


def test_nothing_of_a_partition_that_is_damaged_too_enters_a_rebuilt_manifest(full):
    good, described = {d: day(full, d) for d in DAYS[:3]}, entries(full)
    folder = full.folder(*KEY)
    whole = {p.name: p.read_bytes() for p in folder.glob("*.parquet")}
    rng = np.random.default_rng(3)
    for _ in range(40):
        name = str(rng.choice(sorted(whole)))
        flip(folder / name, int(rng.integers(8 * len(whole[name]))))
        flip(folder / FILE, 8)
        full.covered(*KEY)
        rebuilt = entries(full)
        for date, entry in rebuilt.items():
            # A file whose rows and description are whole may keep a flipped bit that says neither.
            assert entry.covered == described[date].covered
            assert (entry.source, entry.fetched_at) == (described[date].source, described[date].fetched_at)
            assert same(day(full, day_start(date)), good[day_start(date)])
        assert {f"{date}.parquet" for date in rebuilt} >= whole.keys() - {name}
        for file, content in whole.items():
            (folder / file).write_bytes(content)
        (folder / FILE).unlink()
        full.covered(*KEY)


@pytest.mark.parametrize("kept", [0.0, 0.01, 0.5, 0.99])
def test_a_truncated_partition_is_detected(full, kept):
    path = full.folder(*KEY) / "2026-01-13.parquet"
    os.truncate(path, int(path.stat().st_size * kept))
    with pytest.raises(CorruptPartitionError, match=r"2026-01-13\.parquet"):
        day(full, DAYS[1])
    assert len(day(full, DAYS[0])) == 1440


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.99])
def test_a_truncated_manifest_is_rebuilt(full, kept):
    described, path = entries(full), full.folder(*KEY) / FILE
    os.truncate(path, int(path.stat().st_size * kept))
    assert full.covered(*KEY)
    assert entries(full) == described


def test_a_deleted_manifest_is_rebuilt(full):
    good, described = full.read(*KEY, DAYS[0], DAYS[3]), entries(full)
    (full.folder(*KEY) / FILE).unlink()
    assert [f.day for f in full.verify() if f.problem] == ["-"]
    assert same(full.read(*KEY, DAYS[0], DAYS[3]), good)
    assert entries(full) == described
    (full.folder(*KEY) / FILE).unlink()
    put(full, market(9, DAYS[3], 10))
    assert entries(full).keys() == described.keys() | {"2026-01-15"}


def test_a_deleted_partition_is_an_error_once_and_then_missing(full):
    (full.folder(*KEY) / "2026-01-13.parquet").unlink()
    assert [f.day for f in full.verify() if f.problem] == ["2026-01-13"]
    with pytest.raises(CorruptPartitionError, match=r"gone.*--start 2026-01-13 --days 1"):
        full.read(*KEY, DAYS[0], DAYS[3])
    assert len(full.read(*KEY, DAYS[0], DAYS[3])) == 1740
    assert full.missing(*KEY, DAYS[1], DAYS[2]) == [(DAYS[1], DAYS[2])]


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


@pytest.mark.parametrize("name", ["2026-01-15.parquet", "2025-12-31.parquet", "copy of 2026-01-12.parquet"])
@pytest.mark.parametrize("manifest", [True, False])
def test_a_stray_file_is_never_served(full, name, manifest):
    folder = full.folder(*KEY)
    good, described = full.read(*KEY, 0, DAYS[3]), entries(full)
    shutil.copy(folder / "2026-01-12.parquet", folder / name)
    if not manifest:
        (folder / FILE).unlink()
    assert same(full.read(*KEY, 0, DAYS[3] + DAY), good)
    assert entries(full) == described
    assert [f.day for f in full.verify() if f.problem] == [Path(name).stem]
    assert len(full.repair(*KEY)) == 1
    assert [p.name for p in (folder / QUARANTINE).iterdir()] == [name]
    assert [f.problem for f in full.verify()] == [None] * 3
    assert full.repair(*KEY) == []


def test_repair_moves_damage_aside_rebuilds_the_manifest_and_sweeps(full):
    folder = full.folder(*KEY)
    flip(folder / "2026-01-13.parquet", 4000)
    (folder / f"{TEMP_PREFIX}1-a").write_bytes(b"half")
    done = full.repair(*KEY)
    assert len(done) == 2
    assert "removed 1 unfinished" in done[0]
    assert "2026-01-13: moved aside" in done[1]
    flip(folder / FILE, 4000)
    assert full.repair(*KEY) == ["rebuilt the manifest from the partitions"]
    assert full.covered(*KEY) == [(DAYS[0], DAYS[1]), (DAYS[2] + 3600, DAYS[2] + 3600 + 300 * 60)]


def trust(cache: Cache, name: str) -> None:
    """Let the manifest vouch for a file as it is now."""
    manifest = Manifest.load(cache.folder(*KEY))
    data = (cache.folder(*KEY) / f"{name}.parquet").read_bytes()
    sha256 = cache_module.hashlib.sha256(data).hexdigest()
    manifest.days[name] = cache_module.Partition(**{**_fields(manifest.days[name]), "sha256": sha256})
    manifest.save(cache.folder(*KEY))


def _fields(entry: Any) -> dict[str, Any]:
    return {name: getattr(entry, name) for name in entry.__slots__}


@pytest.mark.parametrize("column", range(5))
def test_page_checksums_refuse_a_page_even_if_the_manifest_vouches_for_the_file(full, column):
    path = full.folder(*KEY) / "2026-01-12.parquet"
    chunk = pq.ParquetFile(path).metadata.row_group(0).column(column)
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    flip(path, 8 * (start + chunk.total_compressed_size - 20))
    trust(full, "2026-01-12")
    with pytest.raises(CorruptPartitionError, match="CRC"):
        day(full, DAYS[0])


def test_rows_that_are_not_those_described_are_refused_even_if_all_checksums_hold(full):
    path = full.folder(*KEY) / "2026-01-12.parquet"
    table = pq.read_table(path)
    close = table["close"].to_numpy().copy()
    close[5] = np.nextafter(close[5], table["high"].to_numpy()[5])
    position = table.column_names.index("close")
    pq.write_table(table.set_column(position, "close", pa.array(close)), path, write_page_checksum=True)
    trust(full, "2026-01-12")
    with pytest.raises(CorruptPartitionError, match="not those that were written"):
        day(full, DAYS[0])


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


OLD = {
    DAYS[0]: market(1, DAYS[0], 1440),
    DAYS[1]: market(2, DAYS[1], 600),
    DAYS[2]: market(3, DAYS[2], 1440),
}
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
    assert not [f for f in cache.verify() if f.problem]
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
    assert at >= 30  # temporary files, pending manifest, renames, final manifest
    print(f"killed at each of {at} steps")


@pytest.mark.parametrize("spoilt", [None, DAYS[2]])
def test_a_writer_killed_at_any_step_leaves_each_day_old_or_new(before, tmp_path, spoilt):
    root = tmp_path / "cache"
    states = set()
    unfinished = 0
    for _ in killed_states(before, root, spoilt):
        cache = Cache(root)
        shutil.copytree(root, tmp_path / "swept")
        states.add(frozenset(check_every_day_is_old_or_new(cache, spoilt)))
        write_new(cache)  # the next writer recovers
        for d in DAYS:
            assert same(day(cache, d), NEW[d])
        assert leftovers(root) == []
        unfinished += len(leftovers(tmp_path / "swept"))
        assert Cache(tmp_path / "swept").sweep() >= 0
        assert leftovers(tmp_path / "swept") == []
        check_every_day_is_old_or_new(Cache(tmp_path / "swept"), spoilt)
        shutil.rmtree(tmp_path / "swept")
    # The kills did land before, between and after the renames.
    assert states >= {frozenset({"same", "old"}), frozenset({"same", "old", "new"}), frozenset({"same", "new"})}
    assert unfinished > 20


def test_a_manifest_damaged_after_a_kill_is_rebuilt_with_each_day_old_or_new(before, tmp_path):
    root = tmp_path / "cache"
    for at, _ in killed_states(before, root):
        flip(Cache(root).folder(*KEY) / FILE, 8 * (100 + at))
        check_every_day_is_old_or_new(Cache(root))
        write_new(Cache(root))
        assert same(Cache(root).read(*KEY, DAYS[0], DAYS[3] + DAY), Bars.concatenate(list(NEW.values())))


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
    assert kills > 1000


def test_sweep_removes_unfinished_files_in_quarantine_too_but_not_those_of_a_writer_at_work(full):
    folder = full.folder(*KEY)
    (folder / QUARANTINE).mkdir()
    for place in (folder, folder / QUARANTINE):
        (place / f"{TEMP_PREFIX}1-a").write_bytes(b"half")
    with full._locked(folder):
        assert full.sweep() == 0
    assert full.sweep() == 2
    assert leftovers(full.root) == []


def test_a_lock_that_another_holds_too_long_is_an_error_that_names_it(full, monkeypatch):
    monkeypatch.setattr(cache_module, "_LOCK_WAIT", 0.05)
    with full._locked(full.folder(*KEY)), pytest.raises(DataError, match="another process has held the lock"):
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
        put(cache, Bars.concatenate([SHARED.between(*r) for r in ranges]), ranges, source=f"hour {hour}")


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
                assert not [f for f in cache.verify() if f.problem]
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


def test_two_writers_of_the_same_days_lose_nothing_and_readers_see_whole_writes(tmp_path):
    check_two_writers(tmp_path, 1)


@pytest.mark.slow
def test_two_writers_lose_nothing_in_many_rounds(tmp_path):
    check_two_writers(tmp_path, 30)
