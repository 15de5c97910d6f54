"""The replay engine: forecasts and scores of many prompts, independent of the number of threads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ewmalab.forecast.model import Model
from ewmalab.forecast.protocol import Prompt
from ewmalab.market.bars import Bars
from ewmalab.replay.data import Group, ReplayData
from ewmalab.replay.knowledge import Knowledge, Moment, moments
from ewmalab.replay.prediction_files import keep_prediction
from ewmalab.replay.schedule import Scheduled
from ewmalab.scoring.calibration import HorizonCheck, check_horizons
from ewmalab.scoring.crps import Score, score_log_returns
from ewmalab.times import MINUTE

BLOCK = 32
"""Prompts per task: large against a task's overhead, small against a thread's share."""

NOT_SETTLED = "no candle after the last: not settled"
LAST_PRICE_MISSING = "last price missing"


@dataclass(frozen=True, slots=True)
class Row:
    """One forecaster's outcome on one prompt; if `score` is None, `reason` says why."""

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
    """The prompts that one task answers."""

    model: Model
    moments: Sequence[Moment]
    items: Sequence[Scheduled]
    realised: Bars


Stretches = Callable[[str, Group], Iterable[tuple[Model, list[Scheduled]]]]
"""A forecaster's models for the prompts of a competition and asset, in time order: one, or one after each fit."""


def replay(
    names: Sequence[str],
    stretches: Stretches,
    groups: Iterable[Group],
    data: ReplayData,
    *,
    seed: int,
    threads: int = 1,
    progress: Callable[[int], None] | None = None,
    knowledge: Knowledge = moments,
    keep: Path | None = None,
) -> Iterator[list[Row]]:
    """Replay every prompt under every forecaster, and yield the rows of each block of prompts as it is done.

    Each competition and asset is replayed separately; no state passes from one to another.

    Parameters
    ----------
    names : sequence of str
        Forecasters.
    stretches : callable
        Returns the models of a name and a group with their prompts.
    groups : iterable of (competition, asset)
    data : ReplayData
    seed : int
    threads : int
    progress : callable, optional
        Called with the number of prompts just done.
    knowledge : callable
        Yields the model's knowledge at each prompt; tests replace it to plant leaks.
    keep : Path, optional
        Folder for the ensembles of the scored prompts; see `ewmalab.replay.prediction_files`.

    Notes
    -----
    Blocks are done in any order: see `ewmalab.replay.results.collect`.
    """
    wanted = list(groups)

    def blocks() -> Iterator[_Block]:
        for name in names:
            for group in wanted:
                realised = data.realised[group[1]]
                for model, items in stretches(name, group):
                    asked = {item.prompt: item for item in items}
                    known = knowledge(model, data.model[group[1]], [item.prompt for item in items])
                    while chunk := list(islice(known, BLOCK)):
                        yield _Block(model, chunk, [asked[moment.prompt] for moment in chunk], realised)

    with ThreadPoolExecutor(threads) as pool:
        waiting: set[Future[list[Row]]] = set()

        def finished() -> Iterator[list[Row]]:
            done, _ = wait(waiting, return_when=FIRST_COMPLETED)
            waiting.difference_update(done)
            for future in done:
                if progress:
                    progress(len(future.result()))
                yield future.result()

        try:
            for block in blocks():
                waiting.add(pool.submit(_run, block, seed, keep))
                while len(waiting) >= 4 * threads:
                    yield from finished()
            while waiting:
                yield from finished()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _run(block: _Block, seed: int, keep: Path | None) -> list[Row]:
    return [
        answer(block.model, moment, item, block.realised, seed, keep)
        for moment, item in zip(block.moments, block.items, strict=True)
    ]


def answer(model: Model, moment: Moment, item: Scheduled, realised: Bars, seed: int, keep: Path | None = None) -> Row:
    """Simulate and score one prompt.

    Parameters
    ----------
    model : Model
    moment : Moment
        The model's knowledge when the prompt arrives.
    item : Scheduled
        The same prompt, with its rule.
    realised : Bars
        Bars that the paths are scored against, unless the prompt has its published path.
    seed : int
    keep : Path, optional
        As in `replay`.
    """
    prompt, rule, name = item.prompt, item.rule, model.name
    truth, reason = settled_path(realised, item)
    if reason is not None:
        return Row(name, prompt, rule.name, moment.anchor, moment.anchor_time, None, reason)
    paths = moment.paths(model, seed)
    if keep:
        keep_prediction(keep, name, prompt, moment.anchor, paths)
    score = score_log_returns(paths, moment.anchor, truth, rule, prompt.time_increment)
    horizons = check_horizons(paths, moment.anchor, truth, prompt.time_increment)
    return Row(name, prompt, rule.name, moment.anchor, moment.anchor_time, score, None, horizons)


def settled_path(realised: Bars, item: Scheduled) -> tuple[npt.NDArray[np.float64], str | None]:
    """Return the published path of a prompt, or that of the bars; values as in `realised_path`."""
    if not item.published:
        return realised_path(realised, item.prompt)
    truth = np.frombuffer(item.published, np.float64)
    return truth, LAST_PRICE_MISSING if np.isnan(truth[-1]) else None


def realised_path(realised: Bars, prompt: Prompt) -> tuple[npt.NDArray[np.float64], str | None]:
    """Return the prices that a prompt is scored against, and the reason why it cannot be scored, if any.

    Returns
    -------
    (steps + 1,) float64
        Closes of the bars labelled by the grid, NaN where missing.
    str or None
        None if it can be scored: the candle after the last grid point exists, and the last price is not missing.
        Validators ask for no later candle than that one, so no later one settles a prompt.
    """
    truth = realised.closes_at(prompt.grid())
    if np.isnan(realised.closes_at([prompt.start_time + prompt.time_length + MINUTE])[0]):
        return truth, NOT_SETTLED
    if np.isnan(truth[-1]):
        return truth, LAST_PRICE_MISSING
    return truth, None
