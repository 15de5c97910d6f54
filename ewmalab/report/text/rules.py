"""Rules and settings as text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ewmalab.report.text.tables import plain_table, wrapped
from ewmalab.rulebook import Competition, Rules
from ewmalab.times import iso
from ewmalab.units import format_duration

_KEPT = {"first": "the first one", "drawn": "one that is drawn"}


def rules_text(version: str, when: int, rules: Rules) -> str:
    """Return competitions, scoring, weights and feeds in force at a time.

    Parameters
    ----------
    version : str
        Version of the rulebook.
    when : int
        Seconds since 1970.
    rules : Rules
    """
    head = f"rulebook {version}, rules on {iso(when)}\n(this set has been in force since {iso(rules.on)})\n\n"
    if not rules.competitions:
        return head + f"no competition yet: the first start on {iso(rules.first_start)}\n"
    lines = [line for competition in rules.competitions.values() for line in _competition(competition)]
    lines.append(
        f"\nprompt scores: {rules.transformation}   response format: {rules.response_format}\n"
        f"minimum stake: {rules.min_stake}   paths stored as {rules.stored_as}\n"
    )
    rows = []
    for symbol in dict.fromkeys(asset for c in rules.competitions.values() for asset in c.assets):
        asset = rules.assets[symbol]
        scored = f"{asset.scored_feed} {asset.symbols.get(asset.scored_feed or '', '')}"
        weight, sigma = f"{rules.weight(symbol):.4f}", f"{rules.sigma_per_hour(symbol):.5f}"
        rows.append((symbol, asset.asset_class, weight, sigma, scored))
    lines.append(plain_table(("asset", "class", "weight", "reference sigma/h", "scored on"), rows))
    if rules.notes:
        lines += ["\nuncertain:", *(wrapped(f"  - {note}", "    ") for note in rules.notes)]
    return head + "\n".join(lines) + "\n"


def settings_text(rows: Sequence[tuple[str, Any, str]]) -> str:
    """Return settings with their values and the values' sources."""
    if not rows:
        return "all settings have their defaults\n"
    return plain_table(("setting", "value", "from"), rows) + "\n"


def _competition(c: Competition) -> list[str]:
    line = (
        f"{c.name}: {c.num_simulations} paths, {format_duration(c.time_increment)} steps over "
        f"{format_duration(c.time_length)}, window {format_duration(c.window)}, softmax {c.beta:g}, share {c.share:.3g}"
    )
    lines = [wrapped(line, "  ")]
    cadences: dict[int, list[str]] = {}
    for symbol in c.assets:
        cadences.setdefault(c.cadence[symbol], []).append(symbol)
    for seconds, names in cadences.items():
        lines.append(wrapped(f"  sent every {format_duration(seconds)}: {' '.join(names)}", "    "))
    counted = f"{_KEPT[c.kept]} per asset and {format_duration(c.bucket)}" if c.bucket else "all of them"
    lines.append(f"  scored: {counted}; sent {c.request_lead} s before the start time")
    lines.append(wrapped(f"  scoring {c.scoring.name}: {' '.join(i.name for i in c.scoring.intervals)}", "    "))
    if c.scoring.volatility_blocks:
        blocks = ", ".join(f"{format_duration(s)} x {w:.4g}" for s, w in c.scoring.volatility_blocks)
        lines.append(f"  volatility term: {blocks}")
    return lines
