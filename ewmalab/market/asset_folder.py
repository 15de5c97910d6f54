"""Write to the folder of one asset's partitions: one writer at a time, files replaced atomically."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from ewmalab.atomic_files import delete_leftovers, sync_folder, write_atomic, write_temp
from ewmalab.errors import DataError

QUARANTINE = "quarantine"
_LOCK = ".lock"
_LOCK_WAIT = 120.0


@dataclass(frozen=True, slots=True)
class AssetFolder:
    """A folder of files ``<YYYY-MM-DD>.parquet``, with damaged files in its subfolder ``quarantine``."""

    path: Path

    @contextmanager
    def locked(self, wait: float | None = None) -> Iterator[None]:
        """Hold the writer lock, which all other methods need.

        Raises
        ------
        DataError
            If another process holds the lock for longer than `wait` seconds (by default two minutes).
        """
        seconds = _LOCK_WAIT if wait is None else wait
        try:
            lock = FileLock(self.path / _LOCK)
            lock.acquire(timeout=seconds)
        except Timeout:
            raise DataError(
                f"{self.path / _LOCK}: another process has held the lock for {seconds:.0f} s; wait for it to finish"
            ) from None
        try:
            yield
        finally:
            lock.release()

    def replace(self, files: Mapping[str, bytes]) -> None:
        """Write the files of several days, each atomically; if the writer is killed, each day is either old or new."""
        temps: dict[str, Path] = {}
        try:
            for day, data in files.items():
                temps[day] = write_temp(self.path, data)
            for day, temp in temps.items():
                temp.replace(self.path / f"{day}.parquet")
        except BaseException:
            for temp in temps.values():
                temp.unlink(missing_ok=True)
            raise
        if temps:
            sync_folder(self.path)

    def move_aside(self, day: str) -> Path:
        """Move a day's damaged file to quarantine; return its new path."""
        aside = self.path / QUARANTINE
        aside.mkdir(exist_ok=True)
        return (self.path / f"{day}.parquet").rename(self._free_path(f"{day}.parquet"))

    def keep_aside(self, name: str, data: bytes) -> Path:
        """Write unusable data to a new file in quarantine; return its path."""
        path = self._free_path(name)
        write_atomic(path, data)
        return path

    def rewrite_aside(self, name: str, data: bytes) -> None:
        """Replace a file in quarantine."""
        write_atomic(self.path / QUARANTINE / name, data)

    def delete_leftovers(self) -> int:
        """Delete the temporary files of killed writers; return their number."""
        return delete_leftovers(self.path) + delete_leftovers(self.path / QUARANTINE)

    def _free_path(self, name: str) -> Path:
        """Return an unused path in quarantine: BTC.csv, BTC.2.csv, ..."""
        path = self.path / QUARANTINE / name
        number = 1
        while path.exists():
            number += 1
            path = self.path / QUARANTINE / f"{Path(name).stem}.{number}{Path(name).suffix}"
        return path
