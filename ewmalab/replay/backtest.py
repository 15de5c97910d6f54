"""Run backtests: from a plan to an experiment directory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from time import perf_counter
from typing import Any

import orjson
import pyarrow.parquet as pq

from ewmalab.errors import EngineError
from ewmalab.experiments.store import Experiment, save_experiment
from ewmalab.replay.engines import Workers, check_engine
from ewmalab.replay.plan import BacktestPlan
from ewmalab.replay.results import SUMMARISED, SummaryRow, summarise
from ewmalab.replay.resumable_parts import PartStore, cut, run_parts


def backtest(
    plan: BacktestPlan,
    *,
    now: int,
    name: str = "backtest",
    workers: Workers = Workers("threads", 1),  # noqa: B008  # immutable
    progress: Callable[[int], None] | None = None,
    render: Callable[[list[SummaryRow], Mapping[str, Any]], str] | None = None,
    keep: Path | None = None,
) -> Experiment:
    """Run a plan and write its experiment directory; if it is interrupted, the same call resumes.

    Parameters
    ----------
    plan : BacktestPlan
    now : int
        Current time, seconds since 1970-01-01 UTC; part of the directory's name.
    name : str
        Part of the directory's name.
    workers : Workers
    progress : callable, optional
        Called with the number of forecasts just done.
    render : callable, optional
        Makes the text of the summary from its rows and the inputs.
    keep : Path, optional
        Folder for the ensembles of the scored prompts; see `ewmalab.replay.prediction_files`.

    Raises
    ------
    EngineError
    """
    check_engine(workers.engine, workers.scheduler)
    began = perf_counter()
    root = plan.settings.values.run.experiments_dir
    parts = cut(plan, keep)
    store = PartStore(root, plan, now, keep)
    finished = False
    try:
        known = run_parts(plan, parts, store, workers, progress)
        replayed = perf_counter()
        path = store.folder / "results"
        remarks = store.join(parts, path)
        summary = summarise(pq.read_table(path, columns=SUMMARISED), plan.forecasters[-1])
        inputs = plan.inputs()
        experiment = save_experiment(
            root,
            name,
            now=now,
            inputs=inputs,
            notes={
                "engine": workers.engine,
                "workers": workers.count,
                "seconds": round(replayed - began, 3),
                "remarks": _lines(remarks),
                "resumed": known,
                "layers": orjson.loads(plan.settings.dump()),  # for `read_settings`, to reproduce the run
                "synthetic_parameters": plan.truth(),
                "sources": sorted({entry.source for entry in plan.partitions.values()}),
            },
            results=path,
            summary=[row.plain() for row in summary],
            text=render(summary, inputs) if render else "",
        )
        finished = True
    except (KeyboardInterrupt, EngineError, OSError) as error:
        error.add_note(f"{store.kept} of {len(parts)} parts are kept: the same command resumes")
        raise
    finally:
        store.close(finished=finished)
    return experiment


def _lines(remarks: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Return remarks on the fits made during the replay."""
    return [
        f"{name}: {words} ({count} {'fits' if count > 1 else 'fit'})"
        for name, found in remarks.items()
        for words, count in found.items()
    ]
