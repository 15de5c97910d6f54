"""The manifest of one asset's partitions: what each day's file must hold, and where it came from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson

from ewmalab.atomic_files import write_atomic
from ewmalab.errors import CorruptPartitionError
from ewmalab.market.bars import Bars
from ewmalab.market.ranges import Range, union
from ewmalab.times import DAY

VERSION = 1
FILE = "manifest.json"


@dataclass(frozen=True, slots=True)
class Partition:
    """What is known of one day's file.

    Attributes
    ----------
    sha256 : str
        Of the file's bytes.
    digest : str
        Of its bars alone: equal bars have equal digests, whoever fetched them when.
    rows : int
    covered : tuple of ranges
        The label ranges that the source was asked for and answered: inside them a missing minute is a gap of the
        market, outside it was never fetched.
    source : str
        Host or file the newest bars came from.
    fetched_at : int
        Seconds since 1970-01-01 UTC.
    final : bool
        Whether the whole day is covered.
    synthetic : bool
        Whether the bars are simulated.
    """

    sha256: str
    digest: str
    rows: int
    covered: tuple[Range, ...]
    source: str
    fetched_at: int
    final: bool
    synthetic: bool

    @classmethod
    def of(
        cls, day: int, sha256: str, bars: Bars, covered: list[Range], source: str, now: int, synthetic: bool
    ) -> Partition:
        """Return an entry whose finality follows from its coverage."""
        joined = tuple(union(covered))
        final = joined == ((day, day + DAY),)
        return cls(sha256, bars.digest(), len(bars), joined, source, now, final, synthetic)

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> Partition:
        """Return the entry that `asdict` wrote."""
        entry = cls(**data)
        return replace(entry, covered=tuple((int(a), int(b)) for a, b in entry.covered))


@dataclass(slots=True)
class Manifest:
    """Entries per day, and those of a write that has not ended.

    A writer announces its entries as pending, moves the files into place, then settles. A day's file is what its entry
    or its pending entry says, whichever has its hash: a writer killed at any moment loses nothing old and serves
    nothing half-written.
    """

    days: dict[str, Partition] = field(default_factory=dict)
    pending: dict[str, Partition] = field(default_factory=dict)

    @classmethod
    def load(cls, folder: Path) -> Manifest:
        """Read a folder's manifest; that of a folder without partitions is empty.

        Raises
        ------
        CorruptPartitionError
            If the bytes are not those that were written, or gone though there are partitions.
        """
        path = folder / FILE
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            if next(folder.glob("*.parquet"), None) is None:
                return cls()
            raise CorruptPartitionError(f"{path}: gone; `ewmalab data repair` rebuilds it") from None
        return cls.parse(data, str(path))

    @classmethod
    def parse(cls, data: bytes, where: str) -> Manifest:
        """Read a manifest's bytes.

        Raises
        ------
        CorruptPartitionError
            If they are not those that were written.
        """
        try:
            outer = orjson.loads(data)
            body = outer["body"]
            if outer["sha256"] != _checksum(body) or body["version"] != VERSION:
                raise ValueError("its checksum or version does not match")
            parts = {k: {d: Partition.parse(p) for d, p in body[k].items()} for k in ("days", "pending")}
            return cls(parts["days"], parts["pending"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CorruptPartitionError(
                f"{where}: damaged manifest ({error}); `ewmalab data repair` rebuilds it"
            ) from error

    def save(self, folder: Path) -> None:
        """Write the manifest atomically."""
        body = {
            "version": VERSION,
            "days": {day: asdict(self.days[day]) for day in sorted(self.days)},
            "pending": {day: asdict(self.pending[day]) for day in sorted(self.pending)},
        }
        outer = {"sha256": _checksum(orjson.loads(orjson.dumps(body))), "body": body}
        write_atomic(folder / FILE, orjson.dumps(outer, option=orjson.OPT_INDENT_2) + b"\n")

    def match(self, day: str, sha256: str) -> Partition | None:
        """Return the entry that describes a file with this hash."""
        for entries in (self.days, self.pending):
            if day in entries and entries[day].sha256 == sha256:
                return entries[day]
        return None


def _checksum(body: Any) -> str:
    return hashlib.sha256(orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).hexdigest()
