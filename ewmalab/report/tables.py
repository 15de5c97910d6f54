"""Plain tables for terminals and files."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from ewmalab.rulebook import iso

WIDTH = 80
"""Columns of a terminal that everything printed for people fits into, where names allow it."""


def wrapped(text: str, indent: str = "") -> str:
    """Return lines of text broken to the width of a terminal; what follows the first line of each is indented."""
    return "\n".join(
        textwrap.fill(line, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
        for line in text.splitlines()
    )


def plain_table(
    columns: Sequence[str], rows: Sequence[Sequence[object]], title: str | None = None, *, clip: bool = False
) -> str:
    """Return a table of text; columns of numbers are right-aligned.

    Parameters
    ----------
    columns, rows
    title : str, optional
    clip : bool
        Cut the last column where the table would be wider than a terminal.

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
        line = "  ".join(parts).rstrip()
        lines.append(line if not clip or len(line) <= WIDTH else f"{line[: WIDTH - 3].rstrip()}...")
    return "\n".join(lines)


_LEVELS = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float]) -> str:
    """Return values as a line of blocks, the smallest as the lowest one; what is unknown is blank.

    Examples
    --------
    >>> sparkline([1.0, 2.0, float("nan"), 4.0])
    '▁▃ █'
    """
    known = [value for value in values if value == value]
    if not known:
        return " " * len(values)
    low, reach = min(known), (max(known) - min(known)) or 1.0
    top = len(_LEVELS) - 1
    return "".join(" " if v != v else _LEVELS[int((v - low) / reach * top + 0.5)] for v in values)


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
