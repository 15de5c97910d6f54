"""Room for connections: when there are too many, the oldest idle ones of strangers give way."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection
from typing import Protocol

MAX_CONNECTIONS = 1024
MAX_STRANGERS = 768
"""Connections of unknown addresses; the others are reserved for those from which validators call."""
MAX_PER_IP = 512
_LEARNED = 86_400.0  # seconds for which an address stays known after a prompt that was admitted
_MAX_LEARNED = 1024


class Connection(Protocol):
    """An open connection."""

    @property
    def ip(self) -> str:
        """Return the caller's address."""
        ...

    def drop(self) -> None:
        """Close the connection at once."""
        ...


class Room:
    """Decides which connections are kept.

    Parameters
    ----------
    addresses : callable
        Returns the addresses that the chain knows of those who may call.
    uptime : callable
        Returns a monotonic time, seconds.
    """

    def __init__(
        self, addresses: Callable[[], Collection[str]] = tuple, uptime: Callable[[], float] = time.monotonic
    ) -> None:
        self._addresses, self._uptime = addresses, uptime
        self._per_ip: Counter[str] = Counter()
        self._idle: dict[Connection, None] = {}  # without an admitted prompt in progress; the oldest first
        self._strangers: set[Connection] = set()
        self._learned: dict[str, float] = {}

    def knows(self, ip: str) -> bool:
        """Return whether a validator that may call has this address, or has called from it within a day."""
        return ip in self._addresses() or self._uptime() - self._learned.get(ip, -_LEARNED) < _LEARNED

    def count(self, ip: str | None = None) -> int:
        """Return the number of connections, of all addresses or of one."""
        return self._per_ip.total() if ip is None else self._per_ip[ip]

    def enter(self, connection: Connection) -> None:
        """Take in a connection; if there are too many, another one is dropped, or this one."""
        self._per_ip[connection.ip] += 1
        self._idle[connection] = None
        if not self.knows(connection.ip):
            self._strangers.add(connection)
        if self._per_ip[connection.ip] > MAX_PER_IP:
            self._drop(lambda ip: ip == connection.ip)
            return
        crowded = self._per_ip.total() > MAX_CONNECTIONS or len(self._strangers) > MAX_STRANGERS
        if crowded and not self._drop(lambda ip: not self.knows(ip)):
            self._drop(lambda _: True)

    def leave(self, connection: Connection) -> None:
        """Forget a connection that was closed."""
        self._idle.pop(connection, None)
        self._strangers.discard(connection)
        self._per_ip[connection.ip] -= 1
        if self._per_ip[connection.ip] <= 0:
            del self._per_ip[connection.ip]

    def admit(self, connection: Connection) -> None:
        """Keep a connection while its prompt, which was admitted, is in progress; learn its address."""
        self._idle.pop(connection, None)
        self._strangers.discard(connection)
        self._learned.pop(connection.ip, None)
        self._learned[connection.ip] = self._uptime()
        if len(self._learned) > _MAX_LEARNED:
            del self._learned[next(iter(self._learned))]

    def rest(self, connection: Connection) -> None:
        """Note that a connection has no admitted prompt in progress any more."""
        self._idle.setdefault(connection, None)

    def _drop(self, giving_way: Callable[[str], bool]) -> bool:
        """Drop the oldest idle connection from such an address; return whether there is one."""
        for connection in self._idle:
            if giving_way(connection.ip):
                del self._idle[connection]
                connection.drop()
                return True
        return False
