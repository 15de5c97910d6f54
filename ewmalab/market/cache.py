"""The cache: minute bars in one self-describing Parquet file per feed, asset and day, in a folder or at a URL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from ewmalab.errors import ConfigError, CorruptPartitionError, DataError
from ewmalab.market import partition
from ewmalab.market.asset_folder import AssetFolder
from ewmalab.market.bars import Bars
from ewmalab.market.partition import Partition, Provenance
from ewmalab.market.ranges import Range, intersect, subtract, union
from ewmalab.market.storage import Storage
from ewmalab.times import DAY, MINUTE, day_name

_ALL = (0, 253_402_300_800)  # to the end of the year 9999

T = TypeVar("T")
Loader = Callable[[str], T]  # from "feed/asset/YYYY-MM-DD"


@dataclass(frozen=True, slots=True)
class Finding:
    """What `Cache.verify` says of one partition."""

    feed: str
    asset: str
    day: str
    problem: str | None


@dataclass(frozen=True)
class Cache:
    """Bars as ``<root>/<feed>/<asset>/1m/<YYYY-MM-DD>.parquet``; each file says itself what it holds.

    Several processes may read and write at once. Writers of one asset queue at a lock, readers need none: files are
    replaced atomically, so a reader sees each day as it was before a write or as it is after it, and so does whoever
    comes after a killed writer.

    Noticed, whatever the file: a changed byte (for files of earlier versions see `partition`), a file cut short, a file
    of another feed, asset or day; such a file is moved into the folder ``quarantine`` and named in the error. Not
    noticed here: that a day's file is gone (the day counts as never fetched), or that an older whole version of the
    same day was put in its place. An experiment records the digest of each day that it read: reproducing it names the
    days that are not the same any more.

    Parameters
    ----------
    root : Path or str
        A folder, created with the first write; or the URL of any filesystem that pyarrow knows, for example
        ``s3://bucket/data_cache``, which is read only.
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
        """Return the feed and asset of all that is cached, in name order."""
        pairs = [(feed, asset) for feed in self._storage.list("") for asset in self._storage.list(feed)]
        return [pair for pair in pairs if "1m" in self._storage.list("/".join(pair))]

    def days(self, feed: str, asset: str, start: int = _ALL[0], end: int = _ALL[1]) -> dict[str, Partition]:
        """Return what the files of the days from `start` to `end` say of themselves, by date; reads footers only.

        Raises
        ------
        CorruptPartitionError
            If a description is damaged; see `read`.
        """
        return dict(self._each(feed, asset, start, end, self._describe))

    def covered(self, feed: str, asset: str, start: int = _ALL[0], end: int = _ALL[1]) -> list[Range]:
        """Return the label ranges that were fetched, of the days from `start` to `end`."""
        return union(r for day in self.days(feed, asset, start, end).values() for r in day.covered)

    def newest(self, feed: str, asset: str) -> int | None:
        """Return the end of the newest range that was fetched, None if there is none; reads one footer."""
        days = [day for day in self._stems(feed, asset) if partition.day_of(day) is not None]
        entry = self._checked(f"{feed}/{asset}/{days[-1]}", self._describe) if days else None
        return entry.covered[-1][1] if entry else None

    def missing(self, feed: str, asset: str, start: int, end: int) -> list[Range]:
        """Return what of the labels in ``[start, end)`` was never fetched."""
        return subtract([(start, end)], self.covered(feed, asset, start, end))

    def read(self, feed: str, asset: str, start: int, end: int) -> Bars:
        """Return the cached bars labelled in ``[start, end)``; what was not fetched is simply not there.

        Raises
        ------
        CorruptPartitionError
            If a partition's bytes are not those that were written; it has been moved aside then, if that can be.
        """
        return self.read_with_fingerprint(feed, asset, start, end)[0]

    def read_with_fingerprint(self, feed: str, asset: str, start: int, end: int) -> tuple[Bars, dict[str, Partition]]:
        """Return the bars, and by date the descriptions of the very partitions they came from; see `read`."""
        found = dict(self._each(feed, asset, start, end, self._open))
        bars = Bars.concatenate([bars for _, bars in found.values()]).between(start, end)
        return bars, {day: entry for day, (entry, _) in found.items()}

    def write(
        self,
        feed: str,
        asset: str,
        bars: Bars,
        covered: list[Range],
        provenance: Provenance,
        *,
        replace: bool = False,
    ) -> int:
        """Merge bars into the cache; a killed write leaves every day as it was or as it should be.

        Parameters
        ----------
        feed, asset : str
        bars : Bars
            Closed minute bars; all inside `covered`.
        covered : list of ranges
            The label ranges that these bars answer for.
        provenance : Provenance
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
        ConfigError
            If the cache is at a URL.
        """
        wanted = union(covered)
        if len(bars) and subtract([(int(t), int(t) + MINUTE) for t in bars.timestamp], wanted):
            raise DataError(f"{feed} {asset}: bars outside the range they are said to cover")
        folder = self.folder(feed, asset)
        folder.mkdir(parents=True, exist_ok=True)
        new: dict[str, bytes] = {}
        with AssetFolder(folder).locked():
            AssetFolder(folder).delete_leftovers()
            for start in sorted({d for a, b in wanted for d in range(a - a % DAY, b, DAY)}):
                day, span = day_name(start), (start, start + DAY)
                part = bars.between(*span), intersect(wanted, [span])
                data = self._merge_day(f"{feed}/{asset}/{day}", *part, provenance, replace)
                if data is not None:
                    new[day] = data
            AssetFolder(folder).replace(new)
        return len(new)

    def verify(self, feed: str | None = None, asset: str | None = None) -> Iterator[Finding]:
        """Check every partition's bytes, content and description; yields one finding each, and moves nothing."""
        for name in self.assets():
            if feed not in (None, name[0]) or asset not in (None, name[1]):
                continue
            for day in self._stems(*name):
                try:
                    self._open("/".join([*name, day]))
                    yield Finding(*name, day, None)
                except FileNotFoundError:  # moved aside since
                    continue
                except CorruptPartitionError as error:
                    yield Finding(*name, day, str(error))

    def set_aside(self, feed: str, asset: str, name: str, data: bytes) -> Path:
        """Keep what could not be used in a new file of the quarantine folder; return its path."""
        folder = self.folder(feed, asset)
        folder.mkdir(parents=True, exist_ok=True)
        with AssetFolder(folder).locked():
            return AssetFolder(folder).keep_aside(name, data)

    def repair(self, feed: str, asset: str) -> list[str]:
        """Move damaged partitions aside, delete temporary files of killed writers; return what was done."""
        folder = AssetFolder(self.folder(feed, asset))
        done: list[str] = []
        with folder.locked():
            if count := folder.delete_leftovers():
                done.append(f"removed {count} unfinished file(s)")
            for day in self._stems(feed, asset):
                try:
                    self._open(f"{feed}/{asset}/{day}")
                except CorruptPartitionError:
                    done.append(f"{day}: moved aside to {folder.move_aside(day)}")
        return done

    def delete_leftovers(self) -> int:
        """Delete temporary files of killed writers, wherever no writer is at work; return how many."""
        count = 0
        for feed, asset in self.assets():
            folder = AssetFolder(self.folder(feed, asset))
            with suppress(DataError), folder.locked(wait=0):
                count += folder.delete_leftovers()
        return count

    @cached_property
    def _storage(self) -> Storage:
        return Storage(self.root)

    def _stems(self, feed: str, asset: str) -> list[str]:
        """Return the names of an asset's files: dates, unless a stray file is among them."""
        return [name.removesuffix(".parquet") for name in self._storage.list(f"{feed}/{asset}/1m", ".parquet")]

    def _each(self, feed: str, asset: str, start: int, end: int, load: Loader[T]) -> Iterator[tuple[str, T]]:
        """Yield date and content of each partition from `start` to `end`."""
        first, last = day_name(start - start % DAY), day_name(end - 1)
        for day in self._stems(feed, asset):
            if first <= day <= last and partition.day_of(day) is not None:
                content = self._checked(f"{feed}/{asset}/{day}", load)
                if content is not None:
                    yield day, content

    def _checked(self, name: str, load: Loader[T]) -> T | None:
        """Load a partition, None if it is gone; move it aside if it is damaged.

        Raises
        ------
        CorruptPartitionError
            Naming the file, what became of it, and the command that gets the day again.
        """
        try:
            return load(name)
        except FileNotFoundError:  # moved aside since it was listed
            return None
        except CorruptPartitionError as error:
            if isinstance(self.root, str):
                raise
            found = error
        feed, asset, day = name.split("/")
        folder = AssetFolder(self.folder(feed, asset))
        try:
            with folder.locked():
                try:
                    return load(name)  # a writer may have replaced it meanwhile
                except FileNotFoundError:
                    return None
                except CorruptPartitionError:
                    fate = f"it was moved aside to {folder.move_aside(day)}"
        except OSError as error:
            fate = f"it cannot be moved aside ({error.strerror or error}): repair the cache where it can be written"
        raise CorruptPartitionError(
            f"{found}; {fate}. Get the day again: "
            f"ewmalab data fetch --feed {feed} --assets {asset} --start {day} --days 1"
        ) from found

    def _open(self, name: str) -> tuple[Partition, Bars]:
        """Return what a partition says of itself and its bars, every byte checked."""
        return self._load(name, lambda file: bytes(file.read()), partition.decode)

    def _describe(self, name: str) -> Partition:
        """Return what a partition says of itself."""
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
        """Return a day's new file, the lock held; None if nothing changes. A damaged file is moved aside."""
        feed, asset, day = name.split("/")
        try:
            entry, known = self._open(name)
        except FileNotFoundError:
            return partition.encode(name, fresh, covered, provenance)
        except CorruptPartitionError:
            AssetFolder(self.folder(feed, asset)).move_aside(day)
            return partition.encode(name, fresh, covered, provenance)
        differs = known.disagreements(fresh)
        if differs.any() and not replace:
            raise DataError(
                f"{feed} {asset} {day}: {int(differs.sum())} bar(s) differ from the cached ones (first: timestamp "
                f"{int(fresh.timestamp[differs][0])}); nothing was written. Pass --replace to prefer the new ones"
            )
        merged, ranges = known.union(fresh), union([*entry.covered, *covered])
        if merged.digest() == entry.digest and ranges == list(entry.covered):
            return None
        return partition.encode(name, merged, ranges, provenance)


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
