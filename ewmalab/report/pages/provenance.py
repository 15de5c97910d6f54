"""What an experiment was made from, in a few lines."""

from __future__ import annotations

from datetime import UTC, datetime

from ewmalab.experiments.store import Experiment
from ewmalab.times import iso, seconds_in


def between(start: int, days: float) -> str:
    """Return the days of a run for a title: ``8 to 14 January 2026``."""
    first, last = (datetime.fromtimestamp(at, UTC) for at in (start, start + max(0, seconds_in(days) - 1)))
    if first.date() == last.date():
        return f"{last.day} {last:%B %Y}"
    if (first.year, first.month) == (last.year, last.month):
        return f"{first.day} to {last.day} {last:%B %Y}"
    return f"{first.day} {first:%B}{'' if first.year == last.year else f' {first.year}'} to {last.day} {last:%B %Y}"


def provenance(experiment: Experiment, scored: str = "") -> list[tuple[str, str]]:
    """Return names and values of what a reader needs to judge and reproduce an experiment.

    `scored` says how much was scored, to be shown if given.
    """
    manifest = experiment.manifest
    inputs, notes = manifest["inputs"], manifest["notes"]
    data = inputs["settings"]["data"]
    lines = [
        ("kind", f"{inputs['kind']} of {', '.join(inputs['forecasters'])}"),
        ("start times", f"{inputs['days']:g} days from {iso(inputs['start'])}"),
        ("prices", data["feed"] + (f", scored on {data['scored_feed']}" if data["scored_feed"] else "")),
        ("rules", f"{inputs['rules']}, rulebook {inputs['rulebook']['version']}"),
        ("seed", str(inputs["settings"]["run"]["seed"])),
        ("bars", f"{len(inputs['data'])} series; {'; '.join(notes.get('sources', [])) or 'sources not recorded'}"),
        ("made", f"{manifest['created']}, hash {manifest['hash'][:16]}"),
        ("versions", ", ".join(f"{name} {version}" for name, version in manifest["versions"].items())),
    ]
    if scored:
        lines.insert(2, ("scored", scored))
    return lines
