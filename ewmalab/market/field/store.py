"""The cache of the real field: one self-describing Parquet file per series and day."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from ewmalab.errors import ConfigError, CorruptPartitionError
from ewmalab.market.asset_folder import AssetFolder
from ewmalab.market.field.series import Series, between
from ewmalab.market.partition import day_of, is_sealed, read_footer, seal
from ewmalab.market.storage import Storage
from ewmalab.times import DAY, day_name

FOLDER = "field"
SETTLED = 7200
"""Seconds after the end of a day from which on its rows do not change any more."""

_NOTE = b"ewmalab"
_UNREADABLE = (pa.ArrowException, OSError, KeyError, TypeError, ValueError)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class FieldDay:
    """The description of one day's file.

    Attributes
    ----------
    day : int
        First second of the day.
    rows : int
    fetched_at : int
        When the day was fetched; the time of the oldest answer if there were several.
    source : str
        Host or file.
    synthetic : bool
        Whether the source said that its data are made up.
    """

    day: int
    rows: int
    fetched_at: int
    source: str
    synthetic: bool

    @property
    def final(self) -> bool:
        """Return whether the whole day was over when it was fetched."""
        return self.fetched_at >= self.day + DAY + SETTLED


@dataclass(frozen=True)
class FieldStore:
    """The field as ``<cache>/field/<kind>/<name>/<horizon>/<YYYY-MM-DD>.parquet``.

    Files are replaced atomically, and every byte is checked when a file is read. Writers of one series wait for a
    lock.

    Parameters
    ----------
    cache : Path or str
        Folder of the cache, or its URL, which is read-only.
    """

    cache: Path | str

    @property
    def root(self) -> Path | str:
        """Return the field's folder or URL."""
        return self.cache / FOLDER if isinstance(self.cache, Path) else f"{self.cache.rstrip('/')}/{FOLDER}"

    def series(self) -> list[Series]:
        """Return the cached series, by name."""
        found = (Series.of(path) for path in self._folders("", 3))
        return sorted(one for one in found if one is not None and self._names(one))

    def days(self, series: Series) -> dict[int, FieldDay]:
        """Return the descriptions of a series' files by day; unreadable files are left out.

        See `damaged`.
        """
        found = {}
        for day in self._names(series):
            try:
                found[day] = self._load(series, day, read_footer, _describe)
            except CorruptPartitionError:
                continue
        return found

    def damaged(self, series: Series) -> list[str]:
        """Check every byte of a series; return the messages about damaged files."""
        out = []
        for day in self._names(series):
            try:
                self._load(series, day, _whole, _checked)
            except CorruptPartitionError as error:
                out.append(str(error))
        return out

    def set_damaged_aside(self, series: Series) -> list[Path]:
        """Move damaged files of a series into its subfolder ``quarantine``; return their new paths."""
        if not self.damaged(series):
            return []
        folder, out = AssetFolder(self.folder(series)), []
        with folder.locked():
            for day in self._names(series):
                try:
                    self._load(series, day, _whole, _checked)
                except CorruptPartitionError:
                    out.append(folder.move_aside(day_name(day)))
        return out

    def read(self, series: Series, start: int, end: int) -> pa.Table:
        """Return the rows of a series with times in ``[start, end)``, in order of time.

        Parameters
        ----------
        series : Series
        start, end : int
            Seconds since 1970-01-01 UTC.

        Raises
        ------
        CorruptPartitionError
            If a file's bytes have changed since they were written.
        """
        days = [day for day in self._names(series) if day + DAY > start and day < end]
        tables = [self._load(series, day, _whole, _decode).select(series.schema.names) for day in days]
        table = between(pa.concat_tables([series.schema.empty_table(), *tables]), start, end)
        return table.sort_by([(name, "ascending") for name in series.schema.names[:2] if name != "asked"])

    def write(self, series: Series, table: pa.Table, described: FieldDay) -> None:
        """Replace the file of a day.

        Parameters
        ----------
        series : Series
        table : pyarrow.Table
            Rows of that day, with the columns of the series.
        described : FieldDay

        Raises
        ------
        ConfigError
            If the cache is at a URL.
        """
        folder = self.folder(series)
        folder.mkdir(parents=True, exist_ok=True)
        note = {"series": series.path, **asdict(described)}
        schema = series.schema.with_metadata({_NOTE: orjson.dumps(note)})
        sink = pa.BufferOutputStream()
        pq.write_table(pa.table(table.columns, schema=schema), sink, compression="zstd")
        with AssetFolder(folder).locked():
            AssetFolder(folder).delete_leftovers()
            AssetFolder(folder).replace({day_name(described.day): seal(sink.getvalue().to_pybytes())})

    def folder(self, series: Series) -> Path:
        """Return the folder of a series' files.

        Raises
        ------
        ConfigError
            If the cache is at a URL.
        """
        if isinstance(self.root, str):
            raise ConfigError(f"data.cache_dir = {self.cache}: a cache at a URL is read-only; name a folder")
        return self.root / series.path

    def _folders(self, under: str, depth: int) -> Iterator[str]:
        for name in Storage(self.root).list(under) if depth else ():
            path = f"{under}/{name}".lstrip("/")
            yield path
            yield from self._folders(path, depth - 1)

    def _names(self, series: Series) -> list[int]:
        """Return the days of which a series has a file."""
        names = (name.removesuffix(".parquet") for name in Storage(self.root).list(series.path, ".parquet"))
        return [day for day in map(day_of, names) if day is not None]

    def _load(self, series: Series, day: int, read: Callable[[Any], bytes], parse: Callable[[bytes, str], T]) -> T:
        path = f"{series.path}/{day_name(day)}.parquet"
        data = Storage(self.root).read(path, read)
        try:
            return parse(data, f"{series.path}/{day_name(day)}")
        except _UNREADABLE as error:
            reason = str(error).partition(". ")[0]
        except CorruptPartitionError as error:
            reason = str(error)
        raise CorruptPartitionError(f"{self.root}/{path}: {reason}; `ewmalab field fetch` gets this day again")


def _whole(file: Any) -> bytes:
    return bytes(file.read())


def _describe(tail: bytes, name: str) -> FieldDay:
    return _described(pq.read_metadata(pa.BufferReader(tail)).metadata, name)


def _described(metadata: dict[bytes, bytes], name: str) -> FieldDay:
    note = orjson.loads(metadata[_NOTE])
    if f"{note.pop('series')}/{day_name(note['day'])}" != name:
        raise CorruptPartitionError(f"it holds other rows than {name}")
    return FieldDay(**note)


def _checked(data: bytes, name: str) -> FieldDay:
    """Return a file's description, after checking every byte."""
    if not is_sealed(data):
        raise CorruptPartitionError("its bytes have changed since they were written (no seal)")
    return _describe(data, name)


def _decode(data: bytes, name: str) -> pa.Table:
    """Return a file's rows, after checking every byte."""
    _checked(data, name)
    return pq.read_table(pa.BufferReader(data), use_threads=False)
