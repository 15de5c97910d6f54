"""How often a host is asked."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable

from ewmalab.errors import ConfigError


class RateLimiter:
    """Where the threads of a client wait for their turn: a sliding-window rate limit and silences.

    Parameters
    ----------
    limit, period : int, float
        At most `limit` requests start within any `period` seconds.
    sleep, monotonic : callable
        The clock, replaceable in tests.
    """

    def __init__(
        self, limit: int, period: float, *, sleep: Callable[[float], None], monotonic: Callable[[], float]
    ) -> None:
        if limit < 1 or period < 0:
            raise ConfigError(f"rate {(limit, period)} is unusable; give (requests >= 1, seconds >= 0)")
        self._period = period
        self._limit = limit
        self._sleep = sleep
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._started: deque[float] = deque()
        self._silent_until = -math.inf

    def silence(self, seconds: float) -> None:
        """Let nobody through for `seconds` from now on; a longer silence in force stays."""
        with self._lock:
            self._silent_until = max(self._silent_until, self._monotonic() + seconds)

    def silence_left(self) -> float:
        """Return for how many seconds the silence lasts still (0: there is none)."""
        with self._lock:
            return max(0.0, self._silent_until - self._monotonic())

    def enter(self, max_silence: float) -> bool:
        """Wait for a turn and take it; return False at once if a silence longer than `max_silence` is on."""
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
            self._sleep(wait)  # without the lock; whoever wakes up first takes the turn
