"""Describe a figure for plotly, as plain data that a page draws when it comes into view.

Colours are names such as ``@0`` or ``@grey``, which the page replaces by those of its light or dark scheme.
"""

from __future__ import annotations

from functools import singledispatch
from typing import Any

import numpy as np
import numpy.typing as npt

from ewmalab.report.figures.chart import Axis, Band, Chart, Columns, Look, Mark, Panel, Rule, Series, Stretch, Tiles
from ewmalab.report.figures.style import DASHES, MARKERS, SCALE, turned

Node = dict[str, Any]
"""A part of a plotly figure: a trace, a layout, an axis."""

_MIN_SPAN = 120.0  # seconds that an axis of times shows at least
_LOG_TICKS = [(at, f"{at:g}") for power in range(-6, 7) for at in (10.0**power, 2 * 10.0**power, 5 * 10.0**power)]
_DIGITS = 6  # significant, of every number of a page


def described(chart: Chart) -> Node:
    """Return a figure as plain data: for each panel traces and layout of plotly."""
    together = _together(chart) if chart.sharey else {}
    return {"panels": [_panel(panel, chart.synthetic, together) for panel in chart.panels]}


def legend_of(chart: Chart) -> list[Node]:
    """Return names and looks of a figure's marks."""
    return [{"name": name, **_look(mark)} for name, mark in chart.legend().items()]


def _panel(panel: Panel, synthetic: bool, together: Node) -> Node:
    traces: list[Node] = []
    layout: Node = {"xaxis": _axis(panel.x), "yaxis": _axis(panel.y) | together, "shapes": []}
    for mark in panel.marks:
        _add(mark, panel, traces, layout)
    if panel.x.kind == "time":
        layout["xaxis"] |= _moment(panel)
    if _unified(panel):
        layout["hovermode"] = "x unified"
    if synthetic:
        words = {"text": "SYNTHETIC DATA", "xref": "paper", "yref": "paper", "x": 0.5, "y": 0.5, "showarrow": False}
        look = {"opacity": 0.25, "textangle": -20, "font": {"size": 22, "color": "@alarm"}}
        layout.setdefault("annotations", []).append(words | look)
    return {"title": panel.title, "key": panel.key, "about": panel.about, "traces": traces, "layout": layout}


@singledispatch
def _add(mark: Mark, panel: Panel, traces: list[Node], layout: Node) -> None:
    raise TypeError(type(mark))


@_add.register
def _series(mark: Series, panel: Panel, traces: list[Node], layout: Node) -> None:
    place, colour = turned(mark.look) if isinstance(mark.look, int) else 0, _colour(mark.look)
    modes = ["lines"] * mark.line + ["markers"] * mark.marker
    trace: Node = {
        "type": "scatter",
        "name": mark.name,
        "mode": "+".join(modes),
        "x": _at(panel.x, mark.x),
        "y": _at(panel.y, mark.y),
        "hovertemplate": _words(panel, mark),
    }
    if mark.line:
        trace["line"] = {"color": colour, "width": mark.width + 0.3, "dash": DASHES[place]}
    if mark.marker:
        symbols = np.where(mark.hollow, f"{MARKERS[place]}-open", MARKERS[place]) if mark.hollow is not None else None
        symbol = {"star": "star", "square": "square-open"}.get(mark.symbol, MARKERS[place])
        size = 13 if mark.symbol in ("star", "square") else 7
        shown = {"symbol": symbol if symbols is None else symbols.tolist(), "color": colour, "size": size}
        edge = "#FFFFFF" if any(isinstance(other, Tiles) for other in panel.marks) else colour  # tiles may be dark
        trace["marker"] = shown | {"line": {"width": 1.5, "color": edge}}
    if mark.low is not None and mark.high is not None:
        middle = mark.x if mark.across else mark.y
        sides = {"array": _plain(mark.high - middle), "arrayminus": _plain(middle - mark.low), "symmetric": False}
        look = {"type": "data", "color": colour, "thickness": 1.3, "width": 3}
        trace["error_x" if mark.across else "error_y"] = sides | look
        trace["customdata"] = [list(pair) for pair in zip(_plain(mark.low), _plain(mark.high), strict=True)]
    if any(mark.opens):
        trace["meta"] = {"opens": list(mark.opens)}
    if panel.x.ticks or panel.y.ticks:
        trace["text"] = _texts(panel, mark)
    traces.append(trace)


