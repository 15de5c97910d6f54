"""A prior serves where there is no fit, fits are shrunk towards it, and it never answers about what it has seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import har
import numpy as np
import orjson
import pytest

import ewmalab
from ewmalab.errors import ForecasterError
from ewmalab.forecast.model import Fit, Model
from ewmalab.forecast.protocol import Prompt
from ewmalab.forecast.seasonal_har import SeasonalHar
from ewmalab.forecast.seasonal_har import kernels as hk
from ewmalab.forecast.seasonal_har.fit import fit
from ewmalab.forecast.seasonal_har.fit_seasons import day_seasons, season_share
from ewmalab.forecast.seasonal_har.parts import SMOOTHED, Curve, Season
from ewmalab.forecast.seasonal_har.state import smoothness
from ewmalab.market.bars import Bars
from ewmalab.replay.artifacts import Artifact, write_artifact
from ewmalab.replay.fits import Refits, artifact_at, fit_remarks, load_model, make_artifact
from ewmalab.replay.priors import FOLDER, prior_at, prior_of
from ewmalab.report.text.experiments import fit_text
from ewmalab.report.text.status import status_text
from ewmalab.rulebook import load_rulebook
from ewmalab.settings import load_settings
from ewmalab.settings.layers import DEFAULTS
from ewmalab.times import DAY, MINUTE, iso, parse_time

BOOK = load_rulebook()
ASSETS = {symbol: BOOK.asset(symbol) for symbol in BOOK.symbols}
SETTINGS = load_settings(file=DEFAULTS, environ={})
NAME = "seasonal-har"
SHIPPED = prior_of(NAME, SETTINGS)
assert SHIPPED is not None
END = SHIPPED.fit.end


def market(days: int, *, lag: float = 0.0, sigma: float = 5e-4, seed: int = 3, begin: int = END) -> Bars:
    """Minute bars without a season; each return keeps a share `lag` of the one before it."""
    z = np.random.default_rng(seed).standard_normal(days * 1440 + 1)
    times = begin + MINUTE * np.arange(days * 1440)
    return Bars.from_closes(times, 100.0 * np.exp(np.cumsum(sigma * (z[1:] + lag * z[:-1]))))


def volatility(model: Model, bars: Bars, step: int) -> np.ndarray:
    """Volatility of each step of a prompt at the end of the bars."""
    at = int(bars.timestamp[-1]) + MINUTE
    prompt = Prompt(at, "x", model.asset.symbol, at, step, DAY if step == 300 else 3600, 10)
    assert isinstance(model.forecaster, SeasonalHar)
    return model.forecaster.volatility(model.state_of(bars), prompt).astype(np.float64)


@pytest.fixture(scope="module")
def fitted() -> dict[int, dict[str, Any]]:
    """Fits of one asset, shrunk to the prior, by days of history."""
    assert SHIPPED is not None
    whole = market(70)
    return {
        days: fit({"BTC": whole.rows(0, days * 1440)}, ASSETS, end=END + days * DAY, prior=SHIPPED.fit.numbers)
        for days in (8, 70)
    }


# ------------------------------------------------------------------------------------------------- what is shipped


def test_the_shipped_prior_is_small_readable_and_says_what_it_has_seen() -> None:
    assert SHIPPED is not None
    (path,) = FOLDER.glob("*.json")
    data = orjson.loads(path.read_bytes())
    assert path.stat().st_size < 500_000
    assert data["numbers"]["made"].keys() == {"command", "version"}
    assert all(parse_time(seen["last"]) + MINUTE <= END and len(seen["sha256"]) == 64 for seen in SHIPPED.seen.values())
    assert {name.partition("/")[0] for name in SHIPPED.seen} == set(SHIPPED.feed.split(", "))
    package = Path(ewmalab.__file__).parent
    declared = (package.parent / "pyproject.toml").read_text()
    assert f'"{path.parent.relative_to(package)}/*.json"' in declared


@pytest.mark.parametrize("asset", BOOK.symbols)
def test_the_prior_serves_every_asset_from_its_first_bars_on(asset: str) -> None:
    model = load_model(NAME, BOOK.asset(asset), SETTINGS, END)
    assert isinstance(model.forecaster, SeasonalHar)
    assert model.fit is not None
    assert model.forecaster.fitted.season.clock == ("day" if BOOK.asset(asset).sessions else "week")
    assert np.ptp(model.forecaster.fitted.season.level) > 0.1
    for step in (300, 60):
        found = volatility(model, market(1), step)
        assert 0.3 < np.sqrt((found**2).mean()) / (5e-4 * np.sqrt(step / MINUTE)) < 3.0


@pytest.mark.parametrize("asset", ["BTC", "XAU", "SPYX"])
def test_a_prior_serves_markets_of_any_volatility(asset: str) -> None:
    model = load_model(NAME, BOOK.asset(asset), SETTINGS, END)
    calm, wild = (volatility(model, market(2, sigma=sigma), 300) for sigma in (1e-4, 1e-3))
    np.testing.assert_allclose(wild, 10 * calm, rtol=1e-3)


@pytest.mark.parametrize("asset", BOOK.symbols)
def test_the_prior_is_never_asked_about_what_it_has_seen(asset: str) -> None:
    before, from_then = (load_model(NAME, BOOK.asset(asset), SETTINGS, when) for when in (END - 1, END))
    assert before.fit is None
    assert from_then.fit is not None
    feeds = {asset: "pyth"}
    (early,), (late,) = (fit_remarks(NAME, SETTINGS, BOOK, feeds, when) for when in (END - 1, END))
    assert "the prior has seen bars up to 2026-01-16T00:00:00Z, so it serves no earlier prompts" in early
    assert late.startswith("seasonal-har: no fit of its own: it uses the prior")
    state, newest = from_then.state_of(market(2, begin=END - 2 * DAY)), END - MINUTE
    with pytest.raises(ForecasterError, match="it refuses prompts from before the end of its fit"):
        from_then.paths(state, newest, Prompt(END, "x", asset, END - 1, 300, DAY, 10), 1)


@pytest.mark.ci
def test_a_fit_that_ends_before_the_prior_is_made_without_it() -> None:
    bars = {"BTC": market(8, begin=END - 8 * DAY)}
    one, early = (make_artifact(NAME, bars, SETTINGS, BOOK, end=end) for end in (END, END - MINUTE))
    without = make_artifact(NAME, bars, SETTINGS.with_flags({"fit.prior": ""}), BOOK, end=END)
    assert SHIPPED is not None
    assert (one.prior, early.prior, without.prior) == (SHIPPED.fit.digest, "", "")
    assert early.fit.numbers["assets"]["BTC"]["own"] == 1.0 > one.fit.numbers["assets"]["BTC"]["own"]
    assert without.fit.numbers["assets"] != one.fit.numbers["assets"]


def test_another_artifact_can_be_the_prior(tmp_path: Path) -> None:
    path = str(write_artifact(har.artifact(), tmp_path))
    other = SETTINGS.with_flags({"fit.prior": path})
    found = prior_at(NAME, other, 0)
    assert found is not None
    assert found.fit.numbers == har.numbers()
    assert prior_of("ewma", other) is None
    named = other.with_flags({"fit.artifacts": [path], "fit.prior": "shipped"})
    assert artifact_at(NAME, named, END) == found


def test_a_prior_of_which_a_number_was_changed_is_refused(tmp_path: Path) -> None:
    (path,) = FOLDER.glob("*.json")
    changed = tmp_path / path.name
    changed.write_bytes(path.read_bytes().replace(b"2026-01-16", b"2025-01-16", 1))  # as if it had seen less
    with pytest.raises(ForecasterError, match="does not match the digest in its name"):
        prior_of(NAME, SETTINGS.with_flags({"fit.prior": str(changed)}))


def test_a_prior_with_other_features_is_refused_by_a_fit() -> None:
    """Planted: curves without trends, as an earlier version made them."""
    assert SHIPPED is not None
    prior = orjson.loads(orjson.dumps(SHIPPED.fit.numbers))
    curve = prior["pooled"]["crypto"]["curves"]["60"]
    curve["trends"], curve["slopes"] = [], [row[:4] for row in curve["slopes"]]
    with pytest.raises(ForecasterError, match=r"the prior's curves are of another version: make it again"):
        fit({"BTC": market(8)}, ASSETS, end=END + 8 * DAY, prior=prior)


def test_a_prior_that_has_seen_bars_after_its_end_is_refused(tmp_path: Path) -> None:
    """Planted: bars of a later day."""
    seen = {"BTC": {"bars": 1, "first": iso(END), "last": iso(END + DAY), "sha256": ""}}
    path = write_artifact(Artifact(NAME, Fit(END, har.numbers(), ""), "pyth", seen), tmp_path)
    with pytest.raises(ForecasterError, match=r"it saw bars up to 2026-01-17T00:00:00Z, after its end, 2026-01-16"):
        load_model(NAME, BOOK.asset("BTC"), SETTINGS.with_flags({"fit.prior": str(path)}), END)


# --------------------------------------------------------------------------------------------------- how it shrinks


def test_the_shorter_the_history_the_nearer_the_fit_is_to_the_prior(fitted: Mapping[int, Any]) -> None:
    assert SHIPPED is not None
    prior = SHIPPED.fit.numbers["pooled"]["crypto"]

    def distances(numbers: Any) -> list[float]:
        own = numbers["assets"]["BTC"]
        season = np.log(own["season"]["level"]) - np.log(prior["season"]["level"])
        slopes = [
            np.abs(np.array(own["curves"][s]["slopes"]) - prior["curves"][s]["slopes"]).max() for s in own["curves"]
        ]
        shocks = [abs(np.log(own["shocks"][s]["scale"] / prior["shocks"][s]["scale"])) for s in own["shocks"]]
        return [float(np.std(season)), *slopes, *shocks]

    near, far = (distances(fitted[days]) for days in (8, 70))
    assert all(a < b for a, b in zip(near, far, strict=True))
    assert fitted[8]["assets"]["BTC"]["own"] < 0.2 < 0.6 < fitted[70]["assets"]["BTC"]["own"]


@pytest.mark.parametrize(("like", "low", "high"), [(True, 0.19, 0.45), (False, 0.8, 1.0)])
def test_a_week_of_an_asset_unlike_its_class_outweighs_the_priors_day(like: bool, low: float, high: float) -> None:
    """Synthetic: returns with the prior's parts of the day, and without any, as an index among stocks."""
    target = Season(**SHIPPED.fit.numbers["pooled"]["equity"]["season"]) if SHIPPED else None
    assert target is not None
    target = replace(target, level=np.array(target.level), minute=np.ones(60))
    plain = market(7)
    size = np.sqrt(target.variance(plain.timestamp)) if like else np.ones(len(plain))
    moved = np.diff(np.log(plain.close), prepend=np.log(100.0)) * size
    bars = Bars.from_closes(plain.timestamp, 100.0 * np.exp(np.cumsum(moved)))
    own = day_seasons({"SPYX": bars})["SPYX"]
    assert low < season_share(bars, own, target) < high
    assert season_share(bars, replace(own, clock="week"), replace(target, clock="week")) == pytest.approx(1 / 7)


