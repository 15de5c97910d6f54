"""The cache: minute bars in one Parquet file per feed, asset and day, every byte of it checked before use."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from ewmalab.atomic_files import sweep, sync_folder, write_atomic, write_temp
from ewmalab.errors import BarsError, CorruptPartitionError, DataError
from ewmalab.market.bars import Bars
from ewmalab.market.manifest import Manifest, Partition
from ewmalab.market.quality import COLUMNS
from ewmalab.market.ranges import Range, intersect, subtract, union
from ewmalab.times import DAY, MINUTE, day_name, day_start

QUARANTINE = "quarantine"
_LOCK = ".lock"
_LOCK_WAIT = 120.0
_NOTE = b"ewmalab"  # key of the partition's own description inside the Parquet file
_NOTE_SHA256 = b"ewmalab.sha256"  # and of that description's checksum: a rebuilt manifest rests on it
_SCHEMA = pa.schema([("timestamp", pa.int64()), *((name, pa.float64()) for name in COLUMNS[1:])])


@dataclass(frozen=True, slots=True)
class Finding:
    """What `Cache.verify` says of one partition."""

    feed: str
    asset: str
    day: str
    problem: str | None
    entry: Partition | None


@dataclass(frozen=True)
class Cache:
    """Bars on disk: ``<root>/<feed>/<asset>/1m/<YYYY-MM-DD>.parquet`` with a manifest beside them.

    Several processes may read and write at once: writers of one asset queue at a lock, readers need none.

    Parameters
    ----------
    root : Path
        Created with the first write.
    """

    root: Path

    def folder(self, feed: str, asset: str) -> Path:
        """Return the folder of an asset's partitions."""
        return self.root / feed / asset / "1m"

    def entries(self) -> Iterator[tuple[str, str, Manifest]]:
        """Yield feed, asset and manifest of all that is cached, in name order."""
        for folder in sorted(self.root.glob("*/*/1m")):
            yield folder.parts[-3], folder.parts[-2], self._manifest(folder)

    def covered(self, feed: str, asset: str) -> list[Range]:
        """Return the label ranges that were fetched."""
        manifest = self._manifest(self.folder(feed, asset))
        return union(r for entry in manifest.days.values() for r in entry.covered)

    def missing(self, feed: str, asset: str, start: int, end: int) -> list[Range]:
        """Return what of the labels in ``[start, end)`` was never fetched."""
        return subtract([(start, end)], self.covered(feed, asset))

    def read(self, feed: str, asset: str, start: int, end: int) -> Bars:
        """Return the cached bars labelled in ``[start, end)``; what was not fetched is simply not there.

        Raises
        ------
        CorruptPartitionError
            If a partition's bytes are not those that were written; it has been moved aside then.
        """
        parts = [bars for _, _, bars in self._partitions(feed, asset, start, end)]
        return Bars.concatenate(parts).between(start, end)

    def fingerprint(self, feed: str, asset: str, start: int, end: int) -> dict[str, str]:
        """Return the sha256 of each partition that `read` would use, by date."""
        return {day: entry.sha256 for day, entry, _ in self._partitions(feed, asset, start, end)}

    def read_with_fingerprint(self, feed: str, asset: str, start: int, end: int) -> tuple[Bars, dict[str, Partition]]:
        """Return the bars and the entries of the very partitions they came from."""
        found = list(self._partitions(feed, asset, start, end))
        bars = Bars.concatenate([bars for _, _, bars in found]).between(start, end)
        return bars, {day: entry for day, entry, _ in found}

    def write(
        self,
        feed: str,
        asset: str,
        bars: Bars,
        covered: list[Range],
        *,
        source: str,
        now: int,
        synthetic: bool = False,
        replace: bool = False,
    ) -> int:
        """Merge bars into the cache; a killed write leaves every day as it was or as it should be.

        Parameters
        ----------
        bars : Bars
            Closed minute bars; all inside `covered`.
        covered : list of ranges
            The label ranges that these bars answer for.
        source, now, synthetic
            For the manifest.
        replace : bool
            Whether bars that differ from cached ones replace them.

        Returns
        -------
        int
            How many days were written (days that already held all of it are left alone).

        Raises
        ------
        DataError
            If bars differ from cached ones and `replace` is not set.
        """
        wanted = union(covered)
        if len(bars) and subtract([(int(t), int(t) + MINUTE) for t in bars.timestamp], wanted):
            raise DataError(f"{feed} {asset}: bars outside the range they are said to cover")
        folder = self.folder(feed, asset)
        folder.mkdir(parents=True, exist_ok=True)
        days = sorted({d for a, b in wanted for d in range(a - a % DAY, b, DAY)})
        with self._locked(folder):
            manifest = self._recover(folder)
            new: dict[str, tuple[Path, Partition]] = {}
            try:
                for day in days:
                    made = self._merge_day(folder, manifest, day, bars, wanted, source, now, synthetic, replace)
                    if made is not None:
                        new[day_name(day)] = made
            except BaseException:
                for temp, _ in new.values():
                    temp.unlink(missing_ok=True)
                raise
            if new:
                self._settle(folder, manifest, new)
        return len(new)

    def verify(self, feed: str | None = None, asset: str | None = None) -> Iterator[Finding]:
        """Check every partition's bytes, content and description; yields one finding each."""
        for folder in sorted(self.root.glob(f"{feed or '*'}/{asset or '*'}/1m")):
            name = (folder.parts[-3], folder.parts[-2])
            try:
                manifest = self._load(folder)
            except CorruptPartitionError as error:
                yield Finding(*name, "-", str(error), None)
                continue
            for day in sorted(manifest.days.keys() | {p.stem for p in folder.glob("*.parquet")}):
                problem = None
                try:
                    self._open(folder, manifest, day)
                except CorruptPartitionError:
                    # A writer may have moved on since the manifest was read: look again under its lock.
                    try:
                        with self._locked(folder):
                            self._open(folder, Manifest.load(folder), day)
                    except CorruptPartitionError as error:
                        problem = str(error)
                yield Finding(*name, day, problem, manifest.days.get(day))

    def set_aside(self, feed: str, asset: str, name: str, data: bytes) -> Path:
        """Keep what could not be used in a new file of the quarantine folder; return its path."""
        folder = self.folder(feed, asset)
        folder.mkdir(parents=True, exist_ok=True)
        with self._locked(folder):
            path = _free_path(folder / QUARANTINE, name)
            write_atomic(path, data)
        return path

    def repair(self, feed: str, asset: str) -> list[str]:
        """Move damaged partitions aside, rebuild a damaged manifest, remove leftovers; return what was done."""
        folder = self.folder(feed, asset)
        done: list[str] = []
        with self._locked(folder):
            removed = _sweep(folder)
            if removed:
                done.append(f"removed {removed} unfinished file(s)")
            try:
                Manifest.load(folder)
            except CorruptPartitionError:
                done.append("rebuilt the manifest from the partitions")
            manifest = self._recover(folder)
            for day in sorted(manifest.days.keys() | {p.stem for p in folder.glob("*.parquet")}):
                try:
                    self._open(folder, manifest, day)
                except CorruptPartitionError:
                    done.append(f"{day}: moved aside to {self._move_aside(folder, manifest, day)}")
        return done

    def sweep(self) -> int:
        """Remove what killed writers left, wherever no writer is at work; return how many files."""
        count = 0
        for folder in self.root.glob("*/*/1m"):
            lock = FileLock(folder / _LOCK)
            try:
                with lock.acquire(timeout=0):
                    count += _sweep(folder)
            except Timeout:
                continue
        return count

    @contextmanager
    def _locked(self, folder: Path) -> Iterator[None]:
        lock = FileLock(folder / _LOCK)
        try:
            lock.acquire(timeout=_LOCK_WAIT)
        except Timeout:
            raise DataError(
                f"{folder / _LOCK}: another process has held the lock for {_LOCK_WAIT:.0f} s; wait for it to end"
            ) from None
        try:
            yield
        finally:
            lock.release()

    def _load(self, folder: Path) -> Manifest:
        """Return the manifest as it lies there, read once more if a first writer was just beginning."""
        try:
            return Manifest.load(folder)
        except CorruptPartitionError:
            with self._locked(folder):
                return Manifest.load(folder)

    def _manifest(self, folder: Path) -> Manifest:
        """Return the manifest, rebuilt if its bytes are damaged."""
        try:
            return Manifest.load(folder)
        except CorruptPartitionError:
            with self._locked(folder):
                return self._recover(folder)

    def _recover(self, folder: Path) -> Manifest:
        """Finish what a killed writer left; the lock is held. Returns the settled manifest."""
        _sweep(folder)
        try:
            manifest = Manifest.load(folder)
        except CorruptPartitionError:
            manifest = Manifest()
            for path in sorted(folder.glob("*.parquet")):
                try:
                    manifest.days[path.stem] = _described(path)
                except (CorruptPartitionError, BarsError, KeyError, TypeError, ValueError):
                    continue  # stays without an entry: `repair` moves it aside
            manifest.save(folder)
            return manifest
        if manifest.pending:
            for day, entry in manifest.pending.items():
                path = folder / f"{day}.parquet"
                if path.exists() and hashlib.sha256(path.read_bytes()).hexdigest() == entry.sha256:
                    manifest.days[day] = entry
            manifest.pending = {}
            manifest.save(folder)
        return manifest

    def _merge_day(
        self, folder: Path, manifest: Manifest, day: int, bars: Bars, covered: list[Range],
        source: str, now: int, synthetic: bool, replace: bool,
    ) -> tuple[Path, Partition] | None:  # fmt: skip
        """Write a day's new content to a temporary file; None if nothing changes."""
        name = day_name(day)
        fresh = bars.between(day, day + DAY)
        ranges = intersect(covered, [(day, day + DAY)])
        old = manifest.days.get(name)
        if old is not None:
            try:
                before = self._open(folder, manifest, name)[1]
            except CorruptPartitionError:
                self._move_aside(folder, manifest, name)
            else:
                fresh = _merge(before, fresh, ranges, replace, f"{folder.parts[-3]} {folder.parts[-2]} {name}")
                ranges = union([*old.covered, *ranges])
                if fresh.digest() == before.digest() and ranges == list(old.covered):
                    return None
        note = {"covered": ranges, "source": source, "fetched_at": now, "synthetic": synthetic}
        data = _encode(fresh, note)
        entry = Partition.of(day, hashlib.sha256(data).hexdigest(), fresh, ranges, source, now, synthetic)
        return write_temp(folder, data), entry

    def _settle(self, folder: Path, manifest: Manifest, new: dict[str, tuple[Path, Partition]]) -> None:
        manifest.pending = {day: entry for day, (_, entry) in new.items()}
        manifest.save(folder)
        for day, (temp, _) in new.items():
            temp.replace(folder / f"{day}.parquet")
        sync_folder(folder)
        manifest.days |= manifest.pending
        manifest.pending = {}
        manifest.save(folder)

    def _partitions(self, feed: str, asset: str, start: int, end: int) -> Iterator[tuple[str, Partition, Bars]]:
        folder = self.folder(feed, asset)
        manifest = self._manifest(folder)
        first, last = day_name(start - start % DAY), day_name(end - 1)
        for day in sorted(d for d in manifest.days.keys() | manifest.pending.keys() if first <= d <= last):
            try:
                entry, bars = self._open(folder, manifest, day)
            except CorruptPartitionError:
                # A writer may have moved on between the manifest and the file: look again under its lock.
                with self._locked(folder):
                    manifest = self._recover(folder)
                    if day not in manifest.days:
                        continue
                    try:
                        entry, bars = self._open(folder, manifest, day)
                    except CorruptPartitionError as error:
                        aside = self._move_aside(folder, manifest, day)
                        raise CorruptPartitionError(
                            f"{error}; it was moved aside to {aside}. Get the day again: ewmalab data fetch "
                            f"--feed {feed} --assets {asset} --start {day} --days 1"
                        ) from error
            yield day, entry, bars

    def _open(self, folder: Path, manifest: Manifest, day: str) -> tuple[Partition, Bars]:
        """Read one partition and check its hash, its pages and its rows."""
        path = folder / f"{day}.parquet"
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            raise CorruptPartitionError(f"{path}: listed in the manifest but gone") from None
        return checked_partition(data, manifest, day, str(path))

    def _move_aside(self, folder: Path, manifest: Manifest, day: str) -> Path:
        """Put a damaged partition where nobody reads it and forget its entry; the lock is held."""
        aside = folder / QUARANTINE
        aside.mkdir(exist_ok=True)
        path = folder / f"{day}.parquet"
        target = _free_path(aside, path.name)
        if path.exists():
            path.rename(target)
        manifest.days.pop(day, None)
        manifest.save(folder)
        return target