@_add.register
def _band(mark: Band, panel: Panel, traces: list[Node], layout: Node) -> None:
    known = np.isfinite(mark.low + mark.high)
    there = _at(panel.x, mark.x[known])
    ends = _at(panel.y, mark.high[known]) + _at(panel.y, mark.low[known])[::-1]
    area = {"type": "scatter", "name": mark.name, "mode": "lines", "x": there + there[::-1], "y": ends}
    look = {"fill": "toself", "fillcolor": _colour(mark.look), "line": {"width": 0}, "opacity": mark.opacity}
    traces.append(area | look | {"hoverinfo": "skip", "meta": {"band": True}})


@_add.register
def _columns(mark: Columns, panel: Panel, traces: list[Node], layout: Node) -> None:
    along, up = (mark.y, mark.x) if mark.across else (mark.x, mark.y)
    trace = {"type": "bar", "name": mark.name, "x": _at(panel.x, along), "y": _at(panel.y, up), "width": mark.width}
    trace |= {"orientation": "h" if mark.across else "v", "marker": {"color": _colour(mark.look)}}
    parts = dict((panel.y if mark.across else panel.x).ticks)
    trace["text"] = [parts.get(round(at), f"{at:.4g}") for at in mark.x.tolist()]
    value, unit = ("x", panel.x.label) if mark.across else ("y", panel.y.label)
    words = f"<b>{mark.name}</b> %{{text}}<br>{unit}: %{{{value}:.4g}}<extra></extra>"
    traces.append(trace | {"textposition": "none", "hovertemplate": words})


@_add.register
def _rule(mark: Rule, panel: Panel, traces: list[Node], layout: Node) -> None:
    along, across = ("y", "x") if mark.upright else ("x", "y")
    axis = panel.x if mark.upright else panel.y
    (at,) = _at(axis, np.array([mark.at]))
    line = {"type": "line", f"{along}ref": f"{along} domain", f"{along}0": 0, f"{along}1": 1}
    look = {"color": "@grey", "width": 1, "dash": "dash" if mark.words else "solid"}
    layout["shapes"].append(line | {f"{across}0": at, f"{across}1": at, "line": look, "layer": "below"})
    if mark.words:
        shown = float(np.log10(mark.at)) if axis.kind == "log" else at
        where = {across: shown, f"{along}ref": "paper", along: 1.0 if mark.upright else 0.0}
        words = {
            "text": mark.words,
            "showarrow": False,
            "xanchor": "left",
            "yanchor": "top" if mark.upright else "bottom",
            "font": {"size": 10},
        }
        layout.setdefault("annotations", []).append(where | words)


@_add.register
def _stretch(mark: Stretch, panel: Panel, traces: list[Node], layout: Node) -> None:
    along, across = ("y", "x") if mark.upright else ("x", "y")
    low, high = _at(panel.x if mark.upright else panel.y, np.array([mark.low, mark.high]))
    area = {"type": "rect", f"{along}ref": f"{along} domain", f"{along}0": 0, f"{along}1": 1}
    look = {"fillcolor": _colour(mark.look), "opacity": 0.4, "line": {"width": 0}, "layer": "below"}
    layout["shapes"].append(area | {f"{across}0": low, f"{across}1": high} | look)


@_add.register
def _tiles(mark: Tiles, panel: Panel, traces: list[Node], layout: Node) -> None:
    right, up = ([text for _, text in axis.ticks] for axis in (panel.x, panel.y))
    words = f"{panel.x.label} %{{customdata[0]}}<br>{panel.y.label} %{{customdata[1]}}<br>{mark.label}: %{{text}}"
    scale = [[place / (len(SCALE) - 1), colour] for place, colour in enumerate(SCALE)]
    bar = {"title": {"text": mark.label, "side": "right"}, "thickness": 12}
    bar |= {"tickvals": [at for at, _ in mark.scale], "ticktext": [text for _, text in mark.scale]}
    traces.append(
        {
            "type": "heatmap",
            "name": mark.label,
            "z": [_plain(row) for row in mark.shade],
            "text": [["" if v != v else f"{v:+.3g}" for v in row] for row in mark.value.tolist()],
            "texttemplate": "%{text}",
            "customdata": [[[x, y] for x in right] for y in up],
            "colorscale": scale,
            "colorbar": bar,
            "hovertemplate": f"{words}<extra></extra>",
        }
    )


