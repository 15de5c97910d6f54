"""A field is ranked as validators rank it; what files say is read or refused; estimates keep their promises."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ewmalab.analysis import earnings
from ewmalab.analysis.compare import KEY
from ewmalab.analysis.competition_field import Board, Field, board_at, moments, standings
from ewmalab.analysis.earnings import Estimate, estimate_earnings, missing_effects
from ewmalab.analysis.ranking import Questions, Ranking, rank
from ewmalab.analysis.submissions import find_predictions, prompts_of, read_scores, score_predictions
from ewmalab.errors import ExperimentError, PredictionError
from ewmalab.experiments.store import Experiment
from ewmalab.market.bars import Bars
from ewmalab.market.cache import Cache
from ewmalab.market.partition import Provenance
from ewmalab.report.text.leaderboard import leaderboard_text
from ewmalab.rulebook import RuleChoice, load_rulebook
from ewmalab.scoring.crps import score_paths
from ewmalab.scoring.leaderboard import rolling_averages, softmax_weights
from ewmalab.times import DAY, MINUTE, iso, parse_time

BOOK = load_rulebook()
HOUR = 3600
STEP = 720  # between two prompts
# The date of each transformation, and a competition of an hour that runs then.
CAP, FILL, MEDIAN = ("2026-05-01", "1h"), ("2026-08-26", "crypto-1h"), ("2026-10-01", "crypto-1h")
T = parse_time("2026-05-01")
GOLDEN_PROMPTS = 13

Floats = npt.NDArray[np.float64]
Key = tuple[str, str, int]


def scores(values: Mapping[Key, float]) -> pd.Series:
    """CRPS by competition, asset and start time."""
    return pd.Series(values, index=pd.MultiIndex.from_tuples(list(values), names=KEY), dtype=np.float64)


def field(
    miners: Mapping[str, Iterable[float]],
    rules: tuple[str, str] = CAP,
    assets: Iterable[str] | None = None,
    start: int = T,
    step: int = STEP,
) -> Field:
    """Miners' CRPS on prompts one `step` after the other; NaN where there is no answer."""
    date, competition = rules
    columns = {name: list(values) for name, values in miners.items()}
    size = len(next(iter(columns.values())))
    keys = [(competition, asset, start + step * i) for i, asset in enumerate(assets or ["BTC"] * size)]
    index = pd.MultiIndex.from_tuples(keys, names=KEY)
    miners = {name: pd.Series(values, index=index, dtype=np.float64) for name, values in columns.items()}
    return Field.of(miners, BOOK, RuleChoice.parse(date))


def averages(of: Field, when: int | None = None) -> dict[str, float]:
    found = standings(of, [moments(of)[-1] if when is None else when])
    return {s.miner: s.average for s in found if s.competition}


# ------------------------------------------------------------------------------- against hand-made numbers

NAN = float("nan")
# b is invalid once and misses once, c misses once, d comes late
ANSWERS = {"a": [10.0, 30.0, 5.0], "b": [20.0, -1.0, NAN], "c": [40.0, NAN, 100.0], "d": [NAN, 10.0, 6.0]}
ASSETS = ["BTC", "ETH", "BTC"]
# Prompt scores by transformation: the first of d is what it is back-filled with.
BY_HAND: dict[tuple[str, str], dict[str, list[float]]] = {
    # capped, and filled, at the 90th percentiles 36, 28 and 81.2
    CAP: {"a": [0, 18, 0], "b": [10, 18, 76.2], "c": [26, 18, 76.2], "d": [26, 0, 1]},
    # filled with the 95th percentiles 38, 29 and 90.6
    FILL: {"a": [0, 20, 0], "b": [10, 19, 85.6], "c": [30, 19, 95], "d": [28, 0, 1]},
    # clipped at ten times the median, 60 at last; what is left of that prompt has the 95th percentile 5.95
    MEDIAN: {"a": [0, 20, 0], "b": [10, 19, 0.95], "c": [30, 19, 55], "d": [28, 0, 1]},
}
each_transformation = pytest.mark.parametrize("rules", BY_HAND, ids=["p90_cap", "p95_fill", "median10_cap"])


@each_transformation
def test_averages_are_the_weighted_means_of_hand_made_prompt_scores(rules: tuple[str, str]) -> None:
    eth = 0.7064366394033871  # in force since 2026-04
    expected = {
        miner: (first + eth * second + third) / (2 + eth) for miner, (first, second, third) in BY_HAND[rules].items()
    }
    assert averages(field(ANSWERS, rules, ASSETS)) == pytest.approx(expected, rel=1e-12)


@each_transformation
def test_who_does_not_answer_or_answers_invalidly_gets_the_fill(rules: tuple[str, str]) -> None:
    board = field(ANSWERS, rules, ASSETS).boards[rules[1]]
    given = np.array([BY_HAND[rules][miner] for miner in "abcd"]).T
    # only the time before a first answer is left open
    np.testing.assert_allclose(board.filled(), given, rtol=1e-12)
    assert np.argwhere(np.isnan(board.scores)).tolist() == [[0, 3]]
    worst = board.fill - board.lowest
    assert board.scores[1, 1] == board.scores[1, 2] == worst[1]
    assert board.scores[2, 1] == worst[2]


def test_a_prompt_is_held_to_the_transformation_of_its_own_date() -> None:
    before, after = parse_time("2026-07-15"), parse_time("2026-07-17")
    crps = {"a": 10.0, "b": 20.0, "c": 40.0}
    joined = Field.of(
        {
            name: scores({("crypto-1h", "BTC", start): value for start in (before, after)})
            for name, value in crps.items()
        },
        BOOK,
        RuleChoice.parse("as-of"),
    )
    assert joined.boards["crypto-1h"].scores.tolist() == [[0.0, 10.0, 26.0], [0.0, 10.0, 30.0]]


def test_an_answer_that_is_not_in_the_table_is_one_that_was_not_given() -> None:
    whole = field(ANSWERS, CAP, ASSETS)
    sparse = Field.of({name: whole.crps[name].dropna() for name in whole.miners}, BOOK, whole.choice)
    pd.testing.assert_frame_equal(sparse.crps, whole.crps)


def test_an_invalid_answer_makes_a_miner_part_of_the_field() -> None:
    board = field({"a": [1.0, 2.0, 3.0], "b": [-1.0, NAN, 5.0], "c": [NAN, NAN, 5.0]}).boards["1h"]
    assert np.isnan(board.scores).sum(axis=0).tolist() == [0, 0, 2]


