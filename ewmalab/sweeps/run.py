"""Every value of the chosen settings on the same prompts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ewmalab.errors import ConfigError, EngineError
from ewmalab.replay.backtest import BacktestPlan
from ewmalab.sweeps.engines import MIN_SECONDS, Engine, check_engine, run_tasks
from ewmalab.sweeps.parameters import Overrides, Parameter, combinations
from ewmalab.sweeps.trials import (
    Ensemble,
    Scores,
    Trial,
    TrialStore,
    ensemble_of,
    forecaster_of,
    identity,
    matters,
    score_trials,
    seed_of,
)
from ewmalab.sweeps.workload import Cell, Workload, cells_of, find_cell, forget_cells, keep_cells
from ewmalab.units import magnitude

REPLICATES = 4  # of ensembles, whose noise is common to all prompts
REPLICATES_EXACT = 2  # prompt by prompt: there it is part of the interval, and each costs a replay


@dataclass(frozen=True, eq=False)
class SweepCell:
    """The scores of one competition and asset.

    Attributes
    ----------
    competition, asset : str
    parameters : tuple of Parameter
        Those that have an effect here.
    values : tuple of overrides
        What was tried.
    configured : int
        Which of them is the present setting.
    starts : (p,) int64
    overlap : float
        How many consecutive prompts share a part of their realised paths.
    scores : (r, k, p) float64
        CRPS by replicate, value and prompt, basis points; NaN where not scored.
    shared : bool
        Whether one ensemble served all prompts, so that its random error is common to them.
    """

    competition: str
    asset: str
    parameters: tuple[Parameter, ...]
    values: tuple[Overrides, ...]
    configured: int
    starts: npt.NDArray[np.int64]
    overlap: float
    scores: npt.NDArray[np.float64]
    shared: bool


@dataclass(frozen=True, eq=False)
class Sweep:
    """A finished sweep.

    Attributes
    ----------
    workload : Workload
    plan : BacktestPlan
        Of the present settings.
    parameters : tuple of Parameter
    cells : list of SweepCell
    untouched : list of (competition, asset)
        Where no parameter has an effect; left out.
    trials, reused : int
        Distinct trials, and how many of them were known from earlier runs.
    """

    workload: Workload
    plan: BacktestPlan
    parameters: tuple[Parameter, ...]
    cells: list[SweepCell]
    untouched: list[tuple[str, str]]
    trials: int
    reused: int


@dataclass(frozen=True, eq=False)
class _Task:
    workload: Workload
    trials: tuple[Trial, ...]
    names: tuple[str, ...]


def run_sweep(
    workload: Workload,
    parameters: Sequence[Parameter],
    *,
    now: int,
    replicates: int | None = None,
    store: TrialStore | None = None,
    fresh: bool = False,
    engine: Engine = "threads",
    workers: int = 1,
    scheduler: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Sweep:
    """Score every combination of values, and the present settings, on the same prompts.

    Parameters
    ----------
    workload : Workload
    parameters : sequence of Parameter
    now : int
        The present; bars of the synthetic feed that the cache lacks are made.
    replicates : int, optional
        Independent sets of random numbers, to tell Monte Carlo noise; by default 4 ensembles, or 2 simulations of each
        prompt.
    store : TrialStore, optional
        Where finished trials are kept and found again.
    fresh : bool
        Compute also what the store has.
    engine, workers, scheduler
        See `ewmalab.sweeps.engines.run_tasks`.
    progress : callable, optional
        Called with trials done and trials in all.

    Raises
    ------
    ConfigError
        If the parameters have no effect on any of the prompts.
    """
    check_engine(engine, scheduler)
    plan = workload.plan(workload.settings, workload.assets, now)
    cells = cells_of(plan)
    forget_cells(workload)  # of an earlier sweep: the cache may have changed
    keep_cells(workload, cells)
    layouts: list[_Layout] = []
    untouched: list[tuple[str, str]] = []
    for group, cell in cells.items():
        layout = _lay_out(workload, cell, parameters, replicates, now)
        if layout is None:
            untouched.append(group)
        else:
            layouts.append(layout)
    if not layouts:
        names = ", ".join(p.key for p in parameters)
        raise ConfigError(f"{names}: no effect on prompts of {', '.join(sorted({c for c, _ in cells}))}")

    wanted: dict[str, Trial] = {}
    for layout in layouts:
        for trial, name in zip(layout.trials, layout.names, strict=True):
            wanted.setdefault(name, trial)
    found: dict[str, Scores] = {}
    if store is not None:
        store.delete_leftovers(now)
    if store is not None and not fresh:
        for name in wanted:
            known = store.get(name)
            if known is not None:
                found[name] = known
    reused = len(found)
    if progress:
        progress(reused, len(wanted))
    pending = {name: trial for name, trial in wanted.items() if name not in found}
    tasks = _cut(workload, pending, MIN_SECONDS[engine])
    for result in run_tasks(_run, tasks, engine=engine, workers=workers, scheduler=scheduler):
        for name, scores in result:
            if store is not None:
                store.put(name, scores)
            found[name] = scores
        if progress:
            progress(len(found), len(wanted))
    return Sweep(
        workload, plan, tuple(parameters), [layout.collect(found) for layout in layouts], untouched, len(wanted), reused
    )


@dataclass(frozen=True, eq=False)
class _Layout:
    """The trials of one cell: for each replicate, each value."""

    cell: Cell
    parameters: tuple[Parameter, ...]
    values: tuple[Overrides, ...]
    configured: int
    replicates: int
    trials: tuple[Trial, ...]
    names: tuple[str, ...]
    shared: bool

    def collect(self, found: dict[str, Scores]) -> SweepCell:
        shape = (self.replicates, len(self.values), len(self.cell.starts))
        scores = np.array([found[name] for name in self.names]).reshape(shape)
        return SweepCell(
            self.cell.competition, self.cell.asset, self.parameters, self.values, self.configured,
            self.cell.starts, self.cell.overlap, scores, self.shared,
        )  # fmt: skip


def _lay_out(
    workload: Workload, cell: Cell, parameters: Sequence[Parameter], replicates: int | None, now: int
) -> _Layout | None:
    mattering = tuple(p for p in parameters if matters(workload, p.key, cell.time_increment))
    if not mattering:
        return None
    present = tuple((p.key, p.configured(workload.settings, cell.asset)) for p in mattering)
    values = combinations(mattering)
    if present not in values:
        values.append(present)
        values.sort(key=_scale)
    for overrides in values:  # while there is a present: who scores trials later has none
        find_cell(workload, (cell.competition, cell.asset), overrides, now)
    ensembles = [ensemble_of_trial(workload, Trial(cell.competition, cell.asset, v)) for v in values]
    shared = None not in ensembles
    exact = not shared and any(ensembles)  # some could share one: but values are compared on the same random numbers
    count = replicates or (REPLICATES if shared else REPLICATES_EXACT)
    trials = tuple(Trial(cell.competition, cell.asset, v, r, exact) for r in range(count) for v in values)
    names = tuple(identity(workload, find_cell(workload, t.group, t.overrides), t) for t in trials)
    return _Layout(cell, mattering, tuple(values), values.index(present), count, trials, names, shared)


def _scale(overrides: Overrides) -> tuple[tuple[float, str], ...]:
    return tuple((-np.inf if (m := magnitude(value)) is None else m, str(value)) for _, value in overrides)


def ensemble_of_trial(workload: Workload, trial: Trial) -> Ensemble | None:
    """Return what names the ensemble that serves a trial, if one does."""
    cell = find_cell(workload, trial.group, trial.overrides)
    settings = workload.with_overrides(trial.overrides)
    forecaster = forecaster_of(workload, cell, settings)
    return ensemble_of(workload, cell, forecaster, seed_of(settings, trial.replicate), trial)


def _cut(workload: Workload, pending: dict[str, Trial], least: float) -> list[_Task]:
    """Cut trials into tasks that take at least so many seconds; those that share an ensemble stay together."""
    groups: dict[object, list[tuple[str, Trial]]] = {}
    costs: dict[object, float] = {}
    for name, trial in pending.items():
        ensemble = ensemble_of_trial(workload, trial)
        cell = find_cell(workload, trial.group, trial.overrides)
        first = cell.prompts[0]
        key: object
        if ensemble is None:
            # one asset's trials stand together: they read the same bars
            key = (trial.asset, trial.overrides, trial.replicate, trial.competition)
            costs[key] = 3e-9 * len(cell.prompts) * first.steps * first.num_simulations
        else:
            key = ensemble
            changes = sum(len(o.begin) for _, o in cell.observations.values())
            costs[key] = costs.get(key, 1.1e-8 * changes * ensemble[4]) + 1.7e-8 * changes * len(cell.prompts)
        groups.setdefault(key, []).append((name, trial))
    tasks: list[_Task] = []
    block: list[tuple[str, Trial]] = []
    seconds = 0.0
    for key in groups:
        block += groups[key]
        seconds += costs[key]
        if seconds >= least:
            tasks.append(_task(workload, block))
            block, seconds = [], 0.0
    if block:
        tasks.append(_task(workload, block))
    return tasks


def _task(workload: Workload, block: list[tuple[str, Trial]]) -> _Task:
    return _Task(workload, tuple(trial for _, trial in block), tuple(name for name, _ in block))


def _run(task: _Task) -> list[tuple[str, Scores]]:
    """Score a task's trials, wherever this runs; its bars, settings and code must be those of who asks."""
    if _names(task) != task.names:
        forget_cells(task.workload)  # a worker that outlived an earlier sweep may hold bars that have changed since
        if _names(task) != task.names:
            raise EngineError(
                "a worker sees other bars, or runs other code, than the process that asks: give all the same "
                "data.cache_dir (a shared folder or a URL) and the same versions"
            )
    return list(zip(task.names, score_trials(task.workload, task.trials), strict=True))


def _names(task: _Task) -> tuple[str, ...]:
    return tuple(
        identity(task.workload, find_cell(task.workload, trial.group, trial.overrides), trial) for trial in task.trials
    )
