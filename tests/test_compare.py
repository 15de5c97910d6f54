"""Comparisons pair prompt with prompt, refuse what is not comparable, and find what is there and nothing else."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pandas as pd
import pyarrow as pa
import pytest

from ewmalab import api
from ewmalab.analysis.compare import KEY, compare, scores_of
from ewmalab.errors import ExperimentError
from ewmalab.experiments.store import Experiment, save_experiment
from ewmalab.inference.paired_tests import holm
from ewmalab.replay.backtest import backtest
from ewmalab.replay.plan import BacktestPlan, plan_backtest
from ewmalab.report.text.compare import compare_text, other_weeks
from ewmalab.settings import load_settings
from ewmalab.sweeps.sweep import save_sweep, sweep
from ewmalab.times import parse_time

START = parse_time("2026-01-15")
NOW = parse_time("2026-03-01")
HOUR = 3600
WIDTH = 80  # columns of text

Floats = npt.NDArray[np.float64]
Scores = Mapping[tuple[str, str, str, int], float | None]


def table(crps: Scores, rule: str = "24h", **intervals: list[float]) -> pa.Table:
    """Results by (forecaster, competition, asset, start)."""
    names, competitions, assets, starts = zip(*crps, strict=True)
    columns: dict[str, Any] = {
        "forecaster": names,
        "competition": competitions,
        "asset": assets,
        "start_time": pa.array(starts, pa.int64()),
        "crps": pa.array(crps.values(), pa.float64()),
        "rule": [rule] * len(names),
    }
    return pa.table(columns | {f"crps_{name.removeprefix('_')}": values for name, values in intervals.items()})


def save(root: Path, results: pa.Table, name: str = "test", now: int = NOW) -> Experiment:
    inputs = {"kind": "backtest", "synthetic": False}
    return save_experiment(root, name, now=now, inputs=inputs, notes={}, results=results, summary=[], text="")


def pair(root: Path, a: pa.Table, b: pa.Table) -> dict[str, pd.DataFrame]:
    return {"a": scores_of(save(root, a, "a")), "b": scores_of(save(root, b, "b", NOW + 1))}


def frame(crps: Mapping[str, npt.ArrayLike], competition: str = "1h", step: int = HOUR, **columns: Any) -> pd.DataFrame:
    """Scored prompts by asset, one every `step` seconds."""
    rows = [(competition, asset, START + step * i) for asset, values in crps.items() for i in range(len(values))]  # type: ignore[arg-type]
    index = pd.MultiIndex.from_tuples(rows, names=["competition", "asset", "start_time"])
    scores = np.concatenate([np.asarray(values, np.float64) for values in crps.values()])
    return pd.DataFrame({"crps": scores, "rule": competition, **columns}, index=index)


def noise(seed: int, n: int = 200) -> Floats:
    return np.random.default_rng(seed).standard_normal(n)


# -------------------------------------------------------------------------------------------------- numbers


def test_the_numbers_of_a_comparison_are_right(tmp_path: Path) -> None:
    keys = [("ewma", "1h", "BTC", 60 * i) for i in range(3)] + [("ewma", "24h", "ETH", 0)]
    both = pair(
        tmp_path,
        table(dict(zip(keys, (10.0, 20.0, 30.0, 8.0), strict=True))),
        table(dict(zip(keys, (9.0, 24.0, 21.0, 8.0), strict=True))),
    )
    few = {"part": "", "forecaster": "b", "low": None, "high": None, "p_value": None, "p_holm": None, "weeks": None}
    assert [row.plain() for row in compare(both)] == [
        {
            "competition": "1h",
            "asset": "BTC",
            "prompts": 3,
            "mean_reference": 20.0,
            "mean": 18.0,
            "difference": -2.0,
            "change": pytest.approx(-0.1),
            "share_better": pytest.approx(2 / 3),
            "independent": pytest.approx(3 / 60),
            "shortage": "too few independent prompts: 0.0 of the 4 needed",
            **few,
        },
        {
            "competition": "24h",
            "asset": "ETH",
            "prompts": 1,
            "mean_reference": 8.0,
            "mean": 8.0,
            "difference": 0.0,
            "change": 0.0,
            "share_better": 0.0,
            "independent": 1.0,
            "shortage": "too few independent prompts: 1.0 of the 4 needed",
            **few,
        },
    ]
    back = compare({"b": both["b"], "a": both["a"]})
    assert [row.difference for row in back] == [2.0, 0.0]


def test_rows_are_matched_by_prompt_and_not_by_position(tmp_path: Path) -> None:
    one = {("ewma", "1h", "BTC", 0): 1.0, ("ewma", "1h", "BTC", 60): 2.0, ("ewma", "24h", "BTC", 0): 3.0}
    other = dict(reversed([(key, value + 0.5) for key, value in one.items()]))
    assert [row.difference for row in compare(pair(tmp_path, table(one), table(other)))] == [0.5, 0.5]
    # frames of others need not be sorted either
    a = frame({"BTC": [1.0, 2.0, 3.0]})
    (row,) = compare({"a": a, "b": a.iloc[::-1]})
    assert (row.difference, row.share_better) == (0.0, 0.0)


def test_each_forecaster_is_compared_with_the_first_in_their_order() -> None:
    a, b, c = (frame({"ETH": [x, x], "BTC": [2 * x, 2 * x]}) for x in (10.0, 9.0, 11.0))
    rows = compare({"a": a, "c": c, "b": b})
    assert [(row.asset, row.forecaster, row.difference) for row in rows] == [
        ("BTC", "c", 2.0),
        ("BTC", "b", -2.0),
        ("ETH", "c", 1.0),
        ("ETH", "b", -1.0),
        ("all", "c", pytest.approx(10.0)),
        ("all", "b", pytest.approx(-10.0)),
    ]


def test_all_is_the_mean_over_assets_of_relative_differences_at_each_time() -> None:
    # BTC alone is prompted at the third time: the mean over the times is not that over the prompts
    a = frame({"BTC": [10.0, 20.0, 30.0], "ETH": [1.0, 3.0]})
    b = frame({"BTC": [11.0, 18.0, 33.0], "ETH": [1.5, 3.0]})
    row = compare({"a": a, "b": b})[-1]
    # percent of the reference's mean on the asset: 20 and 2
    own = [(55.0 + 75.0) / 2, (90.0 + 150.0) / 2, 165.0]
    reference = [(50.0 + 50.0) / 2, (100.0 + 150.0) / 2, 150.0]
    assert (row.competition, row.asset, row.part, row.prompts) == ("1h", "all", "", 3)
    assert row.mean == pytest.approx(np.mean(own))
    assert row.mean_reference == pytest.approx(np.mean(reference))
    assert row.difference == pytest.approx(np.mean(own) - np.mean(reference))
    assert row.change == pytest.approx(np.mean(own) / np.mean(reference) - 1)
    assert row.share_better == pytest.approx(1 / 3)


def test_all_weighs_an_asset_the_same_whatever_the_size_of_its_scores() -> None:
    base = 100.0 + noise(0, 20)
    a, b = frame({"BTC": base, "ETH": base}), frame({"BTC": base * 1.1, "ETH": base * 0.9})
    small = frame({"BTC": base, "ETH": base * 1e-3}), frame({"BTC": base * 1.1, "ETH": base * 0.9e-3})
    for reference, other in ((a, b), small):
        assert compare({"a": reference, "b": other})[-1].change == pytest.approx(0.0, abs=1e-12)


def test_a_competition_of_one_asset_needs_no_sum() -> None:
    a = pd.concat([frame({"BTC": [1.0]}, "1h"), frame({"BTC": [2.0], "ETH": [3.0]}, "24h")])
    rows = compare({"a": a, "b": a})
    assert [(row.competition, row.asset) for row in rows] == [
        ("1h", "BTC"),
        ("24h", "BTC"),
        ("24h", "ETH"),
        ("24h", "all"),
    ]


def test_by_interval_each_scoring_interval_is_compared_on_its_own_column() -> None:
    columns = {"crps_1min": [1.0, 3.0, np.nan, np.nan], "crps_5min": [7.0, 9.0, 5.0, 5.0]}
    a = pd.concat([frame({"BTC": [10.0, 20.0]}, "1h"), frame({"BTC": [30.0, 40.0]}, "24h")]).assign(**columns)
    b = a.assign(crps_1min=a["crps_1min"] * 1.5, crps_5min=a["crps_5min"] - [2.0, 2.0, 1.0, 1.0])
    rows = compare({"a": a, "b": b}, by="interval")
    found = [(row.competition, row.asset, row.part, row.mean_reference, row.mean) for row in rows]
    # an interval that a competition does not have has no row
    assert found == [("1h", "BTC", "1min", 2.0, 3.0), ("1h", "BTC", "5min", 8.0, 6.0), ("24h", "BTC", "5min", 5.0, 4.0)]
    assert [row.change for row in rows] == pytest.approx([0.5, -0.25, -0.2])


def test_by_hour_start_times_are_grouped_by_the_hour_of_the_day_in_utc() -> None:
    # two days, a prompt every 8 hours from midnight on; only at 8 o'clock b differs, and more on BTC than on ETH
    btc, eth = np.full(6, 10.0), np.full(6, 1.0)
    at_eight = np.array([0, 1, 0, 0, 1, 0])
    a = frame({"BTC": btc, "ETH": eth}, step=8 * HOUR)
    b = frame({"BTC": btc + 2.0 * at_eight, "ETH": eth + 0.1 * at_eight}, step=8 * HOUR)
    rows = compare({"a": a, "b": b}, by="hour")
    assert [(row.asset, row.part, row.prompts) for row in rows] == [
        ("all", "00:00", 2),
        ("all", "08:00", 2),
        ("all", "16:00", 2),
    ]
    assert [row.change for row in rows] == pytest.approx([0.0, (0.2 + 0.1) / 2, 0.0])


def test_by_weekday_start_times_are_grouped_by_the_day_in_utc() -> None:
    a = frame({"BTC": np.full(16, 10.0)}, step=12 * HOUR)
    starts = a.index.get_level_values("start_time")
    days = pd.to_datetime(starts, unit="s").day_name().str[:3].to_numpy()
    b = a.assign(crps=np.where(days == "Sun", 12.0, 10.0))
    rows = compare({"a": a, "b": b}, by="weekday")
    assert {row.part: row.prompts for row in rows} == dict(zip(*np.unique(days, return_counts=True), strict=True))
    assert {row.part for row in rows if row.difference > 1e-9} == {"Sun"}
    assert [row.part for row in rows] == ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]


# ------------------------------------------------------------------------------------- what is comparable


def test_different_prompts_are_refused_unless_the_common_ones_are_asked_for(tmp_path: Path) -> None:
    one = {("ewma", "1h", "BTC", 0): 10.0, ("ewma", "1h", "BTC", 60): 20.0}
    other = {("ewma", "1h", "BTC", 60): 30.0, ("ewma", "1h", "BTC", 120): 99.0, ("ewma", "1h", "ETH", 60): 1.0}
    both = pair(tmp_path, table(one), table(other))
    with pytest.raises(ExperimentError, match=r"scored 2 prompts, .* 3, and they share 1.*--common"):
        compare(both)
    (row,) = compare(both, common=True)
    assert (row.asset, row.prompts, row.mean_reference, row.mean) == ("BTC", 1, 20.0, 30.0)


def test_common_prompts_are_those_of_all_forecasters() -> None:
    whole, more, most = (frame({"BTC": [x, x + 1, x + 2, x + 3]}) for x in (1.0, 2.0, 3.0))
    rows = compare({"a": whole, "b": more.iloc[:3], "c": most.iloc[1:]}, common=True)
    assert [(row.forecaster, row.prompts, row.mean_reference, row.mean) for row in rows] == [
        ("b", 2, 2.5, 3.5),
        ("c", 2, 2.5, 4.5),
    ]
    with pytest.raises(ExperimentError, match="a scored 4 prompts, c 3, and they share 3"):
        compare({"a": whole, "b": whole, "c": whole.iloc[1:]})


def test_unscored_prompts_do_not_count_as_prompts(tmp_path: Path) -> None:
    one = {("ewma", "1h", "BTC", 0): 10.0, ("ewma", "1h", "BTC", 60): None}
    other = {("ewma", "1h", "BTC", 0): 5.0, ("ewma", "1h", "BTC", 60): 6.0}
    both = pair(tmp_path, table(one), table(other))
    with pytest.raises(ExperimentError, match="share 1"):
        compare(both)
    (row,) = compare(both, common=True)
    assert (row.prompts, row.mean_reference, row.mean) == (1, 10.0, 5.0)
    same = {("ewma", "1h", "BTC", 0): 4.0, ("ewma", "1h", "BTC", 60): None}
    (row,) = compare(pair(tmp_path / "same", table(one), table(same)))
    assert row.prompts == 1
    assert math.isfinite(row.mean)


@pytest.mark.parametrize("common", [False, True])
def test_prompts_scored_by_different_rules_are_refused(tmp_path: Path, common: bool) -> None:
    key = {("ewma", "1h", "BTC", 0): 10.0}
    both = pair(tmp_path, table(key, "1h/gaps-as-series"), table(key, "1h/first-gap"))
    with pytest.raises(ExperimentError, match=r"1 prompts of b were scored by other rules than those of a.*BTC"):
        compare(both, common=common)


@pytest.mark.parametrize("common", [False, True])
def test_without_a_common_prompt_there_is_nothing_to_compare(tmp_path: Path, common: bool) -> None:
    both = pair(tmp_path, table({("ewma", "1h", "BTC", 0): 1.0}), table({("ewma", "1h", "BTC", 60): 1.0}))
    with pytest.raises(ExperimentError, match="no prompt in common" if common else "share 0"):
        compare(both, common=common)


def test_the_forecaster_of_each_side_can_be_chosen(tmp_path: Path) -> None:
    both = save(tmp_path, table({("ewma", "1h", "BTC", 0): 10.0, ("random-walk", "1h", "BTC", 0): 12.0}))
    (row,) = compare({"a": scores_of(both, "ewma"), "b": scores_of(both, "random-walk")})
    assert (row.mean_reference, row.mean) == (10.0, 12.0)
    (row,) = compare({"a": scores_of(both), "b": scores_of(both, "ewma")})  # the first
    assert row.difference == 0.0
    with pytest.raises(ExperimentError, match=r"has no forecaster 'ewna'; it has ewma, random-walk"):
        scores_of(both, "ewna")


def test_a_damaged_side_is_refused(tmp_path: Path) -> None:
    damaged = save(tmp_path, table({("ewma", "1h", "BTC", 0): 10.0}))
    (damaged.path / "results.parquet").write_bytes(b"PAR1")
    with pytest.raises(ExperimentError, match="damaged"):
        scores_of(damaged)


def test_one_forecaster_alone_is_refused() -> None:
    with pytest.raises(ExperimentError, match="at least two"):
        compare({"a": frame({"BTC": [1.0]})})


# ---------------------------------------------------------------------------------------------- how sure


def test_a_constant_advantage_is_found_and_noise_alone_is_not() -> None:
    reference = 100.0 + 10.0 * noise(0)
    rows = compare(
        {
            "a": frame({"BTC": reference}),
            "better": frame({"BTC": reference - 1.0 + noise(1)}),
            "worse": frame({"BTC": reference + 1.0 + noise(2)}),
            "same": frame({"BTC": reference + noise(3) - noise(3).mean() + 0.05}),
        }
    )
    better, worse, same = rows
    assert better.low < better.change < better.high < 0
    assert better.p_holm < 1e-3
    assert 0 < worse.low < worse.change < worse.high
    assert worse.p_holm < 1e-3
    assert same.low < 0 < same.high
    assert same.p_holm > 0.05


def test_noise_is_seldom_taken_for_an_advantage() -> None:
    reference = 100.0 + 10.0 * noise(0)
    rows = [compare({"a": frame({"BTC": reference}), "b": frame({"BTC": reference + noise(1 + i)})}) for i in range(20)]
    claimed = [row.high < 0 or row.low > 0 for (row,) in rows]
    tested = [row.p_holm < 0.05 for (row,) in rows]
    assert sum(claimed) <= 3  # 1 is expected
    assert sum(tested) <= 3


def test_a_difference_that_never_varies_is_certain() -> None:
    reference = 100.0 + 10.0 * noise(0)
    (row,) = compare({"a": frame({"BTC": reference}), "b": frame({"BTC": reference - 1.0})})
    assert (row.low, row.high) == pytest.approx((row.change, row.change))
    assert row.p_holm < 1e-9
    assert row.share_better == 1.0


def test_prompts_that_share_hours_of_their_paths_count_as_fewer() -> None:
    reference, other = 100.0 + 10.0 * noise(0), 100.0 + 10.0 * noise(0) + noise(1) - 0.3
    short, long = (
        compare({"a": frame({"BTC": reference}, name), "b": frame({"BTC": other}, name)})[0] for name in ("1h", "24h")
    )
    assert short.difference == long.difference
    assert long.p_value > short.p_value


def test_several_forecasters_are_corrected_for_their_number_within_each_row() -> None:
    reference = 100.0 + 10.0 * noise(0)
    forecasters = {
        name: frame({"BTC": reference + shift + noise(i), "ETH": reference + noise(10 + i)})
        for i, (name, shift) in enumerate({"a": 0.0, "b": -0.3, "c": 0.25}.items())
    }
    rows = compare(forecasters)
    assert [(row.asset, row.forecaster) for row in rows] == [
        (asset, name) for asset in ("BTC", "ETH", "all") for name in "bc"
    ]
    for i in range(0, len(rows), 2):
        raw = [row.p_value for row in rows[i : i + 2]]
        assert [row.p_holm for row in rows[i : i + 2]] == holm(raw).tolist()
        assert max(row.p_holm for row in rows[i : i + 2]) <= 1.0
    assert rows[0].p_holm > rows[0].p_value
    # alone, a forecaster needs no correction
    (alone,) = compare({name: forecasters[name].loc[["1h"], ["BTC"], :] for name in "ab"})
    assert alone.p_holm == alone.p_value == rows[0].p_value


def test_too_few_prompts_bound_nothing() -> None:
    for n, bounded in ((7, False), (8, True)):
        (row,) = compare({"a": frame({"BTC": 10.0 + noise(0, n)}), "b": frame({"BTC": 9.0 + noise(1, n)})})
        assert (row.low is not None) == (row.high is not None) == bounded
        assert (row.p_value is not None) == (row.p_holm is not None) == bounded
        assert bool(row.shortage) != bounded


def test_a_reference_of_zero_has_no_relative_change() -> None:
    zero, some = frame({"BTC": np.zeros(20)}), frame({"BTC": 1.0 + noise(0, 20)})
    (row,) = compare({"a": zero, "b": some})
    assert (row.change, row.low, row.high) == (0.0, None, None)
    assert row.difference == pytest.approx(some["crps"].mean())


def test_from_eight_weeks_on_the_spread_between_weeks_is_told() -> None:
    rng = np.random.default_rng(0)
    starts = np.arange(0, 10 * 7 * 24) * 3600
    week = starts // (7 * 86_400)
    level = rng.standard_normal(10)[week]
    index = pd.MultiIndex.from_product([["24h"], ["BTC"], starts], names=KEY)
    one = pd.DataFrame({"crps": 10.0, "rule": "24h"}, index)
    other = one.assign(crps=10.0 + level)
    (row,) = compare({"a": one, "b": other})
    assert row.weeks is not None
    weekly = [level[week == w].mean() / 10 for w in range(10)]
    assert row.weeks.count == 10
    assert row.weeks.spread == pytest.approx(np.std(weekly, ddof=1))
    reach = 2.262157 * np.std(weekly, ddof=1) * np.sqrt(1.1)
    assert (row.weeks.low, row.weeks.high) == pytest.approx((np.mean(weekly) - reach, np.mean(weekly) + reach))
    text = compare_text([row], "a", False)
    assert "another week" in text
    assert f"another week like these 10 would bring {100 * row.weeks.low:+.1f} to" in " ".join(other_weeks([row]))
    assert "speaks for the market of these days alone" not in text
    few = starts < 55 * 86_400
    (short,) = compare({"a": one[few], "b": other[few]})
    assert short.weeks is None
    assert "speaks for the market of these days alone" in compare_text([short], "a", False)


def test_staggered_prompts_of_several_assets_are_pooled_by_their_cadence() -> None:
    """Each asset's prompts start at other minutes of the hour; the pooled row has one mean per hour."""
    hours = np.arange(100) * 3600
    parts = []
    for i, asset in enumerate(("BTC", "ETH", "SOL", "XAU")):
        index = pd.MultiIndex.from_product([["24h"], [asset], hours + 900 * i], names=KEY)
        parts.append(pd.DataFrame({"crps": 10.0 + noise(i, 100), "rule": "24h"}, index))
    one = pd.concat(parts)
    *_, pooled = compare({"a": one, "b": one.assign(crps=one["crps"] + 1.0)})
    assert (pooled.asset, pooled.prompts) == ("all", 100)
    assert pooled.independent == pytest.approx(100 / 24)


