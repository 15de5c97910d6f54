"""Figures of a sweep: curves, and maps of two parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ewmalab.analysis.sweep_rows import SweepRow, TriedValue
from ewmalab.report.figures.style import BAND, COLOURS, GREY, Sheet, counted, legend, panels, styled


@styled
def curves(rows: Sequence[SweepRow], parameter: str, *, synthetic: bool = False) -> Figure:
    """Draw the change of mean CRPS against the configured value, for each value of one parameter."""
    shown = [row for row in rows if row.prompts]
    sheet = Sheet(
        f"Sweep of {parameter}",
        "Change of mean CRPS against the configured value (vertical line); below zero is better. Filled: not "
        "ruled out as the best; ringed: the best. Band: 95 % interval of each difference, if prompts are enough. "
        f"{counted(row.prompts for row in shown)}",
        x=parameter,
        y="change of CRPS, %",
        width=3.3,
        height=2.5,
        synthetic=synthetic,
    )
    figure, axes = panels([f"{row.competition} {row.asset}" for row in shown], sheet)
    for panel, row in zip(axes, shown, strict=True):
        _curve(panel, sorted(row.values, key=lambda value: value.place(parameter)))
    legend(figure, axes)
    return figure


def _curve(panel: Axes, values: Sequence[TriedValue]) -> None:
    at = np.arange(len(values))
    change, low, high = (100 * np.array([getattr(v, name) for v in values]) for name in ("change", "low", "high"))
    alike = np.array([value.not_ruled_out for value in values], bool)
    known = np.isfinite(low) & np.isfinite(high)
    panel.fill_between(at, low, high, where=known, color=BAND, alpha=0.5, linewidth=0, label="95 %")
    panel.plot(at, change, color=COLOURS[0], linewidth=1)
    panel.plot(at[alike], change[alike], "o", color=COLOURS[0], label="not ruled out")
    panel.plot(at[~alike], change[~alike], "o", color=COLOURS[0], markerfacecolor="white", label="worse")
    for i, value in enumerate(values):
        if value.best:
            ring: Any = {"markersize": 10, "markerfacecolor": "none", "color": COLOURS[1]}
            panel.plot(i, change[i], "o", label="best tried", **ring)
        if value.configured:
            panel.axvline(i, color=GREY, linewidth=1, linestyle=(0, (4, 2)), label="configured")
    panel.axhline(0, color=GREY, linewidth=1)
    panel.set_xticks(at, [value.label for value in values], rotation=60, fontsize=7.5)
    # values that are far worse would flatten the others
    top = max(2.0, 3.0 * float(np.max(np.abs(change[alike]), initial=0.0)))
    bottom = min(-0.5, float(np.min(np.where(known, low, change))))
    panel.set_ylim(max(bottom, -top) * 1.08, min(float(np.max(change)), top) * 1.08 + 0.05)


@styled
def heat_maps(rows: Sequence[SweepRow], parameters: Sequence[str], *, synthetic: bool = False) -> Figure:
    """Draw the change of mean CRPS over a grid of two parameters: the first to the right, the second upwards."""
    right, upwards = parameters
    shown = [row for row in rows if row.prompts]
    sheet = Sheet(
        f"Sweep of {right} and {upwards}",
        "Change of mean CRPS against the configured value (square), percent; blue is better. Dots: not ruled "
        "out as the best; star: the best; grey: not tried. "
        f"{counted(row.prompts for row in shown)}",
        x=right,
        y=upwards,
        columns=2,
        width=4.2,
        height=3.2,
        synthetic=synthetic,
    )
    figure, axes = panels([f"{row.competition} {row.asset}" for row in shown], sheet)
    for panel, row in zip(axes, shown, strict=True):
        grid = _map(panel, row.values, right, upwards)
        reach = max(0.5, min(5.0, float(np.nanmax(np.abs(grid)))))
        image = panel.imshow(grid, origin="lower", aspect="auto", cmap="RdBu_r", vmin=-reach, vmax=reach)
        figure.colorbar(image, ax=panel, label="change of CRPS, %")
    return figure


def _map(panel: Axes, values: Sequence[TriedValue], right: str, upwards: str) -> np.ndarray:
    """Mark the best and the configured value, and return the changes of all, percent: (rows, columns)."""
    columns, rows = _ticks(values, right), _ticks(values, upwards)
    grid = np.full((len(rows), len(columns)), np.nan)
    for value in values:
        x, y = columns.index(str(value.value[right])), rows.index(str(value.value[upwards]))
        grid[y, x] = 100.0 * value.change
        if value.not_ruled_out:
            panel.plot(x, y, "o", color="black", markersize=3)
        if value.best:
            panel.plot(x, y, "*", color="black", markersize=11, markerfacecolor="#F0E442")
        if value.configured:
            panel.plot(x, y, "s", color="black", markersize=11, markerfacecolor="none")
    panel.grid(visible=False)
    panel.set_facecolor("#DDDDDD")
    panel.set_xticks(range(len(columns)), columns, rotation=60, fontsize=7.5)
    panel.set_yticks(range(len(rows)), rows, fontsize=7.5)
    return grid


def _ticks(values: Sequence[TriedValue], parameter: str) -> list[str]:
    places = {str(value.value[parameter]): value.place(parameter) for value in values}
    return sorted(places, key=lambda name: places[name])
