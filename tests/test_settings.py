"""Settings come from five layers in a fixed order, and nothing unusable gets through any of them."""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from ewmalab.errors import ConfigError
from ewmalab.replay.plan import check_settings
from ewmalab.rulebook import load_rulebook
from ewmalab.settings import LoadedSettings, load_settings
from ewmalab.settings.layers import DEFAULTS, parse_assignments, read_settings
from ewmalab.settings.schema import MASK, asset_parameters, asset_value
from ewmalab.units import format_duration, parse_duration

SECRET = "sk-do-not-print-me"
DEFAULT_FEEDBACK = tomllib.loads(DEFAULTS.read_text(encoding="utf-8"))["ewma"]["feedback"]


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No ewmalab.toml of the developer's lies in the working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def loaded(
    flags: dict[str, Any] | None = None, environ: dict[str, str] | None = None, file: Path | None = None
) -> LoadedSettings:
    return load_settings(file=file, environ=environ or {}, flags=flags)


def written(folder: Path, text: str) -> Path:
    path = folder / "some.toml"
    path.write_text(text, encoding="utf-8")
    return path


# --------------------------------------------------------------------------------------- order of layers


def test_without_any_layer_every_value_is_the_packaged_default() -> None:
    settings = loaded()
    assert set(settings.sources().values()) == {"defaults"}
    assert {source for _, _, source in settings.effective()} == {"defaults"}


def test_each_layer_beats_the_ones_below_it(tmp_path: Path) -> None:
    """One setting is given in all five layers; removing them from the top shows the next."""
    file = written(tmp_path, "[ewma]\nfeedback = 0.1\n[presets.ewma.mine]\nfeedback = 0.3\n")
    environ = {"EWMALAB__EWMA__FEEDBACK": "0.2"}
    flags = {"ewma.feedback": 0.4}

    def outcome(settings: LoadedSettings) -> tuple[float, str]:
        return settings.values.ewma.feedback["default"], settings.sources()["ewma.feedback"]

    assert outcome(loaded(flags, environ, file).with_preset("ewma", "mine")) == (0.4, "flag")
    assert outcome(loaded({}, environ, file).with_preset("ewma", "mine")) == (0.3, "preset mine")
    assert outcome(loaded({}, environ, file)) == (0.2, "environment")
    assert outcome(loaded({}, {}, file)) == (0.1, str(file))
    assert outcome(loaded()) == (DEFAULT_FEEDBACK, "defaults")


def test_flags_added_later_beat_flags_and_presets() -> None:
    settings = loaded({"ewma.feedback": 0.4, "run.seed": 5}).with_preset("ewma", "seed")
    later = settings.with_flags({"ewma.feedback": 0.7})
    assert later.values.ewma.feedback["default"] == 0.7
    assert later.values.run.seed == 5
    assert later.sources()["ewma.gap_policy"] == "preset seed"
    assert settings.values.ewma.feedback["default"] == 0.4


def test_the_file_in_the_working_directory_is_read_and_a_named_one_replaces_it(tmp_path: Path) -> None:
    (tmp_path / "ewmalab.toml").write_text("[run]\nseed = 11\n")
    other = written(tmp_path, "[run]\nthreads = 3\n")
    assert loaded().values.run.seed == 11
    assert loaded().sources()["run.seed"] == "ewmalab.toml"
    named = loaded(file=other)
    assert named.values.run.threads == 3
    assert named.sources()["run.seed"] == "defaults"


def test_by_default_the_process_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EWMALAB__RUN__SEED", "123")
    assert load_settings().values.run.seed == 123


def test_layers_that_set_different_keys_are_joined(tmp_path: Path) -> None:
    settings = loaded(
        {"run.threads": 2}, {"EWMALAB__RUN__SEED": "9"}, written(tmp_path, '[data]\nfeed = "simulated"\n')
    )
    sources = settings.sources()
    assert (settings.values.run.threads, settings.values.run.seed, settings.values.data.feed) == (2, 9, "simulated")
    assert [sources[k] for k in ("run.threads", "run.seed")] == ["flag", "environment"]
    assert sources["data.feed"].endswith("some.toml")
    assert sources["data.cache_dir"] == "defaults"


def test_other_environment_variables_are_left_alone() -> None:
    others = {"EWMALAB_RUN_SEED": "1", "RUN__SEED": "2", "ewmalab__run__seed": "3"}
    assert loaded(environ=others).values == loaded().values


# ------------------------------------------------------------------------------------------------- case


@pytest.mark.parametrize(
    "flags", [{"ewma.half_life_1m.BTC": "45m"}, {"EWMA.HALF_LIFE_1M.btc": "45m"}, {"Ewma.Half_Life_1m.Btc": "45m"}]
)
def test_keys_of_flags_are_case_insensitive(flags: dict[str, str]) -> None:
    assert loaded(flags).values.ewma.half_life_1m["BTC"] == 2700


