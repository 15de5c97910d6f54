"""Figures of differences from a baseline: by asset, scoring interval, time of day, and over time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ewmalab.analysis.compare import ALL, Difference
from ewmalab.analysis.relative import Course
from ewmalab.analysis.verdict import BY, Origin
from ewmalab.report.figures.chart import Axis, Chart, Columns, Mark, Panel, Rule, Series, counted, looks, side_by_side
from ewmalab.report.figures.chart import values as array
from ewmalab.report.text.tables import short
from ewmalab.units import format_duration

_INTERVAL = "Bars: 95 % intervals, if there are enough independent prompts."
_PROVEN = (
    "Filled: proven, also after the correction for the number of forecasters (p (Holm) < 0.05); hollow: not proven."
)
_CHANGE = "change of CRPS, %"


def change_by_asset(rows: Sequence[Difference], baseline: str, *, synthetic: bool = False) -> Chart:
    """Draw each forecaster's change of mean CRPS against the baseline, per asset."""
    groups = _by_competition(rows)
    styles = looks(row.forecaster for row in rows)
    most = max(len({row.asset for row in inside}) for inside in groups.values())
    chart = Chart(
        f"Mean CRPS against {short(baseline)}",
        f"Left of zero is better. {_prompts(rows)} {_INTERVAL} {_PROVEN} "
        "all: the mean over assets of relative changes.",
        columns=2,
        width=4.2,
        height=1.1 + 0.17 * most * max(2, len(styles)),
        synthetic=synthetic,
    )
    panels = []
    for competition, inside in groups.items():
        assets = list(dict.fromkeys(row.asset for row in inside))
        marks: list[Mark] = [Rule(0, upright=True)]
        for name, (look, shift) in side_by_side(styles, 0.7 / max(2, len(styles))).items():
            mine = [row for row in inside if row.forecaster == name]
            at = array(assets.index(row.asset) + shift for row in mine)
            marks.append(_whiskers(name, mine, at, look, across=True))
        axis = Axis.parts("asset", assets, downwards=True)
        panels.append(Panel(competition, Axis("change of mean CRPS, %"), axis, marks))
    return chart.of(panels)


def change_by_interval(rows: Sequence[Difference], baseline: str, *, synthetic: bool = False) -> Chart:
    """Draw the change of mean CRPS per scoring interval: a mark per asset, a panel per competition and forecaster."""
    styles = looks(row.asset for row in rows)
    chart = Chart(
        f"By scoring interval, against {short(baseline)}",
        "Below zero is better. The total adds up all intervals, so long ones, whose CRPS is larger, count most. "
        f"{counted(row.prompts for row in rows)} {_INTERVAL} {_PROVEN}",
        columns=1,
        width=7.6,
        height=2.6,
        synthetic=synthetic,
    )
    panels = []
    for competition, name in dict.fromkeys((row.competition, row.forecaster) for row in rows):
        inside = [row for row in rows if (row.competition, row.forecaster) == (competition, name)]
        parts = list(dict.fromkeys(row.part for row in inside))
        marks: list[Mark] = [Rule(0)]
        for asset, (look, shift) in side_by_side(styles, 0.8 / max(4, len(styles))).items():
            mine = [row for row in inside if row.asset == asset]
            marks.append(_whiskers(asset, mine, array(parts.index(row.part) + shift for row in mine), look))
        axis = Axis.parts("scoring interval", parts)
        panels.append(Panel(f"{competition}, {short(name)}", axis, Axis(_CHANGE), marks, (name,)))
    return chart.of(panels)


def change_by_part(rows: Sequence[Difference], baseline: str, what: str, *, synthetic: bool = False) -> Chart:
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
    chart = Chart(
        f"By {what} of the start time (UTC), against {short(baseline)}",
        "Below zero is better; relative to each asset's mean, all assets together. "
        f"{_prompts(rows, 'start times')} {_INTERVAL} {_PROVEN}",
        columns=1,
        width=7.6,
        height=2.3,
        synthetic=synthetic,
    )
    panels = []
    for competition, inside in groups.items():
        parts = list(dict.fromkeys(row.part for row in inside))
        marks: list[Mark] = [Rule(0)]
        for name, (look, shift) in side_by_side(styles, 0.18).items():
            mine = [row for row in inside if row.forecaster == name]
            marks.append(_whiskers(name, mine, array(parts.index(row.part) + shift for row in mine), look))
        axis = Axis.parts(f"{what} (UTC)", [part.removesuffix(":00") for part in parts])
        panels.append(Panel(competition, axis, Axis(_CHANGE), marks))
    return chart.of(panels)


