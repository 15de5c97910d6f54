"""Reproduce single prompts of a finished backtest bit for bit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import orjson
import pandas as pd
import pyarrow.compute as pc

from ewmalab.errors import ExperimentError
from ewmalab.experiments.store import FORMAT, Experiment
from ewmalab.market.field.store import FieldStore
from ewmalab.replay.engine import settled_path
from ewmalab.replay.knowledge import moments
from ewmalab.replay.plan import BacktestPlan, plan_backtest
from ewmalab.replay.schedule import Scheduled, scheduled_at
from ewmalab.replay.settlement import with_published
from ewmalab.rulebook import RuleChoice, load_rulebook
from ewmalab.scoring.crps import score_log_returns
from ewmalab.settings.layers import read_settings
from ewmalab.times import iso

Key = tuple[str, str, str, int]  # forecaster, competition, asset, start time


@dataclass(frozen=True, slots=True, eq=False)
class ReproducedPrompt:
    """One prompt's paths and realised prices.

    Attributes
    ----------
    title : str
    start_time, time_increment : int
        Seconds.
    anchor : float
    paths : (steps + 1, n) float32
        Log-returns since the anchor.
    truth : (steps + 1,) float64
        Realised prices, NaN where missing.
    key : str
        From `prompt_key`; empty if unknown.
    """

    title: str
    start_time: int
    time_increment: int
    anchor: float
    paths: npt.NDArray[np.float32]
    truth: npt.NDArray[np.float64]
    key: str = ""


def prompt_key(competition: str, asset: str, start_time: int) -> str:
    """Return what names a prompt."""
    return f"{competition} {asset} {start_time}"


def reproduce_plan(experiment: Experiment, cache_dir: Path | str, assets: Sequence[str]) -> BacktestPlan:
    """Lay out a finished backtest again, for some of its assets, from the same bars.

    Parameters
    ----------
    experiment : Experiment
    cache_dir : path
        The cache, which may have moved.
    assets : sequence of str

    Raises
    ------
    ExperimentError
        If the experiment cannot be reproduced, or the cache holds other bars than it saw.
    MissingDataError
    """
    inputs, notes = experiment.manifest["inputs"], experiment.manifest["notes"]
    if inputs.get("kind") != "backtest" or experiment.manifest["format"] < FORMAT:
        raise ExperimentError(f"{experiment.name} cannot be reproduced: an older version wrote it")
    options = inputs["options"]
    settings = read_settings(orjson.dumps(notes["layers"])).with_flags({"data.cache_dir": str(cache_dir)})
    if not settings.values.fit.assets:  # fits see all assets of the run, not only those chosen here
        seen = dict.fromkeys(key.split("/")[1] for key in inputs["data"])
        settings = settings.with_flags({"fit.assets": list(seen)})
    plan = plan_backtest(
        settings,
        start=inputs["start"],
        days=inputs["days"],
        rules=RuleChoice.parse(inputs["rules"]),
        competitions=options["competitions"],
        assets=list(assets),
        forecasters=inputs["forecasters"],
        cadence=options["cadence"],
        num_simulations=options["num_simulations"],
        partial=options["partial"],
        which=options["which"],
        scheduled=_given(experiment, cache_dir) if options["prompts"] else None,
    )
    other = [key for key, digest in plan.digests().items() if inputs["data"].get(key) != digest]
    if other:
        raise ExperimentError(f"the cache holds other bars than {experiment.name} saw: {', '.join(sorted(other)[:3])}")
    return plan


def _given(experiment: Experiment, cache_dir: Path | str) -> list[Scheduled]:
    """Return the prompts of an experiment that replayed given ones, from its results."""
    inputs, table = experiment.manifest["inputs"], experiment.results
    rulebook, choice = load_rulebook(), RuleChoice.parse(inputs["rules"])
    mine = table.filter(pc.equal(table["forecaster"], inputs["forecasters"][0]))
    columns = (mine[name].to_pylist() for name in ("competition", "asset", "start_time", "request_time"))
    given = [
        scheduled_at(
            choice.at(rulebook, start).competitions[competition],
            asset,
            start,
            start - request,
            inputs["options"]["num_simulations"],
        )
        for competition, asset, start, request in zip(*columns, strict=True)
    ]
    published = {key.split("/")[1] for key in inputs["data"] if key.startswith("field/")}
    return with_published(given, FieldStore(cache_dir), published)


def reproduce_prompts(experiment: Experiment, cache_dir: Path | str, keys: Sequence[Key]) -> list[ReproducedPrompt]:
    """Return the paths and realised prices of some prompts of a backtest.

    Raises
    ------
    ExperimentError
        As in `reproduce_plan`, or if a prompt's CRPS differs from the experiment's.
    MissingDataError, ForecasterError
    """
    plan = reproduce_plan(experiment, cache_dir, sorted({asset for _, _, asset, _ in keys}))
    known = experiment.results.to_pandas().set_index(["forecaster", "competition", "asset", "start_time"])["crps"]
    reproduced = []
    for name, competition, asset, start in keys:
        item = next(i for i in plan.groups[competition, asset] if i.prompt.start_time == start)
        prompt = item.prompt
        model = plan.model(name, asset, prompt.request_time)
        (moment,) = moments(model, plan.data.model[asset], [prompt])
        paths = moment.paths(model, plan.settings.values.run.seed)
        truth, _ = settled_path(plan.data.realised[asset], item)
        crps = score_log_returns(paths, moment.anchor, truth, item.rule, prompt.time_increment).total
        then = float(known[name, competition, asset, start])
        if crps != then:
            raise ExperimentError(
                f"{name} {asset} at {iso(start)} scores {crps:.6f} now and {then:.6f} in {experiment.name}: the code "
                "has changed since"
            )
        title, key = (
            f"{asset} {iso(start)[:16].replace('T', ' ')}, CRPS {crps:,.1f} bp",
            prompt_key(competition, asset, start),
        )
        reproduced.append(ReproducedPrompt(title, start, prompt.time_increment, moment.anchor, paths, truth, key))
    return reproduced


def telling_prompts(results: pd.DataFrame, forecaster: str, competition: str, worst: int = 1) -> dict[str, Key]:
    """Return a forecaster's worst, median and best prompt of a competition, by CRPS relative to the asset's mean.

    Parameters
    ----------
    results : DataFrame
        From `ewmalab.analysis.diagnostics.results_frame`.
    forecaster, competition : str
    worst : int
        How many of the worst; "2nd worst", "3rd worst" ... follow after the three.
    """
    mine = results[(results["forecaster"] == forecaster) & (results["competition"] == competition)]
    relative = (mine["crps"] / mine.groupby("asset")["crps"].transform("mean")).sort_values(kind="stable")
    chosen = {"worst": relative.index[-1], "median": relative.index[len(relative) // 2], "best": relative.index[0]}
    for place in range(2, min(worst, len(relative)) + 1):
        if relative.index[-place] not in chosen.values():
            chosen[f"{place}{ {2: 'nd', 3: 'rd'}.get(place, 'th') } worst"] = relative.index[-place]
    assets, starts = mine["asset"].to_dict(), mine["start_time"].to_dict()
    return {word: (forecaster, competition, str(assets[i]), int(starts[i])) for word, i in chosen.items()}
