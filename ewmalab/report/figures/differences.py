"""Figures of differences from a baseline: by asset, scoring interval, time of day, and over time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ewmalab.analysis.compare import ALL, Difference
from ewmalab.analysis.relative import Course, IntervalChange
from ewmalab.report.figures.style import (
    GREY,
    Sheet,
    counted,
    date_axis,
    legend,
    looks,
    marks,
    panels,
    side_by_side,
    styled,
    times,
)
from ewmalab.report.text.tables import short
from ewmalab.units import format_duration

_INTERVAL = "Bars: 95 % intervals, if there are enough independent prompts."


@styled
def change_by_asset(rows: Sequence[Difference], baseline: str, *, synthetic: bool = False) -> Figure:
    """Draw each forecaster's change of mean CRPS against the baseline, per asset."""
    groups = _by_competition(rows)
    styles = looks(row.forecaster for row in rows)
    most = max(len({row.asset for row in inside}) for inside in groups.values())
    note = f"Left of zero is better. {_prompts(rows)} {_INTERVAL} all: the mean over assets of relative changes."
    sheet = Sheet(
        f"Mean CRPS against {short(baseline)}",
        note,
        x="change of mean CRPS, %",
        y="asset",
        columns=2,
        width=4.2,
        height=1.1 + 0.17 * most * max(2, len(styles)),
        synthetic=synthetic,
    )
    figure, axes = panels(list(groups), sheet)
    for panel, inside in zip(axes, groups.values(), strict=True):
        assets = list(dict.fromkeys(row.asset for row in inside))
        for name, (style, shift) in side_by_side(styles, 0.7 / max(2, len(styles))).items():
            mine = [row for row in inside if row.forecaster == name]
            at = [assets.index(row.asset) + shift for row in mine]
            change, sides = _whiskers(mine)
            panel.errorbar(change, at, xerr=sides, label=short(name), **marks(style))
        panel.axvline(0, color=GREY, linewidth=1)
        panel.set_yticks(range(len(assets)), assets)
        panel.set_ylim(len(assets) - 0.5, -0.5)
        panel.grid(axis="y", visible=False)
    legend(figure, axes)
    return figure


@styled
def change_by_interval(rows: Sequence[IntervalChange], baseline: str, *, synthetic: bool = False) -> Figure:
    """Draw the change of mean CRPS per scoring interval: a mark per asset, a panel per competition and forecaster."""
    pairs = list(dict.fromkeys((row.competition, row.forecaster) for row in rows))
    styles = looks(row.asset for row in rows)
    sheet = Sheet(
        f"By scoring interval, against {short(baseline)}",
        "Below zero is better. The total adds up all intervals, so long ones, whose CRPS is larger, count most. "
        f"{counted(row.prompts for row in rows)}",
        x="scoring interval",
        y="change of CRPS, %",
        columns=max(2, len({name for _, name in pairs})),
        width=4.0,
        height=2.8,
        sharey=True,
        synthetic=synthetic,
    )
    figure, axes = panels([f"{competition}, {short(name)}" for competition, name in pairs], sheet)
    for panel, pair in zip(axes, pairs, strict=True):
        inside = [row for row in rows if (row.competition, row.forecaster) == pair]
        parts = list(dict.fromkeys(row.interval for row in inside))
        for asset, style in styles.items():
            mine = [row for row in inside if row.asset == asset]
            if mine:
                change = [100 * row.change for row in mine]
                at = [parts.index(row.interval) for row in mine]
                panel.plot(at, change, label=asset, **style | {"linewidth": 1})
        panel.axhline(0, color=GREY, linewidth=1)
        panel.set_xticks(range(len(parts)), parts, rotation=90 if len(parts) > 8 else 0, fontsize=7.5)
    legend(figure, axes)
    return figure


