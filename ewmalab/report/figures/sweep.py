"""Figures of a sweep: curves, and maps of two parameters."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ewmalab.analysis.sweep_rows import SweepRow, TriedValue
from ewmalab.report.figures.chart import Axis, Band, Chart, Mark, Panel, Rule, Series, Tiles, counted, values
from ewmalab.units import magnitude

_SCALE = (0.0, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)  # ticks of the colours, points of percent


def curves(rows: Sequence[SweepRow], parameter: str, *, synthetic: bool = False) -> Chart:
    """Draw the change of mean CRPS against the configured value, for each value of one parameter."""
    shown = [row for row in rows if row.prompts]
    chart = Chart(
        f"Sweep of {parameter}",
        "Change of mean CRPS against the configured value (vertical line); below zero is better. Filled: not "
        "ruled out as the best; hollow: worse; star: the best. Band: 95 % interval of each difference, if prompts are "
        f"enough. {counted(row.prompts for row in shown)}",
        width=3.3,
        height=2.5,
        synthetic=synthetic,
    )
    return chart.of(_curve(row, parameter) for row in shown)


def _curve(row: SweepRow, parameter: str) -> Panel:
    tried = sorted(row.values, key=lambda value: value.place(parameter))
    at = np.arange(len(tried), dtype=np.float64)
    change, low, high = (100 * values(getattr(v, name) for v in tried) for name in ("change", "low", "high"))
    alike = np.array([value.not_ruled_out for value in tried], bool)
    marks: list[Mark] = [Rule(0.0), *(Rule(i, upright=True) for i, value in enumerate(tried) if value.configured)]
    marks.append(Band("95 %", at, low, high, "faint", 0.5))
    marks.append(Series("tried", at, change, 0, width=1, hollow=~alike))
    best = np.array([value.best for value in tried], bool)
    marks.append(Series("best tried", at[best], change[best], 1, line=False, symbol="star"))
    # values that are far worse would flatten the others
    top = max(2.0, 3.0 * float(np.max(np.abs(change[alike]), initial=0.0)))
    bottom = min(-0.5, float(np.min(np.where(np.isfinite(low), low, change))))
    limits = max(bottom, -top) * 1.08, min(float(np.max(change)), top) * 1.08 + 0.05
    x = Axis.parts(parameter, [value.label for value in tried])
    y = Axis("change of CRPS, %", limits=limits)
    return Panel(f"{row.competition} {row.asset}", x, y, marks, (row.asset,))


def heat_maps(rows: Sequence[SweepRow], parameters: Sequence[str], *, synthetic: bool = False) -> Chart:
    """Draw the change of mean CRPS over a grid of two parameters: the first to the right, the second upwards."""
    right, upwards = parameters
    shown = [row for row in rows if row.prompts]
    chart = Chart(
        f"Sweep of {right} and {upwards}",
        "Numbers: change of mean CRPS against the configured value (square), percent. Colour: how much worse than the "
        "best (star), on a scale that is finest near the best; dark is good. Dots: not ruled out as the best. "
        f"{counted(row.prompts for row in shown)}",
        columns=2,
        width=4.2,
        height=3.2,
        synthetic=synthetic,
    )
    return chart.of(_map(row, right, upwards) for row in shown)


def _map(row: SweepRow, right: str, upwards: str) -> Panel:
    columns, lines = _places(row.values, right), _places(row.values, upwards)
    change = np.full((len(lines), len(columns)), np.nan)
    where = [(list(columns).index(_place(v, right)), list(lines).index(_place(v, upwards))) for v in row.values]
    for (x, y), value in zip(where, row.values, strict=True):
        change[y, x] = 100.0 * value.change
    worse = change - np.nanmin(change)
    worst = float(np.nanmax(worse))
    scale = [(float(np.sqrt(v)), f"{v:g}") for v in _SCALE if v <= worst]
    scale = scale[:1] + [tick for tick in scale[1:] if tick[0] > 0.08 * np.sqrt(worst)]
    marks: list[Mark] = [Tiles(np.sqrt(worse), change, "points of % above the best", scale)]
    for name, symbol, chosen in (
        ("not ruled out", "", [v.not_ruled_out for v in row.values]),
        ("best tried", "star", [v.best for v in row.values]),
        ("configured", "square", [v.configured for v in row.values]),
    ):
        at = np.array([place for place, yes in zip(where, chosen, strict=True) if yes], np.float64).reshape(-1, 2)
        look = 1 if symbol == "star" else "alarm" if symbol else "faint"
        offset = -0.3 if symbol else 0.32  # beside the number of the tile
        marks.append(Series(name, at[:, 0], at[:, 1] - offset, look, line=False, symbol=symbol))  # type: ignore[arg-type]
    axes = (Axis.parts(right, list(columns.values())), Axis.parts(upwards, list(lines.values())))
    return Panel(f"{row.competition} {row.asset}", *axes, marks, (row.asset,))


def _place(value: TriedValue, parameter: str) -> tuple[float, str]:
    """Return what tells values of a parameter apart: the size, by which 30m and 1800s are one; else the text."""
    plain = value.value.get(parameter, next(iter(value.value.values())))
    return value.place(parameter), "" if magnitude(plain) is not None else str(plain)


def _places(tried: Sequence[TriedValue], parameter: str) -> dict[tuple[float, str], str]:
    """Return the texts of a parameter's values, in their order; the configured value's own text comes first."""
    texts: dict[tuple[float, str], str] = {}
    for value in sorted(tried, key=lambda value: (_place(value, parameter), not value.configured)):
        plain = value.value[parameter]
        texts.setdefault(_place(value, parameter), f"{plain:g}" if isinstance(plain, float) else str(plain))
    return texts
