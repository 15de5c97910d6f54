"""Tables that people give: CSV, Parquet or JSON, with columns of times and whole numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import orjson
import pandas as pd

from ewmalab.errors import PredictionError


def read_table(path: Path) -> pd.DataFrame:
    """Read a table: Parquet or JSON by the file's name, otherwise CSV.

    Raises
    ------
    PredictionError
        If it cannot be read.
    """
    kind = path.suffix.lower()
    try:
        if kind in (".parquet", ".pq"):
            return pd.read_parquet(path)
        return pd.DataFrame(orjson.loads(path.read_bytes())) if kind == ".json" else pd.read_csv(path)
    except (OSError, ValueError, UnicodeDecodeError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise PredictionError(f"{path}: cannot be read as {path.suffix or 'CSV'}: {reason}") from error


def seconds_of(column: pd.Series, path: Path) -> np.ndarray:
    """Return a column of times as seconds since 1970-01-01 UTC."""
    if pd.api.types.is_numeric_dtype(column):
        seconds = whole_numbers(column, path)
        if len(seconds) and seconds.max() > 10**11:
            raise PredictionError(
                f"{path}: column {column.name} holds {seconds.max()}: times are seconds, not milliseconds"
            )
        return seconds
    times = pd.to_datetime(column, utc=True, format="ISO8601", errors="coerce")
    if times.isna().any():
        row = first_row(times.isna())
        if pd.isna(found := column.iloc[row - 1]):
            raise PredictionError(f"{path}: row {row} has no {column.name}")
        raise PredictionError(
            f"{path}: row {row}: {found!r} in column {column.name} is no time: write seconds since 1970, or ISO texts "
            "such as 2026-01-15T14:00:00Z"
        )
    return ((times - pd.Timestamp(0, tz="UTC")) // pd.Timedelta(seconds=1)).to_numpy(np.int64)


def whole_numbers(column: pd.Series, path: Path) -> np.ndarray:
    """Return a column of whole numbers."""
    numbers = pd.to_numeric(column, errors="coerce").to_numpy(np.float64)
    bad = ~np.isfinite(numbers) | (numbers != np.rint(numbers))
    if bad.any():
        value = column.iloc[int(np.argmax(bad))]
        raise PredictionError(f"{path}: row {first_row(bad)}: {value} in column {column.name} is not a whole number")
    return numbers.astype(np.int64)


def first_row(mask: pd.Series | np.ndarray) -> int:
    """Return the first marked row, counted from 1."""
    return int(np.argmax(np.asarray(mask, bool))) + 1
