"""Trials, one combination of values on one competition and asset: their identity, scores and storage."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import orjson

from ewmalab.atomic_files import TEMP_PREFIX, write_temp
from ewmalab.forecast.load import code_version, factory_of
from ewmalab.forecast.model import Model
from ewmalab.forecast.paths import check_paths
from ewmalab.forecast.protocol import Ageing, LogReturns, ScaleFree
from ewmalab.forecast.streams import RandomStream
from ewmalab.replay.data import Group
from ewmalab.replay.fits import load_model
from ewmalab.replay.knowledge import moments
from ewmalab.scoring.crps import score_log_returns
from ewmalab.scoring.scale_free import Observations, scale_free_scores
from ewmalab.settings import LoadedSettings
from ewmalab.sweeps.parameters import Overrides
from ewmalab.sweeps.workload import Cell, Workload

Scores = npt.NDArray[np.float64]  # CRPS per prompt, basis points; NaN where not scored

# shape, increment, steps, paths of an answer, paths of the ensemble, seed
Ensemble = tuple[Hashable, int, int, int, int, int]


@dataclass(frozen=True, slots=True)
class Trial:
    """One combination of values on one competition and asset, once per replicate.

    Attributes
    ----------
    competition, asset : str
    overrides : tuple of (dotted key, plain value)
    replicate : int
        Index of an independent set of random numbers; 0 is that of a backtest.
    exact : bool
        Simulate prompt by prompt, because other values here must be and all use the same random numbers.
    """

    competition: str
    asset: str
    overrides: Overrides
    replicate: int = 0
    exact: bool = False

    @property
    def group(self) -> Group:
        """Return competition and asset."""
        return self.competition, self.asset


@dataclass(frozen=True, eq=False)
class ResolvedTrial:
    """A trial with everything that scoring it needs.

    Attributes
    ----------
    trial : Trial
    cell : Cell
    model : Model
    seed : int
        Seed of its replicate.
    ensemble : Ensemble or None
        Key of the ensemble that it shares with others like it; None if prompts are simulated.
    name : str
        Name of its scores: a digest of everything that determines them.
    """

    trial: Trial
    cell: Cell
    model: Model
    seed: int
    ensemble: Ensemble | None
    name: str

    @classmethod
    def of(cls, workload: Workload, trial: Trial, now: int | None = None) -> ResolvedTrial:
        """Resolve a trial; `now`, if given, allows synthetic bars to be generated.

        Raises
        ------
        ConfigError, ForecasterError, MissingDataError, CorruptPartitionError
        """
        settings = workload.with_overrides(trial.overrides)
        cell = workload.cell(trial.group, trial.overrides, now)
        model = load_model(workload.forecaster, cell.rulebook.asset(cell.asset), settings)
        seed = seed_of(settings, trial.replicate)
        exact = workload.exact or trial.exact
        ensemble = None if exact else _ensemble_of(workload, cell, model, seed)
        given = dict(model.given or {})
        section = factory_of(workload.forecaster)[1]
        given["parameters"] = {
            k: v for k, v in given["parameters"].items() if matters(workload, f"{section}.{k}", cell.time_increment)
        }
        parts = {
            **given,
            "stale_after": model.stale_after if isinstance(model.forecaster, Ageing) else None,
            "seed": seed,
            "exact": exact,
            "ensemble_size": workload.ensemble_size,
            "cell": cell.identity,
            "code": code_version(workload.forecaster),
        }
        name = hashlib.sha256(orjson.dumps(parts, option=orjson.OPT_SORT_KEYS)).hexdigest()
        return cls(trial, cell, model, seed, ensemble, name)


def matters(workload: Workload, key: str, time_increment: int) -> bool:
    """Return whether a setting has an effect on prompts with this increment."""
    factory, section = factory_of(workload.forecaster)
    own, _, name = key.partition(".")
    only = getattr(factory, "INCREMENT_OF", {}) if own == section else {}
    return bool(only.get(name, time_increment) == time_increment)


def seed_of(settings: LoadedSettings, replicate: int) -> int:
    """Return the seed of a replicate; the first has the setting itself."""
    seed = settings.values.run.seed
    if replicate == 0:
        return seed
    digest = hashlib.blake2b(f"ewmalab/replicate\0{seed}\0{replicate}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def _ensemble_of(workload: Workload, cell: Cell, model: Model, seed: int) -> Ensemble | None:
    if not cell.scales or not isinstance(model.forecaster, ScaleFree):
        return None
    shape = model.forecaster.shape(cell.time_increment)
    if shape is None:
        return None
    first = cell.prompts[0]
    size = max(workload.ensemble_size, first.num_simulations)
    return shape, first.time_increment, first.steps, first.num_simulations, size, seed


def score_trials(trials: Sequence[ResolvedTrial]) -> list[Scores]:
    """Score trials: those with a shared ensemble from it, the others prompt by prompt.

    A trial's scores do not depend on the other trials.
    """
    out: list[Scores] = [np.empty(0)] * len(trials)
    shared: dict[Ensemble, list[int]] = defaultdict(list)
    for index, trial in enumerate(trials):
        if trial.ensemble is None:
            out[index] = _score_each(trial)
        else:
            shared[trial.ensemble].append(index)
    for ensemble, members in shared.items():
        for index, scores in zip(members, _score_shared(ensemble, [trials[i] for i in members]), strict=True):
            out[index] = scores
    return out


def _score_each(trial: ResolvedTrial) -> Scores:
    """Simulate and score every prompt; all values of a parameter use the same random numbers."""
    cell, model = trial.cell, trial.model
    out = np.full(len(cell.items), np.nan)
    truth, scorable = cell.truth
    for i, moment in enumerate(moments(model, cell.bars, cell.prompts)):
        if scorable[i]:
            paths, rule = moment.paths(model, trial.seed), cell.items[i].rule
            out[i] = score_log_returns(paths, moment.anchor, truth[i], rule, cell.time_increment).total
    return out


def _score_shared(ensemble: Ensemble, trials: Sequence[ResolvedTrial]) -> list[Scores]:
    """Score the trials that share an ensemble, rule by rule."""
    num_simulations = ensemble[3]
    log_returns = _reference_paths(ensemble, trials[0])
    volatilities = [_volatilities(trial) for trial in trials]
    out = [np.full(len(trial.cell.items), np.nan) for trial in trials]
    rules = dict.fromkeys(rule for trial in trials for rule in trial.cell.observations)
    for rule in rules:
        here = [i for i, trial in enumerate(trials) if rule in trial.cell.observations]
        parts = [trials[i].cell.observations[rule] for i in here]
        scores = scale_free_scores(
            log_returns,
            np.concatenate([volatilities[i][at] for i, (at, _) in zip(here, parts, strict=True)]),
            Observations.concatenate([observations for _, observations in parts]),
            num_simulations,
        )
        start = 0
        for i, (at, _) in zip(here, parts, strict=True):
            out[i][at] = scores[start : start + len(at)]
            start += len(at)
    return out


def _reference_paths(ensemble: Ensemble, trial: ResolvedTrial) -> LogReturns:
    """Return the paths of the reference state: (steps + 1, size) float32."""
    _, time_increment, steps, _, size, seed = ensemble
    first, forecaster = trial.cell.prompts[0], trial.model.forecaster
    assert isinstance(forecaster, ScaleFree)
    prompt = replace(first, time_increment=time_increment, time_length=steps * time_increment, num_simulations=size)
    stream = RandomStream.of(seed, "reference", f"{time_increment}/{steps}", 0)
    paths = trial.model.forecaster.simulate(forecaster.reference_state(), prompt, stream)
    return check_paths(trial.model.forecaster, paths, prompt)


def _volatilities(trial: ResolvedTrial) -> Scores:
    """Return the relative volatility at each prompt."""
    cell, model = trial.cell, trial.model
    model.refuse_seen(cell.prompts)
    requests = np.array([prompt.request_time for prompt in cell.prompts], np.int64)
    return model.relative_volatilities(cell.bars, cell.known, requests, cell.time_increment)


class TrialStore:
    """Scores of finished trials, one small file each, named by `ResolvedTrial.name`.

    Parameters
    ----------
    root : Path
        Created by the first write. Files with a wrong checksum count as absent, so a crash may cost a trial but never
        falsify a result.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def of(cls, settings: LoadedSettings) -> TrialStore:
        """Return the store in the experiments folder."""
        return cls(settings.values.run.experiments_dir / "trials")

    def _path(self, name: str) -> Path:
        return self.root / name[:2] / f"{name}.f64"

    def delete_leftovers(self, now: int) -> None:
        """Delete leftover temporary files that are older than an hour."""
        for path in self.root.glob(f"*/{TEMP_PREFIX}*"):
            if path.stat().st_mtime < now - 3600:
                path.unlink(missing_ok=True)

    def get(self, name: str) -> Scores | None:
        """Return a trial's scores, or None."""
        try:
            data = self._path(name).read_bytes()
        except FileNotFoundError:
            return None
        body, checksum = data[:-32], data[-32:]
        if len(data) < 32 or len(body) % 8 or hashlib.sha256(name.encode() + body).digest() != checksum:
            return None
        return np.frombuffer(body, "<f8").astype(np.float64)

    def put(self, name: str, scores: Scores) -> None:
        """Write a trial's scores atomically."""
        path = self._path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        body = scores.astype("<f8").tobytes()
        temp = write_temp(path.parent, body + hashlib.sha256(name.encode() + body).digest(), durable=False)
        temp.replace(path)
