"""Figures of a sweep: curves, and maps of two parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ewmalab.report.figures.style import BAND, COLOURS, GREY, counted, legend, panels, styled
from ewmalab.units import magnitude

Cells = Sequence[Mapping[str, Any]]


@styled
def curves(cells: Cells, parameter: str, *, synthetic: bool = False) -> Figure:
    """Draw the change of mean CRPS against the present value, for each value of one parameter.

    Parameters
    ----------
    cells : sequence of mapping
        A sweep's summary, one per competition and asset; see `ewmalab.sweeps.sweep.SweepResult`.
    parameter : str
    synthetic : bool
    """
    shown = [cell for cell in cells if cell["prompts"]]
    figure, axes = panels(
        len(shown), f"Sweep of {parameter}",
        "Change of mean CRPS against the present value (vertical line); below zero is better. Filled: as good as the "
        "best, as far as these prompts can tell; ringed: the best. Band: 95 % interval of each difference. "
        f"{counted(cell['prompts'] for cell in shown)}",
        synthetic=synthetic, columns=3, width=3.3, height=2.5,
    )  # fmt: skip
    for panel, cell in zip(axes, shown, strict=True):
        values = sorted(cell["values"], key=lambda v: _place(v, parameter))
        at = np.arange(len(values))
        base = cell["mean_crps_configured"] / 100.0
        change = np.array([v["difference"] for v in values]) / base
        low, high = (np.array([v[k] for v in values], np.float64) / base for k in ("low", "high"))
        known = np.isfinite(low) & np.isfinite(high)
        panel.fill_between(at, low, high, where=known, color=BAND, alpha=0.5, linewidth=0, label="95 %")
        panel.plot(at, change, color=COLOURS[0], linewidth=1)
        alike = np.array([v["indistinguishable"] for v in values], bool)
        panel.plot(at[alike], change[alike], "o", color=COLOURS[0], label="as good as the best")
        panel.plot(at[~alike], change[~alike], "o", color=COLOURS[0], markerfacecolor="white", label="worse")
        for i, value in enumerate(values):
            if value["label"] == cell["best"]:
                panel.plot(
                    i, change[i], "o", markersize=10, markerfacecolor="none", color=COLOURS[1], label="best tried"
                )
            if value["label"] == cell["configured"]:
                panel.axvline(i, color=GREY, linewidth=1, linestyle=(0, (4, 2)), label="now")
        panel.axhline(0, color=GREY, linewidth=1)
        panel.set_xticks(at, [v["label"] for v in values], rotation=60, fontsize=7.5)
        panel.set_title(f"{cell['competition']} {cell['asset']}", loc="left")
        panel.set_ylabel("change of CRPS, %")
        panel.set_xlabel(parameter)
        # what is far off is of no interest, and would flatten what is
        top = max(2.0, 3.0 * float(np.max(np.abs(change[alike]), initial=0.0)))
        bottom = min(-0.5, float(np.min(np.where(known, low, change))))
        panel.set_ylim(max(bottom, -top) * 1.08, min(float(np.max(change)), top) * 1.08 + 0.05)
    legend(figure, axes)
    return figure


@styled
def heat_maps(cells: Cells, parameters: Sequence[str], *, synthetic: bool = False) -> Figure:
    """Draw the change of mean CRPS over a grid of two parameters.

    Parameters
    ----------
    cells, synthetic
        As in `curves`.
    parameters : sequence of str
        Two: the first runs to the right, the second upwards.
    """
    right, upwards = parameters
    shown = [cell for cell in cells if cell["prompts"]]
    figure, axes = panels(
        len(shown), f"Sweep of {right} and {upwards}",
        "Change of mean CRPS against the present setting (square), percent; blue is better. Dots: as good as the best, "
        "as far as these prompts can tell; star: the best; grey: not tried. "
        f"{counted(cell['prompts'] for cell in shown)}",
        synthetic=synthetic, columns=2, width=4.2, height=3.2,
    )  # fmt: skip
    for panel, cell in zip(axes, shown, strict=True):
        across, up = (
            sorted({str(v["value"][name]): _place(v, name) for v in cell["values"]}.items(), key=lambda item: item[1])
            for name in parameters
        )
        columns, rows = [k for k, _ in across], [k for k, _ in up]
        grid = np.full((len(rows), len(columns)), np.nan)
        for value in cell["values"]:
            x, y = columns.index(str(value["value"][right])), rows.index(str(value["value"][upwards]))
            grid[y, x] = 100.0 * value["difference"] / cell["mean_crps_configured"]
            if value["indistinguishable"]:
                panel.plot(x, y, "o", color="black", markersize=3)
            if value["label"] == cell["best"]:
                panel.plot(x, y, "*", color="black", markersize=11, markerfacecolor="#F0E442")
            if value["label"] == cell["configured"]:
                panel.plot(x, y, "s", color="black", markersize=11, markerfacecolor="none")
        reach = max(0.5, min(5.0, float(np.nanmax(np.abs(grid)))))
        image = panel.imshow(grid, origin="lower", aspect="auto", cmap="RdBu_r", vmin=-reach, vmax=reach)
        figure.colorbar(image, ax=panel, label="change of CRPS, %")
        panel.grid(visible=False)
        panel.set_facecolor("#DDDDDD")
        panel.set_xticks(range(len(columns)), columns, rotation=60, fontsize=7.5)
        panel.set_yticks(range(len(rows)), rows, fontsize=7.5)
        panel.set_title(f"{cell['competition']} {cell['asset']}", loc="left")
        panel.set_xlabel(right)
        panel.set_ylabel(upwards)
    return figure


def _place(value: Mapping[str, Any], parameter: str) -> float:
    found = value["value"]
    plain = found[parameter] if parameter in found else next(iter(found.values()))
    return magnitude(plain) or 0.0
