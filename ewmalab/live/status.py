"""Whether live processes respond, and how a person is told."""

from __future__ import annotations

import time
from typing import Any

import requests

from ewmalab.errors import StateError
from ewmalab.live.updater import read_heartbeat
from ewmalab.sections import LiveSettings

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


def status_text(health: dict[str, Any]) -> str:
    """Return a miner's health for people."""
    from ewmalab.report.tables import plain_table

    lines = ["SYNTHETIC DATA: simulated prices, not a market.\n"] if health["synthetic"] else []
    chain = "never" if health["chain_age"] is None else f"{health['chain_age']:.0f} s ago"
    uid = "" if health["uid"] is None else f", uid {health['uid']}"
    lines.append(
        f"{health['status'].upper()} at {health['market_time']}; hotkey {health['hotkey']}{uid}; chain {chain}"
    )
    lines += [f"  ! {problem}" for problem in health["problems"]]
    rows = [
        [asset, entry["feed"] or "-", *(_seconds(entry[k]) for k in ("age", "spot_age")), entry["generation"] or 0]
        for asset, entry in health["assets"].items()
    ]
    lines += ["", plain_table(["asset", "feed", "state age", "spot age", "updates"], rows), ""]
    return "\n".join(lines)


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f} s"
