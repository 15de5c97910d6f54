"""Serve HTTP to untrusted callers: uvicorn with limits on each connection."""

from __future__ import annotations

import asyncio
import logging
import resource
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from ewmalab.live.miner.connection_room import MAX_CONNECTIONS, MAX_PER_IP, Room

__all__ = ["MAX_CONNECTIONS", "MAX_PER_IP"]

HEAD_SECONDS = 5.0  # for a caller to send a request's head
MAX_HEAD = 16 * 1024
_KEEP_ALIVE = 30  # longer than clients keep idle connections, so that no close races with a request
_OTHER_FILES = 256  # open files for logs, states, feeds and libraries
_LAST_ANSWERS = 20  # seconds that answers in progress get at shutdown
_ERRORS_LOGGED = 1.0  # seconds between logged errors of the server

log = logging.getLogger("ewmalab.miner")


def allow_connections() -> None:
    """Raise this process's limit of open files to what MAX_CONNECTIONS needs, as far as the hard limit allows."""
    wanted = MAX_CONNECTIONS + _OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= wanted:
        return
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))
    if hard < wanted:
        log.warning(
            "the limit of open files is %d, %d connections need %d: raise it (ulimit -n)", hard, MAX_CONNECTIONS, wanted
        )


class GuardedProtocol(H11Protocol):
    """HTTP/1.1 with limits on the number of connections and on the time for a request's head.

    uvicorn waits for a head without limit and answers 503 when there are too many connections, so that anyone could
    block the validators. Here excess connections are closed at once; `Room` says which.
    """

    _timer: asyncio.TimerHandle | None = None
    _ip: str | None = None

    def __init__(self, room: Room, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.access_log = False  # also if a library has given its logger handlers
        self._room = room

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept a connection; if there are too many, one is closed."""
        super().connection_made(transport)
        # abort, since close() would wait for a caller to read
        self.app_state = {**self.app_state, "abort": transport.abort, "admitted": lambda: self._room.admit(self)}
        self._ip = self.client[0] if self.client else ""
        self._room.enter(self)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Release a connection."""
        if self._timer is not None:
            self._timer.cancel()
        if self._ip is not None:
            self._room.leave(self)
        super().connection_lost(exc)

    @property
    def ip(self) -> str:
        """Return the caller's address."""
        return self._ip or ""

    def drop(self) -> None:
        """Close the connection at once."""
        self.transport.abort()

    def on_response_complete(self) -> None:
        """Let the connection rest until the next request."""
        self._room.rest(self)
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer a malformed request. An application that is at work on it must not answer as well."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        try:
            super().send_400_response(msg)
        except h11.LocalProtocolError:  # an answer has begun
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        """Parse more data; a protocol error only ends the connection."""
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
    """A server that leaves signals to its process."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Install no signal handlers."""
        yield


Asgi = Callable[[Any, Any, Any], Awaitable[None]]


class _Seldom(logging.Filter):
    """Lets one record a second pass, since strangers may know how to cause them."""

    _passed = -_ERRORS_LOGGED

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to log a record."""
        now = time.monotonic()
        if now - self._passed < _ERRORS_LOGGED:
            return False
        self._passed = now
        return True


_SELDOM = _Seldom()


def make_server(app: Asgi, host: str, port: int, *, room: Room | None = None) -> Server:
    """Return a server for an ASGI application.

    Parameters
    ----------
    app : callable
        The ASGI application.
    host : str
        Address to listen on.
    port : int
        0 takes any free port.
    room : Room, optional
        Limits connections, for a server that untrusted callers can reach.
    """
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        interface="asgi3",
        http="h11" if room is None else partial(GuardedProtocol, room),  # type: ignore[arg-type]
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
    errors = logging.getLogger("uvicorn.error")
    errors.setLevel(logging.ERROR)  # its many warnings concern strangers' requests
    errors.addFilter(_SELDOM)
    return Server(config)


def bound_port(server: Server) -> int:
    """Return the port that a started server listens on."""
    return int(server.servers[0].sockets[0].getsockname()[1])