def _look(mark: Mark) -> Node:
    """Return how a mark looks in the legend."""
    look = mark.look if isinstance(mark, Series | Band | Columns) else "grey"
    own = turned(look) if isinstance(look, int) else 0
    drawn: Node = {"color": _colour(look), "line": isinstance(mark, Series) and mark.line, "dash": own}
    if isinstance(mark, Series):
        return drawn | {"marker": mark.symbol or MARKERS[own] if mark.marker else ""}
    return drawn | {"area": mark.opacity if isinstance(mark, Band) else 1.0}


def _together(chart: Chart) -> Node:
    """Return the vertical range that all panels share."""
    found = [
        values
        for panel in chart.panels
        for mark in panel.marks
        if isinstance(mark, Series | Columns)
        for values in (mark.y, getattr(mark, "low", None), getattr(mark, "high", None))
        if values is not None and len(values) and np.isfinite(values).any()
    ]
    if not found:
        return {}
    low, high = min(0.0, *(float(np.nanmin(v)) for v in found)), max(0.0, *(float(np.nanmax(v)) for v in found))
    return {"range": [low - 0.05 * (high - low) * (low < 0), high + 0.05 * (high - low)]}


def _moment(panel: Panel) -> Node:
    """Return a range of two minutes around a single moment, for which plotly would choose none that people can read."""
    found = [mark.x[np.isfinite(mark.x)] for mark in panel.marks if isinstance(mark, Series)]
    at = np.concatenate([*found, np.zeros(0)])
    if not len(at) or np.ptp(at) >= _MIN_SPAN:
        return {}
    middle = float(at.min() + at.max()) / 2
    return {"range": _at(panel.x, np.array([middle - _MIN_SPAN / 2, middle + _MIN_SPAN / 2]))}


def _axis(axis: Axis) -> Node:
    described: Node = {"title": {"text": axis.label}, "type": {"time": "date", "log": "log"}.get(axis.kind, "-")}
    if axis.kind == "number":
        described["type"] = "linear"
    ticks = axis.ticks or (_LOG_TICKS if axis.kind == "log" else ())
    if ticks:
        described |= {"tickvals": [at for at, _ in ticks], "ticktext": [text for _, text in ticks]}
        described |= {"zeroline": False, "autotickangles": [0, -40, -90]}  # names that end below their ticks
    if axis.limits:
        described["range"] = np.log10(axis.limits).tolist() if axis.kind == "log" else _at(axis, np.array(axis.limits))
    return described


def _unified(panel: Panel) -> bool:
    """Return whether pointing at a panel tells the values of all lines at that time."""
    lines = [mark for mark in panel.marks if isinstance(mark, Series) and mark.line]
    return panel.x.kind == "time" and any(len(mark.x) > 60 for mark in lines)


def _words(panel: Panel, mark: Series) -> str:
    """Return the template of what a point tells when it is pointed at."""
    if _unified(panel):
        return f"<b>{mark.name}</b> %{{y:.5g}}<extra></extra>"
    if panel.x.kind == "time":
        where = "%{x|%d %b %Y %H:%M} UTC"
    else:
        where = "%{text}" if panel.x.ticks or panel.y.ticks else f"{panel.x.label}: %{{x:.4g}}"
    value, unit = ("x", panel.x.label) if mark.across else ("y", panel.y.label)
    ends = " [%{customdata[0]:.4g}, %{customdata[1]:.4g}]" if mark.low is not None else ""
    return f"<b>{mark.name}</b> {where}<br>{unit}: %{{{value}:.5g}}{ends}<extra></extra>"


def _texts(panel: Panel, mark: Series) -> list[str]:
    """Return the name of each point's part."""
    axis, at = (panel.x, mark.x) if panel.x.ticks else (panel.y, mark.y)
    named = dict(axis.ticks)
    return [
        named.get(place if axis.kind == "log" else round(place), "") if place == place else "" for place in at.tolist()
    ]


def _at(axis: Axis, numbers: npt.NDArray[np.float64]) -> list[float | None]:
    """Return positions on an axis; plotly's dates are milliseconds."""
    if axis.kind != "time":
        return _plain(numbers)
    return [round(1000 * value) if value == value else None for value in np.asarray(numbers, np.float64).tolist()]


def _plain(numbers: npt.NDArray[np.float64]) -> list[float | None]:
    return [float(f"{v:.{_DIGITS}g}") if v - v == 0 else None for v in np.asarray(numbers, np.float64).tolist()]


def _colour(look: Look) -> str:
    return f"@{look % 7}" if isinstance(look, int) else f"@{look}"
