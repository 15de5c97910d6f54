"""What a client is told about a host, and how patient it is."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from ewmalab.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Host:
    """A host, and how it wants to be asked.

    Attributes
    ----------
    url : str
        ``http(s)://host[:port][/prefix]``.
    rate : (int, float)
        At most so many requests start within any so many seconds.
    silence_on : tuple of int
        Statuses by which the host demands silence.
    key_setting, setting : str
        What a user sets to supply a key (None: it takes none), or to choose another host; named in messages.
    """

    url: str
    rate: tuple[int, float] = (30, 10.0)
    silence_on: tuple[int, ...] = (429,)
    key_setting: str | None = None
    setting: str = "the feed's host"

    @property
    def name(self) -> str:
        """Return ``host[:port]``.

        Raises
        ------
        ConfigError
            If the URL is of another form, or holds a user name or password, which are not shown.
        """
        try:
            parts = urlsplit(self.url)
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port = None, None
        web = host and parts.scheme in ("http", "https")
        if not web or not host or "@" in parts.netloc or parts.query or parts.fragment:
            raise ConfigError("a feed's host is not of the form http(s)://name[:port][/prefix]; correct it")
        return host if port is None else f"{host}:{port}"


@dataclass(frozen=True, slots=True)
class HttpOptions:
    """How patient a client is.

    Attributes
    ----------
    timeout : (float, float)
        Seconds to connect, and seconds without a byte while reading.
    attempts : int
        Requests per call, the first included.
    max_backoff : float
        Seconds; pauses between attempts double from 0.5 s up to this.
    max_silence : float
        Seconds; while the host wants a longer silence, calls fail at once instead of waiting.
    deadline : float
        Seconds that one answer may take to arrive, however steadily it trickles.
    max_bytes : int
        The longest (decoded) body.
    sleep, monotonic : callable
        The clock by which a client waits: market time runs faster than ours in rehearsals.
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
"""For commands that may take their time."""
