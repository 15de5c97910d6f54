"""A comparison as text."""

from __future__ import annotations

import re
from typing import Any

from ewmalab.report.tables import percent, plain_table


def compare_text(rows: list[dict[str, Any]], reference: str, synthetic: bool) -> str:
    """Return a comparison for people.

    Parameters
    ----------
    rows : list of dict
        From `ewmalab.analysis.compare.compare`.
    reference : str
        Label of the first contestant.
    synthetic : bool
        Whether prices were simulated.
    """
    parts = any(row["part"] for row in rows)
    columns = ["comp.", "asset", *(["part"] if parts else []), "contestant", "n", "reference", "CRPS", "change", "95 %"]
    columns += ["p", "better"]
    names = _short([row["contestant"] for row in rows])
    lines = []
    for row in rows:
        pooled = row["asset"] == "all"  # in percent of each asset's own mean
        bounds = "-" if row["low"] is None else f"{100 * row['low']:+.2f} .. {100 * row['high']:+.2f}"
        lines.append(
            [
                row["competition"], row["asset"], *([row["part"]] if parts else []),
                names[row["contestant"]], row["prompts"],
                f"{row['mean_reference']:.2f} %" if pooled else f"{row['mean_reference']:.2f}",
                f"{row['mean']:.2f} %" if pooled else f"{row['mean']:.2f}",
                percent(row["change"]), bounds, "-" if row["low"] is None else f"{row['p_holm']:.3f}",
                f"{100 * row['share_better']:.0f} %",
            ]
        )  # fmt: skip
    head = ["SYNTHETIC DATA: simulated prices, not a market.\n"] if synthetic else []
    return "\n".join(
        [
            *head,
            f"Mean CRPS (basis points) against {reference}; a negative change is better\n",
            plain_table(columns, lines),
            "",
            "95 %: interval of the change by a paired block bootstrap (percent); p: Diebold-Mariano, corrected for",
            "the number of contestants; better: share of prompts; all: the mean over assets of relative changes",
            "",
        ]
    )


def _short(labels: list[str]) -> dict[str, str]:
    """Return names for a table: no module path, an experiment by its hash; whole where two would be alike."""
    short = {}
    for label in dict.fromkeys(labels):
        if ":" in label and "/" not in label:
            short[label] = label.rpartition(":")[2]
        else:
            short[label] = re.sub(r"^.*\d{8}T\d{6}Z-.*-([0-9a-f]{8}(-\d+)?)", r"\1", label)
    alike = len(set(short.values())) < len(short)
    return {label: label for label in short} if alike else short
