"""A miner's health as text."""

from __future__ import annotations

from typing import Any

from ewmalab.report.text.tables import SYNTHETIC, plain_table


def status_text(health: dict[str, Any]) -> str:
    """Return a miner's health for people."""
    lines = [SYNTHETIC + "\n"] if health["synthetic"] else []
    chain = "never" if health["chain_age"] is None else f"{_seconds(health['chain_age'])} ago"
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
