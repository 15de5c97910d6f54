"""The updater, which keeps the state of every asset current and writes a heartbeat."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, field
from threading import Event

from ewmalab.errors import DataError
from ewmalab.live.audit.answer_log import AmendmentLog
from ewmalab.live.clock import Clock
from ewmalab.live.feeds import choose_feeds, eras, make_feeds
from ewmalab.live.miners import all_miners, log_folder
from ewmalab.live.processes import own_restarts
from ewmalab.live.state_store import StateStore
from ewmalab.live.status import write_heartbeat
from ewmalab.live.updater.follower import Follower
from ewmalab.live.updater.standby import Standby
from ewmalab.market.cache import local_cache
from ewmalab.market.feeds.base import Feed
from ewmalab.replay.fits import load_model
from ewmalab.rulebook import Rulebook, load_rulebook
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
    rulebook : Rulebook
        When its rules change, `run` ends, for another updater to follow the assets and feeds of the new rules.
    standbys : mapping of asset to Standby
        Assets that have another feed to fall back to.
    amendments : AmendmentLog, optional
        Whose losses the heartbeat tells.
    fit_error : callable
        Returns why the last background fit failed; empty if it did not.
    started : float
        The system's time at the start of the process.
    """

    followers: Mapping[str, Follower]
    store: StateStore
    clock: Clock
    interval: int
    beat: float = 15.0
    rulebook: Rulebook = field(default_factory=load_rulebook)
    standbys: Mapping[str, Standby] = field(default_factory=dict)
    amendments: AmendmentLog | None = None
    missed: int = 0
    updates: int = 0
    fit_error: Callable[[], str] = lambda: ""
    started: float = 0.0
    _archived: float = field(default=0.0, repr=False)
    _skews: dict[int, float | None] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self.eras = eras(self.rulebook, self.clock.now())
        self.started = self.started or self.clock.system()

    @classmethod
    def of(
        cls, settings: LoadedSettings, clock: Clock, feeds: Mapping[str, Feed] | None = None, *, running: bool = False
    ) -> Updater:
        """Return the updater that the settings describe.

        Parameters
        ----------
        settings : LoadedSettings
        clock : Clock
        feeds : mapping of asset to Feed, optional
            Used instead of those that the settings name.
        running : bool
            See `choose_feeds`.

        Raises
        ------
        ConfigError, RulebookError, ForecasterError, FeedError
        """
        values, rulebook = settings.values, load_rulebook()
        live = values.live
        scored: Mapping[str, Feed] = {}
        if feeds is None:
            choice = choose_feeds(values, rulebook, int(clock.now()), running=running)
            log.info(choice.line)
            for warning in choice.warnings:
                log.warning(warning)
            feeds, scored = make_feeds(choice, values, rulebook, clock)
        store, cache = StateStore(live.state_dir), local_cache(values.data.cache_dir)
        amendments = AmendmentLog(tuple(log_folder(own.values.live) for own in all_miners(settings).values()))
        now = int(clock.now())
        models = {asset: load_model(live.forecaster, rulebook.asset(asset), settings, now) for asset in feeds}

        def follower(asset: str, feed: Feed) -> Follower:
            return Follower(asset, feed, models[asset], store, cache, live.refetch, amendments)

        followers = {asset: follower(asset, feed) for asset, feed in feeds.items()}
        standbys = {a: Standby(followers[a], follower(a, feed), live.stale_after) for a, feed in scored.items()}
        return cls(
            followers, store, clock, live.update_interval, rulebook=rulebook, standbys=standbys, amendments=amendments
        )

    def serving(self, asset: str) -> Follower:
        """Return the follower whose states of an asset are saved."""
        standby = self.standbys.get(asset)
        return self.followers[asset] if standby is None else standby.serving

    def everyone(self) -> list[Follower]:
        """Return all followers, those that stand by included."""
        return [*self.followers.values(), *(standby.scored for standby in self.standbys.values())]

    def restore(self) -> None:
        """Load the saved states; the caller holds the store's lock."""
        for asset, follower in self.followers.items():
            try:
                lines = self.standbys.get(asset, follower).restore()
            except Exception:  # the others must not wait for it
                log.exception("%s: the saved state cannot be taken up", asset)
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
        for asset, future in zip(self.followers, done, strict=True):
            future.result()
            follower = self.serving(asset)
            if follower.counts.error:
                log.warning("%s: %s", follower.asset, follower.counts.error)
        self.updates += 1
        if now - self._archived >= _ARCHIVE_EVERY:
            self.archive(now)
        self.heartbeat(now)

    def archive(self, now: int) -> None:
        """Write the bars of all assets to the cache."""
        self._archived = now
        for follower in self.everyone():
            try:
                follower.archive(now)
            except (DataError, OSError) as error:
                log.warning("bars cannot be archived and stay in the state: %s", error)

    def heartbeat(self, now: int) -> None:
        """Write the heartbeat file that the miner's ``/health`` reads."""
        note = {
            "pid": os.getpid(),
            "at": now,
            "system_time": self.clock.system(),
            "interval": self.interval,
            "updates": self.updates,
            "missed": self.missed,
            "started": self.started,
            "restarts": own_restarts(),
            "fit_error": self.fit_error(),
            "clock_skew": max((s for s in self._skews.values() if s is not None), key=abs, default=None),
            "unrecorded": self.amendments.lost if self.amendments else 0,
            "assets": {
                asset: {
                    "feed": f.feed.name,
                    **self._fallback(asset),
                    "source": f.feed.source,
                    "synthetic": f.feed.synthetic,
                    "newest": f.newest,
                    "generation": f.generation,
                    **asdict(f.counts),
                    "waiting": f.gate.waiting.close[-1:].tolist(),
                    "notes": f.gate.notes(now),
                }
                for asset, f in ((asset, self.serving(asset)) for asset in self.followers)
            },
        }
        try:
            write_heartbeat(self.store.root, note)
        except OSError as error:  # the miner notices the age of the file
            log.error("heartbeat cannot be written: %s", error)

    def run(self, stop: Event, *, reload: Event | None = None) -> None:
        """Update until `stop` or `reload` is set or the rules change, then archive the bars.

        The caller holds the store's lock.
        """
        try:
            while not stop.is_set() and not (reload is not None and reload.is_set()) and not self._outdated():
                now = self.clock.now()
                self.update(int(now))
                due = _next(now, self.interval)
                late = self.clock.now()
                if late > due:  # the update took longer than the interval
                    self.missed += int((late - due) // self.interval) + 1
                    due = _next(late, self.interval)
                if not self._outdated():
                    self.clock.wait(due, stop, reload)
        finally:
            self.archive(int(self.clock.now()))

    def _fallback(self, asset: str) -> dict[str, str]:
        own = self.followers[asset]
        return {} if self.serving(asset) is own else {"instead_of": own.feed.name}

    def _outdated(self) -> bool:
        return eras(self.rulebook, self.clock.now()) != self.eras

    def _steps(self) -> int:
        return sum(follower.steps for follower in self.everyone())

    def _update(self, follower: Follower, now: int) -> None:
        """Update one asset; no error of a forecaster or a feed ends the updates of the others.

        It also notes how far ahead of its feed's clock ours is, while the answer is fresh.
        """
        try:
            self.standbys.get(follower.asset, follower).update(now)
        except Exception as error:
            self.serving(follower.asset).counts.error = f"{type(error).__name__}: {error}"
            log.exception("%s: the update failed", follower.asset)
        skew = getattr(follower.feed, "clock_skew", None)
        if skew is not None:
            self._skews[id(follower.feed)] = skew(self.clock.now())


def _next(now: float, interval: int) -> float:
    """Return when the next update is due: shortly after a multiple of the interval."""
    return (now - _AFTER_MINUTE) // interval * interval + interval + _AFTER_MINUTE
