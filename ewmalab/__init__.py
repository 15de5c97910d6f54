"""ewmalab: backtesting and production for miners of the Synth subnet.

The public names are loaded on first use, so that importing the package costs nothing.

Examples
--------
>>> import ewmalab as ew
>>> float(ew.crps(0.0, [-1.0, 1.0]))
0.5
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_PUBLIC = {
    "Bars": "ewmalab.market.bars",
    "Ewma": "ewmalab.forecast.ewma.forecaster",
    "EwmalabError": "ewmalab.errors",
    "Experiment": "ewmalab.experiments.store",
    "Forecaster": "ewmalab.forecast.protocol",
    "Prompt": "ewmalab.forecast.protocol",
    "RandomStream": "ewmalab.forecast.streams",
    "RandomWalk": "ewmalab.forecast.random_walk",
    "ScaleFree": "ewmalab.forecast.protocol",
    "SweepResult": "ewmalab.sweeps.sweep",
    "TrackRecord": "ewmalab.live.audit.track_record",
    "backtest": "ewmalab.api",
    "compare": "ewmalab.api",
    "crps": "ewmalab.scoring.crps",
    "load_bars": "ewmalab.api",
    "load_experiment": "ewmalab.api",
    "load_rulebook": "ewmalab.rulebook",
    "load_settings": "ewmalab.settings.layers",
    "make_forecaster": "ewmalab.api",
    "make_prompt": "ewmalab.api",
    "rehearse": "ewmalab.api",
    "score_paths": "ewmalab.scoring.crps",
    "settings_with_bars": "ewmalab.api",
    "sweep": "ewmalab.api",
    "track_record": "ewmalab.api",
    "tune": "ewmalab.api",
    "write_report": "ewmalab.api",
}
_NAMES = {"crps": "crps_ensemble"}  # where a name is longer at home

__all__ = list(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), _NAMES.get(name, name))


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
