"""``ewmalab fit``."""

from __future__ import annotations

from typing import Annotated

import typer

from ewmalab import api
from ewmalab.cli import common, complete


def fit(
    start: Annotated[
        str, typer.Option(help="First day of the bars, e.g. 2025-07-20 (UTC).", callback=common.checked("parse_time"))
    ],
    days: Annotated[float, typer.Option(min=8, max=common.MAX_DAYS, help="Days of bars.")] = 120.0,
    forecaster: Annotated[
        str | None,
        typer.Option(
            "--forecaster", "-f", help="A forecaster with a fit.", autocompletion=complete.names("forecasters")
        ),
    ] = None,
    assets: common.Assets = None,
    feed: common.Feed = None,
    output: Annotated[str | None, typer.Option("--output", "-o", metavar="DIR", help="Instead of fit.folder.")] = None,
    json: common.Json = False,
    config: common.ConfigFile = None,
    set_: common.Assignments = None,
) -> None:
    """Fit a forecaster to cached bars.

    Writes a small artifact, named by its content. For seasonal-har it holds
    season, volatility curve and shocks, per asset and per class. The fit uses
    bars that a request at the end of the days would know. It answers
    prompts that start from there on and refuses earlier ones. A plug-in with
    the methods fit and with_fit is fitted the same way:
    -f package.module:Name.

    Examples:

      ewmalab fit --start 2025-07-20 --days 170 --assets BTC,ETH,SOL,XAU

      ewmalab fit --start 2025-12-01 --days 40 --feed pyth --json
    """
    settings = common.settings(config, set_, {"data.feed": feed, "fit.folder": output})
    with common.progress(json, "fitting"):
        result = api.fit(start, days, forecaster=forecaster, assets=assets, settings=settings)
    common.show(result, json)
