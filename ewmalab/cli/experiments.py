"""``ewmalab experiments``: finished runs."""

from __future__ import annotations

from typing import Annotated

import typer

from ewmalab import api
from ewmalab.cli import common

app = typer.Typer(
    no_args_is_help=True, help="List and show experiments.", epilog="Example:  ewmalab experiments show latest"
)


@app.command("list")
def list_(json: common.Json = False, config: common.ConfigFile = None, set_: common.Assignments = None) -> None:
    """List experiments, oldest first.

    Example:

      ewmalab experiments list
    """
    common.show(api.list_experiments(common.settings(config, set_)), json)


@app.command()
def show(
    experiment: common.ExperimentName,
    json: common.Json = False,
    config: common.ConfigFile = None,
    set_: common.Assignments = None,
) -> None:
    """Print an experiment's results and provenance.

    Example:

      ewmalab experiments show latest
    """
    common.show(api.load_experiment(experiment, common.settings(config, set_)), json)


@app.command()
def export(
    experiment: common.ExperimentName,
    mlflow: Annotated[
        str,
        typer.Option(metavar="URI", help="Tracking server or store, e.g. http://127.0.0.1:5000, sqlite:///runs.db."),
    ],
    group: Annotated[str, typer.Option(help="Name of MLflow's experiment for the run.")] = "ewmalab",
    json: common.Json = False,
    config: common.ConfigFile = None,
    set_: common.Assignments = None,
) -> None:
    """Log an experiment as a run of MLflow: settings, mean CRPS, and its files.

    An experiment that is already there is not logged again.

    Example:

      ewmalab experiments export latest --mlflow sqlite:///mlflow.db
    """
    common.show(api.export_experiment(experiment, mlflow, group, settings=common.settings(config, set_)), json)