def test_a_newcomer_does_not_count_before_its_first_answer() -> None:
    alone = field({"a": [10.0, 20.0, 30.0], "b": [12.0, 25.0, 31.0]})
    joined = field({"a": [10.0, 20.0, 30.0], "b": [12.0, 25.0, 31.0], "c": [NAN, NAN, 40.0]})
    one, other = alone.boards["1h"], joined.boards["1h"]
    np.testing.assert_array_equal(other.scores[:2, :2], one.scores[:2])
    np.testing.assert_array_equal(other.fill[:2], one.fill[:2])


def test_a_prompt_that_nobody_answered_validly_is_dropped() -> None:
    gap = field({"a": [1.0, -1.0, 3.0], "b": [2.0, NAN, 4.0]})
    assert gap.boards["1h"].starts.tolist() == [T, T + 2 * STEP]
    # under the cap of two scores, b is 0.9 above the best both times
    assert averages(gap) == pytest.approx({"a": 0.0, "b": 0.9})


def test_a_competition_in_which_no_answer_is_valid_leaves_the_others_standing() -> None:
    one = {("24h", "BTC", T + STEP * i): 10.0 + i for i in range(3)}
    none = {("1h", "BTC", T + STEP * i): -1.0 for i in range(3)}
    joined = Field.of({"a": scores(one | none), "b": scores(one)}, BOOK, RuleChoice.parse("2026-05-01"))
    found = standings(joined, [moments(joined)[-1]])
    assert {(s.competition, s.miner, s.weight) for s in found if s.competition} == {
        ("24h", "a", 0.25),
        ("24h", "b", 0.25),
    }


def test_prompts_that_start_together_are_scored_a_second_apart() -> None:
    keys = [("1h", asset, T + STEP * i) for i in range(2) for asset in ("BTC", "ETH", "SOL")]
    board = Field.of({"a": scores(dict.fromkeys(keys, 1.0))}, BOOK, RuleChoice.parse("2026-05-01")).boards["1h"]
    settled = T + HOUR
    assert board.scored.tolist() == [settled + STEP * i + k for i in range(2) for k in range(3)]


# --------------------------------------------------------------------------------------------- golden cases


@pytest.fixture(scope="session")
def golden(shared_dir: Path) -> dict[str, list[dict[str, Any]]]:
    cases: dict[str, list[dict[str, Any]]] = json.loads((shared_dir / "golden" / "validator_cases.json").read_text())
    return cases


@pytest.mark.parametrize("rules", [CAP, FILL, MEDIAN])
def test_a_fields_prompt_scores_equal_the_validators(
    golden: dict[str, list[dict[str, Any]]], rules: tuple[str, str]
) -> None:
    transformation = BOOK.at(parse_time(rules[0])).transformation
    checked = 0
    for case in golden["prompt_scores"]:
        expected = case[transformation]
        if expected is None:  # a prompt that is dropped, which has its own test
            continue
        board = field({f"m{i}": [value] for i, value in enumerate(case["crps"])}, rules).boards[rules[1]]
        np.testing.assert_allclose(board.scores[0], expected["prompt_scores"], rtol=1e-12, atol=1e-9)
        assert (board.fill[0], board.lowest[0]) == pytest.approx((expected["fill"], expected["lowest"]), rel=1e-12)
        checked += 1
    assert checked >= GOLDEN_PROMPTS - 2


# The cases give prompt scores without the CRPS they came from. In case 1, miners begin with a row that has no score,
# which no field has: whoever has taken part gets a score or a fill.
@pytest.mark.parametrize("number", [0, 2, 3, 4, 5])
def test_a_fields_leaderboards_equal_the_validators(golden: dict[str, list[dict[str, Any]]], number: int) -> None:
    case = golden["leaderboards"][number]
    name = {"low": "24h", "high": "1h"}[case["competition"]]
    horizon = BOOK.horizon(name)
    rows = pd.DataFrame(case["scores"])
    table = rows.pivot(index="scored_time", columns="miner_id", values="prompt_score_v3")
    prompts = rows.groupby("scored_time")[["asset", "percentile90", "lowest_score"]].first()
    starts = np.array([parse_time(text) for text in table.index]) - horizon
    board = Board(
        name,
        horizon,
        starts,
        prompts["asset"].to_numpy(str),
        table.to_numpy(np.float64),
        prompts["percentile90"].to_numpy(),
        prompts["lowest_score"].to_numpy(),
        table.to_numpy(np.float64),
    )
    filled = field({str(miner): [1.0] for miner in table.columns}, (CAP[0], name))
    vars(filled)["boards"] = {name: board}
    found = board_at(filled, name, parse_time(case["scored_time"]))
    expected = case["leaderboard"]
    assert [filled.miners[i] for i in found.miners] == [str(row["miner_id"]) for row in expected]
    np.testing.assert_allclose(found.averages, [row["rolling_average"] for row in expected], rtol=1e-12)
    np.testing.assert_allclose(found.weights, [row["weight"] for row in expected], rtol=1e-9)


# ------------------------------------------------------------------------------------ standings and moments

some_crps = hnp.arrays(
    np.float64,
    st.tuples(st.integers(1, 8), st.integers(1, 5)),
    elements=st.one_of(st.just(NAN), st.just(-1.0), st.floats(0.0, 1e4, allow_subnormal=False)),
)
some_prompts = st.lists(
    st.tuples(st.sampled_from(["BTC", "ETH", "XAU"]), st.integers(0, 3)), min_size=8, max_size=8, unique=True
)


def some_field(crps: Floats, prompts: list[tuple[str, int]]) -> Field | None:
    """A field that may hold anything, or None where nobody gave a valid answer."""
    keys = [("1h", asset, T + STEP * i) for asset, i in prompts[: len(crps)]]
    made = Field.of(
        {f"m{j}": scores(dict(zip(keys, column, strict=True))) for j, column in enumerate(crps.T)},
        BOOK,
        RuleChoice.parse("2026-05-01"),
    )
    return made if len(made.boards["1h"].starts) else None


@pytest.mark.ci
@examples(30)
@given(some_crps, some_prompts)
def test_filled_scores_average_to_the_rolling_averages(crps: Floats, prompts: list[tuple[str, int]]) -> None:
    made = some_field(crps, prompts)
    if made is None:
        return
    board, weights = made.boards["1h"], BOOK.at(T).weights
    end = int(board.scored[-1])
    miners, expected = rolling_averages(board.table(), end=end, window=3 * DAY, weights=weights)
    mass = np.array([weights[asset] for asset in board.assets])
    dense = mass @ board.filled() / mass.sum()
    np.testing.assert_allclose(dense[miners], expected, rtol=1e-9, atol=1e-9)
    # the others gave no answer at all
    absent = np.setdiff1d(np.arange(len(made.miners)), miners)
    assert np.isnan(board.scores[:, absent]).all()


