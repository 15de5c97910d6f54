"""A forecaster fitted along a replay answers each prompt with a fit of its past, and of nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from typer.testing import CliRunner

import ewmalab as ew
from ewmalab.cli import app
from ewmalab.errors import ConfigError
from ewmalab.experiments.store import Experiment
from ewmalab.market.bars import Bars
from ewmalab.replay import fits as module
from ewmalab.replay.artifacts import write_artifact
from ewmalab.replay.fits import Refits, boundary, refit
from ewmalab.replay.plan import BacktestPlan, plan_backtest
from ewmalab.replay.reproduce import reproduce_prompts
from ewmalab.settings import LoadedSettings, load_settings
from ewmalab.times import DAY, parse_time

START = parse_time("2026-01-15")


@pytest.fixture(scope="module", autouse=True)
def each_fit_once() -> Iterator[None]:
    """Make each fit of these tests once; `test_seasonal_har` shows that a fit depends on the bars of its past alone."""
    made: dict[Any, Any] = {}

    def once(name: str, bars: Mapping[str, Bars], settings: LoadedSettings, *given: Any, end: int, feed: str) -> Any:
        values = settings.values
        seen = {asset: bars[asset].between(end - values.fit.history, end).digest() for asset in bars}
        parameters = values.seasonal_har.model_dump_json(), str(values.plugin), values.fit.history
        key = (name, *seen.items(), *parameters, end, feed)
        if key not in made:
            made[key] = refit(name, bars, settings, *given, end=end, feed=feed)
        return made[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "refit", once)
        yield


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> LoadedSettings:
    folder = tmp_path_factory.mktemp("refitted")
    return load_settings(
        environ={},
        flags={
            "data.feed": "simulated", "data.cache_dir": str(folder / "cache"), "fit.history": "9d",
            "run.experiments_dir": str(folder / "experiments"), "fit.every": "12h",
        },
    )  # fmt: skip


def plan_of(
    settings: LoadedSettings, *names: str, assets: tuple[str, ...] = ("BTC", "ETH"), **options: Any
) -> BacktestPlan:
    chosen: dict[str, Any] = {"competitions": ["1h"], "cadence": 3 * 3600, "num_simulations": 50} | options
    return plan_backtest(
        settings, start=START, days=1, forecasters=names or ("seasonal-har",), assets=list(assets),
        now=START + 30 * DAY, **chosen,
    )  # fmt: skip


@pytest.fixture(scope="module")
def own_cache(settings: LoadedSettings) -> str:
    """Where the experiment's bars are: other tests may extend the days of the shared cache."""
    return f"{settings.values.data.cache_dir}-experiment"


@pytest.fixture(scope="module")
def experiment(settings: LoadedSettings, own_cache: str) -> Experiment:
    return ew.backtest(
        "seasonal-har", "ewma", start="2026-01-15", days=1, assets=["BTC", "ETH"], competitions=["1h"], cadence="3h",
        num_simulations=50, settings=settings.with_flags({"data.cache_dir": own_cache}), workers=2,
    )  # fmt: skip


def scores(rows: Any) -> dict[tuple[str, str, int], float]:
    return {(row.forecaster, row.prompt.asset, row.prompt.start_time): row.score.total for row in rows}


EVERY = 12 * 3600
BEGINS = [boundary(START - 60, EVERY), START, START + EVERY]


def test_each_stretch_has_a_fit_of_its_own_past(settings: LoadedSettings) -> None:
    plan = plan_of(settings, "seasonal-har", "ewma")
    for group, prompts in plan.groups.items():
        ((fixed, items),) = plan.stretches("ewma", group)
        assert (fixed.name, fixed.fit, items) == ("ewma", None, prompts)
        stretches = list(plan.stretches("seasonal-har", group))
        ends = [model.fit.end for model, _ in stretches if model.fit]
        assert ends == BEGINS
        for end, (_, items) in zip(ends, stretches, strict=True):
            assert all(end <= item.prompt.request_time < end + EVERY for item in items)
        assert [item for _, items in stretches for item in items] == prompts


