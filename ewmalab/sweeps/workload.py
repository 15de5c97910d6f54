"""Workloads: the prompts that trials are scored on, with the known and the realised bars of each."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from ewmalab.errors import ConfigError
from ewmalab.forecast.load import apply_preset
from ewmalab.forecast.protocol import Prompt
from ewmalab.inference.intervals import overlap_of
from ewmalab.market.bars import Bars
from ewmalab.replay.data import Group
from ewmalab.replay.engine import settled_path
from ewmalab.replay.fits import load_model, refitted
from ewmalab.replay.knowledge import known_counts
from ewmalab.replay.plan import BacktestPlan, plan_backtest, published_digests
from ewmalab.replay.schedule import Scheduled, Which
from ewmalab.rulebook import Rulebook, RuleChoice, ScoringRule, load_rulebook
from ewmalab.scoring.scale_free import Observations
from ewmalab.settings import LoadedSettings
from ewmalab.settings.layers import PRESET
from ewmalab.sweeps.parameters import Overrides
from ewmalab.times import HOUR

_REPLAY = "replay."  # overrides of this section change prompts or warm-up, not only the forecaster
_MAX_LAYOUTS = 64  # assets times replay settings that one workload keeps
_HELD = ("_loaded", "_layouts", "_lock")  # rebuilt by a copy in another process


@dataclass(frozen=True, eq=False)
class Workload:
    """The prompts of a sweep, described so that any process or machine can lay them out.

    Attributes
    ----------
    settings : LoadedSettings
        With the forecaster's preset applied and without secrets.
    forecaster : str
        Name without a preset.
    start, days, rules, competitions, assets, which, scheduled, cadence, num_simulations, partial
        As in `ewmalab.replay.backtest.plan_backtest`.
    exact : bool
        Simulate every prompt, even if one ensemble could serve all.
    """

    settings: LoadedSettings
    forecaster: str
    start: int
    days: float
    rules: RuleChoice = field(default_factory=RuleChoice)
    competitions: tuple[str, ...] | None = None
    assets: tuple[str, ...] | None = None
    which: Which = "scored"
    scheduled: tuple[Scheduled, ...] | None = None
    cadence: int | None = None
    num_simulations: int | None = None
    partial: bool = False
    exact: bool = False

    @classmethod
    def of(cls, settings: LoadedSettings, forecaster: str, **options: object) -> Workload:
        """Return a workload with the forecaster's preset applied and secrets removed."""
        base, effective = apply_preset(forecaster, settings)
        return cls(effective.without_secrets(), base, **options)  # type: ignore[arg-type]

    @property
    def name(self) -> str:
        """Return the forecaster's name with its preset."""
        presets = [layer.name.removeprefix(PRESET) for layer in self.settings.layers if layer.name.startswith(PRESET)]
        return "@".join([self.forecaster, *presets])

    @cached_property
    def key(self) -> str:
        """Return a digest that is the same in every process."""
        names = [one.name for one in fields(self) if one.name not in ("settings", "assets")]
        parts = {"settings": self.settings.values.digest(), **{name: str(getattr(self, name)) for name in names}}
        return hashlib.sha256(orjson.dumps(parts, option=orjson.OPT_SORT_KEYS)).hexdigest()

    def with_overrides(self, overrides: Overrides) -> LoadedSettings:
        """Return the settings of a trial, made once because many assets share them."""
        if overrides not in self._loaded:
            self._loaded[overrides] = self.settings.with_flags(dict(overrides)) if overrides else self.settings
        return self._loaded[overrides]

    @cached_property
    def _loaded(self) -> dict[Overrides, LoadedSettings]:
        return {}

    @cached_property
    def _layouts(self) -> dict[tuple[object, ...], dict[Group, Cell]]:
        return {}

    @cached_property
    def _lock(self) -> threading.Lock:
        return threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k not in _HELD}

    def cell(self, group: Group, overrides: Overrides, now: int | None = None) -> Cell:
        """Return the prompts that a trial is scored on, laid out once per process.

        Parameters
        ----------
        group : (competition, asset)
        overrides : tuple of (dotted key, plain value)
            Values of the trial. Those of the replay and the resulting warm-up of the forecaster affect the cell.
        now : int, optional
            Current time, seconds since 1970-01-01 UTC. If given, synthetic bars that the cache lacks are generated.
        """
        asset = group[1]
        settings = self.with_overrides(overrides)
        warmup = load_model(self.forecaster, load_rulebook().asset(asset), settings, self.start - HOUR).warmup
        key = (asset, tuple(item for item in overrides if item[0].startswith(_REPLAY)), warmup)
        with self._lock:
            if key not in self._layouts:
                while len(self._layouts) >= _MAX_LAYOUTS:
                    self._layouts.pop(next(iter(self._layouts)))
                self._layouts[key] = cells_of(self.plan(settings, [asset], now))
            return self._layouts[key][group]

    def keep(self, plan: BacktestPlan) -> dict[Group, Cell]:
        """Return the cells of a plan of the configured settings, and keep only these for `cell`."""
        cells = cells_of(plan)
        with self._lock:
            self._layouts.clear()
            for (competition, asset), found in cells.items():
                warmup = plan.model(self.forecaster, asset, plan.start).warmup
                self._layouts.setdefault((asset, (), warmup), {})[competition, asset] = found
        return cells

    def plan(self, settings: LoadedSettings, assets: Sequence[str] | None, now: int | None = None) -> BacktestPlan:
        """Lay out the prompts of some assets and read their bars.

        Raises
        ------
        ConfigError
            If the forecaster is refitted during the replay: each fit would be another cell.
        """
        if refitted(self.forecaster, settings, load_rulebook()):
            raise ConfigError(
                "a sweep uses one fit: set fit.every to 0s, and fit.artifacts to one that `ewmalab fit` wrote"
            )
        return plan_backtest(
            settings,
            start=self.start,
            days=self.days,
            rules=self.rules,
            competitions=self.competitions,
            assets=assets,
            forecasters=[self.forecaster],
            which=self.which,
            scheduled=self.scheduled,
            cadence=self.cadence,
            num_simulations=self.num_simulations,
            partial=self.partial,
            now=now,
        )


