"""The state that live answers rest on: a function of the bars of the last days, and of nothing else."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import orjson

from ewmalab.forecast.load import apply_preset, code_version, factory_of, load_forecaster
from ewmalab.forecast.protocol import Forecaster
from ewmalab.market.bars import Bars
from ewmalab.rulebook import Asset
from ewmalab.settings import LoadedSettings
from ewmalab.settings.schema import ReplaySettings, asset_parameters, asset_value
from ewmalab.times import DAY


def warmup_of(asset: str, settings: ReplaySettings) -> int:
    """Return the length of an asset's warm-up in seconds, whole days: the longest of any prompt's."""
    hours = asset_value(settings.warmup_1m_hours, asset)
    days = asset_value(settings.warmup_5m_days, asset)
    return DAY * max(1, -int(-max(hours * 3600, days * DAY) // DAY))


def origin_of(newest: int, warmup: int) -> int:
    """Return the label from which a state is made: the warm-up's length before the midnight before the newest bar.

    The warm-up begins anew at each midnight, so a state has a bounded past: it can be made again from the bars of the
    last days, bit for bit, whatever was lost, and however long the process has run.

    Examples
    --------
    >>> from ewmalab.times import iso, parse_time
    >>> iso(origin_of(parse_time("2026-01-15T14:00"), 5 * 86_400))
    '2026-01-10T00:00:00Z'
    """
    return newest - newest % DAY - warmup


@dataclass(frozen=True)
class Model:
    """A forecaster as live processes use it.

    Attributes
    ----------
    name : str
        As in the settings: ``ewma``, ``ewma@seed``, ``package.module:attribute``.
    forecaster : Forecaster
    parameters : str
        Digest of its parameters and code: a state saved under another digest is made again from its bars.
    warmup : int
        Seconds.
    """

    name: str
    forecaster: Forecaster[Any]
    parameters: str
    warmup: int

    @classmethod
    def of(cls, name: str, asset: Asset, settings: LoadedSettings) -> Model:
        """Make a forecaster of one asset; errors as in `load_forecaster`."""
        forecaster = load_forecaster(name, asset, settings)
        base, preset = apply_preset(name, settings)
        section = factory_of(base)[1]
        warmup = warmup_of(asset.symbol, settings.values.replay)
        parts = {
            "forecaster": base,
            "parameters": asset_parameters(getattr(preset.values, section), asset.symbol),
            "asset": repr(asset),
            "warmup": warmup,
            "code": code_version(base),
        }
        digest = hashlib.sha256(orjson.dumps(parts, option=orjson.OPT_SORT_KEYS)).hexdigest()
        return cls(name, forecaster, digest, warmup)

    def state_of(self, bars: Bars) -> Any:
        """Return the state after bars, the newest included: that of the bars since `origin_of`.

        Parameters
        ----------
        bars : Bars
            At least one; those before the origin do not count.
        """
        origin = origin_of(int(bars.timestamp[-1]), self.warmup)
        return self.forecaster.update(
            self.forecaster.initial_state(), bars.between(origin, int(bars.timestamp[-1]) + 1)
        )


class Tracker:
    """Follows growing bars one step at a time; the state is always that of `Model.state_of`, bit for bit."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.state: Any = None
        self._origin = self._newest = -1

    def follow(self, bars: Bars, *, amended: bool = False) -> Any:
        """Return the state after all of `bars`; `amended` says that some of those seen before have changed."""
        newest = int(bars.timestamp[-1])
        origin = origin_of(newest, self.model.warmup)
        if amended or origin != self._origin or newest < self._newest:
            self.state = self.model.state_of(bars)
        else:
            self.state = self.model.forecaster.update(self.state, bars.between(self._newest + 1, newest + 1))
        self._origin, self._newest = origin, newest
        return self.state

    def adopt(self, state: Any, newest: int) -> None:
        """Go on from a state that `Model.state_of` gave for bars up to `newest`."""
        self.state, self._newest = state, newest
        self._origin = origin_of(newest, self.model.warmup)
