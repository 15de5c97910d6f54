"""Score every value of the chosen settings on the same prompts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import numpy.typing as npt

from ewmalab.errors import ConfigError, EngineError
from ewmalab.replay.data import Group
from ewmalab.replay.engines import MIN_SECONDS, OTHER_WORKER, Engine, check_engine, run_tasks
from ewmalab.replay.plan import BacktestPlan
from ewmalab.sweeps.parameters import Overrides, Parameter, combinations
from ewmalab.sweeps.scores import score_trials
from ewmalab.sweeps.trials import ResolvedTrial, Scores, Trial, TrialStore, matters
from ewmalab.sweeps.workload import Cell, Workload
from ewmalab.units import magnitude

REPLICATES = 4  # of ensembles, whose noise is common to all prompts
REPLICATES_EXACT = 2  # prompt by prompt, where the noise is part of the interval and each replicate costs a replay


@dataclass(frozen=True, eq=False)
class SweepCell:
    """The scores of one competition and asset.

    Attributes
    ----------
    competition, asset : str
    parameters : tuple of Parameter
        Parameters that have an effect here.
    values : tuple of overrides
        The values tried.
    configured : int
        Index of the configured value.
    starts : (p,) int64
    overlap : float
        Number of consecutive prompts that share a part of their realised paths.
    scores : (r, k, p) float64
        CRPS by replicate, value and prompt, basis points; NaN where not scored.
    shared : bool
        Whether one ensemble served all prompts, which then share its random error.
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
        Plan of the configured settings.
    parameters : tuple of Parameter
    cells : list of SweepCell
    untouched : list of (competition, asset)
        Left out because no parameter has an effect.
    trials, reused : int
        Distinct trials, and how many of them earlier runs had finished.
    """

    workload: Workload
    plan: BacktestPlan
    parameters: tuple[Parameter, ...]
    cells: list[SweepCell]
    untouched: list[Group]
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
    """Score every combination of values, and the configured settings, on the same prompts.

    Parameters
    ----------
    workload : Workload
    parameters : sequence of Parameter
    now : int
        Current time, seconds since 1970-01-01 UTC. Synthetic bars that the cache lacks are generated.
    replicates : int, optional
        Independent sets of random numbers, to estimate Monte Carlo noise; by default 4 ensembles, or 2 simulations of
        each prompt.
    store : TrialStore, optional
        Keeps finished trials for reuse.
    fresh : bool
        Recompute trials that the store has.
    engine, workers, scheduler
        See `ewmalab.replay.engines.run_tasks`.
    progress : callable, optional
        Called with the numbers of finished trials and of all steps: the trials, and the cells to be judged afterwards.

    Raises
    ------
    ConfigError
        If the parameters have no effect on any prompt.
    """
    check_engine(engine, scheduler)
    plan = workload.plan(workload.settings, workload.assets, now)
    layouts, untouched = _lay_out_all(workload, workload.keep(plan), parameters, replicates, now)
    wanted: dict[str, ResolvedTrial] = {}
    for trial in chain.from_iterable(layout.trials for layout in layouts):
        wanted.setdefault(trial.name, trial)
    found: dict[str, Scores] = {}
    if store is not None:
        store.delete_leftovers(now)
    if store is not None and not fresh:
        found = {name: known for name in wanted if (known := store.get(name)) is not None}
    reused = len(found)
    steps = len(wanted) + len(layouts)
    if progress:
        progress(reused, steps)
    pending = [trial for name, trial in wanted.items() if name not in found]
    tasks = _cut(workload, pending, MIN_SECONDS[engine])
    for result in run_tasks(_run, tasks, engine=engine, workers=workers, scheduler=scheduler):
        for name, scores in result:
            if store is not None:
                store.put(name, scores)
            found[name] = scores
        if progress:
            progress(len(found), steps)
    swept = [layout.collect(found) for layout in layouts]
    return Sweep(workload, plan, tuple(parameters), swept, untouched, len(wanted), reused)


@dataclass(frozen=True, eq=False)
class _Layout:
    """The trials of one competition and asset: all values of each replicate."""

    cell: Cell
    parameters: tuple[Parameter, ...]
    values: tuple[Overrides, ...]
    configured: int
    replicates: int
    trials: tuple[ResolvedTrial, ...]
    shared: bool

    def collect(self, found: dict[str, Scores]) -> SweepCell:
        shape = (self.replicates, len(self.values), len(self.cell.starts))
        scores = np.array([found[trial.name] for trial in self.trials]).reshape(shape)
        return SweepCell(
            self.cell.competition,
            self.cell.asset,
            self.parameters,
            self.values,
            self.configured,
            self.cell.starts,
            self.cell.overlap,
            scores,
            self.shared,
        )


def _lay_out_all(
    workload: Workload, cells: Mapping[Group, Cell], parameters: Sequence[Parameter], replicates: int | None, now: int
) -> tuple[list[_Layout], list[Group]]:
    """Return the layouts of the cells that some parameter has an effect on, and the other cells."""
    found = {group: _lay_out(workload, cell, parameters, replicates, now) for group, cell in cells.items()}
    layouts = [layout for layout in found.values() if layout is not None]
    if not layouts:
        names = ", ".join(p.key for p in parameters)
        raise ConfigError(f"{names}: no effect on prompts of {', '.join(sorted({c for c, _ in cells}))}")
    return layouts, [group for group, layout in found.items() if layout is None]


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
    group = cell.competition, cell.asset
    # Resolved here with `now`, which generates synthetic bars; workers that score trials later have none.
    first = [ResolvedTrial.of(workload, Trial(*group, overrides), now) for overrides in values]
    shared = all(trial.ensemble is not None for trial in first)
    # Even if some could share an ensemble, all values must use the same random numbers.
    exact = not shared and any(trial.ensemble is not None for trial in first)
    count = replicates or (REPLICATES if shared else REPLICATES_EXACT)
    trials = tuple(
        first[i] if r == 0 and not exact else ResolvedTrial.of(workload, Trial(*group, overrides, r, exact))
        for r in range(count)
        for i, overrides in enumerate(values)
    )
    return _Layout(cell, mattering, tuple(values), values.index(present), count, trials, shared)


def _scale(overrides: Overrides) -> tuple[tuple[float, str], ...]:
    return tuple((-np.inf if (m := magnitude(value)) is None else m, str(value)) for _, value in overrides)


def _cut(workload: Workload, pending: Sequence[ResolvedTrial], least: float) -> list[_Task]:
    """Divide trials into tasks of at least so many seconds; those that share an ensemble or paths stay together."""
    groups: dict[object, list[ResolvedTrial]] = {}
    costs: dict[object, float] = {}
    for resolved in pending:
        cell, ensemble = resolved.cell, resolved.ensemble
        first = cell.prompts[0]
        key: object
        if ensemble is None:
            key = resolved.source.name
            points = len(cell.prompts) * first.steps * first.num_simulations
            costs[key] = costs.get(key, 2.5e-9 * points) + 5e-10 * points
        else:
            key = ensemble
            changes = sum(len(o.begin) for _, o in cell.observations.values())
            paths, count = ensemble[3:5]
            costs[key] = costs.get(key, 1.1e-8 * changes * count * paths)
            costs[key] += 1.7e-8 * changes * count * len(cell.prompts)
        groups.setdefault(key, []).append(resolved)
    tasks: list[_Task] = []
    block: list[ResolvedTrial] = []
    seconds = 0.0
    for key, members in groups.items():
        block += members
        seconds += costs[key]
        if seconds >= least:
            tasks.append(_task(workload, block))
            block, seconds = [], 0.0
    if block:
        tasks.append(_task(workload, block))
    return tasks


def _task(workload: Workload, block: Sequence[ResolvedTrial]) -> _Task:
    return _Task(workload, tuple(t.trial for t in block), tuple(t.name for t in block))


def _run(task: _Task) -> list[tuple[str, Scores]]:
    """Score a task's trials; bars, settings and code here must equal those of the calling process."""
    trials = [ResolvedTrial.of(task.workload, trial) for trial in task.trials]
    if tuple(trial.name for trial in trials) != task.names:
        raise EngineError(OTHER_WORKER)
    return list(zip(task.names, score_trials(trials), strict=True))
