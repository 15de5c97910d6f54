"""What differs between runs that are compared, beside their forecasters: versions, rules, seeds, feeds."""

from __future__ import annotations

from collections.abc import Mapping

from ewmalab.experiments.inventory import described
from ewmalab.experiments.store import Experiment

_VERSION = "version."
_ASPECTS = {
    "rules": "rules",
    "rulebook": "rulebook.version",
    "seed": "settings.run.seed",
    "feed": "settings.data.feed",
    "scored feed": "settings.data.scored_feed",
}


def differing(runs: Mapping[str, Experiment]) -> tuple[str, ...]:
    """Return a note for each aspect in which compared runs differ, with the value of each.

    Parameters
    ----------
    runs : mapping of name to Experiment
    """
    found = {name: dict(described(run)) for name, run in runs.items()}
    versions = dict.fromkeys(key for one in found.values() for key in one if key.startswith(_VERSION))
    aspects = _ASPECTS | {f"version of {key.removeprefix(_VERSION)}": key for key in versions}
    notes = []
    for aspect, key in aspects.items():
        values = {name: one.get(key, "none") for name, one in found.items()}
        if len(set(values.values())) > 1:
            told = ", ".join(f"{value} in {name}" for name, value in values.items())
            notes.append(f"note: the runs differ in {aspect}: {told}")
    return tuple(notes)
