"""Figures of calibration: whether the spread of forecasts was right."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ewmalab.analysis.diagnostics import Coverage, PitBin, SpreadBin, Volatility
from ewmalab.report.figures.chart import (
    Axis,
    Chart,
    Columns,
    Mark,
    Panel,
    Rule,
    Series,
    Stretch,
    counted,
    looks,
    side_by_side,
    values,
)
from ewmalab.report.text.tables import short
from ewmalab.units import format_duration


def pit(rows: Sequence[PitBin], competition: str, *, synthetic: bool = False) -> Chart:
    """Draw histograms of the probability integral transform, a row per forecaster, a column per horizon."""
    inside = [row for row in rows if row.competition == competition]
    names, horizons = looks(row.forecaster for row in inside), sorted({row.horizon for row in inside})
    chart = Chart(
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
    panels = []
    for name, look in names.items():
        for horizon in horizons:
            bins = [row for row in inside if (row.forecaster, row.horizon) == (name, horizon)]
            wide = 1.0 / max(1, len(bins))
            marks: list[Mark] = [Stretch(100 * row.low, 100 * row.high) for row in bins[:1]]
            at, share = values(row.bin + wide / 2 for row in bins), values(100 * row.share for row in bins)
            marks += [Rule(100 * wide), Columns(name, at, share, 0.9 * wide, look)]
            x = Axis("share of paths below", ticks=((0, "0"), (0.5, "0.5"), (1, "1")), limits=(0, 1))
            title = f"{short(name)}, {format_duration(horizon)}"
            panels.append(Panel(title, x, Axis("prompts, %"), marks, (name,)))
    return chart.of(panels)


def coverage(rows: Sequence[Coverage], competition: str, *, synthetic: bool = False) -> Chart:
    """Draw the coverage of central intervals by horizon, a panel per nominal level."""
    inside = [row for row in rows if row.competition == competition]
    levels, horizons = sorted({row.level for row in inside}), sorted({row.horizon for row in inside})
    chart = Chart(
        f"{competition}: coverage",
        "How often the realised move fell within a forecast's central interval. On the line: calibrated; below it: "
        f"too narrow. {counted(row.prompts for row in inside)} Bars: 95 % intervals that allow for overlapping "
        "prompts.",
        width=3.0,
        columns=len(levels),
        synthetic=synthetic,
    )
    panels = []
    for level in levels:
        marks: list[Mark] = [Rule(100 * level)]
        for name, (look, shift) in side_by_side(looks(row.forecaster for row in inside), 0.16).items():
            part = [row for row in inside if row.forecaster == name and row.level == level]
            at = values(horizons.index(row.horizon) + shift for row in part)
            share, low, high = (100 * values(getattr(row, what) for row in part) for what in ("covered", "low", "high"))
            marks.append(Series(name, at, share, look, line=False, low=low, high=high))
        axis = Axis.parts("horizon", [format_duration(h) for h in horizons])
        panels.append(Panel(f"{100 * level:g} % interval", axis, Axis("covered, % of prompts"), marks))
    return chart.of(panels)


def term_structure(rows: Sequence[Volatility], competition: str, *, synthetic: bool = False) -> Chart:
    """Draw the ratio of forecast to realised volatility by horizon, a panel per asset."""
    inside = sorted((row for row in rows if row.competition == competition), key=lambda row: row.horizon)
    horizons, styles = sorted({row.horizon for row in inside}), looks(row.forecaster for row in inside)
    chart = Chart(
        f"{competition}: forecast over realised volatility",
        "Root mean square spread of the forecasts over that of realised moves since the start. 1: right; below: too "
        f"narrow at that horizon; above: too wide. {counted(row.prompts for row in inside)} Bars: 95 % intervals, if "
        "there are enough independent prompts.",
        columns=4,
        width=2.6,
        height=2.2,
        synthetic=synthetic,
    )
    panels = []
    for asset in dict.fromkeys(row.asset for row in inside):
        marks: list[Mark] = [Rule(1.0)]
        for name, (look, shift) in side_by_side(styles, 0.16).items():
            own = [row for row in inside if (row.asset, row.forecaster) == (asset, name)]
            at = values(horizons.index(row.horizon) + shift for row in own)
            ratio, low, high = (
                values(getattr(row, what) for row in own) for what in ("ratio", "ratio_low", "ratio_high")
            )
            marks.append(Series(name, at, ratio, look, low=low, high=high, width=1.0))
        axis = Axis.parts("horizon", [format_duration(h) for h in horizons])
        panels.append(Panel(asset, axis, Axis("forecast / realised"), marks, (asset,)))
    return chart.of(panels)


def spread_skill(rows: Sequence[SpreadBin], competition: str, *, synthetic: bool = False) -> Chart:
    """Draw errors against spread, a panel per horizon."""
    inside = [row for row in rows if row.competition == competition]
    horizons, styles = sorted({row.horizon for row in inside}), looks(row.forecaster for row in inside)
    totals: dict[tuple[str, int], int] = {}
    for row in inside:
        totals[row.forecaster, row.horizon] = totals.get((row.forecaster, row.horizon), 0) + row.prompts
    chart = Chart(
        f"{competition}: do errors grow with the spread?",
        "Prompts in groups of equal number, by the width of the forecast; 1: the asset's typical spread. On the "
        f"diagonal: the spread is right in calm and in turmoil; flat: it predicts nothing. {counted(totals.values())}",
        columns=4,
        width=2.5,
        height=2.2,
        synthetic=synthetic,
    )
    panels = []
    for horizon in horizons:
        own = [row for row in inside if row.horizon == horizon]
        ends = np.array([f(v for row in own for v in (row.spread, row.error)) for f in (min, max)])
        marks: list[Mark] = [Series("", ends, ends, "grey", marker=False, width=1)]
        for name, look in styles.items():
            part = [row for row in own if row.forecaster == name]
            marks.append(Series(name, values(r.spread for r in part), values(r.error for r in part), look))
        panels.append(Panel(format_duration(horizon), Axis("spread (relative)"), Axis("error (relative)"), marks))
    return chart.of(panels)
