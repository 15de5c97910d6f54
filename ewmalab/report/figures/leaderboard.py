"""Figures of a leaderboard: ranks and weights over time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ewmalab.report.figures.style import date_axis, legend, looks, panels, short, styled, times


@styled
def over_time(data: Mapping[str, Any], what: str, *, synthetic: bool = False) -> Figure:
    """Draw ranks or weights over time: one panel for all competitions together, and one for each.

    Parameters
    ----------
    data : mapping
        What ``ewmalab leaderboard --json`` prints.
    what : {"rank", "weight"}
    synthetic : bool
    """
    frame = pd.DataFrame(data["standings"])
    competitions = sorted(frame["competition"].unique())  # the sum of all has an empty name
    styles = looks(data["named"])
    how = "1 is the best" if what == "rank" else "part of the reward of all miners"
    figure, axes = panels(
        len(competitions), f"{what.capitalize()} over time",
        f"{how.capitalize()}; {len(data['miners'])} miners, {data['prompts']:,} prompts, rules {data['rules']}. "
        "Grey: the others. What holds is only the order within this field.",
        synthetic=synthetic, columns=2, width=4.0,
    )  # fmt: skip
    for panel, competition in zip(axes, competitions, strict=True):
        inside = frame[frame["competition"] == competition]
        wide = inside.pivot_table(index="when", columns="miner", values=what)
        for name in (miner for miner in wide.columns if miner not in styles):
            panel.plot(times(wide.index), wide[name], color="#CCCCCC", linewidth=0.6)
        for name, style in styles.items():
            if name in wide:
                panel.plot(times(wide.index), wide[name], label=short(name), **style)
        if what == "rank":
            panel.set_ylim(wide.max().max() + 0.5, 0.5)
            panel.yaxis.set_major_locator(MaxNLocator(integer=True))
        date_axis(panel)
        panel.set_title(competition or "all competitions", loc="left")
        panel.set_ylabel(what)
        panel.set_xlabel("UTC")
    legend(figure, axes)
    return figure
