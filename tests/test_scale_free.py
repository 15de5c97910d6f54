"""One reference ensemble, scaled by each prompt's volatility, scores what the scaled paths would."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from ewmalab.rulebook import Competition, ScoringInterval, ScoringRule, load_rulebook
from ewmalab.scoring import sorting_network as network
from ewmalab.scoring.change_plan import ABSOLUTE, plan_changes
from ewmalab.scoring.crps import score_log_returns, score_paths
from ewmalab.scoring.scale_free import Observations, scale_free_scores
from ewmalab.scoring.scale_free_kernels import TERMS
from ewmalab.times import parse_time

Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]

BOOK = load_rulebook()
# either side of the day on which gaps stopped being scored as series
COMPETITIONS = {
    f"{name} on {date}": BOOK.at(parse_time(date)).competitions[name]
    for date in ("2026-01-20", "2026-05-01")
    for name in ("24h", "1h")
}
HOURLY = COMPETITIONS["1h on 2026-05-01"]
HOLES = {"none": [], "first": [0], "inside": [7, 30, 31, 36], "last": [-1], "first and inside": [0, 12, 55]}


def steps_of(competition: Competition) -> int:
    return competition.time_length // competition.time_increment


def on_grid(path: Floats, fineness: int) -> Singles:
    """Round to multiples of 1 / fineness: float32 then holds differences exactly, and only the method can err."""
    assert np.ptp(path) * fineness < 2**24
    return (np.round(path * fineness) / fineness).astype(np.float32)


def reference(n: int, steps: int, seed: int = 0) -> Singles:
    """Heavy-tailed paths of unit steps, time along the first axis."""
    moves = np.random.default_rng(seed).standard_t(4, (steps, n)) / math.sqrt(2)
    return on_grid(np.concatenate([np.zeros((1, n)), np.cumsum(moves, axis=0)]), 2**16)


def prompts(competition: Competition, count: int, seed: int = 1) -> tuple[Floats, Floats, Floats]:
    """Volatility (p,), anchors (p,) and realised prices (p, steps + 1), whose first is not the anchor."""
    rng = np.random.default_rng(seed)
    volatility = np.exp(rng.uniform(math.log(1e-5), math.log(1e-3), count))
    anchors = rng.uniform(0.1, 1e5, count)
    moves = rng.standard_t(4, (count, steps_of(competition) + 1)) * volatility[:, None]
    return volatility, anchors, anchors[:, None] * np.exp(np.cumsum(moves, axis=1))


def observe(competition: Competition, anchors: Floats, realised: Floats) -> Observations:
    return Observations.of(competition.scoring, competition.time_increment, anchors, realised)


def score_of_paths(competition: Competition, log_returns: Singles, s: float, anchor: float, truth: Floats) -> float:
    paths = anchor * np.exp(s * log_returns.T.astype(np.float64))
    return score_paths(paths, truth, competition.scoring, competition.time_increment).total


# ------------------------------------------------------------------------------------------- same as the paths


@pytest.mark.parametrize("name", COMPETITIONS)
@pytest.mark.parametrize("n", [1, 2, 7, 64, 100, 1000, 1024])
def test_scores_equal_those_of_the_scaled_paths(name: str, n: int) -> None:
    competition = COMPETITIONS[name]
    log_returns = reference(n, steps_of(competition), seed=n)
    volatility, anchors, realised = prompts(competition, len(HOLES), seed=n + 1)
    for truth, holes in zip(realised, HOLES.values(), strict=True):
        truth[holes] = np.nan
    scores = scale_free_scores(log_returns, volatility, observe(competition, anchors, realised))
    for score, s, anchor, truth in zip(scores, volatility, anchors, realised, strict=True):
        assert score == pytest.approx(score_of_paths(competition, log_returns, s, anchor, truth), rel=1e-9)
        scaled = (s * log_returns).astype(np.float32)
        rule, dt = competition.scoring, competition.time_increment
        assert score == pytest.approx(score_log_returns(scaled, anchor, truth, rule, dt).total, rel=1e-6)


@pytest.mark.parametrize("name", COMPETITIONS)
def test_where_nothing_came_the_score_is_zero(name: str) -> None:
    competition = COMPETITIONS[name]
    volatility, anchors, realised = prompts(competition, 2)
    realised[0] = np.nan
    scores = scale_free_scores(
        reference(10, steps_of(competition)), volatility, observe(competition, anchors, realised)
    )
    assert scores[0] == 0.0 < scores[1]


@pytest.mark.parametrize("holes", [[-1], [7, 30]])
def test_absolute_changes_before_the_end_need_the_last_price_too(holes: list[int]) -> None:
    # an absolute interval shorter than the horizon: no rule of the rulebook has one yet
    intervals = (ScoringInterval("15min_abs", 900, "abs"), ScoringInterval("5min", 300, "changes"))
    scoring = ScoringRule("test", intervals, gaps_as_series=False, volatility_blocks=())
    competition = replace(HOURLY, scoring=scoring)
    log_returns = reference(20, 60)
    volatility, anchors, realised = prompts(competition, 1)
    realised[0, holes] = np.nan
    score = scale_free_scores(log_returns, volatility, observe(competition, anchors, realised))[0]
    expected = score_of_paths(competition, log_returns, volatility[0], anchors[0], realised[0])
    assert score == pytest.approx(expected, rel=1e-9)


def test_no_prompts_have_no_scores() -> None:
    none = observe(HOURLY, np.empty(0), np.empty((0, 61)))
    assert scale_free_scores(reference(10, 60), np.empty(0), none).shape == (0,)


# ------------------------------------------------------------------------------------------------ beyond series


def jumpy(n: int) -> Singles:
    """An hour of paths most of which move by 1e-3, while a few jump by 2 up or down, some twice."""
    rng = np.random.default_rng(n)
    moves = rng.standard_normal((60, n)) * 1e-3
    for member in range(0, n, 10):
        moves[rng.integers(60, size=2), member] += rng.choice([-2.0, 2.0], 2)
    path = np.concatenate([np.zeros((1, n)), np.cumsum(moves, axis=0)])
    return on_grid(path, 2**20)


def by_the_formula(log_returns: Singles, s: float, anchor: float, truth: Floats, terms: int | None) -> float:
    """The score as the module's formula reads, of exponentials or of their series alone."""
    plan = plan_changes(HOURLY.scoring, HOURLY.time_increment, 60)
    total = 0.0
    n = log_returns.shape[1]
    i = np.arange(n)
    for begin, end, kind, series in zip(plan.begin, plan.end, plan.kind, plan.series, strict=True):
        z = s * np.sort(log_returns[end].astype(np.float64) - log_returns[begin])
        x = np.expm1(z) if terms is None else sum(z**m / math.factorial(m) for m in range(1, terms + 1))
        base, factor = (anchor, anchor / truth[-1]) if kind == ABSOLUTE else (truth[begin], 1.0)
        y = truth[end] / base - 1.0
        k = int((np.expm1(z) <= y).sum())
        crps = y * (2 * k / n - 1) + (x * (1 / n - (2 * i - n + 1) / n**2)).sum() - 2 / n * x[:k].sum()
        total += 1e4 * factor * crps * plan.series_of.count(int(series))
    return total


