"""``ewmalab compare``."""

from __future__ import annotations

from typing import Annotated

import typer

from ewmalab import api
from ewmalab.cli import common, complete


def compare(
    named_forecasters: Annotated[
        list[str],
        typer.Argument(
            metavar="A B [C ...]",
            help="Forecasters, experiments, or EXPERIMENT/FORECASTER. A is the reference.",
            autocompletion=complete.names("named"),
        ),
    ],
    by: Annotated[
        str,
        typer.Option(
            help="Rows of the table: asset, interval, hour or weekday.",
            autocompletion=complete.words("asset", "interval", "hour", "weekday"),
        ),
    ] = "asset",
    common_: Annotated[
        bool, typer.Option("--common", help="Compare only the common prompts, instead of refusing different sets.")
    ] = False,
    start: common.Start = None,
    days: common.Days = 7.0,
    assets: common.Assets = None,
    competitions: common.Competitions = None,
    rules: common.Rules = "as-of",
    feed: common.Feed = None,
    prompts: common.PromptSource = "scored",
    cadence: common.Cadence = None,
    partial: common.Partial = False,
    seed: common.Seed = None,
    engine: common.Engine = "threads",
    workers: common.Workers = 0,
    scheduler: common.Scheduler = None,
    json: common.Json = False,
    config: common.ConfigFile = None,
    set_: common.Assignments = None,
) -> None:
    """Compare forecasters, or finished experiments, on the same prompts.

    Forecasters are replayed first (--start, --days, ...; by default the
    newest cached days). Experiments are compared as they are. Name one of
    their forecasters after a slash; the default is the first.

    Examples:

      ewmalab compare random-walk ewma ewma@seed --start 2026-01-08

      ewmalab compare latest/random-walk latest/ewma --by interval

      ewmalab compare 20260115T101500Z-backtest-1a2b3c4d latest --common
    """
    with common.progress(json, "replaying", common.SAME_COMMAND) as progress:
        result = api.compare(
            *named_forecasters,
            by=by,  # type: ignore[arg-type]  # checked there
            common=common_,
            start=start,
            days=days,
            assets=assets,
            competitions=competitions,
            rules=rules,
            prompts=prompts,
            cadence=cadence,
            partial=partial,
            workers=api.Workers(engine, workers, scheduler),  # type: ignore[arg-type]  # checked there
            settings=common.settings(config, set_, {"run.seed": seed, "data.feed": feed}),
            progress=progress,
        )
    common.show(result, json)
