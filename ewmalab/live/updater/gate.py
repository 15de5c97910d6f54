"""What a feed's answer must pass before it changes a state: wrong bars stay out, and jumps wait."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ewmalab.live.updater.revisions import OTHER_MARKET
from ewmalab.market.bars import Bars
from ewmalab.market.cache import Cache
from ewmalab.market.feeds.base import Feed, malformed_of
from ewmalab.market.quality import AsideBar
from ewmalab.market.quality.aside_record import aside_bars, describe_aside, record_aside
from ewmalab.market.quality.sift import CONTEXT, adjust, select, sift
from ewmalab.market.quality.splits import PriceSplit, name_split
from ewmalab.times import DAY, MINUTE, day_name, iso

_SAID = 60 * MINUTE  # for which health names a bar that was set aside


@dataclass
class Gate:
    """Judges the answers of one asset's feed with the rule of imports and fetches.

    Attributes
    ----------
    aside : dict of int to AsideBar
        By label: the wrong bars of the last days. Their minutes are missing, and requested again with each update.
    waiting : Bars
        The newest bars, if they jump and no later bar confirms them.
    split : PriceSplit or None
        A split that nobody has named; bars from it on wait.
    """

    feed: Feed
    asset: str
    aside: dict[int, AsideBar] = field(default_factory=dict)
    waiting: Bars = field(default_factory=Bars.empty)
    split: PriceSplit | None = None
    _recorded: set[int] = field(default_factory=set)

    def admit(self, known: Bars, fresh: Bars, now: int) -> Bars:
        """Return the bars of an answer that may change the state.

        Parameters
        ----------
        known : Bars
            The bars of the state, which are trusted.
        fresh : Bars
        now : int
            Market time.
        """
        wrong = list(malformed_of(self.feed, self.asset))
        admitted, self.waiting, self.split = fresh, Bars.empty(), None
        if len(fresh):
            context = known.between(int(fresh.timestamp[0]) - CONTEXT, int(fresh.timestamp[-1]) + CONTEXT)
            sifted = sift(fresh, context, self.asset)
            wrong += aside_bars(fresh, sifted.reasons, self.feed.source, now)
            admitted, self.waiting, self.split = sifted.bars, select(fresh, sifted.waiting), sifted.unnamed
        self._note([bar for bar in wrong if not known.holds(bar.label)], now)
        for label in admitted.timestamp[np.isin(admitted.timestamp, list(self.aside))].tolist():
            del self.aside[label]
        return admitted

    def adopted(self, known: Bars, cache: Cache) -> Bars | None:
        """Return the bars in the units after the split, if it was named by a fetch into the cache; else None."""
        split = self.split
        if split is None or not len(known):
            return None
        cached = cache.read(self.feed.name, self.asset, int(known.timestamp[0]), split.at)
        there = cached.closes_at(known.timestamp[-1:])[0]
        found = name_split(split.at, float(np.log(there / known.close[-1]))) if np.isfinite(there) else None
        if found is None or found.ratio != split.ratio:
            return None
        return adjust(known, split).union(cached)

    @staticmethod
    def in_known_units(known: Bars, fresh: Bars) -> Bars:
        """Return an answer whose bars before a split are in the units of the known ones, which were adjusted for it."""
        moved = np.log(known.closes_at(fresh.timestamp) / fresh.close)
        off = np.flatnonzero(np.abs(moved) > OTHER_MARKET)  # NaN is not
        if not len(off) or off[-1] + 1 == len(fresh):
            return fresh
        at, jump = int(fresh.timestamp[off[-1] + 1]), float(np.diff(np.log(fresh.close))[off[-1]])
        split, found = name_split(at, jump), name_split(at, float(np.median(moved[off])))
        return adjust(fresh, split) if split is not None and split == found else fresh

    def record(self, cache: Cache, stored: Bars) -> None:
        """Write to the cache's record what was set aside since the last time."""
        new = [bar for label, bar in sorted(self.aside.items()) if label not in self._recorded]
        gone = self._recorded - set(self.aside)
        if new or gone:
            record_aside(cache, self.feed.name, self.asset, new, stored.timestamp)
            self._recorded = set(self.aside)

    def notes(self, now: float) -> list[str]:
        """Return what an operator should know."""
        notes = []
        recent = [bar for _, bar in sorted(self.aside.items()) if now - bar.label <= _SAID]
        if recent:
            notes.append(f"set aside in the last hour, and requested again: {describe_aside(recent)}")
        if self.split is not None:
            day = day_name(self.split.at)
            notes.append(
                f"{self.split}; bars wait for: ewmalab data fetch --feed {self.feed.name} --assets {self.asset} "
                f"--start {day} --split {self.split.ratio}"
            )
        elif len(self.waiting):
            notes.append(f"prices jump at {iso(int(self.waiting.timestamp[0]))}: waiting for a bar that confirms it")
        return notes

    def _note(self, wrong: list[AsideBar], now: int) -> None:
        for bar in wrong:
            self.aside.setdefault(bar.label, bar)
        for label in [label for label in self.aside if label < now - 2 * DAY]:
            del self.aside[label]
            self._recorded.discard(label)
