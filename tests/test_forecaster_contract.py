"""What every forecaster owes: those built in, a preset, and one's own named as package.module:attribute."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from examples import examples
from har import written
from hypothesis import given
from hypothesis import strategies as st
from twins import random_bars

from ewmalab.errors import ConfigError, ForecasterError
from ewmalab.forecast.ewma import Ewma
from ewmalab.forecast.load import load_forecaster
from ewmalab.forecast.protocol import Forecaster, LogReturns, Prompt
from ewmalab.forecast.random_walk import RandomWalk
from ewmalab.forecast.streams import RandomStream
from ewmalab.market.bars import Bars
from ewmalab.replay.fits import load_model
from ewmalab.rulebook import Asset, load_rulebook
from ewmalab.settings import load_settings
from ewmalab.settings.layers import DEFAULTS

BOOK = load_rulebook()
START = 1_768_435_200
BARS = random_bars(2000, start=START - 2000 * 60, missing=0.05, close_only=0.1)


@dataclass(frozen=True)
class LastMove:
    """A plug-in: Gaussian paths as volatile as the mean absolute move seen, times a factor from the settings."""

    asset: Asset
    factor: float
    label: str = "none"

    def initial_state(self) -> tuple[int, float, float]:
        return (0, 0.0, math.nan)

    def update(self, state: tuple[int, float, float], bars: Bars) -> tuple[int, float, float]:
        count, total, last = state
        for close in bars.close.tolist():
            if not math.isnan(last):
                count, total = count + 1, total + abs(math.log(close / last))
            last = close
        return (count, total, last)

    def simulate(self, state: tuple[int, float, float], prompt: Prompt, stream: RandomStream) -> LogReturns:
        if not state[0]:
            raise ForecasterError("no move seen")
        z = stream.generator().standard_normal((prompt.steps, prompt.num_simulations), np.float32)
        out = np.zeros((prompt.steps + 1, prompt.num_simulations), np.float32)
        np.cumsum(z * np.float32(self.factor * state[1] / state[0]), axis=0, out=out[1:])
        return out

    def dump_state(self, state: tuple[int, float, float]) -> dict[str, Any]:
        return {"version": 1, "count": state[0], "total": state[1].hex(), "last": state[2].hex()}

    def load_state(self, data: Mapping[str, Any]) -> tuple[int, float, float]:
        if data.get("version") != 1:
            raise ForecasterError("unknown version")
        return (data["count"], float.fromhex(data["total"]), float.fromhex(data["last"]))


class Halfway:
    """Not a forecaster: it cannot simulate, nor dump or load."""

    def __init__(self, asset: Asset, **parameters: Any) -> None: ...

    def initial_state(self) -> None: ...

    def update(self, state: None, bars: Bars) -> None: ...


NOT_CALLABLE = 3
PLUGIN = f"{__name__}:LastMove"
FLAGS = {"plugin.factor": {"default": 1.0, "BTC": 2.0}, "fit.artifacts": [str(written())]}
SETTINGS = load_settings(file=DEFAULTS, environ={}, flags=FLAGS)
NAMES = ["ewma", "ewma@seed", "random-walk", "seasonal-har", "blend", PLUGIN]
ASSETS = ["BTC", "XAU", "SPYX"]
SHAPES = [(300, 86_400, 1000), (60, 3600, 1000), (300, 86_400, 1), (60, 3600, 130), (300, 300, 3)]


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=ASSETS)
def forecaster(request: pytest.FixtureRequest, name: str) -> Forecaster[Any]:
    return load_model(name, BOOK.asset(request.param), SETTINGS, 0).forecaster


def prompt_for(
    forecaster: Any, dt: int = 300, length: int = 86_400, n: int = 200, start: int = START, competition: str = "24h"
) -> Prompt:
    return Prompt(start, competition, forecaster.asset.symbol, start - 60, dt, length, n)


def warm(forecaster: Forecaster[Any], bars: Bars = BARS) -> Any:
    return forecaster.update(forecaster.initial_state(), bars)


def dumped(forecaster: Forecaster[Any], state: Any) -> bytes:
    return orjson.dumps(forecaster.dump_state(state), option=orjson.OPT_SORT_KEYS)


# -------------------------------------------------------------------------------------------------------- paths


@pytest.mark.parametrize(("dt", "length", "n"), SHAPES)
def test_paths_are_float32_finite_and_start_at_zero(forecaster, dt, length, n):
    p = prompt_for(forecaster, dt, length, n)
    paths = forecaster.simulate(warm(forecaster), p, p.stream(1))
    assert paths.shape == (length // dt + 1, n)
    assert paths.dtype == np.float32
    assert not paths[0].any()
    assert np.isfinite(paths).all()
    assert np.abs(paths).max() <= 30


def test_paths_move_apart_and_on_average_stay(forecaster):
    p = prompt_for(forecaster, n=2000)
    paths = forecaster.simulate(warm(forecaster), p, p.stream(1)).astype(np.float64)
    assert (paths[1:].std(axis=1) > 0).all()
    assert len(np.unique(paths[-1])) > 1900
    assert abs(np.median(paths[-1])) < 5 * 1.3 * paths[-1].std() / math.sqrt(2000)


def test_the_same_stream_gives_the_same_paths_and_another_does_not(forecaster):
    state, p = warm(forecaster), prompt_for(forecaster)
    first = forecaster.simulate(state, p, p.stream(1))
    np.testing.assert_array_equal(forecaster.simulate(state, p, p.stream(1)), first)
    later = prompt_for(forecaster, start=START + 300)
    others = [
        forecaster.simulate(state, p, p.stream(2)),
        forecaster.simulate(state, p, later.stream(1)),
        forecaster.simulate(state, p, prompt_for(forecaster, competition="1h").stream(1)),
        forecaster.simulate(state, p, RandomStream.of(1, "ETH", "24h", START)),
    ]
    for other in others:
        shared = (other[-1][:, None] == first[-1]).any()
        assert not shared
        assert abs(np.corrcoef(np.diff(other, axis=0).ravel(), np.diff(first, axis=0).ravel())[0, 1]) < 0.03


def test_paths_do_not_depend_on_what_was_simulated_before(forecaster):
    state, p = warm(forecaster), prompt_for(forecaster)
    first = forecaster.simulate(state, p, p.stream(1))
    for seed in range(5):
        forecaster.simulate(state, prompt_for(forecaster, 60, 3600), p.stream(seed))
    np.testing.assert_array_equal(forecaster.simulate(state, p, p.stream(1)), first)


def test_writing_into_the_paths_reaches_nothing_else(forecaster):
    state, p = warm(forecaster), prompt_for(forecaster)
    first = forecaster.simulate(state, p, p.stream(1))
    kept = first.copy()
    first[:] = 7
    np.testing.assert_array_equal(forecaster.simulate(state, p, p.stream(1)), kept)


# -------------------------------------------------------------------------------------------------------- state


@pytest.mark.parametrize("name", NAMES)
@examples(15)
@given(cuts=st.lists(st.integers(0, 400), max_size=6).map(sorted), missing=st.sampled_from([0.0, 0.3]))
def test_any_cutting_of_the_bars_gives_the_same_state(name, cuts, missing):
    forecaster = load_model(name, BOOK.asset("SPYX"), SETTINGS, 0).forecaster
    bars = random_bars(400, missing=missing, close_only=0.2)
    state = forecaster.initial_state()
    for a, b in zip([0, *cuts], [*cuts, 400], strict=True):
        state = forecaster.update(state, bars.rows(a, b))
    assert dumped(forecaster, state) == dumped(forecaster, warm(forecaster, bars))


def test_bars_one_by_one_give_the_same_state_and_paths(forecaster):
    bars = BARS.rows(0, 300)
    state = forecaster.initial_state()
    for bar in bars:
        state = forecaster.update(state, bar)
    assert dumped(forecaster, state) == dumped(forecaster, warm(forecaster, bars))
    p = prompt_for(forecaster, n=10)
    np.testing.assert_array_equal(
        forecaster.simulate(state, p, p.stream(1)), forecaster.simulate(warm(forecaster, bars), p, p.stream(1))
    )


def test_update_and_simulate_do_not_modify_the_state(forecaster):
    state = warm(forecaster)
    before = dumped(forecaster, state)
    forecaster.update(state, random_bars(50, start=START))
    p = prompt_for(forecaster)
    forecaster.simulate(state, p, p.stream(1))
    assert dumped(forecaster, state) == before


def test_dumped_states_are_plain_versioned_and_load_bit_for_bit(forecaster):
    state = warm(forecaster)
    data = forecaster.dump_state(state)
    assert isinstance(data["version"], int)
    back = forecaster.load_state(orjson.loads(orjson.dumps(data)))
    assert forecaster.dump_state(back) == data
    later = random_bars(50, start=START)
    p = prompt_for(forecaster)
    paths = [forecaster.simulate(forecaster.update(s, later), p, p.stream(1)) for s in (state, back)]
    np.testing.assert_array_equal(*paths)


def test_states_of_another_version_are_refused(forecaster):
    data = forecaster.dump_state(warm(forecaster)) | {"version": 99}
    with pytest.raises(ForecasterError):
        forecaster.load_state(data)


def test_no_bars_change_nothing(forecaster):
    state = warm(forecaster)
    assert dumped(forecaster, forecaster.update(state, Bars.empty())) == dumped(forecaster, state)


# ------------------------------------------------------------------------------------------------------- loading


def test_names_load_what_they_name():
    asset = BOOK.asset("BTC")
    assert isinstance(load_forecaster("ewma", asset, SETTINGS), Ewma)
    assert isinstance(load_forecaster("random-walk", asset, SETTINGS), RandomWalk)
    assert isinstance(load_forecaster(PLUGIN, asset, SETTINGS), LastMove)
    for name in NAMES:
        assert load_forecaster(name, asset, SETTINGS).asset is asset  # type: ignore[attr-defined]


def test_a_preset_changes_options_and_parameters():
    asset = BOOK.asset("ETH")
    default, seed = (load_forecaster(n, asset, SETTINGS) for n in ("ewma", "ewma@seed"))
    assert (default.feedback, default.gap_policy) == (0.5, "hold")
    assert (seed.feedback, seed.gap_policy, seed.start) == (1.0, "decay", "constant")
    assert (default.nu_5m, seed.nu_5m) == (3.5, 9)


def test_flags_lie_over_presets():
    settings = load_settings(file=DEFAULTS, environ={}, flags={"ewma.feedback": 0.25, "ewma.half_life_1m": "10m"})
    seed = load_forecaster("ewma@seed", BOOK.asset("BTC"), settings)
    assert (seed.feedback, seed.half_life_1m, seed.gap_policy) == (0.25, 600, "decay")


@pytest.mark.parametrize(("asset", "factor"), [("BTC", 2.0), ("ETH", 1.0)])
def test_a_plug_ins_parameters_come_from_flags_per_asset(asset, factor):
    assert load_forecaster(PLUGIN, BOOK.asset(asset), SETTINGS).factor == factor


@pytest.mark.parametrize("symbol", ["BTC", "btc"])
def test_a_plug_ins_parameters_come_from_a_file_per_asset(tmp_path: Path, symbol):
    file = tmp_path / "own.toml"
    file.write_text(
        f'[plugin]\nlabel = "x"\nfactor = {{ default = 1.5, {symbol} = 3.0 }}\n[presets.plugin.calm]\nfactor = 0.1\n'
    )
    settings = load_settings(file=file, environ={})
    btc, eth = (load_forecaster(PLUGIN, BOOK.asset(a), settings) for a in ("BTC", "ETH"))
    assert (btc.factor, btc.label, eth.factor, eth.label) == (3.0, "x", 1.5, "x")
    assert load_forecaster(f"{PLUGIN}@calm", BOOK.asset("BTC"), settings).factor == 0.1


def test_a_plug_ins_parameters_come_from_the_environment():
    settings = load_settings(file=DEFAULTS, environ={"EWMALAB__PLUGIN__FACTOR": "0.5"})
    assert load_forecaster(PLUGIN, BOOK.asset("BTC"), settings).factor == 0.5


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("garch", "unknown forecaster 'garch': choose ewma or random-walk or seasonal-har or blend, or name your own"),
        ("", "unknown forecaster ''"),
        ("random_walk", "unknown forecaster 'random_walk'"),
        ("no_such_module:X", "forecaster 'no_such_module:X' cannot be imported: No module named 'no_such_module'"),
        (f"{__name__}:Absent", "cannot be imported: module .* has no attribute 'Absent'"),
        (f"{__name__}:", "cannot be imported"),
        (":LastMove", "cannot be imported"),
        (".twins:NaiveEwma", "cannot be imported"),
        (f"{__name__}:Halfway", "is not a forecaster: it lacks simulate, dump_state, load_state"),
        (f"{__name__}:NOT_CALLABLE", "is of type int: name a class or function"),
    ],
)
def test_wrong_names_are_refused_with_what_to_do(wrong, message):
    with pytest.raises(ForecasterError, match=message):
        load_forecaster(wrong, BOOK.asset("BTC"), SETTINGS)


@pytest.mark.parametrize("flags", [{}, {"plugin.factor": 1.0, "plugin.colour": "red"}])
def test_missing_and_unknown_parameters_of_a_plug_in_are_refused(flags):
    settings = load_settings(file=DEFAULTS, environ={}, flags=flags)
    with pytest.raises(ForecasterError, match=r"LastMove does not take these parameters: .*(factor|colour)"):
        load_forecaster(PLUGIN, BOOK.asset("BTC"), settings)


@pytest.mark.parametrize("name", ["ewma@best", "random-walk@seed", f"{PLUGIN}@seed"])
def test_unknown_presets_are_refused(name):
    with pytest.raises(ConfigError, match=r"has no preset '(best|seed)'; known: (seed|none)"):
        load_forecaster(name, BOOK.asset("BTC"), SETTINGS)


@pytest.mark.parametrize("flag", [{"ewma.feedbak": 1.0}, {"ewma.feedback": 1.5}, {"random_walk.sigma": 1.0}])
def test_unknown_and_impossible_parameters_of_built_in_forecasters_are_refused(flag):
    with pytest.raises(ConfigError):
        load_settings(file=DEFAULTS, environ={}, flags=flag)


def test_the_plug_in_of_these_tests_is_loaded_from_this_module():
    assert load_forecaster(PLUGIN, BOOK.asset("BTC"), SETTINGS).__class__ is sys.modules[__name__].LastMove
