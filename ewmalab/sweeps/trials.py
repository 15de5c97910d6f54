"""Trials: one combination of values on one cell; their identity, their scores, and where these are kept."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from ewmalab.atomic_files import TEMP_PREFIX, write_temp
from ewmalab.errors import ForecasterError
from ewmalab.forecast.load import code_version, factory_of, load_forecaster
from ewmalab.forecast.paths import check_paths
from ewmalab.forecast.protocol import Forecaster, Prompt, ScaleFree
from ewmalab.forecast.streams import RandomStream
from ewmalab.replay.data import Group
from ewmalab.replay.engine import answer
from ewmalab.replay.knowledge import walk
from ewmalab.scoring.scale_free import Observations, scale_free_scores
from ewmalab.settings import LoadedSettings
from ewmalab.settings.schema import asset_parameters
from ewmalab.sweeps.parameters import Overrides
from ewmalab.sweeps.workload import Cell, Workload, find_cell
from ewmalab.times import MINUTE

Scores = npt.NDArray[np.float64]  # CRPS per prompt, basis points; NaN where not scored

# shape, increment, steps, paths of an answer, paths of the ensemble, seed
Ensemble = tuple[Hashable, int, int, int, int, int]

_WARMUPS = {"replay.warmup_1m_hours": True, "replay.warmup_5m_days": False}  # whether for increments of a minute


@dataclass(frozen=True, slots=True)
class Trial:
    """One combination of values on one cell, once per replicate.

    Attributes
    ----------
    competition, asset : str
    overrides : tuple of (dotted key, plain value)
    replicate : int
        Which of several independent sets of random numbers; 0 is that of a backtest.
    exact : bool
        Simulate prompt by prompt, since other values on this cell must be: all meet the same random numbers.
    """

    competition: str
    asset: str
    overrides: Overrides
    replicate: int = 0
    exact: bool = False

    @property
    def group(self) -> Group:
        """Return the cell's name."""
        return self.competition, self.asset


def matters(workload: Workload, key: str, time_increment: int) -> bool:
    """Tell whether a setting has an effect on prompts with this increment."""
    if key in _WARMUPS:
        return _WARMUPS[key] == (time_increment == MINUTE)
    factory, section = factory_of(workload.forecaster)
    own, _, name = key.partition(".")
    only = getattr(factory, "INCREMENT_OF", {}) if own == section else {}
    return bool(only.get(name, time_increment) == time_increment)


def forecaster_of(workload: Workload, cell: Cell, settings: LoadedSettings) -> Forecaster[Any]:
    """Return a trial's forecaster."""
    return load_forecaster(workload.forecaster, cell.rulebook.asset(cell.asset), settings)


def seed_of(settings: LoadedSettings, replicate: int) -> int:
    """Return the seed of a replicate; that of the first is the setting itself."""
    seed = settings.values.run.seed
    if replicate == 0:
        return seed
    digest = hashlib.blake2b(f"ewmalab/replicate\0{seed}\0{replicate}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def ensemble_of(
    workload: Workload, cell: Cell, forecaster: Forecaster[Any], seed: int, trial: Trial
) -> Ensemble | None:
    """Return what names the ensemble that serves a trial, and others like it; None where prompts are simulated."""
    if workload.exact or trial.exact or not cell.scales or not isinstance(forecaster, ScaleFree):
        return None
    shape = forecaster.shape(cell.time_increment)
    if shape is None:
        return None
    first = cell.prompts[0]
    size = max(workload.ensemble_size, first.num_simulations)
    return shape, first.time_increment, first.steps, first.num_simulations, size, seed


def identity(workload: Workload, cell: Cell, trial: Trial) -> str:
    """Return the name that a trial's scores are kept under: a digest of all that determines them."""
    settings = workload.with_overrides(trial.overrides)
    _, section = factory_of(workload.forecaster)
    parameters = asset_parameters(getattr(settings.values, section), trial.asset)
    parameters = {k: v for k, v in parameters.items() if matters(workload, f"{section}.{k}", cell.time_increment)}
    parts = {
        "forecaster": workload.forecaster,
        "parameters": parameters,
        "seed": seed_of(settings, trial.replicate),
        "exact": workload.exact or trial.exact,
        "ensemble_size": workload.ensemble_size,
        "cell": cell.identity,
        "code": code_version(workload.forecaster),
    }
    return hashlib.sha256(orjson.dumps(parts, option=orjson.OPT_SORT_KEYS)).hexdigest()


