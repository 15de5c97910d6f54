"""Write the cached field as an offline bundle that other programs read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from ewmalab.atomic_files import write_atomic
from ewmalab.errors import DataError
from ewmalab.market.bars import Bars
from ewmalab.market.cache import Cache
from ewmalab.market.field.importer import MANIFEST
from ewmalab.market.field.series import Series
from ewmalab.market.field.store import FieldStore
from ewmalab.market.ranges import Range
from ewmalab.times import DAY, MINUTE, iso

_NAMES = {
    "scores": "miner_scores_{name}_{competition}.parquet",
    "prompts": "prompts_{name}_{competition}.parquet",
    "paths": "realized_paths_{name}_{competition}.parquet",
    "rewards": "rewards_history_{name}.parquet",
    "emission": "emission.parquet",
    "pool": "miner_pool_usd.parquet",
}
_TIMES = ("scored_time", "start_time", "updated_at", "date")


@dataclass(frozen=True, slots=True)
class Exported:
    """A written file, below the bundle's folder."""

    file: str
    rows: int


def export_bundle(
    store: FieldStore,
    folder: Path,
    competition_of: Callable[[str, int, int], str | None],
    prices: tuple[Cache, str] | None = None,
) -> list[Exported]:
    """Write all that is cached of the field.

    Parameters
    ----------
    store : FieldStore
    folder : Path
        New, or empty.
    competition_of : callable
        Returns the competition of an asset, a horizon in seconds, and a time, for the names of files.
    prices : (Cache, str), optional
        Also the bars of a feed in the cache, of the assets and days of the field.

    Raises
    ------
    DataError
        If the folder is not empty, or nothing is cached.
    """
    if folder.exists() and any(folder.iterdir()):
        raise DataError(f"{folder} is not empty: name a new folder")
    manifest: dict[str, Any] = {}
    out: list[Exported] = []
    spans: dict[str, Range] = {}
    for series in store.series():
        days = store.days(series)
        span = min(days), max(days) + DAY
        for name, part in _files(series, span, competition_of):
            table = store.read(series, *part)
            out.append(_write(folder / name, _outward(table, series), name))
            final = [day for day in range(*part, DAY) if day in days and days[day].final]
            if len(final) == (part[1] - part[0]) // DAY:  # without holes: the window says that these are all rows
                manifest[name] = {"start": iso(part[0]), "end": iso(part[1])}
        if series.kind == "scores":
            old = spans.get(series.name, span)
            spans[series.name] = min(old[0], span[0]), max(old[1], span[1])
        manifest["synthetic"] = manifest.get("synthetic", False) or any(day.synthetic for day in days.values())
    if not out:
        raise DataError(f"nothing of the field is cached in {store.root}; see `ewmalab field fetch --help`")
    for asset, span in spans.items() if prices else ():
        out += _prices(*prices, asset, span, folder) if prices else ()
    write_atomic(folder / MANIFEST, orjson.dumps(manifest, option=orjson.OPT_INDENT_2))
    return out


def _files(
    series: Series, span: Range, competition_of: Callable[[str, int, int], str | None]
) -> list[tuple[str, Range]]:
    """Return a series' files with their days: one, or one for each competition that its asset was in."""
    if not series.time_length:
        return [(_NAMES[series.kind].format(name=series.name), span)]
    parts: dict[str, Range] = {}
    late = series.time_length if series.kind == "scores" else 0
    for day in range(*span, DAY):
        name = competition_of(series.name, series.time_length, day - late)
        if name is not None:
            parts[name] = (parts.get(name, (day, day))[0], day + DAY)
    return [(_NAMES[series.kind].format(name=series.name, competition=c), part) for c, part in parts.items()]


def _outward(table: pa.Table, series: Series) -> pa.Table:
    """Return a table as the API's answers have it: times as timestamps, asset and horizon as columns."""
    for name in (name for name in _TIMES if name in table.column_names):
        place = table.column_names.index(name)
        times = table[name].cast(pa.timestamp("s", "UTC")).cast(pa.timestamp("ns", "UTC"))
        table = table.set_column(place, name, times)
    if series.kind == "scores":
        table = table.append_column("asset", pa.array([series.name] * table.num_rows, pa.string()))
        table = table.append_column("time_length", pa.array([series.time_length] * table.num_rows, pa.int64()))
    if series.kind == "rewards":
        table = table.append_column("prompt_name", pa.array([series.name] * table.num_rows, pa.string()))
    return table


def _prices(cache: Cache, feed: str, asset: str, span: Range, folder: Path) -> list[Exported]:
    """Write an asset's days of bars; minutes of a gap are rows without a price."""
    out = []
    for day, entry in cache.days(feed, asset, *span).items():
        (begin, _), (_, end) = entry.covered[0], entry.covered[-1]
        bars: Bars = cache.read(feed, asset, begin, end)
        minutes = np.arange(begin, end, MINUTE)
        columns: dict[str, Any] = {
            "timestamp": pa.array(minutes, pa.int64()).cast(pa.timestamp("s", "UTC")).cast(pa.timestamp("ns", "UTC")),
            "close": bars.closes_at(minutes),
            "source": pa.array([feed] * len(minutes)),
            "ingested_at": pa.array([entry.fetched_at] * len(minutes), pa.timestamp("s", "UTC")),
            "is_final": pa.array([entry.final] * len(minutes)),
        }
        name = f"market_data/prices/{asset}/1m/date={day}.parquet"
        out.append(_write(folder / name, pa.table(columns), name))
    return out


def _write(path: Path, table: pa.Table, name: str) -> Exported:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    write_atomic(path, sink.getvalue().to_pybytes())
    return Exported(name, table.num_rows)
