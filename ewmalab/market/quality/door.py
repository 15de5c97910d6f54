"""The door through which a feed's bars come into the cache."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ewmalab.market.adjust import adjust_cached
from ewmalab.market.bars import Bars
from ewmalab.market.cache import Cache
from ewmalab.market.feeds.base import Feed
from ewmalab.market.quality import AsideBar
from ewmalab.market.quality.aside_record import aside_bars, record_aside
from ewmalab.market.quality.sift import CONTEXT, Doubts, select, sift
from ewmalab.market.quality.splits import PriceSplit
from ewmalab.times import MINUTE

_AFTER = 120 * MINUTE  # more than a jump waits


@dataclass(frozen=True, slots=True)
class Passed:
    """The bars of an answer by their use.

    Attributes
    ----------
    bars : Bars
        Those to store.
    waiting : Bars
        Those at the end that wait for a successor; give them again with the next answer.
    unnamed : PriceSplit or None
        A split that nobody has named; the bars from it on wait.
    aside : int
        Number of bars that were set aside.
    """

    bars: Bars
    waiting: Bars = field(default_factory=Bars.empty)
    unnamed: PriceSplit | None = None
    aside: int = 0


def let_in(
    cache: Cache, feed: Feed, asset: str, fresh: Bars, now: int, doubts: Doubts, *, malformed: Sequence[AsideBar] = ()
) -> Passed:
    """Judge the bars that a feed has just given by the cached ones around them; record those that are set aside.

    Parameters
    ----------
    cache : Cache
    feed : Feed
    asset : str
    fresh : Bars
    now : int
        Current time, seconds since 1970-01-01 UTC.
    doubts : Doubts
    malformed : sequence of AsideBar
        The candles of the answer that are no bars; see `malformed_of`.
    """
    wrong = [bar for bar in malformed if not fresh.holds(bar.label)]
    if doubts.keep or not len(fresh):
        record_aside(cache, feed.name, asset, wrong, fresh.timestamp)
        return Passed(fresh, aside=len(wrong))
    first, last = int(fresh.timestamp[0]), int(fresh.timestamp[-1])
    context = cache.read(feed.name, asset, first - CONTEXT, last + _AFTER)
    sifted = sift(fresh, context, asset, ratios=doubts.splits)
    adjust_cached(cache, feed.name, asset, sifted.splits, now, sifted.bars)
    wrong += aside_bars(fresh, sifted.reasons, feed.source, now)
    record_aside(cache, feed.name, asset, wrong, sifted.bars.timestamp)
    return Passed(sifted.bars, select(fresh, sifted.waiting), sifted.unnamed, len(wrong))
