"""`seasonal-har`: what was planted is found, the future is not looked at, and artifacts are what their names say."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import har
import numpy as np
import orjson
import pandas as pd
import pytest
import twins
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import integrate, stats
from twins import lane_state, xoshiro128pp
from typer.testing import CliRunner

from ewmalab.cli import app
from ewmalab.errors import ForecasterError, MissingDataError
from ewmalab.forecast.draws import BLOCK
from ewmalab.forecast.model import Fit, Model
from ewmalab.forecast.protocol import Prompt
from ewmalab.forecast.seasonal_har import SeasonalHar
from ewmalab.forecast.seasonal_har import fit_shocks as shocks_module
from ewmalab.forecast.seasonal_har.clock import CLASSES, WEEK_BINS, day_classes, new_york, week_bins
from ewmalab.forecast.seasonal_har.fit import fit
from ewmalab.forecast.seasonal_har.fit_curves import DESIGNS, Design
from ewmalab.forecast.seasonal_har.fit_kernels import crps_by_scale, crps_of_scales
from ewmalab.forecast.seasonal_har.fit_seasons import relative_moves, week_season
from ewmalab.forecast.seasonal_har.fit_shocks import _score, fit_shocks, unit_draws
from ewmalab.forecast.seasonal_har.parts import Season, Shocks
from ewmalab.forecast.seasonal_har.paths import wave_paths
from ewmalab.forecast.seasonal_har.state import SIZE, features, follow, initial_state
from ewmalab.forecast.strata import normal_strata, student_t_strata
from ewmalab.forecast.streams import RandomStream
from ewmalab.market.bars import Bars
from ewmalab.replay.artifacts import read_artifact, write_artifact
from ewmalab.replay.fits import load_model, make_artifact
from ewmalab.rulebook import load_rulebook
from ewmalab.scoring.crps import crps_ensemble
from ewmalab.settings import load_settings
from ewmalab.settings.layers import DEFAULTS
from ewmalab.times import DAY, MINUTE, iso

BOOK = load_rulebook()
ASSETS = {symbol: BOOK.asset(symbol) for symbol in BOOK.symbols}
SETTINGS = load_settings(file=DEFAULTS, environ={})
BEGIN = 1_768_435_200 - 60 * DAY


def market(days: int, season: Any, seed: int = 3) -> Bars:
    """Minute bars whose volatility is a constant times a season."""
    rng = np.random.default_rng(seed)
    times = BEGIN + MINUTE * np.arange(days * 1440)
    moves = 5e-4 * season(times) * rng.standard_normal(len(times))
    return Bars.from_closes(times, 100.0 * np.exp(np.cumsum(moves)))


def seasonal_har(asset: str, numbers: Any, **parameters: Any) -> SeasonalHar:
    return SeasonalHar(BOOK.asset(asset), **parameters).with_fit(numbers)


def by_hour(times: np.ndarray) -> np.ndarray:
    """Twice as volatile from 9 to 16 in New York on weekdays as else."""
    local = new_york(times)
    weekday = (local // DAY + 3) % 7 < 5
    return np.where(weekday & (local % DAY >= 9 * 3600) & (local % DAY < 16 * 3600), 2.0, 1.0)


@pytest.fixture(scope="module")
def bars() -> dict[str, Bars]:
    return {"BTC": market(40, by_hour, 1), "ETH": market(40, by_hour, 2)}


@pytest.fixture(scope="module")
def fitted(bars: dict[str, Bars]) -> dict[str, Any]:
    return fit(bars, ASSETS, end=BEGIN + 40 * DAY)


# --------------------------------------------------------------------------------------------- the clock


@pytest.mark.ci
@given(st.lists(st.integers(1_577_836_800, 1_924_991_999), min_size=1, max_size=20))
def test_new_yorks_clock_is_that_of_the_time_zone(times: list[int]) -> None:
    local = pd.to_datetime(times, unit="s", utc=True).tz_convert("America/New_York")
    naive = local.tz_localize(None).astype("datetime64[s]").astype(np.int64)
    assert new_york(times).tolist() == naive.tolist()
    assert week_bins(times).tolist() == ((local.day_of_week * 1440 + local.hour * 60 + local.minute) // 5).tolist()


@pytest.mark.parametrize(
    ("when", "name"),
    [
        ("2026-01-15T09:29", "4-9:30"), ("2026-01-15T09:30", "9:30-10"), ("2026-01-15T15:59", "15:30-16"),
        ("2026-01-15T16:00", "16-20"), ("2026-01-16T20:00", "weekend"), ("2026-01-18T19:59", "weekend"),
        ("2026-01-18T20:00", "20-24"), ("2026-01-19T12:00", "holiday"), ("2026-11-27T14:00", "holiday"),
        ("2026-11-27T12:00", "11:30-15:30"),
    ],
)  # fmt: skip
def test_parts_of_the_trading_day_know_holidays_and_early_closes(when: str, name: str) -> None:
    at = int(pd.Timestamp(when, tz="America/New_York").timestamp())
    assert CLASSES[int(day_classes([at])[0])] == name


# --------------------------------------------------------------------------------------------- fitting


def test_a_planted_season_is_found(bars: dict[str, Bars]) -> None:
    season = week_season(bars["BTC"])
    times = BEGIN + MINUTE * np.arange(7 * 1440)
    found, planted = np.sqrt(season.variance(times)), by_hour(times)
    ratio = found / planted
    assert np.std(np.log(ratio / ratio.mean())) < 0.1
    assert season.variance(bars["BTC"].timestamp).mean() == pytest.approx(1.0, rel=1e-3)


def test_without_a_season_none_is_found() -> None:
    season = week_season(market(40, lambda times: np.ones(len(times))))
    assert np.std(np.log(season.level)) < 0.06


@given(
    st.sets(st.sampled_from([5040 * k + more for k in range(1, 5) for more in (-1, 0, 1)])),
    st.randoms(use_true_random=False),
)
def test_moves_are_relative_to_those_within_half_a_week(minutes: set[int], chance: Random) -> None:
    times = MINUTE * np.array(sorted(minutes), np.int64)
    moved = np.array([chance.uniform(0.1, 1.0) for _ in times])
    near = np.abs(times[:, None] - times) <= 7 * DAY // 2
    expected = [own / moved[alike].mean() for own, alike in zip(moved, near, strict=True)]
    np.testing.assert_allclose(relative_moves(times, moved), expected, rtol=1e-9)


@pytest.mark.ci
@given(st.floats(-5, 5), st.floats(0.1, 5))
def test_the_score_that_is_fitted_is_the_crps_of_a_student_t(y: float, sigma: float) -> None:
    law = stats.t(4, scale=sigma)
    left, _ = integrate.quad(lambda x: law.cdf(x) ** 2, -np.inf, y)
    right, _ = integrate.quad(lambda x: law.sf(x) ** 2, y, np.inf)

    def crps(scale: float) -> tuple[float, float]:
        nothing = np.zeros(0)
        return crps_of_scales(np.array([y]), np.zeros((1, 0)), np.log(scale), nothing, nothing, 1.0)  # type: ignore[no-any-return]

    value, slope = crps(sigma)
    assert value == pytest.approx(left + right, rel=1e-5, abs=1e-6)
    step = 1e-5
    up, down = (crps(sigma * np.exp(d))[0] for d in (step, -step))
    assert slope == pytest.approx((up - down) / (2 * step), rel=1e-4, abs=1e-5)


def test_the_forecast_has_the_planted_volatility(fitted: dict[str, Any], bars: dict[str, Bars]) -> None:
    forecaster = seasonal_har("BTC", fitted)
    state = forecaster.update(forecaster.initial_state(), bars["BTC"])
    for step, length in ((300, DAY), (60, 3600)):
        prompt = Prompt(BEGIN + 40 * DAY, "x", "BTC", BEGIN + 40 * DAY, step, length, 2000)
        paths = forecaster.simulate(state, prompt, prompt.stream(1))
        minutes = prompt.start_time + MINUTE * np.arange(length // MINUTE)
        truth = 5e-4 * np.sqrt((by_hour(minutes) ** 2).sum())
        moved = float(np.abs(paths[-1]).mean())  # what the shocks' scale is fitted to
        assert moved / (truth * np.sqrt(2 / np.pi)) == pytest.approx(1.0, abs=0.12)


def trending(days: int) -> Bars:
    """Synthetic bars that are wilder after an hour of moves in one direction than after one of moves to and fro."""
    rng, size, trend = np.random.default_rng(5), np.empty(days * 1440), 0.0
    for i, z in enumerate(rng.standard_normal(len(size))):
        size[i] = 5e-4 * (0.7 + abs(trend)) ** 0.8 * z
        trend = 0.5 ** (1 / 60) * trend + np.sqrt(1 - 0.5 ** (1 / 30)) * z
    return Bars.from_closes(BEGIN + MINUTE * np.arange(len(size)), 100.0 * np.exp(np.cumsum(size)))


def test_a_trends_size_counts_where_it_was_planted_and_only_at_an_hour(bars: dict[str, Bars]) -> None:
    planted = fit({"BTC": trending(20)}, ASSETS, end=BEGIN + 20 * DAY)["assets"]["BTC"]["curves"]
    plain = fit({"BTC": bars["BTC"].rows(0, 20 * 1440)}, ASSETS, end=BEGIN + 20 * DAY)["assets"]["BTC"]["curves"]
    found, none = (np.array(curves["60"]["slopes"])[0, 4:] for curves in (planted, plain))
    assert found[1] > 0.2 > 0.1 > np.abs(none).max()
    assert planted["60"]["trends"] == [600, 3600, 14_400]
    assert planted["300"]["trends"] == []


def test_features_are_plain_averages_and_sums_over_gaps_too() -> None:
    rng, flat = np.random.default_rng(2), Season("week", np.ones(WEEK_BINS), np.ones(60))
    times = BEGIN + MINUTE * np.flatnonzero(rng.random(5000) > 0.2)
    closes = 100.0 * np.exp(np.cumsum(1e-3 * rng.standard_normal(len(times))))
    states = np.empty((len(times), SIZE))
    follow(initial_state(), Bars.from_closes(times, closes), flat, states)
    minutes = np.diff(times) // MINUTE
    z, trend, size = np.diff(np.log(closes)) / np.sqrt(minutes), 0.0, 0.0
    for i, (x, n) in enumerate(zip(z, minutes, strict=True)):
        held = 0.5 ** (n / 60)
        trend, gain = held * trend + np.sqrt(1 - held**2) * x, max(1 - held, 1 / (i + 1))
        size += gain * (abs(x) - size)
    expected = np.log([size, abs(trend) / size + 0.3])
    np.testing.assert_allclose(features(states[-1], (3600,), (3600,)), expected, rtol=1e-10)
    np.testing.assert_array_equal(features(states, (600, 3600), ())[-1], features(states[-1], (600, 3600), ()))


def test_a_fit_does_not_look_past_its_present() -> None:
    end, bars = BEGIN + 9 * DAY, {"BTC": market(9, by_hour)}
    more = {a: Bars.concatenate([b, later(b)]) for a, b in bars.items()}
    one, same, other = (orjson.dumps(fit(b, ASSETS, end=e)) for b, e in ((bars, end), (more, end), (bars, end - DAY)))
    assert one == same != other


@pytest.mark.ci
@pytest.mark.parametrize("windows", [False, True])
def test_a_fit_does_not_depend_on_the_number_of_threads(windows: bool) -> None:
    bars = {asset: market(9, by_hour, seed) for seed, asset in enumerate(("BTC", "ETH", "XAU", "SPYX"))}
    one, many = (fit(bars, ASSETS, end=BEGIN + 9 * DAY, windows=windows, threads=n) for n in (1, 5))
    assert orjson.dumps(one) == orjson.dumps(many)


def later(bars: Bars) -> Bars:
    times = int(bars.timestamp[-1]) + MINUTE + MINUTE * np.arange(2000)
    return Bars.from_closes(times, np.full(2000, 3.0 * float(bars.close[-1])))


def test_too_few_bars_are_refused_and_left_to_what_others_share(bars: dict[str, Bars]) -> None:
    short = market(3, by_hour)
    with pytest.raises(MissingDataError, match=r"too few bars before .*: BTC 4,320 of 10,070"):
        fit({"BTC": short}, ASSETS, end=BEGIN + 3 * DAY)
    found = fit({"BTC": bars["BTC"].rows(0, 9 * 1440), "SOL": short}, ASSETS, end=BEGIN + 9 * DAY)
    assert found["left_out"] == {"SOL": 4320}
    assert list(found["assets"]) == ["BTC"]


def test_an_artifact_tells_what_it_has_seen(bars: dict[str, Bars], fitted: dict[str, Any]) -> None:
    made = make_artifact("seasonal-har", bars, SETTINGS, BOOK, end=BEGIN + 40 * DAY, feed="planted")
    assert (made.forecaster, made.feed, made.fit.end) == ("seasonal-har", "planted", BEGIN + 40 * DAY)
    assert made.fit.numbers == orjson.loads(orjson.dumps(fitted))
    assert made.seen["BTC"] == {
        "bars": len(bars["BTC"]),
        "first": iso(BEGIN),
        "last": iso(BEGIN + 40 * DAY - MINUTE),
        "sha256": bars["BTC"].digest(),
    }
    report = fitted["assets"]["BTC"]["report"]["60"]
    assert report["start_times"] > 1000
    assert all(0.5 < moved < 1.0 for moved in report["mean_absolute_standardised_return"].values())


def test_a_short_history_is_shrunk_towards_its_class(bars: dict[str, Bars]) -> None:
    wild = market(10, lambda times: np.where(times // 3600 % 2, 3.0, 1.0), 5)  # a season that ETH does not have
    wild = Bars.from_closes(wild.timestamp + 30 * DAY, wild.close)
    alone, with_it = (fit({"SOL": wild, **more}, ASSETS, end=BEGIN + 40 * DAY)["assets"]["SOL"]["season"]["level"]
                      for more in ({}, {"ETH": bars["ETH"]}))  # fmt: skip
    assert np.std(np.log(with_it)) < 0.8 * np.std(np.log(alone))


@given(hnp.arrays(float, st.integers(1, 30), elements=st.floats(-3, 3)),
       hnp.arrays(float, st.integers(2, 30), elements=st.floats(-3, 3)), st.floats(0.2, 5))  # fmt: skip
def test_the_crps_of_scaled_draws_is_that_of_the_score(observed: np.ndarray, draws: np.ndarray, scale: float) -> None:
    found = crps_by_scale(np.sort(observed), np.sort(draws), np.array([scale]))[0]
    members = np.broadcast_to(scale * draws, (len(observed), len(draws)))
    assert found == pytest.approx(crps_ensemble(observed, members).mean(), rel=1e-9, abs=1e-12)


@given(st.integers(1, 40), st.integers(1, 20), st.integers(0, 2**32 - 1))
def test_ranks_are_merged_with_the_bits_of_a_plain_loop(n: int, m: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    observed, draws = (np.sort(rng.standard_normal(count).round(1)) for count in (n, m))  # with ties
    below, distance = np.cumsum([0.0, *draws]), 0.0
    for z in observed / 0.9:
        k = int((draws <= z).sum())
        distance += (2.0 * k - m) * z + below[m] - 2.0 * below[k]
    spread = sum(((2.0 * (i + 1) - m - 1.0) * draw for i, draw in enumerate(draws)), start=0.0)
    assert crps_by_scale(observed, draws, np.array([0.9]))[0] == 0.9 * (distance / (float(n) * m) - spread / (m * m))


@pytest.mark.parametrize("design", DESIGNS)
def test_draws_are_those_of_all_paths_with_their_mirror_images(design: Design) -> None:
    steps, shape = design.length // design.step, shocks_module._FIRST
    stream = RandomStream.of(0, "", "shocks", design.step)
    out = wave_paths(stream, shape, design.step, np.ones(steps, np.float32), 1000)
    out = np.concatenate([out, -out], axis=1)
    for n, draws in unit_draws(design, shape).items():
        every = np.sort((np.diff(out[::n], axis=0).ravel() / np.sqrt(n)).astype(np.float64))
        rank = (np.arange(len(draws)) + 0.5) * (len(every) / len(draws))
        np.testing.assert_array_equal(draws, every[rank.astype(np.int64)])


@pytest.mark.parametrize("scale", [0.5, 0.7, 0.93, 1.0, 1.31, 1.45, 2.0])  # also beyond the scales that are tried
def test_a_walk_over_scales_ends_where_trying_all_would(scale: float) -> None:
    rng, design, scales = np.random.default_rng(int(100 * scale)), DESIGNS[1], shocks_module._SCALES
    observed = {n: np.sort(scale * rng.standard_t(5, 3000 // n)) for n in design.lengths}
    score = _score(observed, unit_draws(design, shocks_module._FIRST), design)
    whole = score(scales)
    least = int(np.clip(np.argmin(whole), 1, len(scales) - 2))
    (left, middle, right), step = whole[least - 1 : least + 2], scales[1] / scales[0]
    shift = 0.5 * (left - right) / (left - 2 * middle + right)
    for place in range(len(scales)):
        found = shocks_module._best_scale(score, place)
        assert found == (least, scales[least] * step**shift, middle - 0.25 * (left - right) * shift)


@pytest.mark.parametrize(("nu", "level"), [(4.0, 0.0), (50.0, 0.4), (50.0, 0.0)])
def test_planted_shocks_are_found(nu: float, level: float) -> None:
    design = DESIGNS[1]
    shape = Shocks(1.0, nu, level, 0.0, 10_800)
    out = wave_paths(RandomStream.of(5, "a", "b", 3), shape, 60, np.full(60, 1.3, np.float32), 20_000)
    seen = {n: np.diff(out[::n], axis=0).ravel() / np.sqrt(n) for n in design.lengths}
    found = fit_shocks(seen, design)
    moved = found.scale * np.abs(unit_draws(design, found)[1]).mean()
    assert moved == pytest.approx(np.abs(seen[1]).mean(), rel=0.03)
    assert found.nu <= 6 if nu == 4 else found.nu >= 12
    assert np.hypot(found.level, found.wave) == pytest.approx(level, abs=0.25)


# --------------------------------------------------------------------------------------------- paths


@pytest.mark.parametrize("count", [1, 3, 130])
def test_paths_equal_a_plain_float64_twin(count: int) -> None:
    stream, shape = RandomStream.of(1, "a", "b", 2), Shocks(1.0, 5.0, 0.3, 0.5, 3600)
    sigma = np.linspace(0.01, 0.02, 60, dtype=np.float32)
    lanes = [xoshiro128pp(lane_state(stream.key, lane)) for lane in range(BLOCK)]
    tables = student_t_strata(5.0, count).tolist(), normal_strata(count).tolist()
    twin = twins.wave_paths(lanes, *tables, 0.3, 0.5, 0.5 ** (60 / 3600), sigma.tolist())
    np.testing.assert_allclose(wave_paths(stream, shape, 60, sigma, count), twin, rtol=1e-5, atol=1e-6)


def test_shocks_have_the_moments_that_are_asked_for() -> None:
    steps, count, level, wave, stay = 200, 20_000, 0.3, 0.5, 0.95
    shape = Shocks(1.0, 20.0, level, wave, round(-60 * np.log(2) / np.log(stay)))
    out = wave_paths(RandomStream.of(1, "a", "b", 3), shape, 60, np.full(steps, 0.01, np.float32), count)
    z = np.diff(out.astype(np.float64), axis=0) / 0.01  # so small that no path is cut off
    assert z.var() == pytest.approx(np.exp(2 * (level**2 + wave**2)), rel=0.03)
    logs = np.log(np.abs(z) + 1e-9)
    logs -= logs.mean()
    for lag in (1, 10):
        expected = level**2 + wave**2 * stay**lag
        assert np.mean(logs[lag:] * logs[:-lag]) == pytest.approx(expected, rel=0.08)


@pytest.fixture(scope="module")
def reliving(bars: dict[str, Bars]) -> SeasonalHar:
    maker = SeasonalHar(BOOK.asset("ETH"), shocks="windows")  # a fit does not depend on the asset that makes it
    return seasonal_har("BTC", maker.fit(bars, ASSETS, end=BEGIN + 40 * DAY), shocks="windows")


@pytest.mark.parametrize("count", [1, 10, 1001, 2500])
def test_windows_are_lived_through_again_each_as_often_as_any_other(
    count: int, reliving: SeasonalHar, bars: dict[str, Bars]
) -> None:
    state = reliving.update(reliving.initial_state(), bars["BTC"])
    now = BEGIN + 40 * DAY
    prompt = Prompt(now, "x", "BTC", now, 60, 3600, count)
    paths = reliving.simulate(state, prompt, prompt.stream(1))
    half = -(-count // 2)
    np.testing.assert_array_equal(paths[:, half:], -paths[:, : count - half])
    windows = reliving.fitted.windows[60]  # type: ignore[index]
    assert windows.shape == (500, 60)
    lived = np.diff(paths[:, :half].astype(np.float64), axis=0).T / reliving.volatility(state, prompt)
    nearest = np.array([np.abs(windows - path).max(axis=1).argmin() for path in lived])
    assert np.abs(windows[nearest] - lived).max() < 1e-3
    times = np.bincount(nearest, minlength=500)
    assert times.max() - times.min() <= 1
    np.testing.assert_array_equal(paths, reliving.simulate(state, prompt, prompt.stream(1)))


def test_windows_move_as_much_as_the_market(reliving: SeasonalHar, bars: dict[str, Bars]) -> None:
    state = reliving.update(reliving.initial_state(), bars["BTC"])
    now = BEGIN + 40 * DAY
    for step, length in ((300, DAY), (60, 3600)):
        prompt = Prompt(now, "x", "BTC", now, step, length, 1000)
        minutes = now + MINUTE * np.arange(length // MINUTE)
        truth = 5e-4 * np.sqrt((by_hour(minutes) ** 2).sum())
        assert reliving.simulate(state, prompt, prompt.stream(1))[-1].std() == pytest.approx(truth, rel=0.12)


def test_windows_that_were_not_kept_are_asked_for(fitted: dict[str, Any]) -> None:
    with pytest.raises(ForecasterError, match=r"keeps no windows of BTC: fit with seasonal_har\.shocks=windows"):
        seasonal_har("BTC", fitted, shocks="windows")


# --------------------------------------------------------------------------------------------- artifacts


def test_an_artifact_is_what_its_name_says(tmp_path: Path) -> None:
    path = write_artifact(har.artifact(), tmp_path)
    found = read_artifact(str(path))
    assert found.fit.numbers == har.numbers()
    assert (found.forecaster, found.feed, found.fit.end) == ("seasonal-har", "by hand", 0)
    assert found.fit.digest in path.name
    assert write_artifact(found, tmp_path) == path
    changed = tmp_path / f"copy-{path.name}"
    changed.write_bytes(path.read_bytes().replace(b"1.05", b"1.06"))
    with pytest.raises(ForecasterError, match="does not match the digest in its name"):
        read_artifact(str(changed))
    with pytest.raises(ForecasterError, match="ewmalab fit"):
        read_artifact(str(tmp_path / "absent.json"))


@pytest.mark.parametrize("damage", [{"curves": None}, {"season": {"clock": "week"}}, {"shocks": {"60": {"nu": 3}}}])
def test_damaged_numbers_are_refused(damage: dict[str, Any]) -> None:
    numbers = har.numbers()
    numbers["assets"]["BTC"] |= damage
    with pytest.raises(ForecasterError, match="the fit of BTC is damaged"):
        seasonal_har("BTC", numbers)
    assert seasonal_har("SPYX", numbers).fitted.season.clock == "day"


def test_an_asset_that_was_not_fitted_takes_what_its_class_has_in_common() -> None:
    numbers = har.numbers()
    assert seasonal_har("XAU", numbers).fitted.season.clock == "week"
    assert seasonal_har("TSLAX", numbers).fitted.season.clock == "day"
    assert SeasonalHar(BOOK.asset("BTC")).fit_remark(numbers) == ""
    remark = SeasonalHar(BOOK.asset("TSLAX")).fit_remark(numbers)
    assert remark.startswith("TSLAX was not fitted: it uses the mean fit of 5 of its class")


def test_without_its_like_it_knows_nothing_and_says_so() -> None:
    numbers = har.numbers()
    remark = SeasonalHar(BOOK.asset("WTIOIL")).fit_remark(numbers)
    assert remark.startswith("WTIOIL: none of its class was fitted (only BTC, SPYX)")
    forecaster = seasonal_har("WTIOIL", numbers)
    assert set(forecaster.fitted.season.level) == {1.0}
    state = forecaster.update(forecaster.initial_state(), market(4, lambda times: np.ones(len(times))))
    for step, length in ((300, DAY), (60, 3600)):
        prompt = Prompt(BEGIN + 4 * DAY, "x", "WTIOIL", BEGIN + 4 * DAY, step, length, 4000)
        sigma = forecaster.simulate(state, prompt, prompt.stream(1))[-1].std() / np.sqrt(length / MINUTE)
        assert sigma == pytest.approx(5e-4, rel=0.1)
    without = SETTINGS.with_flags({"fit.prior": ""})
    with pytest.raises(ForecasterError, match="has not been fitted"):
        load_model("seasonal-har", BOOK.asset("BTC"), without, BEGIN)
    assert SeasonalHar(BOOK.asset("BTC")).fit_remark(None).startswith("BTC: not fitted yet")


def test_a_forecast_of_what_the_fit_has_seen_is_refused(fitted: dict[str, Any], bars: dict[str, Bars]) -> None:
    end = BEGIN + 40 * DAY
    model = Model.of("seasonal-har", BOOK.asset("BTC"), SETTINGS, Fit(end, fitted, "planted"))
    state, newest = model.state_of(bars["BTC"]), int(bars["BTC"].timestamp[-1])
    assert model.paths(state, newest, Prompt(end, "x", "BTC", end, 300, DAY, 10), 1).shape == (289, 10)
    with pytest.raises(ForecasterError, match="it refuses prompts from before the end of its fit"):
        model.paths(state, newest, Prompt(end, "x", "BTC", end - 1, 300, DAY, 10), 1)


def test_the_volatility_scale_is_a_factor() -> None:
    once, twice = (seasonal_har("BTC", har.numbers(), volatility_scale=x) for x in (1.0, 2.0))
    state = once.update(once.initial_state(), market(2, by_hour))
    asked = Prompt(BEGIN + 2 * DAY, "x", "BTC", BEGIN + 2 * DAY, 60, 3600, 10)
    np.testing.assert_allclose(twice.volatility(state, asked), 2 * once.volatility(state, asked), rtol=1e-6)


def test_a_pooled_entry_lies_between_those_it_pools(fitted: dict[str, Any]) -> None:
    pooled, own = fitted["pooled"]["crypto"], [fitted["assets"][a] for a in ("BTC", "ETH")]
    assert pooled["of"] == 2
    assert len(pooled["season"]["level"]) == WEEK_BINS
    low, high = (f(e["shocks"]["300"]["scale"] for e in own) for f in (min, max))
    assert low <= pooled["shocks"]["300"]["scale"] <= high


@pytest.mark.ci
def test_the_command_writes_an_artifact_that_a_backtest_uses(tmp_path: Path) -> None:
    flags = ["--set", "data.feed=simulated", "--set", f"data.cache_dir={tmp_path}/cache",
             "--set", f"run.experiments_dir={tmp_path}/experiments"]  # fmt: skip
    run = CliRunner()
    empty = run.invoke(app, ["fit", "--start", "2026-01-01", "--days", "12", *flags])
    assert empty.exit_code != 0
    assert "the cache has no bars" in str(empty.exception)
    flags += ["--assets", "BTC"]
    got = run.invoke(app, ["data", "fetch", "--feed", "simulated", "--start", "2026-01-01", "--days", "16", *flags])
    assert got.exit_code == 0, got.output
    made = run.invoke(app, ["fit", "--start", "2026-01-01", "--days", "12", "-o", str(tmp_path), "--json", *flags])
    assert made.exit_code == 0, made.output
    artifact = orjson.loads(made.stdout)["artifact"]
    flags += ["--set", f"fit.artifacts={artifact}", "--simulations", "50", "--json"]
    named = ["-f", "seasonal-har", "-f", "random-walk"]
    done = run.invoke(app, ["backtest", "--start", "2026-01-13", "--days", "0.2", *named, *flags])
    assert done.exit_code == 0, done.output
    assert {row["forecaster"] for row in orjson.loads(done.stdout)["summary"]} == {"seasonal-har", "random-walk"}
