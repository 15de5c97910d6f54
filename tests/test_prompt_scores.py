"""Prompt scores equal the validators', and keep what every transformation must keep."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ewmalab.rulebook import load_rulebook
from ewmalab.scoring.prompt_scores import prompt_scores, table_scores

TRANSFORMATIONS = ("p90_cap", "p95_fill", "median10_cap")
GOLDEN_CASES = 13

Floats = npt.NDArray[np.float64]


@pytest.fixture(scope="session")
def golden(shared_dir: Path) -> list[dict[str, Any]]:
    cases: list[dict[str, Any]] = json.loads((shared_dir / "golden" / "validator_cases.json").read_text())[
        "prompt_scores"
    ]
    return cases


def test_no_golden_case_goes_unchecked(golden: list[dict[str, Any]]) -> None:
    assert len(golden) == GOLDEN_CASES
    assert any(case["p90_cap"] is None for case in golden)


@pytest.mark.parametrize("transformation", TRANSFORMATIONS)
@pytest.mark.parametrize("number", range(GOLDEN_CASES))
def test_prompt_scores_equal_the_validators(golden: list[dict[str, Any]], number: int, transformation: str) -> None:
    case = golden[number]
    expected = case[transformation]
    result = prompt_scores(case["crps"], transformation)
    if expected is None:
        assert result is None
        return
    assert result is not None
    np.testing.assert_allclose(result.scores, expected["prompt_scores"], rtol=1e-12, atol=1e-9)
    assert result.fill == pytest.approx(expected["fill"], rel=1e-12)
    assert result.lowest == pytest.approx(expected["lowest"], rel=1e-12)


def test_every_transformation_of_the_rulebook_is_known() -> None:
    assert {rules.transformation for rules in load_rulebook().eras} == set(TRANSFORMATIONS)


def test_an_unknown_transformation_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match="'p99'; known are p90_cap, p95_fill, median10_cap"):
        prompt_scores([1.0], "p99")


@pytest.mark.parametrize("transformation", TRANSFORMATIONS)
@pytest.mark.parametrize("crps", [[], [-1.0], [-1.0, -1.0, -1.0]])
def test_a_prompt_without_a_valid_score_is_dropped(crps: list[float], transformation: str) -> None:
    assert prompt_scores(crps, transformation) is None


@pytest.mark.parametrize("crps", [[[1.0]], 1.0, [1.0, np.nan], [np.inf, 1.0]])
def test_what_is_not_a_field_of_finite_scores_is_refused(crps: Any) -> None:
    with pytest.raises(ValueError, match=r"crps .*(dimension|finite)"):
        prompt_scores(crps, "p95_fill")


def test_the_cap_at_the_median_keeps_garbage_out_of_what_missing_answers_get() -> None:
    field = [100.0] * 15 + [110.0] + [1e9] * 4 + [-1.0]
    new, old = prompt_scores(field, "median10_cap"), prompt_scores(field, "p95_fill")
    assert new is not None
    assert old is not None
    assert new.scores[16] == 900.0  # ten times the median, less the best
    assert new.fill <= 110.0
    assert old.fill == 1e9


def test_a_score_at_the_cap_counts_as_uncapped() -> None:
    result = prompt_scores([1.0, 1.0, 1.0, 10.0], "median10_cap")
    assert result is not None
    assert result.fill == pytest.approx(np.percentile([1.0, 1.0, 1.0, 10.0], 95))


def test_a_median_of_zero_caps_nothing() -> None:
    result = prompt_scores([0.0, 0.0, 5.0], "median10_cap")
    assert result is not None
    assert result.scores.tolist() == [0.0, 0.0, 5.0]


fields = hnp.arrays(
    np.float64, st.integers(1, 60), elements=st.one_of(st.just(-1.0), st.floats(0.0, 1e9, allow_subnormal=False))
)


@given(fields, st.sampled_from(TRANSFORMATIONS))
def test_the_best_has_zero_and_the_order_of_valid_scores_stays(crps: Floats, transformation: str) -> None:
    result = prompt_scores(crps, transformation)
    valid = crps != -1.0
    if not valid.any():
        assert result is None
        return
    assert result is not None
    assert result.scores.shape == crps.shape
    assert result.scores.min() == 0.0
    assert result.lowest == crps[valid].min()
    assert np.isfinite(result.scores).all()
    assert (result.scores[~valid] == result.fill - result.lowest).all()
    order = np.argsort(crps[valid], kind="stable")
    assert (np.diff(result.scores[valid][order]) >= 0.0).all()


@given(fields, st.sampled_from(TRANSFORMATIONS))
def test_inputs_are_left_alone(crps: Floats, transformation: str) -> None:
    before = crps.copy()
    prompt_scores(crps, transformation)
    assert np.array_equal(crps, before)


@pytest.mark.parametrize("transformation", TRANSFORMATIONS)
def test_a_table_of_prompts_gets_the_scores_of_each(transformation: str) -> None:
    rng = np.random.default_rng(0)
    crps = np.where(rng.random((200, 7)) < 0.2, -1.0, rng.exponential(10.0, (200, 7)) ** 3)
    crps[rng.random(crps.shape) < 0.2] = np.nan
    crps[:3] = [[np.nan] * 7, [-1.0] * 7, [0.0] * 5 + [-1.0, 9.0]]
    scores, fill, lowest = table_scores(crps, transformation)
    for row, of_row, *rest in zip(crps, scores, fill, lowest, strict=True):
        part = ~np.isnan(row)
        alone = prompt_scores(row[part], transformation)
        assert np.isnan(of_row[~part]).all()
        if alone is None:
            assert np.isnan([*of_row, *rest]).all()
        else:
            assert of_row[part].tolist() == alone.scores.tolist()
            assert rest == [alone.fill, alone.lowest]
