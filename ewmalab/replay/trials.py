"""The forecasts of one forecaster as a replay gives them, and as they are when nothing later exists."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
import orjson

from ewmalab.forecast.model import Model
from ewmalab.forecast.protocol import Prompt
from ewmalab.forecast.streams import RandomStream
from ewmalab.market.bars import Bars
from ewmalab.replay.artifacts import Artifact
from ewmalab.replay.data import Group
from ewmalab.replay.engine import BLOCK
from ewmalab.replay.fits import artifact_of, boundary, make_artifact, refit
from ewmalab.replay.fresh_process import INSTEAD, Tick
from ewmalab.replay.knowledge import Knowledge, Moment, moments
from ewmalab.replay.plan import BacktestPlan
from ewmalab.replay.priors import prior_at
from ewmalab.replay.worlds import Future, KnownCache, moved, with_future

Answers = Mapping[Prompt, str]
"""Digests of forecasts: anchor, its time, and the bits of all paths."""
Variant = Literal["truth", "again", "removed", "scaled", "shaken"]


@dataclass(frozen=True)
class Cut:
    """A time in a group of prompts, the request time of the last of `asked`, which are in time order."""

    group: Group
    asked: Sequence[Prompt]

    @property
    def when(self) -> int:
        """Return the time of the cut, seconds since 1970-01-01 UTC."""
        return self.asked[-1].request_time


@dataclass(frozen=True)
class Trial:
    """What one process does.

    Attributes
    ----------
    plan : BacktestPlan
    name : str
        Forecaster.
    variant : {"truth", "again", "removed", "scaled", "shaken"}
        The replay as it is, the same with each forecast made twice in a row, or one of the futures after each cut.
    cuts : sequence of Cut
        In order of time. No prompt is asked twice.
    knowledge : callable
        As in `ewmalab.replay.engine.replay`.
    """

    plan: BacktestPlan
    name: str
    variant: Variant
    cuts: Sequence[Cut]
    knowledge: Knowledge = moments

    def run(self, folder: Path | None, tick: Tick) -> list[Answers]:
        """Return the forecasts, in a list with an entry for each time that they were made.

        Parameters
        ----------
        folder : Path or None
            For a cache that ends at each cut; None: the cache stays as it is.
        tick : callable
            Called after each forecast.
        """
        if self.variant == "truth":
            # First as in a replay, where a block of states waits for its paths; then with all that was remembered.
            return [self._replayed(BLOCK, 1, tick)[0], self._replayed(1, 1, tick)[0]]
        if self.variant == "again":
            return self._replayed(BLOCK, 2, tick)
        return [self._known_only(self.variant, folder, tick)]

    def _replayed(self, block: int, times: int, tick: Tick) -> list[Answers]:
        plan = replace(self.plan, refits={n: replace(r, remarks={}, _made={}) for n, r in self.plan.refits.items()})
        asked = {prompt for cut in self.cuts for prompt in cut.asked}
        found: list[dict[Prompt, str]] = [{} for _ in range(times)]
        for group in plan.groups:
            for model, items in plan.stretches(self.name, group):
                known = self.knowledge(model, plan.data.model[group[1]], [item.prompt for item in items])
                while held := list(islice(known, block)):
                    for moment in held:
                        if moment.prompt in asked:
                            for answers in found:
                                answers[moment.prompt] = _digest(moment, model, _seed(plan))
                                tick()
        return [*found]

    def _known_only(self, future: Future, folder: Path | None, tick: Tick) -> Answers:
        plan, cache = _isolated(self.plan, folder)
        fits: dict[int, Artifact | None] = {}
        found: dict[Prompt, str] = {}
        for cut in self.cuts:
            stream = partial(_stream, plan, future, cut.when)
            bars = with_future(plan.data.model[cut.group[1]], cut.when, future, stream(cut.group[1]))
            if bars is not None:
                fit = self._fit(plan, cut.when, future, cache, fits)
                if cache:
                    cache.show(cut.when)
                found |= self._asked(plan, cut, bars, fit)
            for _ in cut.asked:
                tick()
        return found

    def _fit(
        self, plan: BacktestPlan, when: int, future: Future, cache: KnownCache | None, fits: dict[int, Artifact | None]
    ) -> Artifact | None:
        """Return the fit in force, which is made as if nothing after its end existed."""
        if self.name not in plan.refits:
            return None
        end = boundary(when, plan.settings.values.fit.every)
        if end not in fits:
            if cache:
                cache.show(end)
            history = plan.refits[self.name].history
            changed = {
                asset: with_future(bars, end, future, _stream(plan, future, end, asset)) or bars
                for asset, bars in history.bars.items()
            }
            made = refit(self.name, changed, plan.settings, plan.rulebook, end=end, feed=history.feed)
            fits[end] = made or prior_at(self.name, plan.settings, end)
        return fits[end]

    def _asked(self, plan: BacktestPlan, cut: Cut, bars: Bars, fit: Artifact | None) -> Answers:
        """Return the forecasts at a cut; an error is an outcome too, because another future may show as one."""
        found: dict[Prompt, str] = {}
        try:
            if self.name in plan.refits:
                asset = plan.rulebook.asset(cut.group[1])
                model = Model.of(self.name, asset, plan.settings, fit.fit if fit else None)
            else:
                model = plan.model(self.name, cut.group[1], cut.when)
            for moment in self.knowledge(model, bars, cut.asked):
                found[moment.prompt] = _digest(moment, model, _seed(plan))
        except Exception as error:  # noqa: BLE001 - whatever a forecaster raises
            return {prompt: f"{type(error).__name__}: {error}" for prompt in cut.asked} | found
        return found


def run_trial(trial: Trial, folder: Path, tick: Tick) -> list[Answers]:
    """Run a trial in a fresh process."""
    return trial.run(folder, tick)


@dataclass(frozen=True)
class Remake:
    """The fit of a forecaster that the settings name, made once more from the bars that it says it saw."""

    plan: BacktestPlan
    name: str
    bars: Mapping[str, Bars]


def run_remake(remake: Remake, folder: Path, tick: Tick) -> bool:
    """Return whether the fit has the same numbers in a fresh process that holds no later bars."""
    artifact = artifact_of(remake.name, remake.plan.settings)
    assert artifact is not None
    plan, cache = _isolated(remake.plan, folder)
    end = artifact.fit.end
    if cache:
        cache.show(end)
    again = make_artifact(remake.name, remake.bars, plan.settings, plan.rulebook, end=end, feed=artifact.feed)
    tick()
    same, first = (orjson.dumps(one.fit.numbers, option=orjson.OPT_SORT_KEYS) for one in (again, artifact))
    return same == first


def _isolated(plan: BacktestPlan, folder: Path | None) -> tuple[BacktestPlan, KnownCache | None]:
    """Return the plan with settings that name a cache of its own, and that cache."""
    if folder is None:
        return plan, None
    data, root = plan.data, folder / INSTEAD
    bars = {(data.feed, asset): own for asset, own in data.model.items()}
    for refits in plan.refits.values():
        for asset, own in refits.history.bars.items():
            key = refits.history.feed, asset
            bars[key] = own.union(bars[key]) if key in bars else own
    if data.scored_feed != data.feed:
        bars |= {(data.scored_feed, asset): own for asset, own in data.realised.items()}
    source = data.cache.root.absolute() if isinstance(data.cache.root, Path) else None
    return replace(plan, settings=moved(plan.settings, source, root)), KnownCache(root, data.cache, bars)


def _digest(moment: Moment, model: Model, seed: int) -> str:
    """Return a hash of a forecast: anchor, its time, and all paths."""
    sha = hashlib.sha256(np.float64(moment.anchor).tobytes() + moment.anchor_time.to_bytes(8, "little"))
    sha.update(np.ascontiguousarray(moment.paths(model, seed)).data)
    return sha.hexdigest()


def _seed(plan: BacktestPlan) -> int:
    return plan.settings.values.run.seed


def _stream(plan: BacktestPlan, future: str, when: int, asset: str) -> RandomStream:
    return RandomStream.of(_seed(plan), asset, f"lookahead/{future}", when)


def cuts_of(plan: BacktestPlan, name: str, count: int) -> list[Cut]:
    """Return the cuts for a forecaster, in order of time.

    Parameters
    ----------
    plan : BacktestPlan
    name : str
    count : int
        Per competition, asset and fit. Each asks for the prompt at the cut, and mostly for one before.
    """
    found = []
    for group in plan.groups:
        for _, prompts in _stretches(plan, name, group):
            rng = RandomStream.of(_seed(plan), group[1], f"lookahead/{group[0]}", len(prompts)).generator()
            before = -1
            for at in sorted(rng.choice(len(prompts), size=min(count, len(prompts)), replace=False).tolist()):
                asked = [prompts[at]]
                if at - before > 1:
                    asked.insert(0, prompts[int(rng.integers(before + 1, at))])
                found.append(Cut(group, asked))
                before = at
    return sorted(found, key=lambda cut: cut.when)


def _stretches(plan: BacktestPlan, name: str, group: Group) -> Iterable[tuple[int, list[Prompt]]]:
    """Yield the prompts that each fit answers, without making it."""
    prompts = [item.prompt for item in plan.groups[group]]
    every = plan.settings.values.fit.every if name in plan.refits else 0
    blocks: dict[int, list[Prompt]] = {}
    for prompt in prompts:
        blocks.setdefault(boundary(prompt.request_time, every) if every else 0, []).append(prompt)
    return sorted(blocks.items())
