"""Exports: an experiment as a run of MLflow."""

from __future__ import annotations

import sys
from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner

import ewmalab as ew
from ewmalab.cli import app
from ewmalab.errors import ExperimentError
from ewmalab.experiments import mlflow as exports
from ewmalab.experiments.store import Experiment
from ewmalab.settings import load_settings

# MLflow's own, of the database it keeps
pytestmark = [pytest.mark.ci, pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")]


@pytest.fixture
def experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Experiment:
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")  # nothing here may look for the network
    monkeypatch.chdir(tmp_path)  # MLflow puts artifacts of a database below the working directory
    settings = load_settings(environ={}, flags={"data.feed": "simulated"})
    return ew.backtest(
        "ewma@seed",
        "random-walk",
        start="2026-01-15",
        days=0.25,
        assets=["BTC"],
        competitions=["1h"],
        cadence="1h",
        num_simulations=50,
        settings=settings,
        workers=1,
    )


def test_a_run_has_settings_means_and_files_and_is_logged_once(experiment: Experiment, tmp_path: Path) -> None:
    from mlflow.tracking import MlflowClient

    uri = f"sqlite:///{tmp_path / 'runs.db'}"
    run_id, new = exports.export(experiment, uri, "of the test")
    assert new
    assert exports.export(experiment, uri, "of the test") == (run_id, False)
    client = MlflowClient(tracking_uri=uri)
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.data.tags["hash"] == experiment.manifest["hash"]
    assert run.data.tags["synthetic"] == "true"
    assert run.data.params["data.feed"] == "simulated"
    assert run.data.params["ewma.half_life_1m.default"] == "30m"
    means = {row["forecaster"].replace("@", "_"): row["mean_crps"] for row in experiment.summary}
    assert run.data.metrics == {f"mean_crps/1h/BTC/{name}": value for name, value in means.items()}
    assert {artifact.path for artifact in client.list_artifacts(run_id)} == {p.name for p in experiment.path.iterdir()}


def test_the_command_says_what_it_did(experiment: Experiment, tmp_path: Path) -> None:
    arguments = ["experiments", "export", "latest", "--mlflow", f"sqlite:///{tmp_path / 'runs.db'}", "--json"]
    told = [orjson.loads(CliRunner().invoke(app, arguments).stdout) for _ in range(2)]
    assert [t["new"] for t in told] == [True, False]
    assert told[0]["run"] == told[1]["run"]
    assert told[0]["experiment"] == experiment.name


def test_a_store_that_cannot_be_used_is_named(experiment: Experiment) -> None:
    with pytest.raises(ExperimentError, match="nosuchscheme"):
        exports.export(experiment, "nosuchscheme://somewhere")


def test_without_mlflow_the_remedy_is_told(experiment: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow.tracking", None)
    with pytest.raises(ExperimentError, match=r"pip install \"ewmalab\[mlflow\]\""):
        exports.export(experiment, "sqlite:///x.db")
