"""Request gaps again: sources publish some minutes hours or days later."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ewmalab.market.bars import Bars
from ewmalab.market.cache import Cache
from ewmalab.market.feeds.base import Feed, malformed_of
from ewmalab.market.merging import gaps
from ewmalab.market.partition import Partition, Provenance
from ewmalab.market.quality import AsideBar
from ewmalab.market.quality.door import let_in
from ewmalab.market.quality.sift import Doubts
from ewmalab.market.ranges import intersect, runs
from ewmalab.times import DAY, MINUTE, day_start

_AGAIN = DAY  # between two requests for the gaps of a day
_FINAL = 7 * DAY  # after the end of a day; a gap that was requested then is final
_REACH_MARGIN = 10 * MINUTE


@dataclass(frozen=True, slots=True)
class Late:
    """Number of bars that came for gaps, and of wrong ones that were set aside."""

    bars: int = 0
    aside: int = 0


def fetch_late(
    cache: Cache,
    feed: Feed,
    asset: str,
    days: Mapping[str, Partition],
    *,
    now: int,
    again: bool = False,
    recent: bool = False,
    doubts: Doubts | None = None,
) -> Late:
    """Request the gaps of days again, if they are due.

    The gaps of a day are due, besides those that `recent` asks for, if they were last requested a day
    ago or earlier, and not yet a week after the day: so each is requested daily for a week, and once afterwards. A gap
    that is known from a file alone is due at once.

    Parameters
    ----------
    cache, feed, asset, now, doubts
        As in `ewmalab.market.fetch.fetch_missing`.
    days : mapping of date to Partition
    again : bool
        Whether all gaps are due.
    recent : bool
        Whether those of a day that is not over are due.

    Raises
    ------
    FeedError
        Bars of the days before the error stay in the cache.
    """
    if feed.complete:
        return Late()
    found = []
    for day, entry in days.items():
        today = recent and now < day_start(day) + DAY
        if entry.gap_minutes and (again or today or is_due(entry, day_start(day), now)):
            found.append(_ask(cache, feed, asset, day_start(day), now, doubts or Doubts()))
    return Late(sum(one.bars for one in found), sum(one.aside for one in found))


def is_due(entry: Partition, day: int, now: int) -> bool:
    """Return whether the gaps of a day are to be requested at `now`; see `fetch_late`."""
    return entry.asked_at + _AGAIN <= now and entry.asked_at < day + DAY + _FINAL


def _ask(cache: Cache, feed: Feed, asset: str, day: int, now: int, doubts: Doubts) -> Late:
    """Request a day's gaps; write the bars that came, and that the gaps were requested if the answer is whole."""
    covered = cache.covered(feed.name, asset, day, day + DAY)
    known = cache.read(feed.name, asset, day, day + 2 * DAY)
    silent = gaps(covered, known.between(day, day + DAY))
    oldest = 0 if feed.reach is None else now - now % MINUTE - feed.reach + _REACH_MARGIN
    wanted = intersect(silent, [(oldest, now - now % MINUTE)])
    if not wanted:
        return Late()
    # The bar after the last gap is requested too: its arrival proves that the answer is complete.
    later = known.between(wanted[-1][1], day + 2 * DAY).timestamp[:1]
    last = int(later[0]) + MINUTE if len(later) else wanted[-1][1]
    pieces = [(at, min(at + feed.chunk, last)) for at in range(wanted[0][0], last, feed.chunk)]
    answers: list[Bars] = []
    malformed: list[AsideBar] = []
    for piece in pieces:
        answers.append(feed.fetch(asset, *piece, now))
        malformed += malformed_of(feed, asset)
    silence = any(len(known.between(*piece)) and not len(bars) for piece, bars in zip(pieces, answers, strict=True))
    whole = not silence and (not len(later) or int(answers[-1].timestamp[-1]) >= later[0])
    fresh = Bars.concatenate([bars.between(a, b) for a, b in wanted for bars in answers])
    malformed = [bar for bar in malformed if any(a <= bar.label < b for a, b in wanted)]
    passed = let_in(cache, feed, asset, fresh, now, doubts, malformed=malformed)
    whole = whole and passed.unnamed is None  # what waits for a split to be named is asked for again
    provenance = Provenance(feed.source, now, feed.synthetic)
    cache.write(feed.name, asset, passed.bars, silent if whole else runs(passed.bars.timestamp), provenance)
    return Late(len(passed.bars), passed.aside)
