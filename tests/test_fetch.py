"""Filling the cache from a feed: nothing asked twice, nothing claimed that was not answered."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from ewmalab import atomic_files as files_module
from ewmalab.errors import BarsError, FeedError, FeedUnavailable
from ewmalab.market.bars import Bars
from ewmalab.market.cache import Cache
from ewmalab.market.feeds.base import Feed
from ewmalab.market.fetch import Fetched, fetch_assets, fetch_missing
from ewmalab.market.late import is_due
from ewmalab.market.partition import Provenance
from ewmalab.market.ranges import Range, intersect, subtract, union
from ewmalab.times import DAY, day_start

MONDAY = day_start("2026-01-12")
HOUR = 3600
LATER = MONDAY + 30 * DAY
KEY = ("pyth", "BTC")


def market(start: int, minutes: int, gaps: Iterable[Range] = (), seed: int = 1) -> Bars:
    """Return bars on every minute outside the gaps."""
    times = start + 60 * np.arange(minutes)
    closes = 50_000 + np.random.default_rng(seed).normal(0, 100, minutes)
    keep = np.ones(minutes, bool)
    for a, b in gaps:
        keep[(times >= a) & (times < b)] = False
    return Bars.from_closes(times[keep], closes[keep])


class FakeFeed:
    """A feed in memory that follows a script.

    `script` maps the number of a call to what happens instead of a good answer: an exception to raise, or a function
    from the good answer to the one given.
    """

    name, source, synthetic, reach = "pyth", "a fake host", False, None

    def __init__(self, bars: Bars, chunk: int = DAY, *, complete: bool = False) -> None:
        self.bars = bars
        self.chunk = chunk
        self.complete = complete
        self.calls: list[Range] = []
        self.script: dict[int, Exception | Callable[[Bars], Bars]] = {}

    def fetch(self, asset: str, start: int, end: int, now: int) -> Bars:
        assert asset == "BTC"
        assert start % 60 == end % 60 == 0
        assert start < end <= start + self.chunk
        number = len(self.calls)
        self.calls.append((start, end))
        answer = self.bars.between(start, end).known_at(now)
        match self.script.get(number):
            case None:
                return answer
            case Exception() as error:
                raise error
            case change:
                return change(answer)


def nothing(_: Bars) -> Bars:
    return Bars.empty()


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path)


def run(cache: Cache, feed: FakeFeed, start: int, end: int, now: int = LATER) -> Fetched:
    return fetch_missing(cache, feed, "BTC", start, end, now=now)


def same(one: Bars, other: Bars) -> bool:
    return one.digest() == other.digest()


def test_the_fake_is_a_feed():
    assert isinstance(FakeFeed(Bars.empty()), Feed)


# --- what is asked


def test_an_empty_cache_asks_for_all_of_it_and_a_full_one_for_nothing(cache):
    feed = FakeFeed(market(MONDAY, 600))
    assert run(cache, feed, MONDAY, MONDAY + 10 * HOUR) == Fetched(600, [])
    assert same(cache.read(*KEY, MONDAY, MONDAY + DAY), feed.bars)
    assert run(cache, feed, MONDAY, MONDAY + 10 * HOUR) == Fetched(0, [])
    assert feed.calls == [(MONDAY, MONDAY + 10 * HOUR)]


def test_only_missing_ranges_are_asked_for_with_the_bar_that_follows_them(cache):
    bars = market(MONDAY, 600)
    for a, b in ((120, 180), (300, 420)):
        part = bars.rows(a, b)
        cache.write(*KEY, part, [(MONDAY + 60 * a, MONDAY + 60 * b)], Provenance("x", 0))
    feed = FakeFeed(bars)
    assert run(cache, feed, MONDAY, MONDAY + 600 * 60) == Fetched(600 - 60 - 120, [])
    minutes = [((a - MONDAY) // 60, (b - MONDAY) // 60) for a, b in feed.calls]
    # The bars at 120 and 300 are cached; their arrival proves that the answers are whole.
    assert minutes == [(0, 121), (180, 301), (420, 600)]
    assert same(cache.read(*KEY, MONDAY, MONDAY + DAY), bars)


def test_chunks_keep_the_feeds_bound_and_end_at_midnight(cache):
    start, end = MONDAY + 7 * HOUR, MONDAY + 2 * DAY + 5 * HOUR
    feed = FakeFeed(market(MONDAY, 3 * 1440), chunk=10 * HOUR)
    run(cache, feed, start, end)
    assert feed.calls[0][0] == start
    assert feed.calls[-1][1] == end
    assert all(b - a <= 10 * HOUR for a, b in feed.calls)
    assert all(one[1] == other[0] for one, other in zip(feed.calls, feed.calls[1:], strict=False))
    assert {MONDAY + DAY, MONDAY + 2 * DAY} <= {b for _, b in feed.calls}


def test_long_chunks_are_used_in_full(cache):
    feed = FakeFeed(market(MONDAY, 5 * 1440), chunk=3 * DAY)
    run(cache, feed, MONDAY + HOUR, MONDAY + 5 * DAY)
    assert feed.calls == [(MONDAY + HOUR, MONDAY + 3 * DAY), (MONDAY + 3 * DAY, MONDAY + 5 * DAY)]


@pytest.mark.parametrize("second", [0, 1, 59])
def test_the_end_is_clipped_to_the_present_minute(cache, second):
    now = MONDAY + 2 * HOUR + second
    feed = FakeFeed(market(MONDAY, 1440))
    assert run(cache, feed, MONDAY, MONDAY + DAY, now) == Fetched(120, [])
    assert feed.calls == [(MONDAY, MONDAY + 2 * HOUR)]
    assert cache.covered(*KEY) == [(MONDAY, MONDAY + 2 * HOUR)]
    assert not cache.days(*KEY)["2026-01-12"].final


def test_nothing_is_asked_of_the_future(cache):
    feed = FakeFeed(market(MONDAY, 1440))
    assert run(cache, feed, MONDAY, MONDAY + DAY, MONDAY - 1) == Fetched(0, [])
    assert feed.calls == []


def test_an_odd_start_and_end_are_widened_to_whole_minutes(cache):
    feed = FakeFeed(market(MONDAY, 1440))
    assert run(cache, feed, MONDAY + 61, MONDAY + 182) == Fetched(3, [])
    assert feed.calls == [(MONDAY + 60, MONDAY + 240)]


def test_a_candle_that_is_not_closed_is_never_stored_even_if_the_feed_sends_it(cache):
    now = MONDAY + HOUR + 30
    feed = FakeFeed(market(MONDAY, 60))
    forming = market(MONDAY + HOUR, 1, seed=9)
    feed.script[0] = lambda bars: Bars.concatenate([bars, forming])
    run(cache, feed, MONDAY, MONDAY + DAY, now)
    assert same(cache.read(*KEY, MONDAY, MONDAY + DAY), feed.bars)
    assert cache.covered(*KEY) == [(MONDAY, MONDAY + HOUR)]
    feed.bars = market(MONDAY, 61)
    run(cache, feed, MONDAY, MONDAY + DAY, now + 30)
    assert feed.calls[-1] == (MONDAY + HOUR - 60, MONDAY + HOUR + 60)  # and the one that had just closed
    assert same(cache.read(*KEY, MONDAY, MONDAY + DAY), feed.bars)


def test_a_candle_that_had_just_closed_is_asked_for_again_and_replaced(cache):
    now = MONDAY + HOUR + 1
    feed = FakeFeed(market(MONDAY, 120))
    moved = Bars.concatenate([feed.bars.rows(0, 59), market(MONDAY + HOUR - 60, 1, seed=9)])
    feed.script[0] = lambda bars: moved
    assert run(cache, feed, MONDAY, MONDAY + DAY, now).bars == 60
    assert cache.days(*KEY)["2026-01-12"].provisional == (MONDAY + HOUR - 60,)
    assert run(cache, feed, MONDAY, MONDAY + DAY, now + 58) == Fetched(0, [])
    assert len(feed.calls) == 1  # within its minute, nothing new can be known
    assert run(cache, feed, MONDAY, MONDAY + HOUR, now + 59) == Fetched(0, [])
    assert feed.calls[1:] == [(MONDAY + HOUR - 60, MONDAY + HOUR)]
    assert same(cache.read(*KEY, MONDAY, MONDAY + DAY), feed.bars.rows(0, 60))
    assert cache.days(*KEY)["2026-01-12"].provisional == ()
    run(cache, feed, MONDAY, MONDAY + HOUR, now + DAY)
    assert len(feed.calls) == 2


def test_progress_ends_at_the_total_and_never_falls_back(cache):
    bars = market(MONDAY, 3 * 1440)
    cache.write(*KEY, bars.rows(100, 200), [(MONDAY + 6000, MONDAY + 12_000)], Provenance("x", 0))
    seen: list[tuple[int, int]] = []
    feed = FakeFeed(bars, chunk=4 * HOUR)
    fetch_missing(
        cache, feed, "BTC", MONDAY, MONDAY + 3 * DAY, now=LATER, progress=lambda done, total: seen.append((done, total))
    )
    assert seen[-1] == (3 * DAY - 6000, 3 * DAY - 6000)
    assert seen == sorted(seen)


# --- failures


def test_a_failed_fetch_keeps_the_chunks_before_and_goes_on_from_there(cache):
    feed = FakeFeed(market(MONDAY, 2 * 1440), chunk=6 * HOUR)
    feed.script[3] = FeedUnavailable("down")
    with pytest.raises(FeedUnavailable):
        run(cache, feed, MONDAY, MONDAY + 2 * DAY)
    assert cache.covered(*KEY) == [(MONDAY, MONDAY + 18 * HOUR)]
    assert same(cache.read(*KEY, MONDAY, MONDAY + 2 * DAY), feed.bars.rows(0, 18 * 60))
    feed.calls.clear()
    feed.script.clear()
    assert run(cache, feed, MONDAY, MONDAY + 2 * DAY).bars == 30 * 60
    assert feed.calls[0][0] == MONDAY + 18 * HOUR
    assert same(cache.read(*KEY, MONDAY, MONDAY + 2 * DAY), feed.bars)


def test_a_failure_while_asking_again_claims_nothing_of_the_silence(cache):
    feed = FakeFeed(market(MONDAY, 180, [(MONDAY + HOUR, MONDAY + 2 * HOUR)]), chunk=HOUR)
    feed.script[3] = FeedError("no")
    with pytest.raises(FeedError):
        run(cache, feed, MONDAY, MONDAY + 3 * HOUR)
    assert cache.covered(*KEY) == [(MONDAY, MONDAY + HOUR)]


# --- silence


def test_trailing_silence_stays_missing_and_is_asked_for_again(cache):
    feed = FakeFeed(market(MONDAY, 90), chunk=HOUR)
    end = MONDAY + 4 * HOUR
    assert run(cache, feed, MONDAY, end) == Fetched(90, [(MONDAY + 90 * 60, end)])
    assert cache.missing(*KEY, MONDAY, end) == [(MONDAY + 90 * 60, end)]
    feed.calls.clear()
    feed.bars = market(MONDAY, 240)
    assert run(cache, feed, MONDAY, end) == Fetched(150, [])
    assert feed.calls[0][0] == MONDAY + 90 * 60
    assert same(cache.read(*KEY, MONDAY, end), feed.bars)


def test_a_feed_that_knows_nothing_leaves_nothing(cache):
    feed = FakeFeed(Bars.empty())
    assert run(cache, feed, MONDAY, MONDAY + DAY) == Fetched(0, [(MONDAY, MONDAY + DAY)])
    assert cache.covered(*KEY) == []


def test_a_feed_whose_answers_are_complete_is_taken_at_its_word(cache):
    feed = FakeFeed(market(MONDAY, 90), chunk=HOUR, complete=True)
    assert run(cache, feed, MONDAY, MONDAY + 4 * HOUR) == Fetched(90, [])
    assert cache.covered(*KEY) == [(MONDAY, MONDAY + 4 * HOUR)]
    assert len(feed.calls) == 4
    assert same(cache.read(*KEY, MONDAY, MONDAY + DAY), feed.bars)


def test_an_empty_chunk_between_bars_is_asked_for_twice_and_then_a_gap(cache):
    gap = (MONDAY + HOUR, MONDAY + 3 * HOUR)
    feed = FakeFeed(market(MONDAY, 240, [gap]), chunk=HOUR)
    assert run(cache, feed, MONDAY, MONDAY + 4 * HOUR) == Fetched(120, [])
    asked = [(a - MONDAY) // HOUR for a, _ in feed.calls]
    assert asked == [0, 1, 2, 3, 1, 2]
    assert cache.missing(*KEY, MONDAY, MONDAY + 4 * HOUR) == []
    assert same(cache.read(*KEY, MONDAY, MONDAY + DAY), feed.bars)
    feed.calls.clear()
    run(cache, feed, MONDAY, MONDAY + 4 * HOUR)
    assert feed.calls == []


def test_a_chunk_that_was_empty_once_only_leaves_no_hole(cache):
    feed = FakeFeed(market(MONDAY, 300), chunk=HOUR)
    feed.script = {1: nothing, 2: nothing}
    assert run(cache, feed, MONDAY, MONDAY + 5 * HOUR) == Fetched(300, [])
    assert same(cache.read(*KEY, MONDAY, MONDAY + DAY), feed.bars)


def test_a_hole_whose_answer_is_empty_stays_missing(cache):
    bars = market(MONDAY, 300)
    for a, b in ((0, 60), (120, 300)):
        cache.write(*KEY, bars.rows(a, b), [(MONDAY + 60 * a, MONDAY + 60 * b)], Provenance("x", 0))
    hole = (MONDAY + 60 * 60, MONDAY + 120 * 60)
    feed = FakeFeed(bars)
    feed.script[0] = nothing
    assert run(cache, feed, MONDAY, MONDAY + 5 * HOUR) == Fetched(0, [hole])
    assert cache.missing(*KEY, MONDAY, MONDAY + 5 * HOUR) == [hole]
    assert run(cache, feed, MONDAY, MONDAY + 5 * HOUR) == Fetched(60, [])
    assert same(cache.read(*KEY, MONDAY, MONDAY + DAY), bars)


def test_a_hole_that_is_a_gap_is_proven_by_the_bar_after_it(cache):
    hole = (MONDAY + HOUR, MONDAY + 2 * HOUR)
    bars = market(MONDAY, 300, [hole])
    cache.write(*KEY, bars, [(MONDAY, hole[0]), (hole[1], MONDAY + 5 * HOUR)], Provenance("x", 0))
    feed = FakeFeed(bars)
    assert run(cache, feed, MONDAY, MONDAY + 5 * HOUR) == Fetched(0, [])
    assert feed.calls == [(hole[0], hole[1] + 60)]
    assert cache.missing(*KEY, MONDAY, MONDAY + 5 * HOUR) == []


def test_an_answer_of_bad_rows_does_not_stop_the_assets_after_it(cache):
    feed = FakeFeed(market(MONDAY, 60))
    feed.script[0] = BarsError("many rows break a rule")
    first, second = fetch_assets(cache, feed, ["BTC", "BTC"], (MONDAY, MONDAY + HOUR), now=MONDAY + HOUR)
    assert (first.error, second.error, second.bars) == ("many rows break a rule", None, 60)


# --- minutes that come late


QUIET = (MONDAY + HOUR, MONDAY + HOUR + 120)
DONE = MONDAY + DAY + HOUR  # when the day was fetched first


@pytest.fixture
def quiet(cache: Cache) -> FakeFeed:
    """A feed that left out two minutes of a day that is in the cache."""
    feed = FakeFeed(market(MONDAY, 1440, [QUIET]))
    assert run(cache, feed, MONDAY, MONDAY + DAY, DONE) == Fetched(1438, [])
    feed.calls.clear()
    return feed


def test_a_minute_that_was_left_out_is_asked_for_daily_for_a_week_and_then_is_final(cache, quiet):
    asked = []
    for hours in range(0, 24 * 20, 3):
        run(cache, quiet, MONDAY, MONDAY + DAY, DONE + hours * HOUR)
        asked += [hours / 24] * len(quiet.calls)
        assert all(call == (QUIET[0], QUIET[1] + 60) for call in quiet.calls)  # with the bar behind it
        quiet.calls.clear()
    assert asked == [1, 2, 3, 4, 5, 6, 7]


def test_a_late_minute_is_taken_and_counted_and_a_second_fetch_at_once_asks_nothing(cache, quiet):
    quiet.bars = market(MONDAY, 1440, [(QUIET[0], QUIET[0] + 60)])
    assert run(cache, quiet, MONDAY, MONDAY + DAY, DONE + DAY - 1) == Fetched(0, [])
    assert quiet.calls == []
    assert run(cache, quiet, MONDAY, MONDAY + DAY, DONE + DAY) == Fetched(1, [], late=1)
    assert run(cache, quiet, MONDAY, MONDAY + DAY, DONE + DAY) == Fetched(0, [])
    assert len(quiet.calls) == 1
    assert same(cache.read(*KEY, MONDAY, MONDAY + DAY), quiet.bars)
    assert cache.days(*KEY)["2026-01-12"].late == ((QUIET[0] + 60, DONE + DAY),)


def test_a_minute_of_a_day_that_is_not_over_is_asked_for_by_each_fetch(cache):
    feed = FakeFeed(market(MONDAY, 1440, [QUIET]))
    assert run(cache, feed, MONDAY, MONDAY + 3 * HOUR, MONDAY + 3 * HOUR) == Fetched(178, [])
    feed.bars = market(MONDAY, 1440)
    span = MONDAY, MONDAY + 3 * HOUR
    assert fetch_missing(cache, feed, "BTC", *span, now=span[1], recent=True) == Fetched(2, [], late=2)


def test_whoever_cannot_wait_may_ask_again(cache, quiet):
    quiet.bars = market(MONDAY, 1440)
    fetched = fetch_missing(cache, quiet, "BTC", MONDAY, MONDAY + DAY, now=DONE, again=True)
    assert fetched == Fetched(2, [], late=2)
    assert same(cache.read(*KEY, MONDAY, MONDAY + DAY), quiet.bars)


def test_an_answer_without_the_bars_that_are_known_is_no_answer(cache, quiet):
    for cut in (nothing, lambda bars: bars.rows(0, len(bars) - 1)):
        quiet.script[len(quiet.calls)] = cut
        assert run(cache, quiet, MONDAY, MONDAY + DAY, DONE + DAY) == Fetched(0, [])
    assert run(cache, quiet, MONDAY, MONDAY + DAY, DONE + DAY) == Fetched(0, [])
    assert len(quiet.calls) == 3
    run(cache, quiet, MONDAY, MONDAY + DAY, DONE + DAY)
    assert len(quiet.calls) == 3


def test_a_feed_that_no_longer_has_a_minute_is_not_asked_for_it(cache, quiet):
    quiet.reach = 2 * DAY
    run(cache, quiet, MONDAY, MONDAY + DAY, DONE + 4 * DAY)
    assert quiet.calls == []


def test_a_day_with_old_and_new_silence_is_asked_for_all_of_it(cache):
    first, second = (MONDAY + HOUR, MONDAY + HOUR + 60), (MONDAY + 20 * HOUR, MONDAY + 20 * HOUR + 60)
    feed = FakeFeed(market(MONDAY, 1440, [first, second]))
    run(cache, feed, MONDAY, MONDAY + DAY, MONDAY + 10 * HOUR)
    run(cache, feed, MONDAY, MONDAY + DAY, MONDAY + DAY)
    feed.calls.clear()
    run(cache, feed, MONDAY, MONDAY + HOUR, MONDAY + 34 * HOUR)
    assert union(feed.calls) == [(first[0], second[1] + 60)]


def test_minutes_that_only_a_file_left_out_are_asked_for_at_once(cache):
    bars = market(MONDAY, 1440, [QUIET])
    cache.write(*KEY, bars, [(MONDAY, MONDAY + DAY)], Provenance.of_file("BTC.csv", LATER))
    feed = FakeFeed(market(MONDAY, 1440))
    assert run(cache, feed, MONDAY, MONDAY + DAY) == Fetched(2, [], late=2)
    assert run(cache, feed, MONDAY, MONDAY + DAY) == Fetched(0, [])
    assert len(feed.calls) == 1


# --- any market, any sequence of fetches


class MoodyFeed(FakeFeed):
    """Fails at times, is silent once about a range it has bars for, and learns of a bar a while after its close."""

    def __init__(self, bars: Bars, chunk: int, moods: list[int], delay: int) -> None:
        super().__init__(bars, chunk)
        self.moods = moods
        self.delay = delay
        self.silent: set[Range] = set()
        self.answered: list[Range] = []

    def fetch(self, asset: str, start: int, end: int, now: int) -> Bars:
        mood = self.moods[len(self.calls) % len(self.moods)]
        answer = super().fetch(asset, start, end, now).known_at(now - self.delay)
        if mood == 1:
            raise FeedUnavailable("down")
        if mood == 2 and (start, end) not in self.silent:
            self.silent.add((start, end))
            return Bars.empty()
        self.answered.append((start, end))
        return answer


def due_days(cache: Cache, now: int) -> list[Range]:
    """Return the days, with the first minute of the next, whose gaps or newest bars are to be asked for again."""
    days = [(day_start(day), entry) for day, entry in cache.days(*KEY).items()]
    gaps = [(at, at + DAY + 60) for at, entry in days if entry.gap_minutes and is_due(entry, at, now)]
    return union([*gaps, *((label, label + 60) for _, entry in days for label in entry.provisional)])


MINUTES = 3 * 1440
GAPS = st.lists(st.tuples(st.integers(0, MINUTES), st.sampled_from([1, 2, 30, 200, 700])), max_size=6)
REQUESTS = st.lists(
    st.tuples(st.integers(0, MINUTES), st.integers(0, 2000), st.integers(0, MINUTES + 60)), min_size=1, max_size=6
)


@pytest.mark.ci
@examples(75)
@given(
    gaps=GAPS,
    requests=REQUESTS,
    chunk=st.sampled_from([7, 60, 300, 1000, 1440, 4000]),
    moods=st.lists(st.sampled_from([0, 0, 0, 1, 2]), min_size=1, max_size=8),
    delay=st.sampled_from([0, 45, 300, 7200]),
    ratio=st.sampled_from([0, 1]),
)
def test_the_cache_holds_exactly_the_markets_bars_over_what_was_answered(
    tmp_path_factory, gaps, requests, chunk, moods, delay, ratio
):
    cache = Cache(tmp_path_factory.mktemp("any"))
    bars = market(MONDAY, MINUTES, [(MONDAY + 60 * a, MONDAY + 60 * (a + n)) for a, n in gaps])
    feed = MoodyFeed(bars, 60 * chunk, moods, delay)
    now = MONDAY
    with mock.patch.object(files_module.os, "fsync"):  # the disk's patience is tested elsewhere
        for first, minutes, elapsed in requests:
            now = max(now, MONDAY + 60 * elapsed + 30 * ratio)
            start = MONDAY + 60 * first
            before = cache.covered(*KEY)
            held = cache.read(*KEY, MONDAY, MONDAY + 10 * DAY)
            holes = cache.missing(*KEY, start, min(start + 60 * minutes, now - now % 60))
            due = due_days(cache, now)
            calls = len(feed.calls)
            try:
                fetched = run(cache, feed, start, start + 60 * minutes, now)
            except FeedUnavailable:
                fetched = None
            covered = cache.covered(*KEY)
            assert subtract(before, covered) == []
            assert subtract(covered, feed.answered) == []
            assert subtract(covered, [(0, now - now % 60)]) == []
            expected = [bars.between(a, b) for a, b in covered]
            assert same(cache.read(*KEY, MONDAY, MONDAY + 10 * DAY), Bars.concatenate(expected))
            # Of the bars that were there, only the one behind each hole was asked for, and those among late minutes.
            asked = subtract(intersect(before, union(feed.calls[calls:])), due)
            assert sum(len(held.between(a, b)) for a, b in asked) <= len(holes)
            if fetched is not None:
                wanted = [(start, min(start + 60 * minutes, now - now % 60))]
                assert subtract(wanted, covered) == fetched.unanswered
                for a, b in fetched.unanswered:  # nothing that the feed knew is called unanswered, but for its moods
                    known = bars.between(a, b).known_at(now - delay)
                    assert len(known) == 0 or any(intersect([(a, b)], [r]) for r in feed.silent)