# --------------------------------------------------------------------------------------- real experiments


def plan(folder: Path, experiments: Path, flags: Mapping[str, Any] | None = None, **options: Any) -> BacktestPlan:
    fixed = {
        "data.cache_dir": str(folder / "data_cache"),
        "run.experiments_dir": str(experiments),
        "data.feed": "simulated",
    }
    chosen: dict[str, Any] = {
        "start": START,
        "days": 0.1,
        "num_simulations": 10,
        "assets": ["BTC"],
        "competitions": ["1h"],
        "now": NOW,
    }
    return plan_backtest(load_settings(environ={}, flags=fixed | dict(flags or {})), **(chosen | options))


def test_two_backtests_that_differ_in_a_setting_compare_prompt_by_prompt(folder: Path, tmp_path: Path) -> None:
    one, other = (
        backtest(plan(folder, tmp_path, flags, forecasters=["ewma"]), now=NOW) for flags in ({}, {"ewma.nu_1m.BTC": 3})
    )
    frames = {"one": scores_of(one), "other": scores_of(other)}
    (row,) = compare(frames)
    x, y = (np.array(e.results["crps"].to_pylist()) for e in (one, other))
    assert row.prompts == len(x) > 5
    assert row.difference == pytest.approx((y - x).mean())
    assert row.share_better == (y < x).mean()
    assert orjson.loads(orjson.dumps(row.plain())) == row.plain()
    # intervals add up to the whole, since this rule has no volatility term
    parts = compare(frames, by="interval")
    assert {f"crps_{part.part}" for part in parts} == {c for c in one.results.column_names if c.startswith("crps_")}
    assert sum(part.difference for part in parts) == pytest.approx(row.difference)


