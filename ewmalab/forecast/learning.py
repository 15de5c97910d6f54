"""Weights of a mixture that follow what its members scored: the record of their CRPS over the hours past."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from ewmalab.errors import ForecasterError
from ewmalab.forecast.paths import check_paths
from ewmalab.forecast.protocol import Forecaster, Prompt
from ewmalab.forecast.streams import RandomStream
from ewmalab.market.bars import Bars
from ewmalab.rulebook import Asset
from ewmalab.scoring.crps import crps_ensemble
from ewmalab.times import MINUTE

Floats = npt.NDArray[np.float64]
HOUR: Final = 3600
INCREMENTS: Final = (60, 300)
"""Each has weights of its own."""
_EVERY, _PATHS = 300, 200
_POINTS = HOUR // _EVERY


@dataclass(frozen=True, eq=False)
class Record:
    """What the members of a mixture scored, and the forecasts whose hour has not ended.

    A forecast is remembered by the state that it is made from, and simulated once its hour is over.

    Attributes
    ----------
    made : int
        When the pending forecasts were made, seconds since 1970-01-01 UTC; 0 if there are none.
    states : tuple
        The members' states at that time.
    anchor : float
        The close at that time.
    closes : (12,) float64
        Closes 5, 10, ... 60 minutes later; NaN where not seen.
    hours : float
        Number of hours scored, with their weights of today.
    losses : (2, M) float64
        Sums of CRPS by increment and member, with the same weights.
    """

    made: int
    states: tuple[Any, ...]
    anchor: float
    closes: Floats
    hours: float
    losses: Floats

    @classmethod
    def empty(cls, members: int) -> Record:
        """Return the record before any bar."""
        return cls(0, (), np.nan, np.full(_POINTS, np.nan), 0.0, np.zeros((len(INCREMENTS), members)))

    def shares(self, given: Sequence[float], time_increment: int) -> tuple[float, ...]:
        """Return the members' weights: the given ones, times e to the power of less the relative loss.

        The loss of a member is that beyond the best one's, in mean hourly CRPS of all members.
        """
        losses = self.losses[INCREMENTS.index(time_increment)] if time_increment in INCREMENTS else self.losses.sum(0)
        if not losses.mean() > 0:
            return tuple(given)
        raw = np.array(given) * np.exp(self.hours * (losses.min() - losses) / losses.mean())
        return tuple((raw / raw.sum()).tolist()) if raw.sum() > 0 else tuple(given)

    def seen(self, bars: Bars) -> Record:
        """Return the record with closes of the pending hour."""
        after = bars.timestamp + MINUTE - self.made
        wanted = (after > 0) & (after <= HOUR) & (after % _EVERY == 0)
        if not self.made or not wanted.any():
            return self
        closes = self.closes.copy()
        closes[after[wanted] // _EVERY - 1] = bars.close[wanted]
        return replace(self, closes=closes)

    def scored(self, asset: Asset, members: Sequence[Forecaster[Any]], now: int, memory: int) -> Record:
        """Return the record in which the pending forecasts count, if all members could make them."""
        known = np.isfinite(self.closes)
        if not self.made or not known.any():
            return self
        moved, found = np.log(self.closes[known] / self.anchor), np.zeros_like(self.losses)
        for i, step in enumerate(INCREMENTS):
            prompt = Prompt(self.made, "blend", asset.symbol, self.made, step, HOUR, _PATHS)
            stream = RandomStream.of(0, asset.symbol, "blend", self.made)  # one for all: equal members score the same
            for k, (one, state) in enumerate(zip(members, self.states, strict=True)):
                try:
                    paths = check_paths(one, one.simulate(state, prompt, stream), prompt)
                except ForecasterError:  # too few bars yet: it says so when it is asked for an answer
                    return self
                points = paths[:: _EVERY // step][1:][known].astype(np.float64)
                found[i, k] = crps_ensemble(moved, points).mean()
        kept = 0.5 ** ((now - self.made) / memory)
        return replace(self, hours=kept * self.hours + 1.0, losses=kept * self.losses + found)


def followed(
    asset: Asset, members: Sequence[Forecaster[Any]], states: tuple[Any, ...], record: Record, bars: Bars, memory: int
) -> tuple[tuple[Any, ...], Record]:
    """Return the members' states and their record after closed minute bars.

    Forecasts are made, and those before them scored, at each bar that closes an hour, however the bars are divided.

    Parameters
    ----------
    asset : Asset
    members : sequence of Forecaster
    states : tuple
        Their states.
    record : Record
    bars : Bars
    memory : int
        Half-life of a score's weight, seconds.
    """
    ends = np.flatnonzero((bars.timestamp + MINUTE) % HOUR == 0) + 1
    edges = [0, *ends.tolist(), len(bars)]
    for a, b in pairwise(edges):
        part = bars.rows(a, b)
        if not len(part):
            continue
        states = tuple(one.update(own, part) for one, own in zip(members, states, strict=True))
        record, now = record.seen(part), int(part.timestamp[-1]) + MINUTE
        if now % HOUR == 0:
            record = record.scored(asset, members, now, memory)
            closes = np.full(_POINTS, np.nan)
            record = replace(record, made=now, states=states, anchor=float(part.close[-1]), closes=closes)
    return states, record


def dump_record(record: Record, members: Sequence[Forecaster[Any]]) -> dict[str, Any]:
    """Return a record as plain data."""
    numbers = [record.anchor, record.hours, *record.closes.tolist(), *record.losses.ravel().tolist()]
    states = [one.dump_state(own) for one, own in zip(members, record.states, strict=False)]
    return {"made": record.made, "numbers": [number.hex() for number in numbers], "states": states}


def load_record(data: Any, members: Sequence[Forecaster[Any]]) -> Record:
    """Return the record that `dump_record` wrote.

    Raises
    ------
    ForecasterError
        If it is damaged, or a member refuses its state.
    """
    try:
        anchor, hours, *rest = (float.fromhex(number) for number in data["numbers"])
        closes, losses = np.array(rest[:_POINTS]), np.array(rest[_POINTS:]).reshape(len(INCREMENTS), len(members))
        states = tuple(one.load_state(own) for one, own in zip(members, data["states"], strict=bool(data["states"])))
        return Record(int(data["made"]), states, anchor, closes, hours, losses)
    except (KeyError, TypeError, ValueError) as error:
        raise ForecasterError(f"blend: damaged record of its members' scores: {error}") from error
