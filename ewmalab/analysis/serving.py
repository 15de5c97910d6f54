"""Statistics of a live miner's answers: latency, age of states, and answers per day."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ewmalab.inference.aggregate import Bins
from ewmalab.times import DAY


@dataclass(frozen=True, slots=True)
class Latency:
    """Latency of answers, from the complete request to the last byte sent.

    Attributes
    ----------
    competition : str
        Empty for all competitions.
    answers : int
    median, percentile_99, longest : float
        Seconds.
    """

    competition: str
    answers: int
    median: float
    percentile_99: float
    longest: float


@dataclass(frozen=True, slots=True)
class DayOfAnswers:
    """Number of answers for an asset on one day.

    Attributes
    ----------
    day : int
        Its first second, since 1970-01-01 UTC.
    asset : str
    answers : int
    """

    day: int
    asset: str
    answers: int


@dataclass(frozen=True, slots=True, eq=False)
class Serving:
    """Statistics of an answer log.

    Attributes
    ----------
    answers : DataFrame
        One row each; see `answers_table`.
    validators : int
        Number of distinct callers.
    latencies : list of Latency
        For all, then by competition.
    days : list of DayOfAnswers
    sources : dict of str to float
        Share of the answers by source of the anchor, the most frequent first.
    """

    answers: pd.DataFrame
    validators: int
    latencies: list[Latency]
    days: list[DayOfAnswers]
    sources: dict[str, float]


def answers_table(answers: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return logged answers as a table.

    Returns
    -------
    DataFrame
        ``at`` (market time of the request), ``competition``, ``asset``, ``start_time``, ``seconds`` (from the complete
        request to the last byte sent), ``state_age`` and ``anchor_age`` (seconds), ``anchor_source``, ``caller``.
    """
    return pd.DataFrame(
        {
            "at": a["request_time"],
            "competition": a["competition"],
            "asset": a["asset"],
            "start_time": a["start_time"],
            "seconds": a["seconds"]["total"],
            "state_age": a["age"],
            "anchor_age": max(0.0, a["request_time"] - a["anchor"]["at"]),
            "anchor_source": a["anchor"]["source"],
            "caller": a["caller"],
        }
        for a in answers
    )


def serving(answers: Sequence[Mapping[str, Any]]) -> Serving:
    """Compute the statistics of logged answers."""
    table = answers_table(answers)
    parts = [("", table), *((str(name), part) for name, part in table.groupby("competition"))]
    latencies = [
        Latency(name, len(part), *(float(part["seconds"].quantile(share)) for share in (0.5, 0.99, 1.0)))
        for name, part in parts
    ]
    days = Bins.of(table["at"] // DAY * DAY, table["asset"])
    counts = [DayOfAnswers(day, asset, int(n)) for (day, asset), n in zip(days.keys, days.sizes, strict=True)]
    sources = {str(name): float(share) for name, share in table["anchor_source"].value_counts(normalize=True).items()}
    return Serving(table, int(table["caller"].nunique()), latencies, counts, sources)
