"""One day's file: a self-describing Parquet file with a checksum over every byte.

::

    PAR1 | pages, each with its checksum | seal | footer with the description | length of the footer | PAR1

The description is a JSON object in the footer's metadata, with its own SHA-256. The footer alone says what the file
holds, and is read in a fraction of a millisecond. The seal is the SHA-256 of all other bytes. Parquet readers find
pages and footer by their offsets and skip it.

Earlier versions wrote no seal. In their files a flipped bit is detected only if it changes a bar or the description.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from ewmalab.errors import BarsError, CorruptPartitionError
from ewmalab.market.bars import Bars
from ewmalab.market.quality import COLUMNS
from ewmalab.market.ranges import Range, subtract
from ewmalab.times import DAY, MINUTE, day_name, day_start

_NOTE = b"ewmalab"  # key of the description in the footer's metadata
_NOTE_SHA256 = b"ewmalab.sha256"
_SEAL = b"ewmaseal"
_SEAL_LENGTH = len(_SEAL) + 32
_TAIL = 8192  # bytes; more than a usual footer
_UNREADABLE = (pa.ArrowException, OSError, KeyError, TypeError, ValueError, BarsError)
_SCHEMA = pa.schema([("timestamp", pa.int64()), *((name, pa.float64()) for name in COLUMNS[1:])])


_FILE = "file "  # begins the source of imported bars


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where bars come from.

    Attributes
    ----------
    source : str
        A host, or ``file NAME``.
    fetched_at : int
        Time of the fetch or import, seconds since 1970-01-01 UTC.
    synthetic : bool
    as_of : int or None
        Time of the source's answer, if its newest bar may still have changed after it.
    command : str
        The command that imports the file again.
    """

    source: str
    fetched_at: int
    synthetic: bool = False
    as_of: int | None = None
    command: str = ""

    @classmethod
    def of_file(
        cls, name: str, now: int, *, synthetic: bool = False, as_of: int | None = None, command: str = ""
    ) -> Provenance:
        """Return the provenance of a file's bars."""
        return cls(_FILE + name, now, synthetic, as_of, command)

    @property
    def asked_at(self) -> int:
        """Return when a feed was asked for these minutes; 0 for a file, which answers for what it has."""
        return 0 if is_file(self.source) else self.fetched_at


def is_file(source: str) -> bool:
    """Return whether a source is an imported file, and no feed."""
    return source.startswith(_FILE)


@dataclass(frozen=True, slots=True)
class Partition:
    """The description of one day's file.

    Attributes
    ----------
    digest : str
        Digest of the bars; equal bars have equal digests, whatever their provenance.
    rows : int
    covered : tuple of ranges
        The label ranges that the source has answered. A missing minute inside them is a gap; one outside was never
        fetched.
    source, fetched_at, synthetic
        The `Provenance` of the newest bars.
    asked_at : int
        When a feed was last asked for all minutes of `covered` that have no bar; 0 if one of them is known from a file
        alone. Earlier versions did not record it: it is `fetched_at`.
    provisional : tuple of int
        Labels of bars that may still have changed when the source answered.
    late : tuple of (int, int)
        Labels of bars that a source had left out before, and when they came.
    sha256 : str
        SHA-256 of the file's bytes; empty if only the footer was read.
    """

    digest: str
    rows: int
    covered: tuple[Range, ...]
    source: str
    fetched_at: int
    synthetic: bool
    asked_at: int = 0
    provisional: tuple[int, ...] = ()
    late: tuple[tuple[int, int], ...] = ()
    sha256: str = ""

    @property
    def final(self) -> bool:
        """Return whether the whole day is covered, and no bar may still change."""
        return sum(b - a for a, b in self.covered) == DAY and not self.provisional

    @property
    def gap_minutes(self) -> int:
        """Return the number of covered minutes without a bar."""
        return sum(b - a for a, b in self.covered) // MINUTE - self.rows


def encode(
    name: str,
    bars: Bars,
    covered: list[Range],
    provenance: Provenance,
    *,
    asked_at: int | None = None,
    provisional: tuple[int, ...] = (),
    late: tuple[tuple[int, int], ...] = (),
) -> bytes:
    """Return the bytes of the file of a day's bars.

    Parameters
    ----------
    name : str
        ``feed/asset/YYYY-MM-DD``, written into the file.
    bars : Bars
        Bars of that day.
    covered : list of ranges
        Sorted and disjoint.
    provenance : Provenance
    asked_at : int, optional
        By default that of the provenance.
    provisional : tuple of int
    late : tuple of (int, int)
        As in `Partition`.
    """
    note = {
        "sealed": True,
        "name": name,
        "digest": bars.digest(),
        "rows": len(bars),
        "covered": covered,
        "source": provenance.source,
        "fetched_at": provenance.fetched_at,
        "synthetic": provenance.synthetic,
        "asked_at": provenance.asked_at if asked_at is None else asked_at,
        "provisional": provisional,
        "late": late,
    }
    described = orjson.dumps(note)
    schema = _SCHEMA.with_metadata({_NOTE: described, _NOTE_SHA256: hashlib.sha256(described).hexdigest()})
    # The columns' own memory, since `pa.array` and `to_numpy` load pandas, which every process would carry along.
    buffers = (pa.py_buffer(np.ascontiguousarray(column)) for column in bars.columns().values())
    columns = [
        pa.Array.from_buffers(kind, len(bars), [None, buffer])
        for kind, buffer in zip(_SCHEMA.types, buffers, strict=True)
    ]
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_arrays(columns, schema=schema), sink, compression="zstd", write_page_checksum=True)
    return seal(sink.getvalue().to_pybytes())


