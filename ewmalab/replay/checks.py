"""Checks of a replay's honesty: what it must not know, and what it must have forgotten."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ewmalab.forecast.protocol import Prompt
from ewmalab.forecast.streams import RandomStream
from ewmalab.market.bars import Bars
from ewmalab.replay.data import Group, ReplayData
from ewmalab.replay.engine import MakeForecaster, simulate
from ewmalab.replay.knowledge import Walk, walk
from ewmalab.replay.schedule import Scheduled

_BEFORE = 6  # forecasts made again before each cut: the last one before it, and others further back


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
    """What `check_lookahead` found."""

    cuts: int
    forecasts: int
    leaks: list[Leak]

    @classmethod
    def of(cls, reports: Iterable[LookaheadReport]) -> LookaheadReport:
        """Return several reports as one."""
        found = list(reports)
        return cls(
            sum(r.cuts for r in found), sum(r.forecasts for r in found), [leak for r in found for leak in r.leaks]
        )  # fmt: skip


def check_lookahead(
    names: Sequence[str],
    make: MakeForecaster,
    groups: Mapping[Group, list[Scheduled]],
    warmups: Mapping[Group, int],
    data: ReplayData,
    *,
    seed: int,
    cuts: int = 12,
    walk: Walk = walk,
    progress: Callable[[], None] | None = None,
) -> LookaheadReport:
    """Mutate the future at random cuts and compare forecasts bit for bit.

    A cut is the request time of a prompt: every bar not closed by then is changed, or removed. Forecasts for prompts
    requested up to the cut, the one at the cut included, must keep their paths, anchor and anchor time.

    Parameters
    ----------
    names, make, groups, warmups, data, seed, walk
        As in `ewmalab.replay.engine.replay`.
    cuts : int
        Per forecaster, competition and asset; each is tried with every kind of mutation.

    Returns
    -------
    LookaheadReport
    """
    leaks: list[Leak] = []
    forecasts = tried = 0
    for name in names:
        for (competition, asset), items in groups.items():
            prompts = [item.prompt for item in items]
            rng = RandomStream.of(seed, asset, f"lookahead/{competition}", len(prompts)).generator()
            bars = data.model[asset]
            bars = bars.rows(int(np.searchsorted(bars.timestamp, warmups[competition, asset])), len(bars))
            for at in rng.choice(len(prompts), size=min(cuts, len(prompts)), replace=False):
                chosen = sorted({int(at), *(int(i) for i in rng.integers(0, at + 1, size=_BEFORE - 1))})
                asked = [prompts[i] for i in chosen]
                truth = _digests(name, make, bars, asked, seed, walk)
                # As in a replay, where the states of a block of prompts wait until their paths are drawn.
                held = _digests(name, make, bars, asked, seed, lambda *given: iter(list(walk(*given))))
                others = [("walked over before the paths were drawn", held)]
                for mutation, future in _mutations(bars, prompts[at].request_time, rng):
                    others.append((mutation, _digests(name, make, future, asked, seed, walk, failures=True)))
                for mutation, again in others:
                    forecasts += len(asked)
                    leaks += [
                        Leak(name, competition, asset, prompt.request_time, mutation)
                        for prompt, a, b in zip(asked, truth, again, strict=True)
                        if a != b
                    ]
                tried += 1
            if progress:
                progress()
    return LookaheadReport(tried, forecasts, leaks)


def _digests(
    name: str,
    make: MakeForecaster,
    bars: Bars,
    prompts: list[Prompt],
    seed: int,
    walk: Walk,
    failures: bool = False,
) -> list[str]:
    """Return a hash of each forecast: anchor, its time, and all paths.

    With `failures` an error counts as an outcome: another future may well show as one.
    """
    out: list[str] = []
    forecaster = make(name, prompts[0].asset)
    try:
        for moment in walk(forecaster, bars, prompts):
            sha = hashlib.sha256(np.float64(moment.anchor).tobytes() + moment.anchor_time.to_bytes(8, "little"))
            sha.update(simulate(forecaster, moment, seed).tobytes())
            out.append(sha.hexdigest())
    except Exception as error:
        if not failures:
            raise
        out += [f"{type(error).__name__}: {error}"] * (len(prompts) - len(out))
    return out


def _mutations(bars: Bars, cut: int, rng: np.random.Generator) -> Iterable[tuple[str, Bars]]:
    """Yield the bars with another future: the same up to the cut, then different."""
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
    """How a forecast's volatility changes when its warm-up begins later, relative to the whole warm-up.

    Attributes
    ----------
    hours : float
        Length of the whole warm-up.
    half, three_quarters : float
        Relative change of the paths' standard deviation at the horizon with that part of the warm-up.
    """

    forecaster: str
    competition: str
    asset: str
    hours: float
    half: float
    three_quarters: float


def check_warmup(
    names: Sequence[str],
    make: MakeForecaster,
    groups: Mapping[Group, list[Scheduled]],
    warmups: Mapping[Group, int],
    data: ReplayData,
    *,
    seed: int,
) -> list[WarmupRow]:
    """Compare the first forecast of each group after the whole warm-up and after parts of it.

    The same random stream serves all, so a difference is the state's.
    """
    rows = []
    for name in names:
        for (competition, asset), items in groups.items():
            prompt, begin = items[0].prompt, warmups[competition, asset]
            length = prompt.start_time - begin

            def spread(start: int, name: str = name, prompt: Prompt = prompt) -> float:
                bars = data.model[prompt.asset]
                bars = bars.rows(int(np.searchsorted(bars.timestamp, start)), len(bars))
                forecaster = make(name, prompt.asset)
                moment = next(iter(walk(forecaster, bars, [prompt])))
                return float(simulate(forecaster, moment, seed)[-1].std())

            whole = spread(begin)
            half, most = spread(begin + length // 2), spread(begin + length // 4)
            rows.append(WarmupRow(name, competition, asset, length / 3600, half / whole - 1, most / whole - 1))
    return rows
