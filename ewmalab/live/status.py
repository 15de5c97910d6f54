"""Checks whether live processes respond."""

from __future__ import annotations

import errno
import hashlib
import http.client
import logging
import os
import time
from pathlib import Path
from typing import Any

import orjson

from ewmalab.atomic_files import write_atomic
from ewmalab.errors import StateError

HEARTBEAT = "updater.json"
"""File in the state folder that an updater rewrites after each update."""
_MEMORY = Path("/dev/shm")
_PATIENCE = 120.0  # seconds that one update may take, for a long catch-up

log = logging.getLogger("ewmalab.updater")


def spare_folder(folder: Path) -> Path | None:
    """Return the folder in memory that stands in for a state folder whose disk is full; None where there is none."""
    if not os.access(_MEMORY, os.W_OK):
        return None
    name = hashlib.sha256(str(folder.absolute()).encode()).hexdigest()[:16]
    return _MEMORY / f"ewmalab-{os.getuid()}-{name}"


def make_spare(folder: Path) -> Path:
    """Return the spare folder of a state folder; it is made if need be, for this user alone.

    Raises
    ------
    OSError
        If there can be none.
    """
    spare = spare_folder(folder)
    if spare is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(_MEMORY))
    spare.mkdir(mode=0o700, exist_ok=True)
    if spare.stat().st_uid != os.getuid():
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), str(spare))
    return spare


def write_heartbeat(folder: Path, note: dict[str, Any]) -> None:
    """Write an updater's heartbeat to its state folder, or to memory if the disk does not take it.

    Raises
    ------
    OSError
        If neither does.
    """
    data = orjson.dumps(note)
    try:
        write_atomic(folder / HEARTBEAT, data)
    except OSError as error:
        spare = make_spare(folder)
        temp = spare / f"{HEARTBEAT}.new"
        temp.write_bytes(data)
        temp.replace(spare / HEARTBEAT)
        log.error("heartbeat cannot be written to disk (%s): it is kept in memory", error)


def read_heartbeat(folder: Path) -> dict[str, Any] | None:
    """Return an updater's last heartbeat, None if it is missing or unreadable."""
    notes = [_read(path / HEARTBEAT) for path in (folder, spare_folder(folder)) if path is not None]
    return max((note for note in notes if note is not None), key=lambda note: note["system_time"], default=None)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        note = orjson.loads(path.read_bytes())
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
