"""What a forecaster knows at each prompt of a replay; decided only here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ewmalab.errors import MissingDataError
from ewmalab.forecast.model import Model, RunningState
from ewmalab.forecast.protocol import LogReturns, Prompt
from ewmalab.market.bars import Bars
from ewmalab.times import iso


@dataclass(frozen=True, slots=True)
class Moment:
    """A model's knowledge when a prompt arrives.

    Attributes
    ----------
    prompt : Prompt
    state : object
        State after exactly the bars closed at the request time.
    anchor : float
        Close of the newest of them.
    anchor_time : int
        Label of the newest of them.
    """

    prompt: Prompt
    state: Any
    anchor: float
    anchor_time: int

    def paths(self, model: Model, seed: int) -> LogReturns:
        """Return the model's paths; see `Model.paths`."""
        return model.paths(self.state, self.anchor_time, self.prompt, seed)


Knowledge = Callable[[Model, Bars, Iterable[Prompt]], Iterator[Moment]]


def known_counts(bars: Bars, prompts: Sequence[Prompt]) -> npt.NDArray[np.int64]:
    """Return the number of bars closed at each prompt's request.

    Raises
    ------
    MissingDataError
        If no bar is closed at a request.
    """
    counts = np.array([bars.count_known_at(prompt.request_time) for prompt in prompts], np.int64)
    if len(counts) and counts.min() == 0:
        first = prompts[int(np.argmin(counts))]
        raise MissingDataError(f"no bar of {first.asset} is known at {iso(first.request_time)}")
    return counts


def moments(model: Model, bars: Bars, prompts: Iterable[Prompt]) -> Iterator[Moment]:
    """Feed bars to a model as they close, and yield its knowledge at each prompt.

    Parameters
    ----------
    model : Model
    bars : Bars
        From the first state's origin on; see `ewmalab.forecast.model.origin_of`.
    prompts : iterable of Prompt
        Prompts of one asset and one competition, in order of request time.

    Raises
    ------
    MissingDataError
        If no bar is known at the first request.
    """
    running = RunningState(model)
    asked = list(prompts)
    for prompt, known in zip(asked, known_counts(bars, asked).tolist(), strict=True):
        state = running.follow(bars.rows(0, known))
        yield Moment(prompt, state, float(bars.close[known - 1]), int(bars.timestamp[known - 1]))