@pytest.mark.parametrize(
    "name", ["EWMALAB__EWMA__HALF_LIFE_1M__BTC", "EWMALAB__ewma__half_life_1m__btc", "EWMALAB__Ewma__HALF_life_1m__Btc"]
)
def test_keys_of_the_environment_are_case_insensitive(name: str) -> None:
    table = loaded(environ={name: "45m"}).values.ewma.half_life_1m
    assert table["BTC"] == 2700
    assert not {"btc", "Btc"} & table.keys()


@pytest.mark.parametrize(
    "text",
    ['[ewma.half_life_1m]\nBTC = "45m"\n', '[EWMA]\nHALF_LIFE_1M = { btc = "45m" }\n', 'Ewma.half_life_1M.Btc = "45m"'],
)
def test_keys_of_files_are_case_insensitive(tmp_path: Path, text: str) -> None:
    table = loaded(file=written(tmp_path, text)).values.ewma.half_life_1m
    assert table == {"default": 1800, "BTC": 2700}


@pytest.mark.parametrize("layer", ["by_file", "by_environment", "by_assignment", "by_preset"])
def test_a_plug_ins_parameters_keep_their_case_in_every_layer(tmp_path: Path, layer: str) -> None:
    if layer == "by_file":
        settings = loaded(file=written(tmp_path, "[Plugin]\nwindowSize = 3\n"))
    elif layer == "by_environment":
        settings = loaded(environ={"EWMALAB__PLUGIN__windowSize": "3"})
    elif layer == "by_assignment":
        settings = loaded(parse_assignments(["PLUGIN.windowSize=3"]))
    else:
        settings = loaded(file=written(tmp_path, "[presets.plugin.Wide]\nwindowSize = 3\n")).with_preset(
            "plugin", "wide"
        )
    assert asset_parameters(settings.values.plugin, "BTC") == {"windowSize": 3}
    assert read_settings(settings.dump()).values.plugin == {"windowSize": 3}
    shown = {key: (value, source) for key, value, source in settings.effective()}
    assert shown["plugin.windowSize"] == (3, settings.sources()["plugin.windowsize"])


def test_recorded_settings_of_a_version_without_a_setting_are_refused_by_its_name() -> None:
    layers = orjson.loads(loaded().dump())
    assert layers[0][1]["ewma"].pop("draws") == "stratified"
    with pytest.raises(ConfigError, match=r"another version of ewmalab, which alone .*: ewma\.draws: missing"):
        read_settings(orjson.dumps(layers))


def test_layers_meet_in_one_parameter_of_a_plug_in_that_is_spelled_alike(tmp_path: Path) -> None:
    file = written(tmp_path, "[plugin]\nwindowSize = 3\n[presets.plugin.wide]\nwindowSize = 5\n")
    environ = {"EWMALAB__PLUGIN__windowSize": "4"}
    assert loaded({}, environ, file).values.plugin == {"windowSize": 4}
    assert loaded({}, environ, file).with_preset("plugin", "wide").values.plugin == {"windowSize": 5}
    flagged = loaded({"plugin.windowSize": 6}, environ, file).with_preset("plugin", "wide")
    assert flagged.values.plugin == {"windowSize": 6}
    assert flagged.with_flags({"plugin.windowSize": 7}).values.plugin == {"windowSize": 7}


def test_a_variable_all_in_capitals_means_a_parameter_in_lower_case(tmp_path: Path) -> None:
    environ = {"EWMALAB__PLUGIN__SCALE__BTC": "4", "EWMALAB__PLUGIN__WINDOW_2": "5"}
    file = written(tmp_path, "[plugin]\nscale = { default = 1, BTC = 2 }\nwindow_2 = 3\n")
    assert loaded(environ=environ, file=file).values.plugin == {"scale": {"default": 1, "BTC": 4}, "window_2": 5}
    with pytest.raises(ConfigError, match="differ only in case"):
        loaded({"plugin.windowSize": 3}, {"EWMALAB__PLUGIN__WINDOWSIZE": "4"})


def test_two_spellings_of_a_plug_ins_parameter_are_refused_with_both_sources(tmp_path: Path) -> None:
    file = written(tmp_path, "[plugin]\nwindowSize = 3\n[presets.plugin.wide]\nWindowSize = 5\n")
    with pytest.raises(ConfigError) as caught:
        loaded(environ={"EWMALAB__PLUGIN__WindowSize": "4"}, file=file)
    assert str(caught.value) == (
        f"plugin.WindowSize (from environment) and plugin.windowSize (from {file}) differ only in "
        "case: keep one of them"
    )
    for refused in (
        lambda: loaded(file=file).with_preset("plugin", "wide"),
        lambda: loaded(file=file).with_flags({"plugin.windowsize": 4}),
        lambda: loaded({"plugin.n": 1, "plugin.N": 2}),
        lambda: loaded({"plugin.scale": 1, "plugin.Scale.BTC": 2}),
        lambda: loaded({"plugin.scale.btc": 1, "plugin.scale.BTC": 2}),
    ):
        with pytest.raises(ConfigError, match="differ only in case"):
            refused()


