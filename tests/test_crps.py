"""Ensembles score what validators, other implementations and the definition say."""

from __future__ import annotations

import json
import math
import sys
import warnings
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ewmalab.errors import PredictionError
from ewmalab.rulebook import ScoringInterval, ScoringRule, load_rulebook
from ewmalab.scoring.crps import INVALID, Score, crps_ensemble, score_log_returns, score_paths
from ewmalab.times import parse_time

Floats = npt.NDArray[np.float64]

GOLDEN_CASES = 26
ERAS = {
    "before_2026_03_11": ("2026-02-01", "1h"),
    "since_2026_03_11": ("2026-05-01", "1h"),
    "since_2026_09_22": ("2026-10-01", "crypto-1h"),
}
BOOK = load_rulebook()


def rule(era: str, horizon: str) -> ScoringRule:
    date, hour = ERAS[era]
    return BOOK.at(parse_time(date)).select(["24h" if horizon == "low" else hour])[0].scoring


DAILY = rule("since_2026_03_11", "low")
HOURLY = rule("since_2026_09_22", "high")


@pytest.fixture(scope="session")
def golden(shared_dir: Path) -> list[dict[str, Any]]:
    cases: list[dict[str, Any]] = json.loads((shared_dir / "golden" / "crps_cases.json").read_text())
    return cases


