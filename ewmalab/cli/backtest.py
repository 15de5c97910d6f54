"""``ewmalab backtest``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ewmalab import api
from ewmalab.cli import common


def backtest(
    start: common.Start = None,
    days: common.Days = 1.0,
    forecaster: common.Forecasters = None,
    assets: common.Assets = None,
    competitions: common.Competitions = None,
    rules: common.Rules = "as-of",
    feed: common.Feed = None,
    scored_feed: common.ScoredFeed = None,
    prompts: common.PromptSource = "scored",
    cadence: common.Cadence = None,
    request_lead: Annotated[str | None, typer.Option(help="Time between request and start, e.g. 60s.")] = None,
    simulations: common.Simulations = None,
    refit: Annotated[
        str | None, typer.Option(help="Refit forecasters at this interval, on the bars known then, e.g. 1d.")
    ] = None,
    seed: common.Seed = None,
    engine: common.Engine = "threads",
    workers: common.Workers = 0,
    scheduler: common.Scheduler = None,
    partial: common.Partial = False,
    keep_predictions: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            file_okay=False,
            help="Keep the ensembles, as DIR/FORECASTER/predictions/TIME_ASSET_SECONDS.json.",
        ),
    ] = None,
    name: common.Name = "backtest",
    json: common.Json = False,
    config: common.ConfigFile = None,
    set_: common.Assignments = None,
) -> None:
    """Replay prompts on cached bars and score the forecasts.

    Forecasters see only bars that were closed when each request arrived.
    Bars of the synthetic feed are generated; those of real feeds come from
    the cache: see `ewmalab data fetch` and `ewmalab data import`.
    Finished weeks are kept: an interrupted backtest resumes with the same
    command.

    With --prompts field the real prompts are replayed, as far as `ewmalab
    field fetch` has them; each is scored against its published path.

    Examples:

      ewmalab backtest --start 2026-01-15 --days 7

      ewmalab backtest --start 2026-01-15 --feed simulated --assets BTC,ETH

      ewmalab backtest --start 2026-01-08 --days 7 -f ewma -f ewma@seed

      ewmalab backtest --start 2026-01-08 --days 7 -f seasonal-har -f ewma --refit 1d

      ewmalab backtest --prompts field --start 2026-08-01 --days 7

      ewmalab backtest --start 2026-01-15 --assets BTC --keep-predictions miner_outputs

      ewmalab backtest --start 2025-08-01 --days 182 --engine processes --workers 8
    """
    flags = {
        "run.seed": seed,
        "data.feed": feed,
        "data.scored_feed": scored_feed,
        "replay.request_lead": request_lead,
        "fit.every": refit,
    }
    with common.progress(json, "replaying", common.SAME_COMMAND) as progress:
        result = api.backtest(
            *(forecaster or ()),
            start=start,
            days=days,
            assets=assets,
            competitions=competitions,
            rules=rules,
            prompts=prompts,
            cadence=cadence,
            num_simulations=simulations,
            partial=partial,
            name=name,
            keep_predictions=keep_predictions,
            announce=common.say,
            workers=api.Workers(engine, workers, scheduler),  # type: ignore[arg-type]  # checked there
            settings=common.settings(config, set_, flags),
            progress=progress,
        )
    common.show(result, json)
