"""Figures of single prompts: their paths and the realised prices."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ewmalab.analysis.review import TellingPrompts
from ewmalab.replay.reproduce import ReproducedPrompt
from ewmalab.report.figures.style import COLOURS, GREY, Sheet, date_axis, legend, panels, styled, times
from ewmalab.report.text.tables import short
from ewmalab.times import iso


@styled
def fans(drawn: Mapping[str, ReproducedPrompt], title: str, note: str, *, synthetic: bool = False) -> Figure:
    """Draw fan charts: 50, 90 and 99 % of the paths, the median, a few paths, and the realised price.

    Parameters
    ----------
    drawn : mapping of str to ReproducedPrompt
        By the title of the panel.
    title, note : str
    synthetic : bool
    """
    sheet = Sheet(title, note, y="price, USD", columns=3, width=3.6, height=2.9, synthetic=synthetic)
    figure, axes = panels([""] * len(drawn), sheet)
    for panel, (name, fan) in zip(axes, drawn.items(), strict=True):
        _fan(panel, fan)
        date_axis(panel, offset=False)
        panel.tick_params(labelsize=7.5)
        panel.set_title(name, loc="left", fontsize=8.5)
        panel.set_xlabel(f"UTC, from {iso(fan.start_time)[:16].replace('T', ' ')}", fontsize=8)
    legend(figure, axes)
    return figure


def _fan(panel: Axes, fan: ReproducedPrompt) -> None:
    at = times(fan.start_time + fan.time_increment * np.arange(len(fan.paths)))
    prices = fan.anchor * np.exp(fan.paths.astype(np.float64))
    quantiles = np.quantile(prices, (0.005, 0.05, 0.25, 0.5, 0.75, 0.95, 0.995), axis=1)
    for i, (alpha, share) in enumerate(((0.15, "99 %"), (0.25, "90 %"), (0.45, "50 %"))):
        band = quantiles[i], quantiles[-1 - i]
        panel.fill_between(at, *band, color=COLOURS[0], alpha=alpha, linewidth=0, label=share)
    panel.plot(at, quantiles[3], color=COLOURS[0], linewidth=1.2, label="median")
    for path in prices.T[:3]:
        panel.plot(at, path, color=GREY, linewidth=0.5, alpha=0.7)
    panel.plot(at, fan.truth, color=COLOURS[1], linewidth=1.6, label="realised")


def telling(found: TellingPrompts, *, synthetic: bool = False) -> Figure:
    """Draw a forecaster's worst, median and best prompt of a competition."""
    *words, last = found.drawn
    titled = {f"{word}: {fan.title}": fan for word, fan in found.drawn.items()}
    note = (
        "By CRPS (basis points) relative to the asset's mean. Bands: 50, 90 and 99 % of the paths; grey: three paths. "
        f"Reproduced, bit for bit; chosen among {found.prompts:,} prompts."
    )
    title = f"{found.competition}: {', '.join(words)} and {last} prompt of {short(found.forecaster)}"
    return fans(titled, title, note, synthetic=synthetic)