@examples(30)
@given(some_crps, some_prompts)
def test_a_rank_is_one_more_than_the_number_of_better_miners(crps: Floats, prompts: list[tuple[str, int]]) -> None:
    made = some_field(crps, prompts)
    if made is None:
        return
    found = [s for s in standings(made, [moments(made)[-1]]) if s.competition]
    for one in found:
        assert one.rank == 1 + sum(other.average < one.average for other in found)
        assert one.weight <= max(s.weight for s in found if s.rank <= one.rank)
    assert sum(s.weight for s in found) == pytest.approx(0.5)


def test_equal_miners_share_a_rank() -> None:
    found = standings(field({"c": [9.0, 9.0], "a": [5.0, 6.0], "d": [11.0, 11.0], "b": [5.0, 6.0]}), [T + DAY])
    for name in ("1h", ""):
        assert {s.miner: s.rank for s in found if s.competition == name} == {"a": 1, "b": 1, "c": 3, "d": 4}


def test_averages_decide_where_weights_are_too_small_to_differ() -> None:
    made = field({"a": [0.0] * 3, "b": [1e5] * 3, "c": [2e5] * 3}, FILL)
    found = standings(made, [moments(made)[-1]])
    assert [(s.miner, s.rank, s.weight) for s in found if s.competition] == [("a", 1, 0.25), ("b", 2, 0.0), ("c", 3, 0)]


def test_weights_of_a_competition_are_a_softmax_that_sums_to_its_share() -> None:
    # of two competitions, and in their sum
    start, rules = parse_time("2026-08-26"), RuleChoice.parse("2026-08-26")
    keys = {"crypto-1h": ("BTC", 0.3), "com-equ-24h": ("XAU", 0.15)}
    made = Field.of(
        {
            name: scores({(c, asset, start + STEP * i): value + i for c, (asset, _) in keys.items() for i in range(4)})
            for name, value in {"a": 10.0, "b": 12.0, "c": 13.0}.items()
        },
        BOOK,
        rules,
    )
    found = standings(made, [moments(made)[-1]])
    for competition, (_, beta) in keys.items():
        weights = [s.weight for s in found if s.competition == competition]
        np.testing.assert_allclose(weights, 0.25 * softmax_weights([0.0, 2.0, 3.0], -beta), rtol=1e-12)
    total = {s.miner: s.weight for s in found if s.competition == ""}
    assert sum(total.values()) == pytest.approx(0.5)
    assert total["a"] == pytest.approx(sum(s.weight for s in found if s.competition and s.miner == "a"))


def test_a_competition_counts_from_its_first_scored_prompt_until_its_window_has_passed() -> None:
    crps = {("1h", "BTC", T): 1.0} | {("24h", "BTC", T + DAY * i): 1.0 for i in range(5)}
    made = Field.of({"a": scores(crps)}, BOOK, RuleChoice.parse("2026-05-01"))
    at = {s.when: s.competition for s in standings(made, [T + HOUR - 1]) if s.competition}
    assert at == {}
    times = [T + HOUR, T + 2 * DAY, T + 5 * DAY]
    found = standings(made, times)
    assert [[s.competition for s in found if s.when == when and s.competition] for when in times] == [
        ["1h"],
        ["1h", "24h"],
        ["24h"],
    ]


@pytest.mark.parametrize("every", [600, HOUR, DAY, 30 * DAY])
def test_moments_are_round_times_and_end_with_the_last_scored_prompt(every: int) -> None:
    made = field({"a": [1.0] * 400}, start=T + 77 * MINUTE)
    first, last = T + 137 * MINUTE, T + 137 * MINUTE + 399 * STEP
    times = moments(made, every)
    assert times[-1] == last
    assert times[:-1] == [t for t in range(T - T % every, last, every) if t > first]


def test_a_competition_that_had_ended_is_refused_with_the_way_out() -> None:
    start = parse_time("2026-06-22T18:00")
    made = Field.of({"a": scores({("24h", "BTC", start): 1.0})}, BOOK, RuleChoice.parse("as-of"))
    with pytest.raises(ExperimentError, match=r"competition 24h does not run .* choose --rules"):
        standings(made, moments(made))
    held = Field(made.crps, BOOK, RuleChoice.parse("2026-06-01"))
    assert [s.rank for s in standings(held, moments(held))] == [1, 1]


def test_a_field_without_scores_is_refused() -> None:
    for miners in ({}, {"a": pd.Series(dtype=np.float64)}):
        with pytest.raises(ExperimentError, match="no scores"):
            Field.of(miners, BOOK, RuleChoice())


def test_a_field_without_a_valid_score_is_refused() -> None:
    nobody = field({"a": [-1.0, NAN], "b": [-1.0, -1.0]})
    with pytest.raises(ExperimentError, match="no miner has a valid score"):
        moments(nobody)
    assert standings(nobody, [T + DAY]) == []


def test_a_prompt_that_a_miner_has_twice_is_refused() -> None:
    once = scores({("1h", "BTC", T): 1.0})
    with pytest.raises(ExperimentError, match=rf"b has more than one score for the prompt .*BTC.*{T}"):
        Field.of({"a": once, "b": pd.concat([once, once])}, BOOK, RuleChoice())


# ------------------------------------------------------------------------------------------ missed prompts


def steady(n: int = 60, rules: tuple[str, str] = CAP) -> Field:
    """Ten miners who keep their distances; the first is the third best."""
    base = 700.0 + 50.0 * np.random.default_rng(0).standard_normal(n)
    return field({f"m{i}": base + offset for i, offset in enumerate([2, 0, 1, 3, 4, 5, 6, 7, 8, 9])}, rules)


def test_missing_nothing_changes_nothing() -> None:
    (effect,) = missing_effects(steady(), "m0", T + DAY, [0.0])
    assert effect.averages == {"1h": 0.0}
    assert (effect.weight, effect.rank) == (effect.weight_before, effect.rank_before)
    assert effect.rank == 3