def test_a_dotted_flag_lies_over_a_table_of_flags() -> None:
    assert loaded({"run": {"seed": 1, "threads": 2}, "run.seed": 3}).values.run.seed == 3


def test_a_setting_that_one_layer_gives_in_two_cases_is_refused(tmp_path: Path) -> None:
    for environ in (
        {"EWMALAB__RUN__SEED": "1", "EWMALAB__run__seed": "2"},
        {"EWMALAB__EWMA__NU_1M__BTC": "5", "EWMALAB__EWMA__nu_1m__btc": "6"},
    ):
        with pytest.raises(ConfigError, match=r"are the same setting \(from environment\)"):
            loaded(environ=environ)
    with pytest.raises(ConfigError, match=r"EWMA\.nu_1m and ewma\.nu_1m are the same setting \(from .*some\.toml\)"):
        loaded(file=written(tmp_path, "[ewma]\nnu_1m = 5\n[EWMA]\nnu_1m = 6\n"))


def test_tables_of_a_plug_in_keep_their_case_and_its_per_asset_tables_take_symbols_in_any(tmp_path: Path) -> None:
    file = written(tmp_path, "[plugin]\nscale = { default = 1.0, btc = 2.0 }\nnet = { hiddenSize = 8, empty = {} }\n")
    plugin = loaded({"plugin.scale.Eth": 3.0}, {"EWMALAB__PLUGIN__net__hiddenSize": "9"}, file).values.plugin
    assert plugin == {"scale": {"default": 1.0, "BTC": 2.0, "ETH": 3.0}, "net": {"hiddenSize": 9, "empty": {}}}


# -------------------------------------------------------------------------------------- per-asset tables


def test_one_value_replaces_the_whole_table() -> None:
    settings = loaded({"ewma.half_life_1m": "3h"})
    assert settings.values.ewma.half_life_1m == {"default": 10_800}
    keys = [key for key in settings.sources() if key.startswith("ewma.half_life_1m")]
    assert keys == ["ewma.half_life_1m"]


def test_a_table_replaces_only_its_keys() -> None:
    environ = {"EWMALAB__EWMA__NU_1M": "{ default = 6, BTC = 8, ETH = 7 }"}
    settings = loaded({"ewma.nu_1m": {"BTC": 4.5, "XRP": 5}}, environ)
    assert settings.values.ewma.nu_1m == {"default": 6, "BTC": 4.5, "ETH": 7, "XRP": 5}
    sources = settings.sources()
    assert (sources["ewma.nu_1m.btc"], sources["ewma.nu_1m.eth"]) == ("flag", "environment")


def test_a_table_over_one_value_keeps_it_as_the_default() -> None:
    settings = loaded({"ewma.feedback.BTC": 0.9})
    assert settings.values.ewma.feedback == {"default": DEFAULT_FEEDBACK, "BTC": 0.9}
    assert settings.sources()["ewma.feedback.default"] == "defaults"
    assert settings.sources()["ewma.feedback.btc"] == "flag"


def test_a_new_default_leaves_the_named_assets() -> None:
    environ = {"EWMALAB__EWMA__NU_5M__SOL": "5"}
    table = loaded({"ewma.nu_5m.default": 30}, environ).values.ewma.nu_5m
    assert table == {"default": 30, "SOL": 5}


def test_a_value_in_a_higher_layer_wipes_a_table_in_a_lower_one_and_the_reverse_does_not(tmp_path: Path) -> None:
    table = written(tmp_path, "[ewma.nu_1m]\nBTC = 3\n")
    assert loaded({}, {"EWMALAB__EWMA__NU_1M": "8"}, table).values.ewma.nu_1m == {"default": 8}
    value = written(tmp_path, "[ewma]\nnu_1m = 8\n")
    assert loaded({}, {"EWMALAB__EWMA__NU_1M__BTC": "3"}, value).values.ewma.nu_1m == {"default": 8, "BTC": 3}


def test_an_asset_without_an_entry_takes_the_default() -> None:
    ewma = loaded().values.ewma
    assert asset_value(ewma.nu_1m, "HYPE") == ewma.nu_1m["default"]
    parameters = asset_parameters(ewma, "BTC")
    assert (parameters["half_life_1m"], parameters["nu_1m"], parameters["gap_policy"]) == (1800, 4, "hold")
    assert not any(isinstance(value, dict) for value in parameters.values())


def test_per_asset_tables_of_a_plug_in_are_resolved_by_symbol() -> None:
    plugin = loaded({"plugin.scale": {"default": 1.0, "BTC": 2.0}}).values.plugin
    assert asset_parameters(plugin, "BTC")["scale"] == 2.0
    assert asset_parameters(plugin, "ETH")["scale"] == 1.0