def decode(data: bytes, name: str) -> tuple[Partition, Bars]:
    """Return the description and the bars of a file, after checking every byte.

    Parameters
    ----------
    data : bytes
        The whole file.
    name : str
        ``feed/asset/YYYY-MM-DD``, from the file's path.

    Raises
    ------
    CorruptPartitionError
        If the bytes have changed since they were written, or were written under another name.
    """
    sealed = is_sealed(data)
    try:
        file = pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True)
        note = _note(file.metadata)
        partition = _described(note, name)
        if note.get("sealed") and not sealed:
            raise CorruptPartitionError("its bytes have changed since they were written (no seal)")
        table = file.read(use_threads=False)
        bars = Bars.from_columns({column: np.from_dlpack(table[column].combine_chunks()) for column in COLUMNS})
    except _UNREADABLE as error:
        raise _unreadable(error) from error
    if bars.digest() != partition.digest or len(bars) != partition.rows:
        raise CorruptPartitionError("its rows have changed since they were written")
    return replace(partition, sha256=hashlib.sha256(data).hexdigest()), bars


def check(data: bytes, name: str) -> Partition:
    """Return the description of a file, after checking every byte; faster than `decode`, and raises as it does."""
    return describe(data, name) if is_sealed(data) else decode(data, name)[0]


def describe(tail: bytes, name: str) -> Partition:
    """Return the description in a footer; raises as `decode`, but checks the footer's bytes only."""
    try:
        return _described(_note(pq.read_metadata(pa.BufferReader(tail))), name)
    except _UNREADABLE as error:
        raise _unreadable(error) from error


def own_name(data: bytes) -> str | None:
    """Return the name under which a file was written, None if its description cannot be read."""
    try:
        return str(_note(pq.read_metadata(pa.BufferReader(data)))["name"])
    except (*_UNREADABLE, CorruptPartitionError):
        return None


@lru_cache(maxsize=4096)
def day_of(name: str) -> int | None:
    """Return the first second of the day in a file's name, None if the name is not a date."""
    try:
        start = day_start(name)
    except ValueError:
        return None
    return start if day_name(start) == name else None


def read_footer(file: Any) -> bytes:
    """Return the end of an open (pyarrow) file, with at least the footer."""
    size = file.size()
    tail = bytes(file.read_at(min(size, _TAIL), max(0, size - _TAIL)))
    length = int.from_bytes(tail[-8:-4], "little") + 8
    if len(tail) < length <= size:
        tail = bytes(file.read_at(length, size - length))
    return tail


def seal(data: bytes) -> bytes:
    """Return a Parquet file with a seal before its footer."""
    at = _footer_start(data)
    return data[:at] + _SEAL + hashlib.sha256(data).digest() + data[at:]


def _unreadable(error: Exception) -> CorruptPartitionError:
    return CorruptPartitionError(f"not a readable partition ({str(error).partition('. ')[0]})")


def is_sealed(data: bytes) -> bool:
    """Return whether there is a seal; raise if it does not match."""
    end = _footer_start(data)
    at = max(0, end - _SEAL_LENGTH)
    if data[at : at + len(_SEAL)] != _SEAL:
        return False
    if hashlib.sha256(data[:at] + data[end:]).digest() != data[at + len(_SEAL) : end]:
        raise CorruptPartitionError("its bytes have changed since they were written (sha256 differs)")
    return True


def _footer_start(data: bytes) -> int:
    return max(0, len(data) - 8 - int.from_bytes(data[-8:-4], "little"))


def _note(footer: Any) -> dict[str, Any]:
    """Return the description in a file's metadata, after checking its digest."""
    described = footer.metadata[_NOTE]
    if hashlib.sha256(described).hexdigest().encode() != footer.metadata[_NOTE_SHA256]:
        raise CorruptPartitionError("its description has changed since it was written")
    return {"rows": footer.num_rows, **orjson.loads(described)}


def _described(note: dict[str, Any], name: str) -> Partition:
    covered = tuple((int(a), int(b)) for a, b in note["covered"])
    day = day_of(name.rpartition("/")[2])
    if day is None:
        raise CorruptPartitionError("its name is not a date")
    if note.get("name", name) != name or subtract(covered, [(day, day + DAY)]):
        raise CorruptPartitionError(f"it holds {note.get('name', 'another day')}, not {name}")
    kept = {key: note[key] for key in ("digest", "rows", "source", "fetched_at", "synthetic")}
    asked_at = note.get("asked_at", 0 if is_file(note["source"]) else note["fetched_at"])
    late = tuple((int(label), int(at)) for label, at in note.get("late", ()))
    provisional = tuple(note.get("provisional", ()))
    return Partition(covered=covered, asked_at=asked_at, provisional=provisional, late=late, **kept)
