"""A leaderboard as text."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from ewmalab.report.text.tables import plain_table, wrapped
from ewmalab.times import iso


def leaderboard_text(data: Mapping[str, Any], most: int = 20) -> str:
    """Return a leaderboard for people.

    Parameters
    ----------
    data : mapping
        What `ewmalab leaderboard --json` prints.
    most : int
        Miners per table; those that were named are always shown.
    """
    parts = ["SYNTHETIC DATA: simulated prices, not a market."] if data["synthetic"] else []
    parts.append(
        wrapped(
            f"Leaderboard of {len(data['miners'])} miners at {iso(data['when'])}, rules {data['rules']}, "
            f"{data['prompts']} prompts\n"
            "weight: part of the reward of all; average: basis points above the best, rolling"
        )
    )
    final = [s for s in data["standings"] if s["when"] == data["when"]]
    for name in dict.fromkeys(s["competition"] for s in final):
        rows = sorted((s for s in final if s["competition"] == name), key=lambda s: (s["rank"], s["miner"]))
        shown = [s for i, s in enumerate(rows) if i < most or s["miner"] in data["named"]]
        title = f"{name}: window {data['windows'][name]:g} d" if name else "all competitions"
        columns = ("rank", "miner", "average", "weight") if name else ("rank", "miner", "weight")
        parts.append(
            plain_table(
                columns,
                [
                    (s["rank"], _short(s["miner"]), *([_number(s["average"])] if name else []), f"{s['weight']:.5f}")
                    for s in shown
                ],
                title + (f", {len(rows)} miners" if len(shown) < len(rows) else ""),
            )
        )
    parts.append(_over_time(data))
    if data["missing"]:
        parts.append(
            plain_table(
                ("miner", "missed", "weight", "before", "rank", "before", "averages"),
                [
                    (_short(m["miner"]), f"{100 * m['share']:g} %", f"{m['weight']:.5f}", f"{m['weight_before']:.5f}",
                     m["rank"], m["rank_before"],
                     ", ".join(f"{name} {change:+.2f}" for name, change in m["averages"].items()))
                    for m in data["missing"]
                ],
                "What it costs not to answer some prompts, drawn at random",
            )
        )  # fmt: skip
    if data["earnings"]:
        parts.append(
            plain_table(
                ("miner", "weight", "95 %", f"estimate, {data['unit']}", "95 %"),
                [
                    (_short(e["miner"]), f"{e['weight']:.5f}", f"{e['weight_low']:.5f} .. {e['weight_high']:.5f}",
                     f"{e['earnings']:.4g}", f"{e['earnings_low']:.4g} .. {e['earnings_high']:.4g}")
                    for e in data["earnings"] if e["miner"] in data["named"]
                ],
                f"Earnings, an estimate: weight x emission {data['emission']:g} {data['unit']} x correction "
                f"{data['correction']:g}",
            )
            + "\n"
            + wrapped(
                "The interval is that of other draws of the window's prompts; that other miners change is not in it."
            )
        )  # fmt: skip
    parts += [wrapped(f"note: {text}") for text in data["notes"]]
    return "\n\n".join(parts) + "\n"


def _over_time(data: Mapping[str, Any]) -> str:
    sums = [s for s in data["standings"] if s["competition"] == ""]
    times = sorted({s["when"] for s in sums})
    shown = times[-10:]
    cut = slice(5, 10) if all(b - a >= 86_400 for a, b in itertools.pairwise(shown[:-1])) else slice(5, 16)
    at = {(s["miner"], s["when"]): s["rank"] for s in sums}
    return plain_table(
        ("miner", *(iso(when)[cut].replace("T", " ") for when in shown)),
        [(_short(miner), *(at.get((miner, when), "-") for when in shown)) for miner in data["named"]],
        "rank over all competitions, over time",
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _short(name: str) -> str:
    return name.rpartition(":")[2]
