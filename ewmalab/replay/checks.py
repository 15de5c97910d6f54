"""Checks of a replay: that it does not look ahead, and that its states depend only on the warm-up."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ewmalab.forecast.model import Model, state_digest
from ewmalab.forecast.protocol import Prompt
from ewmalab.forecast.streams import RandomStream
from ewmalab.market.bars import Bars
from ewmalab.replay.knowledge import Knowledge, moments
from ewmalab.replay.plan import BacktestPlan

_BEFORE = 6  # forecasts reproduced for each cut: the one at it, and others before
_STATES = 8  # states of each group that `check_warmup` makes from scratch


@dataclass(frozen=True, slots=True)
class Leak:
    """A forecast that changed with its future."""

    forecaster: str
    competition: str
    asset: str
    request_time: int
    mutation: str


@dataclass(frozen=True, slots=True)
class LookaheadReport:
    """The result of `check_lookahead`."""

    cuts: int
    forecasts: int
    leaks: list[Leak]


def check_lookahead(
    plan: BacktestPlan, *, cuts: int = 12, knowledge: Knowledge = moments, progress: Callable[[int], None] | None = None
) -> LookaheadReport:
    """Mutate the future at random cuts and compare forecasts bit for bit.

    A cut is the request time of a prompt: every bar not closed by then is changed, or removed. Forecasts for prompts
    requested up to the cut, the one at the cut included, must keep their paths, anchor and anchor time.

    Parameters
    ----------
    plan : BacktestPlan
    cuts : int
        Per forecaster, competition, asset and fit; each is tried with every kind of mutation.
    knowledge : callable
        As in `ewmalab.replay.engine.replay`.
    progress : callable, optional
        Called with the number of prompts just covered.
    """
    leaks: list[Leak] = []
    forecasts = tried = 0
    for name, (competition, asset), model, prompts in _stretches(plan):
        rng = RandomStream.of(_seed(plan), asset, f"lookahead/{competition}", len(prompts)).generator()
        bars = plan.data.model[asset]
        for at in rng.choice(len(prompts), size=min(cuts, len(prompts)), replace=False):
            chosen = sorted({int(at), *(int(i) for i in rng.integers(0, at + 1, size=_BEFORE - 1))})
            asked = [prompts[i] for i in chosen]
            truth = _outcomes(plan, model, bars, asked, knowledge)
            # As in a replay, where a block of states is held before its paths are drawn.
            held = _outcomes(plan, model, bars, asked, lambda *given: iter(list(knowledge(*given))))
            others = [("held before the paths were drawn", held)]
            for mutation, future in _mutations(bars, prompts[at].request_time, rng):
                others.append((mutation, _outcomes(plan, model, future, asked, knowledge, failures=True)))
            for mutation, again in others:
                forecasts += len(asked)
                leaks += [
                    Leak(name, competition, asset, prompt.request_time, mutation)
                    for prompt, a, b in zip(asked, truth, again, strict=True)
                    if a != b
                ]
            tried += 1
        if progress:
            progress(len(prompts))
    return LookaheadReport(tried, forecasts, leaks)


def _stretches(plan: BacktestPlan) -> Iterator[tuple[str, tuple[str, str], Model, list[Prompt]]]:
    for name in plan.forecasters:
        for group in plan.groups:
            for model, items in plan.stretches(name, group):
                yield name, group, model, [item.prompt for item in items]


def _seed(plan: BacktestPlan) -> int:
    return plan.settings.values.run.seed


def _fresh(plan: BacktestPlan, model: Model, prompt: Prompt) -> Model:
    """Return a new instance of the same model, so that nothing one forecaster remembers helps another."""
    return plan.model(model.name, prompt.asset, prompt.request_time)


def _outcomes(
    plan: BacktestPlan, model: Model, bars: Bars, prompts: list[Prompt], knowledge: Knowledge, *, failures: bool = False
) -> list[bytes | str]:
    """Return the bytes of each forecast: anchor, its time, and all paths.

    With `failures` an error counts as an outcome, because another future may show as one.
    """
    out: list[bytes | str] = []
    model = _fresh(plan, model, prompts[0])
    try:
        for moment in knowledge(model, bars, prompts):
            anchor = np.float64(moment.anchor).tobytes() + moment.anchor_time.to_bytes(8, "little")
            out.append(anchor + moment.paths(model, _seed(plan)).tobytes())
    except Exception as error:
        if not failures:
            raise
        out += [f"{type(error).__name__}: {error}"] * (len(prompts) - len(out))
    return out


def _mutations(bars: Bars, cut: int, rng: np.random.Generator) -> Iterable[tuple[str, Bars]]:
    """Yield the bars with another future: equal up to the cut, different after it."""
    known = bars.count_known_at(cut)
    past, future = bars.rows(0, known), bars.rows(known, len(bars))
    yield "removed", past
    if not len(future):
        return
    level = np.full(len(future), np.exp(rng.choice([-1, 1]) * rng.uniform(0.5, 1.0)))
    noise = np.exp(rng.standard_normal(len(future)) * 0.05)
    for name, factor in (("scaled", level), ("shaken", noise)):
        o, h, l, c = (price * factor for price in (future.open, future.high, future.low, future.close))
        other = Bars(future.timestamp, o, h, l, c, bars.resolution)
        yield name, Bars.concatenate([past, other])


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


def _spread(plan: BacktestPlan, model: Model, prompt: Prompt, part: float) -> float:
    """Return the standard deviation of the paths' last values after a part of the warm-up."""
    known = plan.data.model[prompt.asset].known_at(prompt.request_time)
    newest = int(known.timestamp[-1])
    begin = newest - round(part * (newest - model.origin(newest)))
    state = model.state_of(known.between(begin, newest + 1))
    return float(model.paths(state, newest, prompt, _seed(plan))[-1].std())
