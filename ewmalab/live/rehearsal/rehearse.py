"""A rehearsal: the whole live stack in one process, with a local price server and every prompt of the rulebook."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from ewmalab.errors import StateError
from ewmalab.live.audit.answer_log import LiveLog
from ewmalab.live.audit.parity import ParityReport, check_parity
from ewmalab.live.audit.probe import Prober, Reply
from ewmalab.live.audit.track_record import TrackRecord, track_record
from ewmalab.live.clock import make_clock
from ewmalab.live.feeds import LEAD
from ewmalab.live.miner.chain import AllowList
from ewmalab.live.miner.miner import Miner
from ewmalab.live.rehearsal.price_server import rehearsal_feed
from ewmalab.live.updater.process import keep_updating
from ewmalab.live.updater.updater import Updater
from ewmalab.replay.schedule import schedule
from ewmalab.rulebook import RuleChoice, load_rulebook
from ewmalab.settings import LoadedSettings
from ewmalab.times import DAY, MINUTE

_READY_SECONDS = 120.0
_AT_ONCE = 4  # prompts sent at the same time
_SETTLED = DAY + 3600  # after the last prompt, all prices have realised


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """The result of a rehearsal.

    Attributes
    ----------
    replies : list of Reply
        Each answer with a validator's verdict under the format rules of every date.
    parity : ParityReport
        Whether the logged answers could be reproduced, bit for bit, from the log and by a backtest.
    record : TrackRecord
        Scores of the answers.
    log_dir : Path
    settings : LoadedSettings
        Settings with which `check parity`, `live score` and `report` read that log.
    """

    replies: list[Reply]
    parity: ParityReport
    record: TrackRecord
    log_dir: Path
    settings: LoadedSettings


def rehearse(
    settings: LoadedSettings,
    folder: Path,
    *,
    start: int,
    hours: float,
    speed: float = 60.0,
    feed: str = "simulated",
    assets: Sequence[str] | None = None,
    faults: float = 0.0,
    shadows: Sequence[str] = (),
    progress: Callable[[int, int], None] | None = None,
) -> Rehearsal:
    """Answer every prompt of a few hours on loopback, faster than real time, and judge the answers.

    Updater and miner are the live ones. The chain is replaced by a list of one validator, with freshly generated keys.

    Parameters
    ----------
    settings : LoadedSettings
        The forecaster is ``live.forecaster``.
    folder : Path
        New folder for cache, states and log of the rehearsal.
    start : int
        Market time at which it begins, seconds since 1970-01-01 UTC.
    hours : float
        Length of the range of start times.
    speed : float
        Market seconds per real second.
    feed : str
        ``simulated``, or a feed whose bars are cached.
    assets : sequence of str, optional
        By default all that compete.
    faults : float
        Share of the feed's requests answered with a random fault.
    shadows : sequence of str
        Other forecasters to score on the same prompts.
    progress : callable, optional
        Called with the number of prompts answered and in total.

    Raises
    ------
    MissingDataError, ForecasterError, ConfigError, StateError
    """
    from bittensor import sp_core

    if (folder / "log").exists():
        raise StateError(f"{folder} holds the log of an earlier rehearsal: choose another folder")
    miner_key, validator_key = (
        sp_core.Keypair.create_from_mnemonic(sp_core.Keypair.generate_mnemonic()) for _ in range(2)
    )
    served = assets or _competing(start, start + round(hours * 3600) + LEAD)
    with rehearsal_feed(settings, start, speed, feed=feed, assets=served, faults=faults) as server:
        given = _settings(settings, folder, server.url, validator_key.ss58_address, assets)
        clock = make_clock(f"{server.url}/clock")
        updater = Updater.of(given, clock)
        miner = Miner(given, miner_key.ss58_address, AllowList([validator_key.ss58_address]), clock)
        stop, ready = threading.Event(), threading.Event()
        threads = [
            threading.Thread(target=miner.run, args=(ready.set,)),
            threading.Thread(target=keep_updating, args=(updater, lambda: given, stop)),
        ]
        with updater.store.writing():
            updater.restore()
            updater.update(int(clock.now()))
            for thread in threads:
                thread.start()
            try:
                if not ready.wait(_READY_SECONDS):
                    raise StateError(f"the miner is not ready after {_READY_SECONDS:.0f} s")
                prober = Prober(
                    f"http://127.0.0.1:{miner.port}", validator_key, miner_key.ss58_address, connections=_AT_ONCE
                )
                replies = _ask(prober, clock.now, clock.speed, hours, assets, stop, progress)
            finally:
                miner.stop.set()
                stop.set()
                for thread in threads:
                    if thread.ident is not None:
                        thread.join()
    log = LiveLog.read(given.values.live.log_dir)
    end = max(reply.prompt.start_time for reply in replies) + _SETTLED
    with rehearsal_feed(settings, end, 1.0, feed=feed, assets=served) as server:
        given = _settings(settings, folder, server.url, validator_key.ss58_address, assets)
        record = track_record(log, given, now=end, shadows=shadows, fetch=True)
    return Rehearsal(replies, check_parity(log, given), record, given.values.live.log_dir, given)


def _competing(start: int, end: int) -> list[str]:
    """Return the assets that compete at any time of a range."""
    book = load_rulebook()
    rules = [book.at(when) for when in (start, *(b for b in book.breakpoints() if start < b < end))]
    return list(dict.fromkeys(asset for r in rules for c in r.competitions.values() for asset in c.assets))


def _settings(
    settings: LoadedSettings, folder: Path, url: str, caller: str, assets: Sequence[str] | None
) -> LoadedSettings:
    return settings.with_flags(
        {
            "feeds.binance.host": url,
            "feeds.hyperliquid.host": url,
            "feeds.pyth.host": url,
            "feeds.pyth.spot_host": url,
            "feeds.pyth.hermes_host": url,
            "data.cache_dir": str(folder / "data_cache"),
            "live.state_dir": str(folder / "state"),
            "live.log_dir": str(folder / "log"),
            "live.assets": list(assets or ()),
            "live.chain": False,
            "live.allow": [caller],
            "live.host": "127.0.0.1",
            "live.port": 0,
            "live.monitor_port": 0,
            "live.spot_interval": "15s",
            "live.external_ip": "",
            "live.clock": "",
        }
    )


def _ask(
    prober: Prober,
    now: Callable[[], float],
    speed: float,
    hours: float,
    assets: Sequence[str] | None,
    stop: threading.Event,
    progress: Callable[[int, int], None] | None,
) -> list[Reply]:
    """Send every prompt of the rulebook at its request time."""
    rulebook = load_rulebook()
    begin = int(now()) // MINUTE * MINUTE + 3 * MINUTE
    end = begin + round(hours * 3600)
    prompts = [s.prompt for s in schedule(rulebook, RuleChoice(), begin, end, which="sent", assets=assets)]
    done = 0

    def count(_: Future[Reply]) -> None:
        nonlocal done
        done += 1
        if progress:
            progress(done, len(prompts))

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        asked: list[Future[Reply]] = []
        for prompt in prompts:
            while (left := (prompt.request_time - now()) / speed) > 0:
                stop.wait(min(left, 1.0))
            asked.append(pool.submit(prober.ask, prompt))
            asked[-1].add_done_callback(count)
        return [future.result() for future in asked]