def test_a_class_that_the_fit_lacks_keeps_its_prior_and_says_so(fitted: Mapping[int, Any]) -> None:
    assert SHIPPED is not None
    numbers = fitted[8]
    assert numbers["pooled"]["metal"] == SHIPPED.fit.numbers["pooled"]["metal"]
    assert (
        SeasonalHar(BOOK.asset("XAU")).fit_remark(numbers)
        == "XAU was not fitted: it uses the prior of its class (metal)"
    )
    assert (
        SeasonalHar(BOOK.asset("ETH")).fit_remark(numbers).startswith("ETH was not fitted: it uses the mean fit of 1")
    )
    assert SeasonalHar(BOOK.asset("BTC")).fit_remark(numbers) == ""


def test_a_homogeneous_curve_has_the_value_of_its_curve_where_it_was_made() -> None:
    curve = Curve(np.array([5.0, 60.0]), (1800, 259_200), np.array([-0.7, -0.2]), np.array([[0.5, 0.3], [0.2, 0.6]]))
    logs, tau = np.log([2e-4, 5e-4]), np.array([5.0, 60.0])
    same = curve.homogeneous(logs)
    np.testing.assert_allclose(same.at(logs, tau), curve.at(logs, tau))
    np.testing.assert_allclose(same.slopes.sum(axis=1), 1.0)
    np.testing.assert_allclose(same.at(logs + 1.0, tau), same.at(logs, tau) + 1.0)


