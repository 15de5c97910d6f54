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

_STEPS = """
    backtest check_field check_forecaster check_lookahead check_parity check_warmup compare export_bars
    export_experiment export_field fetch_bars fetch_field field_miner fit import_bars import_field leaderboard list_bars
    list_experiments list_field load_bars load_experiment make_forecaster make_prompt predict probe rehearse repair_bars
    score settings_with_bars sweep track_record tune validate verify_bars write_config write_report
    Prompts Result Questions
"""
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
    "crps": "ewmalab.scoring.crps",
    "load_rulebook": "ewmalab.rulebook",
    "load_settings": "ewmalab.settings.layers",
    "score_paths": "ewmalab.scoring.crps",
    **dict.fromkeys(_STEPS.split(), "ewmalab.api"),
}
_NAMES = {"crps": "crps_ensemble"}  # where a name is longer at home

__all__ = list(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), _NAMES.get(name, name))


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
