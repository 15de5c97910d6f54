"""Trials, one combination of values on one competition and asset: their identity, and the store of their scores."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import orjson

from ewmalab.atomic_files import TEMP_PREFIX, write_temp
from ewmalab.forecast.load import code_version, factory_of
from ewmalab.forecast.model import Model
from ewmalab.forecast.protocol import Ageing, Scaled, ScaleFree
from ewmalab.replay.data import Group
from ewmalab.replay.fits import load_model
from ewmalab.settings import LoadedSettings
from ewmalab.sweeps.parameters import Overrides
from ewmalab.sweeps.workload import Cell, Workload
from ewmalab.times import HOUR

Scores = npt.NDArray[np.float64]  # CRPS per prompt, basis points; NaN where not scored

# shape, increment, steps, paths, number of ensembles of so many paths, seed
Ensemble = tuple[Hashable, int, int, int, int, int]
MIN_PATHS = 1000  # paths of all ensembles that serve a trial, at least: an error of theirs is common to all prompts


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
        Simulate each prompt as in a backtest, because other values here must be and all use the same random numbers.
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
    scale : float or None
        Factor on the paths of `source`; None if it simulates its own. See `ewmalab.forecast.protocol.Scaled`.
    unscaled : ResolvedTrial or None
        The trial with the scale 1, unless it is this one.
    """

    trial: Trial
    cell: Cell
    model: Model
    seed: int
    ensemble: Ensemble | None
    name: str
    scale: float | None = None
    unscaled: ResolvedTrial | None = None

    @property
    def source(self) -> ResolvedTrial:
        """Return the trial that simulates: all trials with the same one share its paths."""
        return self.unscaled or self

    @classmethod
    def of(cls, workload: Workload, trial: Trial, now: int | None = None) -> ResolvedTrial:
        """Resolve a trial; `now`, if given, allows synthetic bars to be generated.

        Raises
        ------
        ConfigError, ForecasterError, MissingDataError, CorruptPartitionError
        """
        settings = workload.with_overrides(trial.overrides)
        cell = workload.cell(trial.group, trial.overrides, now)
        model = load_model(workload.forecaster, cell.rulebook.asset(cell.asset), settings, workload.start - HOUR)
        seed = seed_of(settings, trial.replicate)
        exact = workload.exact or trial.exact
        ensemble = None if exact else _ensemble_of(cell, model, seed)
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
            "cell": cell.identity,
            "code": code_version(workload.forecaster),
        }
        name = hashlib.sha256(orjson.dumps(parts, option=orjson.OPT_SORT_KEYS)).hexdigest()
        found = cls(trial, cell, model, seed, ensemble, name)
        return found if exact or ensemble else found._scaled(workload)

    def _scaled(self, workload: Workload) -> ResolvedTrial:
        """Return the trial with its scale, if its forecaster declares one."""
        if not isinstance(self.model.forecaster, Scaled):
            return self
        parameter = self.model.forecaster.path_scale
        scale = (self.model.given or {})["parameters"].get(parameter)
        if not isinstance(scale, int | float) or not scale > 0:
            return self
        key = f"{factory_of(workload.forecaster)[1]}.{parameter}"
        overrides = tuple({**dict(self.trial.overrides), key: 1}.items())
        unscaled = None if scale == 1 else ResolvedTrial.of(workload, replace(self.trial, overrides=overrides))
        return replace(self, scale=float(scale), unscaled=unscaled)


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


def _ensemble_of(cell: Cell, model: Model, seed: int) -> Ensemble | None:
    if not cell.scales or not isinstance(model.forecaster, ScaleFree):
        return None
    shape = model.forecaster.shape(cell.time_increment)
    if shape is None:
        return None
    first = cell.prompts[0]
    count = -(-MIN_PATHS // first.num_simulations)
    return shape, first.time_increment, first.steps, first.num_simulations, count, seed


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