def test_experiments_of_another_folder_are_compared_as_they_are_given(folder: Path, tmp_path: Path) -> None:
    one, other = (
        backtest(plan(folder, tmp_path, flags, forecasters=["ewma"]), now=NOW) for flags in ({}, {"ewma.nu_1m.BTC": 3})
    )
    elsewhere = load_settings(environ={}, flags={"run.experiments_dir": str(tmp_path / "none")})
    (row,) = api.compare(one, other, settings=elsewhere).rows
    assert row == compare({one.name: scores_of(one), other.name: scores_of(other)})[0]


def test_a_sweeps_experiment_is_refused(folder: Path, tmp_path: Path) -> None:
    settings = plan(folder, tmp_path).settings
    result = sweep(
        settings,
        {"half_life_1m": ["30m", "1h"]},
        now=NOW,
        replicates=1,
        days=0.1,
        start=START,
        assets=["BTC"],
        competitions=["1h"],
        num_simulations=10,
    )
    experiment = save_sweep(result, now=NOW)
    with pytest.raises(ExperimentError, match=rf"{experiment.name} is a sweep, not a backtest"):
        scores_of(experiment)


# --------------------------------------------------------------------------------------------------- text


def rows_of(forecasters: Mapping[str, pd.DataFrame], **options: Any) -> list[dict[str, Any]]:
    return [row.plain() for row in compare(forecasters, **options)]