@pytest.mark.parametrize("n", [1, 7, 100, 1000])
@pytest.mark.parametrize(
    ("s", "error"),
    [(0.24, 1e-8), (0.3, 1e-12), (1.0, 1e-12), (3.0, 1e-12)],  # jumps of 0.48, the most that series carry, to 12
)
def test_members_far_out_are_exact_too(n: int, s: float, error: float) -> None:
    log_returns = jumpy(n)
    moves = np.random.default_rng(0).standard_normal((2, 61)) * 1e-3
    moves[1, 30] = 3.0  # what came may lie far out as well
    truth = 50.0 * np.exp(np.cumsum(moves, axis=1))
    scores = scale_free_scores(log_returns, np.full(2, s), observe(HOURLY, np.full(2, 50.0), truth))
    for score, row in zip(scores, truth, strict=True):
        assert score == pytest.approx(score_of_paths(HOURLY, log_returns, s, 50.0, row), rel=error)


def test_the_series_alone_would_be_noticed() -> None:
    log_returns = jumpy(100)
    truth = 50.0 * np.exp(np.cumsum(np.random.default_rng(0).standard_normal(61) * 1e-3))
    exact = score_of_paths(HOURLY, log_returns, 1.0, 50.0, truth)
    assert by_the_formula(log_returns, 1.0, 50.0, truth, None) == pytest.approx(exact, rel=1e-12)
    assert by_the_formula(log_returns, 1.0, 50.0, truth, TERMS) != pytest.approx(exact, rel=1e-6)


