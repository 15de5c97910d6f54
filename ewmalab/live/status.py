"""Checks whether live processes respond."""

from __future__ import annotations

import time
from typing import Any

import requests

from ewmalab.errors import StateError
from ewmalab.live.updater.updater import read_heartbeat
from ewmalab.settings.schema import LiveSettings

_PATIENCE = 120.0  # seconds that one update may take, for a long catch-up


def read_health(live: LiveSettings, timeout: float = 5.0) -> dict[str, Any]:
    """Return the health report of a running miner.

    Raises
    ------
    StateError
        If no miner answers.
    """
    url = f"http://{live.monitor_host}:{live.monitor_port}/health"
    try:
        with requests.Session() as session:
            session.trust_env = False  # no proxy for this machine
            found: dict[str, Any] = session.get(url, timeout=timeout).json()
        return found
    except (requests.RequestException, ValueError) as error:
        raise StateError(
            f"{url}: no miner answers ({type(error).__name__}): start `ewmalab live`, or name its --monitor-port"
        ) from error


def miner_responds(live: LiveSettings) -> bool:
    """Return whether the miner answers at all."""
    try:
        read_health(live)
    except StateError:
        return False
    return True


def updater_responds(live: LiveSettings, speed: float) -> bool:
    """Return whether the updater has reported recently."""
    note = read_heartbeat(live.state_dir)
    if note is None:
        return False
    silent = time.time() - note["system_time"]  # noqa: TID251
    return bool(silent < 3 * note["interval"] / speed + _PATIENCE)
