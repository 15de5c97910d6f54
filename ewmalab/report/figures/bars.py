"""Figures of bars."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from ewmalab.market.bars import Bars
from ewmalab.report.figures.style import COLOURS, Sheet, date_axis, legend, panels, styled, times
from ewmalab.times import MINUTE


@styled
def closes(bars: Bars, title: str, *, synthetic: bool = False) -> Figure:
    """Draw closes over time, and mark where bars are missing."""
    gaps = bars.gaps()
    missing = sum((end - start) // bars.resolution for start, end in gaps)
    note = (
        f"{len(bars):,} bars of {bars.resolution // MINUTE} min; {missing:,} missing in {len(gaps):,} stretches "
        "(marked)."
    )
    figure, (panel,) = panels([""], Sheet(title, note, "UTC", "price, USD", width=7.6, synthetic=synthetic))
    breaks = np.flatnonzero(np.diff(bars.timestamp) > bars.resolution) + 1
    at = times(np.insert(bars.timestamp.astype(np.float64), breaks, bars.timestamp[breaks - 1]))
    panel.plot(at, np.insert(bars.close, breaks, np.nan), color=COLOURS[0], linewidth=1, label="close")
    for i, gap in enumerate(gaps):
        start, end = times(gap)
        panel.axvspan(start, end, color=COLOURS[1], alpha=0.3, linewidth=0.5, label="missing" if not i else "")
    date_axis(panel)
    legend(figure, [panel])
    return figure
