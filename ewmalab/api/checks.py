"""Checks of honesty: of a replay, and of live answers."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Unpack

from ewmalab.api.inputs import Progress, Prompts, counter
from ewmalab.api.named_forecasters import planned
from ewmalab.api.result import Result
from ewmalab.live.audit import parity
from ewmalab.live.audit.answer_log import LiveLog
from ewmalab.live.audit.parity import ParityReport
from ewmalab.replay import checks
from ewmalab.replay.checks import LookaheadReport, WarmupRow
from ewmalab.report.text.checks import lookahead_text, parity_text, warmup_text
from ewmalab.settings import LoadedSettings, load_settings
from ewmalab.times import iso


@dataclass(frozen=True)
class LookaheadCheck(Result):
    """Whether any forecast depends on its future.

    Attributes
    ----------
    report : LookaheadReport
    """

    report: LookaheadReport

    @property
    def ok(self) -> bool:
        """Return whether none does."""
        return not self.report.leaks

    def text(self) -> str:
        """Return the forecasts that do."""
        return lookahead_text(self.report)

    def json(self) -> Any:
        """Return counts, and the forecasts that do."""
        leaks = [
            {
                "forecaster": leak.forecaster,
                "competition": leak.competition,
                "asset": leak.asset,
                "request": iso(leak.request_time),
                "future": leak.mutation,
            }
            for leak in self.report.leaks
        ]
        return {"forecasts": self.report.forecasts, "cuts": self.report.cuts, "leaks": leaks}


@dataclass(frozen=True)
class WarmupCheck(Result):
    """How far the first forecast depends on where the warm-up began.

    Attributes
    ----------
    rows : list of WarmupRow
    tolerance : float
        Largest acceptable relative change of volatility.
    """

    rows: list[WarmupRow]
    tolerance: float

    @property
    def worst(self) -> float:
        """Return the largest relative change of volatility."""
        return max((max(abs(row.half), abs(row.three_quarters)) for row in self.rows), default=0.0)

    @property
    def ok(self) -> bool:
        """Return whether every change is acceptable."""
        return self.worst <= self.tolerance

    @property
    def notes(self) -> tuple[str, ...]:
        """Return the remedy, if one is needed."""
        words = (
            f"the warm-up is too short: volatility changes by up to {100 * self.worst:.1f} %; raise "
            "replay.warmup_1m_hours or replay.warmup_5m_days"
        )
        return () if self.ok else (words,)

    def text(self) -> str:
        """Return the changes."""
        return warmup_text(self.rows)

    def json(self) -> Any:
        """Return the changes."""
        return {"rows": [asdict(row) for row in self.rows], "worst": self.worst, "tolerance": self.tolerance}


@dataclass(frozen=True)
class ParityCheck(Result):
    """Whether logged answers could be reproduced.

    Attributes
    ----------
    report : ParityReport
    torn : int
        Lines of the log that a crash cut off.
    """

    report: ParityReport
    torn: int

    @property
    def ok(self) -> bool:
        """Return whether all could."""
        return not self.report.differences

    def text(self) -> str:
        """Return the answers that differ."""
        return parity_text(self.report, self.torn)

    def json(self) -> Any:
        """Return counts, and the answers that differ."""
        differences = [
            {
                "competition": difference.record["competition"],
                "asset": difference.record["asset"],
                "start": iso(difference.record["start_time"]),
                "what": difference.what,
            }
            for difference in self.report.differences
        ]
        return {"answers": self.report.answers, "identical": self.report.identical, "differences": differences}


def check_lookahead(
    *forecasters: str,
    cuts: int = 12,
    settings: LoadedSettings | None = None,
    progress: Progress | None = None,
    **prompts: Unpack[Prompts],
) -> LookaheadCheck:
    """Change or remove the future at random moments, and tell whether an earlier forecast changes by a bit.

    Parameters
    ----------
    *forecasters, settings, progress, **prompts
        As in `backtest`; a day by default.
    cuts : int
        Random cuts per forecaster, competition and asset.
    """
    plan = planned(settings or load_settings(), forecasters, {"days": 1.0, "partial": True, **prompts})
    parts = list(plan.parts())
    step = counter(progress, sum(len(part.names) * len(part.groups) for part in parts))
    seed = plan.settings.values.run.seed
    reports = [
        checks.check_lookahead(
            part.names, part.make, part.groups, part.warmups, plan.data, seed=seed, cuts=cuts, progress=step
        )
        for part in parts
    ]
    return LookaheadCheck(LookaheadReport.of(reports))


def check_warmup(
    *forecasters: str, tolerance: float = 0.02, settings: LoadedSettings | None = None, **prompts: Unpack[Prompts]
) -> WarmupCheck:
    """Tell how far the first forecast still depends on where the warm-up began.

    Parameters
    ----------
    *forecasters, settings, **prompts
        As in `backtest`; a day by default.
    tolerance : float
        Largest acceptable relative change of volatility.
    """
    plan = planned(settings or load_settings(), forecasters, {"days": 1.0, "partial": True, **prompts})
    rows: list[WarmupRow] = []
    for part in plan.parts():
        seed = plan.settings.values.run.seed
        rows += checks.check_warmup(part.names, part.make, part.groups, part.warmups, plan.data, seed=seed)
    return WarmupCheck(rows, tolerance)


def check_parity(settings: LoadedSettings | None = None, progress: Progress | None = None) -> ParityCheck:
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
    return ParityCheck(report, log.torn)
