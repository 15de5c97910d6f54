"""Common part of the HTTP feeds: turn the candles of an answer into `Bars`."""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace

from ewmalab.errors import FeedError
from ewmalab.market.bars import Bars
from ewmalab.market.feeds.http import HttpClient
from ewmalab.market.feeds.parsing import brief, read_candles
from ewmalab.market.quality import AsideBar
from ewmalab.times import MINUTE

AS_OF = "as_of"


class HttpFeed(ABC):
    """Base of `Feed`s over HTTP; a subclass knows the requests and answers of one host.

    Parameters
    ----------
    symbols : mapping of str to str
        The feed's symbol for each asset that it serves.
    client : HttpClient
        Client for the host.

    Attributes
    ----------
    malformed : dict of str to tuple of AsideBar
        By asset: the candles of the last answer that are no bars.
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
        self.malformed: dict[str, tuple[AsideBar, ...]] = {}
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
        self.malformed[asset] = ()
        columns = self.candles(asset, symbol, start, closed, now)
        self.synthetic = self._client.synthetic
        # If our clock is ahead, a forming candle would seem closed, so it must be closed by the host's clock too.
        host_time = columns.get(AS_OF)
        if isinstance(host_time, float):
            self._host_time = host_time
            closed = min(closed, int(host_time) // MINUTE * MINUTE)
        found = read_candles(columns, feed=self.name, asset=asset, start=start, end=closed)
        self.malformed[asset] = tuple(replace(bar, source=self.source, at=now) for bar in found.malformed)
        return found.bars

    def clock_skew(self, now: float) -> float | None:
        """Return the seconds by which `now` is ahead of the host's clock at its last answer, None if unknown."""
        return None if self._host_time is None else now - self._host_time

    @abstractmethod
    def candles(self, asset: str, symbol: str, start: int, end: int, now: int) -> Mapping[str, object]:
        """Request the candles labelled in ``[start, end)`` and return their columns.

        The columns are those of `read_candles`, still unchecked, possibly with rows outside the range. The key
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

    def label(self, opens: object, closes: object) -> tuple[int | None, str | None]:
        """Return the label, in seconds, of a candle that gives its first and last millisecond, and what is wrong.

        Parameters
        ----------
        opens, closes : object
            First and last millisecond, as decoded from JSON; they must be those of one minute.
        """
        if type(opens) is not int:
            return None, f"open time {brief(opens)} is not a whole second in milliseconds"
        if opens % 1000:
            return opens // 1000, f"open time {opens} is not a whole second in milliseconds"
        if type(closes) is not int or closes != opens + MINUTE * 1000 - 1:
            return opens // 1000, f"close time {brief(closes)} is not one minute after the open time"
        return opens // 1000, None

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
