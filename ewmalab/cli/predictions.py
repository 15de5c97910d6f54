"""``ewmalab predict``, ``score``, ``validate`` and ``crps-test``: predictions, their scores and verdicts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ewmalab import api
from ewmalab.cli import common, complete

Prediction = Annotated[Path, typer.Argument(help="JSON as sent to a validator: \\[start, dt, \\[path], ...].")]
Competition = Annotated[
    str,
    typer.Option(
        "--competition",
        metavar="NAME",
        help="24h, 1h, or a competition's name under the rules.",
        autocompletion=complete.names("competitions"),
    ),
]


def predict(
    asset: Annotated[str, typer.Argument(help="Asset, e.g. BTC.", autocompletion=complete.names("assets"))],
    competition: Competition,
    forecaster: common.LiveForecaster = None,
    start: Annotated[
        str | None,
        typer.Option(
            "--start",
            help="Start time; default: the first whose request knows the newest cached bar.",
            callback=common.checked("parse_time"),
        ),
    ] = None,
    simulations: common.Simulations = None,
    feed: common.Feed = None,
    seed: common.Seed = None,
    json: common.Json = False,
    config: common.ConfigFile = None,
    set_: common.Assignments = None,
) -> None:
    """Print one prediction from the newest cached bars, as a validator would get it.

    With --json it is an object that names the prompt as well.

    Examples:

      ewmalab predict BTC --competition crypto-1h > prediction.json

      ewmalab predict XAU --competition 24h -f random-walk --start 2026-08-03T00:01:00Z --feed hyperliquid
    """
    settings = common.settings(config, set_, {"data.feed": feed, "run.seed": seed})
    found = api.predict(
        asset, competition, forecaster=forecaster, start=start, num_simulations=simulations, settings=settings
    )
    common.show(found, json)


def score(
    prediction: Prediction,
    competition: Competition,
    realised: Annotated[
        Path | None, typer.Option(help="JSON list of prices on the grid, null = missing; default: from the cache.")
    ] = None,
    rules: common.Rules = "as-of",
    asset: Annotated[str | None, typer.Option(help="Asset, for prices from the cache.")] = None,
    feed: common.Feed = None,
    json: common.Json = False,
    config: common.ConfigFile = None,
    set_: common.Assignments = None,
) -> None:
    """Score a prediction: CRPS in total and per interval, and the verdicts on its format.

    Examples:

      ewmalab score prediction.json --realised prices.json --competition 1h --rules 2026-05-01

      ewmalab score prediction.json --competition 24h --asset BTC --feed pyth --json
    """
    settings = common.settings(config, set_, {"data.feed": feed})
    common.show(
        api.score(prediction, competition, realised=realised, asset=asset, rules=rules, settings=settings), json
    )


def validate(
    prediction: Prediction, competition: Competition, rules: common.Rules = "as-of", json: common.Json = False
) -> None:
    """Check a prediction's format by both dated rules; exit code 1 if either refuses it.

    Examples:

      ewmalab validate prediction.json --competition 24h

      ewmalab validate prediction.json --competition crypto-1h --rules latest --json
    """
    common.show(api.validate(prediction, competition, rules=rules), json)


def crps_test(
    start_day: Annotated[
        str, typer.Option(help="First day, e.g. 2026-01-15 (UTC).", callback=common.checked("parse_time"))
    ],
    num_days: Annotated[int, typer.Option(min=1, max=common.MAX_DAYS, help="Days of prompts.")] = 1,
    forecaster: common.Forecaster = "ewma",
    assets: common.Assets = None,
    competitions: common.Competitions = None,
    rules: common.Rules = "as-of",
    feed: common.Feed = None,
    prompts: common.PromptSource = "scored",
    cadence: common.Cadence = None,
    json: common.Json = False,
    config: common.ConfigFile = None,
    set_: common.Assignments = None,
) -> None:
    """Score the adapter's functions on the prompts of some days.

    Every prompt goes through ewmalab.adapters.synth_simulations, as if called
    by another program, with rounded prices. `ewmalab backtest` does the same
    directly, and much faster.

    Examples:

      ewmalab crps-test --start-day 2026-01-15 --num-days 1

      ewmalab crps-test --start-day 2026-01-15 --feed simulated --assets BTC
    """
    with common.progress(json, "scoring") as progress:
        result = api.crps_test(
            start=start_day,
            days=num_days,
            assets=assets,
            competitions=competitions,
            rules=rules,
            prompts=prompts,
            cadence=cadence,
            settings=common.settings(config, set_, {"data.feed": feed, "live.forecaster": forecaster}),
            progress=progress,
        )
    common.show(result, json)
