"""The style of figures: readable in print and by colour-blind people, with synthetic data always marked."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from io import BytesIO
from typing import Any, ParamSpec

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure

from ewmalab.units import format_duration

# Okabe and Ito's colours, distinct with any kind of colour vision; markers and dashes are distinct in grey.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1)), (0, (5, 1, 1, 1)), (0, (8, 2)), (0, (3, 1)), (0, (1, 2)))
BAND, GREY = "#BBBBBB", "#777777"
_MIN_DATE_SPAN = 2 / 1440  # two minutes, in matplotlib's days

_STYLE: Any = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same everywhere
    "font.size": 9.0,
    "axes.titlesize": 9.5,
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
    "lines.linewidth": 1.5,
    "lines.markersize": 4.5,
    "svg.fonttype": "none",
    "svg.hashsalt": "ewmalab",  # equal figures give equal bytes
}

P = ParamSpec("P")


class Drawing(Figure):
    """A figure that notebooks display, without the global state of pyplot."""

    def _repr_png_(self) -> bytes:
        return png(self, 90)


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Make a function draw in this style."""

    @wraps(draw)
    def drawn(*args: P.args, **options: P.kwargs) -> Figure:
        with matplotlib.rc_context(_STYLE):
            return draw(*args, **options)

    return drawn


@dataclass(frozen=True, slots=True)
class Sheet:
    """Properties that the panels of a figure share.

    Attributes
    ----------
    title, note : str
        What the figure shows; how to read it, and on how many prompts it is based. Both are drawn.
    x, y : str
        Labels of the axes, with their units.
    columns : int
        Most panels side by side.
    width, height : float
        Size of a panel, inches.
    sharey : bool
        Whether all panels share a vertical scale.
    synthetic : bool
        Whether prices are simulated, which a watermark says.
    """

    title: str
    note: str
    x: str = ""
    y: str = ""
    columns: int = 3
    width: float = 3.2
    height: float = 2.6
    sharey: bool = False
    synthetic: bool = False


def panels(names: Sequence[str], sheet: Sheet) -> tuple[Figure, list[Axes]]:
    """Return a figure with a panel per name, with titles and labels."""
    columns = max(1, min(sheet.columns, len(names)))
    rows = -(-len(names) // columns)
    wide = max(6.4, sheet.width * columns + 0.4)
    lines = textwrap.wrap(sheet.note, int(wide * 16.5))
    figure = Drawing(figsize=(wide, sheet.height * rows + 0.75 + 0.16 * len(lines)), layout="constrained")
    figure.suptitle(sheet.title, x=0.01, ha="left")
    figure.supxlabel("\n".join(lines), x=0.01, ha="left", fontsize=8, color="#444444")
    figure.set_label(sheet.note)
    axes = list(figure.subplots(rows, columns, squeeze=False, sharey=sheet.sharey).ravel())
    for spare in axes[len(names) :]:
        spare.set_visible(False)
    for panel, name in zip(axes, names, strict=False):
        panel.set_title(name, loc="left")
        panel.set_xlabel(sheet.x)
        panel.set_ylabel(sheet.y)
    if sheet.synthetic:
        size = min(44.0, 4.6 * wide)
        mark: Any = {"ha": "center", "va": "center", "color": COLOURS[1], "alpha": 0.16, "fontweight": "bold"}
        figure.text(0.5, 0.5, "SYNTHETIC DATA", rotation=25, fontsize=size, zorder=10, **mark)
    return figure, axes[: len(names)]


def legend(figure: Figure, axes: Sequence[Axes]) -> None:
    """Put one legend for all panels below the title."""
    known: dict[str, Any] = {}
    for one in axes:
        for handle, label in zip(*one.get_legend_handles_labels(), strict=True):
            known.setdefault(label, handle)
    wide, tall = figure.get_size_inches()
    columns = max(1, int((wide - 0.2) / (0.65 + 0.075 * max(map(len, known)))))
    rows = -(-len(known) // columns)
    title = figure.get_suptitle()
    figure.set_size_inches(wide, tall + 0.19 * rows)
    figure.suptitle(title + "\n" * rows, x=0.01, ha="left")  # room below it
    place = (0.0, 1 - 0.23 / (tall + 0.19 * rows))
    look: Any = {"loc": "upper left", "bbox_to_anchor": place, "ncols": columns, "fontsize": 8, "borderaxespad": 0.2}
    figure.legend(known.values(), known.keys(), **look)


def look(index: int) -> dict[str, Any]:
    """Return colour, marker and dash of the n-th series; from the eighth on, colours recur with other marks."""
    turned = index + index // len(COLOURS)
    return {
        "color": COLOURS[index % len(COLOURS)],
        "marker": MARKERS[turned % len(MARKERS)],
        "linestyle": DASHES[turned % len(DASHES)],
    }


def looks(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return the look of each series, the same in all figures that name them in this order."""
    return {name: look(i) for i, name in enumerate(dict.fromkeys(names))}


def side_by_side(styles: Mapping[str, dict[str, Any]], gap: float) -> dict[str, tuple[dict[str, Any], float]]:
    """Return the look of each series, and its offset from the middle of its group."""
    middle = (len(styles) - 1) / 2
    return {name: (style, (i - middle) * gap) for i, (name, style) in enumerate(styles.items())}


def marks(style: Mapping[str, Any]) -> dict[str, Any]:
    """Return a look for marks with whiskers, without lines between them."""
    return {**style, "linestyle": "none", "elinewidth": 1.2, "capsize": 2}


def times(seconds: Iterable[float]) -> np.ndarray:
    """Return seconds since 1970 in the type that matplotlib draws as dates (UTC)."""
    return np.asarray(list(seconds), "float64").astype("datetime64[s]")


def date_axis(axes: Axes, *, offset: bool = True) -> None:
    """Label a time axis briefly; call it after everything is drawn.

    Parameters
    ----------
    axes : Axes
    offset : bool
        Add year and month if the labels lack them.
    """
    low, high = (float(edge) for edge in axes.dataLim.intervalx)
    if high - low < _MIN_DATE_SPAN:  # matplotlib would show four years around a single moment
        middle = (low + high) / 2 if math.isfinite(low + high) else 0.0
        axes.set_xlim(middle - _MIN_DATE_SPAN / 2, middle + _MIN_DATE_SPAN / 2)
    # With 3 to 7 ticks every span has a suitable interval; the default of 5 ticks has none from 2.5 to 5 years.
    locator = AutoDateLocator(minticks=3, maxticks=7)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator, show_offset=offset))


def spans(axes: Axes, values: Sequence[float], logarithmic: bool = False) -> None:
    """Put ticks on an axis of durations at the given values."""
    if logarithmic:
        axes.set_xscale("log")
    axes.set_xticks(list(values), [format_duration(int(value)) for value in values], fontsize=7.5)
    axes.minorticks_off()


def counted(counts: Iterable[int], what: str = "prompts") -> str:
    """Return the range of the numbers of prompts in words."""
    found = list(counts)
    low, high = int(min(found)), int(max(found))
    return f"{low:,} {what} each." if low == high else f"{low:,} to {high:,} {what} each."


def title_of(figure: Figure) -> str:
    """Return a figure's title."""
    return figure.get_suptitle().strip()


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
