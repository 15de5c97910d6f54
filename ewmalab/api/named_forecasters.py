"""Scores of forecasters and finished experiments by name, to compare and rank them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from ewmalab.analysis.compare import scores_of
from ewmalab.analysis.run_differences import differing
from ewmalab.api.inputs import Progress, Prompts, counter, present, range_of, selection_of, workers_of
from ewmalab.atomic_files import check_folder
from ewmalab.close_names import did_you_mean
from ewmalab.errors import ConfigError, ExperimentError
from ewmalab.experiments.store import Experiment, find_experiment, rescued
from ewmalab.forecast.load import BUILT_IN, Factory
from ewmalab.replay.engines import Workers
from ewmalab.settings import LoadedSettings

if TYPE_CHECKING:
    from ewmalab.replay.plan import BacktestPlan
    from ewmalab.replay.schedule import Scheduled


@dataclass(frozen=True)
class NamedScores:
    """Scores of forecasters or experiments, by name.

    Attributes
    ----------
    frames : dict of name to DataFrame
        See `ewmalab.analysis.compare.scores_of`.
    synthetic : bool
        Whether any price is synthetic.
    notes : tuple of str
    made : Experiment or None
        The experiment of a replay.
    """

    frames: dict[str, pd.DataFrame]
    synthetic: bool
    notes: tuple[str, ...] = ()
    made: Experiment | None = None

    @classmethod
    def within(cls, experiment: Experiment, first: str | None) -> NamedScores:
        """Return the forecasters of an experiment, `first` (by default the last of them) before the others."""
        inputs = experiment.manifest["inputs"]
        first = first or inputs["forecasters"][-1]
        names = dict.fromkeys([first, *inputs["forecasters"]])
        return cls({name: scores_of(experiment, name) for name in names}, bool(inputs["synthetic"]))


@dataclass(frozen=True)
class Keeping:
    """Where to keep the ensembles of a replay, and whom to tell how large they will be before it starts."""

    folder: Path
    announce: Callable[[str], None]


def named_scores(
    named: Sequence[Experiment | str],
    settings: LoadedSettings,
    name: str,
    progress: Progress | None,
    prompts: Prompts,
    scheduled: Sequence[Scheduled] | None = None,
    workers: Workers | int | None = None,
) -> NamedScores:
    """Return the scores of finished experiments, or replay forecasters and return theirs.

    Parameters
    ----------
    named : sequence of Experiment or str
    settings : LoadedSettings
    name : str
        Part of the new experiment's directory name.
    progress, prompts
        As in `backtest`.
    scheduled : sequence of Scheduled, optional
        Replay exactly these prompts.
    workers : Workers or int, optional
        Where the replay runs, or a number of threads; by default a thread per processor.

    Raises
    ------
    ConfigError
        If forecasters and experiments are mixed, or a name is a duplicate.
    """
    labels = [one if isinstance(one, str) else one.name for one in named]
    if twice := [label for label in dict.fromkeys(labels) if labels.count(label) > 1]:
        raise ConfigError(f"duplicate name: {twice[0]}; give each name once")
    for one in named:
        if isinstance(one, str):
            _check_known(one, settings.values.run.experiments_dir)
    kinds = {isinstance(one, str) and _is_forecaster(one) for one in named}
    if len(kinds) > 1:
        raise ConfigError(
            "name forecasters or experiments, not both; replay a forecaster first with `ewmalab backtest`"
        )
    if kinds == {False}:
        found = [_finished(one, settings.values.run.experiments_dir) for one in named]
        frames = {label: scores_of(*one) for label, one in zip(labels, found, strict=True)}
        runs = {label: one for label, (one, _) in zip(labels, found, strict=True)}
        return NamedScores(frames, any(one.manifest["inputs"]["synthetic"] for one, _ in found), differing(runs))
    plan, made, notes = replayed(settings, labels, name, workers, progress, prompts, scheduled)
    notes = (*notes, f"experiment: {made.path}")
    return NamedScores({one: scores_of(made, one) for one in plan.forecasters}, plan.data.synthetic, notes, made)


def _check_known(label: str, root: Path) -> None:
    """Refuse a name that is neither a forecaster's nor an experiment's, and say which of either is close."""
    if _is_forecaster(label):
        return
    try:
        _finished(label, root)
    except ExperimentError as error:
        near = did_you_mean(label, BUILT_IN)
        if near and "did you mean" not in str(error):
            raise ConfigError(f"{label!r}: neither a forecaster nor an experiment{near}") from error
        raise


def _is_forecaster(name: str) -> bool:
    return name.partition("@")[0] in BUILT_IN or (":" in name and "/" not in name)


def _finished(named: Experiment | str, root: Path) -> tuple[Experiment, str | None]:
    """Return an experiment, and the forecaster named after a slash."""
    if isinstance(named, Experiment):
        return named, None
    name, slash, forecaster = named.rpartition("/")
    if slash and not (Path(named) / "manifest.json").exists():
        return find_experiment(root, name), forecaster
    return find_experiment(root, named), None


def planned(
    settings: LoadedSettings,
    forecasters: Sequence[str | Factory],
    prompts: Prompts,
    scheduled: Sequence[Scheduled] | None = None,
) -> BacktestPlan:
    """Plan a replay.

    Parameters
    ----------
    settings, prompts, scheduled
        As in `named_scores`.
    forecasters : sequence of str or factory
        By default the setting ``replay.forecasters``.
    """
    from ewmalab.replay.plan import plan_backtest  # slow to import; finished experiments need none

    if scheduled:
        span = range_of(scheduled)
        prompts = {**prompts, "prompts": "scored", "start": span["start"], "days": span["days"]}
    chosen = selection_of(settings, prompts)
    if scheduled:
        chosen["scheduled"] = scheduled
    return plan_backtest(settings, forecasters=forecasters or None, now=present(), **chosen)


def replayed(
    settings: LoadedSettings,
    forecasters: Sequence[str | Factory],
    name: str,
    workers: Workers | int | None,
    progress: Progress | None,
    prompts: Prompts,
    scheduled: Sequence[Scheduled] | None = None,
    keep: Keeping | None = None,
) -> tuple[BacktestPlan, Experiment, tuple[str, ...]]:
    """Plan a replay and run it; also return notes for users.

    Parameters
    ----------
    settings, name, workers, progress, prompts, scheduled
        As in `named_scores`.
    forecasters : sequence of str or factory
        By default the setting ``replay.forecasters``.
    keep : Keeping, optional
        Where to keep the ensembles.
    """
    from ewmalab.replay.backtest import backtest
    from ewmalab.report.text.backtest import backtest_text

    where = workers_of(workers, settings)
    check_folder(settings.values.run.experiments_dir)
    if keep:
        check_folder(keep.folder)
    plan = planned(settings, forecasters, prompts, scheduled)
    if keep:
        from ewmalab.replay.prediction_files import check_room

        asked = (item.prompt for items in plan.groups.values() for item in items)
        keep.announce(check_room(keep.folder, asked, len(plan.forecasters)))
    experiment = backtest(
        plan,
        now=present(),
        name=name,
        workers=where,
        progress=counter(progress, plan.prompts),
        render=backtest_text,
        keep=keep.folder.absolute() if keep else None,
    )
    remarks = experiment.manifest["notes"]["remarks"]
    return plan, experiment, (*rescued(experiment), *plan.warnings(), *(f"note: {line}" for line in remarks))
