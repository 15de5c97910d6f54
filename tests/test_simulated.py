"""The simulated feed: one market for everyone, with the properties it says it has."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st

from ewmalab.errors import FeedError, RulebookError
from ewmalab.market.bars import Bars
from ewmalab.market.feeds import simulated
from ewmalab.market.feeds.base import Feed
from ewmalab.market.feeds.simulated import EPOCH, MarketParameters, SimulatedFeed
from ewmalab.market.sessions import in_session
from ewmalab.rulebook import Rulebook, load_rulebook
from ewmalab.times import DAY

LATER = EPOCH + 1000 * DAY
DAYS = 60
ROUND_THE_CLOCK = ("BTC", "ETH", "SOL", "XAU")
EQUITIES = ("SPYX", "NVDAX", "TSLAX", "AAPLX")
SEEDS = (1, 2, 3)


@pytest.fixture(scope="module")
def rulebook() -> Rulebook:
    return load_rulebook()


@pytest.fixture
def feed(rulebook: Rulebook) -> SimulatedFeed:
    return SimulatedFeed(rulebook, seed=7)


def forget() -> None:
    """Let the next answer be computed anew."""
    for function in (simulated._drift, simulated._walk, simulated._day):
        function.cache_clear()


def same(one: Bars, other: Bars) -> bool:
    return one.digest() == other.digest()


# --- the same bars for everyone


def test_it_is_a_feed_that_says_it_is_synthetic(feed):
    assert isinstance(feed, Feed)
    assert feed.synthetic
    assert "synthetic" in feed.source
    assert "seed 7" in feed.source


@examples(20)
@given(
    cuts=st.lists(st.integers(0, 5 * 1440), max_size=5),
    order=st.randoms(use_true_random=False),
    gaps=st.sampled_from([0.0, 0.05]),
)
def test_bars_do_not_depend_on_how_they_are_asked_for(rulebook, cuts, order, gaps):
    start, end = EPOCH + 3 * DAY, EPOCH + 8 * DAY
    forget()
    whole = SimulatedFeed(rulebook, seed=7, gaps=gaps).fetch("BTC", start, end, LATER)
    edges = sorted({start, end, *(start + 60 * cut for cut in cuts)})
    ranges = list(itertools.pairwise(edges))
    asked = order.sample(ranges, len(ranges))
    forget()
    feed = SimulatedFeed(rulebook, seed=7, gaps=gaps)
    parts = {}
    for i, (a, b) in enumerate(asked):
        feed.fetch(("ETH", "SPYX")[i % 2], a, b, LATER)  # what else is asked for does not matter
        parts[a] = feed.fetch("BTC", a, b, LATER)
    assert same(Bars.concatenate([parts[a] for a in sorted(parts)]), whole)


@pytest.mark.ci
def test_a_far_day_first_is_the_same_as_all_days_in_turn(feed):
    far = EPOCH + 450 * DAY
    forget()
    first = feed.fetch("BTC", far, far + DAY, LATER)
    forget()
    for day in range(451):
        last = feed.fetch("BTC", EPOCH + day * DAY, EPOCH + day * DAY + DAY, LATER)
    assert same(first, last)


def test_each_seed_and_each_asset_has_a_market_of_its_own(rulebook):
    feeds = [SimulatedFeed(rulebook, seed=seed) for seed in SEEDS]
    names = {feed.name for feed in feeds} | {SimulatedFeed(rulebook, seed=1, gaps=0.1).name}
    assert len(names) == len(SEEDS) + 1
    bars = [feed.fetch(asset, EPOCH, EPOCH + 5 * DAY, LATER) for feed in feeds for asset in ("BTC", "ETH", "SPYX")]
    returns = np.array([np.diff(np.log(b.close)) for b in bars])
    correlation = np.corrcoef(returns) - np.eye(len(returns))
    assert np.abs(correlation).max() < 5 / np.sqrt(returns.shape[1])


def test_gaps_remove_bars_and_change_none(rulebook):
    whole = SimulatedFeed(rulebook, seed=7).fetch("BTC", EPOCH, EPOCH + 3 * DAY, LATER)
    holed = SimulatedFeed(rulebook, seed=7, gaps=0.2).fetch("BTC", EPOCH, EPOCH + 3 * DAY, LATER)
    kept = np.isin(whole.timestamp, holed.timestamp)
    assert same(Bars.from_columns({name: column[kept] for name, column in whole.columns().items()}), holed)
    assert kept.mean() < 0.85


# --- bars as bars should be


@pytest.mark.parametrize("second", [0, 1, 59])
def test_no_bar_is_returned_before_it_is_closed(feed, second):
    now = EPOCH + DAY + 1234 * 60 + second
    bars = feed.fetch("BTC", EPOCH, EPOCH + 2 * DAY, now)
    assert bars.timestamp[-1] == EPOCH + DAY + 1233 * 60
    assert same(bars, feed.fetch("BTC", EPOCH, EPOCH + 2 * DAY, LATER).known_at(now))
    assert len(feed.fetch("BTC", EPOCH + DAY, EPOCH + 2 * DAY, EPOCH + DAY + 59)) == 0


def test_an_empty_range_is_empty(feed):
    assert len(feed.fetch("BTC", EPOCH, EPOCH, LATER)) == 0


@pytest.mark.parametrize("start", [EPOCH - 60, 0])
def test_there_is_nothing_before_the_epoch(feed, start):
    with pytest.raises(FeedError, match="2025-06-01"):
        feed.fetch("BTC", start, EPOCH + 60, LATER)


def test_an_unknown_asset_is_an_error(feed):
    with pytest.raises(RulebookError):
        feed.fetch("NOSUCH", EPOCH, EPOCH + 60, LATER)


def test_every_asset_of_the_rulebook_has_a_market(feed, rulebook):
    for asset in rulebook.symbols:
        bars = feed.fetch(asset, EPOCH, EPOCH + DAY, LATER)
        assert len(bars) == 1440
        assert bars.has_range.all()


@pytest.mark.parametrize("asset", ["BTC", "SPYX"])
def test_each_open_continues_the_close_before(feed, asset):
    bars = feed.fetch(asset, EPOCH, EPOCH + 30 * DAY, LATER)
    inside = bars.timestamp[1:] % DAY != 0
    np.testing.assert_array_equal(bars.open[1:][inside], bars.close[:-1][inside])
    # Over midnight the digits kept may change with the price's magnitude.
    np.testing.assert_allclose(bars.open[1:], bars.close[:-1], rtol=2e-7)
    assert (bars.high > bars.low).mean() > 0.99


# --- the recorded truth


def returns(bars: Bars) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return minutes' labels and log-returns from open to close, which a gap does not lengthen."""
    return bars.timestamp, np.log(bars.close / bars.open)


