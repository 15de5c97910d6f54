"""A live stack on loopback: feed server, updater and miner in this process, and a validator to ask them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import pytest
from bittensor import sp_core
from faulty_feed import FaultyFeed

from ewmalab.forecast.protocol import Prompt
from ewmalab.live import feeds as live_feeds
from ewmalab.live.audit.probe import Prober
from ewmalab.live.clock import Clock
from ewmalab.live.miner import spot_sources
from ewmalab.live.miner.chain import AllowList, Chain
from ewmalab.live.miner.miner import Miner
from ewmalab.live.updater.updater import Updater
from ewmalab.market.bars import Bars
from ewmalab.market.feeds.simulated import SimulatedFeed
from ewmalab.rulebook import load_rulebook
from ewmalab.settings import LoadedSettings, load_settings
from ewmalab.times import DAY, day_name, parse_time

START = parse_time("2026-10-03T04:00:30")
"""Market time at which rigs begin: the newest rules hold."""

PATIENCE = 300.0
"""Seconds until a test fails that waits for something: no property, but more than a busy machine needs to compile."""

MINER = sp_core.Keypair.create_from_uri("//Miner")
VALIDATOR = sp_core.Keypair.create_from_uri("//Validator")
STRANGER = sp_core.Keypair.create_from_uri("//Stranger")


class SettableClock(Clock):
    """A clock that stands still until it is set."""

    def __init__(self, now: float) -> None:
        object.__setattr__(self, "speed", 1.0)
        object.__setattr__(self, "time", now)

    def now(self) -> float:
        return self.time  # type: ignore[attr-defined,no-any-return]

    def set(self, now: float) -> None:
        object.__setattr__(self, "time", now)


SettableClock.__slots__ = ()


class Simulated:
    """The simulated market's bars of one asset, made when asked."""

    def __init__(self, asset: str, gaps: float = 0.0) -> None:
        self._asset, self._feed = asset, SimulatedFeed(load_rulebook(), seed=7, gaps=gaps)

    def between(self, start: int, end: int) -> Bars:
        return self._feed.fetch(self._asset, start, end, end)


def histories(assets: Sequence[str]) -> dict[str, Simulated]:
    """Return the simulated bars of assets by every feed's symbol."""
    rulebook = load_rulebook()
    return {symbol: Simulated(asset) for asset in assets for symbol in rulebook.asset(asset).symbols.values()}


def live_settings(folder: Path, url: str, assets: Sequence[str], **flags: Any) -> LoadedSettings:
    """Return settings of a live stack in a folder, fed by one server."""
    return load_settings(
        environ={},
        flags={
            "feeds.binance.host": url, "feeds.hyperliquid.host": url, "feeds.pyth.host": url,
            "feeds.pyth.spot_host": url, "feeds.pyth.hermes_host": url,
            "live.forecaster": "ewma", "data.cache_dir": str(folder / "cache"), "live.state_dir": str(folder / "state"),
            "live.log_dir": str(folder / "log"), "live.assets": list(assets), "live.chain": False,
            "live.allow": [VALIDATOR.ss58_address], "live.host": "127.0.0.1", "live.port": 0, "live.monitor_port": 0,
            **{key.replace("__", "."): value for key, value in flags.items()},
        },
    )  # fmt: skip


def read_kept_paths(folder: Path, record: dict[str, Any]) -> npt.NDArray[np.float32]:
    """Return the kept paths of an answer: (steps + 1, n)."""
    path = folder / "paths" / day_name(record["request_time"]) / f"{record['paths_sha256'][:32]}.parquet"
    column = pq.read_table(path)["log_returns"].combine_chunks()
    return np.asarray(column.flatten()).reshape(len(column), -1)


def patch_live_http(patch: pytest.MonkeyPatch, **options: Any) -> None:
    """Change options of all live HTTP clients that are made from now on."""
    changed = replace(live_feeds.LIVE_HTTP, **options)
    for module in (live_feeds, spot_sources):
        patch.setattr(module, "LIVE_HTTP", changed)


@dataclass
class Rig:
    """A running stack."""

    feed: FaultyFeed
    updater: Updater
    miner: Miner
    clock: Clock
    folder: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.miner.port}"

    def prober(self, key: Any = VALIDATOR, connections: int = 1) -> Prober:
        return Prober(self.url, key, MINER.ss58_address, connections=connections)

    def prompt(self, asset: str = "BTC", horizon: str = "24h", minutes: int = 2, paths: int = 100) -> Prompt:
        """Return a prompt that starts some minutes from now."""
        step, length = (300, 86_400) if horizon == "24h" else (60, 3600)
        start = int(self.clock.now()) // 60 * 60 + 60 * minutes
        return Prompt(start, f"crypto-{horizon}", asset, 0, step, length, paths)


@contextmanager
def rig(
    folder: Path,
    *,
    assets: Sequence[str] = ("BTC",),
    speed: float = 1.0,
    chain: Chain | None = None,
    run_updater: bool = False,
    flags: Mapping[str, Any] | None = None,
) -> Iterator[Rig]:
    """Run a stack: one update is done before the miner serves; more of them if `run_updater`."""
    for asset in assets:  # simulated days are made before the clock runs
        Simulated(asset).between(START - 7 * DAY, START + DAY)
    clock = Clock(START, time.time(), speed)
    stop = threading.Event()
    feed = FaultyFeed(histories(assets), clock.now, speed=speed, synthetic=True)
    with feed:
        settings = live_settings(folder, feed.url, assets, **(flags or {}))
        updater = Updater.of(settings, clock)
        with updater.store.writing():
            updater.restore()
            updater.update(int(clock.now()))
            miner = Miner(settings, MINER.ss58_address, chain or AllowList([VALIDATOR.ss58_address]), clock)
            ready = threading.Event()
            threads = [threading.Thread(target=miner.run, args=(ready.set,))]
            if run_updater:
                threads.append(threading.Thread(target=updater.run, args=(stop,)))
            for thread in threads:
                thread.start()
            try:
                assert ready.wait(PATIENCE)
                assert until(lambda: bool(miner.directory.neurons()))
                yield Rig(feed, updater, miner, clock, folder)
            finally:
                miner.stop.set()
                stop.set()
                for thread in threads:
                    thread.join()


def until(true: Callable[[], bool], seconds: float = PATIENCE) -> bool:
    """Wait until something comes true; a test that fails tells so in the end."""
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True
