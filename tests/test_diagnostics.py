"""Calibration and other diagnostics: right on forecasts known to be right, and every planted defect is seen."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ewmalab.analysis import diagnostics as dg
from ewmalab.analysis.relative import cumulative_difference, over_time, relative_scores
from ewmalab.errors import ExperimentError
from ewmalab.scoring.calibration import HORIZONS, check_horizons

BEGIN = 1_768_435_200


def forecasts(scale: float = 1.0, shift: float = 0.0, count: int = 600, paths: int = 200, **more: Any) -> pd.DataFrame:
    """Results of a forecaster whose paths have `scale` times the true standard deviation of a random walk."""
    rng = np.random.default_rng(5)
    rows = []
    for i in range(count):
        sd = 10.0 * np.exp(rng.normal(0.0, 0.5))  # basis points a minute, known to the forecaster
        steps = rng.normal(0.0, sd, 61)
        steps[0] = 0.0
        truth = 100.0 * np.exp(np.cumsum(steps) / 1e4)
        moves = rng.normal(0.0, sd * scale, (61, paths)) + shift * sd
        moves[0] = 0.0
        ensemble = (np.cumsum(moves, axis=0) / 1e4).astype(np.float32)
        row = {"forecaster": "f", "competition": "1h", "asset": "BTC", "start_time": BEGIN + 3600 * i, "crps": 1.0}
        for check in check_horizons(ensemble, 100.0, truth, 60):
            row |= {f"{name}_{check.horizon}": getattr(check, name) for name in ("pit", "error", "spread")}
        rows.append(row | more)
    return pd.DataFrame(rows)


@given(st.lists(st.floats(-0.125, 0.125, width=32), min_size=1, max_size=50), st.floats(-0.2, 0.2))
def test_the_transform_is_the_middle_of_the_ranks_that_the_outcome_may_take(paths: list[float], outcome: float) -> None:
    ensemble = np.array([[0.0] * len(paths), paths], np.float32)
    (check,) = check_horizons(ensemble, 100.0, np.array([100.0, 100.0 * np.exp(outcome)]), 60)
    realised = np.log(100.0 * np.exp(outcome) / 100.0)
    below, above = sum(x < realised for x in ensemble[1]), sum(x > realised for x in ensemble[1])
    ranks = np.arange(below, len(paths) - above + 1)
    assert check.pit == pytest.approx((ranks.mean() + 0.5) / (len(paths) + 1))
    assert check.error == pytest.approx(1e4 * (realised - ensemble[1].astype(float).mean()), abs=1e-6)
    if len(paths) > 1:
        assert check.spread == pytest.approx(1e4 * np.std(ensemble[1].astype(float), ddof=1), abs=1e-6)


@pytest.mark.parametrize(("increment", "steps"), [(60, 60), (300, 288), (7, 100)])
def test_horizons_are_those_that_the_prompt_has_and_whose_price_is_known(increment: int, steps: int) -> None:
    paths, truth = np.zeros((steps + 1, 3), np.float32), np.full(steps + 1, 100.0)
    expected = [h for h in HORIZONS if h % increment == 0 and h <= increment * steps]
    assert [c.horizon for c in check_horizons(paths, 100.0, truth, increment)] == expected
    if expected:
        truth[expected[0] // increment] = np.nan
        assert [c.horizon for c in check_horizons(paths, 100.0, truth, increment)] == expected[1:]


@pytest.mark.parametrize("n", [1, 2, 7, 8, 9, 127, 128, 129, 137, 1000, 1024, 4099])
def test_checks_equal_numpys_means_and_deviations_bit_for_bit(n: int) -> None:
    rng = np.random.default_rng(n)
    paths = (rng.standard_t(4, (61, n)) * 1e-3).astype(np.float32)
    truth = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 1e-3, 61)))
    for check in check_horizons(paths, 100.0, truth, 60):
        ensemble = paths[check.horizon // 60].astype(np.float64)
        outcome = np.log(truth[check.horizon // 60] / truth[0])
        assert check.error == 1e4 * (outcome - ensemble.mean())
        assert check.spread == (1e4 * ensemble.std(ddof=1) if n > 1 else 0.0)


def test_what_the_price_did_before_the_start_is_no_forecasts() -> None:
    paths = np.array([[0.0, 0.0, 0.0], [-0.01, 0.0, 0.01]], np.float32)
    (still,) = check_horizons(paths, 100.0, np.array([100.0, 100.0]), 60)
    (moved,) = check_horizons(paths, 100.0, np.array([105.0, 105.0]), 60)
    (unknown,) = check_horizons(paths, 100.0, np.array([np.nan, 105.0]), 60)
    assert moved == still
    assert unknown.pit > 0.8
    assert unknown.error == pytest.approx(1e4 * np.log(1.05))


def test_a_calibrated_forecast_is_called_calibrated() -> None:
    checks = dg.horizon_checks(forecasts())
    found = pd.DataFrame(dg.coverage(checks))
    assert len(found) == 4 * len(dg.LEVELS)
    assert (found["low"] <= found["level"]).mean() > 0.8
    assert (found["high"] >= found["level"]).mean() > 0.8
    assert ((found["covered"] - found["level"]).abs() < 0.05).all()
    bars = pd.DataFrame(dg.pit_histogram(checks))
    assert ((bars["low"] <= bars["share"]) & (bars["share"] <= bars["high"])).mean() > 0.9
    assert bars.groupby("horizon")["share"].sum().to_numpy() == pytest.approx(1.0)
    terms = pd.DataFrame(dg.term_structure(checks))
    assert (terms["scale"] - 1.0).abs().max() < 0.15
    assert ((terms["low"] < 1.0) & (terms["high"] > 1.0)).all()


@pytest.mark.parametrize("scale", [0.7, 1.5])
def test_a_wrong_spread_is_seen_and_its_remedy_told(scale: float) -> None:
    checks = dg.horizon_checks(forecasts(scale))
    found = pd.DataFrame(dg.coverage(checks))
    half = found[found["level"] == 0.5]
    assert ((half["high"] < 0.5) if scale < 1 else (half["low"] > 0.5)).all()
    bars = pd.DataFrame(dg.pit_histogram(checks))
    assert ((bars["share"] < bars["low"]) | (bars["share"] > bars["high"])).mean() > 0.3
    outer = bars[bars["bin"].isin([0.0, bars["bin"].max()])]
    assert ((outer["share"] > 0.1) == (scale < 1)).all()
    terms = pd.DataFrame(dg.term_structure(checks))
    assert (terms["scale"] * scale - 1.0).abs().max() < 0.15
    assert ((terms["high"] < 1.0) if scale > 1 else (terms["low"] > 1.0)).all()


def test_a_bias_is_seen() -> None:
    bars = pd.DataFrame(dg.pit_histogram(dg.horizon_checks(forecasts(shift=0.3))))
    last = bars[bars["horizon"] == 3600].set_index("bin")["share"]
    assert last.iloc[0] > 3 * last.iloc[-1]


def test_errors_grow_with_the_spread_where_the_spread_knows_something() -> None:
    knowing = pd.DataFrame(dg.spread_skill(dg.horizon_checks(forecasts())))
    last = knowing[knowing["horizon"] == 3600]
    assert last["spread"].is_monotonic_increasing
    assert np.corrcoef(last["spread"], last["error"])[0, 1] > 0.9
    assert last["prompts"].sum() == 600
    ignorant = forecasts().assign(spread_3600=np.random.default_rng(1).uniform(80, 120, 600))
    blind = pd.DataFrame(dg.spread_skill(dg.horizon_checks(ignorant)))
    errors = blind[blind["horizon"] == 3600]["error"]
    assert errors.max() / errors.min() < 1.5


def test_overlapping_prompts_widen_the_bands() -> None:
    apart = dg.horizon_checks(forecasts(count=200))
    close = apart.assign(start_time=BEGIN + (apart["start_time"] - BEGIN) // 12)
    for rows in (dg.pit_histogram, dg.coverage):
        a, b = (f[f["horizon"] == 3600] for f in (pd.DataFrame(rows(apart)), pd.DataFrame(rows(close))))
        assert ((b["high"] - b["low"]).to_numpy() >= (a["high"] - a["low"]).to_numpy()).all()
        assert (b["high"] - b["low"]).sum() > 1.2 * (a["high"] - a["low"]).sum()


def test_results_of_an_older_version_are_refused_with_the_remedy() -> None:
    with pytest.raises(ExperimentError, match="run the backtest again"):
        dg.horizon_checks(pd.DataFrame({"forecaster": ["f"], "crps": [1.0]}))


def scored(**columns: list[float]) -> pd.DataFrame:
    """CRPS per forecaster, of the same prompts: two assets of very different size, each hour."""
    rows = []
    for name, values in columns.items():
        for i, value in enumerate(values):
            for asset, size in (("BTC", 1000.0), ("XAU", 10.0)):
                rows.append((name, "1h", asset, BEGIN + 43_200 * i, value * size))
    return pd.DataFrame(rows, columns=["forecaster", "competition", "asset", "start_time", "crps"])


def test_relative_scores_let_all_assets_count_alike() -> None:
    results = scored(own=[1.0, 2.0, 3.0, 2.0], base=[2.0, 2.0, 2.0, 2.0])
    relative = relative_scores(results, "base")
    assert list(relative.columns) == ["own", "base"]
    assert (relative["base"] == 100.0).all()
    assert relative["own"].tolist() == [50.0, 100.0, 150.0, 100.0] * 2
    days = over_time(results, "base")
    times, values = days.competitions["1h"]
    assert (days.baseline, days.prompts, days.period) == ("base", 8, 86_400)
    assert values["own"].tolist() == [75.0, 125.0]
    assert times.tolist() == [BEGIN, BEGIN + 86_400]
    times, values = cumulative_difference(results, "base").competitions["1h"]
    assert {name: series.tolist() for name, series in values.items()} == {"own": [-0.5, -0.5, 0.0, 0.0]}
    assert times.tolist() == [BEGIN + 43_200 * i for i in range(4)]
    with pytest.raises(ExperimentError, match="no forecaster 'other'"):
        relative_scores(results, "other")


def test_prompts_that_not_all_have_scored_are_left_out() -> None:
    results = scored(own=[1.0, 2.0], base=[2.0, 2.0])
    results = results.drop(index=results.index[0])
    assert len(relative_scores(results, "base")) == 3
