"""``ewmalab feed``: a local price feed, for rehearsals without network."""

from __future__ import annotations

from typing import Annotated

import typer

from ewmalab import api
from ewmalab.cli import common

app = typer.Typer(
    no_args_is_help=True,
    help="Serve prices to live processes on this machine.",
    epilog="Example:  ewmalab feed serve --start 2026-10-03T04:00 --speed 60x",
)


@app.command()
def serve(
    start: Annotated[
        str,
        typer.Option(
            help="Market time of the start, e.g. 2026-10-03T04:00 (UTC).", callback=common.checked("parse_time")
        ),
    ],
    feed: common.History = "simulated",
    speed: Annotated[
        str, typer.Option(help="Speed of market time: 1x, 60x.", callback=common.checked("parse_speed"))
    ] = "1x",
    faults: common.Faults = 0.0,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0: any free port.")] = 8095,
    assets: common.Assets = None,
    config: common.ConfigFile = None,
    set_: common.Assignments = None,
) -> None:
    """Serve a history over HTTP in the formats of Pyth, Binance and Hyperliquid.

    It serves the bars up to its own market time, including the candle that
    still forms. Live processes use that time with --clock URL/clock. Every
    answer with simulated prices says so.

    Examples:

      ewmalab feed serve --start 2026-10-03T04:00 --speed 60x

      ewmalab feed serve --start 2026-01-15 --feed pyth --faults 0.05
    """
    settings = common.settings(config, set_)
    api.serve_feed(
        start,
        feed=feed,
        speed=speed,
        faults=faults,
        port=port,
        assets=assets,
        settings=settings,
        say=lambda line: print(line, flush=True),
    )
