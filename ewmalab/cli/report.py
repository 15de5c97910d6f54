"""``ewmalab report``: a page of figures and tables."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ewmalab import api
from ewmalab.cli import common, complete


def report(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="Experiments (path, name, part of a name, latest); a leaderboard's JSON file; a folder of live logs.",
            autocompletion=complete.names("experiments"),
        ),
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="DIR", help="Folder; default: reports/<first source>.")
    ] = None,
    figures: Annotated[bool, typer.Option("--figures", help="Also write each figure as PNG and SVG.")] = False,
    days: Annotated[
        float, typer.Option(min=0.01, max=common.MAX_DAYS, help="For a live log: only the last days.")
    ] = 7.0,
    clock: common.Clock = None,
    json: common.Json = False,
    config: common.ConfigFile = None,
    set_: common.Assignments = None,
) -> None:
    """Write an HTML page with interactive figures.

    The page needs no network and no other file. It opens with the verdict. For
    a backtest it shows who beats whom, when and where the difference arose,
    single prompts with their paths, and calibration; for a sweep its curves or
    maps; for a leaderboard ranks and weights over time; for a live log the
    track record.

    Examples:

      ewmalab report latest

      ewmalab report latest --figures

      ewmalab report 20260115T101500Z-backtest-1a2b3c4d latest -o reports/week

      ewmalab leaderboard ewma random-walk --json > field.json; ewmalab report field.json

      ewmalab report live_log
    """
    settings = common.settings(config, set_, {"live.clock": clock})
    with common.progress(json, "drawing") as progress:
        result = api.write_report(
            *sources, folder=output, days=days, figures=figures, settings=settings, progress=progress
        )
    common.show(result, json)
