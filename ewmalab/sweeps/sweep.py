"""Sweeps: from settings to judged values, and to an experiment directory."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Unpack

import numpy as np
import orjson
import pyarrow as pa

from ewmalab.errors import ConfigError
from ewmalab.experiments.store import Document, Experiment, save_experiment
from ewmalab.forecast.streams import RandomStream
from ewmalab.inference.intervals import LEVEL
from ewmalab.replay.engines import Engine
from ewmalab.replay.newest_days import newest_days
from ewmalab.replay.schedule import Selection
from ewmalab.rulebook import RuleChoice
from ewmalab.settings import LoadedSettings
from ewmalab.sweeps.judge import MARGIN, CellResult, WalkForward, judge, walk_forward
from ewmalab.sweeps.parameters import label, resolve_all
from ewmalab.sweeps.request import parse_walk_forward
from ewmalab.sweeps.run import REPLICATES, REPLICATES_EXACT, Sweep, run_sweep
from ewmalab.sweeps.trials import TrialStore
from ewmalab.sweeps.workload import Workload


@dataclass(frozen=True, eq=False)
class SweepResult:
    """A sweep and its verdicts.

    Attributes
    ----------
    sweep : Sweep
        Scores of every value and prompt.
    cells : list of CellResult
    forward : list of WalkForward
        Empty unless requested.
    inputs : dict
        Everything that determines the result.
    """

    sweep: Sweep
    cells: list[CellResult]
    forward: list[WalkForward]
    inputs: Document

    @property
    def summary(self) -> list[Document]:
        """Return one plain dict per competition and asset."""
        forward = {(f.competition, f.asset): f for f in self.forward}
        return [_cell_row(cell, forward.get((cell.competition, cell.asset))) for cell in self.cells]

    def table(self) -> pa.Table:
        """Return one row per value and prompt: CRPS per replicate and their mean, basis points."""
        return _table(self.sweep)

    def digest(self) -> str:
        """Return a sha256 of scores and verdicts, equal for equal inputs on any engine and any number of workers."""
        sha = hashlib.sha256(orjson.dumps(self.summary, option=orjson.OPT_SORT_KEYS))
        for cell in self.sweep.cells:
            sha.update(cell.scores.tobytes())
        return sha.hexdigest()


def workload_of(
    settings: LoadedSettings, *, forecaster: str = "ewma", exact: bool = False, **selection: Unpack[Selection]
) -> Workload:
    """Describe the prompts of a sweep.

    Parameters
    ----------
    settings : LoadedSettings
    forecaster : str
        As in a backtest; a preset (``ewma@seed``) is allowed.
    exact : bool
        Simulate every prompt separately.
    **selection
        See `Selection`; by default the newest 7 days that the cache can score, for the assets it has.

    Raises
    ------
    ConfigError, MissingDataError
    """
    rules, days = selection.get("rules") or RuleChoice(), selection.get("days", 7.0)
    competitions, assets = selection.get("competitions"), selection.get("assets")
    start = selection.get("start")
    if start is None:
        start, assets = newest_days(settings.values, days, rules, competitions, assets)
    return Workload.of(
        settings,
        forecaster,
        start=start,
        days=days,
        rules=rules,
        competitions=tuple(competitions) if competitions else None,
        assets=tuple(assets) if assets else None,
        which=selection.get("which", "scored"),
        scheduled=tuple(given) if (given := selection.get("scheduled")) else None,
        cadence=selection.get("cadence"),
        num_simulations=selection.get("num_simulations"),
        partial=selection.get("partial", False),
        exact=exact,
    )


def sweep(
    settings: LoadedSettings,
    parameters: Mapping[str, Sequence[str] | None] | Sequence[str],
    *,
    now: int,
    workload: Workload | None = None,
    replicates: int | None = None,
    forward: str | None = None,
    fresh: bool = False,
    engine: Engine = "threads",
    workers: int = 1,
    scheduler: str | None = None,
    progress: Callable[[int, int], None] | None = None,
    **selection: Unpack[Selection],
) -> SweepResult:
    """Try values of settings on the same prompts and judge them.

    Parameters
    ----------
    settings : LoadedSettings
    parameters : mapping of name to values, or sequence of names
        Names as in `ewmalab.sweeps.parameters.resolve`; None takes the default grid. Several form a joint grid.
    now : int
        Current time, seconds since 1970-01-01 UTC.
    workload : Workload, optional
        Instead of `selection`.
    replicates : int, optional
        Independent sets of random numbers per trial; by default 4 ensembles, or 2 simulations of each prompt.
    forward : str, optional
        ``5d/1d``: choose on one window, score on the next.
    fresh : bool
        Recompute trials that earlier runs finished.
    engine, workers, scheduler
        See `ewmalab.replay.engines.run_tasks`.
    progress : callable, optional
        Called with the numbers of finished and of all steps: trials, and cells to judge.
    **selection
        See `workload_of`.

    Returns
    -------
    SweepResult

    Raises
    ------
    ConfigError, RulebookError, MissingDataError, CorruptPartitionError, ForecasterError, EngineError
    """
    workload = workload or workload_of(settings, **selection)
    windows = parse_walk_forward(forward) if forward else None
    done = run_sweep(
        workload,
        resolve_all(parameters, workload.settings, workload.forecaster),
        now=now,
        replicates=replicates,
        store=TrialStore.of(settings),
        fresh=fresh,
        engine=engine,
        workers=workers,
        scheduler=scheduler,
        progress=progress,
    )
    return judge_sweep(done, replicates=replicates, windows=windows, progress=progress)


def judge_sweep(
    done: Sweep,
    *,
    replicates: int | None = None,
    windows: tuple[int, int] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> SweepResult:
    """Judge the scores of a sweep by competition and asset, each with its own random stream.

    Parameters
    ----------
    done : Sweep
    replicates : int, optional
        As in `sweep`.
    windows : (int, int), optional
        Lengths of a walk-forward's windows, seconds.
    progress : callable, optional
        Called with the numbers of finished and of all steps, trials included.
    """
    seed = done.workload.settings.values.run.seed
    cells, forward = [], []
    for cell in done.cells:
        stream = RandomStream.of(seed, cell.asset, f"judge/{cell.competition}", int(cell.starts[0]))
        cells.append(judge(cell, stream.generator()))
        if windows:
            horizon = done.plan.groups[cell.competition, cell.asset][0].prompt.time_length
            found = walk_forward(cell, *windows, horizon)
            if found is not None:
                forward.append(found)
        if progress:
            progress(done.trials + len(cells), done.trials + len(done.cells))
    if windows and not forward:
        raise ConfigError("walk-forward: the windows are longer than the prompts' range; replay more days")
    return SweepResult(done, cells, forward, _inputs(done, replicates, windows))


def save_sweep(
    result: SweepResult, *, now: int, name: str = "sweep", notes: Mapping[str, Any] | None = None, text: str = ""
) -> Experiment:
    """Write a sweep's experiment directory.

    Parameters
    ----------
    result : SweepResult
    now : int
        Current time, seconds since 1970-01-01 UTC; part of the directory's name.
    name : str
        Part of the directory's name.
    notes : mapping, optional
        Additions to the notes of the manifest.
    text : str
        The summary for people.
    """
    plan = result.sweep.plan
    return save_experiment(
        plan.settings.values.run.experiments_dir,
        name,
        now=now,
        inputs=result.inputs,
        notes={
            "trials": result.sweep.trials,
            "reused": result.sweep.reused,
            "digest": result.digest(),
            "synthetic_parameters": plan.truth(),
            **(notes or {}),
        },
        results=result.table(),
        summary=result.summary,
        text=text,
    )


def _inputs(done: Sweep, replicates: int | None, windows: tuple[int, int] | None) -> Document:
    inputs = done.plan.inputs()
    inputs["kind"] = "sweep"
    inputs["forecasters"] = [done.workload.name]
    inputs["sweep"] = {
        "parameters": {p.key: list(p.values) for p in done.parameters},
        "replicates": replicates or {"ensembles": REPLICATES, "prompts": REPLICATES_EXACT},
        "exact": done.workload.exact,
        "walk_forward": list(windows) if windows else None,
        "level": LEVEL,
        "margin": MARGIN,
    }
    return inputs


def _cell_row(cell: CellResult, forward: WalkForward | None) -> Document:
    best, present = cell.values[cell.best], cell.values[cell.configured]
    base, enough = present.mean_crps, cell.dependence.enough
    row: Document = {
        "competition": cell.competition,
        "asset": cell.asset,
        "prompts": cell.prompts,
        "configured": label(present.value),
        "best": label(best.value),
        "mean_crps_configured": present.mean_crps,
        "mean_crps_best": best.mean_crps,
        "change": cell.change,
        "change_low": best.difference.low / base,
        "change_high": best.difference.high / base,
        "p_value": best.p_value if enough else None,
        "p_holm": best.p_holm if enough else None,
        "monte_carlo": best.monte_carlo_sd / base,
        "monte_carlo_in_interval": not cell.shared,
        "block": cell.dependence.block,
        "independent": cell.dependence.stretches,
        "shortage": cell.dependence.shortage,
        "verdict": cell.verdict,
        "edges": cell.edges,
        "words": cell.words(),
        "values": [
            {
                "value": dict(v.value),
                "label": label(v.value),
                "mean_crps": v.mean_crps,
                "difference": v.difference.mean,
                "low": v.difference.low,
                "high": v.difference.high,
                "p_value": v.p_value if enough else None,
                "p_holm": v.p_holm if enough else None,
                "not_ruled_out": v.not_ruled_out,
                "equivalent": v.equivalent,
                "monte_carlo_sd": v.monte_carlo_sd,
            }
            for v in cell.values
        ],
    }
    if forward is not None:
        row["walk_forward"] = {
            "windows": [{"start": start, "chosen": label(value)} for start, value in forward.windows],
            "prompts": forward.prompts,
            "in_sample": forward.in_sample,
            "out_of_sample": forward.out_of_sample,
            "low": forward.low,
            "high": forward.high,
            "optimism": forward.optimism,
        }
    return row


def _table(done: Sweep) -> pa.Table:
    parts = []
    for cell in done.cells:
        replicates, count, prompts = cell.scores.shape
        columns: dict[str, Any] = {
            "competition": pa.array([cell.competition] * (count * prompts)).dictionary_encode(),
            "asset": pa.array([cell.asset] * (count * prompts)).dictionary_encode(),
            "value": pa.array(np.repeat([label(v) for v in cell.values], prompts)).dictionary_encode(),
            "configured": np.repeat(np.arange(count) == cell.configured, prompts),
            "start_time": np.tile(cell.starts, count),
            "crps": cell.scores.mean(axis=0).ravel(),
        }
        for r in range(replicates):
            columns[f"crps_{r}"] = cell.scores[r].ravel()
        parts.append(pa.table(columns))
    return pa.concat_tables(parts, promote_options="default").unify_dictionaries()
