"""A miner's health as text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ewmalab.report.text.tables import SYNTHETIC, plain_table
from ewmalab.times import DAY, HOUR, MINUTE, day_name, iso

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
    if supervisor := health.get("supervisor"):
        lines.append(f"supervisor: process {supervisor['pid']}, since {iso(supervisor['since'])}")
    lines += _process_lines(health)
    lines += [f"  ! {problem}" for problem in health["problems"]]
    lines += [f"  {note}" for note in health.get("notes", [])]
    rows = [
        [asset, entry["feed"] or "-", *(_seconds(entry[k]) for k in ("age", "spot_age")), entry["generation"] or 0]
        for asset, entry in health["assets"].items()
    ]
    lines += ["", plain_table(["asset", "feed", "state age", "spot age", "updates"], rows), ""]
    calls = sorted(health.get("newest_calls", {}).items(), key=lambda item: item[1]["age"])
    if calls:
        rows = [[caller, f"{_span(call['age'])} ago", call["refused"] or "-"] for caller, call in calls]
        lines += [plain_table(["validator", "last prompt", "refused for"], rows), ""]
    return "\n".join(lines)


def _process_lines(health: dict[str, Any]) -> list[str]:
    lines = []
    if "version" in health:
        counts = [f"{process} {count}" for process, count in health["restarts"].items() if count]
        restarts = ", ".join(counts) or "none"
        lines.append(f"ewmalab {health['version']}, up for {_span(health['uptime'])}; restarts: {restarts}")
        if not health["newest_calls"]:
            lines.append("no validator has called since the start")
    if refusals := health.get("refusals"):
        kinds = ", ".join(f"{count} for {kind}" for kind, count in sorted(refusals.items(), key=lambda item: -item[1]))
        lines.append(f"refused since the start, strangers included: {kinds}")
    for rank in health.get("ranks", []):
        lines.append(f"rank in {rank['competition']}: {rank['rank']} of {rank['miners']} on {day_name(rank['day'])}")
    return lines


def states_text(states: SavedStates) -> str:
    """Return the newest bar of each saved state, one per line."""
    return "".join(
        f"{asset}: {'no bar' if label is None else f'state after the bar of {iso(label)}'}\n"
        for asset, label in states.newest.items()
    )


def _span(seconds: float) -> str:
    """Return a span of time in its largest useful unit."""
    for unit, length in (("d", DAY), ("h", HOUR), ("min", MINUTE)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f} s"
