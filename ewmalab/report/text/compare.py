"""A comparison as text."""

from __future__ import annotations

import re
from typing import Any

from ewmalab.report.text.tables import percent, plain_table, wrapped


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
    columns = ["comp.", "asset", *(["part", "n"] if parts else ["n", "reference"]), "CRPS", "change", "95 %", "p"]
    tables = []
    for contestant, name in _short([row["contestant"] for row in rows]).items():
        lines = []
        for row in rows:
            if row["contestant"] != contestant:
                continue
            unit = " %" if row["asset"] == "all" else ""  # in percent of each asset's own mean
            bounds = "-" if row["low"] is None else f"{100 * row['low']:+.2f}..{100 * row['high']:+.2f}"
            lines.append(
                [
                    row["competition"], row["asset"], *([row["part"]] if parts else []), row["prompts"],
                    *([] if parts else [f"{row['mean_reference']:.2f}{unit}"]), f"{row['mean']:.2f}{unit}",
                    percent(row["change"]), bounds, "-" if row["low"] is None else f"{row['p_holm']:.3f}",
                ]
            )  # fmt: skip
        tables.append(plain_table(columns, lines, wrapped(f"{name} against {reference}") + "\n"))
    head = ["SYNTHETIC DATA: simulated prices, not a market.\n"] if synthetic else []
    tail = (
        "Mean CRPS, basis points; a negative change is better. 95 %: interval of the change by a paired block "
        "bootstrap, percent; p: Diebold-Mariano, corrected for the number of contestants; all: the mean over assets of "
        "relative changes"
    )
    return "\n".join([*head, "\n\n".join(tables), "", wrapped(tail), ""])


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
