"""Read bar files of other programs: CSV, Parquet and JSON."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from ewmalab.errors import BarsError
from ewmalab.market.bars import Bars
from ewmalab.market.quality import COLUMNS, Bool, describe_faults, rejects, spacing_fault

SUFFIXES = (".parquet", ".csv", ".json")

Columns = dict[str, npt.NDArray[Any]]


def read_columns(path: Path) -> Columns:
    """Read the five columns of a bar file without judging their rows.

    Parameters
    ----------
    path : Path
        ``.parquet`` or ``.csv`` with columns ``timestamp`` and ``close``, and optionally ``open``, ``high``, ``low``;
        or ``.json``: a list of ``[timestamp, open, high, low, close]`` or ``[timestamp, close]`` rows, a list of
        objects, or an object of columns. Timestamps are open times in seconds since 1970-01-01 UTC. Missing values are
        empty, null or NaN.

    Returns
    -------
    dict of (n,) arrays

    Raises
    ------
    BarsError
        If the file cannot be read as bars.
    """
    try:
        table = {".parquet": _parquet, ".csv": _csv, ".json": _json}[path.suffix.lower()](path)
    except KeyError:
        raise BarsError(f"{path}: unknown file type; known: {', '.join(SUFFIXES)}") from None
    except (OSError, ValueError, TypeError, IndexError, pa.ArrowException) as error:
        raise BarsError(f"{path}: not a readable bar file: {error}") from error
    return _typed(table, path)


def read_bars(path: Path) -> Bars:
    """Read a bar file; refuse it if any row is bad.

    Raises
    ------
    BarsError
        If a row is bad; the message names the file and counts the bad rows by reason.
    """
    columns = read_columns(path)
    bars, rejected = split_bars(columns, path)
    if rejected:
        raise BarsError(f"{path}: {describe_faults(rejected, columns['timestamp'])}")
    return bars


def split_bars(columns: Columns, path: Path, now: int | None = None) -> tuple[Bars, dict[str, Bool]]:
    """Separate good rows from bad ones.

    Parameters
    ----------
    columns : dict of (n,) arrays
        As `read_columns` returns them.
    path : Path
        Named in the error.
    now : int, optional
        Current time, seconds since 1970-01-01 UTC; a bar that is not closed by then is bad.

    Returns
    -------
    Bars
        The good rows.
    dict of str to (n,) bool
        The bad rows by reason; see `rejects`.

    Raises
    ------
    BarsError
        If the good rows have a longer resolution.
    """
    rejected = rejects(columns, now)
    good = ~np.logical_or.reduce([np.zeros(len(columns["timestamp"]), bool), *rejected.values()])
    bars = Bars.from_columns({name: column[good] for name, column in columns.items()})
    if fault := spacing_fault(bars.timestamp):
        raise BarsError(f"{path}: {fault}; ewmalab needs 1-minute bars")
    return bars, rejected


def _typed(table: Mapping[str, Any], path: Path) -> Columns:
    """Return the five columns as int64 and float64, with NaN for missing columns."""
    lacking = [name for name in ("timestamp", "close") if name not in table]
    if lacking:
        raise BarsError(f"{path}: no column {' or '.join(lacking)}; it has {', '.join(table) or 'none'}")
    count = len(table["timestamp"])
    try:
        times = _seconds(np.asarray(table["timestamp"]), path)
        prices = {name: np.asarray(table.get(name, np.full(count, np.nan)), np.float64) for name in COLUMNS[1:]}
    except (TypeError, ValueError) as error:
        raise BarsError(f"{path}: a column has a value that is not a number: {error}") from error
    lengths = {name: len(column) for name, column in prices.items()}
    if set(lengths.values()) != {count}:
        raise BarsError(f"{path}: columns differ in length: {lengths | {'timestamp': count}}")
    return {"timestamp": times, **prices}


def _parquet(path: Path) -> dict[str, Any]:
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        table = file.read()
    out: dict[str, Any] = {}
    for name in (n for n in COLUMNS if n in table.column_names):
        column = table[name]
        if pa.types.is_timestamp(column.type):
            column = column.cast(pa.timestamp("s")).cast(pa.int64())
        out[name] = column.to_numpy()
    return out


def _csv(path: Path) -> dict[str, Any]:
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        names = [n for n in COLUMNS if n in (reader.fieldnames or ())]
        rows = list(reader)
    return {n: _numbers(row[n] for row in rows) for n in names}


def _json(path: Path) -> dict[str, Any]:
    data = orjson.loads(path.read_bytes())
    if isinstance(data, dict):
        return {n: _numbers(data[n]) for n in COLUMNS if n in data}
    if not isinstance(data, list):
        raise ValueError("expected a list of rows or an object of columns")
    if data and isinstance(data[0], dict):
        return {n: _numbers(row[n] for row in data) for n in COLUMNS if n in data[0]}
    width = {len(row) for row in data}
    names = {2: ("timestamp", "close"), 5: COLUMNS}.get(width.pop()) if len(width) == 1 else None
    if names is None:
        raise ValueError("rows must all be [timestamp, open, high, low, close] or [timestamp, close]")
    return {n: _numbers(row[i] for row in data) for i, n in enumerate(names)}


def _numbers(values: Iterable[Any]) -> npt.NDArray[np.float64]:
    return np.array([np.nan if v is None or v == "" else float(v) for v in values], np.float64)


def _seconds(values: npt.NDArray[np.generic], path: Path) -> npt.NDArray[np.int64]:
    numbers = values.astype(np.float64)
    if not np.isfinite(numbers).all() or (numbers != np.floor(numbers)).any():
        raise BarsError(f"{path}: timestamps must be whole seconds")
    if len(numbers) and np.abs(numbers).max() > 1e11:
        raise BarsError(f"{path}: timestamps look like milliseconds; they must be seconds since 1970-01-01 UTC")
    return values.astype(np.int64)
