"""Scores, standings and verdicts equal those of a plain second implementation, whose numbers lie in this repository."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from golden import answers, ensembles, fields
from golden.make import FOLDER, MAKERS, stored

from ewmalab.rulebook import load_rulebook
from ewmalab.scoring.crps import score_log_returns, score_paths
from ewmalab.scoring.leaderboard import ScoreTable, leaderboard
from ewmalab.scoring.prompt_scores import prompt_scores
from ewmalab.scoring.validation import validate_response
from ewmalab.times import parse_time

Case = dict[str, Any]

BOOK = load_rulebook()
CRPS = [(case, date) for case in stored("crps") for date in case["scores"]]
FIELDS = [(case, transformation) for case in stored("prompt_scores") for transformation in case["scores"]]
VERDICTS = [(case, date) for case in stored("verdicts") for date in case["verdicts"]]


def identify(value: Any) -> str:
    """Name a case by its seed, and a date or transformation by itself."""
    return str(value.get("seed", value.get("response")))[:40] if isinstance(value, dict) else str(value)


def close(expected: float, rel: float = 1e-9) -> Any:
    return pytest.approx(expected, rel=rel, abs=1e-9)


def check_drawn(found: float, case: Case) -> None:
    assert found == pytest.approx(case["drawn"], rel=1e-12), "numpy draws other numbers: make the golden cases again"


# -------------------------------------------------------------------------------------------------------- the files


def equal(found: Any, expected: Any) -> bool:
    """Tell whether two cases agree, numbers up to rounding."""
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(equal(found[key], expected[key]) for key in expected)
    if isinstance(expected, list):
        return len(found) == len(expected) and all(map(equal, found, expected))
    if isinstance(expected, float) and isinstance(found, float):
        both_nan = math.isnan(found) and math.isnan(expected)
        return both_nan or math.isclose(found, expected, rel_tol=1e-9, abs_tol=1e-9)
    return type(found) is type(expected) and bool(found == expected)


@pytest.mark.ci
@pytest.mark.parametrize("kind", MAKERS)
def test_the_stored_cases_are_those_that_the_script_makes(kind: str) -> None:
    made, kept = MAKERS[kind](), stored(kind)
    assert equal(made, kept)
    assert not equal(made[:-1], kept)


def test_the_stored_cases_stay_small() -> None:
    assert sum((FOLDER / f"{kind}.json").stat().st_size for kind in MAKERS) < 60_000


def test_the_cases_cover_every_pattern_rule_transformation_and_side() -> None:
    crps = stored("crps")
    assert {(case["horizon"], case["nan_pattern"]) for case in crps} == {
        (horizon, pattern) for horizon in ("24h", "1h") for pattern in ensembles.NAN_PATTERNS
    }
    assert {case["horizon"] for case in crps if case["zero_price"]} == {"24h", "1h"}
    assert {date for _, date in CRPS} == set(ensembles.DATES)
    assert {transformation for _, transformation in FIELDS} == {rules.transformation for rules in BOOK.eras}
    assert {BOOK.at(parse_time(date)).response_format for _, date in VERDICTS} == {"digits8_text", "float32_8sig"}
    sides = [set(case["verdicts"].values()) for case in stored("verdicts")]
    assert any(len(side) == 2 for side in sides)
    assert any(side == {"CORRECT"} for side in sides)


# ------------------------------------------------------------------------------------------------------------- CRPS


@pytest.mark.parametrize(("case", "date"), CRPS, ids=identify)
def test_paths_score_what_the_plain_implementation_says(case: Case, date: str) -> None:
    paths, realised = ensembles.crps_inputs(case)
    check_drawn(paths[-1, -1], case)
    (competition,) = BOOK.at(parse_time(date)).select([case["horizon"]])
    expected = case["scores"][date]
    score = score_paths(paths, realised, competition.scoring, competition.time_increment)
    assert score.total == close(expected["total"])
    if case["zero_price"]:
        assert score.intervals == {}
        return
    assert score.intervals == {name: close(value) for name, value in expected["intervals"].items()}
    assert score.changes == expected["changes"]
    assert score.volatility_term == close(expected.get("volatility_term", 0.0))
    blocks = {str(seconds): value for seconds, value in (score.volatility or {}).items()}
    assert blocks == {seconds: close(value) for seconds, value in expected.get("volatility", {}).items()}

    log_returns = np.ascontiguousarray(np.log(paths / paths[:, :1]).T.astype(np.float32))
    fast = score_log_returns(log_returns, case["price"], realised, competition.scoring, competition.time_increment)
    assert fast.total == close(expected["total"], rel=1e-5)  # float32 log-returns stand for slightly other paths
    assert fast.changes == expected["changes"]


# ---------------------------------------------------------------------------------------------------- prompt scores


@pytest.mark.parametrize(("case", "transformation"), FIELDS, ids=identify)
def test_fields_get_the_prompt_scores_of_the_plain_implementation(case: Case, transformation: str) -> None:
    crps = fields.field(case)
    check_drawn(crps[-1], case)
    expected, found = case["scores"][transformation], prompt_scores(crps, transformation)
    if expected is None:
        assert found is None
        return
    assert found is not None
    np.testing.assert_allclose(found.scores, expected["scores"], rtol=1e-12, atol=1e-9)
    assert found.fill == close(expected["fill"], rel=1e-12)
    assert found.lowest == close(expected["lowest"], rel=1e-12)


# ----------------------------------------------------------------------------------------------------- leaderboards


@pytest.mark.parametrize("case", stored("leaderboards"), ids=identify)
def test_standings_are_those_of_the_plain_implementation(case: Case) -> None:
    rows = fields.score_rows(case)
    check_drawn(rows[-1][-1], case)
    end = parse_time(case["end"])
    rules = BOOK.at(end)
    (competition,) = rules.select([case["competition"]])
    found = leaderboard(
        ScoreTable(*(list(column) for column in zip(*rows, strict=True))),  # type: ignore[arg-type]
        end=end,
        window=competition.window,
        beta=competition.beta,
        share=competition.share,
        weights=rules.weights,
    )
    expected = case["leaderboard"]
    assert found.miners.tolist() == [row["miner"] for row in expected]
    averages = [np.inf if row["average"] is None else row["average"] for row in expected]
    np.testing.assert_allclose(found.averages, averages, rtol=1e-12)
    np.testing.assert_allclose(found.weights, [row["weight"] for row in expected], rtol=1e-9)
    assert found.weights.sum() == pytest.approx(case["share"])


# ---------------------------------------------------------------------------------------------------------- verdicts


@pytest.mark.parametrize(("case", "date"), VERDICTS, ids=identify)
def test_answers_get_the_verdict_of_their_date(case: Case, date: str) -> None:
    verdict = validate_response(
        case["response"],
        **answers.PROMPT,
        response_format=BOOK.at(parse_time(date)).response_format,
        process_time=case["process_time"],
    )
    assert verdict == case["verdicts"][date]
