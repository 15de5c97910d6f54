"""A local HTTP server that speaks the feeds' shapes, keeps a time of its own, and misbehaves on demand.

It listens on 127.0.0.1. Each request takes the next fault of the plan (`FeedServer.plan`); when the plan is used up,
`FeedServer.always` applies, by default no fault at all, or a random one now and then.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol
from urllib.parse import parse_qs, urlsplit

import orjson

from ewmalab.market.bars import Bars
from ewmalab.market.feeds.http import SYNTHETIC_HEADER
from ewmalab.times import MINUTE


class History(Protocol):
    """Bars of one symbol: `Bars`, or what makes them when asked."""

    def between(self, start: int, end: int) -> Bars:
        """Return the bars labelled in ``[start, end)``."""
        ...


@dataclass(frozen=True)
class Fault:
    """What to do instead of answering well.

    Attributes
    ----------
    kind : str
        ``status``, ``hang``, ``reset``, ``reset_in_body``, ``truncate``, ``truncate_chunked``, ``drip``,
        ``body`` (these bytes, 200), or ``edit`` (change the decoded answer before sending it).
    """

    kind: str
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    edit: Callable[[Any], Any] | None = None


def status(code: int, body: bytes = b"", **headers: str) -> Fault:
    """Answer with this status; underscores in header names stand for hyphens."""
    return Fault("status", code, {name.replace("_", "-"): value for name, value in headers.items()}, body)


def body(content: bytes) -> Fault:
    """Answer 200 with these bytes."""
    return Fault("body", body=content)


def edit(change: Callable[[Any], Any]) -> Fault:
    """Answer 200 with a changed answer."""
    return Fault("edit", edit=change)


HANG = Fault("hang")
RESET = Fault("reset")
RESET_IN_BODY = Fault("reset_in_body")
TRUNCATE = Fault("truncate")
TRUNCATE_CHUNKED = Fault("truncate_chunked")
DRIP = Fault("drip")
HTML = body(b"<!doctype html><html><body>Please enable cookies</body></html>")
EMPTY = body(b"")
NOT_JSON = body(b"upstream connect error")
FAULTS = (status(429, Retry_After="1"), status(500), status(503), RESET, RESET_IN_BODY, TRUNCATE, HTML, EMPTY, NOT_JSON)


@dataclass(frozen=True)
class Seen:
    """A request as it arrived."""

    method: str
    path: str
    query: dict[str, str]
    body: Any
    headers: dict[str, str]


class FeedServer:
    """Serves each symbol's bars, and spot prices, in every feed's shape; use as a context manager.

    Parameters
    ----------
    bars : mapping of str to History
        By the feeds' own symbols.
    port : int
        0: of the system's choice.
    clock : callable, optional
        Returns the server's time: it then serves what exists by then, the candle that still forms included. By default
        it serves all there is, and tells no time.
    speed : float
        How fast that clock runs against the system's; told at ``/clock``.
    synthetic : bool
        Whether to say with every answer that the prices are simulated.
    fault_rate : float
        Share of requests that meet a random fault.
    fault_seed : int
    ids : mapping of str to str
        Symbol of each of Pyth's own feed ids, Hermes' and Lazer's.
    remember : bool
        Whether to keep the requests in `seen`.
    """

    def __init__(
        self,
        bars: Mapping[str, History],
        *,
        port: int = 0,
        clock: Callable[[], float] | None = None,
        speed: float = 1.0,
        synthetic: bool = False,
        fault_rate: float = 0.0,
        fault_seed: int = 0,
        ids: Mapping[str, str] | None = None,
        remember: bool = True,
    ) -> None:
        self.bars = dict(bars)
        self.seen: list[Seen] = []
        self.always: Fault | None = None
        self.generous = False  # send all bars there are, whatever range was asked for
        self.clock, self.speed, self.synthetic = clock, speed, synthetic
        self.requests = self.faults = 0
        self._ids, self._remember = dict(ids or {}), remember
        self._fault_rate, self._random = fault_rate, random.Random(fault_seed)
        self._plan: deque[Fault | None] = deque()
        self._lock = threading.Lock()
        self._connections: set[socket.socket] = set()
        self.released = threading.Event()
        self._http = _Server(("127.0.0.1", port), _Handler)
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
                    connection.shutdown(socket.SHUT_RDWR)  # ends the handlers that wait for a next request
        self._http.server_close()

    def plan(self, *faults: Fault | None) -> None:
        """Let the next requests meet these faults, one each; None is a good answer."""
        self._plan.extend(faults)

    def take(self, seen: Seen) -> Fault | None:
        """Note a request and return the fault it meets."""
        with self._lock:
            self.requests += 1
            if self._remember:
                self.seen.append(seen)
            fault = self._plan.popleft() if self._plan else self.always
            if fault is None and self._fault_rate and self._random.random() < self._fault_rate:
                fault = self._random.choice(FAULTS)
            self.faults += fault is not None
            return fault

    def track(self, connection: socket.socket, *, gone: bool = False) -> None:
        """Note a connection that came or went."""
        with self._lock:
            (self._connections.discard if gone else self._connections.add)(connection)

    def answer(self, seen: Seen) -> Any:
        """Return the decoded JSON of a good answer."""
        query = seen.query
        match seen.path:
            case "/clock" if self.clock is not None:
                return {"began": self.clock(), "real": time.time(), "speed": self.speed}  # noqa: TID251
            case "/api/v3/klines":
                first, last = int(query["startTime"]) // 1000, int(query["endTime"]) // 1000
                return binance(self._cut(query["symbol"], first, last + 1))[: int(query["limit"])]
            case "/api/v3/ticker/price":
                return [{"symbol": s, "price": str(self.spot(s))} for s in orjson.loads(query["symbols"])]
            case "/info" if seen.body["type"] == "candleSnapshot":
                request = seen.body["req"]
                first, last = request["startTime"] // 1000, request["endTime"] // 1000
                return hyperliquid(self._cut(request["coin"], first, last + 1), request["coin"])
            case "/info":
                dex = seen.body.get("dex", "")
                coins = [s for s in self.bars if s.startswith(f"{dex}:") or (not dex and s.startswith("@"))]
                return {coin: str(self.spot(coin)) for coin in coins}
            case "/v1/latest_price":
                ids = [i for i in seen.body["priceFeedIds"] if str(i) in self._ids]
                prices = [(i, round(self.spot(self._ids[str(i)]) * 10**8)) for i in ids]
                feeds = [{"priceFeedId": i, "price": str(price), "exponent": -8} for i, price in prices]
                return {"parsed": {"timestampUs": str(int(self._now() * 1e6)), "priceFeeds": feeds}}
            case "/v2/updates/price/latest":
                told = [(i, round(self.spot(self._ids[i]) * 10**8)) for i in query["ids[]"].split(",")]
                at = {"expo": -8, "publish_time": int(self._now())}
                return {"parsed": [{"id": i, "price": {"price": str(price), **at}} for i, price in told]}
        return pyth(self._cut(query["symbol"], int(query["from"]), int(query["to"]) + 1))

    def spot(self, symbol: str) -> float:
        """Return a symbol's price at the server's time: on the line from the open to the close of its minute."""
        now = self._now()
        label = int(now) // MINUTE * MINUTE
        bars = self.bars[symbol].between(label - 60 * MINUTE, label + MINUTE)
        if not len(bars):
            return 0.0
        if bars.timestamp[-1] != label:
            return float(bars.close[-1])
        start, end = float(bars.open[-1]), float(bars.close[-1])
        return float(f"{start + (end - start) * (now - label) / MINUTE:.7g}")

    def _now(self) -> float:
        return self.clock() if self.clock else float("inf")

    def headers(self) -> dict[str, str]:
        """Return what every answer says about the server itself."""
        told = {"Date": formatdate(self.clock(), usegmt=True)} if self.clock else {}
        return told | ({SYNTHETIC_HEADER: "simulated prices"} if self.synthetic else {})

    def _cut(self, symbol: str, start: int, end: int) -> Bars:
        history = self.bars[symbol]
        if self.generous and isinstance(history, Bars):
            return history
        if self.clock is None:
            return history.between(start, end)
        label = int(self.clock()) // MINUTE * MINUTE
        bars = history.between(start, min(end, label + MINUTE))
        if not len(bars) or bars.timestamp[-1] != label:
            return bars
        price = [self.spot(symbol)]
        opened = bars.open[-1:]
        forming = Bars([label], opened, [max(*opened, *price)], [min(*opened, *price)], price)  # type: ignore[arg-type]
        return Bars.concatenate([bars.rows(0, len(bars) - 1), forming])


def pyth(bars: Bars) -> dict[str, Any]:
    """Return bars in the shape of TradingView."""
    columns = {"t": bars.timestamp, "o": bars.open, "h": bars.high, "l": bars.low, "c": bars.close}
    return {"s": "ok" if len(bars) else "no_data", **{name: c.tolist() for name, c in columns.items()}}


def binance(bars: Bars) -> list[list[Any]]:
    """Return bars as klines."""
    rows = zip(*(column.tolist() for column in bars.columns().values()), strict=True)
    return [
        [t * 1000, str(o), str(h), str(l), str(c), "1.5", (t + MINUTE) * 1000 - 1, "9.0", 3, "0", "0", "0"]
        for t, o, h, l, c in rows
    ]


def hyperliquid(bars: Bars, coin: str) -> list[dict[str, Any]]:
    """Return bars as a candle snapshot."""
    rows = zip(*(column.tolist() for column in bars.columns().values()), strict=True)
    return [
        {"t": t * 1000, "T": (t + MINUTE) * 1000 - 1, "s": coin, "i": "1m"}
        | {"o": str(o), "h": str(h), "l": str(l), "c": str(c), "v": "1.5", "n": 3}
        for t, o, h, l, c in rows
    ]


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 64
    feed_server: FeedServer

    def handle_error(self, request: object, client_address: object) -> None:
        """Keep quiet: clients that hang up are part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 5
    disable_nagle_algorithm = True  # head and body are two writes: Nagle would hold the second for 40 ms
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.server.feed_server.track(self.connection)

    def finish(self) -> None:
        self.server.feed_server.track(self.connection, gone=True)
        super().finish()

    def do_GET(self) -> None:
        self._serve(None)

    def do_POST(self) -> None:
        self._serve(orjson.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def _serve(self, sent: Any) -> None:
        url = urlsplit(self.path)
        query = {name: ",".join(values) for name, values in parse_qs(url.query).items()}
        seen = Seen(self.command, url.path, query, sent, dict(self.headers.items()))
        server = self.server.feed_server
        fault = server.take(seen)
        if fault is None:
            return self._send(200, orjson.dumps(server.answer(seen)))
        match fault.kind:
            case "status":
                return self._send(fault.status, fault.body, fault.headers)
            case "body":
                return self._send(200, fault.body)
            case "edit":
                assert fault.edit is not None
                return self._send(200, json.dumps(fault.edit(server.answer(seen))).encode())
            case "hang":
                server.released.wait(2)
                self.close_connection = True
                return None
            case "reset":
                return self._reset()
        content = orjson.dumps(server.answer(seen))
        half = content[: len(content) // 2]
        self.send_response(200)
        self.close_connection = True
        if fault.kind == "truncate_chunked":
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(half), half))
            return None
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if fault.kind == "drip":
            for i in range(len(content)):
                if server.released.is_set():
                    break
                self.wfile.write(content[i : i + 1])
                time.sleep(0.01)
            return None
        self.wfile.write(half)
        if fault.kind == "reset_in_body":
            time.sleep(0.02)  # let the client read the half first
            self._reset()
        return None

    def _send(self, code: int, content: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response_only(code)
        own = self.server.feed_server.headers()
        for name, value in {"Content-Type": "application/json", **own, **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        # closing the socket object would wait for the files made from it
        self.server.feed_server.track(self.connection, gone=True)
        os.close(self.connection.detach())

    def log_message(self, *_: object) -> None:
        """Print nothing."""
