"""Fill the cache from a feed: fetch only what is missing, in chunks, and write each chunk as it arrives."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ewmalab.errors import BarsError, DataError, FeedError
from ewmalab.market.bars import Bars
from ewmalab.market.cache import Cache, holes_in, settled
from ewmalab.market.feeds.base import Feed, malformed_of
from ewmalab.market.late import fetch_late
from ewmalab.market.partition import Provenance
from ewmalab.market.quality import AsideBar
from ewmalab.market.quality.door import let_in
from ewmalab.market.quality.sift import Doubts
from ewmalab.market.ranges import Range, intersect, minutes, subtract, union
from ewmalab.market.sessions import closures
from ewmalab.times import DAY, HOUR, MINUTE

_LAST_PRINTS = 5 * MINUTE  # after a close

_CONFIRMING = 61 * MINUTE  # after the end of a range whose last bar jumps


@dataclass(frozen=True, slots=True)
class Fetched:
    """The result of a fetch.

    Attributes
    ----------
    bars : int
        Number of new bars.
    unanswered : list of ranges
        Requested ranges in and after which the feed gave no bar; they stay missing and will be fetched again.
    late : int
        How many of the bars are for minutes that the feed had left out before.
    aside : int
        Number of wrong bars that were set aside.
    """

    bars: int
    unanswered: list[Range]
    late: int = 0
    aside: int = 0


def fetch_missing(
    cache: Cache,
    feed: Feed,
    asset: str,
    start: int,
    end: int,
    *,
    now: int,
    again: bool = False,
    recent: bool = False,
    calendar: str | None = None,
    doubts: Doubts | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Fetched:
    """Fetch the bars in ``[start, end)`` that the cache lacks and that are closed at `now`.

    An answer covers only the time up to its last bar, since later bars may be late. Minutes after it count as a gap
    once a later bar arrives; a whole chunk without a bar is first fetched a second time. Gaps are requested again on
    later days, see `fetch_late`, and so is a bar that had closed less than a minute before the answer. A wrong bar is
    set aside as missing, and one that jumps at the end of an answer is kept only if a later bar confirms it; see
    `ewmalab.market.quality`.

    Parameters
    ----------
    cache : Cache
    feed : Feed
    asset : str
    start, end : int
        Seconds since 1970-01-01 UTC.
    now : int
        Current time, seconds since 1970-01-01 UTC.
    again : bool
        Request every gap again, whenever it was requested last.
    recent : bool
        Request the gaps of a day that is not over again: rows are late by hours.
    calendar : str, optional
        The market's hours, see `ewmalab.market.sessions`: an answer without a bar after the close is an answer.
    doubts : Doubts, optional
        What to do with bars that no market made; by default they are set aside.
    progress : callable, optional
        Called with the seconds done and in total.

    Raises
    ------
    FeedError
        If there is a split that `doubts` does not name, too; bars fetched before the error stay in the cache.
    """
    start -= start % MINUTE
    end = min(end + -end % MINUTE, now - now % MINUTE)
    days = cache.days(feed.name, asset, start, end)
    changeable = settled(days.values(), start, end, now)
    holes = union([*holes_in(days.values(), start, end), *changeable])
    total = sum(b - a for a, b in holes)
    done = count = aside = 0
    unanswered: list[Range] = []
    for a, b in holes:
        filling = _Filling(cache, feed, asset, now, a, b, doubts or Doubts())
        for asked in filling.run():
            done += asked
            if progress:
                progress(done, total)
        count += filling.count
        aside += filling.aside
        count -= minutes(intersect(changeable, [(a, filling.answered)]))
        unanswered += subtract([(filling.answered, b)], [*changeable, *filling.take_closure(calendar)])
    if holes:
        days = cache.days(feed.name, asset, start, end)
    late = fetch_late(cache, feed, asset, days, now=now, again=again, recent=recent, doubts=doubts or Doubts())
    return Fetched(count + late.bars, unanswered, late.bars, aside + late.aside)


@dataclass(frozen=True, slots=True)
class AssetFetch:
    """The result of fetching one asset, or the error that ended it.

    Attributes
    ----------
    bars, unanswered, late, aside
        As in `Fetched`.
    """

    asset: str
    bars: int = 0
    unanswered: tuple[Range, ...] = ()
    late: int = 0
    aside: int = 0
    error: str | None = None


def fetch_assets(
    cache: Cache,
    feed: Feed,
    assets: Sequence[str],
    span: Range,
    *,
    now: int,
    again: bool = False,
    hours: Callable[[str], str | None] = lambda asset: None,
    doubts: Doubts | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[AssetFetch]:
    """Fetch the missing bars of several assets; one that fails does not stop the others.

    Parameters
    ----------
    cache, feed, now, again, doubts
        As in `fetch_missing`.
    assets : sequence of str
    span : (int, int)
        Range of labels ``[from, to)``, seconds since 1970-01-01 UTC.
    hours : callable
        Returns the calendar of an asset's market, None if it never closes.
    progress : callable, optional
        Called with the minutes done and in total.
    """
    length = (span[1] - span[0]) // MINUTE
    out = []
    for number, asset in enumerate(assets):

        def step(done: int, total: int, number: int = number) -> None:
            if progress:
                progress(round(length * (number + done / total)), length * len(assets))

        try:
            found = fetch_missing(
                cache,
                feed,
                asset,
                *span,
                now=now,
                again=again,
                recent=True,
                calendar=hours(asset),
                doubts=doubts,
                progress=step,
            )
            out.append(AssetFetch(asset, found.bars, tuple(found.unanswered), found.late, found.aside))
        except (FeedError, BarsError, DataError) as error:
            out.append(AssetFetch(asset, error=str(error)))
    return out


@dataclass
class _Filling:
    """Fills one missing range, up to `end`.

    Attributes
    ----------
    answered : int
        Time up to which the feed has answered; everything before is in the cache.
    count : int
        Number of bars written.
    empty : list of ranges
        Chunks without a bar that were fetched since `answered`.
    waiting : Bars
        The last bars, if they wait for a successor that confirms a jump.
    malformed : list of AsideBar
        Candles that are no bars.
    """

    cache: Cache
    feed: Feed
    asset: str
    now: int
    answered: int
    end: int
    doubts: Doubts
    count: int = 0
    aside: int = 0
    empty: list[Range] = field(default_factory=list)
    waiting: Bars = field(default_factory=Bars.empty)
    malformed: list[AsideBar] = field(default_factory=list)

    def run(self) -> Iterator[int]:
        """Fetch chunk by chunk; yield the seconds of the range in each chunk."""
        # If cached bars follow, fetch the first of them too: its arrival proves that the answer is complete.
        later = self._later()
        last = int(later[0]) + MINUTE if len(later) else self.end
        at = self.answered
        while at < last:
            # Chunks end at midnight, so that each day's file is written once or twice, not once per chunk.
            stop = min(last, at + self.feed.chunk, at - at % DAY + DAY * max(1, self.feed.chunk // DAY))
            self._ask(at, stop)
            yield max(0, min(stop, self.end) - at)
            at = stop
        closed = self.now - self.now % MINUTE
        if len(self.waiting) and at < closed:
            self._ask(at, min(at + self.feed.chunk, at + _CONFIRMING, closed))

    def _later(self) -> npt.NDArray[np.int64]:
        """Return the label of the first cached bar after the range, if there is one within a day."""
        return self.cache.read(self.feed.name, self.asset, self.end, self.end + DAY).timestamp[:1]

    def take_closure(self, calendar: str | None) -> list[Range]:
        """Cover the closure after the last answered minute, if bars lead up to it and then stop; return it."""
        if calendar is None or self.answered >= self.end or len(self.waiting) or len(self._later()):
            return []  # without the cached bar that follows, the answer is not whole
        found = [c for c in closures(calendar, self.answered - 7 * DAY, self.end) if c[1] > self.answered]
        if not found:
            return []
        close = found[0][0]
        known = self.cache.read(self.feed.name, self.asset, close - HOUR, max(close, self.answered)).timestamp[-1:]
        if not len(known) or known[0] > close + _LAST_PRINTS:  # no bars lead up to the close, or trading goes on
            return []
        span = max(found[0][0], self.answered), found[0][1]
        provenance = Provenance(self.feed.source, self.now, self.feed.synthetic)
        self.cache.write(self.feed.name, self.asset, Bars.empty(), [span], provenance)
        return [span]

    def _ask(self, at: int, stop: int) -> None:
        fetched = self._fetch(at, stop)
        if len(fetched):
            again = [self._fetch(a, b) for a, b in self.empty]
            self.empty = []  # each is asked twice
            self._judge(Bars.concatenate([self.waiting, *again, fetched]))
        else:
            self.empty.append((at, stop))
        if self.feed.complete and not len(self.waiting) and self.answered < min(stop, self.end):
            self._keep(Bars.empty(), min(stop, self.end))

    def _fetch(self, start: int, end: int) -> Bars:
        bars = self.feed.fetch(self.asset, start, end, self.now)
        self.malformed += malformed_of(self.feed, self.asset)
        return bars

    def _judge(self, fresh: Bars) -> None:
        passed = let_in(self.cache, self.feed, self.asset, fresh, self.now, self.doubts, malformed=self.malformed)
        self.waiting, self.malformed = passed.waiting, []
        self.aside += passed.aside
        if len(passed.bars):
            self._keep(passed.bars, min(int(passed.bars.timestamp[-1]) + MINUTE, self.end))
        if passed.unnamed is not None:
            split = passed.unnamed
            raise FeedError(
                f"{self.feed.name} {self.asset}: {split}; pass --split {split.ratio} to adjust the prices before, or "
                "--keep-suspicious to store them as they are"
            )

    def _keep(self, bars: Bars, upto: int) -> None:
        fresh = bars.between(self.answered, upto)
        as_of = None if self.feed.complete else self.now
        provenance = Provenance(self.feed.source, self.now, self.feed.synthetic, as_of)
        self.cache.write(self.feed.name, self.asset, fresh, [(self.answered, upto)], provenance)
        self.count += len(fresh)
        self.answered, self.empty = upto, []
