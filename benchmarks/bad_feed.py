"""A feed server with every fault at once: wrong bars, malformed rows, errors, hangs and outages. Prices are synthetic.

python benchmarks/bad_feed.py --speed 60
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import zlib
from dataclasses import dataclass
from threading import Event
from typing import Any

import numpy as np
import orjson
from live_stack import START

from ewmalab.live.clock import Clock
from ewmalab.live.rehearsal.feed_server import FAULTS, Exchange, Fault, FeedServer, Seen, status
from ewmalab.market.bars import Bars
from ewmalab.market.feeds.base import Feed
from ewmalab.market.feeds.make import make_feed
from ewmalab.rulebook import load_rulebook
from ewmalab.settings import load_settings
from ewmalab.times import DAY, MINUTE, parse_time

CORRECTED_AFTER = 4 * MINUTE
OUTAGES = ((4 * 3600, 8 * MINUTE), (12 * 3600, 45 * MINUTE))  # how often, and for how long: market time


def main() -> int:
    """Serve until SIGTERM; print what was served."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--start", default=START)
    parser.add_argument("--speed", type=float, default=60.0)
    parser.add_argument("--faults", type=float, default=0.02, help="share of requests that go wrong")
    parser.add_argument("--wrong", type=float, default=0.004, help="share of bars that are wrong for some minutes")
    options = parser.parse_args()
    stop = Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    with bad_feed(parse_time(options.start), options.speed, options.faults, options.wrong) as server:
        print(f"serving SYNTHETIC prices at {server.url}", flush=True)
        stop.wait()
        kinds = ", ".join(f"{count} x {kind}" for kind, count in sorted(server.wrong.items()))
        print(f"{server.requests} requests, {server.faults} met a fault; wrong bars: {kinds}", flush=True)
    return 0


class BadFeed(FeedServer):
    """Serves wrong bars for some minutes after they have closed; see `FeedServer` for the rest."""

    share = 0.0
    origin = 0

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.wrong: dict[str, int] = {}
        self._served: set[tuple[str, int]] = set()

    def fault(self, seen: Seen) -> Fault | None:
        """Return an error during outages, else perhaps a fault; the clock is always right."""
        if seen.path == "/clock":
            return None
        age = self.clock() - self.origin
        if any(age > every and age % every < length for every, length in OUTAGES):
            return status(503)
        return self._random.choice(ALL_FAULTS) if self._random.random() < self._share else None

    def candles(self, symbol: str, start: int, end: int) -> Bars:
        """Return bars of which some are wrong, until they are a few minutes old."""
        bars = super().candles(symbol, start, end)
        now = self.clock()
        columns = {name: np.array(column) for name, column in bars.columns().items()}
        for row in np.flatnonzero(bars.timestamp > now - CORRECTED_AFTER):
            label = int(bars.timestamp[row])
            dice = random.Random(zlib.crc32(f"{symbol} {label}".encode()))
            if row and label + MINUTE <= now and dice.random() < self.share:
                kind = dice.choice(list(KINDS))
                KINDS[kind](columns, int(row))
                if (symbol, label) not in self._served:
                    self._served.add((symbol, label))
                    self.wrong[kind] = self.wrong.get(kind, 0) + 1
        return Bars.trusted(columns, MINUTE)


def _scaled(*names: str, factor: float) -> Any:
    def change(columns: dict[str, Any], row: int) -> None:
        for name in names:
            columns[name][row] *= factor

    return change


def _swapped(columns: dict[str, Any], row: int) -> None:
    columns["high"][row], columns["low"][row] = columns["low"][row] * 0.999, columns["high"][row] * 1.001


def _repeated(columns: dict[str, Any], row: int) -> None:
    for name in ("open", "high", "low", "close"):
        columns[name][row] = columns[name][row - 1]


def _missing(columns: dict[str, Any], row: int) -> None:
    columns["close"][row] = np.nan


PRICES = ("open", "high", "low", "close")
KINDS = {
    "tick x1.25": _scaled(*PRICES, factor=1.25),
    "tick x10": _scaled(*PRICES, factor=10.0),
    "high x10": _scaled("high", factor=10.0),
    "close x1.05": _scaled("close", "high", factor=1.05),
    "high below low": _swapped,
    "close missing": _missing,
    "candle repeated": _repeated,
}


def hang(exchange: Exchange, seen: Seen) -> None:
    """Say nothing for two seconds, then close."""
    exchange.feed_server.released.wait(2)
    exchange.close_connection = True


def twice(exchange: Exchange, seen: Seen) -> None:
    """Send each row twice, newest first."""
    found = exchange.feed_server.answer(seen)
    again = [row for row in reversed(found) for _ in range(2)] if isinstance(found, list) else found
    status(200, orjson.dumps(again))(exchange, seen)


ALL_FAULTS: tuple[Fault, ...] = (*FAULTS, hang, twice)


@dataclass(frozen=True)
class Simulated:
    """The simulated bars of one asset, made when asked."""

    asset: str
    feed: Feed

    def between(self, start: int, end: int) -> Bars:
        """Return the bars labelled in ``[start, end)``."""
        return self.feed.fetch(self.asset, start, end, end)


def bad_feed(start: int, speed: float, faults: float, wrong: float) -> BadFeed:
    """Return a server of all competing assets, whose market time is now `start`."""
    book = load_rulebook()
    feed = make_feed("simulated", load_settings(environ={}).values, book)
    bars = {
        symbol: Simulated(asset, feed)
        for competition in book.at(start).competitions.values()
        for asset in competition.assets
        for symbol in book.asset(asset).symbols.values()
    }
    for history in bars.values():  # days are made before the clock runs
        history.between(start - 8 * DAY, start + DAY)
    clock = Clock(start, Clock().system(), speed)
    server = BadFeed(bars, clock.now, speed=speed, synthetic=True, fault_share=faults)
    server.share, server.origin = wrong, start
    return server


if __name__ == "__main__":
    sys.exit(main())
