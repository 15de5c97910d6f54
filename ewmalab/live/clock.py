"""The clock of live processes: the system's clock, or a faster one for rehearsals."""

from __future__ import annotations

import time
from dataclasses import dataclass
from threading import Event
from urllib.parse import urlsplit

from ewmalab.errors import ConfigError

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, slots=True)
class Clock:
    """Market time: ``began + (system time - real) * speed``. The defaults give the system's clock.

    Attributes
    ----------
    began : float
        Market time at the system time `real`, seconds since 1970-01-01 UTC.
    """

    began: float = 0.0
    real: float = 0.0
    speed: float = 1.0

    def now(self) -> float:
        """Return the market time."""
        return self.began + (self.system() - self.real) * self.speed

    def system(self) -> float:
        """Return the system's time, which signatures and process checks use."""
        return time.time()

    def wait(self, until: float, stop: Event, wake: Event | None = None) -> bool:
        """Wait until a market time, or until `stop` or `wake` is set; return whether `stop` was set.

        `wake` is noticed within a second. Setting the system's clock forwards ends the wait at once; setting it
        backwards does not prolong it.
        """
        end = time.monotonic() + (until - self.now()) / self.speed
        while not stop.is_set():
            left = min(end - time.monotonic(), (until - self.now()) / self.speed)
            if left <= 0 or (wake is not None and wake.is_set()):
                return False
            stop.wait(min(left, 1.0))
        return True


def make_clock(url: str) -> Clock:
    """Return the system's clock, or the clock of a feed server on this machine.

    Parameters
    ----------
    url : str
        Setting ``live.clock``: empty, or the address of the clock of `ewmalab feed serve`.

    Raises
    ------
    ConfigError
        If the server is on another machine or does not answer.
    """
    if not url:
        return Clock()
    import requests

    if urlsplit(url).hostname not in _LOOPBACK:
        raise ConfigError(f"live.clock = {url!r}: only a feed server on this machine may set the clock")
    try:
        with requests.Session() as session:
            session.trust_env = False  # no proxy for this machine
            told = session.get(url, timeout=5).json()
        return Clock(float(told["began"]), float(told["real"]), float(told["speed"]))
    except (requests.RequestException, KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f"live.clock = {url!r} does not answer ({type(error).__name__}): is `ewmalab feed serve` running?"
        ) from error