def text_of(forecasters: Mapping[str, pd.DataFrame], synthetic: bool = False, **options: Any) -> str:
    return compare_text(compare(forecasters, **options), next(iter(forecasters)), synthetic)


def cells(text: str, row: str) -> list[str]:
    """Return the cells of the line that holds a word."""
    (line,) = [line for line in text.splitlines() if row in line.split()]
    return [cell.strip() for cell in line.split("  ") if cell.strip()]


def test_the_text_shows_what_was_found() -> None:
    a, b = frame({"BTC": [10.0] * 5, "ETH": [1.0] * 5}), frame({"BTC": [9.0] * 5, "ETH": [1.2] * 5})
    text = text_of({"a": a, "b": b})
    assert cells(text, "BTC") == ["1h", "BTC", "5", "10.00", "9.00", "-10.00 %", "-", "-"]
    assert cells(text, "all") == ["1h", "all", "5", "100.00 %", "105.00 %", "+5.00 %", "-", "-"]
    assert "SYNTHETIC" not in text
    assert "SYNTHETIC" in text_of({"a": a, "b": b}, synthetic=True)


def test_a_row_of_the_text_agrees_with_itself() -> None:
    a = frame({"BTC": [10.0, 30.0] * 4}, step=12 * HOUR)
    row = cells(text_of({"a": a, "b": frame({"BTC": [11.0, 33.0] * 4}, step=12 * HOUR)}), "BTC")
    reference, own, change = (float(cell.removesuffix("%")) for cell in row[3:6])
    assert own / reference - 1 == pytest.approx(change / 100, abs=1e-3)