def test_a_value_and_a_table_of_one_setting_in_one_layer_are_refused() -> None:
    with pytest.raises(ConfigError, match="both as a value and as a table"):
        loaded(environ={"EWMALAB__EWMA__NU_1M": "5", "EWMALAB__EWMA__NU_1M__BTC": "6"})


def test_settings_of_unknown_assets_are_refused_with_the_known_ones() -> None:
    book = load_rulebook()
    check_settings(loaded().values, book)
    for key, value in (("ewma.nu_1m", 5), ("replay.warmup", "5d"), ("random_walk.sigma_per_hour", 0.01)):
        values = loaded({f"{key}.DOGE": value}).values
        with pytest.raises(ConfigError, match=rf"{key}.*unknown asset DOGE.*BTC"):
            check_settings(values, book)


# --------------------------------------------------------------------------------------- what is refused

WRONG = [
    # key, value, part of the message that states the limit
    ("run.seed", -1, "greater than or equal to 0"),
    ("run.seed", 2**63, "less than 9223372036854775808"),
    ("run.seed", 1.5, "valid integer"),
    ("run.threads", -1, "greater than or equal to 0"),
    ("run.threads", 2000, "less than or equal to 1024"),
    ("data.feed", "kraken", "'pyth', 'binance', 'hyperliquid', 'file' or 'simulated'"),
    ("data.scored_feed", "kraken", "simulated"),
    ("feeds.pyth.host", "pyth.network", "http:// or https://"),
    ("feeds.binance.host", "ftp://x", "http:// or https://"),
    ("feeds.simulated.gaps", 0.9, "less than or equal to 0.5"),
    ("feeds.simulated.gaps", math.nan, "finite"),
    ("replay.forecasters", [], "at least 1"),
    ("replay.forecasters", 3, "tuple"),
    ("replay.request_lead", "60", "no unit"),
    ("replay.request_lead", "61m", "less than or equal to 1h"),
    ("replay.request_lead", "-60s", "number with a unit"),
    ("replay.warmup", 5, "no unit"),
    ("replay.warmup", "5", "no unit"),
    ("replay.warmup", "-1d", "number with a unit"),
    ("replay.warmup", math.inf, "unit"),
    ("replay.warmup", "91d", "less than or equal to 90d"),
    ("fit.every", "91d", "less than or equal to 90d"),
    ("fit.every", 1, "no unit"),
    ("fit.history", "7d", "greater than or equal to 8d"),
    ("fit.artifacts", 1, "tuple"),
    ("ewma.half_life_1m", 1800, "no unit"),
    ("ewma.half_life_1m", "30", "no unit"),
    ("ewma.half_life_1m", "30 weeks", "'weeks' is not one of s, m, h, d"),
    ("ewma.half_life_1m", "30M", "'M' is not one of"),
    ("ewma.half_life_1m", "59s", "greater than or equal to 1m"),
    ("ewma.half_life_1m", "91d", "less than or equal to 90d"),
    ("ewma.half_life_1m", "61.5s", "whole number of seconds"),
    ("ewma.half_life_1m", "", "number with a unit"),
    ("ewma.half_life_1m", "1e3s", "number with a unit"),
    ("ewma.half_life_1m", "nan", "number with a unit"),
    ("ewma.half_life_1m", "9" * 400 + "s", "less than or equal to 90d"),
    ("ewma.half_life_5m", "299s", "greater than or equal to 5m"),
    ("ewma.nu_1m", 2, "greater than 2"),
    ("ewma.nu_1m", 1.5, "greater than 2"),
    ("ewma.nu_1m", 1001, "less than or equal to 1000"),
    ("ewma.nu_1m", math.nan, "greater than 2"),
    ("ewma.nu_1m", math.inf, "less than or equal to 1000"),
    ("ewma.nu_1m", "10m", "without a unit"),
    ("ewma.nu_1m", "many", "valid number"),
    ("ewma.nu_5m", 2.0, "greater than 2"),
    ("ewma.variance_mixing_alpha", 1.01, "less than or equal to 1"),
    ("ewma.variance_mixing_alpha", -0.01, "greater than or equal to 0"),
    ("ewma.variance_mixing_alpha", math.nan, "finite"),
    ("ewma.variance_floor", 0, "greater than 0"),
    ("ewma.variance_floor", 1e-3, "less than or equal to 0.0001"),
    ("ewma.initial_variance", 0, "greater than 0"),
    ("ewma.initial_variance", -1e-5, "greater than 0"),
    ("ewma.close_only", "guess", "'squared_return' or 'synthesise'"),
    ("ewma.start", "cold", "'expanding_mean' or 'constant'"),
    ("ewma.gap_policy", "fill", "'hold', 'revert' or 'decay'"),
    ("ewma.off_hours", "weekends", "'session', 'whole_path' or 'none'"),
    ("ewma.feedback", 1.5, "less than or equal to 1"),
    ("ewma.gap_half_life", "6", "no unit"),
    ("ewma.long_run_half_life", 3, "no unit"),
    ("ewma.equity_off_hours_mult", 0, "greater than 0"),
    ("ewma.equity_off_hours_mult", 11, "less than or equal to 10"),
    ("random_walk.sigma_per_hour", 0.1, "less than 0.1"),
    ("random_walk.sigma_per_hour", -0.001, "greater than or equal to 0"),
]
PER_ASSET = {"half_life_1m", "half_life_5m", "nu_1m", "nu_5m", "variance_mixing_alpha", "initial_variance", "feedback",
             "equity_off_hours_mult", "warmup", "sigma_per_hour"}  # fmt: skip


