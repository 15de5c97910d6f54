"""Import files into the cache of the field: answers of the API, and offline bundles."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ewmalab.errors import BarsError, DataError
from ewmalab.market.bars import Bars
from ewmalab.market.cache import Cache
from ewmalab.market.field.records import BUNDLE, SHAPES, Records, distinct, read_answer, read_table
from ewmalab.market.field.series import Series, between
from ewmalab.market.field.store import FieldDay, FieldStore
from ewmalab.market.partition import Provenance, day_of
from ewmalab.market.ranges import Range, runs
from ewmalab.rulebook import Rulebook
from ewmalab.times import DAY, MINUTE, iso, parse_time

MANIFEST = "manifest.json"
"""Names the window that each file of a bundle covers: ``{file: {"start": ..., "end": ...}}``."""
_PRICES = re.compile(r"date=(\d{4}-\d\d-\d\d)\.parquet")
_NEVER = 0  # a day that is only partly in a file counts as never finished: a fetch asks for it again


@dataclass(frozen=True, slots=True)
class FileImported:
    """What was imported from a file, or why it was refused.

    Attributes
    ----------
    file : str
    series : str
        Folder of the series, or ``feed/asset`` of bars.
    rows, days : int
        Rows in the file, and days whose file was written.
    error : str or None
    """

    file: str
    series: str = ""
    rows: int = 0
    days: int = 0
    error: str | None = None


@dataclass(frozen=True)
class FieldImport:
    """Imports files into a store and a cache of bars.

    Parameters
    ----------
    store : FieldStore
    cache : Cache
        For prices.
    rulebook : Rulebook
    now : int
        Present time, seconds since 1970-01-01 UTC.
    asset : str, optional
    time_length : int, optional
        What start times are about, whose answer does not say it.
    """

    store: FieldStore
    cache: Cache
    rulebook: Rulebook
    now: int
    asset: str | None = None
    time_length: int | None = None

    def run(self, paths: Sequence[Path], progress: Callable[[int, int], None] | None = None) -> list[FileImported]:
        """Import files, and the known files below folders; a file that is refused does not stop the others.

        Parameters
        ----------
        paths : sequence of Path
        progress : callable, optional
            Called with files done and the total.
        """
        files = [file for path in paths for file in found_in(path)]
        out: list[FileImported] = []
        for number, file in enumerate(files, 1):
            try:
                out += self._one(file)
            except (DataError, BarsError) as error:
                out.append(FileImported(str(file), error=str(error)))
            if progress:
                progress(number, len(files))
        return out

    def _one(self, file: Path) -> list[FileImported]:
        if not file.is_file():
            raise DataError(f"{file} does not exist")
        if _PRICES.fullmatch(file.name):
            return [self._prices(file)]
        if file.suffix == ".json":
            found = read_answer(file, asset=self.asset, time_length=self.time_length)
        else:
            found = read_table(file, self.rulebook.horizon)
        window = _window(file)
        return [FileImported(str(file), r.series.path, r.table.num_rows, self._add(r, file, window)) for r in found]

    def _add(self, records: Records, file: Path, window: Range | None) -> int:
        """Add rows to the days of their series; return the number of days that have changed."""
        series, table = records.series, records.table
        times = table[series.time].to_pylist()
        first, last = min(times, default=0), max(times, default=-1)
        days = range(first // DAY * DAY, last + 1, DAY)
        if window is not None:
            days = range(window[0] // DAY * DAY, window[1], DAY)
        known = self.store.days(series)
        fresh: list[tuple[pa.Table, FieldDay]] = []
        for day in days:
            rows = between(table, day, day + DAY)
            held = self.store.read(series, day, day + DAY)
            whole = window[0] <= day and day + DAY <= window[1] if window else days[0] < day < days[-1]
            fetched = max(self.now if whole else _NEVER, known[day].fetched_at if day in known else _NEVER)
            if not rows.num_rows and not whole:
                continue
            joined = _joined(held, rows, series, file)
            if day in known and joined.equals(held) and (known[day].final or not whole):
                continue
            fresh.append((joined, FieldDay(day, joined.num_rows, fetched, file.name, _synthetic(file))))
        for joined, described in fresh:  # nothing is written if any day was refused
            self.store.write(series, joined, described)
        return len(fresh)

    def _prices(self, file: Path) -> FileImported:
        """Import a day of prices as bars; rows without a price are gaps."""
        day = day_of(file.name.removeprefix("date=").removesuffix(".parquet"))
        asset = self.rulebook.asset(file.parent.parent.name).symbol
        try:
            table = pq.read_table(file, columns=["timestamp", "close", "source"])
            stamps = table["timestamp"].cast(pa.timestamp("s", "UTC"), safe=False).cast(pa.int64()).to_numpy()
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"{file}: cannot be read as prices: {error}") from error
        sources = set(pc.unique(table["source"]).to_pylist())
        if day is None or len(sources) != 1 or not stamps.size:
            raise DataError(
                f"{file}: a day of prices has one source and some rows; this has {sorted(map(str, sources))}"
            )
        (feed,) = sources
        close = table["close"].to_numpy()
        there = close == close
        bars = Bars.from_closes(stamps[there], close[there])
        span = (int(stamps.min()), int(stamps.max()) + MINUTE)
        if not day <= span[0] <= span[1] <= day + DAY:
            raise DataError(f"{file}: its rows are from {iso(span[0])} to {iso(span[1])}, another day")
        command = f"ewmalab field import {shlex.quote(str(file.resolve()))}"
        provenance = Provenance.of_file(file.name, self.now, command=command)
        written = self.cache.write(str(feed), asset, bars, runs(np.unique(stamps)), provenance)
        return FileImported(str(file), f"{feed}/{asset}", len(bars), written)


def found_in(path: Path) -> list[Path]:
    """Return a file, or the known files below a folder.

    Raises
    ------
    DataError
        If a folder has none.
    """
    if not path.is_dir():
        return [path]
    known = [*BUNDLE.values(), _PRICES]
    found = [file for file in sorted(path.rglob("*.parquet")) if any(name.fullmatch(file.name) for name in known)]
    found += [file for file in sorted(path.rglob("*.json")) if file.name != MANIFEST]
    if not found:
        raise DataError(f"{path}: no file of the field; {SHAPES}")
    return found


def _window(file: Path) -> Range | None:
    """Return the range that the manifest beside a file gives for it."""
    try:
        entry = orjson.loads((file.parent / MANIFEST).read_bytes())[file.name]
        return parse_time(entry["start"]), parse_time(entry["end"])
    except (OSError, KeyError):
        return None
    except (orjson.JSONDecodeError, TypeError, AttributeError) as error:
        raise DataError(f"{file.parent / MANIFEST}: not a manifest: {error}") from error


def _synthetic(file: Path) -> bool:
    """Return whether a bundle says that it is synthetic."""
    try:
        return bool(orjson.loads((file.parent / MANIFEST).read_bytes()).get("synthetic"))
    except (OSError, orjson.JSONDecodeError, AttributeError):
        return False


def _joined(held: pa.Table, rows: pa.Table, series: Series, file: Path) -> pa.Table:
    """Return the rows of both; refuse rows that contradict cached ones."""
    if series.kind == "paths":
        return _joined_paths(held, rows, series, file)
    names = series.schema.names
    keys = names[:2] if "miner_uid" in names else names[:1]
    joined = distinct(pa.concat_tables([held, rows]))
    before, new, both = (Counter(zip(*(t[k].to_pylist() for k in keys), strict=True)) for t in (held, rows, joined))
    differing = [key for key in new if key in before and both[key] > max(before[key], new[key])]
    if differing:
        raise _contradiction(file, series, [key[0] for key in differing])
    return joined.sort_by([(name, "ascending") for name in keys])


def _joined_paths(held: pa.Table, rows: pa.Table, series: Series, file: Path) -> pa.Table:
    """Return the paths of both; one with prices replaces one without."""
    known = {row["start_time"]: row for row in held.to_pylist()}
    differing = []
    for row in rows.to_pylist():
        old = known.get(row["start_time"])
        if old is None or old["prices"] is None:
            known[row["start_time"]] = row
        elif row["prices"] is not None and repr(row["prices"]) != repr(old["prices"]):
            differing.append(row["start_time"])
    if differing:
        raise _contradiction(file, series, differing)
    return pa.Table.from_pylist([known[start] for start in sorted(known)], schema=series.schema)


def _contradiction(file: Path, series: Series, times: list[int]) -> DataError:
    return DataError(
        f"{file}: {len(times)} rows differ from cached ones of {series.path}, the first at {iso(times[0])}; nothing of "
        "it was imported. Import into a cache of its own: --set data.cache_dir=FOLDER"
    )
