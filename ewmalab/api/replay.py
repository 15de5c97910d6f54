"""Replays: backtests and comparisons."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import pandas as pd

from ewmalab.analysis.compare import PARTS, By, Difference
from ewmalab.analysis.compare import compare as _compare
from ewmalab.api.inputs import Progress, Prompts, check_name
from ewmalab.api.named_forecasters import Keeping, NamedScores, named_scores, replayed
from ewmalab.api.result import Result
from ewmalab.errors import ConfigError
from ewmalab.experiments.store import Experiment
from ewmalab.forecast.load import Factory
from ewmalab.replay.engines import Workers
from ewmalab.report.text.compare import compare_text
from ewmalab.settings import LoadedSettings, load_settings

if TYPE_CHECKING:
    from ewmalab.report.pages.page import Report


@dataclass(frozen=True)
class Backtest(Experiment, Result):
    """A finished backtest: an `Experiment`, with notes."""

    notes: tuple[str, ...] = ()
    cache_dir: Path | str = "data_cache"

    def text(self) -> str:
        from ewmalab.replay.results import SummaryRow
        from ewmalab.report.text.backtest import backtest_text

        rows = [SummaryRow.read(row) for row in self.summary]
        return backtest_text(rows, self.manifest["inputs"]) + f"experiment: {self.path}\n"

    def json(self) -> Any:
        synthetic = self.manifest["inputs"]["synthetic"]
        return {"experiment": str(self.path), "synthetic": synthetic, "summary": self.summary}

    def page(self) -> Report:
        from ewmalab.analysis.review import review_backtest
        from ewmalab.report.pages.backtest import backtest_report

        return backtest_report(review_backtest(self, self.cache_dir))


@dataclass(frozen=True)
class Comparison(Result):
    """Differences from a reference on the same prompts.

    Attributes
    ----------
    reference : str
        Name of the reference.
    by : str
        As in `compare`.
    synthetic : bool
    rows : list of Difference
        Changes and bounds are relative; negative is better.
    """

    reference: str
    by: str
    synthetic: bool
    rows: list[Difference]
    notes: tuple[str, ...] = ()

    @property
    def frame(self) -> pd.DataFrame:
        """Return the rows as a DataFrame."""
        return pd.DataFrame([asdict(row) for row in self.rows])

    def text(self) -> str:
        return compare_text(self.rows, self.reference, self.synthetic)

    def json(self) -> Any:
        return {
            "reference": self.reference,
            "by": self.by,
            "synthetic": self.synthetic,
            "rows": [row.plain() for row in self.rows],
        }


def backtest(
    *forecasters: str | Factory,
    name: str = "backtest",
    workers: Workers | int | None = None,
    keep_predictions: Path | str | None = None,
    announce: Callable[[str], None] = print,
    settings: LoadedSettings | None = None,
    progress: Progress | None = None,
    **prompts: Unpack[Prompts],
) -> Backtest:
    """Replay prompts on cached bars, score the forecasts, and save the result as an experiment.

    Parameters
    ----------
    *forecasters : str or class or function
        Names, or classes or functions that make a forecaster; the last is the baseline. By default the setting
        ``replay.forecasters``.
    name : str
        Part of the experiment directory's name.
    workers : Workers or int, optional
        Where the replay runs, or a number of threads; by default a thread per processor. The result does not depend
        on it.
    keep_predictions : path, optional
        Folder for the ensembles of the scored prompts, as the subnet's own backtester names and reads them.
    announce : callable
        Called with how large these will be, before the replay starts.
    settings : LoadedSettings, optional
    progress : callable, optional
        Called with prompts done and the total.
    **prompts
        See `Prompts`.

    Raises
    ------
    ConfigError, RulebookError, MissingDataError, CorruptPartitionError, ForecasterError
    """
    settings = settings or load_settings()
    keep = None if keep_predictions is None else Keeping(Path(keep_predictions), announce)
    _, experiment, notes = replayed(settings, forecasters, check_name(name), workers, progress, prompts, keep=keep)
    return Backtest(experiment.path, notes, settings.values.data.cache_dir)


def compare(
    *named: Experiment | str,
    baseline: str | None = None,
    by: By = "asset",
    common: bool = False,
    workers: Workers | int | None = None,
    settings: LoadedSettings | None = None,
    progress: Progress | None = None,
    **prompts: Unpack[Prompts],
) -> Comparison:
    """Compare forecasters, or finished experiments, on the same prompts.

    Parameters
    ----------
    *named : Experiment or str
        One `Experiment`, to compare its forecasters; or several, to compare the first forecaster of each. Texts name
        forecasters, which are replayed first, or experiments, or ``EXPERIMENT/FORECASTER``.
    baseline : str, optional
        For one experiment, by default its last forecaster. Otherwise one of the names; by default the first.
    by : {"asset", "interval", "hour", "weekday"}
        Rows of the table.
    common : bool
        Compare only the common prompts, instead of refusing different sets.
    workers, settings, progress, **prompts
        As in `backtest`; for forecasters.

    Raises
    ------
    ConfigError, ExperimentError
        If forecasters are replayed, also the errors of `backtest`.
    """
    if by not in PARTS:
        raise ConfigError(f"by = {by!r} is not one of {', '.join(PARTS)}")
    settings = settings or load_settings()
    if len(named) == 1 and isinstance(named[0], Experiment):
        found = NamedScores.within(named[0], baseline)
    elif len(named) < 2:
        raise ConfigError("name at least two: the first is the reference")
    else:
        found = named_scores(named, settings, "compare", progress, prompts, workers=workers)
    frames = found.frames
    if baseline is not None:
        if baseline not in frames:
            raise ConfigError(f"baseline {baseline!r} is not one of {', '.join(frames)}")
        frames = {baseline: frames[baseline], **frames}
    rows = _compare(frames, common=common, by=by)
    return Comparison(next(iter(frames)), by, found.synthetic, rows, found.notes)
