"""The EWMA forecaster: its recursion, its options, its state, and the flaws of `ewma@seed` that its defaults lack."""

from __future__ import annotations

import math
from itertools import pairwise, product
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from twins import (
    NaiveEwma,
    Row,
    ewma_path,
    lane_state,
    naive_resample,
    random_bars,
    rows_of,
    stratified_ewma_paths,
    xoshiro128pp,
)

from ewmalab.errors import ConfigError, ForecasterError
from ewmalab.forecast.draws import BLOCK
from ewmalab.forecast.ewma import Ewma, EwmaState
from ewmalab.forecast.ewma import kernels as ek
from ewmalab.forecast.protocol import Prompt
from ewmalab.forecast.strata import student_t_strata
from ewmalab.market.bars import Bars
from ewmalab.market.quality import COLUMNS
from ewmalab.market.sessions import in_session
from ewmalab.rulebook import Asset, load_rulebook
from ewmalab.settings import load_settings
from ewmalab.settings.layers import DEFAULTS
from ewmalab.settings.schema import asset_parameters
from ewmalab.times import MINUTE

Floats = npt.NDArray[np.float64]
BOOK = load_rulebook()
BTC, EQUITY = BOOK.asset("BTC"), BOOK.asset("SPYX")
START = 1_768_435_200  # 2026-01-15, a Thursday
HOUR = 3600
SETTINGS = load_settings(file=DEFAULTS, environ={})
SEED = SETTINGS.with_preset("ewma", "seed")
OPTIONS: dict[str, tuple[Any, ...]] = {
    "close_only": ("squared_return", "synthesise"),
    "start": ("expanding_mean", "constant"),
    "gap_policy": ("hold", "revert", "decay"),
    "off_hours": ("session", "whole_path", "none"),
}
COMBINATIONS = [dict(zip(OPTIONS, values, strict=True)) for values in product(*OPTIONS.values())]


def ewma(asset: Asset = BTC, preset: str = "", **changes: Any) -> Ewma:
    section = (SEED if preset == "seed" else SETTINGS).values.ewma
    return Ewma(asset, **(asset_parameters(section, asset.symbol) | changes))


def after(model: Ewma, bars: Bars, state: EwmaState | None = None) -> EwmaState:
    return model.update(model.initial_state() if state is None else state, bars)


def bits(state: EwmaState) -> list[bytes]:
    return [getattr(state, part).tobytes() for part in ("minute", "five_minute", "forming")]


def volatility(state: EwmaState) -> float:
    """Per minute."""
    return math.sqrt(state.minute[ek.VARIANCE])


def prompt(asset: Asset = BTC, start: int = START, dt: int = 300, length: int = 86_400, n: int = 1000) -> Prompt:
    return Prompt(start, "24h", asset.symbol, start - 60, dt, length, n)


def increments(model: Ewma, state: EwmaState, p: Prompt) -> Floats:
    return np.diff(model.simulate(state, p, p.stream(1)).astype(np.float64), axis=0)


@st.composite
def any_bars(draw: st.DrawFn) -> Bars:
    """Up to 200 minutes anywhere in a week, with gaps, partly close-only."""
    share = st.sampled_from([0.0, 0.1, 0.6, 1.0])
    bars = random_bars(
        draw(st.integers(1, 200)),
        seed=draw(st.integers(0, 10_000)),
        start=START + MINUTE * draw(st.integers(0, 7 * 1440)),
        missing=draw(st.sampled_from([0.0, 0.1, 0.6])),
        close_only=draw(share),
    )
    at, pause = draw(st.integers(0, len(bars))), MINUTE * draw(st.sampled_from([0, 3, 5, 1440]))
    table = {k: v.copy() for k, v in bars.columns().items()}
    table["timestamp"][at:] += pause
    return Bars.from_columns(table)


# ---------------------------------------------------------------------------------- updating in any pieces, purely


@pytest.mark.parametrize("asset", [BTC, EQUITY], ids=lambda a: a.symbol)
@pytest.mark.parametrize("options", COMBINATIONS, ids=lambda o: "-".join(o.values()))
@examples(10)
@given(bars=any_bars(), data=st.data())
def test_batch_single_bars_and_random_chunks_give_the_same_bits(asset, options, bars, data):
    model = ewma(asset, **options)
    whole = bits(after(model, bars))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(bars)), max_size=6)))
    state = model.initial_state()
    for a, b in pairwise([0, *cuts, len(bars)]):
        state = model.update(state, bars.rows(a, b))
    assert bits(state) == whole
    state = model.initial_state()
    for bar in bars:
        state = model.update(state, bar)
    assert bits(state) == whole