def as_toml(value: object) -> str:
    return orjson.dumps(value).decode() if not isinstance(value, float) else repr(value)


def by_flag(key: str, value: Any, folder: Path) -> tuple[Callable[[], LoadedSettings], str]:
    return lambda: loaded({key: value}), "flag"


def by_environment(key: str, value: Any, folder: Path) -> tuple[Callable[[], LoadedSettings], str]:
    name = "EWMALAB__" + key.upper().replace(".", "__")
    return lambda: loaded(environ={name: as_toml(value)}), "environment"


def by_file(key: str, value: Any, folder: Path) -> tuple[Callable[[], LoadedSettings], str]:
    file = written(folder, f"{key} = {as_toml(value)}\n")
    return lambda: loaded(file=file), str(file)


def by_preset(key: str, value: Any, folder: Path) -> tuple[Callable[[], LoadedSettings], str]:
    section, _, rest = key.partition(".")
    file = written(folder, f"presets.{section}.bad.{rest} = {as_toml(value)}\n")
    return lambda: loaded(file=file).with_preset(section, "bad"), "preset bad"


@pytest.mark.parametrize("layer", [by_flag, by_environment, by_file, by_preset])
@pytest.mark.parametrize(("key", "value", "limit"), WRONG, ids=[f"{k}={str(v)[:12]}" for k, v, _ in WRONG])
def test_a_wrong_value_is_refused_with_key_value_limit_and_source(
    tmp_path: Path, layer: Callable[..., Any], key: str, value: Any, limit: str
) -> None:
    load, source = layer(key, value, tmp_path)
    with pytest.raises(ConfigError) as caught:
        load()
    message = str(caught.value)
    found = key + (".default" if key.rpartition(".")[2] in PER_ASSET else "")
    assert message.startswith(f"{found} = ")
    assert (repr(value) if len(str(value)) < 100 else str(value)[:20]) in message
    assert limit in message
    assert message.endswith(f"(from {source})")


@pytest.mark.parametrize("layer", [by_flag, by_environment, by_file, by_preset])
@pytest.mark.parametrize(
    ("key", "value", "limit"), [w for w in WRONG if w[0].rpartition(".")[2] in PER_ASSET and len(str(w[1])) < 100]
)
def test_a_wrong_value_of_one_asset_is_refused_under_its_symbol(
    tmp_path: Path, layer: Callable[..., Any], key: str, value: Any, limit: str
) -> None:
    load, source = layer(f"{key}.ETH", value, tmp_path)
    with pytest.raises(ConfigError) as caught:
        load()
    message = str(caught.value)
    assert message.startswith(f"{key}.ETH = {value!r}: ")
    assert limit in message
    assert message.endswith(f"(from {source})")


@pytest.mark.parametrize("layer", [by_flag, by_environment, by_file])
@pytest.mark.parametrize(
    "key", ["ewma.half_live_1m", "run.sead", "nothing.here", "feeds.kraken.host", "feeds.pyth.apikey"]
)
def test_unknown_keys_are_refused_with_their_source(tmp_path: Path, layer: Callable[..., Any], key: str) -> None:
    load, source = layer(key, "v", tmp_path)
    with pytest.raises(ConfigError, match="unknown setting") as caught:
        load()
    assert f"(from {source})" in str(caught.value)
    assert str(caught.value).startswith(key.partition(".")[0])
    assert "ewmalab config show" in str(caught.value)


def test_every_fault_gets_a_line() -> None:
    with pytest.raises(ConfigError) as caught:
        loaded({"ewma.nu_1m": 2, "run.seed": -1, "ewma.nope": 1})
    assert len(str(caught.value).splitlines()) == 3


def test_a_table_inside_an_assets_entry_is_blamed_on_who_wrote_it() -> None:
    with pytest.raises(ConfigError, match=r"ewma\.nu_1m\.BTC.*\(from flag\)"):
        loaded({"ewma.nu_1m.BTC.x": 3})


@pytest.mark.parametrize(
    "content", [b"[run\nseed = 1", b"seed = 1\nseed = 2", b"\xff\xfe"], ids=["syntax", "duplicate", "encoding"]
)
def test_a_broken_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"broken\.toml: not a TOML file"):
        loaded(file=path)


def test_a_missing_file_that_was_named_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml: cannot be read: No such file"):
        loaded(file=tmp_path / "none.toml")


