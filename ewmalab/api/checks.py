"""Checks of a replay's honesty and of live answers."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Unpack

from ewmalab.api.inputs import Progress, Prompts, counter
from ewmalab.api.named_forecasters import planned
from ewmalab.api.result import Outcome
from ewmalab.forecast.load import Factory, apply_preset, factory_of
from ewmalab.live.audit import parity
from ewmalab.live.audit.answer_log import LiveLog
from ewmalab.live.audit.parity import Difference, ParityReport
from ewmalab.live.miners import log_folder, own_settings
from ewmalab.replay import checks
from ewmalab.replay import lookahead as looking
from ewmalab.replay.checks import WarmupRow
from ewmalab.replay.contract import ContractReport, check_contract
from ewmalab.replay.lookahead import LookaheadReport
from ewmalab.report.text.checks import contract_text, lookahead_text, parity_text, warmup_text
from ewmalab.settings import LoadedSettings, load_settings
from ewmalab.times import iso


def check_lookahead(
    *forecasters: str,
    cuts: int = 12,
    settings: LoadedSettings | None = None,
    progress: Progress | None = None,
    **prompts: Unpack[Prompts],
) -> Outcome[LookaheadReport]:
    """Change or remove the future at random moments, and check that earlier forecasts stay the same, bit for bit.

    Each future is tried in fresh processes, with a cache that ends at each moment; see `LookaheadReport` for what is
    found.

    Parameters
    ----------
    *forecasters, settings, progress, **prompts
        As in `backtest`; one day by default.
    cuts : int
        Random cuts per forecaster, competition and asset.
    """
    environ = dict(os.environ)  # before a forecaster is imported, which may change it
    plan = planned(settings or load_settings(), forecasters, {"days": 1.0, "partial": True, **prompts})
    report = looking.check_lookahead(plan, cuts=cuts, environ=environ, progress=progress)
    notes = tuple(f"note: {line}" for line in report.notes)
    return Outcome("Look-ahead", report, lookahead_text, _leaks, report.ok, notes)


def check_forecaster(
    forecaster: str | Factory,
    *,
    asset: str = "BTC",
    settings: LoadedSettings | None = None,
    progress: Progress | None = None,
) -> Outcome[ContractReport]:
    """Check all that a forecaster owes, on a small synthetic market; `ewmalab.testing` does so in a test.

    Parameters
    ----------
    forecaster : str, class or function
    asset : str
    settings : LoadedSettings, optional
        With its parameters.
    progress : callable, optional
        Called with rules tried and their number.

    Raises
    ------
    RulebookError, ConfigError
    ForecasterError
        If it cannot be imported.
    """
    environ = dict(os.environ)
    if isinstance(forecaster, str):
        apply_preset(forecaster, settings or load_settings())  # a name that leads nowhere breaks no rule
        factory_of(forecaster.partition("@")[0])
    report = check_contract(forecaster, asset.upper(), settings or load_settings(), environ=environ, progress=progress)
    notes = tuple(f"note: {line}" for line in report.notes)
    return Outcome("Forecaster", report, contract_text, _contract, not report.breaches, notes)


def check_warmup(
    *forecasters: str, tolerance: float = 0.02, settings: LoadedSettings | None = None, **prompts: Unpack[Prompts]
) -> Outcome[list[WarmupRow]]:
    """Check that states follow the rule from bars to state, and that the warm-up is long enough.

    Parameters
    ----------
    *forecasters, settings, **prompts
        As in `backtest`; one day by default.
    tolerance : float
        Largest acceptable relative change of volatility when the warm-up is cut to a half or three quarters.
    """
    plan = planned(settings or load_settings(), forecasters, {"days": 1.0, "partial": True, **prompts})
    rows = checks.check_warmup(plan, tolerance=tolerance)
    worst = max((max(abs(row.half), abs(row.three_quarters)) for row in rows), default=0.0)
    verdicts = {row.verdict for row in rows}
    advice = {
        "rule differs": "states of the replay differ from those of the bars since their origin",
        "too short": f"the warm-up is too short: volatility changes by up to {100 * worst:.1f} %; raise replay.warmup",
    }

    def plain(found: list[WarmupRow]) -> dict[str, Any]:
        return {"rows": [asdict(row) for row in found], "worst": worst, "tolerance": tolerance}

    notes = tuple(text for verdict, text in advice.items() if verdict in verdicts)
    return Outcome("Warm-up", rows, warmup_text, plain, not notes, notes)


def check_parity(settings: LoadedSettings | None = None, progress: Progress | None = None) -> Outcome[ParityReport]:
    """Reproduce every logged answer from the cached bars, replay it as a backtest, and compare bit for bit.

    Parameters
    ----------
    settings : LoadedSettings, optional
        ``live.log_dir`` and ``live.state_dir`` name the folders.
    progress : callable, optional
        Called with answers done and the total.

    Raises
    ------
    StateError
    """
    settings = own_settings(settings or load_settings())
    log = LiveLog.read(log_folder(settings.values.live))
    report = parity.check_parity(log, settings, progress=counter(progress, len(log.answers)))
    ok = not (report.differences or report.backtest.differences)
    return Outcome("Parity", report, parity_text, _parity, ok)


def _leaks(report: LookaheadReport) -> dict[str, Any]:
    leaks = [
        {
            "forecaster": leak.forecaster,
            "competition": leak.competition,
            "asset": leak.asset,
            "request": iso(leak.request_time),
            "future": leak.mutation,
        }
        for leak in report.leaks
    ]
    return {
        "forecasts": report.forecasts,
        "cuts": report.cuts,
        "leaks": leaks,
        "not_deterministic": report.unsteady,
        "fits": report.fits,
        "files": report.files,
        "notes": report.notes,
    }


def _contract(report: ContractReport) -> dict[str, Any]:
    return {**asdict(report), "breaches": [asdict(breach) | {"line": breach.line} for breach in report.breaches]}


def _parity(report: ParityReport) -> dict[str, Any]:
    backtest = report.backtest
    return {
        "answers": report.answers,
        "identical": report.identical,
        "differences": _differences(report.differences),
        "backtest": {
            "same": backtest.same,
            "late": backtest.late,
            "amended": backtest.amended,
            "differences": _differences(backtest.differences),
        },
    }


def _differences(found: Sequence[Difference]) -> list[dict[str, str]]:
    out = []
    for difference in found:
        answer = difference.record
        row = {"competition": answer["competition"], "asset": answer["asset"], "start": iso(answer["start_time"])}
        out.append(row | {"what": difference.what})
    return out
