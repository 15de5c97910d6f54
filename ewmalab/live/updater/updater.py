"""The updater, which keeps the state of every asset current and writes a heartbeat."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, field
from threading import Event

import orjson

from ewmalab.atomic_files import write_atomic
from ewmalab.errors import DataError
from ewmalab.live.audit.answer_log import AmendmentLog
from ewmalab.live.clock import Clock
from ewmalab.live.feeds import choose_feeds, make_feeds
from ewmalab.live.miners import all_miners, log_folder
from ewmalab.live.state_store import StateStore
from ewmalab.live.status import HEARTBEAT
from ewmalab.live.updater.follower import Follower
from ewmalab.market.cache import local_cache
from ewmalab.market.feeds.base import Feed
from ewmalab.replay.fits import load_model
from ewmalab.rulebook import load_rulebook
from ewmalab.settings import LoadedSettings
from ewmalab.times import MINUTE

_AFTER_MINUTE = 2.0  # seconds that feeds take to publish a closed candle
_ARCHIVE_EVERY = 10 * MINUTE
_AT_ONCE = 4  # assets updated at the same time

log = logging.getLogger("ewmalab.updater")


@dataclass
class Updater:
    """Updates all assets once per interval.

    Parameters
    ----------
    followers : mapping of asset to Follower
    store : StateStore
    clock : Clock
    interval : int
        Seconds between updates, market time.
    beat : float
        Seconds between the heartbeats of an update that is still making progress.
    amendments : AmendmentLog, optional
        Whose losses the heartbeat tells.
    """

    followers: Mapping[str, Follower]
    store: StateStore
    clock: Clock
    interval: int
    beat: float = 15.0
    amendments: AmendmentLog | None = None
    missed: int = 0
    updates: int = 0
    _archived: float = field(default=0.0, repr=False)

    @classmethod
    def of(cls, settings: LoadedSettings, clock: Clock, feeds: Mapping[str, Feed] | None = None) -> Updater:
        """Return the updater that the settings describe.

        Parameters
        ----------
        feeds : mapping of asset to Feed, optional
            Used instead of those that the settings name.

        Raises
        ------
        ConfigError, RulebookError, ForecasterError, FeedError
        """
        values, rulebook = settings.values, load_rulebook()
        live = values.live
        if feeds is None:
            choice = choose_feeds(values, rulebook, int(clock.now()))
            log.info(choice.line)
            for warning in choice.warnings:
                log.warning(warning)
            feeds = make_feeds(choice, values, rulebook, clock)
        store, cache = StateStore(live.state_dir), local_cache(values.data.cache_dir)
        amendments = AmendmentLog(tuple(log_folder(own.values.live) for own in all_miners(settings).values()))
        followers = {
            asset: Follower(
                asset,
                feed,
                load_model(live.forecaster, rulebook.asset(asset), settings),
                store,
                cache,
                live.refetch,
                amendments,
            )
            for asset, feed in feeds.items()
        }
        return cls(followers, store, clock, live.update_interval, amendments=amendments)

    def restore(self) -> None:
        """Load the saved states; the caller holds the store's lock."""
        for follower in self.followers.values():
            try:
                lines = follower.restore()
            except Exception:  # the others must not wait for it
                log.exception("%s: the saved state cannot be taken up", follower.asset)
                continue
            for line in lines:
                log.warning(line)

    def update(self, now: int) -> None:
        """Bring every asset up to `now`, several at a time."""
        with ThreadPoolExecutor(min(_AT_ONCE, len(self.followers))) as pool:
            done = [pool.submit(self._update, follower, now) for follower in self.followers.values()]
            steps = self._steps()
            while wait(done, timeout=self.beat).not_done:
                if steps != self._steps():
                    steps = self._steps()
                    self.heartbeat(now)
        for follower, future in zip(self.followers.values(), done, strict=True):
            future.result()
            if follower.counts.error:
                log.warning("%s: %s", follower.asset, follower.counts.error)
        self.updates += 1
        if now - self._archived >= _ARCHIVE_EVERY:
            self.archive(now)
        self.heartbeat(now)

    def archive(self, now: int) -> None:
        """Write the bars of all assets to the cache."""
        self._archived = now
        for follower in self.followers.values():
            try:
                follower.archive(now)
            except (DataError, OSError) as error:
                log.warning("%s: bars cannot be archived and stay in the state: %s", follower.asset, error)

    def heartbeat(self, now: int) -> None:
        """Write the heartbeat file that the miner's ``/health`` reads."""
        note = {
            "pid": os.getpid(),
            "at": now,
            "system_time": self.clock.system(),
            "interval": self.interval,
            "updates": self.updates,
            "missed": self.missed,
            "clock_skew": self._skew(now),
            "unrecorded": self.amendments.lost if self.amendments else 0,
            "assets": {
                asset: {
                    "feed": f.feed.name,
                    "source": f.feed.source,
                    "synthetic": f.feed.synthetic,
                    "newest": f.newest,
                    "generation": f.generation,
                    **asdict(f.counts),
                }
                for asset, f in self.followers.items()
            },
        }
        try:
            write_atomic(self.store.root / HEARTBEAT, orjson.dumps(note))
        except OSError as error:  # the miner notices the age of the file
            log.error("heartbeat cannot be written: %s", error)

    def run(self, stop: Event, *, reload: Event | None = None) -> None:
        """Update until `stop` or `reload` is set, then archive the bars. The caller holds the store's lock."""
        try:
            while not stop.is_set() and not (reload is not None and reload.is_set()):
                now = self.clock.now()
                self.update(int(now))
                due = _next(now, self.interval)
                late = self.clock.now()
                if late > due:  # the update took longer than the interval
                    self.missed += int((late - due) // self.interval) + 1
                    due = _next(late, self.interval)
                self.clock.wait(due, stop, reload)
        finally:
            self.archive(int(self.clock.now()))

    def _steps(self) -> int:
        return sum(follower.steps for follower in self.followers.values())

    def _skew(self, now: float) -> float | None:
        """Return how many seconds our clock is ahead of the feed whose clock differs most."""
        seen = {id(f.feed): getattr(f.feed, "clock_skew", None) for f in self.followers.values()}
        skews = [skew(now) for skew in seen.values() if skew is not None]
        return max((s for s in skews if s is not None), key=abs, default=None)

    def _update(self, follower: Follower, now: int) -> None:
        """Update one asset; no error of a forecaster or a feed ends the updates of the others."""
        try:
            follower.update(now)
        except Exception as error:
            follower.counts.error = f"{type(error).__name__}: {error}"
            log.exception("%s: the update failed", follower.asset)


def _next(now: float, interval: int) -> float:
    """Return when the next update is due: shortly after a multiple of the interval."""
    return (now - _AFTER_MINUTE) // interval * interval + interval + _AFTER_MINUTE
