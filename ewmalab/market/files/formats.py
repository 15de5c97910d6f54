"""The formats of bar files: how each is recognised and read."""

from __future__ import annotations

import gzip
import io
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from zlib import error as ZlibError

from ewmalab.errors import BarsError
from ewmalab.market.files.table import Table

_PACKED = (".gz", ".zip")


@dataclass(frozen=True, slots=True)
class Format:
    """A format: its name, the suffixes of its files, and the function from a file's bytes to its table."""

    name: str
    suffixes: tuple[str, ...]
    read: Callable[[bytes], Table]


def _text(data: bytes) -> Table:
    from ewmalab.market.files.text import read_text  # loads pandas, as do the others

    return read_text(data)


def _json(data: bytes) -> Table:
    from ewmalab.market.files.json_rows import read_json

    return read_json(data)


def _parquet(data: bytes) -> Table:
    from ewmalab.market.files.arrow import read_parquet

    return read_parquet(data)


def _feather(data: bytes) -> Table:
    from ewmalab.market.files.arrow import read_feather

    return read_feather(data)


FORMATS = (
    Format("Parquet", (".parquet", ".pq"), _parquet),
    Format("CSV", (".csv", ".tsv", ".txt"), _text),
    Format("JSON", (".json", ".jsonl", ".ndjson"), _json),
    Format("Feather", (".feather", ".arrow"), _feather),
)
SUFFIXES = tuple(suffix for one in FORMATS for suffix in one.suffixes)


def bar_suffix(name: str) -> str | None:
    """Return the suffix that names the format of a file or an archive's member, None if it is none of `FORMATS`.

    Examples
    --------
    >>> bar_suffix("BTC.csv.gz"), bar_suffix("BTC.xls")
    ('.csv', None)
    """
    suffixes = [suffix.lower() for suffix in Path(name).suffixes]
    if suffixes and suffixes[-1] in _PACKED:
        suffixes.pop()
    return suffixes[-1] if suffixes and suffixes[-1] in SUFFIXES else None


def members(path: Path) -> list[str]:
    """Return the names of the bar files in a zip archive; an empty name stands for a file that is no archive."""
    if path.suffix.lower() != ".zip":
        return [""]
    try:
        with zipfile.ZipFile(path) as archive:
            return sorted(name for name in archive.namelist() if bar_suffix(name) and not name.startswith("__MACOSX"))
    except (OSError, zipfile.BadZipFile) as error:
        raise BarsError(f"{path}: not a readable archive: {error}") from error


def read_table(path: Path, member: str = "") -> Table:
    """Read the columns of a file, or of an archive's member, as they stand.

    Raises
    ------
    BarsError
        If the file cannot be read as a table.
    """
    if not path.exists():
        raise BarsError(f"{path}: does not exist")
    name = member or path.name
    if path.suffix.lower() == ".zip" and not member:
        members(path)
    suffix = bar_suffix(name)
    known = next((one for one in FORMATS if suffix in one.suffixes), None)
    if known is None:
        raise BarsError(f"{path}: unknown file type; known: {', '.join(SUFFIXES)}, also inside .gz and .zip")
    try:
        data = _bytes(path, member)
        return _by_content(data, known).read(data)
    except BarsError as error:
        raise BarsError(f"{path}: {error}") from error
    except (OSError, EOFError, ValueError, TypeError, KeyError, IndexError, zipfile.BadZipFile, ZlibError) as error:
        raise BarsError(f"{path}: not a readable bar file: {error}") from error


def _by_content(data: bytes, named: Format) -> Format:
    """Return the format that a file's first bytes tell, or else the one that its name names."""
    parquet, text, json, feather = FORMATS
    if data.startswith(b"PK\x03\x04"):
        raise BarsError("a zip archive; rename it to .zip")
    for start, found in ((b"PAR1", parquet), (b"ARROW1", feather), (b"FEA1", feather)):
        if data.startswith(start):
            return found
    if named not in (text, json):
        return named
    first = data[:200].replace(b"\0", b"").lstrip(b"\xef\xbb\xbf\xff\xfe \t\r\n")[:1]
    if first and first in b"{[":
        return json
    return text if b"," in data[:1000] else named


def _bytes(path: Path, member: str) -> bytes:
    data = path.read_bytes()
    if member:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            data = archive.read(member)
    return gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data
