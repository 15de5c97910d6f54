"""Leaderboards equal the validators', back-fill late joiners, and never lose weight to rounding."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ewmalab.rulebook import load_rulebook
from ewmalab.scoring.leaderboard import Leaderboard, ScoreTable, leaderboard, rolling_averages, softmax_weights
from ewmalab.times import parse_time

GOLDEN_CASES = 6
RULES = load_rulebook().at(parse_time("2026-05-01"))
Row = tuple[int, int, str, float | None, float | None, float | None]


def table(*rows: Row) -> ScoreTable:
    """Rows of scored time, miner, asset, score, fill and lowest."""
    columns: list[Any] = [list(column) for column in zip(*rows, strict=True)] or [[]] * 6
    return ScoreTable(*columns)


def averages(*rows: Row, end: int = 100, window: int = 100, **weights: float) -> dict[int, float]:
    miners, values = rolling_averages(table(*rows), end=end, window=window, weights=weights)
    return dict(zip(miners.tolist(), values.tolist(), strict=True))


# ------------------------------------------------------------------------------------------- golden cases


@pytest.fixture(scope="session")
def golden(shared_dir: Path) -> list[dict[str, Any]]:
    cases: list[dict[str, Any]] = json.loads((shared_dir / "golden" / "validator_cases.json").read_text())[
        "leaderboards"
    ]
    return cases


def golden_table(case: dict[str, Any]) -> ScoreTable:
    return table(
        *(
            (
                parse_time(row["scored_time"]),
                row["miner_id"],
                row["asset"],
                row["prompt_score_v3"],
                row["percentile90"],
                row["lowest_score"],
            )
            for row in case["scores"]
        )
    )


def golden_board(case: dict[str, Any]) -> Leaderboard:
    competition = RULES.select([case["competition"]])[0]
    return leaderboard(
        golden_table(case),
        end=parse_time(case["scored_time"]),
        window=competition.window,
        beta=competition.beta,
        share=competition.share,
        weights=RULES.weights,
    )


def test_no_golden_case_goes_unchecked(golden: list[dict[str, Any]]) -> None:
    assert len(golden) == GOLDEN_CASES


@pytest.mark.parametrize("number", range(GOLDEN_CASES))
def test_leaderboards_equal_the_validators(golden: list[dict[str, Any]], number: int) -> None:
    board, expected = golden_board(golden[number]), golden[number]["leaderboard"]
    assert board.miners.tolist() == [row["miner_id"] for row in expected]
    np.testing.assert_allclose(board.averages, [row["rolling_average"] for row in expected], rtol=1e-12)
    # an exponent of -200 carries 200 times the relative error of the average
    np.testing.assert_allclose(board.weights, [row["weight"] for row in expected], rtol=1e-9)


@pytest.mark.parametrize("number", range(GOLDEN_CASES))
def test_the_order_of_rows_does_not_matter(golden: list[dict[str, Any]], number: int) -> None:
    case = golden[number]
    shuffled = np.random.default_rng(number).permutation(case["scores"]).tolist()
    np.testing.assert_allclose(
        golden_board({**case, "scores": shuffled}).averages, golden_board(case).averages, rtol=1e-12
    )


# --------------------------------------------------------------------------------------- rolling averages


def test_scores_are_averaged_by_the_weight_of_their_asset() -> None:
    assert averages((10, 1, "BTC", 6.0, 9.0, 0.0), (20, 1, "ETH", 2.0, 9.0, 0.0), ETH=3.0) == {1: (6.0 + 3 * 2.0) / 4}


def test_assets_without_a_weight_weigh_one() -> None:
    assert averages((10, 1, "BTC", 6.0, 9.0, 0.0), (20, 1, "NEW", 2.0, 9.0, 0.0), BTC=1.0) == {1: 4.0}


def test_a_late_joiner_is_back_filled_with_the_worst_score_of_each_earlier_prompt() -> None:
    rows: list[Row] = [
        (10, 1, "BTC", 0.0, 12.0, 2.0),
        (20, 1, "ETH", 0.0, 7.0, 3.0),
        (30, 1, "BTC", 1.0, 9.0, 0.0),
        (30, 2, "BTC", 0.0, 9.0, 0.0),
    ]
    assert averages(*rows, ETH=0.5)[2] == pytest.approx((1 * 10.0 + 0.5 * 4.0 + 1 * 0.0) / 2.5)


def test_a_gap_after_the_first_score_is_not_filled() -> None:
    rows: list[Row] = [
        (10, 1, "BTC", 0.0, 12.0, 2.0),
        (10, 2, "BTC", 5.0, 12.0, 2.0),
        (20, 1, "BTC", 0.0, 12.0, 2.0),
        (30, 2, "BTC", 1.0, 12.0, 2.0),
    ]
    assert averages(*rows)[2] == 3.0


def test_a_row_without_a_score_ends_the_back_filling_but_counts_nothing() -> None:
    rows: list[Row] = [(10, 1, "BTC", 0.0, 12.0, 2.0), (20, 2, "BTC", None, 12.0, 2.0), (30, 2, "BTC", 4.0, 12.0, 2.0)]
    assert averages(*rows)[2] == 7.0


def test_times_whose_worst_score_is_unknown_are_not_back_filled() -> None:
    rows: list[Row] = [(10, 1, "BTC", 0.0, None, 2.0), (20, 1, "BTC", 0.0, 12.0, 2.0), (30, 2, "BTC", 4.0, 12.0, 2.0)]
    assert averages(*rows)[2] == 7.0


def test_a_miner_without_a_valid_score_has_infinity_and_no_weight() -> None:
    rows: list[Row] = [(10, 1, "BTC", 1.0, 12.0, 2.0), (10, 2, "BTC", None, 12.0, 2.0)]
    board = leaderboard(table(*rows), end=10, window=10, beta=-0.1, share=0.5, weights={})
    assert board.averages.tolist() == [1.0, np.inf]
    assert board.weights.tolist() == [0.5, 0.0]


def test_the_window_excludes_its_start_and_includes_its_end() -> None:
    rows: list[Row] = [(t, 1, "BTC", float(t), 99.0, 0.0) for t in (10, 11, 20, 21)]
    assert averages(*rows, end=20, window=10) == {1: 15.5}


def test_what_happened_before_the_window_makes_nobody_a_late_joiner() -> None:
    rows: list[Row] = [(10, 1, "BTC", 0.0, 99.0, 0.0), (20, 1, "BTC", 2.0, 99.0, 0.0), (20, 2, "BTC", 4.0, 99.0, 0.0)]
    assert averages(*rows, end=20, window=10) == {1: 2.0, 2: 4.0}


def test_an_empty_window_gives_an_empty_leaderboard() -> None:
    for rows in (table(), table((10, 1, "BTC", 1.0, 9.0, 0.0))):
        board = leaderboard(rows, end=1000, window=10, beta=-0.1, share=0.5, weights={})
        assert len(board.miners) == len(board.averages) == len(board.weights) == 0


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (([1, 2], [1], ["BTC"], [1.0], [1.0], [1.0]), "column miner"),
        (([1], [1], ["BTC"], [1.0], [1.0], [1.0, 2.0]), "column lowest"),
        ((1, 1, "BTC", 1.0, 1.0, 1.0), "column scored_time"),
        (([1.5], [1], ["BTC"], [1.0], [1.0], [1.0]), "scored_time must hold integers"),
        ((np.array(["2026-01-01"], "M8[ns]"), [1], ["BTC"], [1.0], [1.0], [1.0]), "datetime64"),
        (([1], ["5F"], ["BTC"], [1.0], [1.0], [1.0]), "miner must hold integers"),
    ],
)
def test_columns_that_do_not_belong_together_are_refused(columns: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ScoreTable(*columns)


def naive_averages(rows: list[Row], weights: dict[str, float]) -> dict[int, float]:
    """The rule, miner by miner and prompt by prompt."""
    sample: dict[int, Row] = {}
    for row in rows:
        sample.setdefault(row[0], row)
    found = {}
    for miner in {row[1] for row in rows}:
        own = [row for row in rows if row[1] == miner]
        first = min(row[0] for row in own)
        scores = [(row[2], row[3]) for row in own if row[3] is not None]
        for time, (_, _, asset, _, fill, lowest) in sample.items():
            if time < first and fill is not None and lowest is not None:
                scores.append((asset, fill - lowest))
        mass = sum(weights.get(asset, 1.0) for asset, _ in scores)
        total = sum(weights.get(asset, 1.0) * score for asset, score in scores)
        found[miner] = total / mass if scores else np.inf
    return found


amounts = st.one_of(st.none(), st.floats(0.0, 1e4, allow_subnormal=False))
some_rows = st.lists(
    st.tuples(st.integers(1, 12), st.integers(0, 5), st.sampled_from(["BTC", "ETH", "XYZ"]), amounts, amounts, amounts),
    max_size=40,
)


@given(some_rows)
def test_averages_equal_a_plain_loop(rows: list[Row]) -> None:
    expected = naive_averages(rows, {"BTC": 1.0, "ETH": 0.7})
    assert averages(*rows, BTC=1.0, ETH=0.7) == pytest.approx(expected, rel=1e-9, abs=1e-9)


# ------------------------------------------------------------------------------------------------ softmax


@given(
    hnp.arrays(
        np.float64,
        st.integers(0, 30),
        elements=st.one_of(st.floats(0.0, 1e300, allow_subnormal=False), st.just(np.inf)),
    ),
    st.sampled_from([-0.1, -0.15, -0.2, -0.3]),
)
def test_weights_sum_to_one_whatever_the_averages(values: Any, beta: float) -> None:
    weights = softmax_weights(values, beta)
    assert np.isfinite(weights).all()
    assert (weights >= 0.0).all()
    assert (weights[np.isinf(values)] == 0.0).all()
    finite = np.isfinite(values)
    assert weights.sum() == pytest.approx(1.0 if finite.any() else 0.0)
    if finite.any():
        assert weights[np.argmin(values)] == weights.max() > 0.0


def test_weights_are_a_softmax() -> None:
    weights = softmax_weights([10.0, 20.0, 15.0], -0.2)
    powers = np.exp([-2.0, -4.0, -3.0])
    np.testing.assert_allclose(weights, powers / powers.sum(), rtol=1e-14)


def test_weights_depend_on_differences_alone() -> None:
    near, far = softmax_weights([0.0, 3.0], -0.1), softmax_weights([1e9, 1e9 + 3.0], -0.1)
    np.testing.assert_allclose(near, far, rtol=1e-6)


def test_an_average_that_is_nan_is_refused() -> None:
    with pytest.raises(ValueError, match="NaN"):
        softmax_weights([1.0, np.nan], -0.1)


# ------------------------------------------------------------------------------------------------- shares


def test_shares_of_all_competitions_hand_out_everything(golden: list[dict[str, Any]]) -> None:
    boards = [golden_board(golden[0]), golden_board(golden[1])]
    assert sum(board.weights.sum() for board in boards) == pytest.approx(1.0)
