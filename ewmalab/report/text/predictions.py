"""Scores and verdicts of predictions and answers as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ewmalab.analysis.predictions import PredictionScore
from ewmalab.report.text.tables import plain_table
from ewmalab.scoring.crps import INVALID
from ewmalab.times import iso

_IN_FORCE = {"digits8_text": "until 2026-07-16", "float32_8sig": "since 2026-07-16"}


def verdicts_text(verdicts: Mapping[str, str]) -> str:
    """Return the verdicts on a prediction's format, a line per format."""
    return "".join(f"format {_IN_FORCE.get(name, name)}: {verdict}\n" for name, verdict in verdicts.items())


def score_text(score: PredictionScore) -> str:
    """Return a prediction's CRPS per interval, and the verdicts on its format."""
    lines = [f"{score.competition} from {iso(score.start)}, scored by {score.rule}"]
    if score.total == INVALID:
        lines.append("invalid: a simulated price is 0; validators give -1")
    rows = [(name, f"{value:.4f}") for name, value in score.intervals.items()]
    rows += [("volatility term", f"{score.volatility_term:.4f}")] if score.has_volatility_term else []
    lines.append(plain_table(("interval", "CRPS (bp)"), [*rows, ("total", f"{score.total:.4f}")]))
    return "\n".join(lines) + "\n" + verdicts_text(score.verdicts)


def offline_text(rows: Sequence[Mapping[str, Any]], synthetic: bool) -> str:
    """Return the offline test's mean CRPS per competition and asset."""
    head = "SYNTHETIC DATA: simulated prices, not a market.\n\n" if synthetic else ""
    lines = [(row["competition"], row["asset"], row["prompts"], f"{row['crps']:.3f}") for row in rows]
    return head + plain_table(("competition", "asset", "prompts", "mean CRPS (bp)"), lines) + "\n"


def replies_text(summary: Mapping[str, Any]) -> str:
    """Return how many of a miner's answers validators would accept, and how long they took.

    Parameters
    ----------
    summary : mapping
        From `ewmalab.live.audit.probe.summarise`.
    """
    accepted, prompts = summary["accepted"], summary["prompts"]
    lines = [f"{accepted} of {prompts} answers accepted under the format rules of every date"]
    lines += [f"  {count} x {text}" for text, count in summary["faults"].items()]
    if summary["seconds"]:
        lines.append("seconds: " + ", ".join(f"{name} {value:.3f}" for name, value in summary["seconds"].items()))
    return "\n".join(lines) + "\n"