@pytest.mark.parametrize("rules", [CAP, FILL, MEDIAN])
def test_missing_more_never_helps_whom_the_fill_would_harm(rules: tuple[str, str]) -> None:
    shares = [0.0, 0.01, 0.05, 0.1, 0.2, 0.4, 0.7, 0.9, 1.0]
    made = steady(rules=rules)
    effects = missing_effects(made, "m0", moments(made)[-1], shares)
    changes = [effect.averages[rules[1]] for effect in effects[:-1]]
    weights, ranks = [effect.weight for effect in effects], [effect.rank for effect in effects]
    assert changes == sorted(changes)
    assert weights == sorted(weights, reverse=True)
    assert ranks == sorted(ranks)
    assert changes[4] > changes[0] == 0.0
    assert weights[4] < weights[0]


def test_missing_everything_ends_at_the_bottom_without_a_reward() -> None:
    (effect,) = missing_effects(steady(), "m0", T + DAY, [1.0])
    assert (effect.weight, effect.rank, effect.averages) == (0.0, 10, {})
    assert effect.weight_before > 0.0


def test_missing_everything_alone_leaves_nothing_to_reward() -> None:
    (effect,) = missing_effects(field({"a": [1.0, 2.0]}), "a", T + DAY, [1.0])
    assert (effect.weight, effect.weight_before) == (0.0, 0.5)


def test_before_the_first_score_there_is_nothing_to_lose() -> None:
    assert missing_effects(steady(), "m0", T, [0.5]) == []


def test_missed_prompts_are_drawn_by_the_seed() -> None:
    one, same, other = (missing_effects(steady(), "m0", T + DAY, [0.2], seed=seed) for seed in (1, 1, 2))
    assert one == same != other


def test_missed_prompts_are_missed_by_one_miner_alone() -> None:
    made = steady(n=4)
    less = made.without("m0", np.array([False, True, False, True]))
    assert np.isnan(less.crps["m0"]).tolist() == [False, True, False, True]
    pd.testing.assert_frame_equal(less.crps.drop(columns="m0"), made.crps.drop(columns="m0"))
    assert made.crps.notna().all(axis=None)


# ------------------------------------------------------------------------------------------------- earnings


def rivals(n: int, seed: int = 0, rules: tuple[str, str] = FILL, step: int = STEP, shared: int = 1) -> Field:
    """Four miners half a basis point apart, whose noise `shared` neighbouring prompts share."""
    rng = np.random.default_rng(seed)
    base = 700.0 + 50.0 * rng.standard_normal(n)
    noise = rng.standard_normal((4, n + shared - 1))
    windows = np.lib.stride_tricks.sliding_window_view(noise, shared, axis=1).sum(axis=-1) / np.sqrt(shared)
    return field(
        {f"m{i}": base + 0.5 * i + 8.0 * windows[i] for i in range(4)}, rules, start=parse_time(rules[0]), step=step
    )


def estimates(made: Field, **options: Any) -> list[Estimate]:
    return estimate_earnings(made, moments(made)[-1], **({"emission": 1000.0} | options))


def test_earnings_are_weight_times_emission_times_correction_inside_their_interval() -> None:
    made = rivals(200)
    found = estimates(made, emission=2000.0, correction=0.5)
    final = {s.miner: s.weight for s in standings(made, [moments(made)[-1]]) if s.competition == ""}
    assert [e.miner for e in found] == made.miners
    for e in found:
        assert e.weight == final[e.miner]
        assert 0.0 <= e.weight_low < e.weight < e.weight_high <= 0.25
        assert (e.earnings, e.earnings_low, e.earnings_high) == pytest.approx(
            (e.weight * 1000.0, e.weight_low * 1000.0, e.weight_high * 1000.0)
        )
    assert sum(e.weight for e in found) == pytest.approx(0.25)
    assert estimates(made)[0].earnings == pytest.approx(found[0].weight * 1000.0 * 0.69)  # the rulebook's


def width(found: list[Estimate]) -> float:
    return float(np.mean([e.weight_high - e.weight_low for e in found]))


def test_fewer_prompts_give_wider_intervals() -> None:
    assert width(estimates(rivals(40))) > 1.5 * width(estimates(rivals(400)))


@pytest.mark.ci
def test_intervals_hold_the_weight_about_as_often_as_they_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(earnings, "REPLICATIONS", 200)  # for time
    # ten days of day-long prompts, one an hour: neighbours share most of their paths
    true = 0.25 * softmax_weights(0.5 * np.arange(4), -0.15)
    held = [
        e.weight_low <= weight <= e.weight_high
        for seed in range(40)
        for e, weight in zip(estimates(rivals(240, seed, (FILL[0], "crypto-24h"), HOUR, 24)), true, strict=True)
    ]
    assert 0.85 <= np.mean(held) <= 0.99  # 95 % nominal, from five blocks


def test_differences_that_never_vary_leave_no_doubt() -> None:
    for e in estimates(steady(rules=FILL)):
        assert (e.weight_low, e.weight_high) == pytest.approx((e.weight, e.weight))


def test_a_copy_of_every_prompt_at_the_same_time_adds_no_certainty() -> None:
    once = rivals(100)
    copy = once.crps.rename(index={"BTC": "ETH"}, level="asset")
    twice = Field(pd.concat([once.crps, copy]).sort_index(), BOOK, once.choice)
    when = moments(twice)[-1]
    a, b = (estimate_earnings(made, when, emission=1.0) for made in (once, twice))
    assert [(e.weight_low, e.weight_high) for e in a] == [pytest.approx((e.weight_low, e.weight_high)) for e in b]


def test_the_same_seed_gives_the_same_estimates() -> None:
    made = rivals(100)
    one, same, other = (estimates(made, seed=seed) for seed in (1, 1, 2))
    assert one == same
    assert [e.weight for e in one] == [e.weight for e in other]
    assert [e.weight_low for e in one] != [e.weight_low for e in other]


def test_prompts_before_the_window_count_nothing() -> None:
    made = rivals(640)
    when = moments(made)[-1]
    inside = Field(made.crps[made.boards["crypto-1h"].scored > when - 5 * DAY], BOOK, made.choice)
    assert 0 < len(inside.crps) < 640
    whole, part = (estimate_earnings(one, when, emission=1.0) for one in (made, inside))
    for a, b in zip(whole, part, strict=True):
        assert (a.weight, a.weight_low, a.weight_high) == pytest.approx((b.weight, b.weight_low, b.weight_high))


def test_who_did_not_answer_in_the_window_earns_nothing() -> None:
    made = rivals(50)
    gone = Field(made.crps.assign(m3=np.nan), BOOK, made.choice)
    last = estimates(gone)[-1]
    assert (last.weight, last.weight_low, last.weight_high, last.earnings_high) == (0.0, 0.0, 0.0, 0.0)
    assert sum(e.weight for e in estimates(gone)) == pytest.approx(0.25)


