"""What a forecaster makes of silence, and settings that survive being written down."""

from __future__ import annotations

import numpy as np
import pytest

from ewmalab.errors import ConfigError
from ewmalab.forecast.ewma import kernels as ek
from ewmalab.forecast.load import load_forecaster
from ewmalab.forecast.protocol import Ageing
from ewmalab.forecast.random_walk import RandomWalk
from ewmalab.market.bars import Bars
from ewmalab.rulebook import load_rulebook
from ewmalab.settings import load_settings
from ewmalab.settings.layers import read_settings

T0 = 1_768_435_200


def ewma(**flags):
    settings = load_settings(environ={}, flags={f"ewma.{key}": value for key, value in flags.items()})
    return load_forecaster("ewma", load_rulebook().asset("BTC"), settings)


def bars(count: int, start: int = T0, size: float = 0.001) -> Bars:
    returns = size * np.where(np.arange(count) % 3 == 0, 2.0, -1.0)
    return Bars.from_closes(start + 60 * np.arange(count), 100 * np.exp(np.cumsum(returns)))


@pytest.mark.parametrize("policy", ["hold", "revert", "decay"])
@pytest.mark.parametrize("missing", [1, 7, 240])
def test_the_next_bar_after_a_silence_finds_the_aged_variance(policy, missing):
    """Ageing is the filter's own gap rule, applied before the bar that ends the gap has come."""
    model = ewma(gap_policy=policy, half_life_1m="10m")
    state = model.update(model.initial_state(), bars(400))
    quiet = model.update(state, bars(60, T0 + 400 * 60, size=0.0001))  # variance is far from the long-run one
    last = int(quiet.minute[ek.LAST_TIME])
    label = last + 60 * (missing + 1)
    aged = model.aged(quiet, label)
    after = model.update(quiet, Bars.from_closes([label], [quiet.minute[ek.LAST_CLOSE]]))  # a return of zero
    decay = ek.decay_of(600, 60)
    expected = decay * aged.minute[ek.VARIANCE] + (1 - decay) * model.variance_floor
    assert after.minute[ek.VARIANCE] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("policy", ["hold", "revert", "decay"])
def test_no_silence_ages_nothing(policy):
    model = ewma(gap_policy=policy)
    state = model.update(model.initial_state(), bars(400))
    last = int(state.minute[ek.LAST_TIME])
    for until in (last, last + 60, last + 119):
        assert model.aged(state, until).minute is state.minute
    assert model.aged(model.initial_state(), T0) is not None


def test_reverting_after_calm_widens_and_after_turmoil_narrows():
    model = ewma(gap_policy="revert", half_life_1m="10m")
    calm = model.update(model.update(model.initial_state(), bars(2000)), bars(100, T0 + 2000 * 60, size=1e-5))
    wild = model.update(model.update(model.initial_state(), bars(2000)), bars(100, T0 + 2000 * 60, size=1e-2))
    for state, sign in ((calm, 1), (wild, -1)):
        aged = model.aged(state, int(state.minute[ek.LAST_TIME]) + 3600)
        assert np.sign(aged.minute[ek.VARIANCE] - state.minute[ek.VARIANCE]) == sign
        assert np.sign(aged.five_minute[ek.VARIANCE] - state.five_minute[ek.VARIANCE]) == sign


def test_who_has_a_gap_rule_can_be_told_from_who_has_none():
    assert isinstance(ewma(), Ageing)
    assert not isinstance(RandomWalk(load_rulebook().asset("BTC")), Ageing)


def test_written_settings_are_read_back_equal_without_secrets():
    flags = {"ewma.half_life_1m.BTC": "45m", "feeds.pyth.api_key": "very-secret-key", "live.assets": ["BTC"]}
    settings = load_settings(environ={"EWMALAB__RUN__SEED": "5"}, flags=flags).with_preset("ewma", "seed")
    data = settings.dump()
    assert b"very-secret-key" not in data
    again = read_settings(data)
    assert again.values == settings.without_secrets().values
    assert again.dump() == data
    assert again.with_flags({"ewma.feedback": 0.25}).values.ewma.feedback["default"] == 0.25


@pytest.mark.parametrize("data", [b"", b"{", b"[1]", b'[["defaults", {"run": {"seed": "x"}}]]', b"null"])
def test_damaged_settings_are_refused(data):
    with pytest.raises(ConfigError):
        read_settings(data)
