"""``ewmalab feed``: a price feed of one's own, for rehearsals without network."""

from __future__ import annotations

from typing import Annotated

import typer

from ewmalab.cli import common

app = typer.Typer(
    no_args_is_help=True,
    help="Serve prices to live processes on this machine.",
    epilog="Example:  ewmalab feed serve --start 2026-10-03T04:00 --speed 60x",
)


@app.command()
def serve(
    start: Annotated[str, typer.Option(help="Market time at which it begins, e.g. 2026-10-03T04:00 (UTC).")],
    feed: Annotated[
        str, typer.Option("--feed", help="simulated, or a feed of the cache: pyth, binance ...")
    ] = "simulated",
    speed: Annotated[str, typer.Option(help="How fast market time runs: 1x, 60x.")] = "1x",
    faults: Annotated[float, typer.Option(min=0, max=1, help="Share of requests that go wrong in a random way.")] = 0.0,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0: any that is free.")] = 8095,
    assets: common.AssetsOption = None,
    config: common.ConfigFile = None,
    set_: common.Assignments = None,
) -> None:
    """Serve a history over HTTP in the shapes of Pyth, Binance and Hyperliquid.

    It serves what exists by its own market time, the candle that still forms
    included. Live processes take that time with --clock URL/clock. Simulated
    prices say so with every answer.

    Examples:

      ewmalab feed serve --start 2026-10-03T04:00 --speed 60x

      ewmalab feed serve --start 2026-01-15 --feed pyth --faults 0.05
    """
    import re
    import signal
    import threading

    match = re.fullmatch(r"(\d+(?:\.\d+)?)x?", speed)
    if not match or float(match[1]) <= 0:
        raise typer.BadParameter("a number above 0 and an x, such as 60x", param_hint="--speed")
    begin = common.when(start)
    loaded = common.settings(config, set_)
    from ewmalab.live.rehearsal.price_server import rehearsal_feed

    common.say("making the days before")
    server = rehearsal_feed(
        loaded, begin, float(match[1]), feed=feed, assets=common.upper(assets), faults=faults, port=port
    )
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with server:
        what = "SYNTHETIC prices" if server.synthetic else f"cached prices of {feed}"
        print(f"serving {what} at {server.url}, market time {start} at {match[1]}x", flush=True)
        print(f"let live processes use it:  --clock {server.url}/clock --set feeds.binance.host={server.url} "
              f"--set feeds.hyperliquid.host={server.url}", flush=True)  # fmt: skip
        stop.wait()
    print(f"{server.requests} requests, {server.faults} of them met a fault")
