"""Whether live processes respond, and how a person is told."""

from __future__ import annotations

import time
from typing import Any

import requests

from ewmalab.errors import StateError
from ewmalab.live.updater.updater import read_heartbeat
from ewmalab.settings.schema import LiveSettings

_PATIENCE = 120.0  # seconds that an updater may work on one update: a long catch-up


def read_health(live: LiveSettings, timeout: float = 5.0) -> dict[str, Any]:
    """Return what a running miner says of itself.

    Raises
    ------
    StateError
        If none answers.
    """
    url = f"http://{live.monitor_host}:{live.monitor_port}/health"
    try:
        with requests.Session() as session:
            session.trust_env = False  # no proxy leads to this machine
            found: dict[str, Any] = session.get(url, timeout=timeout).json()
        return found
    except (requests.RequestException, ValueError) as error:
        raise StateError(
            f"{url}: no miner answers ({type(error).__name__}): start `ewmalab live`, or name its --monitor-port"
        ) from error


def miner_responds(live: LiveSettings) -> bool:
    """Tell whether the miner answers at all."""
    try:
        read_health(live)
    except StateError:
        return False
    return True


def updater_responds(live: LiveSettings, speed: float) -> bool:
    """Tell whether the updater has reported lately."""
    note = read_heartbeat(live.state_dir)
    if note is None:
        return False
    silent = time.time() - note["system_time"]  # noqa: TID251
    return bool(silent < 3 * note["interval"] / speed + _PATIENCE)
