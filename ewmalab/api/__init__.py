"""What ``import ewmalab as ew`` offers: the steps of the command line as functions.

Each returns a `Result`: ``.text()`` is what the command prints, ``.json()`` what it prints with ``--json``, ``.page()``
the page that `write_report` writes. Times may be given as texts (``"2026-01-15"``, UTC) or as seconds since 1970-01-01
UTC, durations as ``"90m"`` or in seconds, names as sequences or as ``"BTC,ETH"``. `settings` are by default those of
``ewmalab.toml`` and the environment. A function here may read the clock: it is a driver, like the command line.

Names are loaded on first use, so importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the same names as below, for type checkers
    from ewmalab.analysis.ranking import Questions, parse_shares
    from ewmalab.api.audit import probe, rehearse, track_record
    from ewmalab.api.backup import back_up, restore
    from ewmalab.api.bar_files import export_bars, import_bars
    from ewmalab.api.checks import check_forecaster, check_lookahead, check_parity, check_warmup
    from ewmalab.api.completions import complete
    from ewmalab.api.experiments import export_experiment, load_experiment, write_report
    from ewmalab.api.experiments_folder import (
        diff_experiments,
        index_experiments,
        list_experiments,
        prune_experiments,
        remove_experiments,
        tag_experiment,
    )
    from ewmalab.api.field import check_field, export_field, fetch_field, field_miner, import_field, list_field
    from ewmalab.api.fitting import fit, make_forecaster, make_prompt
    from ewmalab.api.inputs import Prompts, check_name
    from ewmalab.api.live import (
        parse_speed,
        run_live,
        run_miner,
        run_updater,
        serve_feed,
        status,
        update_states,
        watch_status,
        write_allowlist,
    )
    from ewmalab.api.market import fetch_bars, list_bars, load_bars, repair_bars, settings_with_bars, verify_bars
    from ewmalab.api.prediction import crps_test, predict
    from ewmalab.api.ranking import leaderboard, questions, score, validate
    from ewmalab.api.replay import backtest, compare
    from ewmalab.api.result import Result
    from ewmalab.api.settings import check_settings, show_rules, show_settings
    from ewmalab.api.starter import new_forecaster
    from ewmalab.api.sweep_results import SweepRequest
    from ewmalab.api.sweeps import run_sweep, sweep, tune, unfinished_sweep, write_config
    from ewmalab.errors import ConfigError, EwmalabError, RulebookError
    from ewmalab.live.processes import live_flags, options_of, parse_level
    from ewmalab.replay.engines import Workers
    from ewmalab.settings import LoadedSettings, load_settings
    from ewmalab.settings.layers import parse_assignments
    from ewmalab.sweeps.config_file import refuse_existing
    from ewmalab.times import parse_time
    from ewmalab.units import parse_duration

_MODULES = {
    "analysis.ranking": "Questions parse_shares",
    "api.audit": "probe rehearse track_record",
    "api.backup": "back_up restore",
    "api.bar_files": "export_bars import_bars",
    "api.checks": "check_forecaster check_lookahead check_parity check_warmup",
    "api.completions": "complete",
    "api.experiments": "export_experiment load_experiment write_report",
    "api.experiments_folder": "diff_experiments index_experiments list_experiments prune_experiments "
    "remove_experiments tag_experiment",
    "api.field": "check_field export_field fetch_field field_miner import_field list_field",
    "api.fitting": "fit make_forecaster make_prompt",
    "api.inputs": "Prompts check_name",
    "api.live": "parse_speed run_live run_miner run_updater serve_feed status update_states watch_status "
    "write_allowlist",
    "api.market": "fetch_bars list_bars load_bars repair_bars settings_with_bars verify_bars",
    "api.prediction": "crps_test predict",
    "api.ranking": "leaderboard questions score validate",
    "api.replay": "backtest compare",
    "api.result": "Result",
    "api.settings": "check_settings show_rules show_settings",
    "api.starter": "new_forecaster",
    "api.sweep_results": "SweepRequest",
    "api.sweeps": "run_sweep sweep tune unfinished_sweep write_config",
    "errors": "ConfigError EwmalabError RulebookError",
    "live.processes": "live_flags options_of parse_level",
    "replay.engines": "Workers",
    "settings.layers": "LoadedSettings load_settings parse_assignments",
    "sweeps.config_file": "refuse_existing",
    "times": "parse_time",
    "units": "parse_duration",
}
_HOME = {name: f"ewmalab.{module}" for module, names in _MODULES.items() for name in names.split()}

__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
