"""What already runs where a supervisor is about to start."""

from __future__ import annotations

import errno
import os
import socket
from typing import Any

from ewmalab.errors import StateError
from ewmalab.live.state_store import StateStore
from ewmalab.live.status import read_health, read_heartbeat
from ewmalab.settings.schema import LiveSettings


def refuse_if_taken(live: LiveSettings) -> None:
    """Refuse to start if others hold the ports or the state folder.

    Raises
    ------
    StateError
        Says whether they belong to a running supervisor, are orphans of one that has ended, or are other programs.
    """
    places = {"--port": (live.host, live.port), "--monitor-port": (live.monitor_host, live.monitor_port)}
    taken = {option: place for option, place in places.items() if not _free(*place)}
    writer = None
    try:
        if live.state_dir.exists():
            with StateStore(live.state_dir).writing():
                pass
    except StateError:
        writer = _pid(read_heartbeat(live.state_dir))
        taken["--state-dir"] = (str(live.state_dir), 0)
    if not taken:
        return
    health = _health(live)
    supervisor = (health.get("supervisor") or {}).get("pid")
    what = ", ".join(f"{host}:{port}" if port else host for host, port in taken.values())
    options = " and ".join(taken)
    if supervisor is not None and _runs(supervisor):
        raise StateError(
            f"{what}: the supervisor with process id {supervisor} runs here; stop it first (kill {supervisor}), "
            f"or choose others with {options}"
        )
    orphans = sorted({pid for pid in (_pid(health), writer) if pid is not None and _runs(pid)})
    if orphans:
        ids = " ".join(map(str, orphans))
        raise StateError(
            f"{what}: held by live processes without a supervisor, process ids {ids}; they may be ending: wait, "
            f"or stop them (kill {ids}), or choose others with {options}"
        )
    raise StateError(f"{what}: held by another program; stop it, or choose others with {options}")


def _free(host: str, port: int) -> bool:
    """Return whether a server could listen there; other errors than a taken port are left to the server."""
    if not port:
        return True
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError as error:
            return error.errno != errno.EADDRINUSE
    return True


def _health(live: LiveSettings) -> dict[str, Any]:
    try:
        found = read_health(live.monitor_host, live.monitor_port)
        return found if isinstance(found, dict) else {}
    except StateError:
        return {}


def _pid(note: dict[str, Any] | None) -> int | None:
    pid = (note or {}).get("pid")
    return pid if isinstance(pid, int) else None


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        return True
    return True