# ----------------------------------------------------------------------------------------------- the venue's level


@pytest.mark.parametrize("lag", [-0.2, 0.0, 0.3])
def test_smoothness_is_how_far_prices_move_in_minutes_beside_one(lag: float) -> None:
    model = Model.of(NAME, BOOK.asset("BTC"), SETTINGS)
    state = model.state_of(market(14, lag=lag))
    keep = 0.5 ** (1 / 5)
    # variance of the decaying sum of a moving average, over that of one return
    expected = np.sqrt(1 + 2 * keep * lag / (1 + lag**2))
    assert smoothness(state) == pytest.approx(expected, rel=0.03)
    assert state[hk.COUNT] == 14 * 1440 - 1


def test_gaps_do_not_look_smooth() -> None:
    bars = market(14)
    kept = np.random.default_rng(1).random(len(bars)) > 0.3
    state = Model.of(NAME, BOOK.asset("BTC"), SETTINGS).state_of(
        Bars.from_closes(bars.timestamp[kept], bars.close[kept])
    )
    assert smoothness(state) == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("step", [300, 60])
def test_a_fit_of_smooth_closes_is_not_too_wide_on_jumpy_ones(step: int) -> None:
    """What Pyth's gold does to a perpetual's: the planted defect is the same fit without its smoothness."""
    smooth, plain = market(70, lag=0.45), market(14)
    numbers = fit({"XAU": smooth}, ASSETS, end=END + 70 * DAY)
    asset = BOOK.asset("XAU")
    model = Model.of(NAME, asset, SETTINGS, Fit(END, numbers, ""))
    entry = numbers["assets"]["XAU"]
    assert entry["smoothness"] == pytest.approx(1.29, abs=0.03)
    blind = {**numbers, "assets": {"XAU": {k: v for k, v in entry.items() if k != "smoothness"}}}
    naive = Model.of(NAME, asset, SETTINGS, Fit(END, blind, ""))
    found, wide = (np.exp(np.log(volatility(m, plain, step)).mean()) for m in (model, naive))
    assert wide / found == pytest.approx(1.29 ** SMOOTHED[step], rel=0.04)


