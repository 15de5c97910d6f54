"""What the package promises to those who import it."""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
import pkgutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from typing import Any

import orjson
import pytest

import ewmalab
from ewmalab import api
from ewmalab.errors import ConfigError
from ewmalab.report.pages.render import render_page
from ewmalab.settings import LoadedSettings

MODULES = sorted(m.name for m in pkgutil.walk_packages(ewmalab.__path__, "ewmalab.") if m.name != "ewmalab.__main__")


def test_the_public_names_are_pinned() -> None:
    names = """
        Bars Ewma EwmalabError Experiment Forecaster Prompt Prompts Questions RandomStream RandomWalk Result
        ScaleFree SweepResult TrackRecord backtest check_field check_forecaster check_lookahead check_parity
        check_warmup compare crps export_bars export_experiment export_field fetch_bars fetch_field field_miner fit
        import_bars import_field leaderboard list_bars list_experiments list_field load_bars load_experiment
        load_rulebook load_settings make_forecaster make_prompt predict probe rehearse repair_bars score score_paths
        settings_with_bars sweep track_record tune validate verify_bars write_config write_report
    """
    assert sorted(ewmalab.__all__) == names.split()


def test_type_checkers_see_the_names_of_the_api_that_there_are() -> None:
    tree = ast.parse(inspect.getsource(api))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    seen = {name.name: str(node.module) for node in imports for name in node.names}
    assert sorted(seen) == sorted(api.__all__)
    for name, module in seen.items():
        assert getattr(api, name) is getattr(importlib.import_module(module), name)


@pytest.mark.parametrize("name", ewmalab.__all__)
def test_every_public_name_is_there_and_documented(name: str) -> None:
    assert getattr(ewmalab, name).__doc__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = ewmalab.nothing


def test_no_package_hides_a_public_name() -> None:
    for name in MODULES:
        importlib.import_module(name)
    assert all(callable(getattr(ewmalab, name)) for name in ewmalab.__all__)
    assert all(callable(getattr(api, name)) for name in api.__all__)


HEAVY = [
    "numpy",
    "pandas",
    "pyarrow",
    "numba",
    "scipy",
    "requests",
    "exchange_calendars",
    "arch",
    "optuna",
    "joblib",
    "distributed",
    "matplotlib",
]
COMPILING = ["numba", "arch", "scipy.stats", "matplotlib"]  # or as slow to import
LOOK_UP = "import sys; sys.argv[1:] = {}; from ewmalab.cli import app; app(standalone_mode=False)"


@pytest.mark.ci
@pytest.mark.parametrize(
    ("statement", "heavy"),
    [
        ("import ewmalab", [*HEAVY, "pydantic"]),
        ("import ewmalab.api", [*HEAVY, "pydantic"]),
        ("import ewmalab.cli", [*HEAVY, "pydantic"]),
        (LOOK_UP.format(["config", "show"]), HEAVY),
        (LOOK_UP.format(["rules", "show"]), HEAVY),
        ("import ewmalab.live.supervisor", [*HEAVY, "pydantic", "typer"]),
        ("from ewmalab.api import compare, list_bars, list_experiments", COMPILING),
        ("from ewmalab.inference import confidence_set, paired_tests", COMPILING),
    ],
)
def test_importing_and_looking_up_load_nothing_heavy(statement: str, heavy: list[str], tmp_path: Path) -> None:
    code = f"{statement}; import sys; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.splitlines()[-1] == "[]"


LIVE_LACKS = ["pandas", "exchange_calendars", "scipy.optimize", "scipy.stats", "arch", "optuna", "joblib", "matplotlib"]
UPDATE = ["live", "updater", "--one-shot", "--feed", "simulated", "--assets", "BTC,NVDAX"]


@pytest.mark.ci
@pytest.mark.parametrize(
    ("statement", "lacking"),
    [
        (LOOK_UP.format(UPDATE), [*LIVE_LACKS, "uvicorn", "bittensor"]),  # an update reads and writes the cache
        ("import ewmalab.api.live, ewmalab.live.miner.process", [*LIVE_LACKS, "pyarrow"]),
    ],
)
def test_live_processes_load_only_what_they_need(statement: str, lacking: list[str], tmp_path: Path) -> None:
    code = f"{statement}; import sys; print([m for m in {lacking} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.splitlines()[-1] == "[]"


# -------------------------------------------------------------------------------------------------- results


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> LoadedSettings:
    folder = tmp_path_factory.mktemp("api")
    flags = {
        "data.feed": "simulated",
        "data.cache_dir": str(folder / "cache"),
        "run.experiments_dir": str(folder / "experiments"),
    }
    return ewmalab.load_settings(environ={}, flags=flags)


