"""Serve HTTP to untrusted callers: uvicorn with limits on each connection."""

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
_KEEP_ALIVE = 30  # longer than clients keep idle connections, so that no close races with a request
_OTHER_FILES = 256  # open files for logs, states, feeds and libraries
_LAST_ANSWERS = 20  # seconds that answers in progress get at shutdown

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
    block the validators. Here excess connections are closed at once.
    """

    per_ip: ClassVar[Counter[str]] = Counter()
    _timer: asyncio.TimerHandle | None = None
    _ip: str | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept a connection, or close it if there are too many."""
        super().connection_made(transport)
        self.app_state = {**self.app_state, "abort": transport.abort}  # close() would wait for a caller to read
        ip = self.client[0] if self.client else ""
        self._ip = ip
        self.per_ip[ip] += 1
        if len(self.connections) > MAX_CONNECTIONS or self.per_ip[ip] > MAX_PER_IP:
            transport.abort()
            return
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Release a connection."""
        if self._timer is not None:
            self._timer.cancel()
        if self._ip is not None:
            self.per_ip[self._ip] -= 1
            if self.per_ip[self._ip] <= 0:
                del self.per_ip[self._ip]
        super().connection_lost(exc)

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


def make_server(app: Asgi, host: str, port: int, *, guarded: bool) -> Server:
    """Return a server for an ASGI application.

    Parameters
    ----------
    app : callable
        The ASGI application.
    host : str
        Address to listen on.
    port : int
        0 takes any free port.
    guarded : bool
        Whether to limit connections, for a server that untrusted callers can reach.
    """
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
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # its many warnings concern strangers' requests
    return Server(config)


def bound_port(server: Server) -> int:
    """Return the port that a started server listens on."""
    return int(server.servers[0].sockets[0].getsockname()[1])
