"""The forecaster ``random-walk``: the subnet's reference miner."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ewmalab.errors import ForecasterError
from ewmalab.forecast.kernels import random_walk_paths
from ewmalab.forecast.protocol import LogReturns, Prompt
from ewmalab.forecast.streams import RandomStream
from ewmalab.market.bars import Bars
from ewmalab.rulebook import Asset, load_rulebook


@dataclass(frozen=True)
class RandomWalk:
    """Gaussian random walk with a constant volatility: per step ``P *= 1 + N(0, sigma sqrt(dt / 3600))``.

    Parameters
    ----------
    asset : Asset
    sigma_per_hour : float
        Relative standard deviation per hour; 0 takes the reference miner's value on the prompt's date.
    """

    asset: Asset
    sigma_per_hour: float = 0.0

    def initial_state(self) -> None:
        """Return None: nothing is learned."""

    def update(self, state: None, bars: Bars) -> None:
        """Return None: nothing is learned."""

    def simulate(self, state: None, prompt: Prompt, stream: RandomStream) -> LogReturns:
        """Return cumulative log-returns; see `Forecaster.simulate`."""
        sigma = self.sigma_per_hour or load_rulebook().at(prompt.start_time).sigma_per_hour(self.asset.symbol)
        out = np.empty((prompt.steps + 1, prompt.num_simulations), np.float32)
        step = sigma * math.sqrt(prompt.time_increment / 3600)
        random_walk_paths(stream.lanes(prompt.num_simulations), step, out)
        return out

    def dump_state(self, state: None) -> dict[str, Any]:
        """Return the state as a plain dict."""
        return {"forecaster": "random-walk", "version": 1}

    def load_state(self, data: Mapping[str, Any]) -> None:
        """Check that the dict is of this forecaster."""
        if dict(data) != self.dump_state(None):
            raise ForecasterError(f"not a state of random-walk: {dict(data)!r}")
