"""A plug-in with a fit is fitted, replayed, checked, swept and reproduced as `seasonal-har` is."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

import ewmalab as ew
from ewmalab.errors import ForecasterError
from ewmalab.experiments.store import find_experiment
from ewmalab.market.bars import Bars
from ewmalab.replay.artifacts import read_artifact, write_artifact
from ewmalab.replay.fits import artifact_of, load_model, make_artifact
from ewmalab.replay.plan import BacktestPlan, plan_backtest
from ewmalab.replay.reproduce import reproduce_prompts
from ewmalab.rulebook import load_rulebook
from ewmalab.settings import LoadedSettings, load_settings
from ewmalab.sweeps.scores import score_trials
from ewmalab.sweeps.trials import ResolvedTrial, Trial
from ewmalab.sweeps.workload import Workload
from ewmalab.times import DAY, MINUTE, parse_time

BOOK = load_rulebook()
START = parse_time("2026-01-15")
NOW = START + 30 * DAY
FIRST = START - 10 * DAY  # of the bars that are fitted
MODULE = "a_plug_in_with_a_fit"
NAME, OTHER = f"{MODULE}:MeanMove", f"{MODULE}:Doubled"
SOURCE = '''
import copy

import numpy as np

from ewmalab.errors import ForecasterError, MissingDataError


class MeanMove:
    """Normal steps; their mean absolute size is that of the minutes that were fitted, by asset."""

    def __init__(self, asset, *, scale=1.0):
        self.asset, self.scale, self.mean = asset, scale, 1e-3

    def fit(self, bars, assets, *, end, prior=None):
        found = {asset: own for asset, own in bars.items() if len(own) > 1000}
        if not found:
            raise MissingDataError("too few bars")
        return {"mean": {asset: float(np.abs(np.diff(np.log(own.close))).mean()) for asset, own in found.items()}}

    def with_fit(self, numbers):
        if self.asset.symbol not in numbers["mean"]:
            raise ForecasterError(f"{self.asset.symbol} was not fitted")
        other = copy.copy(self)
        other.mean = numbers["mean"][self.asset.symbol]
        return other

    def initial_state(self):
        return 0

    def update(self, state, bars):
        return state + len(bars)

    def simulate(self, state, prompt, stream):
        sigma = self.scale * self.mean * np.sqrt(np.pi / 2 * prompt.time_increment / 60)
        steps = stream.generator().standard_normal((prompt.steps, prompt.num_simulations)) * sigma
        return np.concatenate([np.zeros((1, prompt.num_simulations)), steps.cumsum(axis=0)]).astype(np.float32)

    def dump_state(self, state):
        return {"version": 1, "count": state}

    def load_state(self, data):
        return data["count"]


class Doubled(MeanMove):
    def fit(self, bars, assets, *, end, prior=None):
        found = super().fit(bars, assets, end=end)
        return {"mean": {asset: 2 * mean for asset, mean in found["mean"].items()}}
'''


@pytest.fixture(scope="module", autouse=True)
def plug_in(folder: Path) -> Iterator[None]:
    (folder / f"{MODULE}.py").write_text(SOURCE)
    sys.path.insert(0, str(folder))
    yield
    sys.path.remove(str(folder))
    sys.modules.pop(MODULE, None)


@pytest.fixture(scope="module")
def settings(folder: Path) -> LoadedSettings:
    flags = {"data.feed": "simulated", "data.cache_dir": str(folder / "cache"), "fit.history": "8d"}
    return load_settings(
        environ={}, flags=flags | {"replay.request_lead": "60s", "run.experiments_dir": str(folder / "experiments")}
    )


@pytest.fixture(scope="module")
def bars(settings: LoadedSettings) -> dict[str, Bars]:
    return {asset: ew.load_bars(asset, FIRST, START, settings=settings) for asset in ("BTC", "ETH")}


def artifact(settings: LoadedSettings, bars: dict[str, Bars], folder: Path, end: int, name: str = NAME) -> str:
    return str(write_artifact(make_artifact(name, bars, settings, BOOK, end=end, feed="simulated-7"), folder))


@pytest.fixture(scope="module")
def fitted(settings: LoadedSettings, bars: dict[str, Bars], folder: Path) -> LoadedSettings:
    """Settings with an artifact of the days before the prompts."""
    return settings.with_flags({"fit.artifacts": [artifact(settings, bars, folder / "fits", START - MINUTE)]})


def plan_of(settings: LoadedSettings, *names: str, **options: Any) -> BacktestPlan:
    chosen: dict[str, Any] = {"start": START, "days": 1, "assets": ["BTC", "ETH"], "competitions": ["1h"]} | options
    return plan_backtest(
        settings, forecasters=names or (NAME,), cadence=3 * 3600, num_simulations=50, now=NOW, **chosen
    )


def mean_move(bars: Bars) -> float:
    return float(np.abs(np.diff(np.log(bars.close))).mean())


# ---------------------------------------------------------------------------------------------------- commands


def arguments(settings: LoadedSettings, **flags: Any) -> list[str]:
    given = {
        "data.cache_dir": settings.values.data.cache_dir,
        "run.experiments_dir": settings.values.run.experiments_dir,
        "fit.history": "8d",
        "replay.request_lead": "60s",
        **flags,
    }
    return [*(f"--set={key}={value}" for key, value in given.items()), "--feed", "simulated", "--json"]


@pytest.mark.ci
def test_the_command_fits_it_and_a_backtest_takes_the_artifact(
    ewmalab: Callable[..., Any], settings: LoadedSettings, bars: dict[str, Bars], folder: Path
) -> None:
    own = ["-f", NAME, "--assets", "BTC,ETH"]
    made = ewmalab("fit", "--start", "2026-01-05", "--days", "10", "-o", "given", *own, *arguments(settings))
    assert made.code == 0, made.err
    found = orjson.loads(made.out)
    assert (found["forecaster"], found["end"], found["assets"]) == (NAME, "2026-01-14T23:59:00Z", ["BTC", "ETH"])
    path = folder / found["artifact"]
    assert path.name.startswith("MeanMove-")
    assert path.parent == folder / "given"
    kept = read_artifact(str(path))
    assert kept.fit.numbers == {"mean": {asset: mean_move(own.known_at(START - MINUTE)) for asset, own in bars.items()}}
    prompts = ["--start", "2026-01-15", "--days", "0.25", "--competitions", "1h", "--simulations", "50"]
    without = ewmalab("backtest", *prompts, *own, *arguments(settings))
    assert without.code != 0
    assert f"{NAME} has not been fitted: run `ewmalab fit`" in without.err
    flags = arguments(settings, **{"fit.artifacts": f'["{path}"]'})
    done = ewmalab("backtest", "--cadence", "12m", *prompts, *own, *flags)
    assert done.code == 0, done.err
    assert {row["asset"] for row in orjson.loads(done.out)["summary"]} == {"BTC", "ETH"}
    checked = ewmalab("check", "lookahead", *prompts[:-2], "--cuts", "2", *own, *flags)
    assert checked.code == 0, checked.err
    assert orjson.loads(checked.out)["forecasts"] > 0


@pytest.mark.ci
def test_commands_fit_it_along_the_way_and_check_it(
    ewmalab: Callable[..., Any], settings: LoadedSettings, folder: Path
) -> None:
    own = ["-f", NAME, "-f", "random-walk", "--assets", "BTC", "--competitions", "1h", "--start", "2026-01-15"]
    refitted = ["--cadence", "12m", "--days", "2", "--refit", "1d", "--simulations", "50"]
    done = ewmalab("backtest", *refitted, *own, *arguments(settings))
    assert done.code == 0, done.err
    experiment = find_experiment(settings.values.run.experiments_dir, Path(orjson.loads(done.out)["experiment"]).name)
    assert experiment.manifest["inputs"]["settings"]["fit"]["every"] == "1d"
    keys = [(NAME, "1h", "BTC", START + hours * 3600) for hours in (0, 1, 30)]
    again = reproduce_prompts(experiment, settings.values.data.cache_dir, keys)
    assert [one.start_time for one in again] == [start for *_, start in keys]
    spreads = [float(np.diff(one.paths, axis=0).std()) for one in again]
    assert len(set(np.round(spreads, 8))) == 3  # three fits, of three days
    checked = ewmalab(
        "check", "lookahead", "--days", "1.2", "--cuts", "2", *own, *arguments(settings, **{"fit.every": "1d"})
    )
    assert checked.code == 0, checked.err
    assert orjson.loads(checked.out)["leaks"] == []


# -------------------------------------------------------------------------------------------------- along the way


def test_each_prompt_is_answered_with_the_newest_fit_before_it(settings: LoadedSettings, bars: dict[str, Bars]) -> None:
    plan = plan_of(settings.with_flags({"fit.every": "12h", "fit.assets": ["BTC"]}), assets=["BTC"])
    whole = ew.load_bars("BTC", FIRST, START + DAY, settings=settings)
    ends = []
    for model, items in plan.stretches(NAME, ("1h", "BTC")):
        assert model.fit is not None
        end = model.fit.end
        assert all(end <= item.prompt.request_time < end + 12 * 3600 for item in items)
        assert model.fit.numbers == {"mean": {"BTC": mean_move(whole.between(end - 8 * DAY, end))}}
        ends.append(end)
    assert ends == [START - 12 * 3600, START, START + 12 * 3600]


def test_where_bars_are_too_few_for_a_fit_the_unfitted_forecaster_answers(settings: LoadedSettings) -> None:
    plan = plan_of(settings.with_flags({"fit.every": "12h"}), assets=["BTC"])
    (fits,) = plan.refits.values()
    vars(fits.history)["bars"] = {asset: own.rows(0, 100) for asset, own in fits.history.bars.items()}
    assert [model.forecaster.mean for model, _ in plan.stretches(NAME, ("1h", "BTC"))] == [1e-3] * 3  # type: ignore[attr-defined]
    assert all(row.score is not None for row in plan.run(threads=1))


# ------------------------------------------------------------------------------------------------------ artifacts


def test_prompts_of_a_backtest_with_an_artifact_are_reproduced(fitted: LoadedSettings, bars: dict[str, Bars]) -> None:
    experiment = ew.backtest(
        NAME, start=START, days=0.5, assets=["BTC", "ETH"], competitions=["1h"], cadence="3h", num_simulations=50,
        settings=fitted, workers=1,
    )  # fmt: skip
    (again,) = reproduce_prompts(experiment, fitted.values.data.cache_dir, [(NAME, "1h", "ETH", START + 3 * 3600)])
    sigma = mean_move(bars["ETH"].known_at(START - MINUTE)) * math.sqrt(math.pi / 2)
    assert np.diff(again.paths.astype(float), axis=0).std() == pytest.approx(sigma, rel=0.05)


def test_an_experiment_whose_artifact_is_gone_says_so(
    settings: LoadedSettings, bars: dict[str, Bars], tmp_path: Path
) -> None:
    path = artifact(settings, bars, tmp_path, START - 2 * MINUTE)
    experiment = ew.backtest(
        NAME, start=START, days=0.2, assets=["BTC"], competitions=["1h"], cadence="3h", num_simulations=50,
        settings=settings.with_flags({"fit.artifacts": [path]}), workers=1,
    )  # fmt: skip
    Path(path).unlink()
    read_artifact.cache_clear()
    with pytest.raises(ForecasterError, match=r"MeanMove-.*No such file.*`ewmalab fit` makes an artifact"):
        reproduce_prompts(experiment, settings.values.data.cache_dir, [(NAME, "1h", "BTC", START)])


@pytest.mark.parametrize("late", [1, DAY])
def test_a_prompt_from_before_the_end_of_the_fit_is_refused(
    settings: LoadedSettings, bars: dict[str, Bars], tmp_path: Path, late: int
) -> None:
    """Whoever asks: a replay, a sweep."""
    request = START - MINUTE
    path = artifact(settings, bars, tmp_path, request + late)
    seen = settings.with_flags({"fit.artifacts": [path], "plugin.scale": 1.0})
    with pytest.raises(ForecasterError, match=r"was fitted on bars up to .*: it refuses prompts"):
        plan_of(seen).run(threads=2)
    if late < DAY:  # later prompts are answered
        groups = {key: items[1:] for key, items in plan_of(seen).groups.items()}
        assert replace(plan_of(seen), groups=groups).run(threads=1)
    with pytest.raises(ForecasterError, match="it refuses prompts from before the end of its fit"):
        ew.sweep(
            {"scale": [0.5, 1.0]}, forecaster=NAME, start=START, days=0.2, assets=["BTC"], competitions=["1h"],
            cadence="1h", name=None, settings=seen,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("numbers", "where"),
    [
        ({"mean": {"BTC": math.nan}}, r"mean\.BTC is nan"),
        ({"mean": {"BTC": 1.0, "ETH": math.inf}}, r"mean\.ETH is inf"),
        ({"a": [1.0, [2.0, -math.inf]]}, r"a\[1\]\[1\] is -inf"),
        ({"a": (0.5, np.float64("nan"))}, r"a\[1\] is nan"),
    ],
)
def test_a_fit_whose_numbers_are_not_finite_is_an_error(
    settings: LoadedSettings, bars: dict[str, Bars], monkeypatch: pytest.MonkeyPatch, numbers: Any, where: str
) -> None:
    monkeypatch.setattr(f"{MODULE}.MeanMove.fit", lambda *_, **options: numbers)
    with pytest.raises(ForecasterError, match=rf"the fit of {NAME} failed: {where}; check the bars"):
        make_artifact(NAME, bars, settings, BOOK, end=START)
    with pytest.raises(ForecasterError, match=where):
        plan_of(settings.with_flags({"fit.every": "1d"})).run(threads=1)


@pytest.mark.parametrize("numbers", [{"a": {1, 2}}, {"a": np.zeros(3)}, {"a": np.float32(1)}, {"a": {1: 2.0}}])
def test_numbers_that_json_cannot_hold_are_an_error(
    settings: LoadedSettings, bars: dict[str, Bars], monkeypatch: pytest.MonkeyPatch, numbers: Any
) -> None:
    monkeypatch.setattr(f"{MODULE}.MeanMove.fit", lambda *_, **options: numbers)
    with pytest.raises(ForecasterError, match=rf"the fit of {NAME} returned what JSON cannot hold"):
        make_artifact(NAME, bars, settings, BOOK, end=START)


def test_what_has_no_fit_is_not_fitted(settings: LoadedSettings, bars: dict[str, Bars]) -> None:
    with pytest.raises(ForecasterError, match="ewma cannot be fitted: it has no methods `fit` and `with_fit`"):
        make_artifact("ewma", bars, settings, BOOK, end=START)


def test_two_artifacts_of_one_forecaster_are_an_error_and_of_two_forecasters_are_not(
    fitted: LoadedSettings, bars: dict[str, Bars], tmp_path: Path
) -> None:
    (first,) = fitted.values.fit.artifacts
    second = artifact(fitted, bars, tmp_path, START - 2 * MINUTE)
    other = artifact(fitted, bars, tmp_path, START - MINUTE, OTHER)
    with pytest.raises(ForecasterError, match=rf"fit\.artifacts names 2 artifacts of {NAME}: keep one"):
        plan_of(fitted.with_flags({"fit.artifacts": [first, other, second]}))
    both = fitted.with_flags({"fit.artifacts": [first, other], "presets.plugin.wide.scale": 3.0})
    mean = {name: load_model(name, BOOK.asset("BTC"), both, START).forecaster.mean for name in (NAME, OTHER)}  # type: ignore[attr-defined]
    assert mean[OTHER] == 2 * mean[NAME]
    assert artifact_of(f"{NAME}@wide", both) == artifact_of(NAME, both)
    assert plan_of(both, NAME, f"{NAME}@wide", OTHER).run(threads=1)


# --------------------------------------------------------------------------------------------------------- sweeps


def test_a_sweep_with_an_artifact_has_the_scores_of_a_backtest_and_finds_the_scale(fitted: LoadedSettings) -> None:
    plain = fitted.with_flags({"plugin.scale": 1.0})
    swept = ew.sweep(
        {"scale": [0.25, 1.0, 4.0]}, forecaster=NAME, start=START, days=1, assets=["BTC"], competitions=["1h"],
        cadence="3h", name=None, settings=plain,
    )  # fmt: skip
    cell = swept.cells[0]
    assert cell.values[cell.best].value == (("plugin.scale", 1),)
    workload = Workload.of(
        plain, NAME, start=START, days=1, assets=("BTC",), competitions=("1h",), cadence=3 * 3600, num_simulations=50
    )
    overrides = (("plugin.scale", 0.5),)
    (scores,) = score_trials([ResolvedTrial.of(workload, Trial("1h", "BTC", overrides), NOW)])
    rows = plan_of(plain.with_flags({"plugin.scale": 0.5}), assets=["BTC"]).run(threads=1)
    assert scores.tolist() == [row.score.total for row in rows if row.score]


def test_another_fit_is_another_trial(
    settings: LoadedSettings, fitted: LoadedSettings, bars: dict[str, Bars], tmp_path: Path
) -> None:
    other = settings.with_flags({"fit.artifacts": [artifact(settings, bars, tmp_path, START - 2 * MINUTE)]})
    names = [
        ResolvedTrial.of(
            Workload.of(one, NAME, start=START, days=0.2, assets=("BTC",), competitions=("1h",)),
            Trial("1h", "BTC", ()),
            NOW,
        ).name
        for one in (fitted, other)
    ]
    assert names[0] != names[1]
