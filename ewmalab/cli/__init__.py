"""The command line. Modules here import nothing heavy at their top, so that `ewmalab --help` is quick."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from ewmalab.cli import (
    backtest,
    check,
    compare,
    config,
    data,
    edge,
    experiments,
    feed,
    field,
    fit,
    leaderboard,
    live,
    new,
    predictions,
    probe,
    rehearse,
    report,
    rules,
    status,
    sweep,
)


class Commands(TyperGroup):
    """The commands. Their unexpected errors stay errors."""

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]
        """Run a command. An EOFError is a defect: typer would take it for a user who ended a prompt."""
        try:
            return super().invoke(ctx)
        except EOFError as error:
            raise RuntimeError("a file or a stream ended too early") from error


app = typer.Typer(
    name="ewmalab",
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="rich",
    epilog="Example:  [bold]ewmalab backtest --start 2026-01-15 --days 7 --feed simulated[/bold]",
)


def _version(value: bool) -> None:
    if value:
        from importlib.metadata import version

        typer.echo(f"ewmalab {version('ewmalab')}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Replay, score and compare forecasts for miners of the Synth subnet.

    Exit codes: 0 done; 1 a check or a result is not well; 2 wrong usage,
    settings or names; 3 data or files; 4 a feed, the chain or a cluster;
    5 a forecaster failed; 130 interrupted. An error is a line on standard
    error; with --json also an object on standard output.
    """


app.command("backtest")(backtest.backtest)
app.command("fit")(fit.fit)
app.command("sweep")(sweep.sweep)
app.command("tune")(sweep.tune)
app.command("compare")(compare.compare)
app.command("leaderboard")(leaderboard.leaderboard)
app.command("report")(report.report)
app.add_typer(live.app, name="live")
app.command("rehearse")(rehearse.rehearse)
app.command("status")(status.status)
app.command("probe")(probe.probe)
app.command("crps-test")(predictions.crps_test)
app.add_typer(feed.app, name="feed")
app.add_typer(field.app, name="field")
app.add_typer(data.app, name="data")
app.add_typer(config.app, name="config")
app.add_typer(rules.app, name="rules")
app.command("predict")(predictions.predict)
app.command("score")(predictions.score)
app.command("validate")(predictions.validate)
app.add_typer(check.app, name="check")
app.add_typer(experiments.app, name="experiments")
app.add_typer(new.app, name="new")


def main() -> None:
    """Run the command line; print errors that a user can fix without a traceback."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # its threads would spin beside ours, for matrices this small
    if os.environ.get("MPLBACKEND", "").startswith("module://"):
        os.environ["MPLBACKEND"] = "agg"  # a notebook's backend, which may be missing here; figures become files
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without Unicode shows "?"
    sys.path.append(str(Path.cwd()))  # a user's own forecaster is in the working directory
    edge.quiet_libraries()
    sys.exit(edge.run(app))
