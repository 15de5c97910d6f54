"""The cache: minute bars in one self-describing Parquet file per feed, asset and day, in a folder or at a URL."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ewmalab.errors import ConfigError, CorruptPartitionError, DataError
from ewmalab.market import partition
from ewmalab.market.asset_folder import AssetFolder
from ewmalab.market.bars import Bars
from ewmalab.market.import_log import ImportLog
from ewmalab.market.merging import merged_day, new_day
from ewmalab.market.origin import Origin, origin_of
from ewmalab.market.partition import Partition, Provenance
from ewmalab.market.ranges import Range, clip, intersect, subtract, union
from ewmalab.market.storage import Storage
from ewmalab.times import DAY, FOREVER, MINUTE, day_name

_ALL = (0, FOREVER)
_REPAIR_WAIT = 10.0  # seconds; somebody who waits for a repair can run it again

T = TypeVar("T")
Loader = Callable[[str], T]  # from "feed/asset/YYYY-MM-DD"


@dataclass(frozen=True)
class Cache:
    """Bars as ``<root>/<feed>/<asset>/1m/<YYYY-MM-DD>.parquet``, in self-describing files.

    Several processes may read and write at the same time. Writers of one asset wait for a lock; readers need no lock.
    Files are replaced atomically, so a reader sees each day as it was before or after a write, even if a writer was
    killed.

    The cache detects a changed byte (for files of earlier versions see `partition`), a truncated file, and a file of
    another feed, asset or day. It moves such a file into the folder ``quarantine`` and names it in the error; see
    `ewmalab.market.damage_survey`. It does not detect a deleted file (the day counts as never fetched), or an older
    valid file of the same day. An experiment records a digest of the days that it read of each asset; reproducing it
    names the assets that have changed.

    Parameters
    ----------
    root : Path or str
        A folder, created with the first write; or the URL of any filesystem that pyarrow supports, for example
        ``s3://bucket/data_cache``, which is read-only.
    """

    root: Path | str

    def folder(self, feed: str, asset: str) -> Path:
        """Return the folder of an asset's partitions.

        Raises
        ------
        ConfigError
            If the cache is at a URL.
        """
        if isinstance(self.root, str):
            raise ConfigError(f"data.cache_dir = {self.root}: a cache at a URL is read-only; name a folder")
        return self.root / feed / asset / "1m"

    def assets(self) -> list[tuple[str, str]]:
        """Return feed and asset of everything cached, in name order."""
        pairs = [(feed, asset) for feed in self._storage.list("") for asset in self._storage.list(feed)]
        return [pair for pair in pairs if "1m" in self._storage.list("/".join(pair))]

    def days(self, feed: str, asset: str, start: int = _ALL[0], end: int = _ALL[1]) -> dict[str, Partition]:
        """Return the descriptions of the files of the days from `start` to `end`, by date; reads only footers.

        Parameters
        ----------
        feed, asset : str
        start, end : int
            Seconds since 1970-01-01 UTC; every day that overlaps ``[start, end)`` is included.

        Raises
        ------
        CorruptPartitionError
            If a description is damaged; see `read`.
        """
        return dict(self._each(feed, asset, start, end, self._describe))

    def covered(self, feed: str, asset: str, start: int = _ALL[0], end: int = _ALL[1]) -> list[Range]:
        """Return the label ranges that were fetched, for the days from `start` to `end`.

        Parameters
        ----------
        feed, asset, start, end
            As in `days`.
        """
        return union(r for day in self.days(feed, asset, start, end).values() for r in day.covered)

    def newest(self, feed: str, asset: str) -> int | None:
        """Return the end of the newest fetched range, None if there is none; reads one footer."""
        days = [day for day in self.stems(feed, asset) if partition.day_of(day) is not None]
        entry = self._checked(f"{feed}/{asset}/{days[-1]}", self._describe) if days else None
        return entry.covered[-1][1] if entry else None

    def missing(self, feed: str, asset: str, start: int, end: int) -> list[Range]:
        """Return the holes: the parts of ``[start, end)`` that no source has answered for.

        Parameters
        ----------
        feed, asset : str
        start, end : int
            Labels, seconds since 1970-01-01 UTC.
        """
        return holes_in(self.days(feed, asset, start, end).values(), start, end)

    def provisional(self, feed: str, asset: str, start: int, end: int, now: int) -> list[Range]:
        """Return the minutes of bars that may have changed since they were fetched, and are settled at `now`.

        Parameters
        ----------
        feed, asset, start, end
            As in `missing`.
        now : int
            Current time, seconds since 1970-01-01 UTC.
        """
        return settled(self.days(feed, asset, start, end).values(), start, end, now)

    def read(self, feed: str, asset: str, start: int, end: int) -> Bars:
        """Return the cached bars labelled in ``[start, end)``; minutes that were not fetched have no row.

        Parameters
        ----------
        feed, asset : str
        start, end : int
            Labels, seconds since 1970-01-01 UTC.

        Raises
        ------
        CorruptPartitionError
            If a partition's bytes have changed since they were written; it is moved to quarantine if possible.
        """
        return self.read_with_fingerprint(feed, asset, start, end)[0]

    def read_with_fingerprint(self, feed: str, asset: str, start: int, end: int) -> tuple[Bars, dict[str, Partition]]:
        """Return the bars, and the descriptions of the partitions they were read from, by date.

        Parameters
        ----------
        feed, asset, start, end
            As in `read`.
        """
        found = dict(self._each(feed, asset, start, end, self.load))
        bars = Bars.concatenate([bars for _, bars in found.values()]).between(start, end)
        return bars, {day: entry for day, (entry, _) in found.items()}

    def write(
        self, feed: str, asset: str, bars: Bars, covered: list[Range], provenance: Provenance, *, replace: bool = False
    ) -> int:
        """Merge bars into the cache; if the process is killed, each day is either old or new.

        Parameters
        ----------
        feed, asset : str
        bars : Bars
            Closed minute bars; all inside `covered`.
        covered : list of ranges
            The label ranges for which these are all the bars.
        provenance : Provenance
        replace : bool
            Whether bars that differ from cached ones replace them; provisional ones are always replaced.

        Returns
        -------
        int
            Number of days written; a day that would not change is not written.

        Raises
        ------
        DataError
            If bars differ from cached ones and `replace` is not set.
        ConfigError
            If the cache is at a URL.
        """
        wanted = union(covered)
        starts, ends = np.array(wanted, np.int64).reshape(-1, 2).T
        inside = np.searchsorted(bars.timestamp, ends - MINUTE, "right") - np.searchsorted(bars.timestamp, starts)
        if inside.clip(0).sum() < len(bars):
            raise DataError(f"{feed} {asset}: bars outside the ranges that they cover")
        folder = self.folder(feed, asset)
        folder.mkdir(parents=True, exist_ok=True)
        new: dict[str, bytes] = {}
        with AssetFolder(folder).locked():
            AssetFolder(folder).delete_leftovers()
            for start in sorted({d for a, b in wanted for d in range(a - a % DAY, b, DAY)}):
                day, span = day_name(start), (start, start + DAY)
                part = bars.between(*span), clip(wanted, *span)
                data = self._merge_day(f"{feed}/{asset}/{day}", *part, provenance, replace)
                if data is not None:
                    new[day] = data
            if provenance.command:
                ImportLog(folder).add(provenance, wanted)
            AssetFolder(folder).replace(new)
        return len(new)

    def set_aside(self, feed: str, asset: str, name: str, data: bytes) -> Path:
        """Write unusable data to a new file in quarantine; return its path.

        Parameters
        ----------
        feed, asset : str
        name : str
            File name; a number is added if it is taken.
        data : bytes
        """
        folder = self.folder(feed, asset)
        folder.mkdir(parents=True, exist_ok=True)
        with AssetFolder(folder).locked():
            return AssetFolder(folder).keep_aside(name, data)

    def repair(self, feed: str, asset: str) -> list[str]:
        """Move damaged partitions to quarantine and delete temporary files of killed writers; return what was done."""
        folder = AssetFolder(self.folder(feed, asset))
        done: list[str] = []
        with folder.locked(_REPAIR_WAIT):
            if count := folder.delete_leftovers():
                done.append(f"removed {count} unfinished file(s)")
            for day in self.stems(feed, asset):
                try:
                    self.load(f"{feed}/{asset}/{day}")
                except CorruptPartitionError:
                    done.append(f"{day}: moved aside to {folder.move_aside(day)}")
        return done

    def delete_leftovers(self) -> int:
        """Delete temporary files of killed writers where no writer is active; return their number."""
        count = 0
        for feed, asset in self.assets():
            folder = AssetFolder(self.folder(feed, asset))
            with suppress(DataError, OSError), folder.locked(wait=0):  # a read-only folder has no writers
                count += folder.delete_leftovers()
        return count

    def origin(self, feed: str, asset: str, day: str, entry: Partition | None = None) -> Origin:
        """Return where the bars of a damaged day came from, and the command that brings them back.

        Parameters
        ----------
        feed, asset, day : str
        entry : Partition, optional
            The day's own description, if it can still be read.
        """
        known = entry.source if entry else self._source_near(feed, asset, day)
        covered = entry.covered if entry else ()
        imports = [] if isinstance(self.root, str) else ImportLog(self.folder(feed, asset)).of_day(day)
        return origin_of(imports, feed, asset, day, known, covered)

    def check(self, name: str) -> Partition:
        """Return a partition's description, after checking every byte of the file ``feed/asset/YYYY-MM-DD``.

        Raises
        ------
        CorruptPartitionError, FileNotFoundError
        """
        return self._load(name, lambda file: bytes(file.read()), partition.check)

    def load(self, name: str) -> tuple[Partition, Bars]:
        """Return a partition's description and its bars; as `check`."""
        return self._load(name, lambda file: bytes(file.read()), partition.decode)

    def stems(self, feed: str, asset: str) -> list[str]:
        """Return the names of an asset's files, which are dates except for stray files."""
        return [name.removesuffix(".parquet") for name in self._storage.list(f"{feed}/{asset}/1m", ".parquet")]

    @cached_property
    def _storage(self) -> Storage:
        return Storage(self.root)

    def _source_near(self, feed: str, asset: str, day: str) -> str:
        """Return the source of the day, or the nearest one, whose description can be read; empty if there is none."""
        at = partition.day_of(day) or 0
        days = [(abs(start - at), stem) for stem in self.stems(feed, asset) if (start := partition.day_of(stem))]
        for _, near in sorted(days):
            with suppress(CorruptPartitionError, FileNotFoundError):
                return self._describe(f"{feed}/{asset}/{near}").source
        return ""

    def _each(self, feed: str, asset: str, start: int, end: int, load: Loader[T]) -> Iterator[tuple[str, T]]:
        """Yield date and content of each partition from `start` to `end`."""
        first, last = day_name(start - start % DAY), day_name(end - 1)
        for day in self.stems(feed, asset):
            if first <= day <= last and partition.day_of(day) is not None:
                content = self._checked(f"{feed}/{asset}/{day}", load)
                if content is not None:
                    yield day, content

    def _checked(self, name: str, load: Loader[T]) -> T | None:
        """Load a partition, None if it is gone; move it aside if it is damaged.

        Raises
        ------
        CorruptPartitionError
            The message names the file, where it was moved, and the command that brings its bars back.
        """
        try:
            return load(name)
        except FileNotFoundError:  # moved to quarantine since it was listed
            return None
        except CorruptPartitionError as error:
            if isinstance(self.root, str):
                raise
            found = error
        feed, asset, day = name.split("/")
        origin = self.origin(feed, asset, day)
        folder = AssetFolder(self.folder(feed, asset))
        try:
            with folder.locked(wait=0):
                try:
                    return load(name)  # a writer may have replaced it meanwhile
                except FileNotFoundError:
                    return None
                except CorruptPartitionError:
                    fate = f"it was moved aside to {folder.move_aside(day)}"
        except OSError as error:
            fate = f"it cannot be moved aside ({error.strerror or error}): repair the cache where it is writable"
        except DataError:
            fate = "it was left in place, since another process is writing to its folder"
        raise CorruptPartitionError(f"{found}; {fate}. {origin.text}: {origin.command}") from found

    def _describe(self, name: str) -> Partition:
        """Return a partition's description."""
        return self._load(name, partition.read_footer, partition.describe)

    def _load(self, name: str, read: Callable[[Any], bytes], parse: Callable[[bytes, str], T]) -> T:
        feed, asset, day = name.split("/")
        path = f"{feed}/{asset}/1m/{day}.parquet"
        data = self._storage.read(path, read)
        try:
            return parse(data, name)
        except CorruptPartitionError as error:
            raise CorruptPartitionError(f"{self.root}/{path}: {error}") from error

    def _merge_day(
        self, name: str, fresh: Bars, covered: list[Range], provenance: Provenance, replace: bool
    ) -> bytes | None:
        """Return a day's new file, None if nothing changes. Move a damaged file to quarantine. Needs the lock."""
        feed, asset, day = name.split("/")
        try:
            entry, known = self.load(name)
        except FileNotFoundError:
            return new_day(name, fresh, covered, provenance)
        except CorruptPartitionError:
            AssetFolder(self.folder(feed, asset)).move_aside(day)
            return new_day(name, fresh, covered, provenance)
        return merged_day(name, entry, known, fresh, covered, provenance, replace=replace)


def holes_in(days: Iterable[Partition], start: int, end: int) -> list[Range]:
    """Return the holes in ``[start, end)``, from the descriptions of the days; see `Cache.missing`."""
    return subtract([(start, end)], (part for day in days for part in day.covered))


def settled(days: Iterable[Partition], start: int, end: int, now: int) -> list[Range]:
    """Return the minutes in ``[start, end)`` of provisional bars that no longer change; see `Cache.provisional`."""
    labels = [label for day in days for label in day.provisional]
    return intersect([(label, label + MINUTE) for label in labels if label + 2 * MINUTE <= now], [(start, end)])


def open_cache(location: Path | str) -> Cache:
    """Return the cache in a folder or at a URL, for reading."""
    return Cache(location)


def local_cache(location: Path | str) -> Cache:
    """Return the cache in a folder, for writing.

    Raises
    ------
    ConfigError
        If the location is a URL.
    """
    cache = Cache(location)
    cache.folder("", "")
    return cache