def checked_partition(data: bytes, manifest: Manifest, day: str, where: str) -> tuple[Partition, Bars]:
    """Return a partition's entry and bars from its bytes, their hash, pages and rows checked.

    Raises
    ------
    CorruptPartitionError
    """
    entry = manifest.match(day, hashlib.sha256(data).hexdigest())
    if entry is None:
        raise CorruptPartitionError(f"{where}: its bytes are not those that were written (sha256 differs)")
    try:
        return entry, _decode(data)
    except (BarsError, CorruptPartitionError) as error:
        raise CorruptPartitionError(f"{where}: {error}") from error


def _free_path(folder: Path, name: str) -> Path:
    """Return a path in a folder that nothing has yet: BTC.csv, BTC.2.csv, ..."""
    path = folder / name
    number = 1
    while path.exists():
        number += 1
        path = folder / f"{Path(name).stem}.{number}{Path(name).suffix}"
    return path


def _sweep(folder: Path) -> int:
    return sweep(folder) + sweep(folder / QUARANTINE)


def _merge(before: Bars, fresh: Bars, ranges: list[Range], replace: bool, what: str) -> Bars:
    """Return the union of two days' bars; where both have a row the fresh one counts if `replace`."""
    at = np.searchsorted(before.timestamp, fresh.timestamp)
    shared = np.zeros(len(fresh), bool)
    inside = at < len(before)
    shared[inside] = before.timestamp[at[inside]] == fresh.timestamp[inside]
    if not replace:
        differs = np.zeros(len(fresh), bool)
        for name in COLUMNS[1:]:
            old, new = getattr(before, name)[at[shared]], getattr(fresh, name)[shared]
            differs[shared] |= ~((old == new) | (np.isnan(old) & np.isnan(new)))
        if differs.any():
            first = int(fresh.timestamp[np.flatnonzero(differs)[0]])
            raise DataError(
                f"{what}: {int(differs.sum())} bar(s) differ from the cached ones (first: timestamp {first}); "
                "nothing was written. Pass --replace to prefer the new ones"
            )
    keep = ~np.isin(before.timestamp, fresh.timestamp)
    columns = {name: np.concatenate([getattr(before, name)[keep], getattr(fresh, name)]) for name in COLUMNS}
    order = np.argsort(columns["timestamp"], kind="stable")
    return Bars.from_columns({name: column[order] for name, column in columns.items()})