# --------------------------------------------------------------------------------------- prediction files


def bars(minutes: int = 2 * 1440, start: int = T) -> Bars:
    closes = 95_000 * np.exp(np.random.default_rng(5).standard_normal(minutes).cumsum() * 5e-4)
    return Bars.from_closes(start + MINUTE * np.arange(minutes), closes)


MARKET = bars()


def realised(asset: str, begin: int, end: int) -> Bars:
    return MARKET.between(begin, end) if asset == "BTC" else Bars.empty()


def answer(start: int = T, seed: int = 1, paths: int = 1000, volatility: float = 5e-4) -> list[Any]:
    """A prediction as it is sent to validators."""
    steps = np.random.default_rng(seed).standard_normal((paths, 60)).cumsum(axis=1) * volatility
    prices = 95_000 * np.exp(np.concatenate([np.zeros((paths, 1)), steps], axis=1))
    return [start, MINUTE, *np.round(prices, 2).tolist()]


def name_of(start: int, asset: str = "BTC", length: int = HOUR) -> str:
    return f"{iso(start).replace('T', '_')}_{asset}_{length}.json"


def write(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def scored(folder: Path, rules: str = "2026-05-01") -> tuple[dict[str, pd.Series], list[str]]:
    return score_predictions(find_predictions(folder), BOOK, RuleChoice.parse(rules), realised)


@pytest.mark.ci
def test_predictions_of_every_shape_are_scored_as_score_paths_does(tmp_path: Path) -> None:
    first, second, third = (answer(T + STEP * i, seed=i) for i in range(3))
    write(tmp_path / "miner_outputs" / "alice" / "predictions" / name_of(T), first)
    # the two shapes of the subnet's own backtester
    plain = {"asset": "BTC", "start_timestamp": T + STEP, "time_increment": MINUTE, "time_length": HOUR}
    write(tmp_path / "miner_outputs" / "alice" / "predictions" / name_of(T + STEP), plain | {"paths": second[2:]})
    write(tmp_path / "bob" / name_of(T + 2 * STEP), {"simulation_input": {"asset": "BTC"}, "prediction": third})
    found, notes = scored(tmp_path)
    assert notes == []
    rule = BOOK.at(T).competitions["1h"].scoring
    expected = []
    for i, sent in enumerate((first, second, third)):
        truth = MARKET.closes_at(T + STEP * i + MINUTE * np.arange(61))
        expected.append(score_paths(np.array(sent[2:], np.float64), truth, rule, MINUTE).total)
    assert found["alice"].to_dict() == {("1h", "BTC", T): expected[0], ("1h", "BTC", T + STEP): expected[1]}
    assert found["bob"].to_dict() == {("1h", "BTC", T + 2 * STEP): expected[2]}
    assert min(expected) > 0
    assert Field.of(found, BOOK, RuleChoice.parse("2026-05-01")).miners == ["alice", "bob"]


@pytest.mark.parametrize(
    "name",
    [
        "2026-05-01_00:12:00Z_BTC_3600.json",
        "2026-05-01_00-12-00Z_BTC_3600.json",
        "2026-05-01_001200Z_BTC_3600.json",
        "2026-05-01T00:12:00_BTC_3600.json",
    ],
)
def test_a_files_name_says_what_it_answers(tmp_path: Path, name: str) -> None:
    write(tmp_path / "x" / "alice" / "predictions" / name, [])
    write(tmp_path / "x" / "alice" / "predictions" / "summary.json", [])
    (file,) = find_predictions(tmp_path)
    assert (file.miner, file.start_time, file.asset, file.time_length) == ("alice", T + STEP, "BTC", HOUR)


def test_a_folder_without_predictions_says_how_they_are_named(tmp_path: Path) -> None:
    write(tmp_path / "prediction.json", [])
    with pytest.raises(PredictionError, match=r"no prediction file; .* e\.g\. 2026-01-15_00:00:00Z_BTC_86400\.json"):
        find_predictions(tmp_path)


def test_an_answer_that_validators_refuse_scores_minus_one_with_their_words(tmp_path: Path) -> None:
    digits, count, late = answer(T, 1), answer(T + STEP, 2, paths=999), answer(T, 3)
    digits[2][7] = 95000.12345
    for i, sent in enumerate((digits, count, late)):
        write(tmp_path / "alice" / name_of(T + STEP * i), sent)
    found, notes = scored(tmp_path)
    assert found["alice"].tolist() == [-1.0, -1.0, -1.0]
    words = [
        "Price format is incorrect: too many digits 95000.12345",
        "Number of paths is incorrect: expected 1000, got 999",
        f"Start time timestamp is incorrect: expected {T + 2 * STEP}, got {T}",
    ]
    for i, (note, message) in enumerate(zip(notes, words, strict=True)):
        assert note == f"{tmp_path / 'alice' / name_of(T + STEP * i)}: a validator refuses it: {message}"


def test_the_format_is_that_of_the_rules_date(tmp_path: Path) -> None:
    sent = answer()
    sent[2][7] = 0.00012345  # eight characters were not enough for it before, its digits are
    write(tmp_path / "alice" / name_of(T), sent)
    assert scored(tmp_path, "2026-05-01")[0]["alice"].tolist() == [-1.0]
    found, notes = scored(tmp_path, "2026-08-01")
    assert notes == []
    assert found["alice"].index.tolist() == [("crypto-1h", "BTC", T)]
    assert found["alice"].iloc[0] > 0


def test_a_prompt_that_is_not_settled_is_noted_and_has_no_score(tmp_path: Path) -> None:
    end = int(MARKET.timestamp[-1])
    settled, open_ = end - HOUR - MINUTE, end - HOUR
    for start in (settled, open_):
        write(tmp_path / "alice" / name_of(start), answer(start))
    write(tmp_path / "alice" / name_of(T, "ETH"), answer())  # of which there are no bars
    found, notes = scored(tmp_path)
    assert found["alice"].index.tolist() == [("1h", "BTC", settled)]
    assert len(notes) == 2
    assert all("not scored: no candle after the last: not settled" in note for note in notes)


@pytest.mark.parametrize(("asset", "length"), [("BTC", 60), ("SPYX", HOUR), ("DOGE", DAY)])
def test_a_prompt_of_no_competition_is_named(tmp_path: Path, asset: str, length: int) -> None:
    write(tmp_path / "alice" / name_of(T, asset, length), answer())
    found, (note,) = scored(tmp_path)
    assert not found
    assert re.search(rf"not scored: no competition of {length} s has {asset} .* choose --rules", note)


def test_files_that_cannot_be_scored_are_named_and_the_others_are_scored(tmp_path: Path) -> None:
    good, short, broken = (tmp_path / "alice" / name_of(T + STEP * i) for i in range(3))
    write(good, answer())
    write(short, {"paths": []})
    broken.write_text("{")
    twin = tmp_path / "alice" / "predictions" / name_of(T)
    write(twin, answer())
    found, notes = scored(tmp_path)
    assert found["alice"].index.tolist() == [("1h", "BTC", T)]
    told = {Path(note.partition(": ")[0]).name if "second" not in note else "twin": note for note in notes}
    assert "lacks 'start_timestamp'" in told[short.name]
    assert "is not valid JSON" in told[broken.name]
    assert "a second prediction of alice for the same prompt" in told["twin"]
    assert len(notes) == 3


@pytest.mark.parametrize(
    ("rules", "prices", "crps", "words"),
    [
        ("2026-05-01", {7: -5.0}, 1, None),  # the format allows it, and relative changes can be computed
        ("2026-05-01", {7: float("nan")}, -1, "gives it no score"),
        ("2026-08-01", {7: float("nan")}, -1, "refuses it: Price format is incorrect: non-finite value nan"),
        ("2026-05-01", {7: 1e-300, 8: 1e300}, -1, "gives it no score"),
        ("2026-08-01", {7: 1e-300, 8: 1e300}, -1, "refuses it: Price format is incorrect: underflows"),
        ("2026-05-01", {7: 0.0}, -1, "gives it no score"),
    ],
)
def test_odd_prices_are_treated_as_validators_do(
    tmp_path: Path, rules: str, prices: dict[int, float], crps: int, words: str | None
) -> None:
    sent = answer()
    for point, price in prices.items():
        sent[2][point] = price
    write(tmp_path / "alice" / name_of(T), sent)
    write(tmp_path / "bob" / name_of(T), answer())
    found, notes = scored(tmp_path, rules)
    assert np.sign(found["alice"].iloc[0]) == crps
    assert found["bob"].iloc[0] > 0
    assert len(notes) == (words is not None)
    if words:
        assert words in notes[0]


# -------------------------------------------------------------------------------------------- score tables


def read(tmp_path: Path, text: str, rules: str = "2026-05-01") -> dict[str, dict[Key, float]]:
    path = tmp_path / "scores.csv"
    path.write_text(text)
    return plain(read_scores(path, BOOK, RuleChoice.parse(rules)))


def plain(found: dict[str, pd.Series]) -> dict[str, dict[Key, float]]:
    return {miner: series.to_dict() for miner, series in found.items()}


WANTED = {
    "alice": {("1h", "BTC", T): 10.5, ("1h", "BTC", T + STEP): -1.0},
    "7": {("1h", "BTC", T): 12.0, ("24h", "ETH", T): 99.0},
}
ROWS = [
    ("alice", "BTC", 10.5, T, HOUR),
    ("7", "btc", 12.0, T, HOUR),
    ("alice", "BTC", None, T + STEP, HOUR),
    ("7", "ETH", 99.0, T, DAY),
]
COLUMNS = ["miner", "asset", "crps", "start_time", "time_length"]


def as_csv(rows: list[tuple[Any, ...]], columns: list[str]) -> str:
    return pd.DataFrame(rows, columns=columns).to_csv(index=False)


def test_a_table_is_read_from_csv_and_from_parquet_alike(tmp_path: Path) -> None:
    assert read(tmp_path, as_csv(ROWS, COLUMNS)) == WANTED
    frame = pd.DataFrame(ROWS, columns=COLUMNS)
    for suffix, times in (("parquet", frame["start_time"]), ("pq", pd.to_datetime(frame["start_time"], unit="s"))):
        path = tmp_path / f"scores.{suffix}"
        frame.assign(start_time=times).to_parquet(path)
        assert plain(read_scores(path, BOOK, RuleChoice.parse("2026-05-01"))) == WANTED


@pytest.mark.parametrize("miner", ["miner", "miner_uid", "uid"])
@pytest.mark.parametrize("crps", ["crps", "total_crps"])
def test_columns_may_have_their_other_names(tmp_path: Path, miner: str, crps: str) -> None:
    assert read(tmp_path, as_csv(ROWS, [miner, "asset", crps, "start_time", "time_length"])) == WANTED


@pytest.mark.parametrize(
    "time", [str(T), "2026-05-01", "2026-05-01T00:00:00Z", "2026-05-01 00:00:00+00:00", "2026-05-01T02:00:00+02:00"]
)
def test_times_are_seconds_or_iso_texts(tmp_path: Path, time: str) -> None:
    text = f"miner,asset,crps,start_time,time_length\na,BTC,1,{time},3600\n"
    assert read(tmp_path, text) == {"a": {("1h", "BTC", T): 1.0}}


@pytest.mark.parametrize("column", ["time_length,{length}", "competition,{name}"])
def test_a_scored_time_is_the_end_of_the_path_to_the_minute(tmp_path: Path, column: str) -> None:
    head, value = column.split(",")
    lines = [
        f"a,BTC,1.0,{iso(T + HOUR + 7)},{value.format(length=HOUR, name='1h')}",
        f"a,ETH,2.0,{iso(T + DAY)},{value.format(length=DAY, name='24h')}",
    ]
    text = "\n".join([f"uid,asset,total_crps,scored_time,{head}", *lines])
    assert read(tmp_path, text) == {"a": {("1h", "BTC", T): 1.0, ("24h", "ETH", T): 2.0}}


def test_a_prompt_belongs_to_the_competition_of_its_asset_and_length_at_the_rules_date(tmp_path: Path) -> None:
    rows = [("a", "BTC", 1.0, T, DAY), ("a", "XAU", 2.0, T, DAY), ("a", "BTC", 3.0, T, HOUR)]
    found = read(tmp_path, as_csv(rows, COLUMNS), "2026-08-01")
    assert list(found["a"]) == [("crypto-24h", "BTC", T), ("com-equ-24h", "XAU", T), ("crypto-1h", "BTC", T)]


HEAD = "miner,asset,crps,start_time,time_length\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "name,asset,crps,start_time\na,BTC,1,0\n",
            "lacks miner or miner_uid or uid, time_length or competition; its columns are name, asset, crps, "
            "start_time",
        ),
        ("miner,crps\na,1\n", "lacks asset, start_time or scored_time, time_length or competition"),
        ("", "cannot be read as .csv"),
        (HEAD + f"a,BTC,1,{T * 1000},3600\n", f"start_time holds {T * 1000}: times are seconds, not milliseconds"),
        (HEAD + "a,BTC,1,yesterday,3600\n", "column start_time"),
        (HEAD + f"a,BTC,-2,{T},3600\n", "at least 0, or -1"),
        (HEAD + f"a,BTC,inf,{T},3600\n", "at least 0, or -1"),
        (HEAD + f"a,DOGE,1,{T},3600\n", "no competition of 3600 s has DOGE"),
        (HEAD + f"a,BTC,1,{T},60\n", "no competition of 60 s has BTC"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused_with_what_is_wrong(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(PredictionError) as caught:
        read(tmp_path, text)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "row",
    [
        f",BTC,1,{T},3600",  # no miner
        f"a,,1,{T},3600",  # no asset
        "a,BTC,1,,3600",  # no time
        f"a,BTC,1,{T}.5,3600",  # a time between two seconds
        f"a,BTC,1,{T},",  # no length
        f"a,BTC,1,{T},1h",  # a length that is no number
        f"a,BTC,1.2.3,{T},3600",  # a score that is no number, nor empty
    ],
)
def test_a_row_with_an_unusable_value_is_refused_and_not_read_as_something_else(tmp_path: Path, row: str) -> None:
    with pytest.raises(PredictionError):
        read(tmp_path, f"{HEAD}{row}\nb,BTC,1,{T},3600\n")


def test_a_row_without_a_time_is_refused_where_times_are_texts(tmp_path: Path) -> None:
    with pytest.raises(PredictionError, match="row 2 has no start_time"):
        read(tmp_path, f"{HEAD}a,BTC,1,2026-05-01,3600\nb,BTC,1,,3600\n")


def test_a_table_with_a_prompt_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    path.write_text(as_csv([ROWS[0], ROWS[0]], COLUMNS))
    choice = RuleChoice.parse("2026-05-01")
    with pytest.raises(ExperimentError, match="alice has more than one score for the prompt"):
        Field.of(read_scores(path, BOOK, choice), BOOK, choice)


def test_the_prompts_of_a_table_are_each_listed_once_in_time_order(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    path.write_text(as_csv(ROWS[::-1], COLUMNS))
    choice = RuleChoice.parse("2026-05-01")
    items = prompts_of(read_scores(path, BOOK, choice), BOOK, choice, 60)
    found = [(p.competition, p.asset, p.start_time) for p in (item.prompt for item in items)]
    assert found == [("1h", "BTC", T), ("24h", "ETH", T), ("1h", "BTC", T + STEP)]
    for item in items:
        competition = BOOK.at(T).competitions[item.prompt.competition]
        assert item.rule == competition.scoring
        assert item.prompt.request_time == item.prompt.start_time - 60
        assert (item.prompt.time_increment, item.prompt.time_length, item.prompt.num_simulations) == (
            competition.time_increment,
            competition.time_length,
            competition.num_simulations,
        )


# ---------------------------------------------------------------------------------------------------- text


def ranked(made: Field, named: list[str], **more: Any) -> Ranking:
    """A field ranked once, at its end."""
    ranking = rank(made, named, Questions(every=100 * DAY))
    return replace(ranking, notes=[], **more)


def test_a_long_board_shows_its_top_and_those_that_were_named() -> None:
    made = field({f"miner-{i:02d}": [10.0 + i] * 3 for i in range(30)})
    text = leaderboard_text(ranked(made, ["miner-27"]))
    shown = [line.split()[1] for line in text.split("1h: window")[1].split("\n\n")[0].splitlines()[2:]]
    assert shown == [f"miner-{i:02d}" for i in (*range(20), 27)]
    assert "1h: window 3 d, 30 miners" in text


def test_text_without_earnings_or_missed_prompts_is_silent_about_them() -> None:
    text = leaderboard_text(ranked(field({"a": [1.0], "b": [2.0]}), ["a"]))
    assert "estimate" not in text
    assert "answer" not in text
    assert "SYNTHETIC" not in text
    assert "SYNTHETIC" in leaderboard_text(ranked(field({"a": [1.0]}), ["a"], synthetic=True))


# -------------------------------------------------------------------------------------------- command line

SIMULATED = parse_time("2026-01-15")


def strict(text: str) -> Any:
    """Parse JSON that has no NaN and no infinity, which Python would read."""

    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    return json.loads(text, parse_constant=refuse)


REPLAY = [
    "--start",
    "2026-01-15",
    "--days",
    "0.1",
    "--cadence",
    "12m",
    "--feed",
    "simulated",
    "--assets",
    "BTC",
    "--competitions",
    "1h",
]


def test_the_commands_json_holds_standings_costs_and_earnings(ewmalab) -> None:
    result = ewmalab(
        "leaderboard",
        "ewma",
        "random-walk",
        *REPLAY,
        "--emission",
        "2000",
        "--every",
        "1h",
        "--missing",
        "0,0.5",
        "--json",
    )
    assert result.code == 0, result.err
    data = strict(result.out)
    assert (data["synthetic"], data["prompts"], data["miners"]) == (True, 12, ["ewma", "random-walk"])
    last = SIMULATED + 11 * STEP + HOUR
    assert data["when"] == last
    assert sorted({s["when"] for s in data["standings"]}) == [*range(SIMULATED + 2 * HOUR, last, HOUR), last]
    final = {(s["competition"], s["miner"]): s for s in data["standings"] if s["when"] == last}
    assert sum(s["weight"] for (name, _), s in final.items() if name == "1h") == pytest.approx(0.5)
    assert final["", "ewma"]["average"] is None  # of several competitions there is none
    assert [(m["miner"], m["share"]) for m in data["missing"]] == [("ewma", 0.0), ("ewma", 0.5)]
    assert data["missing"][0]["averages"] == {"1h": 0.0}
    for e in data["earnings"]:
        assert e["weight"] == final["", e["miner"]]["weight"]
        assert e["earnings"] == pytest.approx(e["weight"] * 2000 * 0.69)


def test_the_commands_text_says_what_is_synthetic_and_what_is_an_estimate(ewmalab) -> None:
    result = ewmalab("leaderboard", "ewma", "random-walk", *REPLAY, "--emission", "2000")
    assert result.code == 0, result.err
    assert result.out.startswith("SYNTHETIC DATA")
    assert "Leaderboard of 2 miners at 2026-01-15T03:12:00Z" in result.out
    assert "Earnings, an estimate: weight x emission 2,000 alpha/day x correction 0.69" in result.out
    assert "note: the field has 2 miners, the subnet about 250" in result.out


def test_finished_experiments_are_ranked_as_they_are(ewmalab, tmp_path: Path) -> None:
    there = ("--set", f"run.experiments_dir={tmp_path}")  # elsewhere another test's may be of the same second
    first = strict(ewmalab("leaderboard", "ewma", "random-walk", *REPLAY, *there, "--json").out)
    again = ewmalab("leaderboard", "latest/ewma", "latest/random-walk", *there, "--json")
    assert again.code == 0, again.err
    data = strict(again.out)
    assert data["synthetic"] is True
    averages = [[s["average"] for s in d["standings"]] for d in (first, data)]
    assert averages[0] == averages[1]


@pytest.fixture
def table_of_others(folder: Path) -> Path:
    """Sixty miners on prompts that no schedule has."""
    starts = [SIMULATED + 7 * MINUTE + 17 * MINUTE * i for i in range(8)]
    rows = [(f"uid-{j}", "BTC", 700.0 + 5 * j + i, start, HOUR) for j in range(60) for i, start in enumerate(starts)]
    path = folder / "others.csv"
    path.write_text(as_csv(rows, COLUMNS))
    return path


def test_forecasters_are_replayed_on_exactly_the_prompts_of_a_table(
    ewmalab, folder: Path, table_of_others: Path
) -> None:
    result = ewmalab("leaderboard", "random-walk", "--scores", str(table_of_others), "--feed", "simulated", "--json")
    assert result.code == 0, result.err
    data = strict(result.out)
    starts = pd.read_csv(table_of_others)["start_time"].unique().tolist()
    assert (data["prompts"], data["named"], len(data["miners"])) == (8, ["random-walk"], 61)
    path = max((folder / "experiments").glob("*-leaderboard-*"), key=lambda path: path.stat().st_mtime_ns)
    replayed = Experiment(path).results.to_pandas()
    assert replayed["start_time"].tolist() == starts
    assert set(replayed["competition"]) == {"1h"}
    assert replayed["crps"].notna().all()
    assert not any("the field has" in note for note in data["notes"])  # sixty others are no small field


def test_a_table_is_ranked_alone_without_any_prices(ewmalab, table_of_others: Path) -> None:
    result = ewmalab("leaderboard", "--scores", str(table_of_others), "--json")
    assert result.code == 0, result.err
    data = strict(result.out)
    assert (data["named"], data["synthetic"]) == (["uid-0"], False)
    final = [s for s in data["standings"] if s["when"] == data["when"] and s["competition"] == "1h"]
    assert [s["rank"] for s in final] == [1 + j if j < 54 else 55 for j in range(60)]  # the cap makes the last equal


@pytest.fixture
def outputs(folder: Path) -> Path:
    """Prediction files in the subnet's layout, on cached bars of the synthetic market."""
    cached = bars(1440 + 120, SIMULATED)
    Cache(folder / "other_cache").write(
        "simulated-7",
        "BTC",
        cached,
        [(SIMULATED, SIMULATED + 1560 * MINUTE)],
        Provenance("synthetic", T, synthetic=True),
    )
    for miner, volatility in (("alice", 5e-4), ("bob", 5e-3)):  # bob's is not the market's
        for start in (SIMULATED, SIMULATED + STEP):
            sent = answer(start, volatility=volatility)
            write(folder / "miner_outputs" / miner / "predictions" / name_of(start), sent)
    return folder / "miner_outputs"


def test_prediction_files_are_ranked_and_refused_ones_noted(ewmalab, outputs: Path) -> None:
    bad = outputs / "bob" / "predictions" / name_of(SIMULATED)
    write(bad, answer(SIMULATED, paths=10))
    options = ["--feed", "simulated", "--set", "data.cache_dir=other_cache"]
    result = ewmalab("leaderboard", "--predictions", str(outputs), *options, "--json")
    assert result.code == 0, result.err
    data = strict(result.out)
    assert (data["miners"], data["prompts"]) == (["alice", "bob"], 2)
    assert f"{bad}: a validator refuses it: Number of paths is incorrect: expected 1000, got 10" in data["notes"]
    ranks = {s["miner"]: s["rank"] for s in data["standings"] if s["when"] == data["when"] and s["competition"]}
    assert ranks == {"alice": 1, "bob": 2}


def test_predictions_scored_on_simulated_prices_are_called_synthetic(ewmalab, outputs: Path) -> None:
    options = ["--feed", "simulated", "--set", "data.cache_dir=other_cache"]
    result = ewmalab("leaderboard", "--predictions", str(outputs), *options)
    assert result.code == 0, result.err
    assert result.out.startswith("SYNTHETIC DATA")


def test_a_miner_in_two_files_is_refused(ewmalab, folder: Path, table_of_others: Path) -> None:
    copy = folder / "copy.csv"
    copy.write_bytes(table_of_others.read_bytes())
    result = ewmalab("leaderboard", "--scores", str(table_of_others), "--scores", str(copy))
    assert result.code == 3
    assert "miner uid-0 is in another file too" in result.err


def test_missing_every_prompt_alone_ends_in_a_board_or_a_message(ewmalab) -> None:
    result = ewmalab("leaderboard", "random-walk", *REPLAY, "--missing", "1")
    assert result.code == 0, result.err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["ewma", "latest"], 2, "forecasters or experiments, not both"),
        (["ewma", "ewma"], 2, "duplicate name: "),
        (["ewma", "--missing", "1.5"], 2, "shares must lie between 0 and 1"),
        (["ewma", "--missing", "some"], 2, "is not a list of shares"),
        (["ewma", "--every", "30s"], 2, "at least 1m"),
        (["ewma", "--every", "daily"], 2, "--every"),
        (["--scores", "nowhere.csv"], 2, "does not exist"),
        (["--predictions", "empty"], 3, "no prediction file"),
        (["nothing-like-it"], 3, "experiments list"),
    ],
)
def test_mistakes_are_named_with_their_exit_code(
    ewmalab, folder: Path, arguments: list[str], code: int, words: str
) -> None:
    (folder / "empty").mkdir(exist_ok=True)
    result = ewmalab("leaderboard", *arguments)
    assert result.code == code, result.err
    assert words in " ".join((result.out + result.err).replace("│", " ").split())
