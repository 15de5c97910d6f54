"""The clock of live processes: the system's, or one that runs faster, for rehearsals."""

from __future__ import annotations

import time
from dataclasses import dataclass
from threading import Event
from urllib.parse import urlsplit

from ewmalab.errors import ConfigError

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True, slots=True)
class Clock:
    """Market time: ``began + (system time - real) * speed``; the defaults are the system's own clock.

    Attributes
    ----------
    began : float
        Market time at the system time `real`, seconds since 1970-01-01 UTC.
    real : float
    speed : float
    """

    began: float = 0.0
    real: float = 0.0
    speed: float = 1.0

    def now(self) -> float:
        """Return the market time."""
        return self.began + (self.system() - self.real) * self.speed

    def system(self) -> float:
        """Return the system's time, which deadlines, signatures and people live by."""
        return time.time()

    def wait(self, until: float, stop: Event, wake: Event | None = None) -> bool:
        """Wait for a market time, or until `stop` (which is returned) or, a second later at most, `wake` is set.

        The system's clock may be set meanwhile: forwards ends the wait at once, backwards does not prolong it.
        """
        end = time.monotonic() + (until - self.now()) / self.speed
        while not stop.is_set():
            left = min(end - time.monotonic(), (until - self.now()) / self.speed)
            if left <= 0 or (wake is not None and wake.is_set()):
                return False
            stop.wait(min(left, 1.0))
        return True


def make_clock(url: str) -> Clock:
    """Return the system's clock, or that of a feed server on this machine.

    Parameters
    ----------
    url : str
        Setting ``live.clock``: empty, or where `ewmalab feed serve` tells its time.

    Raises
    ------
    ConfigError
        If the server is on another machine, or cannot be asked.
    """
    if not url:
        return Clock()
    import requests

    if urlsplit(url).hostname not in _LOOPBACK:
        raise ConfigError(f"live.clock = {url!r}: only a feed server on this machine may set the clock")
    try:
        with requests.Session() as session:
            session.trust_env = False  # no proxy leads to this machine
            told = session.get(url, timeout=5).json()
        return Clock(float(told["began"]), float(told["real"]), float(told["speed"]))
    except (requests.RequestException, KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f"live.clock = {url!r} cannot be asked ({type(error).__name__}): is `ewmalab feed serve` running?"
        ) from error
