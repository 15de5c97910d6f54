"""``ewmalab status``: how the miner on this machine is doing."""

from __future__ import annotations

import typer

from ewmalab.cli import common, live


def status(
    monitor_port: live.MonitorPort = None,
    json: common.Json = False,
    config: common.ConfigFile = None,
    set_: common.Assignments = None,
) -> None:
    """Tell how the miner on this machine is doing. Exit code 1 unless all is well.

    Examples:

      ewmalab status

      ewmalab status --monitor-port 9091 --json
    """
    loaded = common.settings(config, set_, live.flags_of(monitor_port=monitor_port))
    from ewmalab.live.status import read_health
    from ewmalab.report.text.status import status_text

    health = read_health(loaded.values.live)
    if json:
        common.print_json(health)
    else:
        print(status_text(health))
    if health["status"] != "ok":
        raise typer.Exit(1)
