"""The report of a leaderboard."""

from __future__ import annotations

from ewmalab.analysis.ranking import Ranking
from ewmalab.analysis.verdict import worth_of
from ewmalab.report.figures import leaderboard as draw
from ewmalab.report.pages.page import Card, Report, Section, Table, value
from ewmalab.report.text.leaderboard import DOUBT, factors
from ewmalab.report.text.tables import Column, grid, short
from ewmalab.report.text.verdict import listed, worth_text
from ewmalab.times import iso

_BEST = 5  # miners of a board beside the named ones
_LONG = 60  # rows from which on a table is folded
_STANDINGS: list[Column] = [
    ("competition", lambda row: row.competition or "all"),
    ("rank", "rank"),
    ("miner", lambda row: short(row.miner)),
    ("average, bp above the best", lambda row: value(row.average)),
    ("weight, %", lambda row: value(100 * row.weight, ".3f")),
]
_EARNINGS: list[Column] = [
    ("miner", lambda row: short(row.miner)),
    ("weight, %", lambda row: value(100 * row.weight, ".3f")),
    ("95 %, from", lambda row: value(_hundred(row.weight_low), ".3f")),
    ("to", lambda row: value(_hundred(row.weight_high), ".3f")),
    ("estimate", lambda row: value(row.earnings, ",.2f")),
    ("95 %, from", lambda row: value(row.earnings_low, ",.2f")),
    ("to", lambda row: value(row.earnings_high, ",.2f")),
]
_NOTE = (
    "average: rolling, weighted by asset, in basis points above the best answer of each prompt. weight: share of all "
    "miners' reward."
)


def leaderboard_report(ranking: Ranking, title: str = "") -> Report:
    """Return the report of a ranked field.

    Parameters
    ----------
    ranking : Ranking
    title : str
        Name of its source.
    """
    provenance = [
        ("at", iso(ranking.when)),
        ("rules", ranking.rules),
        ("field", f"{len(ranking.miners)} miners, {ranking.prompts:,} prompts"),
        ("windows", ", ".join(f"{name} {days:g} d" for name, days in ranking.windows.items())),
    ]
    who = listed([short(name) for name in ranking.named]) if ranking.named else "Miners"
    report = Report(
        f"{who} among {len(ranking.miners)} miners, {iso(ranking.when)[:10]}", provenance, ranking.synthetic, name=title
    )
    report.card = ranking_card(ranking)
    report.switches = {"Miners": [short(name) for name in ranking.named]}
    report.sections = ranking_sections(ranking)
    return report


def ranking_sections(ranking: Ranking) -> list[Section]:
    """Return ranks, weights and earnings as parts of a page."""
    standings = Table("Standings", *grid(ranking.final, _STANDINGS), note=_NOTE, folded=len(ranking.final) > _LONG)
    ranks, weights = draw.over_time(ranking, "rank"), draw.over_time(ranking, "weight")
    notes = [f"{note[0].upper()}{note[1:]}." for note in ranking.notes]
    sections = [Section("Ranks and weights", notes, [ranks, weights, standings])]
    if ranking.earnings:
        text = factors(ranking)
        named = [one for one in ranking.earnings if one.miner in ranking.named]
        told = [(f"Earnings, {ranking.unit}", named or ranking.earnings)]
        if 0 < len(named) < len(ranking.earnings):
            told.append((f"Earnings of all miners, {ranking.unit}", ranking.earnings))
        tables = [Table(title, *grid(rows, _EARNINGS), folded=len(rows) > _LONG) for title, rows in told]
        sections.append(Section("Earnings, an estimate", [f"{text[0].upper()}{text[1:]}. {DOUBT}"], [*tables]))
    return sections


def ranking_card(ranking: Ranking) -> Card:
    """Return the card of a ranked field."""
    unit = ranking.unit if ranking.emission is not None else ""
    lead = [worth_text(one, len(ranking.miners), unit) for one in worth_of(ranking, ranking.named)]
    boards = []
    for name in sorted({standing.competition for standing in ranking.final}):
        rows = [standing for standing in ranking.final if standing.competition == name]
        shown = [row for i, row in enumerate(rows) if i < _BEST or row.miner in ranking.named]
        columns = [column for column in _STANDINGS[1:] if name or column[0] != "average, bp above the best"]
        boards.append(Table(name or "all competitions", *grid(shown, columns), fixed=True))
    return Card(lead or ["No miner of interest is ranked."], boards)


def _hundred(share: float | None) -> float | None:
    return None if share is None else 100 * share