def test_an_artifact_of_another_feed_says_so(tmp_path: Path) -> None:
    bars = {"BTC": market(8)}
    made = make_artifact(NAME, bars, SETTINGS, BOOK, end=END + 8 * DAY, feed="pyth")
    own = SETTINGS.with_flags({"fit.artifacts": [str(write_artifact(made, tmp_path))]})
    assert fit_remarks(NAME, own, BOOK, {"BTC": "pyth"}, END + 9 * DAY) == []
    (line,) = fit_remarks(NAME, own, BOOK, {"BTC": "binance"}, END + 9 * DAY)
    assert line.startswith("seasonal-har: fitted on pyth, and serves binance (BTC)")


# ------------------------------------------------------------------------------------------------ what users are told


def test_a_replay_whose_bars_are_too_few_for_a_fit_is_served_by_the_prior_and_says_so() -> None:
    refitted = SETTINGS.with_flags({"fit.every": "1d"})
    history: Any = SimpleNamespace(bars={"BTC": market(3)}, feed="pyth")
    fits = Refits(NAME, refitted, BOOK, history, ["BTC"])
    fit = fits.model_at(END + 3 * DAY, "BTC").fit
    assert SHIPPED is not None
    assert fit == SHIPPED.fit
    assert fits.remarks == {"too few bars for a fit: the prior serves": 1}
    history.bars = {"BTC": market(3, begin=END - 3 * DAY)}
    assert fits.model_at(END - DAY, "BTC").fit is None


def test_the_summary_of_a_fit_says_how_much_of_it_is_prior(fitted: Mapping[int, Any]) -> None:
    seen = {"BTC": {"bars": 8 * 1440, "first": iso(END), "last": iso(END + 8 * DAY)}}
    table = SeasonalHar(BOOK.asset("BTC")).fit_table(fitted[8])
    assert table["BTC"]["own"] == "16 %"
    texts = [
        fit_text(Artifact(NAME, Fit(END + 8 * DAY, fitted[8], ""), "pyth", seen, prior), table, {}, "fits/x.json", 1.0)
        for prior in ("67daf09c", "")
    ]
    assert "shrunk towards the prior 67daf09c: `own` is the share" in texts[0]
    assert "prior" not in texts[1]


def test_a_miners_status_shows_what_its_fit_is() -> None:
    health = {"status": "ok", "synthetic": False, "chain_age": None, "uid": None, "market_time": "", "hotkey": ""}
    text = status_text(health | {"problems": [], "assets": {}, "notes": ["fitted on pyth, and serves binance (BTC)"]})
    assert "fitted on pyth, and serves binance (BTC)" in text