def _encode(bars: Bars, note: dict[str, Any]) -> bytes:
    described = orjson.dumps({**note, "digest": bars.digest()})
    schema = _SCHEMA.with_metadata({_NOTE: described, _NOTE_SHA256: hashlib.sha256(described).hexdigest()})
    table = pa.table(bars.columns(), schema=schema)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
    return bytes(sink.getvalue())


def _described(path: Path) -> Partition:
    """Return the entry that a partition's own description gives, no byte of it trusted unchecked."""
    data = path.read_bytes()
    bars = _decode(data)
    metadata = pq.read_schema(pa.BufferReader(data)).metadata
    if hashlib.sha256(metadata[_NOTE]).hexdigest().encode() != metadata[_NOTE_SHA256]:
        raise CorruptPartitionError("its description is not the one that was written")
    note = orjson.loads(metadata[_NOTE])
    day = day_start(path.stem)
    covered = [(int(a), int(b)) for a, b in note["covered"]]
    if subtract(covered, [(day, day + DAY)]) or len(bars.between(day, day + DAY)) != len(bars):
        raise CorruptPartitionError("it holds another day")
    sha256 = hashlib.sha256(data).hexdigest()
    return Partition.of(day, sha256, bars, covered, note["source"], note["fetched_at"], note["synthetic"])


def _decode(data: bytes) -> Bars:
    """Return the bars of a partition, page checksums and content digest checked."""
    try:
        file = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)
        table = file.read(use_threads=False)
        digest = orjson.loads(table.schema.metadata[_NOTE])["digest"]
        columns = {name: table[name].to_numpy() for name in COLUMNS}
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
        raise CorruptPartitionError(f"not a readable partition: {error}") from error
    bars = Bars.from_columns(columns)
    if digest != bars.digest():
        raise CorruptPartitionError("the rows are not those that were written")
    return bars
