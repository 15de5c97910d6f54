"""Write cached bars as files that other programs read."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from ewmalab.atomic_files import write_atomic
from ewmalab.errors import DataError
from ewmalab.market.cache import Cache
from ewmalab.times import DAY, MINUTE, day_start

Files = Iterator[tuple[Path, bytes, int]]  # path below the folder, content, number of bars


@dataclass(frozen=True, slots=True)
class Exported:
    """The files of one asset."""

    feed: str
    asset: str
    bars: int
    files: int
    path: str


def export_asset(cache: Cache, feed: str, asset: str, *, span: tuple[int, int], layout: str, folder: Path) -> Exported:
    """Write the bars of an asset.

    Parameters
    ----------
    cache : Cache
    feed, asset : str
    span : (int, int)
        Labels from, to; seconds since 1970-01-01 UTC.
    layout : str
        One of `LAYOUTS`.
    folder : Path
        Files are written below it.

    Raises
    ------
    DataError
        If there are no bars in the span.
    """
    bars, files, at = 0, 0, folder
    for path, data, count in LAYOUTS[layout](cache, feed, asset, span):
        at = folder / path
        at.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(at, data)
        bars, files = bars + count, files + 1
    if not files:
        raise DataError(f"{feed} {asset}: no cached bars in this span; see `ewmalab data list`")
    return Exported(feed, asset, bars, files, str(at if files == 1 else at.parent))


def _csv(cache: Cache, feed: str, asset: str, span: tuple[int, int]) -> Files:
    for table in _tables(cache, feed, asset, span):
        sink = io.BytesIO()
        pa_csv.write_csv(table, sink, pa_csv.WriteOptions(quoting_style="none"))
        yield Path(feed) / f"{asset}.csv", sink.getvalue(), table.num_rows


def _parquet(cache: Cache, feed: str, asset: str, span: tuple[int, int]) -> Files:
    for table in _tables(cache, feed, asset, span):
        yield Path(feed) / f"{asset}.parquet", _bytes(table), table.num_rows


def _synth_lib(cache: Cache, feed: str, asset: str, span: tuple[int, int]) -> Files:
    """Yield a file per day: closes alone, a row for each minute that was answered for, NaN where there was no bar."""
    for name, day in cache.days(feed, asset, *span).items():
        start, end = max(day_start(name), span[0]), min(day_start(name) + DAY, span[1])
        parts = [np.arange(max(a, start), min(b, end), MINUTE, dtype=np.int64) for a, b in day.covered]
        minutes = np.concatenate([np.empty(0, np.int64), *parts])
        if not len(minutes):
            continue
        closes = cache.read(feed, asset, start, end).closes_at(minutes)
        table = pa.table(
            {
                "timestamp": pa.array(minutes, pa.int64()),
                "close": pa.array(closes, pa.float64()),
                "source": pa.array([feed] * len(minutes), pa.string()),
                "ingested_at": pa.array(np.full(len(minutes), float(day.fetched_at))),
                "is_final": pa.array(~np.isin(minutes, day.provisional)),
            }
        )
        path = Path("prices") / asset / "1m" / f"date={name}.parquet"
        yield path, _bytes(table), int(np.isfinite(closes).sum())


LAYOUTS: dict[str, Callable[[Cache, str, str, tuple[int, int]], Files]] = {
    "csv": _csv,
    "parquet": _parquet,
    "synth-lib": _synth_lib,
}


def _tables(cache: Cache, feed: str, asset: str, span: tuple[int, int]) -> Sequence[pa.Table]:
    bars = cache.read(feed, asset, *span)
    columns = {name: pa.array(column, from_pandas=name != "timestamp") for name, column in bars.columns().items()}
    return [pa.table(columns)] if len(bars) else []


def _bytes(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()
