"""The replay engine: forecasts and scores of many prompts, the same whatever the number of threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from ewmalab.forecast.paths import check_paths
from ewmalab.forecast.protocol import Forecaster, LogReturns, Prompt
from ewmalab.market.bars import Bars
from ewmalab.replay.data import Group, ReplayData
from ewmalab.replay.knowledge import Moment, Walk, walk
from ewmalab.replay.schedule import Scheduled
from ewmalab.rulebook import ScoringRule
from ewmalab.scoring.calibration import HorizonCheck, check_horizons
from ewmalab.scoring.crps import Score, score_log_returns

_BLOCK = 32  # prompts per task: large against a task's overhead, small against a thread's share

NOT_SETTLED = "no later candle: not settled"
LAST_PRICE_MISSING = "last price missing"


@dataclass(frozen=True, slots=True)
class Row:
    """One prompt's outcome under one forecaster; `score` is None where `reason` says why."""

    forecaster: str
    prompt: Prompt
    rule: str
    anchor: float
    anchor_time: int
    score: Score | None
    reason: str | None
    horizons: tuple[HorizonCheck, ...] = ()


@dataclass(frozen=True, slots=True)
class _Block:
    """What one task answers."""

    name: str
    forecaster: Forecaster[Any]
    moments: Sequence[Moment]
    rules: Sequence[ScoringRule]
    realised: Bars


MakeForecaster = Callable[[str, str], Forecaster[Any]]  # forecaster's name, asset


def replay(
    names: Sequence[str],
    make: MakeForecaster,
    groups: Mapping[Group, list[Scheduled]],
    warmups: Mapping[Group, int],
    data: ReplayData,
    *,
    seed: int,
    threads: int = 1,
    progress: Callable[[int], None] | None = None,
    walk: Walk = walk,
) -> list[Row]:
    """Replay every prompt under every forecaster.

    Each competition and asset is walked by itself, from its own warm-up: no state passes from one to another.

    Parameters
    ----------
    names : sequence of str
        Forecasters.
    make : callable
        Returns the forecaster of a name and an asset.
    groups : mapping of (competition, asset) to prompts
        From `group_prompts`.
    warmups : mapping of (competition, asset) to int
        Label of the first bar of each group's warm-up.
    data : ReplayData
    seed : int
    threads : int
    progress : callable, optional
        Called with the number of prompts just done.
    walk : callable
        How knowledge is handed out; tests replace it to plant leaks.

    Returns
    -------
    list of Row
        By forecaster, then start time, competition and asset.
    """

    def blocks() -> Iterator[_Block]:
        for name in names:
            for (competition, asset), items in groups.items():
                forecaster = make(name, asset)
                rules = {item.prompt: item.rule for item in items}
                bars = data.model[asset]
                bars = bars.rows(int(np.searchsorted(bars.timestamp, warmups[competition, asset])), len(bars))
                moments = walk(forecaster, bars, [item.prompt for item in items])
                while chunk := list(islice(moments, _BLOCK)):
                    yield _Block(name, forecaster, chunk, [rules[m.prompt] for m in chunk], data.realised[asset])

    rows: list[Row] = []
    with ThreadPoolExecutor(threads) as pool:
        waiting: set[Future[list[Row]]] = set()
        try:
            for block in blocks():
                waiting.add(pool.submit(_run, block, seed))
                while len(waiting) >= 4 * threads:
                    waiting = _collect(waiting, rows, progress)
            while waiting:
                waiting = _collect(waiting, rows, progress)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    order = {name: i for i, name in enumerate(names)}
    return sorted(rows, key=lambda row: (order[row.forecaster], row.prompt))


def _collect(
    waiting: set[Future[list[Row]]], rows: list[Row], progress: Callable[[int], None] | None
) -> set[Future[list[Row]]]:
    done, left = wait(waiting, return_when=FIRST_COMPLETED)
    for future in done:
        rows.extend(future.result())
        if progress:
            progress(len(future.result()))
    return left


def _run(block: _Block, seed: int) -> list[Row]:
    return [
        answer(block.name, block.forecaster, moment, rule, block.realised, seed)
        for moment, rule in zip(block.moments, block.rules, strict=True)
    ]


def answer(name: str, forecaster: Forecaster[Any], moment: Moment, rule: ScoringRule, realised: Bars, seed: int) -> Row:
    """Simulate and score one prompt."""
    prompt = moment.prompt
    truth, reason = realised_path(realised, prompt)
    if reason is not None:
        return Row(name, prompt, rule.name, moment.anchor, moment.anchor_time, None, reason)
    paths = simulate(forecaster, moment, seed)
    score = score_log_returns(paths, moment.anchor, truth, rule, prompt.time_increment)
    horizons = check_horizons(paths, moment.anchor, truth, prompt.time_increment)
    return Row(name, prompt, rule.name, moment.anchor, moment.anchor_time, score, None, horizons)


def simulate(forecaster: Forecaster[Any], moment: Moment, seed: int) -> LogReturns:
    """Return a forecaster's paths for a prompt, checked against the protocol.

    Raises
    ------
    ForecasterError
        If shape, type or values are not what `Forecaster.simulate` promises.
    """
    prompt = moment.prompt
    return check_paths(forecaster, forecaster.simulate(moment.state, prompt, prompt.stream(seed)), prompt)


def realised_path(realised: Bars, prompt: Prompt) -> tuple[npt.NDArray[np.float64], str | None]:
    """Return the prices a prompt is scored against, and why it cannot be scored (None if it can).

    Returns
    -------
    (steps + 1,) float64
        Closes of the bars labelled by the grid, NaN where missing.
    str or None
        A validator scores once a candle after the last grid point exists, if the last price is there.
    """
    truth = realised.closes_at(prompt.grid())
    if not len(realised) or realised.timestamp[-1] <= prompt.start_time + prompt.time_length:
        return truth, NOT_SETTLED
    if np.isnan(truth[-1]):
        return truth, LAST_PRICE_MISSING
    return truth, None
