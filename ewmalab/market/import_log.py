"""The log of an asset's imports: which file brought which minutes, kept beside the days, which may be damaged."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson

from ewmalab.atomic_files import write_atomic
from ewmalab.market.partition import Provenance, day_of
from ewmalab.market.ranges import Range, intersect
from ewmalab.times import DAY

_NAME = "imports.json"


@dataclass(frozen=True, slots=True)
class Import:
    """An import of a file, the command that repeats it, and the label ranges for which it had bars."""

    source: str
    command: str
    covered: tuple[Range, ...]


@dataclass(frozen=True, slots=True)
class ImportLog:
    """The imports into an asset's folder; a log that cannot be read is empty."""

    folder: Path

    def add(self, provenance: Provenance, covered: list[Range]) -> None:
        """Record an import, in place of an earlier one by the same command; needs the folder's lock."""
        fresh = Import(provenance.source, provenance.command, tuple(covered))
        known = self._read()
        if fresh in known:
            return
        others = [one for one in known if one.command != provenance.command]
        write_atomic(self.folder / _NAME, orjson.dumps([asdict(one) for one in [*others, fresh]]))

    def of_day(self, day: str) -> list[Import]:
        """Return the imports that brought bars of a date, with their ranges in that day."""
        start = day_of(day)
        if start is None:
            return []
        found = [
            Import(one.source, one.command, tuple(intersect(one.covered, [(start, start + DAY)])))
            for one in self._read()
        ]
        return [one for one in found if one.covered]

    def _read(self) -> list[Import]:
        with suppress(OSError, ValueError, KeyError, TypeError):
            rows = orjson.loads((self.folder / _NAME).read_bytes())
            return [
                Import(str(row["source"]), str(row["command"]), tuple((int(a), int(b)) for a, b in row["covered"]))
                for row in rows
            ]
        return []
