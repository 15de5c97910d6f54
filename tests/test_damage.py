"""Damaged days: in view of every check until their bars are back, each with its source and a command that works."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import numpy as np
import pytest

from ewmalab import api
from ewmalab.errors import CorruptPartitionError
from ewmalab.market.asset_folder import QUARANTINE, AssetFolder
from ewmalab.market.bars import Bars
from ewmalab.market.cache import Cache
from ewmalab.market.damage_survey import Damage, survey
from ewmalab.market.files.importer import Choices, import_file
from ewmalab.market.files.search import BarFile
from ewmalab.market.files.table import Hints
from ewmalab.market.inventory import list_cached, repair_cache
from ewmalab.market.partition import Provenance
from ewmalab.rulebook import load_rulebook
from ewmalab.times import DAY, day_start

MONDAY = day_start("2026-01-12")
KEY = ("binance", "BTC")
NOW = MONDAY + 30 * DAY


def market(start: int, minutes: int) -> Bars:
    closes = 50_000 + np.random.default_rng(start).normal(0, 100, minutes)
    return Bars.from_closes(start + 60 * np.arange(minutes), closes)


def file_of(folder: Path, bars: Bars, name: str = "BTC.csv") -> Path:
    rows = [f"{t},{c!r}" for t, c in zip(bars.timestamp.tolist(), bars.close.tolist(), strict=True)]
    (folder / name).write_text("\n".join(["timestamp,close", *rows]) + "\n")
    return folder / name


def take(cache: Cache, path: Path, choices: Choices | None = None) -> None:
    import_file(cache, BarFile(path, *KEY), now=NOW, rulebook=load_rulebook(), choices=choices)


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


@pytest.fixture
def fetched(cache: Cache) -> Cache:
    """Two days of a feed."""
    cache.write(*KEY, market(MONDAY, 2880), [(MONDAY, MONDAY + 2 * DAY)], Provenance("api.binance.com", NOW))
    return cache


def partition(cache: Cache, day: str = "2026-01-12") -> Path:
    return cache.folder(*KEY) / f"{day}.parquet"


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[1000] ^= 1
    path.write_bytes(data)


def truncate(path: Path) -> None:
    os.truncate(path, 50)


def seen(cache: Cache) -> list[Damage]:
    """Return the damage that listing, verifying and repairing without fetching show, which is the same."""
    listed = [one for asset in list_cached(cache) for one in asset.damage]
    verified = [one for asset in list_cached(cache, thorough=True) for one in asset.damage]
    assert listed == verified
    repaired = [one for asset in repair_cache(cache, None, now=NOW) for one in asset.damage]
    assert [one.day for one in repaired] == [one.day for one in listed]
    return repaired


SPOIL = pytest.mark.parametrize("spoil", [flip, truncate])


@SPOIL
def test_a_damaged_day_of_a_feed_stays_in_view_until_its_bars_are_back(fetched, spoil):
    spoil(partition(fetched))
    for _ in range(3):
        (one,) = seen(fetched)
        assert one.day == "2026-01-12"
        assert one.origin.source == "feed binance"
        assert one.origin.command == "ewmalab data fetch --feed binance --assets BTC --start 2026-01-12 --days 1"
    fetched.write(*KEY, market(MONDAY, 2880).rows(0, 700), [(MONDAY, MONDAY + 42_000)], Provenance("x", NOW))
    assert "740 minutes of it are not back" in seen(fetched)[0].problem
    fetched.write(*KEY, market(MONDAY, 2880).rows(700, 1440), [(MONDAY + 42_000, MONDAY + DAY)], Provenance("x", NOW))
    assert seen(fetched) == []


@SPOIL
@pytest.mark.parametrize("minutes", [700, 2880])  # of one day, without a neighbour that could tell; and of two
def test_a_damaged_day_of_a_file_names_the_command_that_imports_it_again(cache, tmp_path, spoil, minutes):
    path = file_of(tmp_path, market(MONDAY, minutes))
    take(cache, path, Choices(Hints(unit="s", timezone="Etc/UTC"), quarantine=True))
    spoil(partition(cache))
    (one,) = seen(cache)
    assert one.origin.source == "file BTC.csv"
    words = shlex.split(one.origin.command)
    assert words[:4] == ["ewmalab", "data", "import", str(path)]
    assert words[4:] == ["--feed", "binance", "--asset", "BTC", "--timezone", "Etc/UTC", "--unit", "s", "--quarantine"]
    take(cache, path)
    assert seen(cache) == []


@SPOIL
def test_the_error_of_a_reader_names_the_source_too(cache, tmp_path, spoil):
    take(cache, file_of(tmp_path, market(MONDAY, 100)))
    spoil(partition(cache))
    with pytest.raises(CorruptPartitionError, match=r"from file BTC\.csv; bring them back: ewmalab data import /.*BTC"):
        cache.read(*KEY, MONDAY, MONDAY + DAY)


def test_without_a_log_the_neighbours_say_that_it_was_a_file(cache, tmp_path):
    take(cache, file_of(tmp_path, market(MONDAY, 2880)))
    (cache.folder(*KEY) / "imports.json").write_text("[{")
    truncate(partition(cache))
    (one,) = seen(cache)
    assert one.origin.source == "file BTC.csv"
    assert one.origin.command == "ewmalab data import FOLDER/BTC.csv --feed binance --asset BTC"


def test_a_day_of_a_file_and_a_feed_names_both(fetched, tmp_path):
    later = market(MONDAY + 2 * DAY, 60)
    take(fetched, file_of(tmp_path, later))
    day = MONDAY + 2 * DAY
    rest = market(day + 3600, 1380)
    fetched.write(*KEY, rest, [(day + 3600, day + DAY)], Provenance("api.binance.com", NOW))
    flip(partition(fetched, "2026-01-14"))
    (one,) = seen(fetched)
    assert one.origin.source == "file BTC.csv and feed binance"
    assert one.origin.command.count("ewmalab data ") == 2


def test_a_lock_that_another_process_holds_hides_no_damage(fetched):
    truncate(partition(fetched))
    with AssetFolder(fetched.folder(*KEY)).locked():
        with pytest.raises(CorruptPartitionError, match=r"2026-01-12\.parquet.*another process is writing"):
            fetched.read(*KEY, MONDAY, MONDAY + DAY)
        assert [one.day for one in survey(fetched, *KEY).damage] == ["2026-01-12"]
    assert partition(fetched).exists()


def test_repair_of_a_folder_that_cannot_be_written_says_which_day_is_damaged(fetched, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    truncate(partition(fetched))
    monkeypatch.setattr("filelock.FileLock.acquire", refuse)
    (repair,) = repair_cache(fetched, None, now=NOW)
    assert "Read-only file system" in str(repair.error)
    assert [one.day for one in repair.damage] == ["2026-01-12"]
    assert fetched.delete_leftovers() == 0


def test_repair_fetches_days_of_feeds_and_leaves_those_of_files_to_their_command(fetched, tmp_path):
    take(fetched, file_of(tmp_path, market(MONDAY + 2 * DAY, 60)))
    for day in ("2026-01-12", "2026-01-14"):
        truncate(partition(fetched, day))

    class Feed:
        name, source, chunk, reach, synthetic, complete = "binance", "a host", DAY, None, False, False

        def fetch(self, asset: str, start: int, end: int, now: int) -> Bars:
            return market(MONDAY, 2880).between(start, end)

    (repair,) = repair_cache(fetched, lambda name: Feed(), now=NOW)
    assert repair.refetched == 1440
    assert [one.day for one in repair.damage] == ["2026-01-14"]


@SPOIL
def test_the_commands_show_a_damaged_day_in_text_and_json_and_with_their_exit_codes(cache, tmp_path, spoil):
    path = file_of(tmp_path, market(MONDAY, 1440))
    take(cache, path)
    settings = api.load_settings(flags={"data.cache_dir": str(cache.root)})
    spoil(partition(cache))
    for _ in range(2):
        listed, verified = api.list_bars(settings=settings), api.verify_bars(settings=settings)
        repaired = api.repair_bars(settings=settings)
        for result in (listed, verified, repaired):
            assert "binance BTC 2026-01-12" in result.text()
            assert f"from file BTC.csv; bring them back: ewmalab data import {path}" in result.text()
        assert (listed.ok, verified.ok, repaired.ok) == (True, False, False)
        (row,) = listed.json()
        assert [(one["day"], one["source"]) for one in row["damaged"]] == [("2026-01-12", "file BTC.csv")]
        assert verified.json()["damaged"][0][:3] == ["binance", "BTC", "2026-01-12"]
        assert repaired.json()[0]["damage"][0]["command"] == row["damaged"][0]["command"]
    take(cache, path)
    assert api.verify_bars(settings=settings).ok
    assert api.repair_bars(settings=settings).json() == []


def test_repair_does_not_fetch_from_a_market_of_other_settings(tmp_path):
    cache = Cache(tmp_path / "cache")
    cache.write("simulated-9", "BTC", market(MONDAY, 60), [(MONDAY, MONDAY + 3600)], Provenance("synthetic", NOW))
    truncate(cache.folder("simulated-9", "BTC") / "2026-01-12.parquet")
    (repair,) = api.repair_bars(settings=api.load_settings(flags={"data.cache_dir": str(cache.root)})).value
    assert "the settings are those of simulated-7" in str(repair.error)
    assert repair.damage[0].origin.command.endswith("--days 1 --set feeds.simulated.seed=9")
    assert [feed for feed, _ in cache.assets()] == ["simulated-9"]


def test_a_day_that_was_not_over_is_back_with_what_it_can_have_had(fetched):
    truncate(partition(fetched, "2026-01-13"))
    noon = MONDAY + DAY + DAY // 2
    os.utime(partition(fetched, "2026-01-13"), (noon + 30, noon + 30))
    assert "720 minutes of it are not back" in seen(fetched)[0].problem
    fetched.write(*KEY, market(MONDAY, 2880).between(MONDAY + DAY, noon), [(MONDAY + DAY, noon)], Provenance("x", noon))
    assert seen(fetched) == []


def test_a_file_of_another_day_is_no_lost_day(fetched):
    (fetched.folder(*KEY) / QUARANTINE).mkdir()
    partition(fetched).rename(fetched.folder(*KEY) / QUARANTINE / "2026-01-14.parquet")
    assert survey(fetched, *KEY).damage == ()
