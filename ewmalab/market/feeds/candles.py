"""Common part of the HTTP feeds: turn the candles of an answer into `Bars`."""

from __future__ import annotations

import operator
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson

from ewmalab.errors import BarsError, FeedError
from ewmalab.market.bars import Bars
from ewmalab.market.feeds.answers import printable
from ewmalab.market.feeds.http import HttpClient
from ewmalab.market.quality import COLUMNS, spacing_fault
from ewmalab.times import MINUTE

AS_OF = "as_of"
_DECIMAL = re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?", re.ASCII)


class HttpFeed(ABC):
    """Base of `Feed`s over HTTP; a subclass knows the requests and answers of one host.

    Parameters
    ----------
    symbols : mapping of str to str
        The feed's symbol for each asset that it serves.
    client : HttpClient
        Client for the host.
    """

    name: str
    chunk: int
    reach: int | None = None
    synthetic: bool = False
    complete: bool = False

    def __init__(self, symbols: Mapping[str, str], client: HttpClient) -> None:
        self._symbols = dict(symbols)
        self._client = client
        self._host_time: float | None = None
        self.source: str = client.host

    def fetch(self, asset: str, start: int, end: int, now: int) -> Bars:
        """Return the closed 1-minute bars labelled in ``[start, end)``; see `Feed.fetch`.

        Parameters
        ----------
        asset : str
        start, end, now : int
            Seconds since 1970-01-01 UTC.
        """
        symbol = self._symbols.get(asset)
        if symbol is None:
            raise self.error(asset, f"unknown asset; this feed has {', '.join(sorted(self._symbols))}")
        start, end, now = self._checked_range(asset, start, end, now)
        closed = min(end, now // MINUTE * MINUTE)
        if start >= closed:
            return Bars.empty()
        self._host_time = None  # unknown if the request fails
        columns = self.candles(asset, symbol, start, closed, now)
        self.synthetic = self._client.synthetic
        # If our clock is ahead, a forming candle would seem closed, so it must be closed by the host's clock too.
        host_time = columns.get(AS_OF)
        if isinstance(host_time, float):
            self._host_time = host_time
            closed = min(closed, int(host_time) // MINUTE * MINUTE)
        return bars_from_columns(columns, feed=self.name, asset=asset, start=start, end=closed)

    def clock_skew(self, now: float) -> float | None:
        """Return the seconds by which `now` is ahead of the host's clock at its last answer, None if unknown."""
        return None if self._host_time is None else now - self._host_time

    @abstractmethod
    def candles(self, asset: str, symbol: str, start: int, end: int, now: int) -> Mapping[str, object]:
        """Request the candles labelled in ``[start, end)`` and return their columns.

        The columns are those of `bars_from_columns`, still unchecked, possibly with rows outside the range. The key
        `AS_OF` holds the host's time of the answer, or None if it gave none.

        Parameters
        ----------
        asset, symbol : str
            The asset, and the feed's symbol for it.
        start, end, now : int
            Seconds since 1970-01-01 UTC.
        """

    def error(self, asset: str, text: str) -> FeedError:
        """Return a `FeedError` that names the feed and the asset."""
        return FeedError(f"{self.name} {asset}: {text}")

    def label(self, asset: str, row: int, opens: object, closes: object) -> int:
        """Return the label, in seconds, of a candle that gives its first and last millisecond.

        Parameters
        ----------
        asset : str
        row : int
            Number of the candle in the answer, for messages.
        opens, closes : object
            First and last millisecond, as decoded from JSON.

        Raises
        ------
        FeedError
            If these are not such times, or not those of one minute.
        """
        if type(opens) is not int or opens % 1000:
            raise self.error(asset, f"row {row}: open time {brief(opens)} is not a whole second in milliseconds")
        if type(closes) is not int or closes != opens + MINUTE * 1000 - 1:
            at = f"row {row} (timestamp {opens // 1000})"
            raise self.error(asset, f"{at}: close time {brief(closes)} is not one minute after the open time")
        return opens // 1000

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _checked_range(self, asset: str, start: int, end: int, now: int) -> tuple[int, int, int]:
        try:
            start, end, now = (operator.index(value) for value in (start, end, now))
        except TypeError:
            raise self.error(asset, f"{(start, end, now)} are not whole seconds (start, end, now)") from None
        if start < 0 or start % MINUTE or end % MINUTE:
            raise self.error(asset, f"[{start}, {end}): start and end must be multiples of 60 s, from 0 on")
        if end < start:
            raise self.error(asset, f"[{start}, {end}) ends before it starts")
        if end - start > self.chunk:
            raise self.error(asset, f"[{start}, {end}) is longer than the limit of {self.chunk} s per call")
        return start, end, now


def bars_from_columns(columns: Mapping[str, object], *, feed: str, asset: str, start: int, end: int) -> Bars:
    """Return the candles labelled in ``[start, end)`` as bars, after checking every value.

    Rows outside the range are dropped. Nothing else is repaired.

    Parameters
    ----------
    columns : mapping of str to list
        Keyed by the names of `quality.COLUMNS`, as decoded from JSON: times are integers (seconds), prices are numbers
        or decimal strings.
    feed, asset : str
        Named in messages.
    start, end : int
        Seconds since 1970-01-01 UTC, multiples of 60.

    Raises
    ------
    FeedError
        If a column is not a list, lengths differ, a value is not a number, or the rows are not 1 minute apart.
    BarsError
        If a row breaks a rule of `Bars`.
    """
    arrays = _arrays(columns, f"{feed} {asset}")
    asked = (arrays["timestamp"] >= start) & (arrays["timestamp"] < end)
    try:
        bars = Bars.from_columns({name: array[asked] for name, array in arrays.items()}, MINUTE)
    except BarsError as error:
        raise BarsError(f"{feed} {asset}: rows in [{start}, {end}): {error}") from None
    if fault := spacing_fault(bars.timestamp):
        raise FeedError(f"{feed} {asset}: {fault}")
    return bars


def _arrays(columns: Mapping[str, object], what: str) -> dict[str, np.ndarray[Any, Any]]:
    """Return decoded columns as int64 and float64, after checking every value."""
    lists: dict[str, Sequence[object]] = {}
    for name in COLUMNS:
        column = columns.get(name)
        if not isinstance(column, list):
            raise FeedError(f"{what}: column {name!r} is {brief(column)}, not a list")
        lists[name] = column
    lengths = {name: len(column) for name, column in lists.items()}
    if len(set(lengths.values())) != 1:
        raise FeedError(f"{what}: columns differ in length, from row {min(lengths.values())} on: {lengths}")
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    for name, column in lists.items():
        parse = _label if name == "timestamp" else _price
        values = [parse(value) for value in column]
        if None in values:
            row = values.index(None)
            at = f"row {row} (timestamp {brief(lists['timestamp'][row])})"
            raise FeedError(f"{what}: {at}: {name} is {brief(column[row])}, not a usable number")
        arrays[name] = np.array(values, np.int64 if name == "timestamp" else np.float64)
    return arrays


def brief(value: object) -> str:
    """Return a decoded JSON value as short text for a message."""
    return printable(orjson.dumps(value).decode())


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
