"""What differs between runs that are compared, beside their forecasters: versions, rules, seeds, feeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ewmalab.experiments.store import Experiment

Manifest = Mapping[str, Any]

_ASPECTS: dict[str, Callable[[Manifest], Any]] = {
    "rules": lambda manifest: manifest["inputs"]["rules"],
    "rulebook": lambda manifest: manifest["inputs"]["rulebook"]["version"],
    "seed": lambda manifest: manifest["inputs"]["settings"]["run"]["seed"],
    "feed": lambda manifest: manifest["inputs"]["settings"]["data"]["feed"],
    "scored feed": lambda manifest: manifest["inputs"]["settings"]["data"]["scored_feed"] or "",
}


def differing(runs: Mapping[str, Experiment]) -> tuple[str, ...]:
    """Return a note for each aspect in which compared runs differ, with the value of each.

    Parameters
    ----------
    runs : mapping of name to Experiment
    """
    manifests = {name: run.manifest for name, run in runs.items()}
    versions = dict.fromkeys(library for manifest in manifests.values() for library in manifest["versions"])
    aspects = _ASPECTS | {
        f"version of {library}": lambda manifest, library=library: manifest["versions"].get(library, "none")
        for library in versions
    }
    notes = []
    for aspect, value_of in aspects.items():
        values = {name: value_of(manifest) for name, manifest in manifests.items()}
        if len(set(map(str, values.values()))) > 1:
            told = ", ".join(f"{value} in {name}" for name, value in values.items())
            notes.append(f"note: the runs differ in {aspect}: {told}")
    return tuple(notes)
