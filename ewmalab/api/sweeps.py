"""Sweeps and tuning of settings, and the settings file of values that are proven better."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from time import perf_counter
from typing import Any, Unpack

from ewmalab.api.inputs import Parameters, Progress, Prompts, check_name, present, selection_of, values_of, worker_count
from ewmalab.api.result import Outcome
from ewmalab.api.sweep_results import KeptSweep, KeptTuning, SweepRequest
from ewmalab.atomic_files import check_folder
from ewmalab.errors import ConfigError
from ewmalab.experiments.store import Experiment
from ewmalab.experiments.unfinished_sweeps import kept_until_done, newest_unfinished
from ewmalab.replay.engines import Engine, check_engine
from ewmalab.report.text.sweep import sweep_text, tune_text
from ewmalab.settings import LoadedSettings, load_settings
from ewmalab.sweeps import config_file
from ewmalab.sweeps import sweep as sweeps
from ewmalab.sweeps import tune as tuning
from ewmalab.sweeps.request import check_request
from ewmalab.sweeps.sweep import SweepResult
from ewmalab.sweeps.trials import TrialStore
from ewmalab.sweeps.tune import TuneResult
from ewmalab.times import iso


def sweep(
    parameters: Parameters,
    *,
    forecaster: str = "ewma",
    walk_forward: str | None = None,
    exact: bool = False,
    name: str | None = "sweep",
    threads: int | None = None,
    settings: LoadedSettings | None = None,
    progress: Progress | None = None,
    **prompts: Unpack[Prompts],
) -> KeptSweep:
    """Try values of settings on the same prompts, and judge which is best and how certain that is.

    Parameters
    ----------
    parameters : mapping of name to values, or sequence of names
        ``{"half_life_1m": ["15m", "30m", "1h"]}``; None, or names alone, mean the default grid.
    forecaster, walk_forward, exact, name
        See `SweepRequest`.
    threads : int, optional
        By default one per processor.
    settings : LoadedSettings, optional
    progress : callable, optional
        Called with trials done and the total.
    **prompts
        See `Prompts`.

    Returns
    -------
    KeptSweep
        A `SweepResult`: ``result.cells[i].words()`` is the verdict.

    Raises
    ------
    ConfigError, RulebookError, MissingDataError, CorruptPartitionError, ForecasterError
    """
    request = SweepRequest(
        values_of(parameters),
        settings or load_settings(),
        prompts,
        forecaster,
        exact=exact,
        walk_forward=walk_forward,
        name=name,
    )
    return run_sweep(request, workers=threads or 0, progress=progress)


def run_sweep(
    request: SweepRequest,
    *,
    fresh: bool = False,
    engine: Engine = "threads",
    workers: int = 0,
    scheduler: str | None = None,
    progress: Progress | None = None,
) -> KeptSweep:
    """Run a sweep; if it is interrupted, `unfinished_sweep` returns it.

    Parameters
    ----------
    request : SweepRequest
    fresh : bool
        Recompute trials that are known from earlier runs.
    engine, scheduler
        Where trials run, see `ewmalab.replay.engines.run_tasks`; the result is the same.
    workers : int
        0: one per processor.
    progress : callable, optional
        Called with trials done and the total.

    Raises
    ------
    ConfigError, RulebookError, MissingDataError, CorruptPartitionError, ForecasterError, EngineError
    """
    settings, began = request.settings, perf_counter()
    check_engine(engine, scheduler)
    if request.name is not None:
        check_folder(settings.values.run.experiments_dir)
    config_file.refuse_existing(request.write_config)
    if request.name is not None:
        check_name(request.name)
    check_request(settings, request.parameters, request.forecaster, request.walk_forward)
    chosen = selection_of(settings, request.prompts)
    workload = sweeps.workload_of(settings, forecaster=request.forecaster, exact=request.exact, **chosen)
    # The newest days may have changed by the time that an interrupted sweep is resumed.
    prompts: Prompts = {**request.prompts, "start": iso(workload.start), "assets": chosen["assets"]}
    count = worker_count(workers, settings)

    def run() -> SweepResult:
        return sweeps.sweep(
            settings,
            request.parameters,
            now=present(),
            workload=workload,
            replicates=request.replicates,
            forward=request.walk_forward,
            fresh=fresh,
            engine=engine,
            workers=count,
            scheduler=scheduler,
            progress=progress,
        )

    if request.name is None:
        return _kept_sweep(run(), None, request, began)
    with kept_until_done(settings.values.run.experiments_dir, replace(request, prompts=prompts).plain()):
        result = run()
        text = sweep_text(result.summary, result.inputs)
        notes = {"engine": engine, "workers": count, "seconds": round(perf_counter() - began, 3)}
        experiment = sweeps.save_sweep(result, now=present(), name=request.name, text=text, notes=notes)
    return _kept_sweep(result, experiment, request, began)


def unfinished_sweep(settings: LoadedSettings | None = None) -> SweepRequest:
    """Return the newest interrupted sweep, to be run again; its finished trials are kept.

    Raises
    ------
    ConfigError
        If there is none.
    """
    return SweepRequest.of_plain(newest_unfinished((settings or load_settings()).values.run.experiments_dir))


def tune(
    parameters: Parameters,
    *,
    forecaster: str = "ewma",
    exact: bool = False,
    trials: int = 60,
    holdout: float = 0.3,
    study: str | None = None,
    name: str | None = "tune",
    threads: int | None = None,
    settings: LoadedSettings | None = None,
    progress: Progress | None = None,
    **prompts: Unpack[Prompts],
) -> KeptTuning:
    """Search several settings at once, and judge the best on held-out days.

    Parameters
    ----------
    parameters, forecaster, exact, name, threads, settings, progress, **prompts
        As in `sweep`.
    trials : int
        Trials per competition and asset.
    holdout : float
        Share of the time range, at its end, that is held out for judging.
    study : str, optional
        Journal file of the studies, or a database URL; several processes may share it.

    Raises
    ------
    ConfigError, RulebookError, MissingDataError, CorruptPartitionError, ForecasterError
    """
    settings = settings or load_settings()
    if name is not None:
        check_name(name)
        check_folder(settings.values.run.experiments_dir)
    for parameter in check_request(settings, values_of(parameters), forecaster):
        if len(parameter.values) < 2:
            raise ConfigError(f"{parameter.key}: nothing to search: give two bounds, or more choices")
    chosen = selection_of(settings, prompts)
    result = tuning.tune(
        sweeps.workload_of(settings, forecaster=forecaster, exact=exact, **chosen),
        values_of(parameters),
        now=present(),
        trials=trials,
        holdout=holdout,
        study=study,
        store=TrialStore.of(settings),
        workers=worker_count(threads, settings),
        progress=progress,
    )
    experiment = None
    if name is not None:
        text = tune_text(result.chosen, result.held_out.summary, result.held_out.inputs)
        notes = {"chosen": result.chosen}
        experiment = sweeps.save_sweep(result.held_out, now=present(), name=name, text=text, notes=notes)
    return KeptTuning(**_fields(result), experiment=experiment)


def write_config(result: SweepResult | TuneResult, path: Path | str, *, force: bool = False) -> Outcome[list[str]]:
    """Write values that are proven better as a settings file; return the settings left alone, with reasons.

    Parameters
    ----------
    result : SweepResult or TuneResult
    path : path
        Must not exist.
    force : bool
        Write the best value even if the data cannot tell it from the configured one.

    Raises
    ------
    ConfigError
        If the file exists, or no value may be written.
    """
    judged = result.held_out if isinstance(result, TuneResult) else result
    left = config_file.write_config(Path(path), judged, now=present(), force=force)
    return Outcome(
        "Settings file",
        left,
        lambda lines: "".join([f"written: {path}\n", *(f"  left alone: {line}\n" for line in lines)]),
        lambda lines: {"config": str(path), "left": lines},
    )


def _fields(result: SweepResult | TuneResult) -> dict[str, Any]:
    return {field.name: getattr(result, field.name) for field in fields(result)}


def _kept_sweep(result: SweepResult, experiment: Experiment | None, request: SweepRequest, began: float) -> KeptSweep:
    return KeptSweep(**_fields(result), experiment=experiment, request=request, seconds=perf_counter() - began)
