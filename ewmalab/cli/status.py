"""``ewmalab status``: the health of the miner on this machine."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from ewmalab import api
from ewmalab.cli import common


def status(
    monitor_port: common.MonitorPort = None,
    miner: common.Miner = None,
    watch: Annotated[bool, typer.Option("--watch", help="Show it again every 5 s, until Ctrl-C.")] = False,
    fail_on: Annotated[
        str, typer.Option(help="degraded | failing: the health from which on the exit code is 1.")
    ] = "degraded",
    json: common.Json = False,
    config: common.ConfigFile = None,
    set_: common.Assignments = None,
) -> None:
    """Show the health of the miners on this machine; exit code 1 unless all is well.

    It names the last prompt of each validator, what was refused, restarts,
    and the newest rank, if `ewmalab field fetch` has cached it.

    Examples:

      ewmalab status

      ewmalab status --watch

      ewmalab status --monitor-port 9091 --json
    """
    flags = api.live_flags(monitor_port=monitor_port, miner=miner)
    settings = common.settings(config, set_, flags)
    if watch and json:
        raise typer.BadParameter("shows text only: leave out --json", param_hint="--watch")
    if watch:
        api.watch_status(settings, show=_page)
    else:
        common.show(api.status(settings, fail_on=fail_on), json)


def _page(text: str) -> None:
    """Print a text, on a terminal in place of the one before."""
    if sys.stdout.isatty():
        typer.echo("\033[2J\033[H", nl=False)
    typer.echo(text)