@dataclass(frozen=True, eq=False)
class Cell:
    """The prompts of one competition and asset, with the known and the realised bars.

    Attributes
    ----------
    competition, asset : str
    items : sequence of Scheduled
        In time order.
    bars : Bars
        From the start of the warm-up to the newest bar known at a request.
    realised : Bars
        From the first start time to the candle that settles the last prompt.
    rulebook : Rulebook
    """

    competition: str
    asset: str
    items: Sequence[Scheduled]
    bars: Bars
    realised: Bars
    rulebook: Rulebook

    @property
    def time_increment(self) -> int:
        """Return the seconds between two points of a path."""
        return self.items[0].prompt.time_increment

    @cached_property
    def prompts(self) -> list[Prompt]:
        """Return the prompts, in time order."""
        return [item.prompt for item in self.items]

    @cached_property
    def starts(self) -> npt.NDArray[np.int64]:
        """Return the start times: (p,) int64."""
        return np.array([prompt.start_time for prompt in self.prompts], np.int64)

    @property
    def overlap(self) -> float:
        """Return the number of consecutive prompts that share a part of their realised paths."""
        return overlap_of(self.starts, self.prompts[0].time_length)

    @cached_property
    def known(self) -> npt.NDArray[np.int64]:
        """Return the number of bars closed at each request: (p,) int64."""
        return known_counts(self.bars, self.prompts)

    @cached_property
    def truth(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
        """Return the realised paths, and which prompts a validator would have scored."""
        found = [settled_path(self.realised, item) for item in self.items]
        return np.array([path for path, _ in found]), np.array([reason is None for _, reason in found], bool)

    @cached_property
    def scales(self) -> bool:
        """Return whether all rules here can be scored from one ensemble."""
        return not any(item.rule.volatility_blocks for item in self.items)

    @cached_property
    def volatilities(self) -> dict[str, npt.NDArray[np.float64]]:
        """Return the relative volatilities found so far, by `Model.parameters`: replicates share them."""
        return {}

    @cached_property
    def observations(self) -> dict[ScoringRule, tuple[npt.NDArray[np.int64], Observations]]:
        """Return the indices and the observations of the scorable prompts by rule."""
        anchors = self.bars.close[self.known - 1]
        paths, scorable = self.truth
        found: dict[ScoringRule, tuple[npt.NDArray[np.int64], Observations]] = {}
        for rule in dict.fromkeys(item.rule for item in self.items):
            at = np.flatnonzero([item.rule == rule for item in self.items] & scorable)
            if len(at):
                found[rule] = at, Observations.of(rule, self.time_increment, anchors[at], paths[at])
        return found

    @cached_property
    def identity(self) -> str:
        """Return a digest of prompts, rules and bars."""
        parts = {
            "prompts": [
                (p.start_time, p.request_time, p.time_increment, p.time_length, p.num_simulations) for p in self.prompts
            ],
            "rules": [repr(rule) for rule in dict.fromkeys(item.rule for item in self.items)],
            "rule_of": [item.rule.name for item in self.items],
            "competition": self.competition,
            "asset": self.asset,
            "rulebook": self.rulebook.digest,
            "bars": self.bars.digest(),
            "realised": self.realised.digest(),
            "published": published_digests(self.items),
        }
        return hashlib.sha256(orjson.dumps(parts, option=orjson.OPT_SORT_KEYS)).hexdigest()


def cells_of(plan: BacktestPlan) -> dict[Group, Cell]:
    """Return the cells of a plan with one forecaster."""
    cells = {}
    for (competition, asset), items in plan.groups.items():
        prompts = [item.prompt for item in items]
        bars, realised = plan.data.model[asset], plan.data.realised[asset]
        # Cut to what these prompts need, so that other competitions of the sweep do not change a trial's name.
        known = known_counts(bars, prompts)
        origin = plan.model(plan.forecasters[0], asset, plan.start).origin(int(bars.timestamp[known[0] - 1]))
        end = int(np.searchsorted(realised.timestamp, prompts[-1].start_time + prompts[-1].time_length, side="right"))
        cells[competition, asset] = Cell(
            competition,
            asset,
            items,
            bars.rows(int(np.searchsorted(bars.timestamp, origin)), int(known[-1])),
            realised.rows(int(np.searchsorted(realised.timestamp, prompts[0].start_time)), end + 1),
            plan.rulebook,
        )
    return cells