def clock(p: MarketParameters, times: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return the daily cycle's factor of volatility, with a mean square of about 1."""
    factor = p.time_of_day * np.cos(2 * np.pi * ((times % DAY) / 3600 - 15) / 24)
    return np.exp(factor - p.time_of_day**2 / 2)


def weekend(times: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    return (times // DAY + 3) % 7 >= 5


def samples(
    rulebook: Rulebook, assets: tuple[str, ...], seeds: Iterable[int] = SEEDS
) -> Iterator[tuple[MarketParameters, Bars]]:
    for seed, asset in itertools.product(seeds, assets):
        feed = SimulatedFeed(rulebook, seed=seed)
        parts = [feed.fetch(asset, EPOCH + 30 * DAY * i, EPOCH + 30 * DAY * (i + 1), LATER) for i in range(DAYS // 30)]
        yield feed.parameters(asset), Bars.concatenate(parts)


@pytest.fixture(scope="module")
def always(rulebook: Rulebook) -> list[tuple[MarketParameters, Bars]]:
    return list(samples(rulebook, ROUND_THE_CLOCK))


@pytest.fixture(scope="module")
def equities(rulebook: Rulebook) -> list[tuple[MarketParameters, Bars]]:
    return list(samples(rulebook, EQUITIES))


def mean_square(values: npt.NDArray[np.float64]) -> float:
    return float(np.mean(values**2))


def without_jumps(p: MarketParameters, r: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return returns of at most 9 typical standard deviations of a minute: most jumps are longer."""
    return r[np.abs(r) < 9 * p.sigma_per_hour / np.sqrt(60)]


@pytest.mark.ci
def test_volatility_is_the_recorded_one(rulebook, always):
    squares = []
    for p, bars in (*always, *samples(rulebook, ROUND_THE_CLOCK, seeds=(4, 5, 6))):
        t, r = returns(bars)
        jumps = p.jumps_per_day / 1440 * p.jump_size**2
        squares.append(60 * (mean_square(r[~weekend(t)]) - jumps) / p.sigma_per_hour**2)
    # A sample of 60 days is uncertain by 6 %, for volatility itself varies; all of them by 1.1 %.
    assert np.abs(np.sqrt(squares) - 1).max() < 0.2
    assert np.sqrt(np.mean(squares)) == pytest.approx(1, abs=0.03)


def test_weekends_are_as_quiet_as_recorded(always):
    ratios = []
    for p, bars in always:
        t, r = returns(bars)
        quiet, busy = (np.sqrt(mean_square(without_jumps(p, r[days]))) for days in (weekend(t), ~weekend(t)))
        ratios.append(quiet / busy / p.weekend)
    assert np.mean(ratios) == pytest.approx(1, abs=0.05)


def test_equities_are_as_quiet_off_hours_as_recorded(equities):
    ratios = []
    for p, bars in equities:
        t, r = returns(bars)
        r = np.where(np.abs(r) < 9 * p.sigma_per_hour / np.sqrt(60), r, 0) / clock(p, t)
        session, week = in_session(t), ~weekend(t)
        ratios.append(np.sqrt(mean_square(r[week & ~session]) / mean_square(r[week & session])) / p.off_hours)
    assert {p.off_hours for p, _ in equities} == {0.5}
    assert np.mean(ratios) == pytest.approx(1, abs=0.06)


def test_round_the_clock_assets_do_not_heed_the_session(always):
    ratios = []
    for p, bars in always:
        t, r = returns(bars)
        r = np.where(np.abs(r) < 9 * p.sigma_per_hour / np.sqrt(60), r, 0) / clock(p, t)
        session, week = in_session(t), ~weekend(t)
        ratios.append(np.sqrt(mean_square(r[week & ~session]) / mean_square(r[week & session])))
    assert np.mean(ratios) == pytest.approx(1, abs=0.06)


def test_the_daily_cycle_has_the_recorded_amplitude_and_peak(always):
    logs = []
    for p, bars in always:
        t, r = returns(bars)
        r = np.where(np.abs(r) < 9 * p.sigma_per_hour / np.sqrt(60), r, 0) / p.sigma_per_hour
        logs.append([mean_square(r[t % DAY // 3600 == hour]) for hour in range(24)])
    level = 0.5 * np.log(np.mean(logs, axis=0))
    angle = 2 * np.pi * (np.arange(24) + 0.5) / 24
    a, b = 2 * np.mean(level * np.cos(angle)), 2 * np.mean(level * np.sin(angle))
    assert np.hypot(a, b) == pytest.approx(always[0][0].time_of_day, abs=0.04)
    assert np.arctan2(b, a) % (2 * np.pi) * 24 / (2 * np.pi) == pytest.approx(15, abs=0.6)


def hourly_levels(p: MarketParameters, bars: Bars) -> npt.NDArray[np.float64]:
    """Return the logarithm of each hour's volatility, its daily and weekly profile taken out."""
    t, r = returns(bars)
    r = np.where(np.abs(r) < 9 * p.sigma_per_hour / np.sqrt(60), r, 0)
    r = r / clock(p, t) / np.where(weekend(t), p.weekend, 1.0)
    return 0.5 * np.log(np.mean(r.reshape(-1, 60) ** 2, axis=1))


def test_volatility_clusters_with_the_recorded_half_life_and_spread(always):
    at = {lag: [] for lag in (3, 9)}
    for p, bars in always:
        level = hourly_levels(p, bars) - np.log(p.sigma_per_hour / np.sqrt(60)) + p.volatility_spread**2
        for lag, values in at.items():
            values.append(np.mean(level[lag:] * level[:-lag]))
    p = always[0][0]
    near, far = np.mean(at[3]), np.mean(at[9])
    # Covariances of a decaying exponential; the noise of each hour's estimate is in neither.
    half_life = 6 * np.log(0.5) / np.log(far / near)
    assert half_life == pytest.approx(p.volatility_half_life, rel=0.25)
    assert np.sqrt(near * 2 ** (3 / p.volatility_half_life)) == pytest.approx(p.volatility_spread, rel=0.1)


def test_jumps_come_as_often_and_as_large_as_recorded(always):
    jumps = expected = 0.0
    squares = []
    for p, bars in always:
        t, r = returns(bars)
        local = np.repeat(np.exp(hourly_levels(p, bars)), 60) * clock(p, t) * np.where(weekend(t), p.weekend, 1.0)
        limit = np.maximum(6 * local, p.jump_size / 3)
        found = np.abs(r) > limit
        jumps += found.sum()
        squares += (r[found] / p.jump_size).tolist()
        expected += p.jumps_per_day / 1440 * np.sum(two_sided_tail(limit / p.jump_size))
    assert jumps == pytest.approx(expected, abs=4 * np.sqrt(expected))
    assert jumps > 100
    # A normal variable beyond a third or more of its standard deviation.
    assert 1.0 < np.mean(np.square(squares)) < 1.8


def two_sided_tail(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    from scipy.special import erfc

    return erfc(x / np.sqrt(2))


def kurtosis(r: npt.NDArray[np.float64]) -> float:
    return float(np.mean(r**4) / np.mean(r**2) ** 2)


def test_jumps_make_heavy_tails(always):
    for p, bars in always:
        _, r = returns(bars)
        assert kurtosis(r) > 2 * kurtosis(without_jumps(p, r))
        assert kurtosis(r) > 15
        assert 3.5 < kurtosis(without_jumps(p, r)) < 9  # stochastic volatility alone


@pytest.mark.parametrize("gaps", [0.01, 0.2, 0.5])
def test_gaps_have_the_recorded_share(rulebook, gaps):
    feed = SimulatedFeed(rulebook, seed=7, gaps=gaps)
    minutes = 30 * 1440
    missing = minutes - len(feed.fetch("BTC", EPOCH, EPOCH + 30 * DAY, LATER))
    assert missing == pytest.approx(gaps * minutes, abs=4 * np.sqrt(minutes * gaps * (1 - gaps)))
    assert feed.truth("BTC")["gaps"] == gaps


def test_the_recorded_truth_is_the_parameters(feed):
    truth = feed.truth("SPYX")
    assert MarketParameters(**truth) == feed.parameters("SPYX")
    assert replace(feed.parameters("SPYX"), off_hours=1.0) != feed.parameters("SPYX")
    assert feed.fetch("BTC", EPOCH, EPOCH + 60, LATER).open[0] == feed.truth("BTC")["price"]
