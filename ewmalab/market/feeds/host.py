"""A client's host, rate limits and time limits."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from ewmalab.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Host:
    """A host and its rate limits.

    Attributes
    ----------
    url : str
        ``http(s)://host[:port][/prefix]``.
    rate : (int, float)
        Most requests that may start within any period, and the period in seconds.
    silence_on : tuple of int
        Statuses that mean rate-limited.
    empty_on : tuple of int
        Statuses that mean that the host has nothing for a request; its answer is None.
    key_setting, setting : str
        Names of the settings for the key (None if the host takes no key) and for the host, shown in messages.
    """

    url: str
    rate: tuple[int, float] = (30, 10.0)
    silence_on: tuple[int, ...] = (429,)
    empty_on: tuple[int, ...] = ()
    key_setting: str | None = None
    setting: str = "the feed's host"

    @property
    def name(self) -> str:
        """Return ``host[:port]``.

        Raises
        ------
        ConfigError
            If the URL has another form, or contains a user name or password, which are not shown.
        """
        try:
            parts = urlsplit(self.url)
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port = None, None
        web = host and parts.scheme in ("http", "https")
        if not web or not host or "@" in parts.netloc or parts.query or parts.fragment:
            raise ConfigError("a feed's host must have the form http(s)://name[:port][/prefix]")
        return host if port is None else f"{host}:{port}"


@dataclass(frozen=True, slots=True)
class HttpOptions:
    """Time limits and retries of a client.

    Attributes
    ----------
    timeout : (float, float)
        Seconds to connect, and seconds without a byte while reading.
    attempts : int
        Requests per call, including the first.
    max_backoff : float
        Longest pause between attempts, in seconds; pauses double from 0.5 s.
    max_silence : float
        Seconds; while the host is rate-limited for longer, calls fail at once instead of waiting.
    deadline : float
        Seconds in which one answer must arrive completely.
    max_bytes : int
        Longest (decoded) body.
    sleep, monotonic : callable
        The client's clock, which runs faster than real time in rehearsals.
    """

    timeout: tuple[float, float] = (5, 20)
    attempts: int = 5
    max_backoff: float = 30.0
    max_silence: float = 600.0
    deadline: float = 120.0
    max_bytes: int = 64 * 2**20
    sleep: Callable[[float], None] = time.sleep
    monotonic: Callable[[], float] = time.monotonic


PATIENT = HttpOptions()
"""Options for commands that may wait long."""
