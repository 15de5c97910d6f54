"""What became of the requests of those who may call: who is refused, and how their clocks differ from ours."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any

RECENT = 1800.0
"""Seconds for which a caller counts."""


@dataclass(frozen=True, slots=True)
class Heard:
    """The newest request of one caller.

    Attributes
    ----------
    at : float
        When it arrived.
    nonce : int
    ahead : float
        Seconds by which the nonce was ahead of our clock.
    refused : str
        The kind of its refusal; empty if it was not refused.
    """

    at: float
    nonce: int
    ahead: float
    refused: str = ""


@dataclass(frozen=True, slots=True)
class CallersReport:
    """The callers of the last half hour.

    Attributes
    ----------
    heard : int
        Callers that sent a request signed for us.
    refused : mapping of str to int
        Callers whose newest request was refused, by the kind of the refusal.
    ahead : float or None
        Median of the seconds by which their nonces were ahead of our clock.
    """

    heard: int
    refused: Mapping[str, int]
    ahead: float | None

    @property
    def share(self) -> float:
        """Return the share of callers whose newest request was refused."""
        return sum(self.refused.values()) / self.heard if self.heard else 0.0


@dataclass
class Callers:
    """The newest request of each hotkey that may call. Only a verified signature gets a request in here.

    Parameters
    ----------
    uptime : callable
        Returns a monotonic time, seconds.
    """

    uptime: Callable[[], float] = time.monotonic
    _heard: dict[str, Heard] = field(default_factory=dict, repr=False)
    _asked: dict[str, float] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self._began = self.uptime()

    def age(self) -> float:
        """Return the seconds since the start of the process."""
        return self.uptime() - self._began

    def quiet(self, asset: str | None = None) -> float:
        """Return the seconds since the newest call, or since the newest answer about an asset; else since the start."""
        if asset is not None:
            return self.uptime() - self._asked.get(asset, self._began)
        return self.uptime() - max((heard.at for heard in list(self._heard.values())), default=self._began)

    def answered(self, asset: str) -> None:
        """Note that a prompt was answered."""
        self._asked[asset] = self.uptime()

    def newest(self) -> dict[str, dict[str, Any]]:
        """Return by caller the age in seconds of its newest request, and for what that was refused."""
        now = self.uptime()
        return {k: {"age": round(now - h.at, 1), "refused": h.refused} for k, h in list(self._heard.items())}

    def knows(self, caller: str, nonce: int) -> bool:
        """Return whether a request as new as this one was heard: a copy of an old request is no news."""
        before = self._heard.get(caller)
        return before is not None and nonce <= before.nonce

    def hear(self, caller: str, nonce: int, ahead: float, refused: str = "") -> None:
        """Note a request."""
        self._heard[caller] = Heard(self.uptime(), nonce, ahead, refused)

    def refuse(self, caller: str, kind: str) -> None:
        """Note that a caller's admitted request was refused after all."""
        heard = self._heard.get(caller)
        if heard is not None:
            self._heard[caller] = replace(heard, refused=kind)

    def report(self) -> CallersReport:
        """Return what became of the newest requests."""
        since = self.uptime() - RECENT
        recent = [heard for heard in list(self._heard.values()) if heard.at >= since]
        refused = Counter(heard.refused for heard in recent if heard.refused)
        return CallersReport(len(recent), refused, median(h.ahead for h in recent) if recent else None)