def test_the_widest_rows_fit_a_page() -> None:
    prompts = {"GOOGLX": 1000.0 + 100.0 * noise(0, 12), "WTIOIL": 1000.0 + 100.0 * noise(1, 12)}
    a = frame(prompts, "com-equ-24h").assign(crps_24hour_abs=lambda f: f["crps"])
    b = a.assign(crps=a["crps"] * 1.2, crps_24hour_abs=a["crps"] * 1.2)
    for by in ("asset", "interval", "hour", "weekday"):
        text = text_of({"my.package.forecasters:reference": a, "my.package.forecasters:candidate": b}, by=by)
        assert "candidate" in text
        assert max(map(len, text.splitlines())) <= WIDTH


# ------------------------------------------------------------------------------------------- command line


@pytest.fixture(scope="module")
def experiment(folder: Path) -> Experiment:
    """A backtest that the command line finds as the latest."""
    return backtest(plan(folder, folder / "experiments", forecasters=["random-walk", "ewma"], days=0.3), now=NOW)


def test_experiments_are_compared_as_they_are(ewmalab, experiment: Experiment) -> None:
    result = ewmalab("compare", "latest/random-walk", "latest/ewma", "--json")
    assert result.code == 0, result.err
    data = json.loads(result.out)
    assert (data["reference"], data["by"], data["synthetic"]) == ("latest/random-walk", "asset", True)
    frames = {f"latest/{name}": scores_of(experiment, name) for name in ("random-walk", "ewma")}
    assert data["rows"] == rows_of(frames)
    # without a slash, it is the experiment's first
    assert json.loads(ewmalab("compare", experiment.name, "latest/ewma", "--json").out)["rows"] == data["rows"]


