"""Figures of a leaderboard: ranks and weights over time."""

from __future__ import annotations

from typing import Literal

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ewmalab.analysis.ranking import Ranking
from ewmalab.report.figures.style import Sheet, date_axis, legend, looks, panels, styled, times
from ewmalab.report.text.tables import short


@styled
def over_time(ranking: Ranking, what: Literal["rank", "weight"]) -> Figure:
    """Draw ranks or weights over time: one panel for all competitions together, and one for each."""
    frame = pd.DataFrame(ranking.standings)
    competitions = sorted(frame["competition"].unique())  # the sum of all has an empty name
    styles = looks(ranking.named)
    note = (
        f"{'1 is the best' if what == 'rank' else 'Share of the reward of all miners'}; {len(ranking.miners)} miners, "
        f"{ranking.prompts:,} prompts, rules {ranking.rules}. Grey: the others. Only the order within this field is "
        "meaningful."
    )
    title = f"{what.capitalize()} over time"
    sheet = Sheet(title, note, "UTC", what, columns=2, width=4.0, synthetic=ranking.synthetic)
    figure, axes = panels([name or "all competitions" for name in competitions], sheet)
    for panel, competition in zip(axes, competitions, strict=True):
        wide = frame[frame["competition"] == competition].pivot(index="when", columns="miner", values=what)
        for name in wide.columns.difference(list(styles), sort=False):
            panel.plot(times(wide.index), wide[name], color="#CCCCCC", linewidth=0.6)
        for name, style in styles.items():
            if name in wide:
                panel.plot(times(wide.index), wide[name], label=short(name), **style)
        if what == "rank":
            panel.set_ylim(wide.max().max() + 0.5, 0.5)
            panel.yaxis.set_major_locator(MaxNLocator(integer=True))
        date_axis(panel)
    legend(figure, axes)
    return figure
