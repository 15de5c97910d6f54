"""Parquet and Feather files as `Table`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq

from ewmalab.errors import BarsError
from ewmalab.market.files.headers import merged_header
from ewmalab.market.files.table import Table

_SCALES = {8: 10**9, 16: 10**16}  # nautilus: width of a fixed-point integer in bytes, and what it counts per unit


def read_parquet(data: bytes) -> Table:
    """Read a Parquet file; its index becomes columns."""
    try:
        with pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True) as file:
            return table_of("Parquet", file.read())
    except pa.ArrowException as error:
        raise BarsError(f"not a readable bar file: {error}") from error


def read_feather(data: bytes) -> Table:
    """Read a Feather file."""
    try:
        if data.startswith(b"\xff\xff\xff\xff"):
            return table_of("Arrow stream", pa.ipc.open_stream(data).read_all())
        return table_of("Feather", feather.read_table(pa.BufferReader(data)))
    except pa.ArrowException as error:
        raise BarsError(f"not a readable bar file: {error}") from error


def table_of(kind: str, arrow: Any) -> Table:
    """Return an Arrow table as `Table`, with fixed-point columns as prices."""
    metadata = {key.decode(): value.decode("utf-8", "replace") for key, value in (arrow.schema.metadata or {}).items()}
    nautilus = "ts_event" in arrow.column_names
    for at, field in enumerate(arrow.schema):
        raw = arrow.column(at)
        prices: list[float | None] | None = None
        if pa.types.is_fixed_size_binary(field.type) and field.type.byte_width in _SCALES:
            prices = _fixed_point(raw.to_pylist(), field.type.byte_width)
        elif nautilus and field.name in ("open", "high", "low", "close") and pa.types.is_integer(field.type):
            prices = [value if value is None else value / _SCALES[8] for value in raw.to_pylist()]
        if prices is not None:
            arrow = arrow.set_column(at, field.name, pa.array(prices, pa.float64()))
            kind = "nautilus Parquet"
    return frame_table(kind, arrow.to_pandas(), metadata)


def frame_table(kind: str, frame: pd.DataFrame, metadata: dict[str, str] | None = None) -> Table:
    """Return a DataFrame as `Table`; an index that only counts rows is left out."""
    counted = isinstance(frame.index, pd.RangeIndex) and frame.index.name is None
    named = ["" if name is None else str(name) for name in frame.index.names]
    index = frame.index.to_frame().reset_index(drop=True)
    index.columns = pd.Index(named)
    index = index.iloc[:, : 0 if counted else None]
    names: tuple[str, ...] = tuple(map(str, frame.columns))
    tickers: tuple[str, ...] = ()
    if isinstance(frame.columns, pd.MultiIndex):
        rows = [
            ["", *(str(cell) for cell in frame.columns.get_level_values(level))]
            for level in range(frame.columns.nlevels)
        ]
        names, tickers = (part[1:] for part in merged_header(rows))
        tickers = ("",) * len(index.columns) + tickers
    columns = [index.iloc[:, at] for at in range(len(index.columns))]
    columns += [frame.iloc[:, at].reset_index(drop=True) for at in range(len(frame.columns))]
    body = pd.concat(columns, axis=1) if columns else pd.DataFrame()
    body.columns = pd.RangeIndex(len(columns))
    return Table(kind, (*index.columns, *names), body, True, metadata=metadata or {}, tickers=tickers)


def _fixed_point(values: list[bytes | None], width: int) -> list[float | None]:
    """Return signed little-endian integers divided by their scale, correctly rounded."""
    scale = _SCALES[width]
    return [np.nan if raw is None else int.from_bytes(raw, "little", signed=True) / scale for raw in values]
