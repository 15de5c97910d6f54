"""The request of a sweep, and the results of sweeps and tuning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from ewmalab.api.inputs import Prompts
from ewmalab.api.result import Result
from ewmalab.experiments.store import Experiment, rescued
from ewmalab.report.text.sweep import sweep_text, tune_text
from ewmalab.settings import LoadedSettings
from ewmalab.settings.layers import read_settings
from ewmalab.sweeps.sweep import SweepResult
from ewmalab.sweeps.tune import TuneResult

if TYPE_CHECKING:
    from ewmalab.report.pages.page import Report


@dataclass(frozen=True)
class SweepRequest:
    """The request of a sweep: everything that determines its result, and where the result goes.

    Attributes
    ----------
    parameters : mapping of name to values
        None means the default grid.
    settings : LoadedSettings
    prompts : Prompts
    forecaster : str
    exact : bool
        Simulate every prompt by itself, even if one ensemble would do.
    replicates : int, optional
        Independent sets of random numbers; by default 4, or 2 if every prompt is simulated.
    walk_forward : str, optional
        ``5d/1d``: choose on one window, score on the next.
    name : str or None
        Part of the experiment directory's name; None saves nothing.
    write_config : Path, optional
        File for values that are proven better; see `write_config`.
    force : bool
        See `write_config`.
    """

    parameters: Mapping[str, Sequence[str] | None]
    settings: LoadedSettings
    prompts: Prompts
    forecaster: str = "ewma"
    exact: bool = False
    replicates: int | None = None
    walk_forward: str | None = None
    name: str | None = "sweep"
    write_config: Path | None = None
    force: bool = False

    def plain(self) -> dict[str, Any]:
        """Return the request as plain data, without secrets."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        path = None if self.write_config is None else str(self.write_config)
        return {**found, "settings": orjson.loads(self.settings.dump()), "write_config": path}

    @classmethod
    def of_plain(cls, data: Mapping[str, Any]) -> SweepRequest:
        """Return the request that `plain` wrote."""
        path = None if data["write_config"] is None else Path(data["write_config"])
        settings = read_settings(orjson.dumps(data["settings"]))
        return cls(**{**data, "settings": settings, "write_config": path})


@dataclass(frozen=True, eq=False)
class KeptSweep(SweepResult, Result):
    """A sweep's result, its experiment (if saved), its request and its duration in seconds."""

    experiment: Experiment | None
    request: SweepRequest
    seconds: float

    @property
    def notes(self) -> tuple[str, ...]:
        return (*(rescued(self.experiment) if self.experiment else ()), *self.sweep.plan.warnings())

    def text(self) -> str:
        untouched = dict.fromkeys(competition for competition, _ in self.sweep.untouched)
        lines = [f"left out, because it has no effect there: {', '.join(untouched)}"] if untouched else []
        lines.append(f"{self.sweep.trials} trials, {self.sweep.reused} of them reused; {self.seconds:.1f} s")
        return sweep_text(self.summary, self.inputs) + "\n".join([*lines, _kept(self, self.experiment)])

    def json(self) -> Any:
        return {
            "experiment": str(self.experiment.path) if self.experiment else None,
            "result": self.digest(),
            "synthetic": self.inputs["synthetic"],
            "trials": self.sweep.trials,
            "reused": self.sweep.reused,
            "no_effect": [list(group) for group in self.sweep.untouched],
            "config": str(self.request.write_config) if self.request.write_config else None,
            "summary": self.summary,
        }

    def page(self) -> Report:
        return _page(self, self.experiment)


@dataclass(frozen=True, eq=False)
class KeptTuning(TuneResult, Result):
    """The result of tuning, and its experiment (if saved)."""

    experiment: Experiment | None

    def text(self) -> str:
        held_out = self.held_out
        return tune_text(self.chosen, held_out.summary, held_out.inputs) + _kept(held_out, self.experiment)

    def json(self) -> Any:
        return {
            "experiment": str(self.experiment.path) if self.experiment else None,
            "result": self.held_out.digest(),
            "synthetic": self.held_out.inputs["synthetic"],
            "chosen": self.chosen,
            "held_out": self.held_out.summary,
        }

    def page(self) -> Report:
        return _page(self, self.experiment)


def _kept(result: SweepResult, experiment: Experiment | None) -> str:
    where = f"experiment: {experiment.path}\n" if experiment else ""
    return f"result {result.digest()[:16]}\n{where}"


def _page(result: Result, experiment: Experiment | None) -> Report:
    from ewmalab.report.pages.sweep import sweep_report

    return sweep_report(experiment) if experiment else Result.page(result)
