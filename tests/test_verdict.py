"""The verdict of a backtest: every pair, how surely, and where the difference came from."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ewmalab.analysis.compare import KEY, compare
from ewmalab.analysis.verdict import BY, REST, Verdict, judge
from ewmalab.report.pages.verdict import verdict_card
from ewmalab.report.text.verdict import leads, listed, origins, worths
from ewmalab.times import DAY

START = 1_767_830_400  # 2026-01-08, a Thursday
DAYS, STEP = 7, 1800


def frame(factor: np.ndarray, noise: np.ndarray, *, extra: float = 0.0) -> pd.DataFrame:
    """CRPS of one contestant on two assets: the noise of all, times a factor per prompt."""
    count = DAYS * DAY // STEP
    parts = []
    for place, asset in enumerate(("BTC", "ETH")):
        crps = noise[place] * factor * (1 + place)
        columns = {"crps": crps + extra, "crps_5min": 0.75 * crps, "crps_60min": 0.25 * crps}
        index = {"competition": "1h", "asset": asset, "start_time": START + STEP * np.arange(count), "rule": "1h"}
        parts.append(pd.DataFrame({**index, **columns}))
    return pd.concat(parts).set_index(KEY).sort_index()


@pytest.fixture(scope="module")
def frames() -> dict[str, pd.DataFrame]:
    """`weekend` is better on Saturday alone, `steady` by 5 % always, `same` is the base with other noise."""
    rng, count = np.random.default_rng(1), DAYS * DAY // STEP
    noise = rng.gamma(20.0, 5.0, (2, count))
    saturday = np.where(np.arange(count) // (DAY // STEP) == 2, 0.5, 1.0)
    jitter, other = (rng.normal(0.0, 0.02, count) for _ in range(2))
    return {
        "weekend": frame(saturday, noise),
        "steady": frame(0.95 + jitter, noise),
        "same": frame(1.0 + other - (other * noise.mean(axis=0)).sum() / noise.mean(axis=0).sum(), noise),
        "base": frame(np.ones(count), noise),
    }


@pytest.fixture(scope="module")
def verdict(frames: dict[str, pd.DataFrame]) -> Verdict:
    return judge(frames)


def test_the_matrix_holds_every_ordered_pair(verdict: Verdict, frames: dict[str, pd.DataFrame]) -> None:
    pairs = [(row.forecaster, other) for other, row in verdict.duels]
    assert sorted(pairs) == sorted((a, b) for a in frames for b in frames if a != b)
    for own, other in pairs:
        there, back = verdict.duel("1h", own, other), verdict.duel("1h", other, own)
        assert there is not None
        assert back is not None
        assert (1 + there.change) * (1 + back.change) == pytest.approx(1.0)
        assert (there.proven, there.sign) == (back.proven, -back.sign)
        assert (there.p_value is not None and there.p_value < 0.05) == bool(there.sign)


def test_the_matrix_agrees_with_a_comparison_and_p_is_corrected_for_all_pairs(
    verdict: Verdict, frames: dict[str, pd.DataFrame]
) -> None:
    compared = {row.forecaster: row for row in compare({"base": frames["base"], **frames}) if row.asset == "all"}
    p_values = sorted(row.p_value for other, row in verdict.duels if row.p_value is not None and row.forecaster < other)
    for name in ("weekend", "steady", "same"):
        found, row = verdict.duel("1h", name, "base"), compared[name]
        assert found is not None
        assert (found.change, found.low, found.high, found.p_value) == (row.change, row.low, row.high, row.p_value)
        assert found.p_holm is not None
        assert found.p_value is not None
        assert found.p_value <= found.p_holm <= min(1.0, len(p_values) * max(p_values))
    assert len(p_values) == 6
    smallest = min((row for _, row in verdict.duels), key=lambda row: row.p_value or 1.0)
    assert smallest.p_holm == pytest.approx(6 * p_values[0])


def test_what_is_better_is_said_to_be_and_noise_is_not(verdict: Verdict) -> None:
    assert "base" in verdict.beaten("1h", "steady")
    assert "base" not in verdict.beaten("1h", "same")
    assert verdict.beaten("1h", "base") == []
    (lead,) = leads(verdict)
    assert lead.startswith("1h: steady beats ")
    cells = {cell.tone for row in verdict_card(verdict).boards[0].rows for cell in row[1:]}  # type: ignore[attr-defined]
    assert cells == {"", "good", "bad"}


def test_the_parts_of_each_kind_add_up_to_the_difference(verdict: Verdict) -> None:
    for origin in verdict.origins:
        duel = verdict.duel("1h", origin.own, origin.other)
        assert duel is not None
        assert origin.change == pytest.approx(duel.change)
        for by in BY:
            assert sum(part.change for part in origin.of(by)) == pytest.approx(origin.change)
            assert sum(part.base for part in origin.of(by)) == pytest.approx(1.0)


def test_a_gain_of_a_single_day_is_traced_to_it(verdict: Verdict) -> None:
    (origin,) = [one for one in verdict.origins if (one.own, one.other) == ("weekend", "base")]
    (day,) = origin.majority("day")
    assert day.name == "2026-01-10"
    assert origin.share([day]) == pytest.approx(1.0)
    assert origin.without([day]) == pytest.approx(0.0, abs=1e-12)
    (text,) = [text for text in origins(verdict) if "against base" in text]
    assert "100 % from Sat 2026-01-10, 1 of 7 days (without: " in text


def test_a_gain_that_is_spread_is_not_traced_to_any_day(verdict: Verdict) -> None:
    (origin,) = [one for one in verdict.origins if (one.own, one.other) == ("steady", "base")]
    assert len(origin.majority("day")) > 2
    assert [part.name for part in origin.majority("interval")] == ["5min"]


def test_what_no_scoring_interval_explains_is_called_the_rest() -> None:
    count = DAYS * DAY // STEP
    noise = np.full((2, count), 100.0)
    found = judge({"own": frame(np.ones(count), noise, extra=10.0), "base": frame(np.ones(count), noise)})
    rest = {part.name: part.change for part in found.origins[0].of("interval")}
    assert rest[REST] == pytest.approx(found.origins[0].change)


def test_a_verdict_without_a_field_says_how_to_get_one(verdict: Verdict) -> None:
    assert worths(verdict) == []
    assert "ewmalab leaderboard" in dict(verdict_card(verdict).facts)["What it is worth"][0]


def test_too_few_prompts_give_no_verdict(frames: dict[str, pd.DataFrame]) -> None:
    few = {name: found.groupby(level="asset").head(3) for name, found in frames.items()}
    found = judge(few)
    (lead,) = leads(found)
    assert "nobody is proven better" in lead
    assert "too few" in lead
    (board,) = verdict_card(found).boards
    told = {cell.detail for row in board.rows for cell in row[1:] if cell.shown}  # type: ignore[attr-defined]
    assert told == {"too few prompts"}


def test_names_are_listed_as_people_do() -> None:
    assert [listed(names) for names in (["a"], ["a", "b"], ["a", "b", "c"])] == ["a", "a and b", "a, b and c"]
