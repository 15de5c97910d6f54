"""Rows of the field from files: answers of the API as JSON, and an offline bundle's tables."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ewmalab.errors import DataError, FeedError
from ewmalab.market.field import answers
from ewmalab.market.field.series import SCHEMAS, Series

MAX_BYTES = 2**30
SHAPES = (
    "known are the API's answers as .json, miner_scores_ASSET_COMPETITION.parquet, "
    "rewards_history_COMPETITION.parquet, miner_pool_usd.parquet, and prices as ASSET/1m/date=YYYY-MM-DD.parquet"
)

BUNDLE = {
    "scores": re.compile(r"miner_scores_([A-Z0-9]+)_([a-z0-9-]+)\.parquet"),
    "prompts": re.compile(r"prompts_([A-Z0-9]+)_([a-z0-9-]+)\.parquet"),
    "paths": re.compile(r"realized_paths_([A-Z0-9]+)_([a-z0-9-]+)\.parquet"),
    "rewards": re.compile(r"rewards_history_([a-z0-9-]+)\.parquet"),
    "emission": re.compile(r"emission\.parquet"),
    "pool": re.compile(r"miner_pool_usd\.parquet"),
}
"""File names of a bundle by kind; the neighbour's has scores, rewards and pool, ours the others as well."""


@dataclass(frozen=True, slots=True)
class Records:
    """Rows of one series from a file."""

    series: Series
    table: pa.Table


