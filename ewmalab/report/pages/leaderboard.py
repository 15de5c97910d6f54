"""The report of a leaderboard."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ewmalab.report.figures import leaderboard as draw
from ewmalab.report.pages.page import Report, Section, Table
from ewmalab.times import iso


def leaderboard_report(data: Mapping[str, Any], title: str = "leaderboard") -> Report:
    """Lay out the report of what ``ewmalab leaderboard --json`` printed.

    Parameters
    ----------
    data : mapping
    title : str
    """
    synthetic = bool(data["synthetic"])
    facts = [
        ("at", iso(data["when"])),
        ("rules", str(data["rules"])),
        ("field", f"{len(data['miners'])} miners, {data['prompts']:,} prompts"),
        ("windows", ", ".join(f"{name} {days:g} d" for name, days in data["windows"].items())),
    ]
    report = Report(title, facts, synthetic)
    final = [s for s in data["standings"] if s["when"] == data["when"]]
    standings = Table(
        "Standings",
        ["competition", "rank", "miner", "average, bp above the best", "weight"],
        [
            (s["competition"] or "all", s["rank"], s["miner"], "-" if s["average"] is None else s["average"],
             (f"{s['weight']:.5f}", s["weight"]))
            for s in sorted(final, key=lambda s: (s["competition"], s["rank"], s["miner"]))
        ],
    )  # fmt: skip
    over_time = [draw.over_time(data, what, synthetic=synthetic) for what in ("rank", "weight")]
    report.sections.append(Section("Ranks and weights", list(data["notes"]), [*over_time, standings]))
    if data["earnings"]:
        unit = data["unit"]
        rows = [
            (e["miner"], *((f"{e[k]:.5f}", e[k]) for k in ("weight", "weight_low", "weight_high")),
             *((f"{e[k]:.4g}", e[k]) for k in ("earnings", "earnings_low", "earnings_high")))
            for e in data["earnings"]
        ]  # fmt: skip
        report.sections.append(
            Section(
                "Earnings, an estimate",
                [
                    f"Weight x emission {data['emission']:g} {unit} x correction {data['correction']:g}. The interval "
                    "is that of other draws of the window's prompts; that other miners change is not in it."
                ],
                [
                    Table(
                        f"Earnings, {unit}",
                        ["miner", "weight", "95 %, from", "to", "estimate", "95 %, from", "to"],
                        rows,
                    )
                ],
            )
        )
    return report
