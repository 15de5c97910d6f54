"""Propose a shadow that has beaten the serving forecaster for long enough."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from ewmalab.analysis.compare import ALL, Difference, compare
from ewmalab.times import DAY

PROVING_TIME = 7 * DAY
"""Seconds over which the scored prompts must reach, before a shadow is proposed."""


def proposals(scores: Mapping[str, pd.DataFrame], own: str, shadows: Sequence[str]) -> list[str]:
    """Return a text for each shadow that should serve instead.

    A shadow is proposed if the scored prompts reach over `PROVING_TIME`, and it is proven better than the serving
    forecaster in one competition or more, and worse by its interval for nothing.

    Parameters
    ----------
    scores : mapping of forecaster to DataFrame
        CRPS per prompt, indexed by competition, asset and start time.
    own : str
        The serving forecaster.
    shadows : sequence of str
    """
    names = [name for name in dict.fromkeys(shadows) if name != own]
    starts = scores[own].index.get_level_values("start_time")
    if not names or not len(starts) or starts.max() - starts.min() < PROVING_TIME:
        return []
    rows = compare({name: scores[name] for name in (own, *names)})
    return [text for name in names if (text := _proposal([row for row in rows if row.forecaster == name], own))]


def _proposal(rows: list[Difference], own: str) -> str:
    """Return why a shadow should serve; empty if it should not."""
    if not any(row.proven and row.sign < 0 for row in rows) or any(row.sign > 0 for row in rows):
        return ""
    pooled = {row.competition for row in rows if row.asset == ALL}
    told = [row for row in rows if row.proven and row.sign < 0 and (row.asset == ALL or row.competition not in pooled)]
    gains = ", ".join(f"{row.competition} {row.asset} by {-100 * row.change:.1f} %" for row in told)
    if not told:
        return ""
    name = rows[0].forecaster
    days = PROVING_TIME // DAY
    return f"{name} has beaten {own} over {days} days and more ({gains}): ewmalab live --forecaster {name}"
