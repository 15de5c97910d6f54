"""A cache read from where it lies: a folder, or a URL of any filesystem that pyarrow knows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from ewmalab.errors import ConfigError, CorruptPartitionError, DataError
from ewmalab.market.bars import Bars
from ewmalab.market.cache import Cache, checked_partition
from ewmalab.market.manifest import FILE, Manifest, Partition
from ewmalab.market.ranges import Range, subtract, union
from ewmalab.times import day_name


class ReadableCache(Protocol):
    """What a replay needs of a cache; see `Cache` for each."""

    def entries(self) -> Iterator[tuple[str, str, Manifest]]: ...

    def missing(self, feed: str, asset: str, start: int, end: int) -> list[Range]: ...

    def read(self, feed: str, asset: str, start: int, end: int) -> Bars: ...

    def read_with_fingerprint(
        self, feed: str, asset: str, start: int, end: int
    ) -> tuple[Bars, dict[str, Partition]]: ...


@dataclass(frozen=True)
class RemoteCache:
    """A cache at a URL, read-only; every byte is checked as in `Cache`, but nothing is repaired or moved.

    Parameters
    ----------
    url : str
        For example ``s3://bucket/data_cache``, ``gs://bucket/data_cache``, ``file:///mnt/data_cache``.

    Raises
    ------
    ConfigError
        On first use, if pyarrow knows no such filesystem.
    """

    url: str

    @cached_property
    def _location(self) -> tuple[Any, str]:
        from pyarrow import fs

        try:
            system, path = fs.FileSystem.from_uri(self.url)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise ConfigError(f"cache {self.url}: {error}; pyarrow reads file, s3, gs, abfs and hdfs URLs") from error
        return system, path.rstrip("/")

    def entries(self) -> Iterator[tuple[str, str, Manifest]]:
        """Yield feed, asset and manifest of all that is cached, in name order."""
        from pyarrow import fs

        system, root = self._location
        found = system.get_file_info(fs.FileSelector(root, recursive=True, allow_not_found=True))
        for path in sorted(info.path for info in found if info.base_name == FILE):
            feed, asset = path.removeprefix(root).strip("/").split("/")[:2]
            yield feed, asset, self._manifest(feed, asset)

    def missing(self, feed: str, asset: str, start: int, end: int) -> list[Range]:
        """Return what of the labels in ``[start, end)`` was never fetched."""
        days = self._manifest(feed, asset).days
        return subtract([(start, end)], union(r for entry in days.values() for r in entry.covered))

    def read(self, feed: str, asset: str, start: int, end: int) -> Bars:
        """Return the cached bars labelled in ``[start, end)``; what was not fetched is simply not there."""
        return self.read_with_fingerprint(feed, asset, start, end)[0]

    def read_with_fingerprint(self, feed: str, asset: str, start: int, end: int) -> tuple[Bars, dict[str, Partition]]:
        """Return the bars and the entries of the very partitions they came from.

        Raises
        ------
        CorruptPartitionError
            If a partition's bytes are not those that were written.
        """
        manifest = self._manifest(feed, asset)
        first, last = day_name(start - start % 86_400), day_name(end - 1)
        parts, used = [], {}
        for day in sorted(d for d in manifest.days.keys() | manifest.pending.keys() if first <= d <= last):
            where = f"{feed}/{asset}/1m/{day}.parquet"
            data = self._bytes(where)
            if data is None and day not in manifest.days:
                continue  # announced by a writer that was killed before it put the file there
            if data is None:
                raise CorruptPartitionError(f"{self.url}/{where}: listed in the manifest but gone")
            used[day], bars = checked_partition(data, manifest, day, f"{self.url}/{where}")
            parts.append(bars)
        return Bars.concatenate(parts).between(start, end), used

    def _manifest(self, feed: str, asset: str) -> Manifest:
        where = f"{feed}/{asset}/1m/{FILE}"
        data = self._bytes(where)
        return Manifest() if data is None else Manifest.parse(data, f"{self.url}/{where}")

    def _bytes(self, where: str) -> bytes | None:
        system, root = self._location
        try:
            with system.open_input_stream(f"{root}/{where}", compression=None) as stream:
                return bytes(stream.read())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise DataError(f"{self.url}/{where}: cannot be read: {error}") from error


def open_cache(location: Path | str) -> ReadableCache:
    """Return the cache at a folder or URL."""
    return Cache(location) if isinstance(location, Path) else RemoteCache(location)


def local_cache(location: Path | str) -> Cache:
    """Return the cache in a folder, for writing.

    Raises
    ------
    ConfigError
        If the location is a URL.
    """
    if isinstance(location, Path):
        return Cache(location)
    raise ConfigError(f"data.cache_dir = {location}: a cache at a URL is read-only; name a folder")