def test_forecasters_are_replayed_on_the_prompts_that_were_asked_for(ewmalab, tmp_path: Path) -> None:
    options = ["--start", "2026-01-15", "--days", "0.1", "--feed", "simulated", "--assets", "BTC"]
    options += ["--set", f"run.experiments_dir={tmp_path}"]  # elsewhere it would be the latest for other tests
    result = ewmalab("compare", "random-walk", "ewma", "ewma@seed", *options, "--competitions", "1h", "--json")
    assert result.code == 0, result.err
    data = json.loads(result.out)
    assert (data["reference"], data["synthetic"]) == ("random-walk", True)
    assert [(row["forecaster"], row["asset"], row["prompts"]) for row in data["rows"]] == [
        ("ewma", "BTC", 12),
        ("ewma@seed", "BTC", 12),
    ]
    (path,) = tmp_path.glob("*-compare-*")
    frames = {name: scores_of(Experiment(path), name) for name in ("random-walk", "ewma", "ewma@seed")}
    assert data["rows"] == rows_of(frames)


@pytest.mark.parametrize(("by", "row"), [("asset", "BTC"), ("interval", "60min_abs"), ("hour", "07:00")])
def test_the_commands_text_fits_a_page_and_says_what_is_synthetic(
    ewmalab, experiment: Experiment, by: str, row: str
) -> None:
    result = ewmalab("compare", experiment.name, f"{experiment.name[-8:]}/ewma", "--by", by)
    assert result.code == 0, result.err
    assert "SYNTHETIC" in result.out
    assert f"against {experiment.name}" in result.out
    assert cells(result.out, row)[0] == "1h"
    assert max(map(len, result.out.splitlines())) <= WIDTH


