"""Checks of replay and live answers as text."""

from __future__ import annotations

from collections.abc import Sequence

from ewmalab.live.audit.parity import ParityReport
from ewmalab.replay.checks import LookaheadReport, WarmupRow
from ewmalab.report.text.tables import percent, plain_table
from ewmalab.times import iso

_SHOWN = 10


def lookahead_text(report: LookaheadReport) -> str:
    """Return which forecasts changed with their future."""
    leaks = report.leaks
    lines = [f"{report.cuts} cuts, {report.forecasts} forecasts reproduced: {len(leaks)} changed"]
    lines += [
        f"  {leak.forecaster} {leak.competition} {leak.asset}: the forecast requested at {iso(leak.request_time)} "
        f"changed when what came after was {leak.mutation}"
        for leak in leaks[:_SHOWN]
    ]
    return "\n".join([*lines, *([] if leaks else ["no forecast depends on its future"])]) + "\n"


def warmup_text(rows: Sequence[WarmupRow]) -> str:
    """Return how volatility changes with a shorter warm-up."""
    lines = [
        (r.forecaster, r.competition, r.asset, f"{r.hours:g}", percent(r.half), percent(r.three_quarters)) for r in rows
    ]
    columns = ("forecaster", "competition", "asset", "warm-up (h)", "from half", "from 3/4")
    tail = "change of the volatility of the first forecast when the warm-up begins later"
    return f"{plain_table(columns, lines)}\n\n{tail}\n"


def parity_text(report: ParityReport, torn: int) -> str:
    """Return which logged answers could not be reproduced.

    Parameters
    ----------
    report : ParityReport
    torn : int
        Lines of the log that a crash cut off.
    """
    lines = [f"{report.answers} answers reproduced: {report.identical} identical, bit for bit"]
    for difference in report.differences[:_SHOWN]:
        answer = difference.record
        start = iso(answer["start_time"])
        lines.append(f"  {answer['competition']} {answer['asset']} {start}: {difference.what}")
    lines += [f"{torn} lines of the log were cut by a crash and left out"] if torn else []
    return "\n".join(lines) + "\n"
