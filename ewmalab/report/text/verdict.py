"""The verdict of a backtest in words."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from ewmalab.analysis.compare import WEEKDAYS, Difference
from ewmalab.analysis.ranking import SMALL_FIELD
from ewmalab.analysis.verdict import BY, Origin, PartOf, Verdict, Worth
from ewmalab.report.text.tables import points, short

_MOST = 3  # parts that a sentence names


def leads(verdict: Verdict) -> list[str]:
    """Return who beats whom, a sentence per competition."""
    return [_lead(verdict, competition) for competition in verdict.competitions]


def _lead(verdict: Verdict, competition: str) -> str:
    ranked = sorted(verdict.contestants, key=lambda name: -len(verdict.beaten(competition, name)))
    first, beaten = ranked[0], verdict.beaten(competition, ranked[0])
    if not beaten:
        shortage = {row.shortage for _, row in verdict.duels if row.competition == competition} - {""}
        why = f" ({shortage.pop()})" if len(shortage) == 1 else ""
        return f"{competition}: nobody is proven better than another{why}."
    rest = [name for name in verdict.contestants if name not in (first, *beaten)]
    told = [f"{short(other)} {_size(verdict.duel(competition, first, other))}" for other in beaten]
    open_ = f"; not proven against {listed([short(name) for name in rest])}" if rest else ""
    return f"{competition}: {short(first)} beats {listed(told)}{open_}."


def origins(verdict: Verdict) -> list[str]:
    """Return where the difference of the first contestant from each other one came from."""
    first = [one for one in verdict.origins if one.own == verdict.contestants[0] and float(points(one.change))]
    return [_origin(one) for name in verdict.competitions for one in first if one.competition == name]


def _origin(one: Origin) -> str:
    who = f"{one.competition}, {short(one.own)} against {short(one.other)} ({points(one.change)} %)"
    parts = [text for by, (_, several) in BY.items() if (text := _few(one, by, several))]
    return f"{who}: {'; '.join(parts) or 'there is a single part'}."


def _few(one: Origin, by: PartOf, several: str) -> str:
    """Return the parts that make more than half of the change, and the change without them if they are few."""
    parts, count = one.majority(by), len(one.of(by))
    if count < 2 or not parts:
        return ""
    if len(parts) > max(1, min(_MOST, count // 3)):
        return f"spread over the {several}"
    names = listed([_named(part.name, by) for part in parts])
    share = one.share(parts)
    much = f"{100 * share:.0f} %" if share <= 1.0 else "more than all of it"
    told = f"{much} from {names}, {len(parts)} of {count} {several}"
    without = one.without(parts)
    return told if without != without else f"{told} (without: {points(without)} %)"


def _named(name: str, by: PartOf) -> str:
    return f"{WEEKDAYS[date.fromisoformat(name).weekday()]} {name}" if by == "day" else name


def worths(verdict: Verdict) -> list[str]:
    """Return what the contestants are worth in the field they were ranked in, and how far that holds."""
    found = [worth_text(one, verdict.miners, verdict.unit) for one in verdict.worth]
    if found and verdict.miners < SMALL_FIELD:
        found.append(
            f"This holds within these {verdict.miners} miners only; the subnet has about 250: `ewmalab leaderboard "
            "--field` ranks among the real ones."
        )
    return found


def worth_text(one: Worth, miners: int, unit: str) -> str:
    """Return what a miner is worth among so many, with earnings in a unit."""
    text = f"{short(one.miner)}: rank {one.rank} of {miners}, weight {100 * one.weight:.3f} %"
    if one.weight_low is not None and one.weight_high is not None:
        text += f" [{100 * one.weight_low:.3f}, {100 * one.weight_high:.3f}]"
    if one.earnings is not None:
        ends = "" if one.earnings_low is None else f" [{one.earnings_low:,.2f}, {one.earnings_high:,.2f}]"
        text += f", about {one.earnings:,.2f}{ends} {unit}"
    return f"{text}."


def _size(row: Difference | None) -> str:
    if row is None:
        return ""
    sure = "" if row.p_holm is None else f", {told_p(row.p_holm)}"
    return f"by {points(abs(row.change)).lstrip('+')} %{sure}"


def told_p(number: float) -> str:
    """Return a p-value as text; small ones as a bound."""
    return "p < 0.001" if number < 0.001 else f"p = {number:.3f}"


def listed(names: Sequence[str]) -> str:
    """Return names as people list them: a, b and c."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
