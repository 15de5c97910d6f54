"""The card that the page of a backtest opens with."""

from __future__ import annotations

from ewmalab.analysis.compare import Difference
from ewmalab.analysis.verdict import Verdict
from ewmalab.report.pages.page import Card, Cell, Table, Tone
from ewmalab.report.text.tables import points, short, signed
from ewmalab.report.text.verdict import leads, origins, told_p, worths

_BOARD = (
    "Change of mean CRPS of the row against the column, all assets together; below zero: the row is better. Below it "
    "its 95 % interval and p, corrected for the number of pairs (Holm). Coloured: proven (p < 0.05)."
)
_UNKNOWN = (
    "Rank, weight and USD are not known: these forecasters were not ranked in a field. `ewmalab leaderboard` ranks "
    "them; with `--field` among the real miners."
)


def verdict_card(verdict: Verdict) -> Card:
    """Return the card of a verdict."""
    boards = [_board(verdict, competition) for competition in verdict.competitions]
    facts = [("Where it came from", origins(verdict)), ("What it is worth", worths(verdict) or [_UNKNOWN])]
    return Card(leads(verdict), boards, facts, _BOARD)


def _board(verdict: Verdict, competition: str) -> Table:
    names = verdict.contestants
    rows = [[short(own), *(_cell(verdict.duel(competition, own, other)) for other in names)] for own in names]
    return Table(competition, ["", *(short(name) for name in names)], rows, fixed=True)


def _cell(row: Difference | None) -> Cell:
    if row is None:
        return Cell("")
    tone: Tone = "" if not row.proven else "good" if row.change < 0 else "bad"
    word = {"": "", "good": "▼\u00a0", "bad": "▲\u00a0"}[tone]
    if row.low is None or row.high is None or row.p_holm is None:
        detail = "too few prompts"  # the lead says how many
    else:
        detail = f"[{points(row.low)},\u00a0{points(row.high)}]\n{told_p(row.p_holm)}"
    return Cell(f"{word}{signed(row.change)}\u00a0%", row.change, tone, detail)
