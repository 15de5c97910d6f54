"""The reference miner's random walk moves by sigma sqrt(dt / 3600) a step, with the sigma of the prompt's date."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ewmalab.errors import ForecasterError
from ewmalab.forecast.protocol import Prompt
from ewmalab.forecast.random_walk import RandomWalk
from ewmalab.market.bars import Bars
from ewmalab.rulebook import load_rulebook
from ewmalab.times import parse_time

BOOK = load_rulebook()
JANUARY = {
    "BTC": 0.00472,
    "ETH": 0.00695,
    "XAU": 0.00208,
    "SOL": 0.00782,
    "SPYX": 0.00156,
    "NVDAX": 0.00342,
    "TSLAX": 0.00332,
    "AAPLX": 0.00250,
    "GOOGLX": 0.00332,
}
NEWEST = {
    "BTC": 0.00541,
    "ETH": 0.00766,
    "XAU": 0.00312,
    "SOL": 0.00858,
    "SPYX": 0.00157,
    "NVDAX": 0.00338,
    "TSLAX": 0.00337,
    "AAPLX": 0.00259,
    "GOOGLX": 0.00322,
    "XRP": 0.00956,
    "HYPE": 0.01131,
    "WTIOIL": 0.00639,
}
CASES = [("2026-01-15", a, s) for a, s in JANUARY.items()] + [("2026-09-30", a, s) for a, s in NEWEST.items()]


def prompt(asset: str, date: str = "2026-01-15", dt: int = 300, length: int = 86_400, n: int = 1000) -> Prompt:
    start = parse_time(date)
    return Prompt(start, "24h", asset, start - 60, dt, length, n)


def changes(walk: RandomWalk, p: Prompt) -> np.ndarray:
    """Relative changes per step."""
    return np.expm1(np.diff(walk.simulate(None, p, p.stream(1)).astype(np.float64), axis=0))


@pytest.mark.parametrize(("dt", "length"), [(300, 86_400), (60, 3600)])
@pytest.mark.parametrize(("date", "asset", "sigma"), CASES)
def test_moments_are_those_of_the_reference_miner_on_the_date(date, asset, sigma, dt, length):
    x = changes(RandomWalk(BOOK.asset(asset)), prompt(asset, date, dt, length))
    step = sigma * math.sqrt(dt / 3600)
    n = x.size
    assert abs(x.mean()) < 5 * step / math.sqrt(n)
    assert x.std() == pytest.approx(step, rel=5 / math.sqrt(2 * n))
    z = x / step
    assert abs((z**3).mean()) < 5 * math.sqrt(15 / n)
    assert (z**4).mean() == pytest.approx(3, abs=5 * math.sqrt(96 / n))


def test_log_returns_lose_half_the_variance_as_relative_changes_have_mean_zero():
    # the mean of ln(1 + x) is -sigma**2 / 2, which log-normal steps without correction would lack
    walk = RandomWalk(BOOK.asset("BTC"), sigma_per_hour=0.05)
    p = prompt("BTC", n=2000)
    step = 0.05 * math.sqrt(300 / 3600)
    end = walk.simulate(None, p, p.stream(1))[-1].astype(np.float64)
    assert end.mean() == pytest.approx(-288 * step**2 / 2, abs=5 * step * math.sqrt(288 / 2000))
    steps = np.diff(walk.simulate(None, prompt("BTC"), p.stream(2)).astype(np.float64), axis=0)
    assert steps.mean() == pytest.approx(-(step**2) / 2, abs=5 * step / math.sqrt(steps.size))
    assert steps.mean() < -(step**2) / 4


def test_an_asset_the_reference_miner_did_not_know_has_its_default():
    x = changes(RandomWalk(BOOK.asset("HYPE")), prompt("HYPE", "2026-01-15"))
    assert x.std() == pytest.approx(0.005 * math.sqrt(300 / 3600), rel=0.01)


def test_volatility_changes_with_the_prompts_date_not_with_the_request():
    change = parse_time("2026-04-06")
    before = Prompt(change - 1, "24h", "BTC", change - 61, 300, 86_400, 1000)
    after = Prompt(change, "24h", "BTC", change - 60, 300, 86_400, 1000)
    walk = RandomWalk(BOOK.asset("BTC"))
    ratio = changes(walk, after).std() / changes(walk, before).std()
    assert ratio == pytest.approx(0.00541 / 0.00472, rel=0.01)


def test_a_configured_volatility_overrides_the_rulebook():
    x = changes(RandomWalk(BOOK.asset("BTC"), sigma_per_hour=0.02), prompt("BTC"))
    assert x.std() == pytest.approx(0.02 * math.sqrt(300 / 3600), rel=0.01)


def test_bars_change_nothing():
    walk = RandomWalk(BOOK.asset("BTC"))
    assert walk.initial_state() is None
    assert walk.update(None, Bars.from_closes([0, 60], [1.0, 2.0])) is None


@pytest.mark.parametrize(
    "data", [{}, {"forecaster": "ewma", "version": 1}, {"forecaster": "random-walk", "version": 2}]
)
def test_foreign_states_are_refused(data):
    with pytest.raises(ForecasterError, match="not a state of random-walk"):
        RandomWalk(BOOK.asset("BTC")).load_state(data)
