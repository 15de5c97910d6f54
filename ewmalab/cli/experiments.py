"""``ewmalab experiments``: what has been run."""

from __future__ import annotations

from typing import Annotated

import typer

from ewmalab.cli import common

app = typer.Typer(
    no_args_is_help=True,
    help="List and show experiments.",
    epilog="Example:  ewmalab experiments show latest",
)


@app.command("list")
def list_(json: common.Json = False, config: common.ConfigFile = None, set_: common.Assignments = None) -> None:
    """List experiments, oldest first.

    Example:

      ewmalab experiments list
    """
    from ewmalab.errors import ExperimentError
    from ewmalab.experiments.store import list_experiments
    from ewmalab.times import iso

    root = common.settings(config, set_).values.run.experiments_dir
    rows = []
    for experiment in list_experiments(root):
        try:
            inputs = experiment.manifest["inputs"]
            rows.append(
                {
                    "name": experiment.name,
                    "start": iso(inputs["start"]),
                    "days": inputs["days"],
                    "forecasters": inputs["forecasters"],
                    "synthetic": inputs["synthetic"],
                }
            )
        except (ExperimentError, KeyError) as error:
            common.say(f"{experiment.name}: unreadable: {error}")
    if json:
        common.print_json(rows)
    elif rows:
        print(
            common.table(
                ("experiment", "from", "days", "forecasters"),
                (
                    (r["name"], r["start"][:10], f"{r['days']:g}",
                     " ".join(["SYNTHETIC"] * r["synthetic"] + [f.rpartition(":")[2] for f in r["forecasters"]]))
                    for r in rows
                ),
                clip=True,
            )
        )  # fmt: skip
    else:
        print(f"no experiment in {root} yet; `ewmalab backtest --help` shows how to make one")


@app.command()
def show(
    experiment: Annotated[str, typer.Argument(help="Path, name, unique part of a name, or latest.")],
    json: common.Json = False,
    config: common.ConfigFile = None,
    set_: common.Assignments = None,
) -> None:
    """Print an experiment's results and what it was made from.

    Example:

      ewmalab experiments show latest
    """
    from ewmalab.experiments.store import find_experiment

    found = find_experiment(common.settings(config, set_).values.run.experiments_dir, experiment)
    rows = found.results.num_rows  # also checks the bytes
    if json:
        common.print_json({"manifest": found.manifest, "summary": found.summary})
        return
    print((found.path / "summary.txt").read_text(encoding="utf-8"), end="")
    inputs, notes = found.manifest["inputs"], found.manifest["notes"]
    print(f"experiment: {found.path}")
    print(f"hash {found.manifest['hash'][:16]}, seed {inputs['settings']['run']['seed']}, {rows} rows")
    print(f"data: {len(inputs['data'])} partitions; {'; '.join(notes.get('sources', []))}")
    print("versions: " + ", ".join(f"{k} {v}" for k, v in found.manifest["versions"].items()))


@app.command()
def export(
    experiment: Annotated[str, typer.Argument(help="Path, name, unique part of a name, or latest.")],
    mlflow: Annotated[
        str,
        typer.Option(metavar="URI", help="Tracking server or store, e.g. http://127.0.0.1:5000, sqlite:///runs.db."),
    ],
    group: Annotated[str, typer.Option(help="Name of the experiment that the run belongs to there.")] = "ewmalab",
    json: common.Json = False,
    config: common.ConfigFile = None,
    set_: common.Assignments = None,
) -> None:
    """Log an experiment as a run of MLflow: settings, mean CRPS, and its files.

    An experiment that is there already is not logged twice.

    Example:

      ewmalab experiments export latest --mlflow sqlite:///mlflow.db
    """
    from ewmalab.experiments.mlflow import export as run
    from ewmalab.experiments.store import find_experiment

    found = find_experiment(common.settings(config, set_).values.run.experiments_dir, experiment)
    run_id, new = run(found, mlflow, group)
    if json:
        common.print_json({"experiment": found.name, "run": run_id, "new": new})
    else:
        print(f"{found.name}: run {run_id}" + ("" if new else ", which was there already"))
