"""Tune several continuous settings at once with optuna, and judge the choice on later days."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ewmalab.errors import ConfigError
from ewmalab.sweeps.parameters import Overrides, Parameter, label, resolve_all
from ewmalab.sweeps.run import Sweep, SweepCell
from ewmalab.sweeps.scores import score_trials
from ewmalab.sweeps.sweep import SweepResult, judge_sweep
from ewmalab.sweeps.trials import ResolvedTrial, Scores, Trial, TrialStore, matters
from ewmalab.sweeps.workload import Cell, Workload
from ewmalab.times import DAY, MINUTE
from ewmalab.units import format_duration, magnitude

if TYPE_CHECKING:
    import optuna

REPLICATES = 2
_STARTUP = 10  # trials drawn at random before the sampler learns


@dataclass(frozen=True, eq=False)
class TuneResult:
    """The result of tuning.

    Attributes
    ----------
    held_out : SweepResult
        The tuned values against the configured ones, on prompts that were not used for the choice.
    chosen : list of dict
        Per competition and asset: ``competition, asset, trials, prompts, configured, best, in_sample`` (relative change
        on the prompts used for the choice).
    """

    held_out: SweepResult
    chosen: list[dict[str, Any]]


def tune(
    workload: Workload,
    parameters: Mapping[str, Sequence[str] | None] | Sequence[str],
    *,
    now: int,
    trials: int = 60,
    holdout: float = 0.3,
    study: str | None = None,
    store: TrialStore | None = None,
    replicates: int = REPLICATES,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> TuneResult:
    """Search several settings at once, one study per competition and asset.

    Parameters
    ----------
    workload : Workload
    parameters : mapping of name to values, or sequence of names
        For ordered settings the smallest and largest value (by default those of the default grid) bound the search;
        for others the values are the choices.
    now : int
        Current time, seconds since 1970-01-01 UTC.
    trials : int
        Trials per study, including those of earlier runs and of other processes.
    holdout : float
        Share of the time range, at its end, that is kept for judging. Prompts whose path reaches into it are not used
        for the choice.
    study : str, optional
        Journal file of the studies, or the URL of a database (``sqlite:///tune.db``), which Optuna's dashboard reads.
        Several processes may share it. By default a journal in the experiments folder, named by content, so that the
        same command resumes the studies.
    store : TrialStore, optional
    replicates, workers
        As in a sweep; studies run in parallel.
    progress : callable, optional
        Called with the numbers of finished and of all trials.

    Raises
    ------
    ConfigError
        If no setting affects any prompt, or the range is too short to keep days for judging.
    """
    resolved = resolve_all(parameters, workload.settings, workload.forecaster)
    plan = workload.plan(workload.settings, workload.assets, now)
    searches: list[_Search] = []
    untouched = []
    for group, cell in workload.keep(plan).items():
        mattering = tuple(p for p in resolved if matters(workload, p.key, cell.time_increment))
        if mattering:
            searches.append(_Search(workload, cell, mattering, holdout, replicates, store))
        else:
            untouched.append(group)
    if not searches:
        raise ConfigError(f"{', '.join(p.key for p in resolved)}: no effect on these prompts")
    for search in searches:
        search.check()
    storage = _storage(study or _default_study(workload, resolved, holdout, replicates))
    found = _run_all(searches, storage, trials, workers, progress)
    judged = [search.judged(best) for search, (best, _) in zip(searches, found, strict=True)]
    sweep = Sweep(workload, plan, tuple(resolved), judged, untouched, trials * len(searches), 0)
    held_out = judge_sweep(sweep, replicates=replicates, progress=progress)
    held_out.inputs["kind"] = "tune"
    held_out.inputs["tune"] = {"trials": trials, "holdout": holdout}
    return TuneResult(held_out, [s.row(best, count) for s, (best, count) in zip(searches, found, strict=True)])


def _run_all(
    searches: Sequence[_Search],
    storage: optuna.storages.BaseStorage,
    trials: int,
    workers: int,
    progress: Callable[[int, int], None] | None,
) -> list[tuple[Overrides, int]]:
    """Run searches side by side; return each one's best values and number of trials."""
    done = dict.fromkeys((s.name for s in searches), 0)
    lock = threading.Lock()

    def report(name: str, count: int) -> None:
        with lock:
            done[name] = min(count, trials)
            if progress:
                progress(sum(done.values()), (trials + 1) * len(searches))  # each search is judged afterwards

    with ThreadPoolExecutor(workers) as pool:
        futures = [pool.submit(search.run, storage, trials, report) for search in searches]
        try:
            return [future.result() for future in futures]
        except BaseException:
            for search in searches:
                search.stopped.set()
            pool.shutdown(wait=True, cancel_futures=True)
            raise


class _Search:
    """The search on one competition and asset."""

    def __init__(
        self,
        workload: Workload,
        cell: Cell,
        parameters: tuple[Parameter, ...],
        holdout: float,
        replicates: int,
        store: TrialStore | None,
    ) -> None:
        border = workload.start + round(workload.days * DAY) - round(holdout * workload.days * DAY)
        self.workload, self.cell, self.parameters = workload, cell, parameters
        self.replicates, self.store = replicates, store
        self.name = f"{cell.competition}/{cell.asset}"
        ends = cell.starts + cell.prompts[0].time_length + MINUTE  # when the last price is known
        self.choosing = ends <= border
        self.judging = cell.starts >= border
        self.configured: Overrides = tuple((p.key, p.configured(workload.settings, cell.asset)) for p in parameters)
        self.stopped = threading.Event()
        # All trials are scored the same way: from ensembles if every value of every setting allows it.
        alone = [self.configured] + [
            tuple((key, value if key == p.key else present) for key, present in self.configured)
            for p in parameters
            for value in p.values
        ]
        trials = (ResolvedTrial.of(workload, Trial(cell.competition, cell.asset, overrides)) for overrides in alone)
        self.shared = all(trial.ensemble is not None for trial in trials)
        # A journal may hold studies of other prompts and settings; their names differ.
        text = f"{workload.key}\0{cell.identity}\0{[(p.key, p.values) for p in parameters]}\0{border}\0{replicates}"
        self.study = f"{self.name}/{hashlib.sha256(text.encode()).hexdigest()[:16]}"

    def check(self) -> None:
        if not self.choosing.any() or not self.judging.any():
            raise ConfigError(
                f"{self.name}: {int(self.choosing.sum())} prompts to choose on, {int(self.judging.sum())} to judge on: "
                "replay more days, or change --holdout"
            )

    def run(
        self, storage: optuna.storages.BaseStorage, trials: int, report: Callable[[str, int], None]
    ) -> tuple[Overrides, int]:
        """Add trials until the study has enough; return the best and their number."""
        import optuna
        from optuna.trial import TrialState

        study = optuna.create_study(study_name=self.study, storage=storage, load_if_exists=True)
        while not self.stopped.is_set():
            complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
            report(self.name, len(complete))
            if len(complete) >= trials:
                break
            # A new sampler for every trial, so that an interrupted study continues as if it had not been interrupted.
            study.sampler = optuna.samplers.TPESampler(
                seed=self._seed(len(complete)), n_startup_trials=_STARTUP, multivariate=False
            )
            if not complete:
                study.enqueue_trial(self._encoded(self.configured))
            trial = study.ask()
            study.tell(trial, self._loss(tuple((p.key, _suggest(trial, p)) for p in self.parameters)))
        finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        # Ties go to the earlier trial; the configured values are the first.
        best = min(finished, key=lambda t: (t.value, t.number))
        return tuple((p.key, _decode(best.params[p.key], p)) for p in self.parameters), len(finished)

    def scores(self, overrides: Overrides) -> npt.NDArray[np.float64]:
        """Return CRPS by replicate and prompt."""
        rows: list[Scores] = []
        for replicate in range(self.replicates):
            trial = Trial(self.cell.competition, self.cell.asset, overrides, replicate, not self.shared)
            resolved = ResolvedTrial.of(self.workload, trial)
            known = self.store.get(resolved.name) if self.store else None
            if known is None:
                (known,) = score_trials([resolved])
                if self.store:
                    self.store.put(resolved.name, known)
            rows.append(known)
        return np.array(rows)

    def judged(self, best: Overrides) -> SweepCell:
        """Return the scores of the tuned and the configured values on the prompts kept for judging."""
        values = (self.configured, best) if best != self.configured else (self.configured,)
        scores = np.array([self.scores(value) for value in values]).transpose(1, 0, 2)[:, :, self.judging]
        return SweepCell(
            self.cell.competition,
            self.cell.asset,
            self.parameters,
            values,
            0,
            self.cell.starts[self.judging],
            self.cell.overlap,
            scores,
            self.shared,
        )

    def row(self, best: Overrides, count: int) -> dict[str, Any]:
        before, after = self._loss(self.configured), self._loss(best)
        return {
            "competition": self.cell.competition,
            "asset": self.cell.asset,
            "trials": count,
            "prompts": int(self.choosing.sum()),
            "configured": label(self.configured),
            "best": label(best),
            "in_sample": after / before - 1.0,
        }

    def _loss(self, overrides: Overrides) -> float:
        return float(np.nanmean(self.scores(overrides)[:, self.choosing]))

    def _encoded(self, overrides: Overrides) -> dict[str, Any]:
        """Return a combination as the study's numbers, clipped to the bounds of the search."""
        out: dict[str, Any] = {}
        for parameter, (key, value) in zip(self.parameters, overrides, strict=True):
            if parameter.ordered:
                low, high = _bounds(parameter)
                out[key] = min(max(magnitude(value) or 0.0, low), high)
            else:
                out[key] = value
        return out

    def _seed(self, number: int) -> int:
        text = f"tune\0{self.workload.settings.values.run.seed}\0{self.name}\0{number}"
        return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "little")