@pytest.mark.slow
@pytest.mark.parametrize("options", COMBINATIONS, ids=lambda o: "-".join(o.values()))
@examples(60)
@given(bars=any_bars(), data=st.data())
def test_many_chunkings_give_the_same_bits(options, bars, data):
    model = ewma(EQUITY, **options)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(bars)), max_size=20)))
    state = model.initial_state()
    for a, b in pairwise([0, *cuts, len(bars)]):
        state = model.update(state, bars.rows(a, b))
    assert bits(state) == bits(after(model, bars))


@pytest.mark.parametrize("options", COMBINATIONS, ids=lambda o: "-".join(o.values()))
def test_update_and_simulate_leave_state_and_bars_as_they_were(options):
    model = ewma(**options)
    first, then = random_bars(33), random_bars(40, start=START + 40 * MINUTE, close_only=0.5)
    state = after(model, first)
    before, digest = bits(state), then.digest()
    model.update(state, then)
    model.simulate(state, prompt(n=5), prompt().stream(1))
    assert bits(state) == before
    assert then.digest() == digest


def test_no_bars_change_nothing():
    state = after(ewma(), random_bars(33))
    assert bits(ewma().update(state, Bars.empty())) == bits(state)


@pytest.mark.parametrize("late", [0, 32])
def test_bars_already_seen_are_refused(late):
    state = after(ewma(), random_bars(33))
    with pytest.raises(ForecasterError, match=f"bar {START + 60 * late} of BTC is not after the newest seen"):
        ewma().update(state, random_bars(33).rows(late, 33))


def test_bars_of_another_resolution_are_refused():
    with pytest.raises(ForecasterError, match="takes bars of 60 s, got 300 s"):
        after(ewma(), Bars.from_closes([0, 300], [1.0, 2.0], 300))


def test_the_forming_candle_cannot_enter():
    # the predecessor took the unfinished candle, then skipped its final version
    bars = random_bars(600)
    moment = int(bars.timestamp[400]) + 30  # in the middle of minute 400
    forming = {k: v.copy() for k, v in bars.columns().items()}
    for name in ("open", "high", "low", "close"):
        forming[name][400] = forming["open"][400]
    live = Bars.from_columns(forming).known_at(moment)
    assert live.timestamp[-1] == bars.timestamp[399]
    state = after(ewma(), live)
    state = ewma().update(state, bars.between(int(live.timestamp[-1]) + 60, int(bars.timestamp[-1]) + 60))
    assert bits(state) == bits(after(ewma(), bars))


# ---------------------------------------------------------------------------------------- the state as plain data


@given(any_bars())
def test_dumped_and_loaded_states_are_the_same_bits(bars):
    model = ewma()
    state = after(model, bars)
    assert bits(model.load_state(model.dump_state(state))) == bits(state)
    cut = len(bars) // 2
    resumed = model.load_state(model.dump_state(after(model, bars.rows(0, cut))))
    assert bits(model.update(resumed, bars.rows(cut, len(bars)))) == bits(state)


def test_an_empty_state_survives_dump_and_load():
    model = ewma()
    assert bits(model.load_state(model.dump_state(model.initial_state()))) == bits(model.initial_state())


def test_a_dumped_state_is_plain_json():
    import orjson

    model = ewma()
    dumped = model.dump_state(after(model, random_bars(33)))
    assert orjson.loads(orjson.dumps(dumped)) == dumped
    assert isinstance(dumped["version"], int)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "expected"),
        ({"version": None}, "expected"),
        ({"asset": "ETH"}, "'asset': 'ETH'"),
        ({"forecaster": "random-walk"}, "expected"),
        ({"minute": ["0x1p+0"] * 4}, "damaged"),
        ({"minute": ["0x1p+0"] * 6}, "damaged"),
        ({"five_minute": []}, "damaged"),
        ({"forming": None}, "damaged"),
        ({"forming": ["x"] * 5}, "damaged"),
        ({"forming": [1.0] * 5}, "damaged"),
        ({"minute": [["0x1p+0"]] * 5}, "damaged"),
        ({"minute": ["0x1p+99999"] * 5}, "damaged"),
    ],
)
def test_foreign_and_damaged_states_are_refused(change, message):
    model = ewma()
    data = model.dump_state(after(model, random_bars(33))) | change
    with pytest.raises(ForecasterError, match=message):
        model.load_state(data)


