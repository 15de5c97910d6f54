"""Figures of a leaderboard: ranks and weights over time."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd

from ewmalab.analysis.ranking import Ranking
from ewmalab.report.figures.chart import Axis, Chart, Mark, Panel, Series, looks
from ewmalab.report.text.tables import short


def over_time(ranking: Ranking, what: Literal["rank", "weight"]) -> Chart:
    """Draw ranks or weights over time: one panel for all competitions together, and one for each."""
    frame = pd.DataFrame(ranking.standings)  # at least one: a field without a standing is refused
    styles = looks(ranking.named)
    note = (
        f"{'1 is the best' if what == 'rank' else 'Share of the reward of all miners'}; {len(ranking.miners)} miners, "
        f"{ranking.prompts:,} prompts, rules {ranking.rules}. Grey: the others. Only the order within this field is "
        "meaningful."
    )
    chart = Chart(f"{what.capitalize()} over time", note, columns=2, width=4.0, synthetic=ranking.synthetic)
    panels = []
    for competition in sorted(frame["competition"].unique()):  # the sum of all has an empty name
        wide = frame[frame["competition"] == competition].pivot(index="when", columns="miner", values=what)
        wide, label = (wide, "rank") if what == "rank" else (100 * wide, "weight, %")
        at = wide.index.to_numpy(np.float64)
        others = wide.columns.difference(list(styles), sort=False)
        marks: list[Mark] = []
        if len(others):  # one line for all of them, interrupted between two
            gap = np.append(at, np.nan)
            along = np.concatenate([np.append(wide[name].to_numpy(np.float64), np.nan) for name in others])
            marks.append(Series("the others", np.tile(gap, len(others)), along, "faint", marker=False, width=0.2))
        for name, look in styles.items():
            if name in wide:
                marks.append(Series(short(name), at, wide[name].to_numpy(np.float64), look))
        limits = (float(wide.max().max()) + 0.5, 0.5) if what == "rank" else None
        panels.append(Panel(competition or "all competitions", Axis("UTC", "time"), Axis(label, limits=limits), marks))
    return chart.of(panels)
