"""A local HTTP server that answers in the feeds' formats, has its own clock, and can inject random faults.

It listens on 127.0.0.1 and serves the candles up to its own time, including the one still forming.
"""

from __future__ import annotations

import contextlib
import os
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol
from urllib.parse import parse_qs, urlsplit

import orjson

from ewmalab.live.rehearsal import shapes
from ewmalab.market.bars import Bars
from ewmalab.market.feeds.http import SYNTHETIC_HEADER
from ewmalab.times import MINUTE


class History(Protocol):
    """Bars of one symbol: `Bars`, or an object that makes them on request."""

    def between(self, start: int, end: int) -> Bars:
        """Return the bars labelled in ``[start, end)``."""
        ...


@dataclass(frozen=True)
class Seen:
    """A received request."""

    method: str
    path: str
    query: dict[str, str]
    body: Any
    headers: dict[str, str]


class FeedServer:
    """Serves each symbol's bars and spot prices in every feed's format; use as a context manager.

    Parameters
    ----------
    bars : mapping of str to History
        Keyed by the feeds' own symbols.
    clock : callable
        Returns the server's time, seconds since 1970-01-01 UTC.
    speed : float
        Speed of that clock relative to the system's; served at ``/clock``.
    synthetic : bool
        Whether every answer has a header which says that the prices are simulated.
    fault_share : float
        Share of requests answered with a random fault.
    ids : mapping of str to str
        Symbol of each Pyth feed id (Hermes and Lazer).
    port : int
        0 lets the system choose.
    """

    def __init__(
        self,
        bars: Mapping[str, History],
        clock: Callable[[], float],
        *,
        speed: float = 1.0,
        synthetic: bool = False,
        fault_share: float = 0.0,
        ids: Mapping[str, str] | None = None,
        port: int = 0,
    ) -> None:
        self.bars, self.clock = dict(bars), clock
        self.requests = self.faults = 0
        self.synthetic, self._speed = synthetic, speed
        self._ids, self._share, self._random = dict(ids or {}), fault_share, random.Random(0)
        self._lock = threading.Lock()
        self._connections: set[socket.socket] = set()
        self.released = threading.Event()
        self._http = _Server(("127.0.0.1", port), Exchange)
        self._http.feed_server = self
        self.host = f"127.0.0.1:{self._http.server_address[1]}"
        self.url = f"http://{self.host}"
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.001})

    def __enter__(self) -> FeedServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        self._http.shutdown()
        self._thread.join()
        with self._lock:
            for connection in self._connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)  # ends the handlers that wait for another request
        self._http.server_close()

    def take(self, seen: Seen) -> Fault | None:
        """Count a request and return its fault, if any."""
        with self._lock:
            self.requests += 1
            fault = self.fault(seen)
            self.faults += fault is not None
            return fault

    def fault(self, seen: Seen) -> Fault | None:
        """Return the fault for a request, None for a good answer."""
        del seen
        unlucky = self._share and self._random.random() < self._share
        return self._random.choice(FAULTS) if unlucky else None

    def track(self, connection: socket.socket, *, gone: bool = False) -> None:
        """Record that a connection was opened or closed."""
        with self._lock:
            (self._connections.discard if gone else self._connections.add)(connection)

    def headers(self) -> dict[str, str]:
        """Return the headers of every answer."""
        told = {"Date": formatdate(self.clock(), usegmt=True)}
        return told | ({SYNTHETIC_HEADER: "simulated prices"} if self.synthetic else {})

    def answer(self, seen: Seen) -> Any:
        """Return the decoded JSON of a good answer."""
        query = seen.query
        match seen.path:
            case "/clock":
                return {"began": self.clock(), "real": time.time(), "speed": self._speed}  # noqa: TID251
            case "/api/v3/klines":
                first, last = int(query["startTime"]) // 1000, int(query["endTime"]) // 1000
                return shapes.binance(self.candles(query["symbol"], first, last + 1))[: int(query["limit"])]
            case "/api/v3/ticker/price":
                return [{"symbol": s, "price": str(self.spot(s))} for s in orjson.loads(query["symbols"])]
            case "/info" if seen.body["type"] == "candleSnapshot":
                request = seen.body["req"]
                first, last = request["startTime"] // 1000, request["endTime"] // 1000
                return shapes.hyperliquid(self.candles(request["coin"], first, last + 1), request["coin"])
            case "/info":
                dex = seen.body.get("dex", "")
                coins = [s for s in self.bars if s.startswith(f"{dex}:") or (not dex and s.startswith("@"))]
                return {coin: str(self.spot(coin)) for coin in coins}
            case "/v1/latest_price":
                ids = [i for i in seen.body["priceFeedIds"] if str(i) in self._ids]
                return shapes.lazer({i: self.spot(self._ids[str(i)]) for i in ids}, self.clock())
            case "/v2/updates/price/latest":
                ids = query["ids[]"].split(",")
                return shapes.hermes({i: self.spot(self._ids[i]) for i in ids}, self.clock())
        return shapes.pyth(self.candles(query["symbol"], int(query["from"]), int(query["to"]) + 1))

    def spot(self, symbol: str) -> float:
        """Return a symbol's price at the server's time, interpolated from the open to the close of its minute."""
        now = self.clock()
        label = int(now) // MINUTE * MINUTE
        bars = self.bars[symbol].between(label - 60 * MINUTE, label + MINUTE)
        if not len(bars):
            return 0.0
        if bars.timestamp[-1] != label:
            return float(bars.close[-1])
        start, end = float(bars.open[-1]), float(bars.close[-1])
        return float(f"{start + (end - start) * (now - label) / MINUTE:.7g}")

    def candles(self, symbol: str, start: int, end: int) -> Bars:
        """Return a symbol's bars labelled in ``[start, end)`` as of the server's time."""
        label = int(self.clock()) // MINUTE * MINUTE
        bars = self.bars[symbol].between(start, min(end, label + MINUTE))
        if not len(bars) or bars.timestamp[-1] != label:
            return bars
        price = [self.spot(symbol)]
        opened = bars.open[-1:]
        forming = Bars([label], opened, [max(*opened, *price)], [min(*opened, *price)], price)  # type: ignore[arg-type]
        return Bars.concatenate([bars.rows(0, len(bars) - 1), forming])


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 64
    feed_server: FeedServer

    def handle_error(self, request: object, client_address: object) -> None:
        """Log nothing: clients may hang up."""


