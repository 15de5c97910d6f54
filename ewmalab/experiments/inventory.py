"""What a folder of experiments holds: kinds, scores and tags; removing, tagging and comparing runs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from ewmalab.atomic_files import TEMP_PREFIX
from ewmalab.errors import ExperimentError
from ewmalab.experiments.store import TAGS, Experiment, find_experiment, list_experiments


@dataclass(frozen=True, slots=True)
class Listed:
    """An experiment in a list.

    Attributes
    ----------
    name, kind : str
    created : str
        ISO time.
    start : int
        First start time, seconds since 1970-01-01 UTC.
    days : float
    forecasters : list of str
        The last is the baseline.
    synthetic : bool
    tags : list of str
    crps : dict of str to float
        By competition the mean over assets of the first forecaster's mean CRPS, basis points; of a sweep, that of the
        best values.
    change : dict of str to float
        By competition the mean over assets of its relative change against the baseline; of a sweep, of the best values
        against the configured ones.
    """

    name: str
    kind: str
    created: str
    start: int
    days: float
    forecasters: list[str]
    synthetic: bool
    tags: list[str]
    crps: dict[str, float]
    change: dict[str, float]

    @property
    def score(self) -> float | None:
        """Return the mean change over the competitions; None without a baseline."""
        return fmean(self.change.values()) if self.change else None


@dataclass(frozen=True, slots=True)
class Changed:
    """Something in which two runs differ: its name, and its text in each; empty if one lacks it."""

    what: str
    first: str
    second: str


def listed(experiment: Experiment) -> Listed:
    """Return what a list shows of an experiment.

    Raises
    ------
    ExperimentError
        If it is damaged.
    """
    manifest, inputs = experiment.manifest, experiment.manifest["inputs"]
    crps, change = dict[str, list[float]](), dict[str, list[float]]()
    for row in experiment.summary:
        if "forecaster" in row:
            if row["forecaster"] != inputs["forecasters"][0]:
                continue
            mean, base = row["mean_crps"], row.get("change")
        else:
            mean, configured = row["mean_crps_best"], row["mean_crps_configured"]
            base = None if mean is None or not configured else mean / configured - 1.0
        for found, number in ((crps, mean), (change, base)):
            if number is not None and number == number:
                found.setdefault(row["competition"], []).append(number)
    return Listed(
        experiment.name,
        inputs["kind"],
        manifest["created"],
        inputs["start"],
        inputs["days"],
        inputs["forecasters"],
        bool(inputs["synthetic"]),
        tags_of(experiment),
        {name: fmean(numbers) for name, numbers in crps.items()},
        {name: fmean(numbers) for name, numbers in change.items()},
    )


def tags_of(experiment: Experiment) -> list[str]:
    """Return an experiment's tags."""
    return list((experiment.attached(TAGS) or {}).get("tags", []))


def tag(experiment: Experiment, add: Sequence[str], remove: Sequence[str] = ()) -> list[str]:
    """Add and remove tags, and return those that an experiment then has."""
    kept = [name for name in dict.fromkeys([*tags_of(experiment), *add]) if name not in remove]
    experiment.attach(TAGS, {"tags": kept})
    return kept


def found_in(root: Path, names: Sequence[str]) -> list[Experiment]:
    """Return the named experiments of a folder, each once.

    Raises
    ------
    ExperimentError
        If one is not found, several match, or it lies elsewhere.
    """
    found = {one.path.resolve(): one for one in (find_experiment(root, name) for name in names)}
    for path in found:
        if path.parent != root.resolve():
            raise ExperimentError(f"{path} is not in {root}: give its folder with --set run.experiments_dir")
    return list(found.values())


def older_than_newest(root: Path, keep: int) -> list[Experiment]:
    """Return the experiments of a folder but for the newest, and but for those that have tags."""
    known = list(list_experiments(root))
    return [one for one in known[: max(0, len(known) - keep)] if not tags_of(one)]


def remove(experiments: Sequence[Experiment]) -> None:
    """Delete experiments; each vanishes at once from its folder."""
    for one in experiments:
        leaving = one.path.with_name(f"{TEMP_PREFIX}{one.name}")
        one.path.rename(leaving)
        shutil.rmtree(leaving)


def differences(first: Experiment, second: Experiment) -> list[Changed]:
    """Return in which inputs, settings and versions two runs differ.

    Raises
    ------
    ExperimentError
        If one is damaged.
    """
    one, other = (dict(described(experiment)) for experiment in (first, second))
    names = dict.fromkeys([*one, *other])
    return [Changed(name, one.get(name, ""), other.get(name, "")) for name in names if one.get(name) != other.get(name)]


def leaves(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values of nested mappings by their dotted names."""
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def described(experiment: Experiment) -> Iterator[tuple[str, str]]:
    """Yield inputs, settings and versions of a run by their dotted names, as text."""
    manifest = experiment.manifest
    inputs = dict(manifest["inputs"])
    settings = inputs.pop("settings", {})
    for prefix, table in (("", inputs), ("settings.", settings), ("version.", manifest["versions"])):
        for name, value in leaves(table, prefix):
            yield name, str(value)
    yield "platform", str(manifest.get("platform", ""))