# --------------------------------------------------------------------------------------------- assignments


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("run.seed=5", {"run.seed": 5}),
        ("ewma.half_life_1m.BTC=45m", {"ewma.half_life_1m.BTC": "45m"}),
        ("ewma.nu_1m={default = 5, BTC = 6}", {"ewma.nu_1m": {"default": 5, "BTC": 6}}),
        ('replay.forecasters=["ewma"]', {"replay.forecasters": ["ewma"]}),
        ("data.cache_dir=/some/where=x", {"data.cache_dir": "/some/where=x"}),
        (" run.seed = 5 ", {"run.seed": 5}),
        ("data.scored_feed=", {"data.scored_feed": ""}),
    ],
)
def test_assignments_are_read_as_toml_or_else_as_text(text: str, expected: dict[str, Any]) -> None:
    assert parse_assignments([text]) == expected


@pytest.mark.parametrize("text", ["run.seed", "seed=5", "=5", ""])
def test_malformed_assignments_are_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigError, match=r"section\.key=value.*ewma\.half_life_1m=30m"):
        parse_assignments([text])


# ------------------------------------------------------------------------------------------------- secrets


@pytest.mark.parametrize(
    ("flags", "environ"),
    [
        ({"feeds.pyth.api_key": SECRET}, {}),
        ({}, {"PYTH_API_KEY": SECRET}),
        ({}, {"EWMALAB__FEEDS__PYTH__API_KEY": SECRET}),
    ],
)
def test_secrets_appear_nowhere_but_in_their_own_value(flags: dict[str, Any], environ: dict[str, str]) -> None:
    settings = loaded(flags, environ)
    assert settings.values.feeds.pyth.api_key.get_secret_value() == SECRET
    assert settings.values.plain()["feeds"]["pyth"]["api_key"] == MASK
    rows = {key: value for key, value, _ in settings.effective()}
    assert rows["feeds.pyth.api_key"] == MASK
    for shown in (repr(settings.values), str(settings.values), str(rows), settings.values.model_dump_json()):
        assert SECRET not in shown


def test_the_digest_does_not_depend_on_the_secret() -> None:
    one, other = (loaded({"feeds.pyth.api_key": key}).values for key in ("a-key", "another"))
    assert one.digest() == other.digest()
    assert re.fullmatch(r"[0-9a-f]{64}", one.digest())
    assert loaded().values.plain()["feeds"]["pyth"]["api_key"] == ""


@pytest.mark.parametrize("value", [[SECRET], {"key": SECRET}, 1234567890123])
def test_an_unusable_secret_is_masked_in_the_error(value: object) -> None:
    with pytest.raises(ConfigError, match=r"api_key") as caught:
        loaded({"feeds.pyth.api_key": value})
    assert SECRET not in str(caught.value)
    assert "1234567890123" not in str(caught.value)


def test_a_secret_is_masked_in_errors_about_other_settings() -> None:
    with pytest.raises(ConfigError) as caught:
        loaded({"feeds.pyth.host": "nowhere", "run.seed": -1}, {"PYTH_API_KEY": SECRET})
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None  # pydantic's own error, which holds the inputs, is not chained
    assert caught.value.__suppress_context__


def test_pyth_api_key_is_a_shorthand_that_the_full_name_beats() -> None:
    environ = {"PYTH_API_KEY": "short"}
    assert loaded(environ=environ).values.feeds.pyth.api_key.get_secret_value() == "short"
    assert loaded(environ=environ).sources()["feeds.pyth.api_key"] == "environment"
    full = environ | {"EWMALAB__FEEDS__PYTH__API_KEY": "full"}
    assert loaded(environ=full).values.feeds.pyth.api_key.get_secret_value() == "full"
    assert loaded({"feeds.pyth.api_key": "flag"}, full).values.feeds.pyth.api_key.get_secret_value() == "flag"
    assert loaded(environ={"PYTH_API_KEY": ""}).sources()["feeds.pyth.api_key"] == "defaults"


# ------------------------------------------------------------------------------------- immutable, reproducible


def test_settings_are_frozen() -> None:
    values = loaded().values
    with pytest.raises(ValidationError, match="frozen"):
        values.run.seed = 1  # type: ignore[misc]
    with pytest.raises(ValidationError, match="frozen"):
        values.ewma = values.ewma  # type: ignore[misc]


def test_the_digest_follows_every_setting() -> None:
    base = loaded().values.digest()
    assert base == loaded().values.digest()
    changes: list[dict[str, Any]] = [
        {"run.seed": 1},
        {"ewma.nu_1m.BTC": 5},
        {"ewma.nu_1m": 5},
        {"data.feed": "simulated"},
        {"plugin.x": 1},
        {"replay.request_lead": "61s"},
        {"presets.ewma.seed.feedback": 0.9},
    ]
    digests = {loaded(change).values.digest() for change in changes}
    assert len(digests) == len(changes)
    assert base not in digests