@styled
def change_by_part(rows: Sequence[Difference], baseline: str, what: str, *, synthetic: bool = False) -> Figure:
    """Draw the change of mean CRPS by hour of day or weekday of the start time, all assets together.

    Parameters
    ----------
    rows : sequence of Difference
        By hour or weekday.
    baseline : str
    what : str
        Name of the parts, such as "hour of day".
    synthetic : bool
        Whether prices are simulated.
    """
    groups = _by_competition(rows)
    styles = looks(row.forecaster for row in rows)
    note = "Below zero is better; relative to each asset's mean, all assets together. "
    sheet = Sheet(
        f"By {what} of the start time (UTC), against {short(baseline)}",
        f"{note}{_prompts(rows, 'start times')} {_INTERVAL}",
        x=f"{what} (UTC)",
        y="change of CRPS, %",
        columns=1,
        width=7.6,
        height=2.3,
        synthetic=synthetic,
    )
    figure, axes = panels(list(groups), sheet)
    for panel, inside in zip(axes, groups.values(), strict=True):
        parts = list(dict.fromkeys(row.part for row in inside))
        for name, (style, shift) in side_by_side(styles, 0.18).items():
            mine = [row for row in inside if row.forecaster == name]
            at = [parts.index(row.part) + shift for row in mine]
            change, sides = _whiskers(mine)
            panel.errorbar(at, change, yerr=sides, label=short(name), **marks(style))
        panel.axhline(0, color=GREY, linewidth=1)
        panel.set_xticks(range(len(parts)), [part.removesuffix(":00") for part in parts])
    legend(figure, axes)
    return figure


@styled
def over_time(course: Course, *, synthetic: bool = False) -> Figure:
    """Draw mean CRPS per period of start times, in percent of the baseline's mean over all."""
    note = (
        f"Means over {format_duration(course.period)} of start times; 100: the mean of {short(course.baseline)} on "
        f"the same asset. All assets together, {course.prompts:,} prompts. Lower is better: compare the lines, not the "
        "days."
    )
    return _course(course, Sheet("CRPS over time", note, y="CRPS, % of the mean", synthetic=synthetic), 100, {})


@styled
def cumulative(course: Course, *, synthetic: bool = False) -> Figure:
    """Draw the running sum of differences from the baseline."""
    note = (
        "Falling is better: -1 means that the CRPS of one average prompt has been saved. A steady slope is skill, a "
        f"single step is luck. Mean over the assets at each time; {course.prompts:,} prompts."
    )
    title = f"Cumulative difference from {short(course.baseline)}"
    return _course(course, Sheet(title, note, y="prompts' worth of CRPS", synthetic=synthetic), 0, {"marker": ""})


def _course(course: Course, sheet: Sheet, level: float, more: dict[str, Any]) -> Figure:
    styles = looks(name for _, series in course.competitions.values() for name in series)
    wide = replace(sheet, x="start time (UTC)", columns=1, width=7.6, height=2.2)
    figure, axes = panels(list(course.competitions), wide)
    for panel, (at, series) in zip(axes, course.competitions.values(), strict=True):
        for name, values in series.items():
            panel.plot(times(at), values, label=short(name), **styles[name] | more)
        panel.axhline(level, color=GREY, linewidth=1)
        date_axis(panel)
    legend(figure, axes)
    return figure


def _by_competition(rows: Iterable[Difference]) -> dict[str, list[Difference]]:
    groups: dict[str, list[Difference]] = {}
    for row in rows:
        groups.setdefault(row.competition, []).append(row)
    return groups


def _whiskers(rows: Sequence[Difference]) -> tuple[list[float], np.ndarray]:
    """Return changes and the lengths of both sides of their intervals, percent; 0 without an interval."""
    low = [0.0 if row.low is None else row.change - row.low for row in rows]
    high = [0.0 if row.high is None else row.high - row.change for row in rows]
    return [100 * row.change for row in rows], 100 * np.array([low, high]).clip(0)


def _prompts(rows: Sequence[Difference], what: str = "prompts") -> str:
    return counted([row.prompts for row in rows if row.asset != ALL] or [row.prompts for row in rows], what)
