"""A comparison as text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from ewmalab.analysis.compare import ALL, Difference
from ewmalab.report.text.tables import (
    SYNTHETIC,
    Column,
    bounds,
    grid,
    number,
    percent,
    plain_table,
    points,
    short,
    wrapped,
)

_TAIL = (
    "Mean CRPS, basis points; a negative change is better. 95 %: interval of the change, percent; p: Diebold-Mariano, "
    "corrected for the number of forecasters; all: mean of the assets' relative changes."
)
_ONE = (
    "An interval speaks for the market of these days alone. From eight weeks on, the spread between weeks shows what "
    "another week may bring."
)
_WEEKS: list[Column] = [
    ("comp.", "competition"),
    ("asset", "asset"),
    ("forecaster", lambda row: short(row.forecaster)),
    ("weeks", "weeks.count"),
    ("mean", lambda row: percent(row.change)),
    ("spread", lambda row: number(100 * row.weeks.spread)),
    ("another week, 95 %", lambda row: bounds(row.weeks.low, row.weeks.high)),
]


def compare_text(rows: Sequence[Difference], reference: str, synthetic: bool) -> str:
    """Return a comparison as tables, with `reference` as the label of the first forecaster."""
    columns: list[Column] = [("comp.", "competition"), ("asset", "asset")]
    if any(row.part for row in rows):
        columns += [("part", "part"), ("n", "prompts")]
    else:
        columns += [("n", "prompts"), ("reference", lambda row: _crps(row, row.mean_reference))]
    columns += [
        ("CRPS", lambda row: _crps(row, row.mean)),
        ("change", lambda row: percent(row.change)),
        ("95 %", lambda row: bounds(row.low, row.high)),
        ("p", lambda row: "-" if row.p_holm is None else number(row.p_holm, 3)),
    ]
    tables = []
    for forecaster, name in _short(row.forecaster for row in rows).items():
        title = wrapped(f"{name} against {reference}") + "\n"
        tables.append(plain_table(*grid((row for row in rows if row.forecaster == forecaster), columns), title))
    if any(row.weeks for row in rows):
        weekly = [row for row in rows if row.weeks and row.asset == ALL] or [row for row in rows if row.weeks]
        tables.append(plain_table(*grid(weekly, _WEEKS), f"Single weeks against {reference}\n"))
    head = [SYNTHETIC + "\n"] if synthetic else []
    tail = [wrapped(text) for text in (*shortages(rows), _TAIL, *([] if any(row.weeks for row in rows) else [_ONE]))]
    return "\n".join([*head, "\n\n".join(tables), "", *tail, ""])


def shortages(rows: Sequence[Difference]) -> list[str]:
    """Return which parts have too few independent prompts for an interval or a p-value, in words."""
    found: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        if row.shortage:
            parts = found.setdefault((row.competition, row.shortage), [])
            parts += [name for name in [row.part or row.asset] if name not in parts]
    return [f"{competition} {', '.join(parts)}: {words}." for (competition, words), parts in found.items()]


def verdict(row: Difference, reference: str) -> str:
    """Return the verdict of a row in words."""
    where = row.competition if row.asset == ALL else f"{row.competition} {row.asset}"
    if row.low is None or row.high is None:
        return f"{where}: {row.shortage or 'nothing to compare'}; no verdict on {row.forecaster} against {reference}."
    told = f"{points(row.change)} % [{points(row.low)}, {points(row.high)}]"
    if not row.sign:
        return f"{where}: cannot tell {row.forecaster} from {reference}: {told}."
    sure = "" if row.proven else "; not proven after the correction for the number of forecasters"
    return f"{where}: {row.forecaster} {'beats' if row.sign < 0 else 'is worse than'} {reference}: {told}{sure}."


def other_weeks(rows: Sequence[Difference]) -> list[str]:
    """Return in words what the rows say of other weeks than their own."""
    found = [(row, row.weeks) for row in rows if row.weeks]
    return [
        f"{row.competition} {row.asset}: in single weeks, {row.forecaster} changes by {100 * row.change:+.1f} % with a "
        f"spread of {100 * weeks.spread:.1f} %; another week like these {weeks.count} would bring "
        f"{100 * weeks.low:+.1f} to {100 * weeks.high:+.1f} % (95 %)."
        for row, weeks in found
    ] or [_ONE]


def _crps(row: Difference, value: float) -> str:
    """Return a mean CRPS; over all assets it is in percent of each asset's own mean."""
    return number(value) + (" %" if row.asset == ALL else "")


def _short(labels: Iterable[str]) -> dict[str, str]:
    """Return names for a table: without module path, experiments by their hash; in full if two would be equal."""
    names = {}
    for label in labels:
        experiment = re.sub(r"^.*\d{8}T\d{6}Z-.*-([0-9a-f]{8}(-\d+)?)", r"\1", label)
        names[label] = short(label) if ":" in label and "/" not in label else experiment
    return names if len(set(names.values())) == len(names) else {label: label for label in names}
