"""``ewmalab leaderboard``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ewmalab import api
from ewmalab.cli import common, complete


def leaderboard(
    named_forecasters: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME ...]",
            help="Forecasters, experiments, or EXPERIMENT/FORECASTER.",
            autocompletion=complete.names("named"),
        ),
    ] = None,
    predictions: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="DIR",
            exists=True,
            file_okay=False,
            help="Prediction files, e.g. miner_outputs/; a folder per miner. Repeatable.",
        ),
    ] = None,
    scores: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            exists=True,
            dir_okay=False,
            help="Table of other miners' scores, CSV or Parquet: miner, asset, crps, start_time, time_length.",
        ),
    ] = None,
    field: Annotated[
        bool, typer.Option("--field", help="Rank among the real miners on the real prompts; see `ewmalab field fetch`.")
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
    every: Annotated[
        str, typer.Option(help="Time between standings, e.g. 6h.", callback=common.checked("parse_duration"))
    ] = "1d",
    missing: Annotated[
        str,
        typer.Option(
            metavar="A,B",
            help="Shares of prompts missed by the first miner, whose cost is shown.",
            callback=common.checked("parse_shares"),
        ),
    ] = "0.01,0.05,0.2",
    emission: Annotated[
        float | None, typer.Option(min=0, max=1e12, help="All miners' reward per day; adds an estimate of earnings.")
    ] = None,
    unit: Annotated[str, typer.Option(help="Unit of the emission.")] = "alpha/day",
    correction: Annotated[
        float | None,
        typer.Option(
            min=0, max=1000, help="Realised share of weight x emission; default: the rulebook's on that date."
        ),
    ] = None,
    seed: common.Seed = None,
    engine: common.Engine = "threads",
    workers: common.Workers = 0,
    scheduler: common.Scheduler = None,
    json: common.Json = False,
    config: common.ConfigFile = None,
    set_: common.Assignments = None,
) -> None:
    """Rank forecasters, prediction files and other miners as validators would.

    Prompt scores, rolling averages and softmax weights follow the rules of
    the date. With files of real miners, forecasters are replayed on exactly
    those miners' prompts. Weights are valid only within the given field.

    Examples:

      ewmalab leaderboard ewma ewma@seed random-walk --start 2026-01-08

      ewmalab leaderboard ewma --field --days 10 --competitions crypto-24h

      ewmalab leaderboard ewma --scores field.csv --emission 2000

      ewmalab leaderboard --predictions miner_outputs/ --rules 2026-05-01
    """
    with common.progress(json, "replaying", common.SAME_COMMAND) as progress:
        result = api.leaderboard(
            *(named_forecasters or ()),
            predictions=predictions or (),
            scores=scores or (),
            field=field,
            questions=api.questions(every, missing, emission, unit, correction),
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
