"""What an experiment was made from, in few lines."""

from __future__ import annotations

import pandas as pd

from ewmalab.experiments.store import Experiment
from ewmalab.times import iso


def provenance(experiment: Experiment, results: pd.DataFrame | None = None) -> list[tuple[str, str]]:
    """Return name and value of what a reader needs to judge an experiment, and to make it again."""
    manifest = experiment.manifest
    inputs, notes = manifest["inputs"], manifest["notes"]
    data = inputs["settings"]["data"]
    facts = [
        ("kind", f"{inputs['kind']} of {', '.join(inputs['forecasters'])}"),
        ("start times", f"{inputs['days']:g} days from {iso(inputs['start'])}"),
        ("prices", data["feed"] + (f", scored on {data['scored_feed']}" if data["scored_feed"] else "")),
        ("rules", f"{inputs['rules']}, rulebook {inputs['rulebook']['version']}"),
        ("seed", str(inputs["settings"]["run"]["seed"])),
        ("bars", f"{len(inputs['data'])} partitions; {'; '.join(notes.get('sources', [])) or 'sources not recorded'}"),
        ("made", f"{manifest['created']}, hash {manifest['hash'][:16]}"),
        ("versions", ", ".join(f"{name} {version}" for name, version in manifest["versions"].items())),
    ]
    if results is not None:
        total = experiment.results.num_rows
        left = total - len(results)
        facts.insert(2, ("prompts", f"{len(results):,} scored" + (f", {left:,} not scored" if left else "")))
    return facts