def origin(origins: Sequence[Origin], *, synthetic: bool = False) -> Chart:
    """Draw how much of each difference comes from which asset, day and scoring interval."""
    named = [(one, f"{short(one.own)} against {short(one.other)}") for one in origins]
    styles = looks(name for _, name in named)
    chart = Chart(
        "Where the differences come from",
        "The bars of a panel add up to the whole difference of mean CRPS. Below zero: the first named gains there. "
        f"One bar that is most of the sum: the result hangs on it. {counted(one.prompts for one in origins)}",
        columns=3,
        width=3.4,
        height=2.5,
        synthetic=synthetic,
    )
    panels = []
    for competition in dict.fromkeys(one.competition for one in origins):
        for by, (label, _) in BY.items():
            inside = [(one, name) for one, name in named if one.competition == competition]
            parts = list(dict.fromkeys(part.name for one, _ in inside for part in one.parts if part.by == by))
            wide = 0.8 / max(1, len(inside))
            marks: list[Mark] = [Rule(0)]
            for one, name in inside:
                shift = (list(styles).index(name) - (len(styles) - 1) / 2) * wide
                found = [part for part in one.parts if part.by == by]
                at = array(parts.index(part.name) + shift for part in found)
                marks.append(Columns(name, at, array(100 * part.change for part in found), wide, styles[name]))
            names = [name[5:] if by == "day" else name for name in parts]
            panels.append(Panel(f"{competition}, by {label}", Axis.parts(label, names), Axis("points of %"), marks))
    return chart.of(panels)


def over_time(course: Course, *, synthetic: bool = False) -> Chart:
    """Draw mean CRPS per period of start times, in percent of the baseline's mean over all."""
    note = (
        f"Means over {format_duration(course.period)} of start times; 100: the mean of {short(course.baseline)} on "
        f"the same asset. All assets together, {course.prompts:,} prompts. Lower is better: compare the lines, not the "
        "days."
    )
    return _course(course, Chart("CRPS over time", note, synthetic=synthetic), "CRPS, % of the mean", 100)


def cumulative(course: Course, *, synthetic: bool = False) -> Chart:
    """Draw the running sum of differences from the baseline."""
    note = (
        "Falling is better: -1 means that the CRPS of one average prompt has been saved. A steady slope is skill, a "
        f"single step is luck. Mean over the assets at each time; {course.prompts:,} prompts."
    )
    chart = Chart(f"Cumulative difference from {short(course.baseline)}", note, synthetic=synthetic)
    return _course(course, chart, "prompts' worth of CRPS", 0, marker=False)


def _course(course: Course, chart: Chart, label: str, level: float, **more: Any) -> Chart:
    styles = looks(name for _, series in course.competitions.values() for name in series)
    panels = []
    for competition, (at, series) in course.competitions.items():
        marks: list[Mark] = [Rule(level)]
        marks += [Series(name, at.astype(np.float64), found, styles[name], **more) for name, found in series.items()]
        panels.append(Panel(competition, Axis("start time (UTC)", "time"), Axis(label), marks))
    return replace(chart, columns=1, width=7.6, height=2.2).of(panels)


def _by_competition(rows: Iterable[Difference]) -> dict[str, list[Difference]]:
    groups: dict[str, list[Difference]] = {}
    for row in rows:
        groups.setdefault(row.competition, []).append(row)
    return groups


def _whiskers(name: str, rows: Sequence[Difference], at: Any, look: int, *, across: bool = False) -> Series:
    """Return changes with their intervals, percent."""
    change, low, high = (100 * array(getattr(row, what) for row in rows) for what in ("change", "low", "high"))
    hollow = np.array([not row.proven for row in rows], bool)
    x, y = (change, at) if across else (at, change)
    return Series(name, x, y, look, line=False, low=low, high=high, across=across, hollow=hollow)


def _prompts(rows: Sequence[Difference], what: str = "prompts") -> str:
    return counted([row.prompts for row in rows if row.asset != ALL] or [row.prompts for row in rows], what)