def score_trials(workload: Workload, trials: Sequence[Trial]) -> list[Scores]:
    """Score trials: those that share an ensemble from it, the others prompt by prompt.

    A trial's scores do not depend on which others stand beside it.
    """
    out: list[Scores] = [np.empty(0)] * len(trials)
    shared: dict[Ensemble, list[tuple[int, Cell, Any]]] = defaultdict(list)
    for index, trial in enumerate(trials):
        cell = find_cell(workload, trial.group, trial.overrides)
        settings = workload.with_overrides(trial.overrides)
        forecaster = forecaster_of(workload, cell, settings)
        seed = seed_of(settings, trial.replicate)
        ensemble = ensemble_of(workload, cell, forecaster, seed, trial)
        if ensemble is None:
            out[index] = _score_each(cell, forecaster, seed)
        else:
            shared[ensemble].append((index, cell, forecaster))
    for ensemble, members in shared.items():
        for (index, _, _), scores in zip(members, _score_shared(ensemble, members), strict=True):
            out[index] = scores
    return out


def _score_each(cell: Cell, forecaster: Forecaster[Any], seed: int) -> Scores:
    """Simulate and score every prompt; all values of a parameter see the same random numbers."""
    out = np.full(len(cell.items), np.nan)
    for i, moment in enumerate(walk(forecaster, cell.bars, cell.prompts)):
        row = answer("", forecaster, moment, cell.items[i].rule, cell.realised, seed)
        if row.score is not None:
            out[i] = row.score.total
    return out


def _score_shared(ensemble: Ensemble, members: Sequence[tuple[int, Cell, Any]]) -> list[Scores]:
    """Score the trials that share an ensemble, rule by rule."""
    _, time_increment, steps, num_simulations, size, seed = ensemble
    out = [np.full(len(cell.items), np.nan) for _, cell, _ in members]
    _, first, forecaster = members[0]
    prompt = Prompt(first.prompts[0].start_time, first.competition, first.asset, first.prompts[0].request_time,
                    time_increment, steps * time_increment, size)  # fmt: skip
    stream = RandomStream.of(seed, "reference", f"{time_increment}/{steps}", 0)
    log_returns = check_paths(forecaster, forecaster.simulate(forecaster.reference_state(), prompt, stream), prompt)
    volatilities = []
    for _, cell, model in members:
        volatility = model.relative_volatilities(cell.bars, cell.known, time_increment)
        if volatility.shape != cell.known.shape or not (np.isfinite(volatility) & (volatility > 0)).all():
            raise ForecasterError(
                f"{type(model).__name__}.relative_volatilities returned values for {cell.asset} that are not positive "
                f"and finite, or not one per prompt"
            )
        volatilities.append(volatility)
    rules = dict.fromkeys(rule for _, cell, _ in members for rule in cell.observations)
    for rule in rules:
        here = [i for i, (_, cell, _) in enumerate(members) if rule in cell.observations]
        parts = [members[i][1].observations[rule] for i in here]
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


class TrialStore:
    """Scores of finished trials, one small file each, named by `identity`.

    Parameters
    ----------
    root : Path
        Created with the first write. Files whose checksum does not hold count as absent: a crash costs a trial, never a
        result.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def of(cls, settings: LoadedSettings) -> TrialStore:
        """Return the store in the experiments' folder."""
        return cls(settings.values.run.experiments_dir / "trials")

    def _path(self, name: str) -> Path:
        return self.root / name[:2] / f"{name}.f64"

    def sweep(self, now: int) -> None:
        """Remove what killed runs left half-written, an hour or longer ago."""
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
        """Keep a trial's scores; readers see the whole file or none."""
        path = self._path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        body = scores.astype("<f8").tobytes()
        temp = write_temp(path.parent, body + hashlib.sha256(name.encode() + body).digest(), durable=False)
        temp.replace(path)
