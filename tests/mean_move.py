"""Plug-ins: normal steps as large as the mean move since the state's origin; one asks for weeks, one has a fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from ewmalab.errors import ForecasterError, MissingDataError
from ewmalab.forecast.protocol import LogReturns, Numbers, Prompt
from ewmalab.forecast.streams import RandomStream
from ewmalab.market.bars import Bars
from ewmalab.rulebook import Asset
from ewmalab.times import DAY

State = tuple[int, float, float]  # moves, their sum, newest close

WIDE = f"{__name__}:Wide"
FITTED = f"{__name__}:Fitted"


@dataclass(frozen=True)
class MeanMove:
    """Every bar since the origin leaves its trace in the state."""

    asset: Asset
    factor: float = 1.0

    def initial_state(self) -> State:
        return 0, 0.0, 0.0

    def update(self, state: State, bars: Bars) -> State:
        count, total, last = state
        closes = np.concatenate([[last] if last else [], bars.close])
        moves = np.abs(np.diff(np.log(closes)))
        total = float(np.cumsum(np.concatenate([[total], moves]))[-1])  # one by one: any cuts give the same bits
        return count + len(moves), total, float(closes[-1])

    def simulate(self, state: State, prompt: Prompt, stream: RandomStream) -> LogReturns:
        draws = stream.generator().standard_normal((prompt.steps, prompt.num_simulations))
        out = np.zeros((prompt.steps + 1, prompt.num_simulations), np.float32)
        np.cumsum(draws * (self.factor * state[1] / max(1, state[0])), axis=0, out=out[1:])
        return out

    def dump_state(self, state: State) -> dict[str, Any]:
        return {"version": 1, "count": state[0], "total": state[1].hex(), "last": state[2].hex()}

    def load_state(self, data: Mapping[str, Any]) -> State:
        if data.get("version") != 1:
            raise ForecasterError("unknown version")
        return data["count"], float.fromhex(data["total"]), float.fromhex(data["last"])


class Wide(MeanMove):
    """Asks for weeks of bars."""

    warmup: ClassVar[int] = 20 * DAY


class Fitted(MeanMove):
    """Fits the factor: the root mean square move over the mean move, of all assets together."""

    def fit(
        self, bars: Mapping[str, Bars], assets: Mapping[str, Asset], *, end: int, prior: Numbers | None = None
    ) -> Numbers:
        moves = np.concatenate([np.abs(np.diff(np.log(own.close))) for own in bars.values()])
        if len(moves) < 5 * 1440:
            raise MissingDataError(f"{len(moves)} moves are too few")
        return {"factor": float(np.sqrt(np.mean(moves**2)) / np.mean(moves)), "assets": sorted(assets)}

    def with_fit(self, numbers: Numbers) -> Fitted:
        return replace(self, factor=numbers["factor"])
