"""The report of a leaderboard."""

from __future__ import annotations

from ewmalab.analysis.ranking import Ranking
from ewmalab.report.figures import leaderboard as draw
from ewmalab.report.pages.page import Report, Section, Table, value
from ewmalab.report.text.leaderboard import DOUBT, factors
from ewmalab.report.text.tables import Column, grid
from ewmalab.times import iso

_STANDINGS: list[Column] = [
    ("competition", lambda row: row.competition or "all"),
    ("rank", "rank"),
    ("miner", "miner"),
    ("average, bp above the best", lambda row: value(row.average)),
    ("weight", lambda row: value(row.weight, ".5f")),
]
_EARNINGS: list[Column] = [
    ("miner", "miner"),
    ("weight", lambda row: value(row.weight, ".5f")),
    ("95 %, from", lambda row: value(row.weight_low, ".5f")),
    ("to", lambda row: value(row.weight_high, ".5f")),
    ("estimate", lambda row: value(row.earnings, ".4g")),
    ("95 %, from", lambda row: value(row.earnings_low, ".4g")),
    ("to", lambda row: value(row.earnings_high, ".4g")),
]


def leaderboard_report(ranking: Ranking, title: str = "leaderboard") -> Report:
    """Return the report of a ranked field."""
    provenance = [
        ("at", iso(ranking.when)),
        ("rules", ranking.rules),
        ("field", f"{len(ranking.miners)} miners, {ranking.prompts:,} prompts"),
        ("windows", ", ".join(f"{name} {days:g} d" for name, days in ranking.windows.items())),
    ]
    report = Report(title, provenance, ranking.synthetic)
    standings = Table("Standings", *grid(ranking.final, _STANDINGS))
    ranks, weights = draw.over_time(ranking, "rank"), draw.over_time(ranking, "weight")
    report.sections.append(Section("Ranks and weights", list(ranking.notes), [ranks, weights, standings]))
    if ranking.earnings:
        text = factors(ranking)
        table = Table(f"Earnings, {ranking.unit}", *grid(ranking.earnings, _EARNINGS))
        report.sections.append(Section("Earnings, an estimate", [f"{text[0].upper()}{text[1:]}. {DOUBT}"], [table]))
    return report