class Exchange(BaseHTTPRequestHandler):
    """One connection, whose requests get a good answer or a fault."""

    protocol_version = "HTTP/1.1"
    timeout = 5
    disable_nagle_algorithm = True  # head and body are two writes; Nagle would delay the second by 40 ms
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.feed_server = self.server.feed_server
        self.feed_server.track(self.connection)

    def finish(self) -> None:
        self.feed_server.track(self.connection, gone=True)
        super().finish()

    def do_GET(self) -> None:
        self._serve(None)

    def do_POST(self) -> None:
        self._serve(orjson.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def _serve(self, sent: Any) -> None:
        url = urlsplit(self.path)
        query = {name: ",".join(values) for name, values in parse_qs(url.query).items()}
        seen = Seen(self.command, url.path, query, sent, dict(self.headers.items()))
        fault = self.feed_server.take(seen)
        if fault is None:
            self.send(200, orjson.dumps(self.feed_server.answer(seen)))
        else:
            fault(self, seen)

    def send(self, code: int, content: bytes, headers: Mapping[str, str] | None = None) -> None:
        """Send a complete answer."""
        self.send_response_only(code)
        own = self.feed_server.headers()
        for name, value in {"Content-Type": "application/json", **own, **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def begin(self, seen: Seen) -> bytes:
        """Send the head of a good answer and return its body; the connection closes after it."""
        content = orjson.dumps(self.feed_server.answer(seen))
        self.send_response(200)
        self.close_connection = True
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        return content

    def reset(self) -> None:
        """Reset the connection."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        # closing the socket object would wait for the file objects made from it
        self.feed_server.track(self.connection, gone=True)
        os.close(self.connection.detach())

    def log_message(self, *_: object) -> None:
        """Print nothing."""


Fault = Callable[[Exchange, Seen], None]
"""A faulty answer to a request."""


def status(code: int, body: bytes = b"", **headers: str) -> Fault:
    """Answer with this status; underscores in header names stand for hyphens."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda exchange, seen: exchange.send(code, body, named)


def body(content: bytes) -> Fault:
    """Answer 200 with these bytes."""
    return status(200, content)


def reset(exchange: Exchange, seen: Seen) -> None:
    """Reset the connection without an answer."""
    exchange.reset()


def truncate(exchange: Exchange, seen: Seen) -> None:
    """Send half of a good answer."""
    content = exchange.begin(seen)
    exchange.wfile.write(content[: len(content) // 2])


def reset_in_body(exchange: Exchange, seen: Seen) -> None:
    """Reset the connection in the middle of a good answer."""
    truncate(exchange, seen)
    time.sleep(0.02)  # let the client read the half first
    exchange.reset()


HTML = body(b"<!doctype html><html><body>Please enable cookies</body></html>")
EMPTY = body(b"")
NOT_JSON = body(b"upstream connect error")
FAULTS: tuple[Fault, ...] = (
    status(429, Retry_After="1"),
    status(500),
    status(503),
    reset,
    reset_in_body,
    truncate,
    HTML,
    EMPTY,
    NOT_JSON,
)
