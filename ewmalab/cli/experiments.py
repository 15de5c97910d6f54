"""``ewmalab experiments``: what has been run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ewmalab.cli import common

if TYPE_CHECKING:
    from ewmalab.experiments.store import Experiment

app = typer.Typer(
    no_args_is_help=True,
    help="List, show and compare experiments.",
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
    from ewmalab.rulebook import iso

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
                     ", ".join(r["forecasters"]) + (" (synthetic)" if r["synthetic"] else ""))
                    for r in rows
                ),
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
def compare(
    a: Annotated[str, typer.Argument(metavar="A", help="Experiment, or EXPERIMENT/FORECASTER.")],
    b: Annotated[str, typer.Argument(metavar="B", help="Experiment, or EXPERIMENT/FORECASTER.")],
    common_: Annotated[
        bool, typer.Option("--common", help="Compare the prompts both have, instead of refusing.")
    ] = False,
    json: common.Json = False,
    config: common.ConfigFile = None,
    set_: common.Assignments = None,
) -> None:
    """Compare two experiments, or two forecasters of one, on the same prompts.

    A forecaster is named behind a slash: latest/ewma; by default it is the experiment's first.

    Examples:

      ewmalab experiments compare 20260115T101500Z-backtest-1a2b3c4d latest

      ewmalab experiments compare latest/ewma latest/random-walk
    """
    from ewmalab.experiments.compare import compare as run

    root = common.settings(config, set_).values.run.experiments_dir
    first, second = _named(root, a), _named(root, b)
    rows = run(first[0], second[0], forecasters=(first[1], second[1]), common=common_)
    if json:
        common.print_json(rows)
        return
    print(f"A = {a}\nB = {b}\n")
    print(
        common.table(
            ("competition", "asset", "prompts", "mean CRPS A", "mean CRPS B", "B against A", "B better"),
            (
                (r["competition"], r["asset"], r["prompts"], f"{r['mean_a']:.2f}", f"{r['mean_b']:.2f}",
                 f"{100 * r['change']:+.2f} %", f"{100 * r['share_b_better']:.0f} %")
                for r in rows
            ),
        )
    )  # fmt: skip


def _named(root: Path, text: str) -> tuple[Experiment, str | None]:
    """Return the experiment and the forecaster that EXPERIMENT or EXPERIMENT/FORECASTER names."""
    from ewmalab.errors import ExperimentError
    from ewmalab.experiments.store import find_experiment

    try:
        return find_experiment(root, text), None
    except ExperimentError:
        name, slash, forecaster = text.rpartition("/")
        if not slash:
            raise
        return find_experiment(root, name), forecaster
