"""A leaderboard as text."""

from __future__ import annotations

import itertools

from ewmalab.analysis.competition_field import Standing
from ewmalab.analysis.earnings import Estimate
from ewmalab.analysis.ranking import Ranking
from ewmalab.report.text.tables import SYNTHETIC, Column, grid, number, plain_table, short, wrapped
from ewmalab.times import DAY, iso

DOUBT = "The interval covers other draws of the window's prompts, but not changes by other miners."


def leaderboard_text(ranking: Ranking, most: int = 20) -> str:
    """Return a leaderboard: the first `most` miners per table, and the named ones."""
    parts = [SYNTHETIC] if ranking.synthetic else []
    parts.append(
        wrapped(
            f"Leaderboard of {len(ranking.miners)} miners at {iso(ranking.when)}, rules {ranking.rules}, "
            f"{ranking.prompts} prompts\n"
            "weight: share of all miners' reward; average: basis points above the best, rolling, weighted by asset; "
            "score: the same with every asset alike"
        )
    )
    names = sorted({s.competition for s in ranking.final}, key=lambda name: (not name, name))  # the sum comes last
    parts += [_board(ranking, name, most) for name in names]
    parts.append(_over_time(ranking))
    if ranking.missing:
        title = "Cost of missing some prompts, drawn at random"
        parts.append(plain_table(*grid(ranking.missing, _MISSING), title))
    if ranking.earnings:
        parts.append(_earnings(ranking) + "\n" + wrapped(DOUBT))
    parts += [wrapped(f"note: {text}") for text in ranking.notes]
    return "\n\n".join(parts) + "\n"


_MISSING: list[Column] = [
    ("miner", lambda m: short(m.miner)),
    ("missed", lambda m: f"{100 * m.share:g} %"),
    ("weight", lambda m: number(m.weight, 5)),
    ("before", lambda m: number(m.weight_before, 5)),
    ("rank", "rank"),
    ("before", "rank_before"),
    ("averages", lambda m: ", ".join(f"{name} {change:+.2f}" for name, change in m.averages.items())),
]


def _board(ranking: Ranking, competition: str, most: int) -> str:
    rows = [s for s in ranking.final if s.competition == competition]
    shown = [s for i, s in enumerate(rows) if i < most or s.miner in ranking.named]
    own: list[Column] = [("score", lambda s: number(s.score)), ("average", lambda s: number(s.average))]
    average = own if competition else []
    columns: list[Column] = [("rank", "rank"), ("miner", _miner), *average, ("weight", lambda s: number(s.weight, 5))]
    title = f"{competition}: window {ranking.windows[competition]:g} d" if competition else "all competitions"
    return plain_table(*grid(shown, columns), title + (f", {len(rows)} miners" if len(shown) < len(rows) else ""))


def _earnings(ranking: Ranking) -> str:
    columns: list[Column] = [
        ("miner", _miner),
        ("weight", lambda e: number(e.weight, 5)),
        ("95 %", lambda e: _bounds(e.weight_low, e.weight_high, ".5f")),
        (f"estimate, {ranking.unit}", lambda e: f"{e.earnings:.4g}"),
        ("95 %", lambda e: _bounds(e.earnings_low, e.earnings_high, ".4g")),
    ]
    named = [estimate for estimate in ranking.earnings if estimate.miner in ranking.named]
    return plain_table(*grid(named, columns), f"Earnings, an estimate: {factors(ranking)}")


def _bounds(low: float | None, high: float | None, form: str) -> str:
    return "too few prompts" if low is None or high is None else f"{low:{form}} .. {high:{form}}"


def factors(ranking: Ranking) -> str:
    """Return the factors of an estimate of earnings in words."""
    return f"weight x emission {ranking.emission:,.10g} {ranking.unit} x correction {ranking.correction:g}"


def _over_time(ranking: Ranking) -> str:
    ranks = {(s.miner, s.when): s.rank for s in ranking.standings if not s.competition}
    shown = sorted({when for _, when in ranks})[-10:]
    cut = slice(5, 10) if all(b - a >= DAY for a, b in itertools.pairwise(shown[:-1])) else slice(5, 16)
    return plain_table(
        ("miner", *(iso(when)[cut].replace("T", " ") for when in shown)),
        [(short(miner), *(ranks.get((miner, when), "-") for when in shown)) for miner in ranking.named],
        "rank over all competitions, over time",
    )


def _miner(row: Standing | Estimate) -> str:
    return short(row.miner)
