"""Check that the states of a replay depend only on the warm-up, and that it is long enough."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ewmalab.forecast.model import Model, state_digest
from ewmalab.forecast.protocol import Prompt
from ewmalab.replay.knowledge import Knowledge, moments
from ewmalab.replay.plan import BacktestPlan

_STATES = 8  # states of each group that `check_warmup` makes from scratch


@dataclass(frozen=True, slots=True)
class WarmupRow:
    """The result of `check_warmup` for a forecaster, competition and asset.

    Attributes
    ----------
    forecaster, competition, asset : str
    days : float
        Warm-up before midnight, days.
    half, three_quarters : float
        Relative change of the paths' standard deviation at the horizon with that part of the warm-up.
    states, differing : int
        States of the replay that were also made from scratch, and how many of them differed.
    verdict : {"sufficient", "too short", "rule differs"}
    """

    forecaster: str
    competition: str
    asset: str
    days: float
    half: float
    three_quarters: float
    states: int
    differing: int
    verdict: Literal["sufficient", "too short", "rule differs"]


def check_warmup(plan: BacktestPlan, *, tolerance: float = 0.02, knowledge: Knowledge = moments) -> list[WarmupRow]:
    """Check that states follow the rule from bars to state, and that the warm-up is long enough.

    The rule: a state of the replay equals, bit for bit, `Model.state_of` the bars since its origin, wherever the replay
    began. The length: the volatility of the first forecast hardly changes if the warm-up is cut to a half or three
    quarters. All use the same random stream, so any difference comes from the state.

    Parameters
    ----------
    plan : BacktestPlan
    tolerance : float
        Largest accepted relative change of volatility.
    knowledge : callable
        As in `ewmalab.replay.engine.replay`; tests replace it to plant another rule.
    """
    rows = []
    for name, (competition, asset), model, prompts in _stretches(plan):
        bars = plan.data.model[asset]
        kept = np.unique(np.linspace(0, len(prompts) - 1, _STATES).astype(int)).tolist()
        walked = {i: moment for i, moment in enumerate(knowledge(model, bars, prompts)) if i in kept}
        differing = sum(
            state_digest(model.forecaster, moment.state)
            != state_digest(model.forecaster, model.state_of(bars.known_at(moment.prompt.request_time)))
            for moment in walked.values()
        )
        whole, half, most = (_spread(plan, model, prompts[0], part) for part in (1.0, 0.5, 0.75))
        change = half / whole - 1, most / whole - 1
        verdict: Literal["sufficient", "too short", "rule differs"] = "sufficient"
        if differing:
            verdict = "rule differs"
        elif max(map(abs, change)) > tolerance:
            verdict = "too short"
        rows.append(
            WarmupRow(name, competition, asset, model.warmup / 86_400, *change, len(walked), differing, verdict)
        )
    return rows


def _stretches(plan: BacktestPlan) -> Iterator[tuple[str, tuple[str, str], Model, list[Prompt]]]:
    for name in plan.forecasters:
        for group in plan.groups:
            for model, items in plan.stretches(name, group):
                yield name, group, model, [item.prompt for item in items]


def _seed(plan: BacktestPlan) -> int:
    return plan.settings.values.run.seed


def _spread(plan: BacktestPlan, model: Model, prompt: Prompt, part: float) -> float:
    """Return the standard deviation of the paths' last values after a part of the warm-up."""
    known = plan.data.model[prompt.asset].known_at(prompt.request_time)
    newest = int(known.timestamp[-1])
    begin = newest - round(part * (newest - model.origin(newest)))
    state = model.state_of(known.between(begin, newest + 1))
    return float(model.paths(state, newest, prompt, _seed(plan))[-1].std())
