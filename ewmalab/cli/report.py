"""``ewmalab report``: a page of figures and tables."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ewmalab.cli import common


def report(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="Experiments (path, name, part of a name, latest); a leaderboard's JSON file; a folder of live logs.",
        ),
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="DIR", help="Folder; default: reports/<first source>.")
    ] = None,
    days: Annotated[float, typer.Option(min=0.01, help="Of a live log: only the last days.")] = 7.0,
    clock: Annotated[str | None, typer.Option(help="Of a live log of a rehearsal: the feed server's clock.")] = None,
    json: common.Json = False,
    config: common.ConfigFile = None,
    set_: common.Assignments = None,
) -> None:
    """Write an HTML page, and its figures as PNG files.

    The page needs no network and no other file. Of a backtest it shows means
    and intervals against the baseline, when and where the difference arose,
    calibration, and single prompts; of a sweep its curves or maps; of a
    leaderboard ranks and weights over time; of a live log the track record.

    Examples:

      ewmalab report latest

      ewmalab report 20260115T101500Z-backtest-1a2b3c4d latest -o reports/week

      ewmalab leaderboard ewma random-walk --json > field.json; ewmalab report field.json

      ewmalab report live_log
    """
    from ewmalab.live.clock import make_clock
    from ewmalab.report.pages.page import named_figures, write_reports
    from ewmalab.report.pages.sources import report_of

    loaded = common.settings(config, set_, {"live.clock": clock})
    now = int(make_clock(loaded.values.live.clock).now())
    with common.progress(json) as bar:
        task = bar.add_task("judging", total=len(sources))
        made = []
        for source in sources:
            made.append(report_of(source, loaded, now=now, days=days))
            bar.advance(task)
        figures = len(list(named_figures(made)))
        folder = output or Path("reports") / made[0].title
        bar.update(task, description="drawing", completed=0, total=2 * figures)
        path = write_reports(made, folder, lambda: bar.advance(task))
    if json:
        common.print_json({"report": str(path), "figures": figures, "sources": [r.title for r in made]})
    else:
        print(f"{path}: {figures} figures, also as PNG in {folder / 'figures'}")
