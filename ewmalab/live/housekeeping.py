"""Delete old logs, kept paths, fits and damaged files, so that a miner does not fill its disk."""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Event

import orjson

from ewmalab.atomic_files import write_atomic
from ewmalab.errors import EwmalabError
from ewmalab.live.audit.answer_log import append_lines, read_lines
from ewmalab.live.clock import Clock
from ewmalab.live.fit_note import read_note
from ewmalab.live.miners import all_miners, log_folder
from ewmalab.live.processes import Load
from ewmalab.live.state_store import QUARANTINE
from ewmalab.settings import LoadedSettings
from ewmalab.times import DAY, day_name

FITS = "fits.jsonl"
"""File in the state folder that lists the artifacts of background fits; others are never deleted."""
_EVERY = 3600.0  # real seconds
_GIGABYTE = 1e9

log = logging.getLogger("ewmalab.updater")


@dataclass(frozen=True, slots=True)
class Deleted:
    """What was deleted.

    Attributes
    ----------
    paths : tuple of Path
        Files and folders.
    size : int
        Their bytes.
    """

    paths: tuple[Path, ...]
    size: int


def note_fit(state_dir: Path, artifact: str, end: int) -> None:
    """List an artifact as one of a background fit."""
    append_lines(state_dir / FITS, orjson.dumps({"artifact": artifact, "end": end}, option=orjson.OPT_APPEND_NEWLINE))


def keep_house(load: Load, clock: Clock, stop: Event) -> None:
    """Delete what is old once an hour until `stop` is set."""
    while not stop.is_set():
        try:
            for own in all_miners(load()).values():
                found = clean(own, int(clock.now()), clock.system())
                if found.paths:
                    log.info("deleted %d old files and folders, %.1f MB", len(found.paths), found.size / 1e6)
        except (EwmalabError, OSError) as error:
            log.error("old files cannot be deleted: %s", error)
        stop.wait(_EVERY)


def clean(settings: LoadedSettings, now: int, system_time: float) -> Deleted:
    """Delete what is older than the settings ``live.keep_..._for`` say, then the oldest days above ``live.log_limit``.

    The answers of the last two days are always kept, and so are the artifacts that settings name.

    Parameters
    ----------
    settings : LoadedSettings
    now, system_time : int, float
        Market time, by which logs and fits are named, and the system's, by which damaged files are dated.
    """
    live, folder = settings.values.live, log_folder(settings.values.live)
    yesterday = day_name(now - DAY)
    answers, paths = _days(folder, "answers-*.jsonl"), _days(folder / "paths", "*")
    old = [p for day, p in answers if _before(day, now, live.keep_answers_for)]
    old += [p for day, p in paths if _before(day, now, live.keep_paths_for)]
    if live.keep_quarantine_for:
        damaged = (live.state_dir / QUARANTINE).glob("*")
        old += [path for path in damaged if path.stat().st_mtime < system_time - live.keep_quarantine_for]
    old += _old_fits(settings, now)
    if live.log_limit:
        left = sorted([item for item in paths if item[1] not in old], key=lambda item: item[0])
        left += sorted([item for item in answers if item[1] not in old], key=lambda item: item[0])
        total = sum(_size(path) for _, path in left)
        for day, path in left:  # paths first: they can be computed again
            if total <= live.log_limit * _GIGABYTE:
                break
            if day < yesterday:
                total -= _size(path)
                old.append(path)
    return _delete(old)


def _before(day: str, now: int, keep: int) -> bool:
    """Return whether a day ended longer ago than `keep`; 0 keeps everything."""
    return bool(keep) and day < day_name(now - max(keep, 2 * DAY))


def _days(folder: Path, pattern: str) -> list[tuple[str, Path]]:
    """Return the entries of a folder whose names have a date, with it."""
    found = ((re.search(r"\d{4}-\d\d-\d\d", path.name), path) for path in folder.glob(pattern))
    return [(match[0], path) for match, path in found if match]


def _old_fits(settings: LoadedSettings, now: int) -> list[Path]:
    """Return old artifacts of background fits, and take them from their list."""
    live = settings.values.live
    path, keep = live.state_dir / FITS, live.keep_answers_for
    listed = [entry for entry in read_lines(path) if entry]
    note = read_note(live.state_dir, live.forecaster) or {"artifact": ""}
    named = {note["artifact"], *settings.values.fit.artifacts}
    old = [e for e in listed if keep and e["end"] < now - max(keep, 2 * DAY) and e["artifact"] not in named]
    if old:
        kept = [orjson.dumps(e, option=orjson.OPT_APPEND_NEWLINE) for e in listed if e not in old]
        write_atomic(path, b"".join(kept))
    return [Path(entry["artifact"]) for entry in old]


def _files(path: Path) -> Iterator[Path]:
    return (each for each in path.rglob("*") if each.is_file()) if path.is_dir() else iter([path])


def _size(path: Path) -> int:
    return sum(each.stat().st_size for each in _files(path) if each.exists())


def _delete(paths: list[Path]) -> Deleted:
    gone, size = [], 0
    for path in dict.fromkeys(paths):
        try:
            bytes_ = _size(path)
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
        except OSError as error:
            log.warning("%s cannot be deleted: %s", path, error)
            continue
        gone.append(path)
        size += bytes_
    return Deleted(tuple(gone), size)