def test_the_plain_form_can_be_read_back_as_a_settings_file() -> None:
    settings = loaded({"ewma.half_life_1m.BTC": "45m", "random_walk.sigma_per_hour": 0.01})
    again = loaded(settings.values.plain())
    assert again.values == settings.values
    assert again.values.digest() == settings.values.digest()


def test_two_spellings_of_one_duration_are_the_same_settings() -> None:
    one, other = (loaded({"ewma.gap_half_life": text}).values for text in ("360m", "6h"))
    assert one.digest() == other.digest()


# --------------------------------------------------------------------------------------------- durations


@given(st.integers(0, 10**12))
@example(0)
@example(86_400)
@example(5400)
def test_durations_survive_a_round_trip(seconds: int) -> None:
    text = format_duration(seconds)
    assert parse_duration(text) == seconds
    assert re.fullmatch(r"\d+[smhd]", text)


@given(st.integers(1, 10**9), st.sampled_from("smhd"))
def test_a_formatted_duration_is_never_longer_than_what_was_typed(number: int, unit: str) -> None:
    typed = f"{number}{unit}"
    assert len(format_duration(parse_duration(typed))) <= len(typed)


@given(st.text(max_size=12))
@example("9" * 400 + "s")
@example("٣s")
def test_no_text_makes_a_duration_fail_with_anything_but_a_value_error(text: str) -> None:
    with suppress(ValueError):
        assert parse_duration(text) >= 0


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("1.5h", 5400), (" 2 h ", 7200), ("3d", 259_200), ("0s", 0), ("0.5m", 30)]
)
def test_durations_carry_their_unit(text: str, seconds: int) -> None:
    assert parse_duration(text) == seconds


# --------------------------------------------------------------------- the predecessor's constants, by asset

ASSETS = ("BTC", "ETH", "SOL", "XAU", "SPYX", "NVDAX", "TSLAX", "AAPLX", "GOOGLX", "XRP")  # XRP: "others"
CALIBRATION = {
    "half_life_1m": (1800, 1800, 1800, 3600, 7200, 7200, 7200, 7200, 7200, 7200),
    "half_life_5m": (3600, 3600, 14400, 7200, 7200, 7200, 7200, 7200, 14400, 43200),
    "nu_1m": (10, 7.5, 9.5, 3, 10, 10, 10, 10, 10, 6),
    "nu_5m": (10, 9, 3.5, 3.5, 10, 10, 10, 10, 10, 6),
}


@pytest.mark.parametrize("name", CALIBRATION)
@pytest.mark.parametrize("column", range(len(ASSETS)), ids=ASSETS)
def test_the_preset_has_the_predecessors_last_calibration(name: str, column: int) -> None:
    seed = loaded().with_preset("ewma", "seed").values.ewma
    assert asset_value(getattr(seed, name), ASSETS[column]) == CALIBRATION[name][column]


def test_the_defaults_are_the_same_for_every_asset() -> None:
    ewma = loaded().values.ewma
    found = ewma.half_life_1m, ewma.half_life_5m, ewma.nu_1m, ewma.nu_5m
    assert found == ({"default": 1800}, {"default": 28_800}, {"default": 4}, {"default": 3.5})


@pytest.mark.parametrize("asset", [*ASSETS, "HYPE", "WTIOIL", "SP500", "SPCX"])
def test_the_other_constants_are_the_predecessors_for_every_asset(asset: str) -> None:
    ewma = loaded().values.ewma
    assert asset_value(ewma.variance_mixing_alpha, asset) == 0.5
    assert asset_value(ewma.equity_off_hours_mult, asset) == 0.6
    assert asset_value(ewma.initial_variance, asset) == 1e-5
    assert ewma.variance_floor == 1e-10


@pytest.mark.parametrize("asset", load_rulebook().symbols)
def test_the_warm_up_is_what_the_forecaster_asks_for(asset: str) -> None:
    assert asset_value(loaded().values.replay.warmup, asset) == 0


@pytest.mark.parametrize(
    ("constant", "value", "key", "expected"),
    [
        ("HALF_LIFE_1M", "45m", "half_life_1m", 2700),
        ("HALF_LIFE_5M", "5h", "half_life_5m", 18_000),
        ("NU_1M", "7", "nu_1m", 7.0),
        ("NU_5M", "8", "nu_5m", 8.0),
        ("VARIANCE_MIXING_ALPHA", "0.25", "variance_mixing_alpha", 0.25),
        ("EQUITY_OFF_HOURS_MULT", "0.7", "equity_off_hours_mult", 0.7),
    ],
)
def test_every_constant_of_the_predecessor_can_be_set_under_its_old_name(
    constant: str, value: str, key: str, expected: float
) -> None:
    settings = loaded(environ={f"EWMALAB__EWMA__{constant}__BTC": value})
    assert asset_parameters(settings.values.ewma, "BTC")[key] == expected
    assert asset_parameters(settings.values.ewma, "SPYX")[key] != expected


