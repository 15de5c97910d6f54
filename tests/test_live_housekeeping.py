"""Old logs, kept paths, fits and damaged states: deleted by age and size, and nothing else is."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from logging.handlers import RotatingFileHandler
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from live_rig import SettableClock

from ewmalab.live import housekeeping
from ewmalab.live.housekeeping import FITS, clean, keep_house, note_fit
from ewmalab.live.processes import log_messages
from ewmalab.live.state_store import QUARANTINE
from ewmalab.settings import LoadedSettings, load_settings
from ewmalab.times import DAY, day_name, parse_time

NOW = parse_time("2026-10-20T12:00")


def settings(folder: Path, **flags: Any) -> LoadedSettings:
    given = {"live.state_dir": str(folder / "state"), "live.log_dir": str(folder / "log")}
    return load_settings(environ={}, flags=given | {key.replace("__", "."): value for key, value in flags.items()})


def write(path: Path, size: int = 10) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(bytes(size))
    return path


@pytest.fixture
def month(tmp_path: Path) -> Path:
    """A month of answers and kept paths, with the files that must stay."""
    for age in range(31):
        day = day_name(NOW - age * DAY)
        write(tmp_path / "log" / f"answers-{day}.jsonl", 1000)
        write(tmp_path / "log" / "paths" / day / "one.parquet", 5000)
    for name in ("amendments.jsonl", "settings/abc.json", "answers-mine.txt", "notes-2020-01-01.jsonl"):
        write(tmp_path / "log" / name)
    return tmp_path


def kept(folder: Path, pattern: str) -> list[int]:
    """The ages of what is left, in days."""
    ages = {day_name(NOW - age * DAY): age for age in range(31)}
    return sorted(ages[path.stem.removeprefix("answers-")] for path in (folder / "log").glob(pattern))


def test_each_kind_is_kept_as_long_as_its_setting_says_and_nothing_else_is_touched(month: Path) -> None:
    found = clean(settings(month, live__keep_answers_for="10d", live__keep_paths_for="4d"), NOW, float(NOW))
    assert kept(month, "answers-20*.jsonl") == list(range(11))
    assert kept(month, "paths/*") == list(range(5))
    assert found.size == 20 * 1000 + 26 * 5000
    assert len(found.paths) == 46
    for name in ("amendments.jsonl", "settings/abc.json", "answers-mine.txt", "notes-2020-01-01.jsonl"):
        assert (month / "log" / name).exists()
    again = clean(settings(month, live__keep_answers_for="10d", live__keep_paths_for="4d"), NOW, float(NOW))
    assert again.paths == ()


def test_zero_keeps_everything(month: Path) -> None:
    flags = {f"live.keep_{kind}_for": "0s" for kind in ("answers", "paths", "quarantine")} | {"live.log_limit": 0}
    assert clean(settings(month, **flags), NOW + 4000 * DAY, float(NOW)).paths == ()


@pytest.mark.parametrize("keep", ["1s", "1d", "2d"])
def test_the_newest_days_stay_however_short_the_time(keep: str, month: Path) -> None:
    clean(settings(month, live__keep_answers_for=keep, live__keep_paths_for=keep), NOW, float(NOW))
    assert kept(month, "answers-20*.jsonl") == [0, 1, 2]


@pytest.mark.parametrize(
    ("limit", "paths", "answers"), [(0.000186, 31, 31), (0.000100, 13, 31), (0.000040, 2, 30), (0.000001, 2, 2)]
)
def test_above_the_limit_the_oldest_paths_go_first_then_the_oldest_answers(
    limit: float, paths: int, answers: int, month: Path
) -> None:
    flags = {"live.log_limit": limit, "live.keep_paths_for": "0s", "live.keep_answers_for": "0s"}
    clean(settings(month, **flags), NOW, float(NOW))
    assert kept(month, "paths/*") == list(range(paths))
    assert kept(month, "answers-20*.jsonl") == list(range(answers))


def test_damaged_states_go_by_their_age_and_readable_ones_never(tmp_path: Path) -> None:
    old = write(tmp_path / "state" / QUARANTINE / "BTC-1.msgpack")
    new = write(tmp_path / "state" / QUARANTINE / "BTC-2.msgpack")
    state = write(tmp_path / "state" / "BTC.msgpack")
    for path in (old, state):
        os.utime(path, (NOW - 31 * DAY, NOW - 31 * DAY))
    os.utime(new, (NOW - 29 * DAY, NOW - 29 * DAY))
    assert clean(settings(tmp_path), NOW, float(NOW)).paths == (old,)
    assert new.exists()
    assert state.exists()


def test_only_fits_made_in_the_background_go_and_only_those_that_nothing_names(tmp_path: Path) -> None:
    made = [write(tmp_path / "fits" / f"har-{i}.json") for i in range(4)]
    (tmp_path / "state").mkdir()
    for path, end in zip(made[:3], (NOW - 200 * DAY, NOW - 200 * DAY, NOW - DAY), strict=True):
        note_fit(tmp_path / "state", str(path), end)
    given = settings(tmp_path, fit__artifacts=[str(made[1])])
    assert clean(given, NOW, float(NOW)).paths == (made[0],)
    assert [path.exists() for path in made] == [False, True, True, True]
    assert len((tmp_path / "state" / FITS).read_bytes().splitlines()) == 2


def test_what_cannot_be_deleted_is_said_and_stops_nothing(
    month: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("ewmalab.live.housekeeping.shutil.rmtree", refuse)
    found = clean(settings(month, live__keep_answers_for="10d"), NOW, float(NOW))
    assert len(found.paths) == 20
    assert "cannot be deleted" in caplog.text


def test_house_is_kept_until_the_process_ends(month: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stop, rounds = Event(), []

    def wait(seconds: float) -> bool:
        rounds.append(seconds)
        if len(rounds) == 3:
            stop.set()
        return stop.is_set()

    def load() -> LoadedSettings:
        if len(rounds) == 1:
            raise OSError("a round that fails")
        return settings(month, live__keep_answers_for="10d")

    waits: Any = type("Stop", (), {"is_set": stop.is_set, "wait": staticmethod(wait)})()
    keep_house(load, SettableClock(NOW), waits)
    assert rounds == [housekeeping._EVERY] * 3
    assert kept(month, "answers-20*.jsonl") == list(range(11))


# ------------------------------------------------------------------------------------------------ messages


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    """The root logger, as before afterwards."""
    found = logging.getLogger()
    handlers, level = found.handlers[:], found.level
    yield found
    for handler in found.handlers:
        if handler not in handlers:
            handler.close()
    found.handlers[:] = handlers
    found.setLevel(level)


def test_messages_rotate_in_as_many_files_as_set(
    tmp_path: Path, root: logging.Logger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ewmalab.live.processes._MESSAGE_FILE", 1000)
    log_messages("miner", "INFO", settings(tmp_path, live__message_files=3).values.live)
    for i in range(200):
        logging.getLogger("ewmalab.miner").info("message %d", i)
    files = sorted((tmp_path / "log" / "messages").iterdir())
    assert [path.name for path in files] == ["miner.log", "miner.log.1", "miner.log.2"]
    assert all(path.stat().st_size <= 1000 for path in files)
    assert "message 199" in files[0].read_text()


def test_messages_go_to_standard_error_unless_files_are_set(tmp_path: Path, root: logging.Logger) -> None:
    log_messages("miner", "INFO", settings(tmp_path).values.live)
    assert not any(isinstance(handler, RotatingFileHandler) for handler in root.handlers)
    assert not (tmp_path / "log").exists()