def test_the_text_fits_a_page_where_experiments_are_named_in_full(ewmalab, experiment: Experiment) -> None:
    result = ewmalab("compare", f"{experiment.name}/random-walk", f"{experiment.name}/ewma")
    assert result.code == 0, result.err
    assert max(map(len, result.out.splitlines())) <= WIDTH


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["ewma", "latest"], 2, "forecasters or experiments, not both"),
        (["latest/ewma", "random-walk"], 2, "forecasters or experiments, not both"),
        (["latest", "my.module:forecaster"], 2, "forecasters or experiments, not both"),
        (["ewma"], 2, "at least two"),
        (["latest", "latest"], 2, "duplicate name: "),
        (["latest/ewma", "latest/random-walk", "--by", "week"], 2, "not one of asset, interval, hour, weekday"),
        (["latest/ewma", "latest/ewna"], 3, "no forecaster 'ewna'; it has random-walk, ewma"),
        (["latest", "nothing-like-it"], 3, "experiments list"),
    ],
)
def test_mistakes_are_named_with_their_exit_code(
    ewmalab, experiment: Experiment, arguments: list[str], code: int, words: str
) -> None:
    result = ewmalab("compare", *arguments)
    assert result.code == code, result.err
    assert words in " ".join((result.out + result.err).replace("│", " ").split())
