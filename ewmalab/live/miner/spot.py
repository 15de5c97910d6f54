"""Spot prices, refreshed in the background; paths start from them."""

from __future__ import annotations

import logging
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from threading import Event, Lock, Thread

from ewmalab.errors import FeedError
from ewmalab.live.clock import Clock
from ewmalab.market.quality.splits import name_split

log = logging.getLogger("ewmalab.spot")

IMPLAUSIBLE = 0.2
"""Largest plausible distance (in log) between spot price and last close; beyond it the close is used."""
_SETTLING = 15.0  # seconds that a spot price must stay after a jump

Told = Mapping[str, tuple[float, float | None]]
"""Price by asset, with its time if the source gives one."""


@dataclass(frozen=True, slots=True)
class Spot:
    """A spot price.

    Attributes
    ----------
    price : float
    at : float
        Market time: the source's own if it gives one, else the time of the request.
    source : str
    jumped_at : float or None
        When this source last jumped by an implausible distance; None if it has not.
    """

    price: float
    at: float
    source: str
    jumped_at: float | None = None

    @property
    def settled(self) -> bool:
        """Return whether the price has jumped and stayed where it is since."""
        return self.jumped_at is not None and self.at - self.jumped_at >= _SETTLING


@dataclass(frozen=True, slots=True)
class SpotSource:
    """A source of spot prices of several assets; `ask` sends one request for all of them."""

    name: str
    assets: tuple[str, ...]
    ask: Callable[[], Told]


class Spots:
    """The newest spot price of each asset.

    Parameters
    ----------
    sources : sequence of SpotSource
    clock : Clock
    """

    def __init__(self, sources: list[SpotSource], clock: Clock) -> None:
        self.sources, self.clock = sources, clock
        self.errors: dict[str, int] = dict.fromkeys((source.name for source in sources), 0)
        self._latest: dict[str, Spot] = {}
        self._began = time.monotonic()
        self._fresh_at: dict[str, float] = {}
        self._lock = Lock()

    def latest(self, asset: str) -> Spot | None:
        """Return an asset's newest spot price, whatever its age."""
        with self._lock:
            return self._latest.get(asset)

    def silence(self, asset: str) -> float:
        """Return the real seconds since an asset's price was fresh, or since the start."""
        with self._lock:
            return time.monotonic() - self._fresh_at.get(asset, self._began)

    def adopt(self, before: Spots) -> None:
        """Take over the prices of another `Spots` for sources that both have."""
        ours = {(source.name, asset) for source in self.sources for asset in source.assets}
        with before._lock:
            found = {asset: spot for asset, spot in before._latest.items() if (spot.source, asset) in ours}
            fresh = {asset: at for asset, at in before._fresh_at.items() if asset in found}
        with self._lock:
            self._latest, self._fresh_at = found | self._latest, fresh | self._fresh_at

    def refresh(self) -> None:
        """Query every source once; a failing source keeps its old prices."""
        for source in self.sources:
            self._ask(source)

    def follow(self, interval: float, stop: Event) -> None:
        """Query every source each `interval` seconds until `stop` is set, each on its own thread."""
        for source in self.sources:
            Thread(target=self._follow, args=(source, interval, stop), daemon=True).start()

    def _follow(self, source: SpotSource, interval: float, stop: Event) -> None:
        while not stop.is_set():
            due = self.clock.now() + interval
            self._ask(source, stop)
            self.clock.wait(due, stop)

    def _ask(self, source: SpotSource, stop: Event | None = None) -> None:
        now = self.clock.now()
        try:
            told = source.ask()
        except FeedError as error:
            if stop is not None and stop.is_set():
                return  # a failure during shutdown is not worth a warning
            self.errors[source.name] += 1
            log.warning("spot %s: %s", source.name, error)
            return
        found = {
            asset: Spot(price, min(now, at) if at is not None else now, source.name)
            for asset, (price, at) in told.items()
            if math.isfinite(price) and price > 0 and (at is None or math.isfinite(at))
        }
        with self._lock:
            self._latest |= {asset: _following(self._latest.get(asset), spot) for asset, spot in found.items()}
            for asset, spot in found.items():
                self._fresh_at[asset] = time.monotonic() - (now - spot.at) / (self.clock.speed or 1.0)


def choose_anchor(
    spot: Spot | None,
    close: float,
    newest: int,
    now: float,
    max_age: float,
    *,
    before: Sequence[float] = (),
    waiting: float | None = None,
) -> tuple[float, float, str]:
    """Return the price that paths start from, its time, and its source.

    It is the spot price if that is fresh and plausible, else the close of the newest closed bar. A fresh spot price far
    from the newest close is plausible if the closes before agree with it (the close is the outlier), if a newer bar
    does that still waits for its successor, or if the spot price itself has jumped by the ratio of a split and stays
    there (the next bar will follow).

    Parameters
    ----------
    spot : Spot or None
    close, newest : float, int
        Close and label of the newest closed bar.
    now, max_age : float
        Market time, and the greatest age of a spot price, seconds.
    before : sequence of float
        Closes before the newest; their median counts.
    waiting : float, optional
        Close of a newer bar that has not been confirmed yet.

    Examples
    --------
    >>> choose_anchor(Spot(101.0, 995.0, "binance"), 100.0, 900, 1000.0, 30.0)
    (101.0, 995.0, 'binance')
    >>> choose_anchor(Spot(101.0, 900.0, "binance"), 100.0, 900, 1000.0, 30.0)
    (100.0, 960.0, 'close')
    >>> choose_anchor(Spot(101.0, 995.0, "binance"), 1000.0, 900, 1000.0, 30.0, before=[100.0, 100.5, 101.0])
    (101.0, 995.0, 'binance')
    """
    if spot is None or not 0 <= now - spot.at <= max_age:
        return close, newest + 60.0, "close"
    others = [close, *([] if waiting is None else [waiting]), *([statistics.median(before)] if len(before) else [])]
    if any(_near(spot.price, other) for other in others) or (spot.settled and _split_apart(spot.price, close)):
        return spot.price, spot.at, spot.source
    return close, newest + 60.0, "close"


def _near(price: float, other: float) -> bool:
    return math.exp(-IMPLAUSIBLE) <= price / other <= math.exp(IMPLAUSIBLE)


def _split_apart(price: float, close: float) -> bool:
    split = name_split(0, math.log(price / close))
    return split is not None and split.usual


def _following(before: Spot | None, spot: Spot) -> Spot:
    """Return a price with the time of the last jump up to it."""
    if before is None or before.source != spot.source:
        return spot
    jumped = before.jumped_at if _near(spot.price, before.price) else spot.at
    return replace(spot, jumped_at=jumped)
