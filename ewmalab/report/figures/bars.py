"""Figures of bars."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from ewmalab.market.bars import Bars
from ewmalab.report.figures.style import COLOURS, date_axis, legend, panels, styled, times
from ewmalab.times import MINUTE


@styled
def closes(bars: Bars, title: str, *, synthetic: bool = False) -> Figure:
    """Draw closes over time, and mark where bars are missing.

    Parameters
    ----------
    bars : Bars
    title : str
    synthetic : bool
    """
    gaps = bars.gaps()
    missing = sum((end - start) // bars.resolution for start, end in gaps)
    figure, (panel,) = panels(
        1, title,
        f"{len(bars):,} bars of {bars.resolution // MINUTE} min; {missing:,} missing in {len(gaps):,} stretches "
        "(marked).",
        synthetic=synthetic, columns=1, width=7.6, height=2.6,
    )  # fmt: skip
    at, close = bars.timestamp, bars.close.copy()
    breaks = np.flatnonzero(np.diff(at) > bars.resolution) + 1
    panel.plot(times(np.insert(at.astype(np.float64), breaks, at[breaks - 1])), np.insert(close, breaks, np.nan),
               color=COLOURS[0], linewidth=1, label="close")  # fmt: skip
    for i, (start, end) in enumerate(gaps):
        span = times((start, end))
        panel.axvspan(span[0], span[1], color=COLOURS[1], alpha=0.3, linewidth=0.5, label="missing" if not i else "")
    date_axis(panel)
    panel.set_ylabel("price, USD")
    panel.set_xlabel("UTC")
    legend(figure, [panel])
    return figure