# ------------------------------------------------------------------------------------------------- side by side


@pytest.mark.parametrize("others", [1, 5, 63, 64, 65, 200])
def test_the_bits_of_a_prompt_do_not_depend_on_its_neighbours(others: int) -> None:
    log_returns = reference(100, 60)
    volatility, anchors, realised = prompts(HOURLY, others + 1)
    volatility[::3] *= 50.0  # some beyond the series, among some within
    together = scale_free_scores(log_returns, volatility, observe(HOURLY, anchors, realised))
    for p in {0, others // 2, others}:
        one = slice(p, p + 1)
        alone = scale_free_scores(log_returns, volatility[one], observe(HOURLY, anchors[one], realised[one]))
        assert alone.tobytes() == together[one].tobytes()


def test_joined_observations_score_like_their_parts() -> None:
    log_returns = reference(100, 60)
    volatility, anchors, realised = prompts(HOURLY, 7)
    realised[2, 5] = np.nan
    cuts = [slice(0, 1), slice(1, 5), slice(5, 7)]
    parts = [observe(HOURLY, anchors[cut], realised[cut]) for cut in cuts]
    apart = np.concatenate(
        [scale_free_scores(log_returns, volatility[cut], part) for cut, part in zip(cuts, parts, strict=True)]
    )
    joined = scale_free_scores(log_returns, volatility, Observations.concatenate(parts))
    assert joined.tobytes() == apart.tobytes()


# ------------------------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize(("prompt_count", "steps"), [(2, 60), (4, 60), (3, 59)])
def test_shapes_that_do_not_belong_together_are_refused(prompt_count: int, steps: int) -> None:
    _, anchors, realised = prompts(HOURLY, 3)
    with pytest.raises(ValueError, match="do not fit observations of 3 prompts up to point 60"):
        scale_free_scores(reference(10, steps), np.full(prompt_count, 1e-3), observe(HOURLY, anchors, realised))


def test_a_rule_with_a_volatility_term_is_refused() -> None:
    competition = BOOK.at(parse_time("2026-10-01")).competitions["crypto-1h"]
    _, anchors, realised = prompts(competition, 1)
    with pytest.raises(ValueError, match="has a volatility term"):
        observe(competition, anchors, realised)


# ------------------------------------------------------------------------------------------------ sorted changes


@pytest.mark.parametrize("n", [1, 2, 7, 8, 9, 63, 64, 65, 100, 1000, 1024, 1025])
@pytest.mark.parametrize("count", [1, 5, 64])
def test_sorted_changes_are_the_differences_in_order(n: int, count: int) -> None:
    rng = np.random.default_rng(100 * n + count)
    log_returns = np.cumsum(rng.standard_normal((70, n)) * 1e-3, axis=0).astype(np.float32)
    log_returns[:, : n // 3] = np.round(log_returns[:, : n // 3], 3) + 0.0  # ties, none of them between -0 and 0
    begin = rng.integers(0, 35, count)
    end = begin + rng.integers(1, 35, count)
    out = np.empty((count, n), np.float32)
    buffer = np.full(network.padded(n) * network.WIDTH, np.nan, np.float32)  # stale content must not matter
    network.sort_changes(log_returns, begin, end, buffer, out)
    assert out.tobytes() == np.sort(log_returns[end] - log_returns[begin], axis=1).tobytes()
