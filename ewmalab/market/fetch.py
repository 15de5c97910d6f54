"""Fill the cache from a feed: fetch only what is missing, in chunks, and write each chunk as it arrives."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ewmalab.errors import DataError, FeedError
from ewmalab.market.bars import Bars
from ewmalab.market.cache import Cache, holes_in, settled
from ewmalab.market.feeds.base import Feed
from ewmalab.market.late import fetch_late
from ewmalab.market.partition import Provenance
from ewmalab.market.ranges import Range, intersect, minutes, subtract, union
from ewmalab.market.sessions import closures
from ewmalab.times import DAY, HOUR, MINUTE

_LAST_PRINTS = 5 * MINUTE  # after a close


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
    """

    bars: int
    unanswered: list[Range]
    late: int = 0


def fetch_missing(
    cache: Cache,
    feed: Feed,
    asset: str,
    start: int,
    end: int,
    *,
    now: int,
    again: bool = False,
    calendar: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Fetched:
    """Fetch the bars in ``[start, end)`` that the cache lacks and that are closed at `now`.

    An answer covers only the time up to its last bar, since later bars may be late. Minutes after it count as a gap
    once a later bar arrives; a whole chunk without a bar is first fetched a second time. Gaps are requested again on
    later days, see `fetch_late`, and so is a bar that had closed less than a minute before the answer.

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
    calendar : str, optional
        The market's hours, see `ewmalab.market.sessions`: an answer without a bar after the close is an answer.
    progress : callable, optional
        Called with the seconds done and in total.

    Raises
    ------
    FeedError
        Bars fetched before the error stay in the cache.
    """
    start -= start % MINUTE
    end = min(end + -end % MINUTE, now - now % MINUTE)
    days = cache.days(feed.name, asset, start, end)
    changeable = settled(days.values(), start, end, now)
    holes = union([*holes_in(days.values(), start, end), *changeable])
    total = sum(b - a for a, b in holes)
    done = count = 0
    unanswered: list[Range] = []
    for a, b in holes:
        filling = _Filling(cache, feed, asset, now, a, b)
        for asked in filling.run():
            done += asked
            if progress:
                progress(done, total)
        count += filling.count
        count -= minutes(intersect(changeable, [(a, filling.answered)]))
        unanswered += subtract([(filling.answered, b)], [*changeable, *filling.take_closure(calendar)])
    if holes:
        days = cache.days(feed.name, asset, start, end)
    late = fetch_late(cache, feed, asset, days, now=now, again=again)
    return Fetched(count + late, unanswered, late)


@dataclass(frozen=True, slots=True)
class AssetFetch:
    """The result of fetching one asset, or the error that ended it.

    Attributes
    ----------
    bars, unanswered, late
        As in `Fetched`.
    """

    asset: str
    bars: int = 0
    unanswered: tuple[Range, ...] = ()
    late: int = 0
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
    progress: Callable[[int, int], None] | None = None,
) -> list[AssetFetch]:
    """Fetch the missing bars of several assets; one that fails does not stop the others.

    Parameters
    ----------
    cache, feed, now, again
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
            found = fetch_missing(cache, feed, asset, *span, now=now, again=again, calendar=hours(asset), progress=step)
            out.append(AssetFetch(asset, found.bars, tuple(found.unanswered), found.late))
        except (FeedError, DataError) as error:
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
    """

    cache: Cache
    feed: Feed
    asset: str
    now: int
    answered: int
    end: int
    count: int = 0
    empty: list[Range] = field(default_factory=list)

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

    def _later(self) -> npt.NDArray[np.int64]:
        """Return the label of the first cached bar after the range, if there is one within a day."""
        return self.cache.read(self.feed.name, self.asset, self.end, self.end + DAY).timestamp[:1]

    def take_closure(self, calendar: str | None) -> list[Range]:
        """Cover the closure after the last answered minute, if bars lead up to it and then stop; return it."""
        if calendar is None or self.answered >= self.end or len(self._later()):
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
        bars = self.feed.fetch(self.asset, at, stop, self.now)
        if len(bars):
            again = [self.feed.fetch(self.asset, a, b, self.now) for a, b in self.empty]
            self._keep(Bars.concatenate([*again, bars]), min(int(bars.timestamp[-1]) + MINUTE, self.end))
        else:
            self.empty.append((at, stop))
        if self.feed.complete and self.answered < min(stop, self.end):
            self._keep(Bars.empty(), min(stop, self.end))

    def _keep(self, bars: Bars, upto: int) -> None:
        fresh = bars.between(self.answered, upto)
        as_of = None if self.feed.complete else self.now
        provenance = Provenance(self.feed.source, self.now, self.feed.synthetic, as_of)
        self.cache.write(self.feed.name, self.asset, fresh, [(self.answered, upto)], provenance)
        self.count += len(fresh)
        self.answered, self.empty = upto, []
