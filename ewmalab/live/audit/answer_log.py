"""The answer log: one JSON line per answer, and optionally its paths."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from queue import Empty, Full, Queue
from threading import Thread
from typing import Any

import orjson

from ewmalab.atomic_files import write_atomic
from ewmalab.errors import StateError
from ewmalab.forecast.protocol import LogReturns, Prompt
from ewmalab.live.updater.revisions import Amendment
from ewmalab.settings import LoadedSettings
from ewmalab.settings.layers import read_settings
from ewmalab.times import day_name

Record = dict[str, Any]
"""A logged answer: the prompt, and everything that determines the paths."""

log = logging.getLogger("ewmalab.miner")

AMENDMENTS = "amendments.jsonl"
_WAITING = 4096  # most answers queued for writing, so that a stalled disk does not fill the memory


@dataclass
class AnswerLog:
    """Writes answers on its own thread, so that no request waits for the disk.

    Parameters
    ----------
    folder : Path
        Holds ``answers-<date>.jsonl`` and ``paths/<date>/``.
    keep_paths : bool
    """

    folder: Path
    keep_paths: bool
    lost: int = 0
    _queue: Queue[tuple[Record, LogReturns] | None] = field(default_factory=lambda: Queue(_WAITING), repr=False)
    _thread: Thread | None = field(default=None, repr=False)
    _unrecorded: LoadedSettings | None = field(default=None, repr=False)

    def start(self, settings: LoadedSettings) -> None:
        """Record the settings and start the thread; a disk that does not take them stops no answers."""
        try:
            self.record_settings(settings)
        except OSError as error:
            self._unrecorded = settings
            log.error("answers cannot be logged: %s", error)
        self._thread = Thread(target=self._run, name="answer-log", daemon=True)
        self._thread.start()

    @property
    def recording(self) -> bool:
        """Return whether the settings could be recorded, without which no answer is logged."""
        return self._unrecorded is None

    def record_settings(self, settings: LoadedSettings) -> str:
        """Write the settings, without secrets, under the digest that answers name; return the digest."""
        if settings.values.live.keep_paths:
            import pyarrow.parquet  # noqa: F401  here, so that no answer waits for it
        digest = settings.dump_digest()
        write_atomic(self.folder / "settings" / f"{digest}.json", settings.dump())
        return digest

    def put(self, record: Record, paths: LogReturns) -> None:
        """Queue a record; if the queue is full, count it as lost and do not wait."""
        try:
            self._queue.put_nowait((record, paths))
        except Full:
            self.lost += 1

    def close(self) -> None:
        """Write the queued records and stop the thread."""
        if self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        while True:
            batch = [self._queue.get()]
            try:
                while True:
                    batch.append(self._queue.get_nowait())
            except Empty:
                pass
            ended = None in batch
            try:
                self._write([item for item in batch if item is not None])
            except Exception as error:  # noqa: BLE001  whatever it is, the thread goes on
                self.lost += sum(item is not None for item in batch)
                log.error("answers cannot be logged: %s", error)
            if ended:
                return

    def _write(self, batch: list[tuple[Record, LogReturns]]) -> None:
        if self._unrecorded is not None:  # no answer may name settings that were not recorded
            self.record_settings(self._unrecorded)
            self._unrecorded = None
        lines: dict[Path, bytes] = {}
        for record, paths in batch:
            try:
                line = orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)
            except TypeError as error:  # the others must not be lost with it
                self.lost += 1
                log.error("an answer cannot be logged: %s", error)
                continue
            day = day_name(record["request_time"])
            path = self.folder / f"answers-{day}.jsonl"
            lines[path] = lines.get(path, b"") + line
            if self.keep_paths:
                self._keep(self.folder / "paths" / day, record, paths)
        for path, data in lines.items():
            append_lines(path, data)

    def _keep(self, folder: Path, record: Record, paths: LogReturns) -> None:
        target = folder / f"{record['paths_sha256'][:32]}.parquet"
        if target.exists():
            return
        import pyarrow as pa  # only a miner that keeps paths needs it
        import pyarrow.parquet as pq

        column = pa.FixedSizeListArray.from_arrays(pa.array(paths.ravel()), paths.shape[1])
        sink = pa.BufferOutputStream()
        pq.write_table(pa.table({"log_returns": column}), sink, compression="zstd")
        write_atomic(target, bytes(sink.getvalue()))


def append_lines(path: Path, data: bytes, *, durable: bool = False) -> None:
    """Append whole lines to a file, after a line that a crash truncated if need be; `durable` syncs them to disk."""
    with path.open("ab") as file:
        if file.tell() and not _ends_line(path):
            file.write(b"\n")
        file.write(data)
        if durable:
            file.flush()
            os.fsync(file.fileno())


@dataclass
class AmendmentLog:
    """Records changes to bars that were known before.

    Parameters
    ----------
    folders : tuple of Path
        Of the answer logs, whose readers need them.
    lost : int
        Changes that could not be recorded.
    """

    folders: tuple[Path, ...]
    lost: int = 0

    def put(self, asset: str, at: int, generation: int, amended: Sequence[Amendment]) -> None:
        """Record changes before the state that contains them is saved, so that a crash in between loses none.

        A change that is recorded but not saved is found and recorded again, which undoes nothing twice.
        """
        found = [{"asset": asset, "at": at, "generation": generation, **asdict(change)} for change in amended]
        for change in amended:
            log.info("%s: bar %d arrived late or was revised", asset, change.label)
        data = b"".join(orjson.dumps(each, option=orjson.OPT_APPEND_NEWLINE) for each in found)
        for folder in self.folders:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                append_lines(folder / AMENDMENTS, data, durable=True)
            except OSError as error:
                self.lost += len(found)
                log.error("amendments cannot be recorded: %s", error)


def _ends_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, 2)
        return file.read(1) == b"\n"


@dataclass(frozen=True)
class LiveLog:
    """A log folder written by a miner and an updater.

    Attributes
    ----------
    folder : Path
    answers : list of dict
        Records in the order of their requests.
    torn : int
        Lines truncated by crashes, at most one per crash.
    amendments : mapping of asset to list of (market time, Amendment)
        Changes to bars that were known before, oldest first; states saved from that time on contain them.
    """

    folder: Path
    answers: list[Record]
    torn: int
    amendments: dict[str, list[tuple[int, Amendment]]]

    @classmethod
    def read(cls, folder: Path, *, answers: bool = True) -> LiveLog:
        """Read a log folder.

        Parameters
        ----------
        folder : Path
        answers : bool
            False leaves the answers on disk, where `ewmalab.live.audit.log_stream` reads them.

        Raises
        ------
        StateError
            If it holds no answers.
        """
        files = sorted(folder.glob("answers-*.jsonl"))
        if not files:
            raise StateError(f"{folder}: no answers logged here; choose another folder with --log-dir")
        found, torn = [], 0
        for path in files if answers else ():
            for record in read_lines(path):
                if record is None:
                    torn += 1
                else:
                    found.append(record)
        if answers and not found:
            raise StateError(f"{folder}: no answers logged here; choose another folder with --log-dir")
        amendments: dict[str, list[tuple[int, Amendment]]] = {}
        for record in read_lines(folder / AMENDMENTS):
            if record is not None:
                old = None if record["old"] is None else tuple(map(_price, record["old"]))
                change = Amendment(record["label"], old)  # type: ignore[arg-type]
                amendments.setdefault(record["asset"], []).append((record["at"], change))
        return cls(folder, sorted(found, key=lambda a: a["received"]), torn, amendments)

    def settings(self, digest: str) -> LoadedSettings:
        """Return the settings that an answer was made with.

        Raises
        ------
        StateError
            If they are missing or have changed since they were recorded.
        """
        path = self.folder / "settings" / f"{digest}.json"
        try:
            data = path.read_bytes()
        except OSError as error:
            raise StateError(f"{path}: recorded settings cannot be read: {error.strerror}") from error
        if hashlib.sha256(data).hexdigest() != digest:
            raise StateError(f"{path}: not the settings that were recorded (sha256 differs)")
        return read_settings(data)


def prompt_of(record: Record) -> Prompt:
    """Return the prompt of a record."""
    return Prompt(**{name: record[name] for name in Prompt.__dataclass_fields__})


def _price(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def read_lines(path: Path) -> Iterator[Record | None]:
    """Yield the lines of a file, None for those that crashes truncated."""
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            try:
                yield orjson.loads(line) if line.strip() else None
            except orjson.JSONDecodeError:
                yield None
