"""The page that lists the experiments of a folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ewmalab.experiments.inventory import Listed
from ewmalab.report.pages.page import Cell, Report, Section, Table, percent, value
from ewmalab.report.text.tables import short
from ewmalab.times import iso

_NOTE = (
    "score: mean change against the baseline over competitions and assets, percent, of the first forecaster; of a "
    "sweep, of the best value against the configured one. CRPS: mean over the assets, basis points. Scores compare "
    "only runs over the same days. A name leads to the report; `ewmalab report NAME` writes the missing ones."
)


def index_page(rows: Sequence[Listed], links: Mapping[str, str]) -> Report:
    """Return the page of experiments, the newest first.

    Parameters
    ----------
    rows : sequence of Listed
    links : mapping of str to str
        Relative addresses of the reports that exist, by experiment.
    """
    competitions = list(dict.fromkeys(name for row in rows for name in row.crps))
    heads = ["experiment", "score, %", "kind", "tags", "forecasters", "from", "days"]
    heads += [head for name in competitions for head in (f"{name} CRPS, bp", f"{name} change, %")]
    lines = [_line(row, competitions, links) for row in reversed(rows)]
    table = Table(f"{len(rows)} experiments", heads, lines, note=_NOTE)
    report = Report("Experiments", [], bool(rows) and all(row.synthetic for row in rows))
    report.sections.append(Section("All runs", [], [table]))
    return report


def _line(row: Listed, competitions: Sequence[str], links: Mapping[str, str]) -> list[object]:
    names = ", ".join(["SYNTHETIC"] * row.synthetic + [short(name) for name in row.forecasters])
    name = Cell(row.name, row.name, link=links.get(row.name, ""))
    when = iso(row.start)[:10], f"{row.days:g}"
    cells: list[object] = [name, percent(row.score), row.kind, ", ".join(row.tags), names, *when]
    for competition in competitions:
        cells += [value(row.crps.get(competition)), percent(row.change.get(competition))]
    return cells
