"""ewmalab: backtesting and production for miners of the Synth subnet.

The public names are loaded on first use, so that importing the package costs nothing.

Examples
--------
>>> import ewmalab as ew
>>> float(ew.crps_ensemble(0.0, [-1.0, 1.0]))
0.5
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_PUBLIC = {
    "Bars": "ewmalab.market.bars",
    "Cache": "ewmalab.market.cache",
    "Ewma": "ewmalab.forecast.ewma",
    "EwmalabError": "ewmalab.errors",
    "Experiment": "ewmalab.experiments.store",
    "Forecaster": "ewmalab.forecast.protocol",
    "Prompt": "ewmalab.forecast.protocol",
    "RandomStream": "ewmalab.forecast.streams",
    "RandomWalk": "ewmalab.forecast.random_walk",
    "RuleChoice": "ewmalab.rulebook",
    "ScaleFree": "ewmalab.forecast.protocol",
    "SweepResult": "ewmalab.sweeps.api",
    "backtest": "ewmalab.replay.backtest",
    "compare": "ewmalab.analysis.compare",
    "crps_ensemble": "ewmalab.scoring.crps",
    "load_rulebook": "ewmalab.rulebook",
    "load_settings": "ewmalab.settings",
    "plan_backtest": "ewmalab.replay.backtest",
    "score_paths": "ewmalab.scoring.crps",
    "scores_of": "ewmalab.analysis.compare",
    "sweep": "ewmalab.sweeps.api",
    "tune": "ewmalab.sweeps.tune",
    "workload_of": "ewmalab.sweeps.api",
}

__all__ = list(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
