"""Compile what an answer needs before there is anything to answer."""

from __future__ import annotations

import numpy as np

from ewmalab.forecast.model import Model
from ewmalab.forecast.protocol import Prompt
from ewmalab.market.bars import Bars
from ewmalab.rulebook import Rulebook
from ewmalab.scoring.answer_format import render
from ewmalab.times import MINUTE


def warm_up(model: Model, rulebook: Rulebook, now: float) -> None:
    """Compile every kernel that an answer needs, or load it from numba's cache, so that no request waits for it.

    Parameters
    ----------
    model : Model
    rulebook : Rulebook
        Prompts of all its competitions at that time are answered.
    now : float
        Market time.
    """
    start = int(now) // MINUTE * MINUTE
    times = start - MINUTE * np.arange(2000, 0, -1)
    price = 100 * np.exp(0.001 * np.sin(np.arange(2000)))
    bars = Bars(times, price, price, price, price)
    for competition in rulebook.at(start).competitions.values():
        length, step = competition.time_length, competition.time_increment
        prompt = Prompt(start, competition.name, model.asset.symbol, start, step, length, competition.num_simulations)
        paths = model.forecaster.simulate(model.state_of(bars), prompt, prompt.stream(0))
        render(start, step, 100.0, paths)
