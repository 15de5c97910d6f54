"""Turn the columns of an answer into bars, and set aside the candles that are none."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from ewmalab.errors import BarsError, EwmalabError, FeedError
from ewmalab.market.bars import Bars
from ewmalab.market.feeds.answers import printable
from ewmalab.market.quality import COLUMNS, AsideBar, rejects, spacing_fault
from ewmalab.times import MINUTE

FAULTS = "faults"
"""Key of what a host's reader found wrong with candles: a mapping from the number of the row to the reason."""
_DECIMAL = re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?", re.ASCII)
_MOST_MALFORMED = 0.2  # of an answer's candles; with more, the host's format has changed
_UNKNOWN = -1  # label of a candle without a readable time


@dataclass(frozen=True, slots=True)
class Candles:
    """The candles of an answer: bars, and those that are none."""

    bars: Bars
    malformed: tuple[AsideBar, ...]


def read_candles(columns: Mapping[str, object], *, feed: str, asset: str, start: int, end: int) -> Candles:
    """Return the candles labelled in ``[start, end)``, after checking every value.

    Rows outside the range are dropped, and so are repeats. One malformed candle is a missing minute and no reason to
    do without the others; in many, the host's format has changed.

    Parameters
    ----------
    columns : mapping of str to list
        Keyed by the names of `quality.COLUMNS`, as decoded from JSON: times are integers (seconds), prices are numbers
        or decimal strings. `FAULTS` may say which rows are wrong already.
    feed, asset : str
        Named in messages.
    start, end : int
        Seconds since 1970-01-01 UTC, multiples of 60.

    Raises
    ------
    FeedError
        If a column is not a list, lengths differ, many values are not numbers, or the rows are not 1 minute apart.
    BarsError
        If many rows break a rule of `Bars`.
    """
    what = f"{feed} {asset}"
    lists = _lists(columns, what)
    given = columns.get(FAULTS)
    unreadable: dict[int, str] = dict(given) if isinstance(given, Mapping) else {}
    arrays = _arrays(lists, unreadable)
    labels = _minutes(arrays["timestamp"])
    asked = (labels >= start) & (labels < end) | (arrays["timestamp"] == _UNKNOWN)
    unreadable = {row: fault for row, fault in unreadable.items() if asked[row]}
    dated = bool((arrays["timestamp"] != _UNKNOWN).any())
    _refuse_many(unreadable, int(asked.sum()) if dated else 0, FeedError, what, lists)
    asked[list(unreadable)] = False
    rows = _once(arrays, np.flatnonzero(asked))
    found = rejects({name: array[rows] for name, array in arrays.items()})
    broken = {int(rows[i]): reason for reason, mask in found.items() for i in mask.nonzero()[0]}
    _refuse_many(broken, len(rows), BarsError, what, lists)
    rows = np.setdiff1d(rows, list(broken))
    rows = rows[np.argsort(arrays["timestamp"][rows], kind="stable")]
    bars = Bars.from_columns({name: array[rows] for name, array in arrays.items()}, MINUTE)
    if fault := spacing_fault(bars.timestamp):
        raise FeedError(f"{what}: {fault}")
    return Candles(bars, _aside(arrays, labels, unreadable | broken))


def brief(value: object) -> str:
    """Return a decoded JSON value as short text for a message."""
    return printable(orjson.dumps(value).decode())


def _lists(columns: Mapping[str, object], what: str) -> dict[str, Sequence[object]]:
    lists: dict[str, Sequence[object]] = {}
    for name in COLUMNS:
        column = columns.get(name)
        if not isinstance(column, list):
            raise FeedError(f"{what}: column {name!r} is {brief(column)}, not a list")
        lists[name] = column
    lengths = {name: len(column) for name, column in lists.items()}
    if len(set(lengths.values())) != 1:
        raise FeedError(f"{what}: columns differ in length, from row {min(lengths.values())} on: {lengths}")
    return lists


def _arrays(lists: Mapping[str, Sequence[object]], unreadable: dict[int, str]) -> dict[str, np.ndarray[Any, Any]]:
    """Return decoded columns as int64 and float64; add the rows with unusable values to `unreadable`."""
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    for name, column in lists.items():
        parse = _label if name == "timestamp" else _price
        values = [parse(value) for value in column]
        for row in (row for row, value in enumerate(values) if value is None):
            unreadable.setdefault(row, f"{name} is {brief(column[row])}, not a usable number")
        absent = _UNKNOWN if name == "timestamp" else np.nan
        filled = [absent if value is None else value for value in values]
        arrays[name] = np.array(filled, np.int64 if name == "timestamp" else np.float64)
    return arrays


def _minutes(times: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the minute of each time; of one that cannot be read, the minute after the row before."""
    labels = np.asarray(times - times % MINUTE)
    for row in np.flatnonzero(times == _UNKNOWN).tolist():
        labels[row] = labels[row - 1] + MINUTE if row else labels[1] - MINUTE if len(labels) > 1 else _UNKNOWN
    return labels


def _once(arrays: Mapping[str, np.ndarray[Any, Any]], rows: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return rows without those that equal an earlier one in every column."""
    table = np.column_stack([arrays[name][rows].view(np.int64) for name in COLUMNS])
    _, first = np.unique(table, axis=0, return_index=True)
    return np.asarray(rows[np.sort(first)])


def _refuse_many(
    faults: Mapping[int, str], rows: int, kind: type[EwmalabError], what: str, lists: Mapping[str, Sequence[object]]
) -> None:
    if len(faults) > max(min(1, rows), _MOST_MALFORMED * rows):
        row = min(faults)
        at = f"row {row} (timestamp {brief(lists['timestamp'][row])})"
        raise kind(f"{what}: {len(faults)} of {len(lists['close'])} candles are no bars: {at}: {faults[row]}")


def _aside(
    arrays: Mapping[str, np.ndarray[Any, Any]], labels: np.ndarray[Any, Any], reasons: Mapping[int, str]
) -> tuple[AsideBar, ...]:
    prices = [arrays[name] for name in COLUMNS[1:]]
    return tuple(
        AsideBar(int(labels[row]), tuple(float(price[row]) for price in prices), reasons[row])
        for row in sorted(reasons)
    )


def _label(value: object) -> int | None:
    # beyond 2**53 float64 and other JSON readers are not exact
    return value if type(value) is int and 0 <= value < 2**53 else None


def _price(value: object) -> float | None:
    if type(value) is str and not _DECIMAL.fullmatch(value):  # float() would accept "nan", "1_000" and " 1 "
        return None
    if type(value) not in (str, int, float):
        return None
    price = float(value)  # type: ignore[arg-type]
    return price if np.isfinite(price) else None
