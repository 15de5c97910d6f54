"""Plain tables for terminals and files."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from ewmalab.rulebook import iso


def plain_table(columns: Sequence[str], rows: Sequence[Sequence[object]], title: str | None = None) -> str:
    """Return a table of text; columns of numbers are right-aligned.

    Examples
    --------
    >>> print(plain_table(["asset", "crps"], [["BTC", 1.5], ["ETH", 12]]))
    asset  crps
    BTC     1.5
    ETH      12
    """
    cells = [[str(value) for value in row] for row in rows]
    number = re.compile(r"^([+-]?[\d.,]+(e[+-]?\d+)?( %)?|-|)$")
    right = [
        bool(cells) and all(number.match(row[i]) for row in cells) and any(row[i] for row in cells)
        for i in range(len(columns))
    ]
    widths = [max(len(name), *(len(row[i]) for row in cells), 0) for i, name in enumerate(columns)]
    lines = [title] if title else []
    for row in [list(columns), *cells]:
        parts = [c.rjust(w) if r else c.ljust(w) for c, w, r in zip(row, widths, right, strict=True)]
        lines.append("  ".join(parts).rstrip())
    return "\n".join(lines)


def percent(value: float | None) -> str:
    """Return a relative difference for people: -0.0123 -> "-1.23 %"."""
    return "-" if value is None else f"{100 * value:+.2f} %"


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
    columns = ["competition", "asset", "prompts"]
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
    return "\n".join(out) + "\n\n" + plain_table(columns, lines) + "\n\n"


def _short(name: str) -> str:
    """Return a forecaster's name without its module path."""
    return name.rpartition(":")[2]