@pytest.mark.parametrize("key", ["forecaster", "version", "asset", "minute", "five_minute", "forming"])
def test_a_state_that_lacks_a_part_is_refused(key):
    model = ewma()
    data = model.dump_state(after(model, random_bars(33)))
    del data[key]
    with pytest.raises(ForecasterError):
        model.load_state(data)


# ---------------------------------------------------------------------------------- the recursion, held to others


def synthesised(rows: list[Row], spread_gaps: bool) -> list[Row]:
    """Close-only rows with their range between successive closes; over k bars a k-th of its square, if spread."""
    out: list[Row] = []
    before: Row | None = None
    for row in rows:
        label, first, high, low, close = row
        if math.isnan(high):
            k = (label - before[0]) / MINUTE if before and spread_gaps else 1.0
            first = close * math.exp(math.log(before[4] / close) / math.sqrt(k)) if before else close
            high, low = max(first, close), min(first, close)
        out.append((label, first, high, low, close))
        before = row
    return out


@pytest.mark.parametrize("asset", [BTC, EQUITY], ids=lambda a: a.symbol)
@pytest.mark.parametrize("options", COMBINATIONS, ids=lambda o: "-".join(o.values()))
def test_equals_a_naive_recursion_for_every_option(asset, options):
    bars = random_bars(900, start=START + 8 * HOUR, missing=0.15, close_only=0.3, seed=5)
    model = ewma(asset, **options)
    state = after(model, bars)
    rows = rows_of(bars)
    if options["close_only"] == "synthesise":
        rows = synthesised(rows, options["gap_policy"] != "decay")

    def naive(step: int, half_life: int, rows: list[Any]) -> NaiveEwma:
        def level(label: int) -> float:
            if asset.sessions and options["off_hours"] == "session":
                return 1.0 if in_session([label + step // 2])[0] else model.equity_off_hours_mult
            return 1.0

        return NaiveEwma(
            step, half_life, alpha=model.variance_mixing_alpha, expanding=options["start"] == "expanding_mean",
            gap_policy=options["gap_policy"], volatility=level,
        ).run(rows)  # fmt: skip

    minute = naive(60, model.half_life_1m, rows)
    five = naive(300, model.half_life_5m, naive_resample(rows, 300))
    assert state.minute[ek.VARIANCE] == pytest.approx(minute.history[-1], rel=1e-10)
    assert state.five_minute[ek.VARIANCE] == pytest.approx(five.history[-1], rel=1e-10)
    assert state.minute[ek.LAST_TIME] == bars.timestamp[-1]
    assert state.minute[ek.LAST_CLOSE] == bars.close[-1]
    assert state.five_minute[ek.COUNT] <= len(five.history)


def test_the_options_all_differ_where_they_should():
    # the control of the test above: no two combinations of the volatility's options are the same model
    bars = random_bars(900, start=START + 8 * HOUR, missing=0.15, close_only=0.3, seed=5)
    found = [after(ewma(EQUITY, **o), bars).minute[ek.VARIANCE] for o in COMBINATIONS if o["off_hours"] != "none"]
    assert len(set(found)) == len(found)


@pytest.mark.parametrize("half_life", [600, 7200])
def test_plain_case_equals_pandas_ewm(half_life):
    bars = random_bars(2000)
    closes = Bars.from_closes(bars.timestamp, bars.close)
    state = after(ewma(half_life_1m=half_life, start="constant", initial_variance=2e-6), closes)
    proxies = np.concatenate([[2e-6], np.maximum(np.diff(np.log(bars.close)) ** 2, 1e-10)])
    frame = pd.Series(proxies).ewm(alpha=1 - 0.5 ** (60 / half_life), adjust=False).mean()
    assert state.minute[ek.VARIANCE] == pytest.approx(frame.iloc[-1], rel=1e-12)


def test_expanding_start_is_the_plain_mean_while_that_weighs_more():
    bars = random_bars(100)
    closes = Bars.from_closes(bars.timestamp, bars.close)
    squares = np.diff(np.log(bars.close)) ** 2
    state = after(ewma(half_life_1m=86_400), closes)
    assert state.minute[ek.VARIANCE] == pytest.approx(squares.mean(), rel=1e-12)
    assert state.minute[ek.COUNT] == 99


def test_equals_a_restricted_garch():
    # GARCH(1, 1) with omega = 0, alpha = 1 - decay and beta = decay
    bars = random_bars(500, seed=8)
    model = ewma(start="constant", initial_variance=3e-7)
    omega, beta = 0.0, 0.5 ** (60 / model.half_life_1m)
    alpha = 1 - beta
    sigma2 = 3e-7
    for a, b in pairwise(bars.close.tolist()):
        sigma2 = omega + alpha * math.log(b / a) ** 2 + beta * sigma2
    state = after(model, Bars.from_closes(bars.timestamp, bars.close))
    assert state.minute[ek.VARIANCE] == pytest.approx(sigma2, rel=1e-9)


@given(st.integers(60, 90 * 86_400), st.sampled_from([60, 300]))
def test_half_of_the_weight_is_left_after_a_half_life(half_life, step):
    decay = ek.decay_of(half_life, step)
    assert decay ** (half_life / step) == pytest.approx(0.5, rel=1e-9)


@pytest.mark.parametrize(("half_life", "step", "decay"), [(60, 60, 0.5), (120, 60, 0.5**0.5), (300, 600, 0.25)])
def test_decay_known_answers(half_life, step, decay):
    assert ek.decay_of(half_life, step) == pytest.approx(decay, rel=1e-15)


def test_many_decays_at_once_and_their_tracks_equal_one_at_a_time():
    v = np.random.default_rng(4).chisquare(1, 300) * 1e-6
    v[7] = np.nan
    elapsed = np.where(np.arange(300) % 50 == 20, 9.0, 1.0)
    decays = np.array([0.5, 0.9, 0.99, 0.9999])
    for expanding, policy in product([True, False], [ek.HOLD, ek.REVERT, ek.DECAY]):
        together, track = np.full(4, 1e-5), np.empty((300, 4))
        count = ek.filter_variances(
            v, elapsed, decays, together, np.full(1, 1e-5), 0.0, 0.9995, expanding, policy, 0.99, track
        )
        assert count == 299
        np.testing.assert_array_equal(track[-1], together)
        np.testing.assert_array_equal(track[7], track[6])
        for j in range(4):
            alone = np.full(1, 1e-5)
            ek.filter_variances(
                v, elapsed, decays[j : j + 1], alone, np.full(1, 1e-5), 0.0, 0.9995, expanding, policy, 0.99,
                np.empty((0, 1)),
            )  # fmt: skip
            assert alone[0] == together[j]


def test_the_floor_holds_on_a_flat_market():
    flat = Bars(START + MINUTE * np.arange(5000), *np.full((4, 5000), 7.0))
    for options in ({}, {"start": "constant"}):
        state = after(ewma(**options), flat)
        assert state.minute[ek.VARIANCE] == pytest.approx(1e-10, rel=1e-6)


def test_a_mixture_of_range_and_return_is_unbiased_on_a_random_walk():
    # the range estimator sees 60 ticks a minute, so it is a few per cent low; the squared return is not
    rng = np.random.default_rng(6)
    sigma, n, ticks = 1e-3, 20_000, 400
    path = np.exp(np.cumsum(rng.standard_normal(n * ticks) * sigma / math.sqrt(ticks)))
    path = 100 * np.concatenate([[1.0], path])
    blocks = np.lib.stride_tricks.sliding_window_view(path, ticks + 1)[::ticks]
    bars = Bars(START + MINUTE * np.arange(n), blocks[:, 0], blocks.max(1), blocks.min(1), blocks[:, -1])
    for alpha, bound in ((1.0, 0.05), (0.5, 0.08), (0.0, 0.08)):
        state = after(ewma(variance_mixing_alpha=alpha, half_life_1m=90 * 86_400), bars)
        assert state.minute[ek.VARIANCE] == pytest.approx(sigma**2, rel=bound)


def test_close_only_bars_are_unbiased_by_default_and_a_third_low_when_synthesised():
    bars = random_bars(20_000)
    closes = Bars.from_closes(bars.timestamp, bars.close)
    truth = float(np.mean(np.diff(np.log(bars.close)) ** 2))
    found = {
        how: after(ewma(half_life_1m=90 * 86_400, close_only=how), closes).minute[ek.VARIANCE] / truth
        for how in OPTIONS["close_only"]
    }
    assert found["squared_return"] == pytest.approx(1.0, rel=1e-3)
    assert found["synthesise"] == pytest.approx(0.68, rel=1e-2)


def test_a_changed_half_life_takes_effect_on_a_saved_state():
    # the predecessor's saved decay overrode the configured one
    calm, wild = random_bars(600, sigma=2e-4), random_bars(60, sigma=2e-3, start=START + 600 * MINUTE)
    saved = ewma(half_life_1m=7200).dump_state(after(ewma(half_life_1m=7200), calm))
    found = {}
    for half_life in (600, 7200):
        model = ewma(half_life_1m=half_life)
        found[half_life] = volatility(model.update(model.load_state(saved), wild))
    assert found[600] > 1.5 * found[7200]


# ----------------------------------------------------------------------------------------------------- simulation


@pytest.mark.parametrize(("dt", "length"), [(60, 3600), (300, 86_400)])
def test_paths_begin_at_the_estimated_volatility(dt, length):
    model = ewma(nu_1m=30, nu_5m=30)
    state = after(model, random_bars(3000))
    h = (state.minute if dt == 60 else state.five_minute)[ek.VARIANCE]
    first = increments(model, state, prompt(dt=dt, length=length, n=40_000))[0]
    assert first.var() == pytest.approx(h, rel=5 * math.sqrt(2.4 / 40_000))


@pytest.mark.parametrize("draws", ["stratified", "independent"])
@pytest.mark.parametrize("options", [{}, {"feedback": 1.0}, {"feedback": 0.0}, {"preset": "seed"}])
@pytest.mark.parametrize("asset", [BTC, EQUITY], ids=lambda a: a.symbol)
def test_paths_equal_the_plain_twin_from_the_state_on(asset, options, draws):
    model = ewma(asset, **options, draws=draws)
    state = after(model, random_bars(3000, start=START - 3000 * MINUTE))
    p = prompt(asset, start=START, n=4)
    decay = 0.5 ** (300 / model.half_life_5m)
    inside = in_session(p.grid()[:-1] + 60 + 150)
    scale = np.ones(288)
    if asset.sessions:
        scale = np.full(288, 0.6) if model.off_hours == "whole_path" else np.where(inside, 1.0, 0.6)
    paths = model.simulate(state, p, p.stream(3))
    recursion = 1 - model.feedback * (1 - decay), state.five_minute[ek.VARIANCE], scale.tolist()
    lanes = [xoshiro128pp(lane_state(p.stream(3).key, lane)) for lane in range(BLOCK)]
    if draws == "stratified":
        twins = stratified_ewma_paths(lanes, student_t_strata(model.nu_5m, 4).tolist(), *recursion).T
    else:
        twins = np.array([ewma_path(lane, model.nu_5m, *recursion) for lane in lanes[:4]])
    for lane, twin in enumerate(twins):
        np.testing.assert_allclose(paths[:, lane], twin, rtol=1e-4, atol=2e-4 * np.abs(np.diff(twin)).max())


@pytest.mark.parametrize("dt", [1, 59, 120, 600, 3600])
def test_other_increments_are_refused(dt):
    model = ewma()
    with pytest.raises(ForecasterError, match=f"increments of 60 and 300 s, not {dt} s"):
        model.simulate(after(model, random_bars(33)), prompt(dt=dt), prompt().stream(1))


def test_a_forecaster_that_has_seen_nothing_refuses():
    model = ewma()
    for dt in (60, 300):
        with pytest.raises(ForecasterError, match="has seen no bar of BTC yet"):
            model.simulate(model.initial_state(), prompt(dt=dt), prompt().stream(1))


def test_four_minutes_warm_the_1_minute_state_only():
    model = ewma()
    state = after(model, random_bars(4))
    model.simulate(state, prompt(dt=60, length=3600), prompt().stream(1))
    with pytest.raises(ForecasterError, match="has seen no bar"):
        model.simulate(state, prompt(dt=300), prompt().stream(1))


@pytest.mark.parametrize("nu", [2.0, 1.5, 0.0, -3.0, math.nan])
@pytest.mark.parametrize("name", ["nu_1m", "nu_5m"])
def test_degrees_of_freedom_without_a_variance_are_refused_by_the_constructor(name, nu):
    with pytest.raises(ForecasterError, match=f"{name} = .* for BTC: must be above 2"):
        ewma(**{name: nu})


@pytest.mark.parametrize("key", ["ewma.nu_1m", "ewma.nu_5m", "ewma.nu_1m.btc"])
def test_degrees_of_freedom_without_a_variance_are_refused_by_the_settings(key):
    for nu in (2, 2.0, 1.5, "nan"):
        with pytest.raises(ConfigError, match="nu_"):
            load_settings(file=DEFAULTS, environ={}, flags={key: nu})
    assert load_settings(file=DEFAULTS, environ={}, flags={key: 2.1})


# ------------------------------------------------------- the predecessor's flaws: present in `seed`, absent by default


def variance_left(model: Ewma, state: EwmaState) -> float:
    """Median realised variance of a path's last two hours in units of its first two."""
    squares = increments(model, state, prompt(n=4000)) ** 2
    return float(np.median(squares[-24:].mean(0)) / np.median(squares[:24].mean(0)))


def test_full_feedback_lets_the_typical_paths_variance_collapse():
    bars = random_bars(4000)
    left = dict.fromkeys((1.0, 0.5, 0.0), 0.0)
    for f in left:
        model = ewma(feedback=f, half_life_5m=HOUR, nu_5m=10)
        left[f] = variance_left(model, after(model, bars))
    assert left[1.0] < 0.4
    assert left[0.0] == pytest.approx(1.0, abs=0.05)
    assert left[0.5] > 0.65


def test_the_seed_preset_collapses_and_the_default_does_not():
    bars = random_bars(4000)
    seed, default = ewma(preset="seed"), ewma()
    assert variance_left(seed, after(seed, bars)) < 0.4
    assert variance_left(default, after(default, bars)) > 0.65


def after_a_night(model: Ewma) -> float:
    """Volatility after 16 hours without bars and without a move, relative to that before."""
    day = random_bars(3000)
    state = after(model, day)
    later = Bars.from_closes([int(day.timestamp[-1]) + 16 * HOUR], [day.close[-1]])
    return volatility(model.update(state, later)) / volatility(state)


def test_seed_forgets_its_volatility_over_a_gap_and_the_default_holds_it():
    assert after_a_night(ewma(preset="seed", half_life_1m=7200)) == pytest.approx(0.06, abs=0.005)
    assert after_a_night(ewma(half_life_1m=7200)) == pytest.approx(1.0, abs=0.005)


def test_reversion_over_a_gap_goes_towards_the_long_run_variance():
    calm, wild = random_bars(6000, sigma=2e-4), random_bars(60, sigma=4e-3, start=START + 6000 * MINUTE)
    model = ewma(gap_policy="revert", gap_half_life=4 * HOUR, variance_mixing_alpha=1.0)
    state = model.update(after(model, calm), wild)
    h, long_run = state.minute[ek.VARIANCE], state.minute[ek.LONG_RUN]
    assert h > 2 * long_run
    later = int(wild.timestamp[-1]) + 8 * HOUR + 60
    closed = wild.close[-1]
    found = model.update(state, Bars.from_closes([later], [closed])).minute[ek.VARIANCE]
    beta = 0.5 ** (60 / model.half_life_1m)
    expected = beta * (long_run + (h - long_run) * 0.25) + (1 - beta) * 1e-10
    assert found == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("policy", ["hold", "revert"])
@pytest.mark.parametrize("gap", [60, 960])
def test_a_return_over_a_gap_counts_as_its_share_by_default_and_whole_in_seed(policy, gap):
    day = random_bars(3000)
    last = Bars.from_closes([int(day.timestamp[-1]) + 60 * gap], [day.close[-1] * math.exp(0.02)])

    def rise(model: Ewma) -> float:
        h = model.update(after(model, day), last).minute[ek.VARIANCE]
        held = after(model, day).minute[ek.VARIANCE] * (model.gap_policy != "decay")
        beta = 0.5 ** (60 / model.half_life_1m)
        return float((h - beta * held) / (1 - beta))

    default = ewma(gap_policy=policy, gap_half_life=90 * 86_400)
    assert rise(default) == pytest.approx(0.02**2 / gap, rel=0.1)
    assert rise(ewma(preset="seed", half_life_1m=600)) > 0.6 * 0.02**2


def test_synthesised_ranges_over_a_gap_count_as_their_share_too():
    day = random_bars(3000)
    last = Bars.from_closes([int(day.timestamp[-1]) + 60 * 960], [day.close[-1] * math.exp(0.02)])
    model = ewma(close_only="synthesise", gap_policy="hold")
    before = after(model, day)
    h = model.update(before, last).minute[ek.VARIANCE]
    beta = 0.5 ** (60 / model.half_life_1m)
    proxy = (h - beta * before.minute[ek.VARIANCE]) / (1 - beta)
    assert proxy == pytest.approx(0.68 * 0.02**2 / 960, rel=0.05)


def test_the_start_value_is_forgotten_with_the_first_bar_by_default_and_lingers_in_seed():
    bars = random_bars(3 * 1440, sigma=2e-4)
    truth = 2e-4
    seed = volatility(after(ewma(preset="seed", half_life_1m=86_400), bars))
    default = volatility(after(ewma(half_life_1m=86_400), bars))
    assert seed > 3 * truth
    assert default == pytest.approx(truth, rel=0.1)
    few = {h0: after(ewma(initial_variance=h0), bars.rows(0, 3)).minute for h0 in (1e-12, 1e-5, 1.0)}
    assert len({part[ek.VARIANCE] for part in few.values()}) == 1


def equity_market(days: int = 12, seed: int = 2, mult: float = 0.6) -> Bars:
    """A market that moves 0.6 times as much outside the cash session."""
    t = START + MINUTE * np.arange(days * 1440)
    return random_bars(len(t), seed=seed, sigma=np.where(in_session(t + 30), 1e-3, mult * 1e-3))


def test_the_state_holds_the_level_in_session_whatever_the_hour():
    bars = equity_market()
    model = ewma(EQUITY, variance_mixing_alpha=1.0)
    truth = 1e-6
    for hours in (12, 18, 22, 30):  # UTC, from the eleventh day on: night, session, evening
        state = after(model, bars.known_at(START + 11 * 86_400 + hours * HOUR - 86_400))
        assert state.minute[ek.VARIANCE] == pytest.approx(truth, rel=0.5)
    whole = ewma(EQUITY, half_life_1m=90 * 86_400, variance_mixing_alpha=1.0)
    assert after(whole, bars).minute[ek.VARIANCE] == pytest.approx(truth, rel=0.05)
    blind = ewma(EQUITY, half_life_1m=90 * 86_400, variance_mixing_alpha=1.0, off_hours="none")
    assert after(blind, bars).minute[ek.VARIANCE] < 0.6 * truth


def test_the_same_level_is_found_in_session_and_at_night_of_a_quiet_market():
    # the same draws: at night 0.6 times as large, divided out again
    t = START + MINUTE * np.arange(3 * 1440)
    plain = random_bars(len(t), sigma=1e-3)
    inside = in_session(t + 30)
    moves = np.diff(np.log(plain.close), prepend=math.log(plain.close[0]))
    quiet = 100 * np.exp(np.cumsum(moves * np.where(inside, 1.0, 0.6)))
    level = after(ewma(EQUITY), Bars.from_closes(t, quiet)).minute[ek.VARIANCE]
    same = after(ewma(EQUITY, off_hours="none"), Bars.from_closes(t, 100 * np.exp(np.cumsum(moves))))
    assert level == pytest.approx(same.minute[ek.VARIANCE], rel=1e-9)


def profile(model: Ewma, state: EwmaState, p: Prompt) -> Floats:
    """Volatility of each step relative to the state's."""
    core = state.minute if p.time_increment == 60 else state.five_minute
    return increments(model, state, p).std(axis=1) / math.sqrt(core[ek.VARIANCE])


def test_off_hours_follow_the_clock_by_default_and_hit_the_whole_path_in_seed():
    bars = equity_market(days=6)
    start = START + 6 * 86_400  # a Wednesday, 00:00 UTC
    p = prompt(EQUITY, start, n=8000)
    # the step from grid point i is that between the closes of two candles: it begins a minute later
    inside = in_session(p.grid()[:-1] + 60 + 150)
    assert 70 < inside.sum() < 80
    common = {"feedback": 0.0, "nu_5m": 30.0}
    model = ewma(EQUITY, **common)
    found = profile(model, after(model, bars), p)
    assert found[inside].mean() == pytest.approx(1.0, rel=0.01)
    assert found[~inside].mean() == pytest.approx(0.6, rel=0.01)
    assert found[inside].min() > 0.9 > 0.66 > found[~inside].max()
    for how, level in (("whole_path", 0.6), ("none", 1.0)):
        model = ewma(EQUITY, off_hours=how, **common)
        found = profile(model, after(model, bars), p)
        assert found.mean() == pytest.approx(level, rel=0.01)
        assert found[inside].mean() == pytest.approx(found[~inside].mean(), rel=0.01)


def test_the_session_opens_in_the_paths_at_the_minute_it_opens_in_the_market():
    bars = equity_market(days=6)
    opening = START + 6 * 86_400 + 14 * HOUR + 30 * 60  # 09:30 in New York, in winter
    p = Prompt(opening - 1800, "1h", EQUITY.symbol, opening - 1860, 60, 3600, 8000)
    model = ewma(EQUITY, feedback=0.0, nu_1m=30.0)
    found = profile(model, after(model, bars), p)
    # the candle labelled opening is the first inside, and its move belongs to the step that ends at its close:
    # from grid point opening - 60 (close of the candle before it) to grid point opening
    assert found[:29].max() < 0.66
    assert found[29:].min() > 0.9


def test_assets_without_sessions_ignore_the_off_hours_options():
    bars = equity_market(days=3)
    states = [bits(after(ewma(BTC, off_hours=how), bars)) for how in OPTIONS["off_hours"]]
    assert states[0] == states[1] == states[2]
    p = prompt()
    paths = [ewma(BTC, off_hours=how).simulate(after(ewma(BTC), bars), p, p.stream(1)) for how in OPTIONS["off_hours"]]
    np.testing.assert_array_equal(paths[0], paths[1])
    np.testing.assert_array_equal(paths[0], paths[2])


def test_the_seed_preset_is_the_predecessor():
    values = SEED.values.ewma
    assert (values.close_only, values.start, values.gap_policy, values.off_hours, values.draws) == (
        "synthesise", "constant", "decay", "whole_path", "independent"
    )  # fmt: skip
    assert values.feedback == {"default": 1.0}
    assert values.initial_variance == {"default": 1e-5}
    assert values.variance_mixing_alpha == {"default": 0.5}
    assert values.equity_off_hours_mult == {"default": 0.6}
    assert values.variance_floor == 1e-10


def test_seed_equals_the_predecessors_update_written_out():
    # one resolution, close-only minutes, as the predecessor's description has it
    bars = random_bars(400, missing=0.2, seed=9)
    model = ewma(preset="seed")
    decay = math.exp(-math.log(2) * 60 / 1800)
    h, last = 1e-5, None
    for label, close in zip(bars.timestamp.tolist(), bars.close.tolist(), strict=True):
        opened = close if last is None else last[1]
        missing = 0 if last is None else (label - last[0]) // 60 - 1
        r2 = math.log(close / opened) ** 2
        span = math.log(max(close, opened) / min(close, opened)) ** 2
        v = max(0.5 * r2 + 0.5 * span / (4 * math.log(2)), 1e-10)
        h = decay * (decay**missing * h) + (1 - decay) * v
        last = (label, close)
    state = after(model, Bars.from_closes(bars.timestamp, bars.close))
    assert state.minute[ek.VARIANCE] == pytest.approx(h, rel=1e-10)


def test_state_columns_are_what_their_names_say():
    bars = random_bars(12)
    state = after(ewma(), bars)
    assert state.minute[[ek.COUNT, ek.LAST_TIME, ek.LAST_CLOSE]].tolist() == [12, bars.timestamp[-1], bars.close[-1]]
    assert state.five_minute[[ek.COUNT, ek.LAST_TIME, ek.LAST_CLOSE]].tolist() == [2, START + 300, bars.close[9]]
    assert state.forming[0] == START + 600
    assert set(COLUMNS) == {"timestamp", "open", "high", "low", "close"}