def _bounds(parameter: Parameter) -> tuple[float, float]:
    numbers = [magnitude(value) or 0.0 for value in parameter.values]
    return min(numbers), max(numbers)


def _suggest(trial: optuna.Trial, parameter: Parameter) -> Any:
    if not parameter.ordered:
        return trial.suggest_categorical(parameter.key, list(parameter.values))
    low, high = _bounds(parameter)
    return _decode(trial.suggest_float(parameter.key, low, high, log=low > 0 and high > 4 * low), parameter)


def _decode(value: Any, parameter: Parameter) -> Any:
    """Return a study's number as a settings file would hold it, rounded to the precision that data can tell."""
    if not parameter.ordered:
        return value
    if isinstance(parameter.values[0], str):
        step = 60 if value >= 600 else 1
        return format_duration(max(step, round(value / step) * step))
    return float(f"{value:.3g}")


def _storage(place: str) -> optuna.storages.BaseStorage:
    import optuna
    from optuna.storages import JournalStorage, RDBStorage
    from optuna.storages.journal import JournalFileBackend
    from sqlalchemy.exc import SQLAlchemyError

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if "://" in place:
        try:
            return RDBStorage(place)
        except (SQLAlchemyError, ImportError) as error:
            raise ConfigError(f"study {place!r}: {error}") from error
    Path(place).parent.mkdir(parents=True, exist_ok=True)
    return JournalStorage(JournalFileBackend(place))


def _default_study(workload: Workload, parameters: Sequence[Parameter], holdout: float, replicates: int) -> str:
    text = f"{workload.key}\0{[(p.key, p.values) for p in parameters]}\0{holdout}\0{replicates}"
    name = hashlib.sha256(text.encode()).hexdigest()[:16]
    return str(workload.settings.values.run.experiments_dir / "studies" / f"{name}.journal")
