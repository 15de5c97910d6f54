"""A feed server whose every answer a test decides, and which remembers what it was asked."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from ewmalab.live.rehearsal.feed_server import (
    EMPTY,
    HTML,
    NOT_JSON,
    Exchange,
    Fault,
    FeedServer,
    History,
    Seen,
    body,
    reset,
    reset_in_body,
    status,
    truncate,
)
from ewmalab.market.bars import Bars

__all__ = [
    "DRIP",
    "EMPTY",
    "HANG",
    "HTML",
    "NOT_JSON",
    "RESET",
    "RESET_IN_BODY",
    "TRUNCATE",
    "TRUNCATE_CHUNKED",
    "Fault",
    "FaultyFeed",
    "Seen",
    "body",
    "edit",
    "status",
]

NEVER = 4_000_000_000.0  # beyond all bars: a server without a clock serves whatever there is


class FaultyFeed(FeedServer):
    """Each request takes the next fault of the plan, then `always`, by default none.

    Parameters
    ----------
    bars : mapping of str to History
    clock : callable, optional
        By default all bars there are are served, and no time is told.
    **options
        Of `FeedServer`.

    Attributes
    ----------
    seen : list of Seen
        The requests.
    always : Fault or None
    generous : bool
        Whether to send all bars there are, whatever range was asked for.
    """

    def __init__(self, bars: Mapping[str, History], clock: Callable[[], float] | None = None, **options: Any) -> None:
        super().__init__(bars, clock or (lambda: NEVER), **options)
        self.seen: list[Seen] = []
        self.always: Fault | None = None
        self.generous = False
        self._timeless = clock is None
        self._plan: deque[Fault | None] = deque()

    def plan(self, *faults: Fault | None) -> None:
        """Let the next requests meet these faults, one each; None is a good answer."""
        self._plan.extend(faults)

    def fault(self, seen: Seen) -> Fault | None:
        self.seen.append(seen)
        return (self._plan.popleft() if self._plan else self.always) or super().fault(seen)

    def headers(self) -> dict[str, str]:
        told = super().headers()
        if self._timeless:
            del told["Date"]
        return told

    def candles(self, symbol: str, start: int, end: int) -> Bars:
        history = self.bars[symbol]
        return history if self.generous and isinstance(history, Bars) else super().candles(symbol, start, end)


def edit(change: Callable[[Any], Any]) -> Fault:
    """Answer 200 with a changed answer."""

    def fault(exchange: Exchange, seen: Seen) -> None:
        exchange.send(200, json.dumps(change(exchange.feed_server.answer(seen))).encode())

    return fault


def hang(exchange: Exchange, seen: Seen) -> None:
    """Say nothing for a while."""
    exchange.feed_server.released.wait(2)
    exchange.close_connection = True


def truncate_chunked(exchange: Exchange, seen: Seen) -> None:
    """Send the first of several chunks."""
    content = orjson.dumps(exchange.feed_server.answer(seen))
    half = content[: len(content) // 2]
    exchange.send_response(200)
    exchange.close_connection = True
    exchange.send_header("Transfer-Encoding", "chunked")
    exchange.end_headers()
    exchange.wfile.write(b"%x\r\n%s\r\n" % (len(half), half))


def drip(exchange: Exchange, seen: Seen) -> None:
    """Send a byte every now and then."""
    content = exchange.begin(seen)
    for i in range(len(content)):
        if exchange.feed_server.released.is_set():
            break
        exchange.wfile.write(content[i : i + 1])
        time.sleep(0.01)


HANG, DRIP, TRUNCATE_CHUNKED = hang, drip, truncate_chunked
RESET, RESET_IN_BODY, TRUNCATE = reset, reset_in_body, truncate