@lru_cache(maxsize=GOLDEN_CASES)
def inputs(
    seed: int, low: bool, n: int, dof: float, sigma: float, price: float, nan_pattern: str, zero_price: bool
) -> tuple[Floats, Floats]:
    """Paths (n, steps + 1) and realised prices of a golden case, which stores the recipe only."""
    steps = 288 if low else 60
    rng = np.random.default_rng(seed)
    changes = rng.standard_t(dof, size=(n, steps)) * sigma
    paths = price * np.exp(np.concatenate([np.zeros((n, 1)), np.cumsum(changes, axis=1)], axis=1))
    realised = price * np.exp(np.concatenate([[0.0], np.cumsum(rng.standard_normal(steps) * sigma)]))
    size = len(realised)
    missing: dict[str, Any] = {
        "none": [],
        "first": 0,
        "last": -1,
        "block": slice(size // 3, size // 2),
        "alternate": slice(1, None, 2),
        "random20": np.random.default_rng(seed + 10_000).random(size) < 0.2,
        "only_first_last": slice(1, -1),
        "all": slice(None),
    }
    realised[missing[nan_pattern]] = np.nan
    if zero_price:
        paths[n // 2, steps // 2] = 0.0
    return paths, realised


def case_inputs(case: dict[str, Any]) -> tuple[Floats, Floats, int]:
    low = case["competition"] == "low"
    paths, realised = inputs(
        case["seed"],
        low,
        case["num_simulations"],
        case["dof"],
        case["sigma"],
        case["price"],
        case["nan_pattern"],
        case["zero_price"],
    )
    return paths, realised, 300 if low else 60


def close(expected: float) -> Any:
    return pytest.approx(expected, rel=1e-9, abs=1e-9)


# ------------------------------------------------------------------------------------------- golden cases


def test_no_golden_case_goes_unchecked(golden: list[dict[str, Any]]) -> None:
    assert len(golden) == GOLDEN_CASES
    assert {case["nan_pattern"] for case in golden} >= {"none", "first", "last", "block", "alternate", "all"}


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("number", range(GOLDEN_CASES))
def test_scores_equal_the_validators(golden: list[dict[str, Any]], number: int, era: str) -> None:
    case = golden[number]
    paths, realised, dt = case_inputs(case)
    expected = case[era]
    score = score_paths(paths, realised, rule(era, case["competition"]), dt)

    assert score.total == close(expected["total"])
    if "increments" in expected:
        assert score.changes == expected["increments"]
    for name, value in expected.get("intervals", {}).items():
        if name != "Overall":
            assert score.intervals[name] == close(value), name
    if "volatility_term" in expected and not case["zero_price"]:
        assert score.volatility_term == close(expected["volatility_term"])
        plain = sum(score.intervals.values())
        assert score.total == close(plain + expected["volatility_term"])
    if "intervals" in expected:
        assert score.volatility is None
        assert score.volatility_term == 0.0


def test_volatility_blocks_equal_the_validators(golden: list[dict[str, Any]]) -> None:
    hours = [case for case in golden if case["competition"] == "high" and not case["zero_price"]]
    assert len(hours) >= 10
    for case in hours:
        paths, realised, dt = case_inputs(case)
        volatility = score_paths(paths, realised, HOURLY, dt).volatility
        assert volatility is not None
        expected = case["since_2026_09_22"]["volatility_blocks"]
        for seconds, value in volatility.items():  # validators leave out blocks that could not be scored
            assert value == close(expected.get(f"vol_{seconds // 60}min", 0.0)), case["id"]
        assert len(expected) in (0, len(volatility))


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("number", range(GOLDEN_CASES))
def test_log_returns_score_like_paths(golden: list[dict[str, Any]], number: int, era: str) -> None:
    case = golden[number]
    paths, realised, dt = case_inputs(case)
    paths = np.where(paths > 0.0, paths, case["price"])  # no log-return stands for a price of zero
    scoring = rule(era, case["competition"])
    log_returns = np.ascontiguousarray(np.log(paths / paths[:, :1]).T.astype(np.float32))
    fast = score_log_returns(log_returns, case["price"], realised, scoring, dt)
    slow = score_paths(case["price"] * np.exp(log_returns.T.astype(np.float64)), realised, scoring, dt)
    assert fast.total == pytest.approx(slow.total, rel=1e-6, abs=1e-9)
    assert fast.changes == slow.changes
    assert fast.volatility_term == pytest.approx(slow.volatility_term, rel=1e-5, abs=1e-9)
    for name, value in slow.intervals.items():
        assert fast.intervals[name] == pytest.approx(value, rel=1e-5, abs=1e-9), name


# -------------------------------------------------------------------------------- ensembles of plain numbers


def ensembles(seed: int, members: int) -> tuple[Floats, Floats]:
    """Observations and members of mixed size and offset, as changes in basis points are."""
    rng, rows = np.random.default_rng(seed), max(5, min(40, 5000 // members))
    scale = np.exp(rng.uniform(-3, 6, size=(rows, 1)))
    offset = rng.normal(size=(rows, 1)) * scale
    return (offset + scale * rng.normal(size=(rows, 1)))[:, 0], offset + scale * rng.standard_t(4, size=(rows, members))


@pytest.fixture(scope="module")
def others() -> dict[str, Callable[..., Any]]:
    """Other implementations in numpy: where they find numba they compile all they have on import, for seconds."""
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore")  # they warn about their own dependencies on import
        patch.setitem(sys.modules, "numba", None)
        import properscoring
        import scoringrules
    return {
        "properscoring": properscoring.crps_ensemble,
        "scoringrules": partial(scoringrules.crps_ensemble, estimator="nrg"),
    }


@pytest.mark.parametrize("members", [1, 2, 3, 10, 127, 128, 129, 1000])
def test_float64_equals_other_implementations(members: int, others: dict[str, Callable[..., Any]]) -> None:
    observed, values = ensembles(members, members)
    ours = crps_ensemble(observed, values)
    assert ours.dtype == np.float64
    for other in others.values():
        np.testing.assert_allclose(ours, other(observed, values), rtol=1e-12)


@pytest.mark.parametrize("members", [2, 3, 10, 127, 128, 129, 1000])
def test_float32_equals_other_implementations(members: int, others: dict[str, Callable[..., Any]]) -> None:
    observed, values = (array.astype(np.float32) for array in ensembles(members, members))
    ours = crps_ensemble(observed, values)
    assert ours.dtype == np.float64
    exact = observed.astype(np.float64), values.astype(np.float64)
    for other in others.values():
        np.testing.assert_allclose(ours, other(*exact), rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_known_value(dtype: type) -> None:
    # mean distance 2; mean pair distance (3 + 4 + 1) * 2 / 9; half of it is 8 / 9
    members: Floats = np.array([0.0, 3.0, 4.0], dtype)
    assert crps_ensemble(2.0, members) == pytest.approx(5 / 3 - 8 / 9, rel=1e-6)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_point_ensemble_scores_its_distance(dtype: type) -> None:
    assert crps_ensemble(7.5, np.full(100, 5.0, dtype)) == pytest.approx(2.5)
    assert crps_ensemble(5.0, np.full(100, 5.0, dtype)) == 0.0


def test_leading_shapes_are_kept() -> None:
    rng = np.random.default_rng(0)
    observed, members = rng.normal(size=(2, 3, 4)), rng.normal(size=(2, 3, 4, 50))
    together = crps_ensemble(observed, members)
    assert together.shape == (2, 3, 4)
    assert crps_ensemble(observed[1, 2, 3], members[1, 2, 3]) == together[1, 2, 3]
    assert crps_ensemble(np.empty((0, 2)), np.empty((0, 2, 5))).shape == (0, 2)


def test_integers_and_lists_are_taken_as_float64() -> None:
    assert crps_ensemble(0, [-1, 1]) == 0.5
    assert crps_ensemble([0, 1], [[-1, 1], [0, 2]]).tolist() == [0.5, 0.5]


def test_inputs_are_left_alone() -> None:
    members = np.array([[3.0, 1.0, 2.0]])
    crps_ensemble([2.0], members)
    assert members.tolist() == [[3.0, 1.0, 2.0]]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_nan_in_an_observation_or_a_member_makes_that_score_nan(dtype: type) -> None:
    observed = np.array([0.0, np.nan, 0.0, 1.0])
    members: Floats = np.array([[0.0, 1.0], [0.0, 1.0], [np.nan, 1.0], [0.0, 2.0]], dtype)
    score = crps_ensemble(observed, members)
    assert np.isnan(score).tolist() == [False, True, True, False]
    assert score[[0, 3]].tolist() == [0.25, 0.5]


@pytest.mark.parametrize(
    ("observed", "members"),
    [(0.0, []), (0.0, 1.0), ([0.0], [1.0, 2.0]), ([0.0, 1.0], [[1.0, 2.0]]), ([[0.0]], [[1.0, 2.0]])],
)
def test_shapes_that_do_not_belong_together_are_refused(observed: Any, members: Any) -> None:
    with pytest.raises(ValueError, match="members"):
        crps_ensemble(observed, members)


moderate = st.floats(-1e6, 1e6, allow_subnormal=False)
some_members = hnp.arrays(np.float64, st.integers(1, 40), elements=moderate)


@given(moderate, some_members)
def test_crps_is_not_negative_and_at_most_the_mean_distance(observed: float, members: Floats) -> None:
    score = float(crps_ensemble(observed, members))
    distance = float(np.abs(members - observed).mean())
    slack = 1e-9 * max(1.0, distance)
    assert -slack <= score <= distance + slack


@given(moderate, some_members, st.randoms(use_true_random=False))
def test_order_of_members_does_not_matter(observed: float, members: Floats, random: Any) -> None:
    shuffled = members.tolist()
    random.shuffle(shuffled)
    assert crps_ensemble(observed, shuffled) == crps_ensemble(observed, members)


@given(moderate, some_members, st.floats(1e-3, 1e3), moderate)
def test_crps_scales_with_its_unit_and_ignores_the_origin(
    observed: float, members: Floats, factor: float, shift: float
) -> None:
    score = float(crps_ensemble(observed, members))
    size = max(1.0, abs(observed), float(np.abs(members).max()), abs(shift))
    scaled = float(crps_ensemble(factor * observed, factor * members))
    assert scaled == pytest.approx(factor * score, rel=1e-9, abs=1e-12 * factor * size)
    moved = float(crps_ensemble(observed + shift, members + shift))
    assert moved == pytest.approx(score, rel=1e-9, abs=1e-12 * size)
    mirrored = float(crps_ensemble(-observed, -members))
    assert mirrored == pytest.approx(score, rel=1e-9, abs=1e-12 * size)


@given(moderate, some_members)
def test_repeating_every_member_changes_nothing(observed: float, members: Floats) -> None:
    size = max(1.0, abs(observed), float(np.abs(members).max()))
    twice = float(crps_ensemble(observed, np.repeat(members, 2)))
    assert twice == pytest.approx(float(crps_ensemble(observed, members)), rel=1e-9, abs=1e-12 * size)


# ------------------------------------------------------------------------------------- ensembles of paths


def walk(seed: int, n: int, steps: int, sigma: float = 1e-3) -> Floats:
    noise = np.random.default_rng(seed).normal(size=(n, steps)) * sigma
    return np.asarray(100.0 * np.exp(np.concatenate([np.zeros((n, 1)), noise.cumsum(axis=1)], axis=1)))


def naive_crps(observed: float, members: Floats) -> float:
    pairs = np.abs(members[:, None] - members[None, :]).mean()
    return float(np.abs(members - observed).mean() - pairs / 2)


def test_an_hour_scores_what_the_definition_says() -> None:
    """A plain transcription of the subnet's rule, volatility term included, on a path with holes."""
    paths, realised = walk(1, 20, 60), walk(2, 1, 60)[0]
    realised[[7, 31]] = np.nan
    score = score_paths(paths, realised, HOURLY, 60)

    def bp(prices: Floats, stride: int) -> Floats:
        points = prices[..., ::stride]
        return np.asarray(1e4 * np.diff(points) / points[..., :-1])

    total, changes = 0.0, 0
    for interval in HOURLY.intervals:
        stride = interval.seconds // 60
        if interval.kind == "abs":
            stride = min(stride, 60)
            columns, truth = paths[:, ::stride][:, 1:], realised[::stride][1:]
            factor = 1e4 / realised[-1]
        else:
            last = 1 if interval.kind == "gap" else None
            columns, truth, factor = bp(paths, stride)[:, :last], bp(realised, stride)[:last], 1.0
        kept = np.flatnonzero(~np.isnan(truth))
        value = sum(factor * naive_crps(truth[k], columns[:, k]) for k in kept)
        assert score.intervals[interval.name] == close(value), interval.name
        total, changes = total + value, changes + len(kept)
    for seconds, weight in HOURLY.volatility_blocks:
        length, block_sum = seconds // 60, 0.0
        for first in range(0, 60, length):
            truth = bp(realised, 1)[first : first + length]
            truth = truth[~np.isnan(truth)]
            members = bp(paths, 1)[:, first : first + length].std(axis=1, ddof=1)
            if len(truth) >= 2:
                block_sum += naive_crps(float(truth.std(ddof=1)), members)
        total += weight * block_sum
        assert score.volatility is not None
        assert score.volatility[seconds] == close(block_sum)
    assert score.changes == changes
    assert score.total == close(total)


@pytest.mark.parametrize(("scoring", "steps", "dt"), [(DAILY, 288, 300), (HOURLY, 60, 60)])
def test_a_perfect_forecast_scores_zero(scoring: ScoringRule, steps: int, dt: int) -> None:
    realised = walk(3, 1, steps)[0]
    score = score_paths(np.tile(realised, (50, 1)), realised, scoring, dt)
    assert score.total == pytest.approx(0.0, abs=1e-9)
    assert score.changes > 0


@pytest.mark.parametrize(("scoring", "steps", "dt"), [(DAILY, 288, 300), (HOURLY, 60, 60)])
def test_scores_ignore_the_order_of_paths_and_the_unit_of_price(scoring: ScoringRule, steps: int, dt: int) -> None:
    paths, realised = walk(4, 30, steps), walk(5, 1, steps)[0]
    score = score_paths(paths, realised, scoring, dt)
    assert score_paths(paths[::-1], realised, scoring, dt).total == close(score.total)
    assert score_paths(1e3 * paths, 1e3 * realised, scoring, dt).total == close(score.total)
    assert all(value >= 0.0 for value in score.intervals.values())


def test_the_true_scale_scores_better_than_half_or_twice_of_it() -> None:
    realised = walk(6, 40, 288)
    mean = {
        factor: np.mean([score_paths(walk(7, 200, 288, factor * 1e-3), r, DAILY, 300).total for r in realised])
        for factor in (0.5, 1.0, 2.0)
    }
    assert mean[1.0] < min(mean[0.5], mean[2.0])


def test_a_price_of_zero_makes_an_ensemble_invalid() -> None:
    paths, realised = walk(8, 10, 60), walk(9, 1, 60)[0]
    paths[3, 17] = 0.0
    assert score_paths(paths, realised, HOURLY, 60) == Score(INVALID, {}, 0)


def test_missing_prices_everywhere_leave_nothing_to_score() -> None:
    score = score_paths(walk(10, 10, 60), np.full(61, np.nan), HOURLY, 60)
    assert score.total == 0.0
    assert score.changes == 0


def test_a_missing_last_price_drops_the_absolute_interval_only() -> None:
    paths, realised = walk(11, 10, 288), walk(12, 1, 288)[0]
    whole = score_paths(paths, realised, DAILY, 300)
    realised[-1] = np.nan
    cut = score_paths(paths, realised, DAILY, 300)
    assert whole.intervals["24hour_abs"] > 0.0
    assert cut.intervals["24hour_abs"] == 0.0
    assert cut.intervals["5min"] > 0.0


def test_gaps_were_scored_as_series_before_the_defect_was_mended() -> None:
    paths, realised = walk(13, 10, 60), walk(14, 1, 60)[0]
    old = score_paths(paths, realised, rule("before_2026_03_11", "high"), 60)
    new = score_paths(paths, realised, rule("since_2026_03_11", "high"), 60)
    assert old.intervals["0_5min_gaps"] == close(old.intervals["5min"])
    assert new.intervals["0_5min_gaps"] < old.intervals["0_5min_gaps"]
    assert old.intervals["0_60min_gaps"] == close(new.intervals["0_60min_gaps"])


@examples(25)
@given(st.integers(0, 2**32 - 1), st.integers(2, 70), st.floats(1e-5, 1e-2))
def test_log_returns_of_any_ensemble_score_like_its_paths(seed: int, n: int, sigma: float) -> None:
    paths, realised = walk(seed, n, 60, sigma), walk(seed + 1, 1, 60, sigma)[0]
    realised[1:][np.random.default_rng(seed).random(60) < 0.1] = np.nan
    log_returns = np.ascontiguousarray(np.log(paths / 100.0).T.astype(np.float32))
    exact = 100.0 * np.exp(log_returns.T.astype(np.float64))
    fast = score_log_returns(log_returns, 100.0, realised, HOURLY, 60)
    slow = score_paths(exact, realised, HOURLY, 60)
    assert math.isclose(fast.total, slow.total, rel_tol=1e-6)


@pytest.mark.parametrize("missing", [0.0, 0.1, 0.6])
def test_the_volatility_term_equals_numpys_sums_bit_for_bit(missing: float) -> None:
    paths, realised = walk(1, 70, 60, 1e-3), walk(2, 1, 60, 1e-3)[0]
    realised[np.random.default_rng(3).random(61) < missing] = np.nan
    volatility = score_paths(paths, realised, HOURLY, 60).volatility
    observed, members = (1e4 * np.diff(x) / x[..., :-1] for x in (realised, paths))
    by_time = np.ascontiguousarray(members.T)  # so that numpy adds step by step
    assert volatility is not None
    for seconds, found in volatility.items():
        crps = []
        for first in range(0, 60, seconds // 60):
            block = slice(first, first + seconds // 60)
            known = observed[block][~np.isnan(observed[block])]
            if len(known) > 1:
                spread = np.array([np.std(known, ddof=1)])
                ensemble = by_time[block].std(axis=0, ddof=1)
                crps.append(crps_ensemble(spread, ensemble[None])[0])
        assert found == np.sum(np.array(crps))


# ---------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("paths", "realised", "message"),
    [
        (np.ones(61), np.ones(61), "table"),
        (np.ones((0, 61)), np.ones(61), "n >= 1"),
        (np.ones((2, 3, 61)), np.ones(61), "table"),
        (np.ones((2, 60)), np.ones(61), "60 points"),
        (np.ones((2, 61)), np.ones((1, 61)), r"\(1, 61\)"),
        (np.ones((2, 61)), np.zeros(61), "positive"),
        (np.ones((2, 61)), np.full(61, -1.0), "positive"),
        (np.ones((2, 61)), np.full(61, np.inf), "positive"),
    ],
)
def test_prices_that_cannot_be_scored_are_refused(paths: Floats, realised: Floats, message: str) -> None:
    with pytest.raises(PredictionError, match=message):
        score_paths(paths, realised, HOURLY, 60)


@pytest.mark.parametrize("rule_", [DAILY, rule("before_2026_03_11", "high"), HOURLY])
@pytest.mark.parametrize(("bad", "at"), [(np.nan, 30), (np.inf, 30), (1e300, 7)])
def test_a_score_that_is_not_finite_is_minus_one(rule_: ScoringRule, bad: float, at: int) -> None:
    """Validators compute with what a miner sent, and replace what is not finite by -1."""
    step, points = (300, 289) if rule_ is DAILY else (60, 61)
    paths = np.full((3, points), 100.0)
    paths[1, at] = bad
    if bad == 1e300:
        paths[1, at - 1] = 1e-300
    assert score_paths(paths, np.full(points, 100.0), rule_, step).total == INVALID


@pytest.mark.parametrize("rule_", [DAILY, rule("before_2026_03_11", "high"), rule("since_2026_03_11", "high")])
def test_negative_prices_are_scored(rule_: ScoringRule) -> None:
    """Relative changes of a path do not depend on its sign; absolute prices do."""
    step, points = (300, 289) if rule_ is DAILY else (60, 61)
    rng = np.random.default_rng(0)
    paths = 100.0 * np.exp(np.cumsum(1e-3 * rng.standard_normal((20, points)), axis=1))
    truth = 100.0 * np.exp(np.cumsum(1e-3 * rng.standard_normal(points)))
    plain, mirrored = (score_paths(sign * paths, truth, rule_, step) for sign in (1, -1))
    for interval in rule_.intervals:
        if interval.kind == "abs":
            assert mirrored.intervals[interval.name] > 50 * plain.intervals[interval.name] > 0
        else:
            assert mirrored.intervals[interval.name] == pytest.approx(plain.intervals[interval.name], rel=1e-12)


def test_log_returns_need_a_realised_price_each() -> None:
    with pytest.raises(PredictionError, match="61 points, realised prices 60"):
        score_log_returns(np.zeros((61, 10), np.float32), 1.0, np.ones(60), HOURLY, 60)


def test_an_interval_shorter_than_the_increment_is_refused() -> None:
    short = ScoringRule("test", (ScoringInterval("1min", 60, "changes"),), gaps_as_series=False, volatility_blocks=())
    with pytest.raises(PredictionError, match="'1min'"):
        score_paths(np.ones((2, 61)), np.ones(61), short, 300)
