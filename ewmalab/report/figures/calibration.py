"""Figures of calibration: whether the spread of forecasts was right."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

from ewmalab.analysis.diagnostics import Coverage, PitBin, SpreadBin, Volatility
from ewmalab.report.figures.style import (
    BAND,
    COLOURS,
    GREY,
    Sheet,
    counted,
    legend,
    looks,
    marks,
    panels,
    side_by_side,
    spans,
    styled,
)
from ewmalab.report.text.tables import short
from ewmalab.units import format_duration


@styled
def pit(rows: Sequence[PitBin], competition: str, *, synthetic: bool = False) -> Figure:
    """Draw histograms of the probability integral transform, a row per forecaster, a column per horizon."""
    inside = [row for row in rows if row.competition == competition]
    names = list(dict.fromkeys(row.forecaster for row in inside))
    horizons = sorted({row.horizon for row in inside})
    sheet = Sheet(
        f"{competition}: where realised moves fell among the paths (PIT)",
        "Flat within the band: calibrated; a bowl: too narrow; a hump: too wide; a slope: biased. Band: 95 % of the "
        "bars of a calibrated forecast, counting only prompts that do not overlap. "
        f"{counted(row.prompts for row in inside)}",
        columns=len(horizons),
        width=2.05,
        height=1.75,
        sharey=True,
        synthetic=synthetic,
    )
    pairs = [(name, horizon) for name in names for horizon in horizons]
    figure, axes = panels([""] * len(pairs), sheet)
    for panel, pair in zip(axes, pairs, strict=True):
        bins = [row for row in inside if (row.forecaster, row.horizon) == pair]
        panel.set_visible(bool(bins))
        _histogram(panel, bins)
        panel.set_title(f"{short(pair[0])}, {format_duration(pair[1])}", loc="left", fontsize=8.5)
        panel.set_ylabel("prompts, %" if pair[1] == horizons[0] else "")
        panel.set_xlabel("share of paths below" if pair[0] == names[-1] else "")
    return figure


def _histogram(panel: Axes, bins: Sequence[PitBin]) -> None:
    wide = 1.0 / max(1, len(bins))
    for row in bins[:1]:
        panel.axhspan(100 * row.low, 100 * row.high, color=BAND, alpha=0.5, linewidth=0)
    panel.bar([row.bin + wide / 2 for row in bins], [100 * row.share for row in bins], 0.9 * wide, color=COLOURS[0])
    panel.axhline(100 * wide, color=GREY, linewidth=1)
    panel.set_xticks([0, 0.5, 1])


@styled
def coverage(rows: Sequence[Coverage], competition: str, *, synthetic: bool = False) -> Figure:
    """Draw the coverage of central intervals by horizon, a panel per nominal level."""
    inside = [row for row in rows if row.competition == competition]
    levels, horizons = sorted({row.level for row in inside}), sorted({row.horizon for row in inside})
    sheet = Sheet(
        f"{competition}: coverage",
        "How often the realised move fell within a forecast's central interval. On the line: calibrated; below it: "
        f"too narrow. {counted(row.prompts for row in inside)} Bars: 95 % intervals that allow for overlapping "
        "prompts.",
        x="horizon",
        y="covered, % of prompts",
        columns=len(levels),
        width=3.0,
        synthetic=synthetic,
    )
    figure, axes = panels([f"{100 * level:g} % interval" for level in levels], sheet)
    for panel, level in zip(axes, levels, strict=True):
        for name, (style, shift) in side_by_side(looks(row.forecaster for row in inside), 0.16).items():
            part = [row for row in inside if row.forecaster == name and row.level == level]
            at = [horizons.index(row.horizon) + shift for row in part]
            sides = 100 * np.array([[row.covered - row.low, row.high - row.covered] for row in part]).T.clip(0)
            sides[:, ~np.isfinite(sides).all(axis=0)] = 0.0
            panel.errorbar(at, [100 * row.covered for row in part], sides, label=short(name), **marks(style))
        panel.axhline(100 * level, color=GREY, linewidth=1)
        panel.set_xticks(range(len(horizons)), [format_duration(h) for h in horizons])
    legend(figure, axes)
    return figure


@styled
def term_structure(rows: Sequence[Volatility], competition: str, *, synthetic: bool = False) -> Figure:
    """Draw realised and forecast volatility by horizon, a panel per asset."""
    inside = sorted((row for row in rows if row.competition == competition), key=lambda row: row.horizon)
    assets, styles = list(dict.fromkeys(row.asset for row in inside)), looks(row.forecaster for row in inside)
    sheet = Sheet(
        f"{competition}: volatility by horizon",
        "Root mean square of realised moves since the start (black) and of the forecasts' spread. A line below the "
        f"black one is too narrow at that horizon. {counted(row.prompts for row in inside)}",
        x="horizon",
        y="basis points",
        columns=4,
        width=2.5,
        height=2.1,
        synthetic=synthetic,
    )
    figure, axes = panels(assets, sheet)
    for panel, asset in zip(axes, assets, strict=True):
        part = [row for row in inside if row.asset == asset]
        realised = {row.horizon: row.realised for row in reversed(part)}
        at = sorted(realised)
        panel.plot(at, [realised[h] for h in at], color="black", marker="*", markersize=7, label="realised")
        for name, style in styles.items():
            own = [row for row in part if row.forecaster == name]
            panel.plot([row.horizon for row in own], [row.forecast for row in own], label=short(name), **style)
        panel.set_yscale("log")
        panel.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        panel.yaxis.set_major_formatter("{x:g}")
        panel.yaxis.set_minor_locator(NullLocator())
        spans(panel, at, logarithmic=True)
    legend(figure, axes)
    return figure


@styled
def spread_skill(rows: Sequence[SpreadBin], competition: str, *, synthetic: bool = False) -> Figure:
    """Draw errors against spread, a panel per horizon."""
    inside = [row for row in rows if row.competition == competition]
    horizons, styles = sorted({row.horizon for row in inside}), looks(row.forecaster for row in inside)
    totals: dict[tuple[str, int], int] = {}
    for row in inside:
        totals[row.forecaster, row.horizon] = totals.get((row.forecaster, row.horizon), 0) + row.prompts
    sheet = Sheet(
        f"{competition}: do errors grow with the spread?",
        "Prompts in groups of equal number, by the width of the forecast; 1: the asset's typical spread. On the "
        f"diagonal: the spread is right in calm and in turmoil; flat: it predicts nothing. {counted(totals.values())}",
        x="spread (relative)",
        y="error (relative)",
        columns=4,
        width=2.5,
        height=2.2,
        synthetic=synthetic,
    )
    figure, axes = panels([format_duration(h) for h in horizons], sheet)
    for panel, horizon in zip(axes, horizons, strict=True):
        for name, style in styles.items():
            own = [row for row in inside if row.forecaster == name and row.horizon == horizon]
            panel.plot([row.spread for row in own], [row.error for row in own], label=short(name), **style)
        low, high = min(panel.get_xlim()[0], panel.get_ylim()[0]), max(panel.get_xlim()[1], panel.get_ylim()[1])
        panel.plot([low, high], [low, high], color=GREY, linewidth=1)
    legend(figure, axes)
    return figure