def read_answer(path: Path, *, asset: str | None = None, time_length: int | None = None) -> list[Records]:
    """Read an answer of the API from a JSON file.

    Parameters
    ----------
    path : Path
    asset : str, optional
    time_length : int, optional
        Horizon in seconds. Like `asset`, it is needed for start times, whose answer does not say what it is about.

    Raises
    ------
    DataError
        If it is no such answer, or malformed.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DataError(f"{path}: larger than {MAX_BYTES} bytes")
        content = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise DataError(f"{path}: cannot be read as JSON: {error}") from error
    try:
        return _answer(content, path, asset, time_length)
    except FeedError as error:
        raise DataError(str(error)) from error


def _answer(content: Any, path: Path, asset: str | None, time_length: int | None) -> list[Records]:
    where = str(path)
    keys = _keys(content)
    if "start_times" in keys:
        if asset is None or time_length is None:
            raise DataError(f"{path}: start times do not say whose they are: give --asset and --competition")
        starts = answers.prompts(content, where)
        return [Records(Series("prompts", asset, time_length), pa.table([starts], schema=SCHEMAS["prompts"]))]
    if "real_prices" in keys:
        return [_path(content, where)]
    if "rows" in keys:
        return [Records(Series("pool"), answers.pool(content, where))]
    if "incentive" in keys:
        return [Records(Series("emission"), answers.emission(content, where))]
    if "reward_weight" in keys:
        named = {answers.COMPETITIONS.get(row.get("prompt_name"), row.get("prompt_name")) for row in content}
        return [Records(Series("rewards", str(n)), answers.rewards(content, where, names=[str(n)])) for n in named]
    if "crps" in keys:
        groups: dict[tuple[Any, Any], list[Any]] = {}
        for row in content:
            groups.setdefault((row.get("asset"), row.get("time_length")), []).append(row)
        return [
            Records(Series("scores", str(a), int(t)), answers.scores(rows, where, asset=a, time_length=t))
            for (a, t), rows in groups.items()
        ]
    raise DataError(f"{path}: not an answer of the subnet's API; {SHAPES}")


def _path(content: Any, where: str) -> Records:
    asset, grid = content.get("asset"), (content.get("time_increment"), content.get("time_length"))
    if not isinstance(asset, str) or not all(isinstance(n, int) and n > 0 for n in grid):
        raise DataError(f"{where}: a realised path without asset, time_increment or time_length")
    start = answers.seconds(content.get("start_time"), where)
    prices = answers.path(content, where, asset=asset, start=start, grid=grid)
    table = pa.table([[start], [start + grid[1]], [prices]], schema=SCHEMAS["paths"])
    return Records(Series("paths", asset, grid[1]), table)


def _keys(content: Any) -> set[str]:
    rows = content if isinstance(content, list) else [content]
    if not rows or not all(isinstance(row, dict) for row in rows):
        return set()
    return set(rows[0])


def read_table(path: Path, horizon_of: Callable[[str], int]) -> list[Records]:
    """Read a table of a bundle.

    Parameters
    ----------
    path : Path
        Named as in `BUNDLE`.
    horizon_of : callable
        Returns the horizon of a competition, seconds.

    Raises
    ------
    DataError
        If the name or the columns are others.
    """
    kind, match = next(
        ((kind, found) for kind, name in BUNDLE.items() if (found := name.fullmatch(path.name))), (None, None)
    )
    if kind is None or match is None:
        raise DataError(f"{path}: unknown file; {SHAPES}")
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path}: cannot be read as Parquet: {error}") from error
    parts = match.groups()
    series = Series(kind, parts[0] if parts else "", horizon_of(parts[1]) if len(parts) > 1 else 0)
    if kind == "scores" and "asset" in table.column_names:
        _only(table, "asset", [series.name], path)
    if kind == "rewards" and "prompt_name" in table.column_names:
        labels = [label for label, name in answers.COMPETITIONS.items() if name == series.name]
        _only(table, "prompt_name", [series.name, *labels], path)
    schema = series.schema
    if kind == "scores" and "prompt_score" not in table.column_names:
        table = table.append_column("prompt_score", pa.nulls(table.num_rows, pa.float64()))
    if lacking := [name for name in schema.names if name not in table.column_names]:
        raise DataError(f"{path}: it lacks {', '.join(lacking)}; its columns are {', '.join(table.column_names)}")
    try:
        columns = [_column(table[entry.name], entry) for entry in schema]
        return [Records(series, checked(pa.table(columns, schema=schema), series, path))]
    except (pa.ArrowException, ValueError) as error:
        raise DataError(f"{path}: {error}") from error


def _only(table: pa.Table, column: str, wanted: Sequence[str], path: Path) -> None:
    others = set(pc.unique(table[column]).to_pylist()) - set(wanted)
    if others:
        raise DataError(f"{path}: {column} {sorted(map(str, others))[0]} in a file that is named for {wanted[0]}")


def _column(column: pa.ChunkedArray, entry: pa.Field) -> pa.ChunkedArray:
    """Return a column in the type of the cache; times may be texts, dates or timestamps."""
    is_time = entry.name in ("scored_time", "start_time", "updated_at", "date", "asked")
    if is_time and (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return pa.chunked_array([[answers.seconds(text, entry.name) for text in column.to_pylist()]], pa.int64())
    if is_time and (pa.types.is_timestamp(column.type) or pa.types.is_date(column.type)):
        return (
            pc.floor_temporal(column.cast(pa.timestamp("ns", "UTC")), unit="second")
            .cast(pa.timestamp("s", "UTC"))
            .cast(pa.int64())
        )
    if is_time and not pa.types.is_integer(column.type):
        raise ValueError(f"column {entry.name} holds {column.type}, not times")
    column = column.cast(entry.type)
    if pa.types.is_floating(entry.type):
        column = pc.if_else(
            pc.is_null(column, nan_is_null=True), -1.0 if entry.name == "crps" else float("nan"), column
        )
    return column


def checked(table: pa.Table, series: Series, path: Path) -> pa.Table:
    """Return distinct rows in order of time; refuse rows without a time or miner, and impossible numbers.

    Parameters
    ----------
    table : pyarrow.Table
    series : Series
    path : Path
        Named in messages.

    Raises
    ------
    DataError
    """
    for name in series.schema.names[:2] if "miner_uid" in series.schema.names else series.schema.names[:1]:
        if table[name].null_count:
            raise DataError(f"{path}: {table[name].null_count} rows have no {name}")
    if series.kind == "scores":
        crps = table["crps"].to_numpy()
        bad = ~(((crps >= 0) & (crps < float("inf"))) | (crps == -1.0))
        if bad.any():
            raise DataError(f"{path}: {int(bad.sum())} rows have neither a CRPS nor -1, the first {crps[bad][0]}")
    if series.kind == "paths":
        return table.sort_by("start_time")
    keys = [(name, "ascending") for name in series.schema.names[:2]]
    return distinct(table).sort_by(keys)


def distinct(table: pa.Table) -> pa.Table:
    """Return the rows, each once; there must be no column of lists."""
    return table.group_by(table.column_names, use_threads=False).aggregate([]).select(table.column_names)