def test_the_warm_up_can_be_set_per_asset_and_is_one_for_all_increments() -> None:
    settings = loaded(environ={"EWMALAB__REPLAY__WARMUP__BTC": "10d"})
    assert settings.values.replay.warmup == {"default": 0, "BTC": 864_000}
    for constant in ("WARMUP_1M_HOURS", "WARMUP_5M_DAYS"):
        with pytest.raises(ConfigError, match=f"replay.{constant.lower()}: unknown setting"):
            loaded(environ={f"EWMALAB__REPLAY__{constant}": "10"})


# ------------------------------------------------------------------------------------------------- presets


def test_the_preset_seed_gives_every_option_its_predecessors_value() -> None:
    ewma = loaded().with_preset("ewma", "seed").values.ewma
    assert (ewma.close_only, ewma.start, ewma.gap_policy, ewma.off_hours) == (
        "synthesise",
        "constant",
        "decay",
        "whole_path",
    )
    assert ewma.feedback == {"default": 1.0}
    assert ewma.initial_variance == {"default": 1e-5}
    assert ewma.equity_off_hours_mult == {"default": 0.6}
    assert ewma.variance_mixing_alpha == {"default": 0.5}


def test_without_the_preset_no_option_has_its_predecessors_value() -> None:
    """Each of the six options is a fault of the predecessor; the default is the sound choice."""
    default, seed = loaded().values.ewma, loaded().with_preset("ewma", "seed").values.ewma
    options = [name for name in type(default).model_fields if getattr(default, name) != getattr(seed, name)]
    assert options == [*CALIBRATION, "close_only", "start", "gap_policy", "feedback", "off_hours", "draws"]


def test_a_preset_leaves_the_parameters_of_the_user_that_it_does_not_name() -> None:
    settings = loaded(environ={"EWMALAB__EWMA__VARIANCE_MIXING_ALPHA__BTC": "0.25"}).with_preset("ewma", "seed")
    assert settings.values.ewma.variance_mixing_alpha["BTC"] == 0.25


@pytest.mark.parametrize(("section", "preset"), [("ewma", "sead"), ("random-walk", "seed"), ("nothing", "seed")])
def test_an_unknown_preset_is_refused_with_the_known_ones(section: str, preset: str) -> None:
    known = "seed" if section == "ewma" else "none"
    with pytest.raises(ConfigError, match=f"{section}.*no preset '{preset}'; known: {known}"):
        loaded().with_preset(section, preset)


def test_presets_can_be_written_in_a_users_file(tmp_path: Path) -> None:
    text = '[presets.ewma.slow]\nhalf_life_1m = "12h"\n[presets.random_walk.calm]\nsigma_per_hour = 0.001\n'
    settings = loaded(file=written(tmp_path, text))
    assert settings.with_preset("ewma", "slow").values.ewma.half_life_1m == {"default": 43_200}
    assert settings.with_preset("random-walk", "calm").values.random_walk.sigma_per_hour == {"default": 0.001}
    assert settings.with_preset("ewma", "seed").values.ewma.start == "constant"


# -------------------------------------------------------------------------------------------- the file itself


def test_every_field_has_a_default_in_the_file_and_the_file_holds_nothing_else() -> None:
    table = tomllib.loads(DEFAULTS.read_text(encoding="utf-8"))
    values = loaded().values
    for section in ("run", "data", "replay", "ewma", "random_walk", "seasonal_har", "blend", "fit", "live"):
        assert set(table[section]) == set(type(getattr(values, section)).model_fields)
    assert set(table) == set(type(values).model_fields)


def test_every_setting_of_the_file_explains_itself_or_is_explained_by_its_neighbour() -> None:
    """Durations, folders and choices need words: a line whose value is a choice lists the choices."""
    text = DEFAULTS.read_text(encoding="utf-8")
    for choice in (
        "hold | revert | decay",
        "session | whole_path | none",
        "expanding_mean | constant",
        "squared_return | synthesise",
        "pyth | binance | hyperliquid | file | simulated",
    ):
        assert choice in text


def test_a_list_of_names_may_be_a_text_with_commas() -> None:
    settings = load_settings(environ={}, flags={"live.assets": "BTC, XAU", "fit.artifacts": "a.json"})
    assert (settings.values.live.assets, settings.values.fit.artifacts) == (("BTC", "XAU"), ("a.json",))


def test_recorded_settings_stay_readable_when_settings_are_added(tmp_path: Path) -> None:
    given = load_settings(environ={}, flags={"live.port": 8123, "ewma.half_life_1m.BTC": "45m"})
    layers = orjson.loads(given.dump())
    del layers[0][1]["live"]["keep_answers_for"], layers[0][1]["field"], layers[0][1]["blend"]
    old = read_settings(orjson.dumps(layers))
    assert (old.values.live, old.values.field) == (given.values.live, given.values.field)
    del layers[0][1]["fit"]  # what may determine paths is not guessed
    with pytest.raises(ConfigError, match="another version"):
        read_settings(orjson.dumps(layers))
    assert read_settings(given.dump()).dump() == given.dump()
