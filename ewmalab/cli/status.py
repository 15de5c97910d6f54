"""``ewmalab status``: the health of the miner on this machine."""

from __future__ import annotations

from ewmalab import api
from ewmalab.cli import common


def status(
    monitor_port: common.MonitorPort = None,
    miner: common.Miner = None,
    json: common.Json = False,
    config: common.ConfigFile = None,
    set_: common.Assignments = None,
) -> None:
    """Show the health of the miners on this machine; exit code 1 unless all is well.

    Examples:

      ewmalab status

      ewmalab status --monitor-port 9091 --json
    """
    flags = api.live_flags(monitor_port=monitor_port, miner=miner)
    common.show(api.status(common.settings(config, set_, flags)), json)