SHORT: dict[str, Any] = {"days": 0.1, "assets": "btc", "competitions": "1h"}
STEPS: dict[str, Callable[[LoadedSettings], Any]] = {
    "backtest": lambda s: ewmalab.backtest("ewma", "random-walk", **SHORT, settings=s),
    "check_forecaster": lambda s: ewmalab.check_forecaster("random-walk", settings=s),
    "check_lookahead": lambda s: ewmalab.check_lookahead("ewma", **SHORT, cuts=1, settings=s),
    "check_warmup": lambda s: ewmalab.check_warmup("ewma", **SHORT, settings=s),
    "compare": lambda s: ewmalab.compare("random-walk", "ewma", **SHORT, settings=s),
    "crps_test": lambda s: api.crps_test(**SHORT, cadence="1h", settings=s),
    "fetch_bars": lambda s: ewmalab.fetch_bars("2026-01-15", 0.1, assets="BTC", settings=s),
    "leaderboard": lambda s: ewmalab.leaderboard(
        "ewma", "random-walk", **SHORT, questions=ewmalab.Questions(emission=10.0), settings=s
    ),
    "list_bars": lambda s: ewmalab.list_bars(settings=s),
    "list_experiments": lambda s: ewmalab.list_experiments(s),
    "load_experiment": lambda s: ewmalab.load_experiment(settings=s),
    "repair_bars": lambda s: ewmalab.repair_bars(settings=s),
    "show_rules": lambda _: api.show_rules("2026-01-15"),
    "show_settings": lambda s: api.show_settings(s),
    "sweep": lambda s: ewmalab.sweep({"nu_1m": [4, 8]}, **SHORT, settings=s),
    "sweep that is not kept": lambda s: ewmalab.sweep({"nu_1m": [4, 8]}, **SHORT, name=None, settings=s),
    "tune": lambda s: ewmalab.tune({"nu_1m": [4, 8]}, **SHORT | {"days": 0.5}, trials=2, settings=s),
    "verify_bars": lambda s: ewmalab.verify_bars(settings=s),
}


@pytest.mark.parametrize(
    "step",
    [pytest.param(s, marks=pytest.mark.ci if s in ("check_lookahead", "check_forecaster") else ()) for s in STEPS],
)
def test_every_result_is_a_text_plain_data_and_a_page(step: str, settings: LoadedSettings) -> None:
    result = STEPS[step](settings)
    assert isinstance(result, ewmalab.Result)
    assert result.text().endswith("\n")
    assert orjson.loads(orjson.dumps(result.json())) is not None
    page = render_page([result.page()])
    assert page.startswith("<!doctype html>")
    assert "<table>" in page or "<dt>" in page or not result.json()
    assert result.ok is True
    with pytest.raises(FrozenInstanceError):
        result.anything = 1


def test_names_may_be_a_sequence_or_a_text_in_any_case(settings: LoadedSettings) -> None:
    prompts: dict[str, Any] = {"days": 0.05, "cadence": "20m", "num_simulations": 20}
    one = ewmalab.backtest("ewma", assets="btc, ETH", competitions="1h", settings=settings, **prompts)
    other = ewmalab.backtest("ewma", assets=["BTC", "ETH"], competitions=["1h"], settings=settings, **prompts)
    assert one.manifest["hash"] == other.manifest["hash"]
    assert {row["asset"] for row in one.summary} == {"BTC", "ETH"}


def test_progress_is_told_what_is_done_and_how_much_there_is(settings: LoadedSettings) -> None:
    told: list[tuple[int, int]] = []
    ewmalab.backtest("ewma", **SHORT, settings=settings, progress=lambda done, total: told.append((done, total)))
    assert told[-1][0] == told[-1][1] > 0
    assert told == sorted(told)


def test_a_comparison_names_its_reference_and_has_a_frame(settings: LoadedSettings) -> None:
    experiment = ewmalab.backtest("ewma", "random-walk", **SHORT, settings=settings)
    last = ewmalab.compare(experiment, settings=settings)
    named = ewmalab.compare(f"{experiment.path}/random-walk", f"{experiment.path}/ewma", settings=settings)
    assert (last.reference, named.reference) == ("random-walk", f"{experiment.path}/random-walk")
    assert last.frame["change"].tolist() == named.frame["change"].tolist()
    assert ewmalab.compare(experiment, baseline="ewma", settings=settings).reference == "ewma"
    with pytest.raises(ConfigError, match="'nobody' is not one of random-walk, ewma"):
        ewmalab.compare("random-walk", "ewma", **SHORT, baseline="nobody", settings=settings)
    with pytest.raises(ConfigError, match="at least two"):
        ewmalab.compare("ewma", settings=settings)


def test_a_sweep_that_is_to_go_on_is_the_one_that_was_asked_for(settings: LoadedSettings) -> None:
    asked = api.SweepRequest(
        {"half_life_1m": ["10m"], "nu_1m": None},
        settings.with_flags({"feeds.pyth.api_key": "secret"}),
        {"start": "2026-01-15", "days": 2.0, "assets": ["BTC"]},
        "ewma@seed",
        replicates=3,
        walk_forward="1d/1d",
        write_config=Path("tuned.toml"),
    )
    data = orjson.dumps(asked.plain())
    assert b"secret" not in data
    again = api.SweepRequest.of_plain(orjson.loads(data))
    assert replace(again, settings=settings) == replace(asked, settings=settings)
    assert again.settings.values == settings.values


def test_a_report_takes_results_beside_names_and_is_a_path(settings: LoadedSettings, tmp_path: Path) -> None:
    experiment = ewmalab.backtest("ewma", **SHORT, settings=settings)
    rules = api.show_rules("2026-01-15")
    told: list[tuple[int, int]] = []
    report = ewmalab.write_report(
        rules, experiment, folder=tmp_path, settings=settings, progress=lambda *both: told.append(both)
    )
    assert report.sources == ["Rules", experiment.name]
    assert Path(report) == tmp_path / "report.html"
    assert told[-1] == (report.figures, report.figures)
    assert experiment.name in Path(report).read_text()


@pytest.mark.parametrize("name", ["ewmalab", *MODULES])
def test_the_examples_in_docstrings_are_true(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0
