"""Figures of bars."""

from __future__ import annotations

import numpy as np

from ewmalab.market.bars import Bars
from ewmalab.report.figures.chart import Axis, Chart, Mark, Panel, Series, Stretch
from ewmalab.times import MINUTE


def closes(bars: Bars, title: str, *, synthetic: bool = False) -> Chart:
    """Draw closes over time, and mark where bars are missing."""
    gaps = bars.gaps()
    missing = sum((end - start) // bars.resolution for start, end in gaps)
    note = (
        f"{len(bars):,} bars of {bars.resolution // MINUTE} min; {missing:,} missing in {len(gaps):,} stretches "
        "(marked)."
    )
    breaks = np.flatnonzero(np.diff(bars.timestamp) > bars.resolution) + 1
    at = np.insert(bars.timestamp.astype(np.float64), breaks, bars.timestamp[breaks - 1])
    marks: list[Mark] = [Stretch(start, end, upright=True, look="alarm") for start, end in gaps]
    marks.append(Series("close", at, np.insert(bars.close, breaks, np.nan), 0, marker=False, width=1))
    panel = Panel("", Axis("UTC", "time"), Axis("price, USD"), marks)
    return Chart(title, note, width=7.6, synthetic=synthetic).of([panel])
