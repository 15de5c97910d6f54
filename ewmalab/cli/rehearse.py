"""``ewmalab rehearse``: the whole live stack on loopback, faster than real time."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ewmalab import api
from ewmalab.cli import common


def rehearse(
    start: Annotated[
        str, typer.Option(help="Market time of the start (UTC).", callback=common.checked("parse_time"))
    ] = "2026-10-03T04:00",
    hours: Annotated[float, typer.Option(min=0.01, max=24 * 31, help="Hours of prompts.")] = 1.0,
    speed: Annotated[float, typer.Option(min=1, max=600, help="Speed of market time.")] = 60.0,
    feed: common.History = "simulated",
    forecaster: common.LiveForecaster = None,
    shadow: common.Shadow = None,
    assets: common.Assets = None,
    faults: common.Faults = 0.0,
    folder: Annotated[
        Path | None, typer.Option(help="Folder for cache, states, log; default: rehearsals/<now>.", metavar="DIR")
    ] = None,
    json: common.Json = False,
    config: common.ConfigFile = None,
    set_: common.Assignments = None,
) -> None:
    """Run the whole live stack on loopback, faster than real time, and judge its answers.

    Runs feed server, updater, miner and a validator that sends every prompt
    of the rulebook. Then every answer is reproduced, bit for bit, and scored.

    Examples:

      ewmalab rehearse --hours 1

      ewmalab rehearse -f my_forecaster:Mine --assets BTC --hours 0.5

      ewmalab rehearse --feed pyth --start 2026-01-10 --hours 2 --faults 0.05
    """
    with common.progress(
        json, "prompts", "what it wrote stays in its folder; start again in another: {command}"
    ) as progress:
        result = api.rehearse(
            forecaster,
            start=start,
            hours=hours,
            speed=speed,
            feed=feed,
            assets=assets,
            faults=faults,
            shadows=shadow or (),
            folder=folder,
            settings=common.settings(config, set_),
            progress=progress,
        )
    common.show(result, json)
