"""Checks of replays and live answers as text."""

from __future__ import annotations

from collections.abc import Sequence

from ewmalab.live.audit.parity import Difference, ParityReport
from ewmalab.replay.checks import WarmupRow
from ewmalab.replay.contract import ContractReport
from ewmalab.replay.lookahead import LookaheadReport
from ewmalab.report.text.tables import percent, plain_table
from ewmalab.times import iso

_SHOWN = 10
_CHANGES = {
    "removed": "the future was removed",
    "scaled": "future prices were scaled",
    "shaken": "future prices were shaken",
    "repeated": "the replay was repeated in the same process: it remembers something between calls",
}


def lookahead_text(report: LookaheadReport) -> str:
    """Return which forecasts changed with their future, or what was tried without finding one."""
    lines = [
        f"{name} is not deterministic: {count} forecasts differ between two runs on the same bars. Draw random numbers "
        "from the stream only, and read no clock. Whether it leaks cannot be told"
        for name, count in report.unsteady.items()
    ]
    lines += [
        f"{leak.forecaster} {leak.competition} {leak.asset}: the forecast requested at {iso(leak.request_time)} "
        f"changed when {_CHANGES[leak.mutation]}"
        for leak in report.leaks[:_SHOWN]
    ]
    lines += [f"... and {len(report.leaks) - _SHOWN} more"] if len(report.leaks) > _SHOWN else []
    lines += [f"the fit of {name} is not confirmed: {why}" for name, why in report.fits.items()]
    lines += report.files
    tried = f"{report.forecasts} forecasts at {report.cuts} cuts"
    if report.ok:
        where = "in memory and missing from the cache, in fresh processes" if report.apart else "in memory"
        fits = ", fits were made without them" if report.fitted else ""
        lines = [
            f"no leak found: {tried} kept their bits when later bars were removed, scaled or shaken {where}{fits}, and "
            "when the replay was repeated"
        ]
    else:
        lines.insert(0, f"{tried} tried: {len(report.leaks)} changes found")
    return "\n".join(lines) + "\n"


def contract_text(report: ContractReport) -> str:
    """Return a line for each rule that a forecaster breaks, and how fast it is."""
    lines = [breach.line for breach in report.breaches]
    if report.untried:
        lines.append(f"not tried until this is corrected: {', '.join(report.untried)}")
    if not report.breaches:
        lines.append(f"{report.forecaster} keeps the {len(report.kept)} rules that were tried for {report.asset}:")
        lines += [f"  {words}" for words in report.kept]
    lines += [f"  {what}: {milliseconds:.1f} ms" for what, milliseconds in report.speeds.items()]
    return "\n".join(lines) + "\n"


def warmup_text(rows: Sequence[WarmupRow]) -> str:
    """Return whether states follow the rule from bars, and how much the warm-up's length matters."""
    lines = [
        (r.forecaster, r.competition, r.asset, f"{r.days:g}", percent(r.half), percent(r.three_quarters), r.verdict)
        for r in rows
    ]
    columns = ("forecaster", "competition", "asset", "days", "from half", "from 3/4", "verdict")
    return (
        f"{plain_table(columns, lines)}\n\n"
        "from half, from 3/4: change of the first forecast's volatility with that part of\nthe warm-up\n"
        f"{sum(r.states for r in rows)} states remade from their bars: {sum(r.differing for r in rows)} differ\n"
    )


def parity_text(report: ParityReport) -> str:
    """Return which logged answers could not be reproduced."""
    backtest = report.backtest
    lines = [f"{report.answers} answers reproduced: {report.identical} identical, bit for bit"]
    lines += _differences(report.differences)
    lines.append(f"a backtest of the same prompts: {backtest.same} of {report.answers} have the paths that were sent")
    lines += [f"  {backtest.late} were answered before a closed bar had arrived"] if backtest.late else []
    lines += [f"  {backtest.amended} used bars that have been revised or completed since"] if backtest.amended else []
    lines += _differences(backtest.differences)
    lines += [f"{report.torn} lines of the log were cut by a crash and left out"] if report.torn else []
    return "\n".join(lines) + "\n"


def _differences(found: Sequence[Difference]) -> list[str]:
    return [
        f"  {d.record['competition']} {d.record['asset']} {iso(d.record['start_time'])}: {d.what}"
        for d in found[:_SHOWN]
    ]