@pytest.mark.ci
def test_each_fit_is_made_once_whatever_the_number_of_groups(
    settings: LoadedSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends: list[int] = []
    make = module.make_artifact

    def counted(*given: Any, end: int, **options: Any) -> Any:
        ends.append(end)
        return make(*given, end=end, **options)

    monkeypatch.setattr(module, "make_artifact", counted)
    monkeypatch.setattr(module, "refit", refit)
    plan = plan_of(settings, competitions=["1h", "24h"])
    assert len(plan.groups) == 4
    plan.run(threads=2)
    assert ends == BEGINS
    plan.run(threads=1)
    assert ends == BEGINS


@pytest.mark.ci
def test_a_fit_is_made_while_the_prompts_before_it_are_answered(settings: LoadedSettings) -> None:
    plan = plan_of(settings, assets=("BTC",))
    (fits,) = plan.refits.values()
    for (model, _), following in zip(plan.stretches("seasonal-har", ("1h", "BTC")), BEGINS[1:], strict=False):
        assert model.fit is not None
        assert max(fits._made) == following  # the next one, and none after it
    assert sorted(fits._made) == BEGINS


def artifacts_of(plan: BacktestPlan, fits: Refits) -> list[Any]:
    return [fits.model_at(begin, "BTC").fit for begin in BEGINS]


@pytest.mark.ci
def test_it_scores_as_the_fits_one_by_one(settings: LoadedSettings, tmp_path: Path) -> None:
    plan = plan_of(settings, "seasonal-har", "ewma")
    rows = scores(plan.run(threads=2))
    assert rows == scores(plan_of(settings, "seasonal-har", "ewma").run(threads=1))
    fits = plan.refits["seasonal-har"]
    for begin in BEGINS:
        artifact = fits._start(begin).result()
        assert artifact is not None
        given = settings.with_flags({"fit.every": "0s", "fit.artifacts": [str(write_artifact(artifact, tmp_path))]})
        prompts = sorted(
            (i for items in plan.groups.values() for i in items if boundary(i.prompt.request_time, EVERY) == begin),
            key=lambda item: item.prompt,
        )
        alone = plan_backtest(given, start=START, days=1, forecasters=["seasonal-har"], scheduled=prompts)
        expected = scores(alone.run(threads=1))
        assert len(expected) == len(prompts) > 0
        assert all(rows[key] == value for key, value in expected.items())
    other = scores(plan_of(settings.with_flags({"fit.every": "1d"})).run(threads=1))
    changed = [key for key, value in other.items() if rows[key] != value]
    assert {start for _, _, start in changed} == {START, *range(START + 15 * 3600, START + DAY, 3 * 3600)}


@pytest.mark.ci
def test_what_comes_after_a_fit_changes_nothing(settings: LoadedSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "refit", refit)
    plan = plan_of(settings, assets=("BTC",))
    (fits,) = plan.refits.values()
    held = vars(fits.history)
    held["bars"] = {asset: Bars.from_closes(bars.timestamp, bars.close) for asset, bars in fits.history.bars.items()}
    before = artifacts_of(plan, fits)
    cut = START  # bars from here on are others
    held["bars"] = {
        asset: Bars.from_closes(bars.timestamp, np.where(bars.timestamp >= cut, 2.0 * bars.close[::-1], bars.close))
        for asset, bars in fits.history.bars.items()
    }
    fits._made.clear()
    after = artifacts_of(plan, fits)
    assert [a == b for a, b in zip(before, after, strict=True)] == [True, True, False]


def test_the_record_names_the_bars_that_fits_have_seen(experiment: Experiment) -> None:
    seen = experiment.manifest["inputs"]["data"]
    names = {"simulated-7/BTC", "simulated-7/ETH"}
    assert seen.keys() == names | {f"{name}/fits" for name in names}
    assert "folder" not in experiment.manifest["inputs"]["settings"]["fit"]


def test_a_prompt_of_one_asset_can_be_reproduced(experiment: Experiment, own_cache: str) -> None:
    key = ("seasonal-har", "1h", "ETH", START + 15 * 3600)
    (fan,) = reproduce_prompts(experiment, own_cache, [key])
    assert fan.paths.shape == (61, 50)


def test_without_bars_enough_it_forecasts_all_the_same_and_says_so(settings: LoadedSettings) -> None:
    first = settings.with_flags({"data.cache_dir": str(settings.values.data.cache_dir) + "-short"})
    plan = plan_of(first, assets=("BTC",))
    (fits,) = plan.refits.values()
    vars(fits.history)["bars"] = {asset: bars.rows(0, 100) for asset, bars in fits.history.bars.items()}
    rows = plan.run(threads=1)
    assert all(row.score is not None for row in rows)
    ((remark, count),) = fits.remarks.items()
    assert remark.startswith("BTC: not fitted yet")
    assert count == 3


@pytest.mark.ci
def test_a_sweep_keeps_to_one_fit(settings: LoadedSettings, tmp_path: Path) -> None:
    common: dict[str, Any] = {
        "forecaster": "seasonal-har", "start": "2026-01-15", "days": 0.5, "assets": ["BTC"], "competitions": ["1h"],
        "name": None,
    }  # fmt: skip
    with pytest.raises(ConfigError, match="a sweep uses one fit"):
        ew.sweep({"volatility_scale": [0.9, 1.0]}, settings=settings, **common)
    with pytest.raises(ConfigError, match="compare backtests with --refit"):
        ew.sweep({"fit.every": ["1d", "2d"]}, settings=settings, **common)
    (fits,) = plan_of(settings).refits.values()
    path = write_artifact(fits._start(BEGINS[0]).result(), tmp_path)  # type: ignore[arg-type]
    one = settings.with_flags({"fit.every": "0s", "fit.artifacts": [str(path)]})
    swept = ew.sweep({"volatility_scale": [0.25, 1.0, 4.0]}, settings=one, **common)
    assert swept.cells[0].values[swept.cells[0].best].value == (("seasonal_har.volatility_scale", 1),)


@pytest.mark.ci
def test_commands_fit_along_the_way_and_check_it(settings: LoadedSettings) -> None:
    flags = [f"--set={key}={value}" for key, value in (
        ("data.cache_dir", settings.values.data.cache_dir),
        ("run.experiments_dir", settings.values.run.experiments_dir),
        ("fit.history", "9d"),
    )]  # fmt: skip
    flags += ["--feed", "simulated", "--start", "2026-01-15", "--days", "0.5", "--assets", "BTC", "--json"]
    run = CliRunner()
    done = run.invoke(app, ["backtest", "-f", "seasonal-har", "--refit", "1d", "--competitions", "1h", *flags])
    assert done.exit_code == 0, done.output
    assert orjson.loads(done.stdout)["summary"]
    flags.append("--set=fit.every=1d")
    checked = run.invoke(
        app, ["check", "lookahead", "-f", "seasonal-har", "--competitions", "1h", "--cuts", "2", *flags]
    )
    assert checked.exit_code == 0, checked.output
    assert orjson.loads(checked.stdout)["forecasts"] > 0
