"""Checks whether live processes respond."""

from __future__ import annotations

import http.client
import time
from pathlib import Path
from typing import Any

import orjson

from ewmalab.errors import StateError

HEARTBEAT = "updater.json"
"""File in the state folder that an updater rewrites after each update."""
_PATIENCE = 120.0  # seconds that one update may take, for a long catch-up


def read_heartbeat(folder: Path) -> dict[str, Any] | None:
    """Return an updater's last heartbeat, None if it is missing or unreadable."""
    try:
        note = orjson.loads((folder / HEARTBEAT).read_bytes())
        whole = all(isinstance(note[key], int | float) for key in ("system_time", "interval", "missed", "updates"))
        return note if whole and isinstance(note["assets"], dict) and "clock_skew" in note else None
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError):
        return None


def waiting_closes(folder: Path) -> dict[str, float]:
    """Return by asset the close of a bar that an updater has not let into a state yet, since nothing confirms it."""
    note = read_heartbeat(folder) or {"assets": {}}
    found = {}
    for asset, entry in note["assets"].items():
        waiting = entry.get("waiting") if isinstance(entry, dict) else None
        if isinstance(waiting, list) and waiting and isinstance(waiting[-1], float):
            found[asset] = waiting[-1]
    return found


def read_health(host: str, port: int, timeout: float = 5.0) -> dict[str, Any]:
    """Return the health report of a running miner.

    Raises
    ------
    StateError
        If no miner answers.
    """
    connection = http.client.HTTPConnection(host, port, timeout=timeout)  # directly: no proxy for this machine
    try:
        connection.request("GET", "/health")
        found: dict[str, Any] = orjson.loads(connection.getresponse().read())
        return found
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise StateError(
            f"http://{host}:{port}/health: no miner answers ({type(error).__name__}): "
            "start `ewmalab live`, or name its --monitor-port"
        ) from error
    finally:
        connection.close()


def miner_responds(host: str, port: int) -> bool:
    """Return whether the miner answers at all."""
    try:
        read_health(host, port)
    except StateError:
        return False
    return True


def updater_responds(state_dir: Path, speed: float) -> bool:
    """Return whether the updater has reported recently."""
    note = read_heartbeat(state_dir)
    if note is None:
        return False
    silent = time.time() - note["system_time"]  # noqa: TID251
    return bool(silent < 3 * note["interval"] / speed + _PATIENCE)
