"""Keep one asset's bars and state current from its feed."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from ewmalab.errors import BarsError, DataError, FeedError, ForecasterError, StateError
from ewmalab.forecast.model import Model, RunningState
from ewmalab.live.state_store import AssetState, SavedState, StateStore
from ewmalab.live.updater.gate import Gate
from ewmalab.live.updater.revisions import Amendment, check_symbol, merge
from ewmalab.market.bars import Bars
from ewmalab.market.cache import Cache
from ewmalab.market.feeds.base import Feed
from ewmalab.market.fetch import fetch_missing
from ewmalab.market.partition import Provenance
from ewmalab.market.ranges import union
from ewmalab.times import DAY, MINUTE

_MIN_BACK = 5 * MINUTE  # with fewer shared bars, another symbol could not be told from a revision


@dataclass
class Counts:
    """Counts of events of one asset since the process started."""

    new: int = 0
    late: int = 0
    revised: int = 0
    feed_errors: int = 0
    save_errors: int = 0
    restored: str = ""
    error: str = ""


@dataclass
class Follower:
    """Keeps one asset current.

    Parameters
    ----------
    asset : str
    feed : Feed
    model : Model
    store : StateStore
        The caller holds its lock.
    cache : Cache
    refetch : int
        Seconds before the newest bar that each update fetches again.

    Attributes
    ----------
    steps : int
        Feed answers processed; it grows during a long catch-up and stands still when an update hangs.
    holding : bool
        Whether it saves no state, because another follower of the asset does.
    """

    asset: str
    feed: Feed
    model: Model
    store: StateStore
    cache: Cache
    refetch: int
    counts: Counts = field(default_factory=Counts)
    generation: int = 0
    steps: int = 0
    holding: bool = False
    bars: Bars = field(default_factory=Bars.empty)

    def __post_init__(self) -> None:
        self._running = RunningState(self.model)
        self.gate = Gate(self.feed, self.asset)
        self._unsaved = False
        self._amended: list[Amendment] = []
        self._uncached: list[int] = []  # labels of changed bars whose old values are still in the cache

    @property
    def state(self) -> Any:
        """Return the forecaster's state after the newest bar."""
        return self._running.state

    @property
    def newest(self) -> int | None:
        """Return the label of the newest bar."""
        return int(self.bars.timestamp[-1]) if len(self.bars) else None

    def restore(self) -> list[str]:
        """Continue from the saved state; return messages for the user."""
        saved, said = self.store.load(self.asset)
        if said:
            said += [f"moved aside: {path}" for path in self.store.set_aside(self.asset)]
        if saved is not None and saved.feed != self.feed.name:
            said.append(f"{self.asset}: the saved bars are from {saved.feed}, not {self.feed.name}: starting over")
            self.store.set_aside(self.asset, everything=True)
            saved = None
        if saved is None:
            self.counts.restored = "cache" if said else "nothing saved"
            return said
        self.generation = saved.generation
        if saved.bars.timestamp[0] > self.model.origin(saved.newest):
            # The warm-up has become longer, or the feed did not reach back far enough; the cache may have the rest.
            self.bars = saved.bars
            try:
                self.archive(saved.saved_at)
            except (DataError, OSError) as error:
                said.append(f"{self.asset}: the warm-up stays short because bars cannot be archived: {error}")
            else:
                self.bars = Bars.empty()
                self.counts.restored = "cache"
                return said
        self.bars = saved.bars
        self.counts.restored = "saved state"
        known = saved.states.get(self.model.name)
        if known is not None and known.parameters == self.model.parameters:
            try:
                self._running.adopt(self.model.loaded(known.state), saved.newest)
                return said
            except ForecasterError as error:
                said.append(f"{self.asset}: {error}")
        said.append(f"{self.asset}: parameters or code have changed since the state was saved: rebuilt from its bars")
        self._running.follow(self.bars)
        self._unsaved = True
        return said

    def update(self, now: int) -> list[Amendment]:
        """Fetch the bars closed at `now`, update the state, and save it. Errors are counted and change nothing.

        Returns
        -------
        list of Amendment
            Changes to bars that were known before, part of the saved generation.
        """
        try:
            self._take(now)
            self.counts.error = ""
        except (FeedError, BarsError, DataError, OSError) as error:
            self.counts.feed_errors += 1
            self.counts.error = str(error)
        return self.publish(now)

    def publish(self, now: int) -> list[Amendment]:
        """Save the state if it has changed; return the changes to bars that the saved generation contains."""
        if self.holding or not self._unsaved or not len(self.bars):
            return []
        try:
            self._save(now)
        except (OSError, StateError) as error:
            self.counts.save_errors += 1
            self.counts.error = f"the state cannot be saved: {error}"
            return []
        amended, self._amended = self._amended, []
        return amended

    def archive(self, now: int) -> None:
        """Write to the cache the bars that it lacks.

        Raises
        ------
        DataError, OSError
            No bar is lost: the bars stay in the state and are archived next time.
        """
        if not len(self.bars):
            return
        first, end = int(self.bars.timestamp[0]), int(self.bars.timestamp[-1]) + MINUTE
        holes = self.cache.missing(self.feed.name, self.asset, first, end)
        for a, b in union([*holes, *self.cache.provisional(self.feed.name, self.asset, first, end, now)]):
            self._into_cache(self.bars.between(a, b), a, b, now)
        self.gate.record(self.cache, self.bars)

    def _take(self, now: int) -> None:
        if self.newest is None:
            self._begin(now)
            return
        closed = now - now % MINUTE
        if closed <= self.newest:  # our clock is behind: fetch anyway, since the answer shows the host's time
            end = self.newest + MINUTE
            self._admit(self.feed.fetch(self.asset, self.newest, end, end), now)
        # Each request starts before the newest bar, to get late bars and to detect another symbol's bars.
        back = min(max(self.refetch, _MIN_BACK), self.feed.chunk // 2)
        begin = max(int(self.bars.timestamp[0]), self.newest + MINUTE - back, self._oldest(closed))
        while begin < closed:
            stop = min(begin + self.feed.chunk, closed)
            fresh = self.feed.fetch(self.asset, begin, stop, now)
            if not len(fresh) and stop < closed:  # a whole chunk without a bar: fetch it once more
                fresh = self.feed.fetch(self.asset, begin, stop, now)
            self.steps += 1
            self._uncached += [change.label for change in self._admit(fresh, now)]
            if stop < closed and self._unsaved and not self.holding:  # an interrupted catch-up continues from here
                self._save(now)
            begin = closed if stop == closed else stop - back
        adopted = self.gate.adopted(self.bars, self.cache)
        if adopted is not None:  # the next update takes the bars that waited
            self._follow(adopted)
        while self._uncached:
            label = self._uncached[0]
            self._into_cache(self.bars.between(label, label + MINUTE), label, label + MINUTE, now)
            del self._uncached[0]

    def _begin(self, now: int) -> None:
        """Fetch the missing part of the warm-up into the cache, and build the state from it up to the first hole."""
        closed = now - now % MINUTE
        begin = self.model.origin(closed - MINUTE)
        first = max(begin, self._oldest(closed))
        try:
            fetch_missing(self.cache, self.feed, self.asset, first, now, now=now, progress=self._step)
        finally:  # use what arrived before an error
            holes = self.cache.missing(self.feed.name, self.asset, first, closed)
            self._follow(self.cache.read(self.feed.name, self.asset, begin, holes[0][0] if holes else closed))
        if self.newest is not None and max(self.model.origin(self.newest), self._oldest(closed)) < first:
            # Our clock is ahead, already in the next day: the warm-up begins a day earlier.
            end, self.bars, self._running = self.newest + MINUTE, Bars.empty(), RunningState(self.model)
            self._begin(end)

    def _step(self, done: int, total: int) -> None:
        self.steps += 1

    def _oldest(self, closed: int) -> int:
        """Return the first label that the feed still has."""
        reach = self.feed.reach
        return 0 if reach is None else closed - reach + 10 * MINUTE

    def _admit(self, fresh: Bars, now: int) -> tuple[Amendment, ...]:
        """Follow the bars of an answer that may change the state."""
        fresh = self.gate.in_known_units(self.bars, fresh)
        check_symbol(self.bars, fresh)
        return self._follow(self.gate.admit(self.bars, fresh, now))

    def _follow(self, fresh: Bars) -> tuple[Amendment, ...]:
        merged = merge(self.bars, fresh)
        if not merged.new and not merged.amended:
            return ()
        keep = self.model.warmup + 2 * DAY  # one day since midnight, and one for a late bar of the previous day
        end = int(merged.bars.timestamp[-1]) + MINUTE
        self.bars = merged.bars.between(end - keep, end)
        self._running.follow(self.bars, amended=bool(merged.amended))
        self.counts.new += merged.new
        self.counts.late += sum(change.old is None for change in merged.amended)
        self.counts.revised += sum(change.old is not None for change in merged.amended)
        self._unsaved = True
        self._amended += merged.amended
        return merged.amended

    def _into_cache(self, bars: Bars, start: int, end: int, now: int) -> None:
        as_of = None if self.feed.complete else now
        provenance = Provenance(self.feed.source, now, self.feed.synthetic, as_of)
        self.cache.write(self.feed.name, self.asset, bars, [(start, end)], provenance, replace=True)

    def _save(self, now: int) -> None:
        state = AssetState(
            self.asset,
            self.feed.name,
            self.feed.synthetic,
            self.generation + 1,
            now,
            self.bars,
            {self.model.name: SavedState(self.model.parameters, self.model.forecaster.dump_state(self._running.state))},
        )
        try:
            self.store.save(state)
        except OSError:
            with suppress(OSError):  # then the miner goes on with the state before
                self.store.save_spare(state)
            raise
        self.generation += 1
        self._unsaved = False
