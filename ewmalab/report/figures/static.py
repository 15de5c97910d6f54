"""Draw a figure with matplotlib, as PNG or SVG."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Sequence
from functools import singledispatch
from io import BytesIO
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from ewmalab.report.figures.chart import Axis, Band, Chart, Columns, Look, Mark, Panel, Rule, Series, Stretch, Tiles
from ewmalab.report.figures.style import COLOURS, MEANINGS, SCALE, turned

_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1)), (0, (5, 1, 1, 1)), (0, (8, 2)), (0, (3, 1)), (0, (1, 2)))
_SYMBOLS = {"star": "*", "square": "s"}
_MIN_DATE_SPAN = 2 / 1440  # two minutes, in matplotlib's days

_STYLE: Any = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same everywhere
    "font.size": 9.0,
    "axes.titlesize": 9.0,
    "axes.titley": 1.0,  # no search for ticks above the panel, which takes a fifth of the time
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E3E3E3",
    "grid.linewidth": 0.7,
    "figure.facecolor": "white",
    "figure.titlesize": 11.5,
    "figure.titleweight": "bold",
    "legend.frameon": False,
    "lines.markersize": 4.5,
    "svg.fonttype": "none",
    "svg.hashsalt": "ewmalab",  # equal figures give equal bytes
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
}


class Drawing(Figure):
    """A figure that notebooks display, without the global state of pyplot."""

    def _repr_png_(self) -> bytes:
        return png(self, 90)


def drawn(chart: Chart) -> Figure:
    """Return the drawing of a figure."""
    shown = chart.panels[: chart.one_at_a_time or None]
    with matplotlib.rc_context(_STYLE):
        figure, axes = _panels(chart, shown)
        for place, panel in zip(axes, shown, strict=True):
            _fill(place, panel)
        _legend(figure, axes)
    return figure


def _panels(chart: Chart, shown: Sequence[Panel]) -> tuple[Figure, list[Axes]]:
    """Return an empty figure with its titles, and axes for each panel."""
    columns = max(1, min(chart.columns, len(shown)))
    rows = max(1, -(-len(shown) // columns))
    wide = max(6.4, chart.width * columns + 0.4)
    lines = textwrap.wrap(chart.note, int(wide * 16.5))
    figure = Drawing(figsize=(wide, chart.height * rows + 0.75 + 0.16 * len(lines)), layout="constrained")
    figure.suptitle(chart.title, x=0.01, ha="left")
    figure.supxlabel("\n".join(lines), x=0.01, ha="left", fontsize=8, color="#444444")
    axes = list(figure.subplots(rows, columns, squeeze=False, sharey=chart.sharey).ravel())
    for spare in axes[len(shown) :]:
        spare.set_visible(False)
    if chart.synthetic:
        mark: Any = {"ha": "center", "va": "center", "color": COLOURS[1], "alpha": 0.16, "fontweight": "bold"}
        figure.text(0.5, 0.5, "SYNTHETIC DATA", rotation=25, fontsize=min(44.0, 4.6 * wide), zorder=10, **mark)
    return figure, axes[: len(shown)]


def _fill(place: Axes, panel: Panel) -> None:
    place.set_title(panel.title, loc="left")
    place.set_xlabel(panel.x.label)
    place.set_ylabel(panel.y.label)
    times = panel.x.kind == "time"
    for mark in panel.marks:
        _draw(mark, place, times)
    for axis, ends, which in ((panel.x, place.set_xlim, place.xaxis), (panel.y, place.set_ylim, place.yaxis)):
        if axis.kind == "log":
            (place.set_xscale if axis is panel.x else place.set_yscale)("log")
        if axis.ticks:
            which.set_minor_locator(NullLocator())
            turn: Any = (
                {"rotation": 60, "rotation_mode": "anchor", "ha": "right"}
                if axis is panel.x and _crowded(axis, place)
                else {}
            )
            which.set_ticks([at for at, _ in axis.ticks], [text for _, text in axis.ticks], **turn)
        if axis.limits:
            ends(*axis.limits)
    if times:
        date_axis(place)


def _crowded(axis: Axis, place: Axes) -> bool:
    """Return whether the texts of ticks would overlap."""
    wide = place.figure.get_size_inches()[0] / max(1, place.get_subplotspec().get_gridspec().ncols)  # type: ignore[union-attr]
    return bool(sum(0.075 * len(text) + 0.08 for _, text in axis.ticks) > 0.75 * wide)


@singledispatch
def _draw(mark: Mark, place: Axes, times: bool) -> None:
    raise TypeError(type(mark))


@_draw.register
def _series(mark: Series, place: Axes, times: bool) -> None:
    own = mark.look if isinstance(mark.look, int) else None
    colour = _colour(mark.look)
    style: dict[str, Any] = {"color": colour, "linewidth": mark.width, "linestyle": "none", "label": mark.name or "_"}
    if mark.line:
        style["linestyle"] = "-" if own is None else _DASHES[turned(own)]
    symbol = _SYMBOLS.get(mark.symbol) or _MARKERS[0 if own is None else turned(own)]
    at = seconds(mark.x) if times else mark.x
    if mark.low is not None and mark.high is not None:
        middle = mark.x if mark.across else mark.y
        sides = np.nan_to_num(np.stack([middle - mark.low, mark.high - middle]).clip(0))
        bars = {"xerr" if mark.across else "yerr": sides}
        place.errorbar(at, mark.y, ecolor=colour, elinewidth=1.2, capsize=2, fmt="none", **bars)
    ring = np.zeros(len(mark.y), bool) if mark.hollow is None else mark.hollow
    size: Any = {"markersize": 11} if mark.symbol in ("star", "square") else {}
    if mark.line or not mark.marker:
        place.plot(at, mark.y, **style | {"marker": "" if mark.hollow is not None or not mark.marker else symbol})
        style |= {"linestyle": "none", "label": "_"}
    if mark.marker and (mark.hollow is not None or not mark.line):
        for rings, face in ((False, "none" if mark.symbol == "square" else colour), (True, "white")):
            if (ring == rings).any():
                place.plot(at[ring == rings], mark.y[ring == rings], **style, marker=symbol, mfc=face, **size)
                style["label"] = "_"


@_draw.register
def _band(mark: Band, place: Axes, times: bool) -> None:
    at = seconds(mark.x) if times else mark.x
    look: Any = {"color": _colour(mark.look), "alpha": mark.opacity, "linewidth": 0, "label": mark.name or "_"}
    place.fill_between(at, mark.low, mark.high, **look)


@_draw.register
def _columns(mark: Columns, place: Axes, times: bool) -> None:
    draw = place.barh if mark.across else place.bar
    draw(mark.x, mark.y, mark.width, color=_colour(mark.look), label=mark.name or "_")


@_draw.register
def _rule(mark: Rule, place: Axes, times: bool) -> None:
    look: Any = {"color": MEANINGS["grey"], "linewidth": 1, "linestyle": "--" if mark.words else "-"}
    (place.axvline if mark.upright else place.axhline)(mark.at, **look)
    if mark.words:
        where = (mark.at, 0.94) if mark.upright else (0.02, mark.at)
        frame = place.get_xaxis_transform() if mark.upright else place.get_yaxis_transform()
        place.annotate(f" {mark.words}", where, xycoords=frame, fontsize=8)


@_draw.register
def _stretch(mark: Stretch, place: Axes, times: bool) -> None:
    ends = seconds([mark.low, mark.high]) if times and mark.upright else (mark.low, mark.high)
    look: Any = {"color": _colour(mark.look), "alpha": 0.4, "linewidth": 0.5 if mark.upright else 0}
    (place.axvspan if mark.upright else place.axhspan)(*ends, **look)


@_draw.register
def _tiles(mark: Tiles, place: Axes, times: bool) -> None:
    colours = LinearSegmentedColormap.from_list("ewmalab", SCALE)
    image = place.imshow(mark.shade, origin="lower", aspect="auto", cmap=colours)
    bar = place.figure.colorbar(image, ax=place, label=mark.label)
    bar.set_ticks([at for at, _ in mark.scale], labels=[text for _, text in mark.scale])
    middle = float(np.nanmax(mark.shade)) / 2
    for (y, x), number in np.ndenumerate(mark.value):
        if np.isfinite(number):
            ink = "white" if mark.shade[y, x] < middle else "black"
            place.text(x, y, f"{number:+.3g}", ha="center", va="center", fontsize=7, color=ink)
    place.grid(visible=False)
    place.set_facecolor("#DDDDDD")


def _colour(look: Look) -> str:
    return COLOURS[look % len(COLOURS)] if isinstance(look, int) else MEANINGS[look]


def _legend(figure: Figure, axes: Sequence[Axes]) -> None:
    """Put one legend for all panels below the title."""
    known: dict[str, Any] = {}
    for one in axes:
        for handle, label in zip(*one.get_legend_handles_labels(), strict=True):
            known.setdefault(label, handle)
    if not known:
        return
    wide, tall = figure.get_size_inches()
    columns = max(1, int((wide - 0.2) / (0.65 + 0.075 * max(map(len, known)))))
    rows = -(-len(known) // columns)
    title = figure.get_suptitle()
    figure.set_size_inches(wide, tall + 0.19 * rows)
    figure.suptitle(title + "\n" * rows, x=0.01, ha="left")  # room below it
    place = (0.0, 1 - 0.23 / (tall + 0.19 * rows))
    look: Any = {"loc": "upper left", "bbox_to_anchor": place, "ncols": columns, "fontsize": 8, "borderaxespad": 0.2}
    figure.legend(known.values(), known.keys(), **look)


def seconds(at: Iterable[float]) -> np.ndarray:
    """Return seconds since 1970 in the type that matplotlib draws as dates (UTC)."""
    return np.asarray(list(at), "float64").astype("datetime64[s]")


def date_axis(axes: Axes) -> None:
    """Label a time axis briefly; call it after everything is drawn."""
    low, high = (float(edge) for edge in axes.dataLim.intervalx)
    if high - low < _MIN_DATE_SPAN:  # matplotlib would show four years around a single moment
        middle = (low + high) / 2 if math.isfinite(low + high) else 0.0
        axes.set_xlim(middle - _MIN_DATE_SPAN / 2, middle + _MIN_DATE_SPAN / 2)
    # With 3 to 7 ticks every span has a suitable interval; the default of 5 ticks has none from 2.5 to 5 years.
    locator = AutoDateLocator(minticks=3, maxticks=7)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))


def svg(figure: Figure) -> bytes:
    """Return a figure as SVG; equal figures give equal bytes."""
    data = _saved(figure, format="svg", metadata={"Date": None})
    return data.replace(b"'DejaVu Sans'", b"'DejaVu Sans', Verdana, sans-serif")  # Verdana's letters are as wide


def png(figure: Figure, dpi: int = 130) -> bytes:
    """Return a figure as PNG."""
    return _saved(figure, format="png", dpi=dpi, metadata={"Software": None})


def _saved(figure: Figure, **options: Any) -> bytes:
    data = BytesIO()
    with matplotlib.rc_context(_STYLE):
        layout = figure.get_layout_engine()
        if layout is not None:  # lay out once; with a layout, even "none", matplotlib draws each format twice
            layout.execute(figure)
            figure.set_layout_engine(None)
        figure.savefig(data, **options)
    return data.getvalue()
