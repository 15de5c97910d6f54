"""A miner's health as text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ewmalab.report.text.tables import SYNTHETIC, plain_table
from ewmalab.times import iso

if TYPE_CHECKING:
    from ewmalab.live.updater.process import SavedStates


def status_text(health: dict[str, Any]) -> str:
    """Return a miner's health."""
    lines = [SYNTHETIC + "\n"] if health["synthetic"] else []
    chain = "never" if health["chain_age"] is None else f"{_seconds(health['chain_age'])} ago"
    uid = "" if health["uid"] is None else f", uid {health['uid']}"
    lines.append(
        f"{health['status'].upper()} at {health['market_time']}; hotkey {health['hotkey']}{uid}; chain {chain}"
    )
    lines += [f"  ! {problem}" for problem in health["problems"]]
    lines += [f"  {note}" for note in health.get("notes", [])]
    rows = [
        [asset, entry["feed"] or "-", *(_seconds(entry[k]) for k in ("age", "spot_age")), entry["generation"] or 0]
        for asset, entry in health["assets"].items()
    ]
    lines += ["", plain_table(["asset", "feed", "state age", "spot age", "updates"], rows), ""]
    return "\n".join(lines)


def states_text(states: SavedStates) -> str:
    """Return the newest bar of each saved state, one per line."""
    return "".join(
        f"{asset}: {'no bar' if label is None else f'state after the bar of {iso(label)}'}\n"
        for asset, label in states.newest.items()
    )


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f} s"
