"""An asset whose own feed has no prices is served from the feed that validators score, and goes back in time."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from live_rig import live_settings

from ewmalab.live.clock import Clock
from ewmalab.live.miner.chain import AllowList
from ewmalab.live.miner.miner import Miner
from ewmalab.live.updater import updater as updater_module
from ewmalab.live.updater.standby import STEADY
from ewmalab.live.updater.updater import Updater
from ewmalab.market.bars import Bars
from ewmalab.market.feeds.simulated import SimulatedFeed
from ewmalab.rulebook import load_rulebook
from ewmalab.settings import LoadedSettings
from ewmalab.times import HOUR, MINUTE, parse_time

BOOK = load_rulebook()
CLOSE = parse_time("2026-10-02T21:00")  # a Friday
ASSET = "WTIOIL"


class Market(SimulatedFeed):
    """A feed of a real one's name, that has no bars in some hours. Its prices are synthetic."""

    def __init__(self, name: str, closed: tuple[int, int]) -> None:
        super().__init__(BOOK, seed=7)
        self.name, self._closed = name, closed

    def fetch(self, asset: str, start: int, end: int, now: int) -> Bars:
        bars = super().fetch(asset, start, end, now)
        shut, opens = self._closed
        return Bars.concatenate([bars.between(0, shut), bars.between(opens, end)])


@pytest.fixture
def settings(tmp_path: Path) -> LoadedSettings:
    return live_settings(tmp_path, "http://127.0.0.1:9", (ASSET,), feeds__pyth__api_key="synthetic-key")


@pytest.fixture
def markets(monkeypatch: pytest.MonkeyPatch) -> dict[str, Market]:
    made = {name: Market(name, (CLOSE, CLOSE + 47 * HOUR)) for name in ("pyth", "hyperliquid")}
    made["hyperliquid"]._closed = (0, 0)

    def feeds(choice: Any, *_: Any) -> Any:
        return tuple({a: made[name] for a, name in found.items()} for found in (choice.feeds, choice.scored))

    monkeypatch.setattr(updater_module, "make_feeds", feeds)
    return made


def run(updater: Updater, *times: int) -> list[str]:
    """Update at some times; return the feed of the saved state after each."""
    found = []
    for now in times:
        updater.update(now)
        state, _ = updater.store.load(ASSET)
        assert state is not None
        found.append(state.feed)
    return found


@pytest.mark.ci
@pytest.mark.usefixtures("markets")
def test_a_weekend_without_prices_is_bridged_by_the_scored_feed(
    settings: LoadedSettings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock, opens = Clock(CLOSE, 0.0, 0.0), CLOSE + 47 * HOUR
    updater = Updater.of(settings, clock)
    with updater.store.writing():
        updater.restore()
        assert run(updater, CLOSE + 2, CLOSE + 5 * MINUTE) == ["pyth", "pyth"]
        assert run(updater, CLOSE + 6 * MINUTE + 2) == ["hyperliquid"]
        assert f"{ASSET}: pyth has no prices: from hyperliquid instead" in caplog.text
        weekend = CLOSE + 30 * HOUR
        assert run(updater, weekend + 2) == ["hyperliquid"]
        assert updater.serving(ASSET).newest == weekend - MINUTE
        miner = Miner(settings, "ours", AllowList(["caller"]), Clock(weekend + 2, time.time(), 1.0))
        miner.answerer.reload()
        miner._match_spots()
        miner._spots_stop.set()
        assert [source.name for source in miner.spots.sources] == ["hyperliquid-xyz"]
        told = miner.health()
        assert f"{ASSET}: prices from hyperliquid, because pyth has none" in told["problems"]
        assert not any("refused" in problem for problem in told["problems"])
        again = Updater.of(settings, clock)  # after a restart it goes on from the saved state
        again.restore()
        assert again.serving(ASSET).counts.restored == "saved state"
        assert run(updater, opens + 5 * MINUTE + 2) == ["hyperliquid"]  # not for the first prices at once
        assert run(updater, opens + STEADY + 2) == ["pyth"]
        assert f"{ASSET}: pyth has prices again" in caplog.text
        generations = [updater.serving(ASSET).generation, updater.standbys[ASSET].scored.generation]
        assert generations[0] > generations[1]


def test_where_the_scored_feed_has_no_prices_either_nothing_changes(
    settings: LoadedSettings, markets: dict[str, Market]
) -> None:
    markets["hyperliquid"]._closed = (CLOSE, CLOSE + 47 * HOUR)
    updater = Updater.of(settings, Clock(CLOSE, 0.0, 0.0))
    with updater.store.writing():
        updater.restore()
        assert run(updater, CLOSE + 2, CLOSE + 10 * MINUTE, CLOSE + 3 * HOUR) == ["pyth"] * 3


def test_an_asset_that_follows_the_scored_feed_has_no_other(tmp_path: Path) -> None:
    settings = live_settings(tmp_path, "http://127.0.0.1:9", (ASSET,))
    assert not Updater.of(settings, Clock(CLOSE, 0.0, 0.0)).standbys
