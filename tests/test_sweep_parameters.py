"""What a sweep varies: names of settings, the values tried for them, and the present ones beside them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ewmalab.errors import ConfigError
from ewmalab.forecast.load import apply_preset
from ewmalab.settings import LoadedSettings, load_settings
from ewmalab.settings.layers import DEFAULTS
from ewmalab.sweeps.parameters import Parameter, combinations, label, resolve
from ewmalab.sweeps.workload import Workload
from ewmalab.times import parse_time
from ewmalab.units import magnitude, parse_duration

PLUGIN = f"{__name__}:Custom"
DAY = 86_400


class Custom:
    """Named by tests of plug-ins; only its parameters matter here, never its paths."""


def loaded(**flags: Any) -> LoadedSettings:
    return load_settings(file=DEFAULTS, environ={}, flags={key.replace("__", "."): v for key, v in flags.items()})


SETTINGS = loaded()


def values_of(name: str, *texts: str, settings: LoadedSettings = SETTINGS, forecaster: str = "ewma") -> list[Any]:
    return list(resolve(name, texts or None, settings, forecaster).values)


# -------------------------------------------------------------------------------------------------- names


@pytest.mark.parametrize(
    "name",
    [
        "half_life_1m", "HALF_LIFE_1M", "Half_Life_1m", " half_life_1m ", "ewma.half_life_1m", "EWMA.HALF_LIFE_1M",
        "Ewma.Half_Life_1M",
    ],
)  # fmt: skip
def test_a_setting_is_named_in_any_case_with_its_section_or_without(name: str) -> None:
    found = resolve(name, ["30m"], SETTINGS, "ewma")
    assert (found.key, found.name) == ("ewma.half_life_1m", "half_life_1m")


@pytest.mark.parametrize(
    ("name", "value", "forecaster", "key"),
    [
        ("request_lead", "1m", "ewma", "replay.request_lead"),
        ("WARMUP", "3d", "random-walk", "replay.warmup"),
        ("sigma_per_hour", "0.01", "random-walk", "random_walk.sigma_per_hour"),
        ("random-walk.sigma_per_hour", "0.01", "random-walk", "random_walk.sigma_per_hour"),
        ("seed", "1", "ewma", "run.seed"),
    ],
)
def test_what_is_not_the_forecasters_own_needs_no_section_where_it_is_unique(
    name: str, value: str, forecaster: str, key: str
) -> None:
    assert resolve(name, [value], SETTINGS, forecaster).key == key


def test_a_forecasters_own_setting_comes_before_one_of_the_same_name_elsewhere() -> None:
    settings = loaded(plugin__seed=3)
    assert resolve("seed", ["1", "2"], settings, PLUGIN).key == "plugin.seed"
    assert resolve("run.seed", ["1", "2"], settings, PLUGIN).key == "run.seed"


def test_a_name_that_two_sections_share_is_refused_with_both_of_them() -> None:
    """No two sections share one today: these settings are made up."""
    sections = {
        "ewma": {},
        "random_walk": {},
        "seasonal_har": {},
        "blend": {},
        "plugin": {},
        "replay": {"lead": 1},
        "run": {"lead": 2},
    }
    settings: Any = SimpleNamespace(values=SimpleNamespace(**sections))
    with pytest.raises(ConfigError, match=r"'lead' may be replay\.lead or run\.lead: name it with its section"):
        resolve("lead", None, settings, "ewma")


@pytest.mark.parametrize(
    ("name", "forecaster", "message"),
    [
        ("half_life", "ewma", r"no setting 'half_life' to sweep; those of ewma are .*half_life_1m, half_life_5m"),
        ("ewma.half_life", "ewma", r"no setting 'ewma\.half_life' to sweep; those of ewma are .*half_life_1m"),
        ("half_life_1m", "random-walk", r"ewma\.half_life_1m is not a setting of random-walk: choose another --foreca"),
        ("sigma_per_hour", "ewma", r"random_walk\.sigma_per_hour is not a setting of ewma: choose another --forecast"),
        ("half_life_1m", PLUGIN, r"ewma\.half_life_1m is not a setting of .*: choose another --forecaster"),
        ("factor", PLUGIN, r"those of .* are none: give its parameters in \[plugin\]"),
        ("fit.every", "seasonal-har", r"fit\.every: a sweep uses one fit; compare backtests with --refit"),
        ("data.feed", "ewma", r"a sweep varies a forecaster or the replay \(ewma, .*run\), not section 'data'"),
        ("feeds.simulated.seed", "ewma", r"not section 'feeds'"),
        ("", "ewma", r"no setting '' to sweep; those of ewma are"),
        ("threads", "ewma", r"run\.threads does not change a forecast: there is nothing to sweep"),
        ("run.experiments_dir", "ewma", r"run\.experiments_dir does not change a forecast"),
        ("FORECASTERS", "ewma", r"replay\.forecasters does not change a forecast"),
    ],
)  # fmt: skip
def test_unknown_foreign_and_fixed_settings_are_refused_with_what_to_do(
    name: str, forecaster: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        resolve(name, ["1"], SETTINGS, forecaster)


# -------------------------------------------------------------------------------------------- default grids


@pytest.mark.parametrize("name", ["half_life_1m", "half_life_5m", "gap_half_life", "long_run_half_life"])
def test_half_lives_go_from_five_minutes_to_two_days_in_steps_of_about_one_factor(name: str) -> None:
    grid = [parse_duration(value) for value in values_of(name)]
    assert (grid[0], grid[-1]) == (300, 2 * DAY)
    factors = np.diff(np.log(grid))
    assert np.exp(factors).min() >= 1.9
    assert np.exp(factors).max() <= 2.3


def test_a_grid_keeps_to_what_the_setting_allows() -> None:
    """Four times a warm-up of 60 days is more than the 90 that are allowed."""
    assert values_of("warmup", settings=loaded(replay__warmup="60d")) == ["15d", "30d", "60d"]
    assert values_of("equity_off_hours_mult", settings=loaded(ewma__equity_off_hours_mult=4)) == [1, 2, 4, 8]


@pytest.mark.parametrize("name", ["nu_1m", "nu_5m"])
def test_degrees_of_freedom_go_from_just_above_two_to_thirty(name: str) -> None:
    assert values_of(name) == [2.1, 2.5, 3, 4, 5, 6, 8, 10, 15, 30]


@pytest.mark.parametrize("name", ["feedback", "variance_mixing_alpha"])
def test_shares_go_from_none_to_all(name: str) -> None:
    assert values_of(name) == [0, 0.25, 0.5, 0.75, 1]


@pytest.mark.parametrize(
    ("name", "choices"),
    [
        ("gap_policy", {"hold", "revert", "decay"}),
        ("off_hours", {"session", "whole_path", "none"}),
        ("close_only", {"squared_return", "synthesise"}),
        ("start", {"expanding_mean", "constant"}),
    ],
)
def test_choices_are_all_tried_and_lie_on_no_scale(name: str, choices: set[str]) -> None:
    found = resolve(name, None, SETTINGS, "ewma")
    assert set(found.values) == choices
    assert not found.ordered


def test_other_durations_and_numbers_are_multiplied_by_factors() -> None:
    assert values_of("request_lead", settings=loaded(replay__request_lead="2m")) == ["30s", "1m", "2m", "4m", "8m"]
    assert values_of("variance_floor") == pytest.approx([2.5e-11, 5e-11, 1e-10, 2e-10, 4e-10])
    assert values_of("warmup", settings=loaded(replay__warmup="8d")) == ["2d", "4d", "8d", "16d", "32d"]


@pytest.mark.parametrize(
    ("name", "forecaster"),
    [("seed", "ewma"), ("sigma_per_hour", "random-walk"), ("warmup", "ewma")],  # the latter two are 0
)
def test_what_has_no_grid_of_its_own_asks_for_values(name: str, forecaster: str) -> None:
    with pytest.raises(ConfigError, match="has no default grid: give --values A,B,C"):
        resolve(name, None, SETTINGS, forecaster)
    assert values_of("seed", "3", "1", "2") == [1, 2, 3]


# ------------------------------------------------------------------------------------------------- values


def test_values_that_mean_the_same_are_tried_once_and_written_as_settings_write_them() -> None:
    assert values_of("half_life_1m", "90m", "5400s", "1.5h", " 90m ") == ["90m"]
    assert values_of("nu_1m", "6", "6.0", "6e0") == [6]
    assert all(type(value) is int for value in values_of("nu_1m", "6.0", "7"))


def test_durations_and_numbers_come_in_their_order_and_choices_as_given() -> None:
    assert values_of("half_life_1m", "2h", "1d", "90m", "100s") == ["100s", "90m", "2h", "1d"]
    assert values_of("nu_1m", "10", "2.5", "9") == [2.5, 9, 10]
    assert values_of("gap_policy", "revert", "decay", "hold") == ["revert", "decay", "hold"]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("nu_1m", "2", r"ewma\.nu_1m\.default = 2: .*greater than 2"),
        ("nu_5m", "nan", r"ewma\.nu_5m\.default = nan: .*greater than 2"),
        (
            "half_life_1m",
            "30",
            r"ewma\.half_life_1m\.default = 30: the duration has no unit; write for example \"30s\" or",
        ),
        ("half_life_1m", "30s", r"ewma\.half_life_1m\.default = '30s': .*greater than or equal to 1m"),
        ("half_life_5m", "4m", r"ewma\.half_life_5m\.default = '4m': .*greater than or equal to 5m"),
        ("feedback", "1.5", r"ewma\.feedback\.default = 1\.5: .*less than or equal to 1"),
        ("gap_policy", "drop", r"ewma\.gap_policy = 'drop': .*'hold', 'revert' or 'decay'"),
        ("request_lead", "2h", r"replay\.request_lead = '2h': .*less than or equal to 1h"),
        ("seed", "-1", r"run\.seed = -1: .*greater than or equal to 0"),
    ],
)
def test_one_refused_value_refuses_the_sweep_and_is_named_with_its_key_and_limit(
    name: str, value: str, message: str
) -> None:
    good = {"nu_1m": "6", "nu_5m": "6", "feedback": "0.5", "gap_policy": "hold", "seed": "1"}.get(name, "30m")
    with pytest.raises(ConfigError, match=message):
        resolve(name, [good, value], SETTINGS, "ewma")


@pytest.mark.parametrize(
    ("value", "place"), [("90m", 5400.0), (3, 3.0), (0.5, 0.5), (True, None), ("hold", None), ("30", None)]
)
def test_the_place_of_a_value_on_its_scale(value: Any, place: float | None) -> None:
    assert magnitude(value) == place


@pytest.mark.parametrize(
    ("name", "values", "closed"),
    [
        ("half_life_1m", ["5m", "2d"], (False, False)), ("half_life_1m", ["1m", "90d"], (True, True)),
        ("half_life_5m", ["5m", "2d"], (True, False)), ("feedback", ["0", "1"], (True, True)),
        ("feedback", ["0.25", "0.75"], (False, False)), ("nu_1m", ["2.1", "30"], (False, False)),
        ("nu_1m", ["3", "1000"], (False, True)), ("request_lead", ["0s", "1h"], (True, True)),
        ("seed", ["0", "5"], (True, False)),
    ],
)  # fmt: skip
def test_a_grid_is_closed_where_the_setting_allows_nothing_beyond(
    name: str, values: list[str], closed: tuple[bool, bool]
) -> None:
    assert resolve(name, values, SETTINGS, "ewma").closed == closed


# ------------------------------------------------------------------------------------------ present values


@pytest.mark.parametrize(
    ("name", "asset", "value"),
    [
        ("half_life_1m", "BTC", "30m"), ("half_life_1m", "XAU", "1h"), ("half_life_1m", "WTIOIL", "2h"),
        ("nu_5m", "SOL", 3.5), ("nu_5m", "HYPE", 6), ("feedback", "BTC", 0.5), ("gap_policy", "BTC", "hold"),
    ],
)  # fmt: skip
def test_the_present_value_is_the_assets_own_or_the_default(name: str, asset: str, value: Any) -> None:
    own = {"ewma.half_life_1m.XAU": "1h", "ewma.half_life_1m.WTIOIL": "2h", "ewma.nu_5m.HYPE": 6}
    settings = SETTINGS.with_flags(own)
    assert resolve(name, None, settings, "ewma").configured(settings, asset) == value


def test_the_present_warm_up_is_the_assets_own_or_what_the_forecaster_asks_for() -> None:
    settings = loaded(replay__warmup={"default": "0s", "BTC": "3d"})
    found = resolve("warmup", ["1d", "48h", "2d"], settings, "ewma")
    assert found.values == ("1d", "2d")
    assert [found.configured(settings, asset) for asset in ("BTC", "ETH")] == ["3d", "0d"]


def test_a_presets_values_are_the_present_ones_and_leave_the_per_asset_ones_alone() -> None:
    base, effective = apply_preset("ewma@seed", SETTINGS)
    workload = Workload.of(SETTINGS, "ewma@seed", start=parse_time("2026-01-15"), days=1.0)
    assert base == workload.forecaster == "ewma"
    assert workload.name == "ewma@seed"
    for settings in (effective, workload.settings):
        present = {
            name: resolve(name, None, settings, "ewma").configured(settings, "BTC")
            for name in ("feedback", "gap_policy", "start", "half_life_1m", "nu_1m")
        }
        assert present == {
            "feedback": 1, "gap_policy": "decay", "start": "constant", "half_life_1m": "30m", "nu_1m": 10,
        }  # fmt: skip


def test_a_value_that_is_tried_counts_for_every_asset_over_presets_and_flags() -> None:
    settings = SETTINGS.with_flags({"ewma.half_life_1m.BTC": "45m"})
    workload = Workload.of(settings, "ewma@seed", start=0, days=1.0)
    tried = workload.with_overrides((("ewma.half_life_1m", "10m"), ("ewma.feedback", 0.25))).values.ewma
    assert tried.half_life_1m == {"default": 600}
    assert tried.feedback == {"default": 0.25}
    assert tried.gap_policy == "decay"


# ------------------------------------------------------------------------------------------------ plug-ins


def test_a_plug_ins_parameters_get_grids_by_their_kind() -> None:
    settings = loaded(
        plugin__flag=True, plugin__count=8, plugin__scale=0.5, plugin__half_life="1h", plugin__wait="20s", plugin__nu=5,
        plugin__feedback=0.1,
    )  # fmt: skip

    def grid(name: str) -> list[Any]:
        return values_of(name, settings=settings, forecaster=PLUGIN)

    assert grid("flag") == [False, True]
    assert grid("count") == [2, 4, 8, 16, 32]
    assert grid("plugin.SCALE") == [0.125, 0.25, 0.5, 1, 2]
    assert (grid("half_life")[0], grid("half_life")[-1]) == ("5m", "2d")
    assert grid("wait") == ["5s", "10s", "20s", "40s", "80s"]
    assert (grid("nu")[0], grid("nu")[-1]) == (2.1, 30)
    assert grid("feedback") == [0, 0.25, 0.5, 0.75, 1]


def test_a_plug_ins_parameters_have_present_values_per_asset() -> None:
    settings = load_settings(file=DEFAULTS, environ={}, flags={"plugin.factor": {"default": 1.0, "BTC": 2.0}})
    found = resolve("FACTOR", ["0.5", "4"], settings, PLUGIN)
    assert found == Parameter("plugin.factor", (0.5, 4))
    assert [found.configured(settings, asset) for asset in ("BTC", "ETH")] == [2.0, 1.0]


@pytest.mark.parametrize("name", ["windowSize", "WINDOWSIZE", "plugin.windowsize", "Plugin.windowSize"])
def test_a_plug_ins_parameter_is_found_in_any_case_and_keeps_its_own(name: str) -> None:
    settings = load_settings(file=DEFAULTS, environ={}, flags={"plugin.windowSize": 3})
    found = resolve(name, ["2", "4"], settings, PLUGIN)
    assert found == Parameter("plugin.windowSize", (2, 4))
    assert found.configured(settings, "BTC") == 3
    tried = settings.with_flags({found.key: 4})
    assert tried.values.plugin == {"windowSize": 4}


@pytest.mark.parametrize(("value", "kind"), [({"a": 1}, "table"), ([1, 2], "list")])
def test_tables_and_lists_of_a_plug_in_do_not_vary(value: Any, kind: str) -> None:
    settings = load_settings(file=DEFAULTS, environ={}, flags={"plugin.layers": value})
    with pytest.raises(ConfigError, match=rf"plugin\.layers is a {kind}: only single values vary"):
        resolve("layers", ["1"], settings, PLUGIN)


def test_a_plug_ins_text_has_no_default_grid() -> None:
    settings = loaded(plugin__mode="fast")
    with pytest.raises(ConfigError, match=r"plugin\.mode has no default grid: give --values A,B,C"):
        resolve("mode", None, settings, PLUGIN)
    assert values_of("mode", "slow", "TRUE", "fast", settings=settings, forecaster=PLUGIN) == ["slow", True, "fast"]


# --------------------------------------------------------------------------------------- grids and their names


def test_several_parameters_make_a_grid_of_all_combinations() -> None:
    life = Parameter("ewma.half_life_1m", ("10m", "1h"))
    nu = Parameter("ewma.nu_1m", (3, 6, 8.5))
    grid = combinations([life, nu])
    assert len(set(grid)) == len(grid) == 6
    assert grid[0] == (("ewma.half_life_1m", "10m"), ("ewma.nu_1m", 3))
    assert grid[-1] == (("ewma.half_life_1m", "1h"), ("ewma.nu_1m", 8.5))


def test_a_combination_reads_as_its_value_or_as_names_and_values() -> None:
    assert label((("ewma.half_life_1m", "30m"),)) == "30m"
    assert label((("ewma.variance_floor", 2.5e-11),)) == "2.5e-11"
    assert label((("ewma.half_life_1m", "30m"), ("ewma.nu_1m", 6.0))) == "half_life_1m 30m, nu_1m 6"
