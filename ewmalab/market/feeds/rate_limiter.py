"""Rate limits for requests to a host."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable

from ewmalab.errors import ConfigError


class RateLimiter:
    """A sliding-window rate limit, with silences, for the threads of a client.

    Parameters
    ----------
    limit, period : int, float
        At most `limit` requests start within any `period` seconds.
    sleep, monotonic : callable
        The clock; tests replace it.
    """

    def __init__(
        self, limit: int, period: float, *, sleep: Callable[[float], None], monotonic: Callable[[], float]
    ) -> None:
        if limit < 1 or period < 0:
            raise ConfigError(f"rate {(limit, period)} is invalid; give (requests >= 1, seconds >= 0)")
        self._period = period
        self._limit = limit
        self._sleep = sleep
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._started: deque[float] = deque()
        self._silent_until = -math.inf

    def silence(self, seconds: float) -> None:
        """Block all requests for `seconds` from now; a longer running silence is not shortened."""
        with self._lock:
            self._silent_until = max(self._silent_until, self._monotonic() + seconds)

    def silence_left(self) -> float:
        """Return the remaining seconds of silence, 0 if there is none."""
        with self._lock:
            return max(0.0, self._silent_until - self._monotonic())

    def enter(self, max_silence: float) -> bool:
        """Wait for a turn and return True, or return False at once if the silence lasts longer than `max_silence`."""
        while True:
            with self._lock:
                now = self._monotonic()
                quiet = self._silent_until - now
                if quiet > max_silence:
                    return False
                while self._started and self._started[0] + self._period <= now:
                    self._started.popleft()
                full = len(self._started) >= self._limit
                wait = max(quiet, self._started[0] + self._period - now if full else 0.0)
                if wait <= 0:
                    self._started.append(now)
                    return True
            self._sleep(wait)  # without the lock; the first thread to wake up takes the turn
