"""``ewmalab experiments``: finished runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ewmalab import api
from ewmalab.cli import common, complete

app = typer.Typer(
    no_args_is_help=True,
    help="List, show, tag, compare and remove experiments.",
    epilog="Example:  ewmalab experiments show latest",
)


_Yes = Annotated[bool, typer.Option("--yes", help="Delete them; without it, they are only named.")]


@app.command("list")
def list_(
    tag: Annotated[
        str | None, typer.Option(help="Only those with this tag.", autocompletion=complete.names("tags"))
    ] = None,
    json: common.Json = False,
    config: common.ConfigFile = None,
    set_: common.Assignments = None,
) -> None:
    """List experiments with kinds, scores and tags, oldest first.

    Example:

      ewmalab experiments list
    """
    common.show(api.list_experiments(common.settings(config, set_), tag), json)


@app.command()
def index(
    reports: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the reports.")] = Path("reports"),
    json: common.Json = False,
    config: common.ConfigFile = None,
    set_: common.Assignments = None,
) -> None:
    """Write index.html: all experiments, to sort by score, linked to their reports.

    Example:

      ewmalab experiments index
    """
    common.show(api.index_experiments(reports=reports, settings=common.settings(config, set_)), json)


@app.command()
def tag(
    experiment: common.ExperimentName,
    tags: Annotated[
        list[str] | None,
        typer.Argument(metavar="[TAG ...]", help="Tags to add.", autocompletion=complete.names("tags")),
    ] = None,
    remove: Annotated[
        list[str] | None,
        typer.Option(metavar="TAG", help="Tag to remove. Repeatable.", autocompletion=complete.names("tags")),
    ] = None,
    json: common.Json = False,
    config: common.ConfigFile = None,
    set_: common.Assignments = None,
) -> None:
    """Tag an experiment; `prune` keeps what has a tag.

    Example:

      ewmalab experiments tag latest baseline
    """
    settings = common.settings(config, set_)
    common.show(api.tag_experiment(experiment, tags or [], remove=remove or [], settings=settings), json)


@app.command()
def diff(
    first: common.ExperimentName,
    second: common.ExperimentName,
    json: common.Json = False,
    config: common.ConfigFile = None,
    set_: common.Assignments = None,
) -> None:
    """Show in which inputs, settings and versions two experiments differ.

    Example:

      ewmalab experiments diff 1a2b3c4d latest
    """
    common.show(api.diff_experiments(first, second, settings=common.settings(config, set_)), json)


@app.command()
def rm(
    experiments: Annotated[
        list[str],
        typer.Argument(metavar="EXPERIMENT...", help="As for `show`.", autocompletion=complete.names("experiments")),
    ],
    yes: _Yes = False,
    json: common.Json = False,
    config: common.ConfigFile = None,
    set_: common.Assignments = None,
) -> None:
    """Delete experiments.

    Example:

      ewmalab experiments rm 1a2b3c4d --yes
    """
    settings = common.settings(config, set_)
    common.show(api.remove_experiments(*experiments, settings=settings, dry_run=not yes), json)


@app.command()
def prune(
    keep: Annotated[int, typer.Option(min=0, help="How many of the newest stay.")],
    yes: _Yes = False,
    json: common.Json = False,
    config: common.ConfigFile = None,
    set_: common.Assignments = None,
) -> None:
    """Delete all experiments but the newest, and but those that have tags.

    Example:

      ewmalab experiments prune --keep 20 --yes
    """
    common.show(api.prune_experiments(keep, settings=common.settings(config, set_), dry_run=not yes), json)


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
