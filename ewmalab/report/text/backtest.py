"""A backtest as text."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ewmalab.report.text.tables import percent, plain_table, sparkline
from ewmalab.times import iso


def backtest_text(summary: list[dict[str, Any]], inputs: Mapping[str, Any]) -> str:
    """Return a backtest's result for people, at most 80 columns wide for two forecasters.

    Parameters
    ----------
    summary : list of dict
        From `ewmalab.replay.results.summarise`.
    inputs : mapping
        From `ewmalab.replay.backtest.BacktestPlan.inputs`.
    """
    names = inputs["forecasters"]
    groups: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for row in summary:
        groups.setdefault((row["competition"], row["asset"]), {})[row["forecaster"]] = row
    columns = ["comp.", "asset", "prompts"]
    for name in names:
        columns += [_short(name)] if name == names[-1] else [_short(name), "change"]
    lines = []
    for (competition, asset), found in groups.items():
        base = found[names[-1]]
        scored = base["scored"]
        cells: list[object] = [
            competition,
            asset,
            scored if scored == base["prompts"] else f"{scored}/{base['prompts']}",
        ]
        for name in names:
            row = found[name]
            cells.append("-" if row["mean_crps"] is None else f"{row['mean_crps']:.2f}")
            if name != names[-1]:
                cells.append(percent(row["change"]))
        lines.append(cells)
    out = []
    if inputs["synthetic"]:
        out.append("SYNTHETIC DATA: simulated prices, not a market.")
    data = inputs["settings"]["data"]
    feed = data["feed"] + (f", scored on {data['scored_feed']}" if data["scored_feed"] else "")
    out.append(
        f"Mean CRPS (basis points) from {iso(inputs['start'])}, {inputs['days']:g} days\n"
        f"feed {feed}, rules {inputs['rules']}, seed {inputs['settings']['run']['seed']}"
    )
    if len(names) > 1:
        out.append(f"change: against {names[-1]}; negative is better")
    return "\n".join(out) + "\n\n" + plain_table(columns, lines) + "\n\n" + _by_day(summary)


def _by_day(summary: list[dict[str, Any]]) -> str:
    """Return a line of blocks per competition and forecaster: the change of each day, the mean over assets."""
    found: dict[tuple[str, str], dict[str, list[float]]] = {}
    for row in summary:
        for day, change in row.get("daily", {}).items():
            found.setdefault((row["competition"], row["forecaster"]), {}).setdefault(day, []).append(change)
    days = sorted({day for changes in found.values() for day in changes})
    if len(days) < 2:
        return ""
    lines = []
    for (competition, name), changes in found.items():
        means = [sum(changes[day]) / len(changes[day]) if day in changes else math.nan for day in days]
        known = [mean for mean in means if mean == mean]
        lines.append((competition, _short(name), sparkline(means[-40:]), percent(min(known)), percent(max(known))))
    columns = ("comp.", "forecaster", "day by day", "lowest", "highest")
    return plain_table(columns, lines, f"Change by day of the start time, {days[0]} to {days[-1]}") + "\n\n"


def _short(name: str) -> str:
    """Return a forecaster's name without its module path."""
    return name.rpartition(":")[2]
