"""Checks of honesty: of a replay, and of live answers."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Unpack

from ewmalab.api.inputs import Progress, Prompts, counter
from ewmalab.api.named_forecasters import planned
from ewmalab.api.result import Outcome
from ewmalab.live.audit import parity
from ewmalab.live.audit.answer_log import LiveLog
from ewmalab.live.audit.parity import ParityReport
from ewmalab.replay import checks
from ewmalab.replay.checks import LookaheadReport, WarmupRow
from ewmalab.report.text.checks import lookahead_text, parity_text, warmup_text
from ewmalab.settings import LoadedSettings, load_settings
from ewmalab.times import iso


def check_lookahead(
    *forecasters: str,
    cuts: int = 12,
    settings: LoadedSettings | None = None,
    progress: Progress | None = None,
    **prompts: Unpack[Prompts],
) -> Outcome[LookaheadReport]:
    """Change or remove the future at random moments, and tell whether an earlier forecast changes by a bit.

    Parameters
    ----------
    *forecasters, settings, progress, **prompts
        As in `backtest`; a day by default.
    cuts : int
        Random cuts per forecaster, competition and asset.
    """
    plan = planned(settings or load_settings(), forecasters, {"days": 1.0, "partial": True, **prompts})
    parts, seed = list(plan.parts()), plan.settings.values.run.seed
    step = counter(progress, sum(len(part.names) * len(part.groups) for part in parts))
    report = LookaheadReport.of(
        checks.check_lookahead(
            part.names, part.make, part.groups, part.warmups, plan.data, seed=seed, cuts=cuts, progress=step
        )
        for part in parts
    )
    return Outcome("Look-ahead", report, lookahead_text, _leaks, ok=not report.leaks)


def check_warmup(
    *forecasters: str, tolerance: float = 0.02, settings: LoadedSettings | None = None, **prompts: Unpack[Prompts]
) -> Outcome[list[WarmupRow]]:
    """Tell how far the first forecast still depends on where the warm-up began.

    Parameters
    ----------
    *forecasters, settings, **prompts
        As in `backtest`; a day by default.
    tolerance : float
        Largest acceptable relative change of volatility.
    """
    plan = planned(settings or load_settings(), forecasters, {"days": 1.0, "partial": True, **prompts})
    seed = plan.settings.values.run.seed
    rows = [
        row
        for part in plan.parts()
        for row in checks.check_warmup(part.names, part.make, part.groups, part.warmups, plan.data, seed=seed)
    ]
    worst = max((max(abs(row.half), abs(row.three_quarters)) for row in rows), default=0.0)
    advice = (
        f"the warm-up is too short: volatility changes by up to {100 * worst:.1f} %; raise replay.warmup_1m_hours "
        "or replay.warmup_5m_days"
    )

    def plain(found: list[WarmupRow]) -> dict[str, Any]:
        return {"rows": [asdict(row) for row in found], "worst": worst, "tolerance": tolerance}

    ok = worst <= tolerance
    return Outcome("Warm-up", rows, warmup_text, plain, ok, () if ok else (advice,))


def check_parity(settings: LoadedSettings | None = None, progress: Progress | None = None) -> Outcome[ParityReport]:
    """Reproduce every logged answer from the cached bars, and compare it bit for bit.

    Parameters
    ----------
    settings : LoadedSettings, optional
        ``live.log_dir`` and ``live.state_dir`` name the folders.
    progress : callable, optional
        Called with answers done and in all.

    Raises
    ------
    StateError
    """
    settings = settings or load_settings()
    log = LiveLog.read(settings.values.live.log_dir)
    report = parity.check_parity(log, settings, progress=counter(progress, len(log.answers)))
    ok = not report.differences
    return Outcome("Parity", report, lambda found: parity_text(found, log.torn), _differences, ok)


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
    return {"forecasts": report.forecasts, "cuts": report.cuts, "leaks": leaks}


def _differences(report: ParityReport) -> dict[str, Any]:
    differences = []
    for difference in report.differences:
        answer = difference.record
        row = {"competition": answer["competition"], "asset": answer["asset"], "start": iso(answer["start_time"])}
        differences.append(row | {"what": difference.what})
    return {"answers": report.answers, "identical": report.identical, "differences": differences}
