"""Serving HTTP to strangers: uvicorn with limits on what a connection may cost."""

from __future__ import annotations

import asyncio
import logging
import resource
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS = 5.0  # for a caller to send a request's head
MAX_CONNECTIONS = 1024
MAX_PER_IP = 512
MAX_HEAD = 16 * 1024
_KEEP_ALIVE = 30  # longer than clients keep idle connections: who closes first must not race with a request
_OTHER_FILES = 256  # logs, states, feeds, libraries
_LAST_ANSWERS = 20  # seconds that running answers get at the end

log = logging.getLogger("ewmalab.miner")


def allow_connections() -> None:
    """Raise this process's limit of open files to what the most connections need, as far as it may."""
    wanted = MAX_CONNECTIONS + _OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= wanted:
        return
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))
    if hard < wanted:
        log.warning("%d open files are allowed, %d connections need %d: ulimit -n", hard, MAX_CONNECTIONS, wanted)


class GuardedProtocol(H11Protocol):
    """HTTP/1.1 whose connections are limited in number, and in the time that a request's head may take.

    uvicorn waits for a head without end, and answers 503 where there are too many: that would let anybody hold up the
    validators. Here a connection too many is closed at once.
    """

    per_ip: ClassVar[Counter[str]] = Counter()
    _timer: asyncio.TimerHandle | None = None
    _ip: str | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, if there is room for it."""
        super().connection_made(transport)
        self.app_state = {**self.app_state, "abort": transport.abort}  # close() would wait for who does not read
        ip = self.client[0] if self.client else ""
        self._ip = ip
        self.per_ip[ip] += 1
        if len(self.connections) > MAX_CONNECTIONS or self.per_ip[ip] > MAX_PER_IP:
            transport.abort()
            return
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let a connection go."""
        if self._timer is not None:
            self._timer.cancel()
        if self._ip is not None:
            self.per_ip[self._ip] -= 1
            if self.per_ip[self._ip] <= 0:
                del self.per_ip[self._ip]
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on; what breaks the parser ends the connection and nothing else."""
        try:
            super().data_received(data)
        except h11.ProtocolError as error:
            log.debug("connection dropped: %r", error)
            self.transport.abort()
            return
        self._watch()

    def _watch(self) -> None:
        """Start the head's deadline while no request is being answered."""
        busy = self.cycle is not None and not self.cycle.response_complete
        if busy and self._timer is not None:
            self._timer.cancel()
            self._timer = None
        elif not busy and self._timer is None:
            self._timer = self.loop.call_later(HEAD_SECONDS, self._expire)

    def _expire(self) -> None:
        self._timer = None
        if self.cycle is None or self.cycle.response_complete:
            self.transport.abort()


class Server(uvicorn.Server):
    """A server whose process handles signals by itself."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone."""
        yield


Asgi = Callable[[Any, Any, Any], Awaitable[None]]


def make_server(app: Asgi, host: str, port: int, *, guarded: bool) -> Server:
    """Return a server for an ASGI application; `guarded` for those that strangers reach."""
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        interface="asgi3",
        http=GuardedProtocol if guarded else "h11",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=_LAST_ANSWERS,
        h11_max_incomplete_event_size=MAX_HEAD,
    )
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # its warnings are about strangers: too many
    return Server(config)


def bound_port(server: Server) -> int:
    """Return the port that a started server listens on."""
    return int(server.servers[0].sockets[0].getsockname()[1])
