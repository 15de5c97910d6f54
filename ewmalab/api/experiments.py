"""Finished experiments, and reports of results."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ewmalab.api.inputs import Progress, counter
from ewmalab.api.result import Outcome, Result
from ewmalab.atomic_files import check_folder
from ewmalab.experiments import mlflow
from ewmalab.experiments.store import Experiment, find_experiment
from ewmalab.live.clock import make_clock
from ewmalab.report.text.experiments import provenance_text
from ewmalab.settings import LoadedSettings, load_settings

if TYPE_CHECKING:
    from ewmalab.report.pages.page import Report


@dataclass(frozen=True)
class KeptExperiment(Experiment, Result):
    """A finished experiment that was loaded.

    Attributes
    ----------
    settings : LoadedSettings
        Name the cache with the bars of the drawn prompts.
    """

    settings: LoadedSettings

    def text(self) -> str:
        provenance = provenance_text(self)  # first: it says if this is no experiment
        return (self.path / "summary.txt").read_text(encoding="utf-8") + provenance

    def json(self) -> Any:
        _ = self.results  # reading it checks its bytes
        return {"manifest": self.manifest, "summary": self.summary}

    def page(self) -> Report:
        return _report_of(self, self.settings)


@dataclass(frozen=True)
class WrittenReport(Result, os.PathLike[str]):
    """An HTML page on disk, usable as its path.

    Attributes
    ----------
    path : Path
        The page.
    sources : list of str
        Names of its parts.
    figures : int
        Number of figures.
    drawn : bool
        Whether the figures are also PNG and SVG files in ``figures`` beside the page.
    """

    path: Path
    sources: list[str]
    figures: int
    drawn: bool = False

    def __fspath__(self) -> str:
        return str(self.path)

    def text(self) -> str:
        also = f", also as PNG and SVG in {self.path.parent / 'figures'}" if self.drawn else ""
        figures = "1 figure" if self.figures == 1 else f"{self.figures} figures"
        return f"{self.path}: {figures}{also}\n"

    def json(self) -> Any:
        return {"report": str(self.path), "figures": self.figures, "sources": self.sources}


def load_experiment(name: str | Path = "latest", settings: LoadedSettings | None = None) -> KeptExperiment:
    """Return a finished experiment by path, name or unique part of a name.

    Raises
    ------
    ExperimentError
        If none or several match.
    """
    settings = settings or load_settings()
    return KeptExperiment(find_experiment(settings.values.run.experiments_dir, str(name)).path, settings)


def export_experiment(
    name: str | Path, tracking: str, group: str = "ewmalab", *, settings: LoadedSettings | None = None
) -> Outcome[str]:
    """Log an experiment as a run of MLflow, unless it is already there, and return the run's id.

    Parameters
    ----------
    name : str or path
        As in `load_experiment`.
    tracking : str
        Tracking server or store.
    group : str
        MLflow's experiment that the run belongs to.
    settings : LoadedSettings, optional
        Name the folder of experiments.

    Raises
    ------
    ExperimentError
    """
    found = load_experiment(name, settings)
    run, new = mlflow.export(found, tracking, group)
    return Outcome(
        "Exported experiment",
        run,
        lambda run: f"{found.name}: run {run}{'' if new else ', already logged'}\n",
        lambda run: {"experiment": found.name, "run": run, "new": new},
    )


def write_report(
    *sources: Result | Experiment | Path | str,
    folder: Path | str | None = None,
    days: float | None = None,
    figures: bool = False,
    settings: LoadedSettings | None = None,
    progress: Progress | None = None,
) -> WrittenReport:
    """Write an HTML page, and its figures as PNG and SVG files if asked for.

    Parameters
    ----------
    *sources : Result, Experiment, path or str
        Results of any step, experiments (also by name, or "latest"), a leaderboard's JSON file, a folder of live
        logs.
    folder : path, optional
        By default ``reports/<first source>``.
    days : float, optional
        For a live log: only the last days.
    figures : bool
        Also write each figure as PNG and SVG.
    settings : LoadedSettings, optional
    progress : callable, optional
        Called with figures done and the total.

    Raises
    ------
    ExperimentError, StateError
    """
    from ewmalab.report.pages.page import named_figures
    from ewmalab.report.pages.render import write_reports

    settings = settings or load_settings()
    if folder is not None:
        check_folder(Path(folder))
    with _collector_paused():
        made = [one.page() if isinstance(one, Result) else _report_of(one, settings, days) for one in sources]
        count = len(list(named_figures(made)))
        target = Path(folder or Path("reports") / made[0].name)
        path = write_reports(made, target, counter(progress, count), figures=figures)
    return WrittenReport(path, [report.name for report in made], count, figures)


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Pause the garbage collector: the many objects of figures keep it busy for a tenth of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _report_of(source: Experiment | Path | str, settings: LoadedSettings, days: float | None = None) -> Report:
    from ewmalab.report.pages.sources import report_of

    now = int(make_clock(settings.values.live.clock).now())
    return report_of(source, settings, now=now, days=days)
