"""The forecaster ``random-walk``: the subnet's reference miner."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ewmalab.compiled import njit
from ewmalab.elementary import FAST
from ewmalab.errors import ForecasterError
from ewmalab.forecast.draws import BLOCK, load_lane, normal, put_block, store_lane, take_block
from ewmalab.forecast.protocol import LogReturns, Prompt
from ewmalab.forecast.streams import RandomStream
from ewmalab.market.bars import Bars
from ewmalab.rulebook import Asset, load_rulebook

_f32 = np.float32


@dataclass(frozen=True)
class RandomWalk:
    """Gaussian random walk with a constant volatility: per step ``P *= 1 + N(0, sigma sqrt(dt / 3600))``.

    Parameters
    ----------
    asset : Asset
    sigma_per_hour : float
        Relative standard deviation per hour; 0 means the reference miner's value on the prompt's date.
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
        """Check that this forecaster dumped the dict."""
        if dict(data) != self.dump_state(None):
            raise ForecasterError(f"not a state of random-walk: {dict(data)!r}")


@njit(nogil=True, cache=True, fastmath=FAST)
def random_walk_paths(lanes: npt.NDArray[np.uint32], sigma: float, out: LogReturns) -> None:
    """Fill `out` with cumulative log-returns of ``P *= 1 + sigma N(0, 1)`` (Box-Muller).

    Parameters
    ----------
    lanes : (4, n) uint32
        Generator states; advanced in place.
    sigma : float
        Standard deviation of one step's relative change, below 0.1.
    out : (steps + 1, n) float32
        Result; row 0 is zero.
    """
    sd = _f32(sigma)
    for first in range(0, lanes.shape[1], BLOCK):
        block = take_block(lanes, first)
        m = block[0].shape[0]
        path = np.zeros(m, np.float32)
        out[0, first : first + m] = _f32(0)
        for t in range(out.shape[0] - 1):
            row = out[t + 1, first : first + m]
            for j in range(m):
                z, lane = normal(load_lane(block, j))
                store_lane(block, j, lane)
                x = sd * z
                # log(1 + x) to x**5: |x| < 6.7 sd, so the remainder is below 1e-8 for sd up to 0.01 an hour
                step = x * (_f32(1) - x * (_f32(0.5) - x * (_f32(1 / 3) - x * (_f32(0.25) - x * _f32(0.2)))))
                path[j] += step
                row[j] = path[j]
        put_block(lanes, first, block)
