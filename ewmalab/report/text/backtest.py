"""A backtest as text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ewmalab.replay.results import SummaryRow, daily_changes
from ewmalab.report.text.tables import SYNTHETIC, number, percent, plain_table, short, sparkline
from ewmalab.times import iso


def backtest_text(summary: Sequence[SummaryRow], inputs: Mapping[str, Any]) -> str:
    """Return a backtest's result, at most 80 columns wide for two forecasters.

    Parameters
    ----------
    summary : sequence of SummaryRow
    inputs : mapping
        From `ewmalab.replay.backtest.BacktestPlan.inputs`.
    """
    *others, baseline = inputs["forecasters"]
    data = inputs["settings"]["data"]
    feed = data["feed"] + (f", scored on {data['scored_feed']}" if data["scored_feed"] else "")
    head = [
        *([SYNTHETIC] if inputs["synthetic"] else []),
        f"Mean CRPS (basis points) from {iso(inputs['start'])}, {inputs['days']:g} days",
        f"feed {feed}, rules {inputs['rules']}, seed {inputs['settings']['run']['seed']}",
        *([f"change: against {baseline}; negative is better"] if others else []),
    ]
    columns = ["comp.", "asset", "prompts"]
    for name in others:
        columns += [short(name), "change"]
    rows = {(row.competition, row.asset, row.forecaster): row for row in summary}
    lines = []
    for competition, asset in dict.fromkeys((row.competition, row.asset) for row in summary):
        base = rows[competition, asset, baseline]
        count = base.scored if base.scored == base.prompts else f"{base.scored}/{base.prompts}"
        cells: list[object] = [competition, asset, count]
        for name in others:
            row = rows[competition, asset, name]
            cells += [number(row.mean_crps), percent(row.change)]
        lines.append([*cells, number(base.mean_crps)])
    return "\n".join(head) + "\n\n" + plain_table([*columns, short(baseline)], lines) + "\n\n" + _by_day(summary)


def _by_day(summary: Sequence[SummaryRow]) -> str:
    """Return a line of blocks per competition and forecaster: each day's change, as the mean over assets."""
    found = daily_changes(summary)
    days = sorted({day for changes in found.values() for day in changes})
    if len(days) < 2:
        return ""
    lines = []
    for (competition, name), changes in found.items():
        line = sparkline([changes.get(day, math.nan) for day in days[-40:]])
        lines.append((competition, short(name), line, percent(min(changes.values())), percent(max(changes.values()))))
    columns = ("comp.", "forecaster", "day by day", "lowest", "highest")
    return plain_table(columns, lines, f"Change by day of the start time, {days[0]} to {days[-1]}") + "\n\n"
