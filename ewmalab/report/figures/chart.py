"""A figure as data: panels of marks, which `static` draws with matplotlib and `interactive` with plotly."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from ewmalab.units import format_duration

Values = npt.NDArray[np.float64]
Look = int | Literal["ink", "grey", "faint", "alarm"]
"""The n-th series, or a colour with a meaning: text, reference lines, the background of others, what is missing."""


@dataclass(frozen=True, slots=True)
class Axis:
    """An axis.

    Attributes
    ----------
    label : str
        With the unit.
    kind : {"number", "log", "time"}
        Times are seconds since 1970-01-01 UTC.
    ticks : sequence of (float, str)
        Positions and their texts; none: chosen by the drawing.
    limits : (float, float) or None
        The first at the left or at the bottom, even if it is the larger one.
    """

    label: str
    kind: Literal["number", "log", "time"] = "number"
    ticks: Sequence[tuple[float, str]] = ()
    limits: tuple[float, float] | None = None

    @classmethod
    def parts(cls, label: str, names: Sequence[str], *, downwards: bool = False) -> Axis:
        """Return an axis of named parts at 0, 1, 2 ..."""
        edges = (-0.5, len(names) - 0.5)
        return cls(label, "number", tuple(enumerate(names)), edges[::-1] if downwards else edges)

    @classmethod
    def durations(cls, seconds: Sequence[int]) -> Axis:
        """Return a logarithmic axis of horizons with a tick at each."""
        low, high = min(seconds, default=1), max(seconds, default=1)
        return cls("horizon", "log", [(s, format_duration(int(s))) for s in seconds], (low / 1.5, high * 1.5))


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """Points, with a line through them or with whiskers.

    Attributes
    ----------
    name : str
        Of the legend; empty for none.
    x, y : (n,) float64
        NaN interrupts a line.
    look : Look
    line, marker : bool
        What is drawn of it.
    low, high : (n,) float64 or None
        Ends of whiskers; NaN where there are none.
    across : bool
        Whether whiskers are horizontal.
    hollow : (n,) bool or None
        Points that are drawn as rings.
    symbol : str
        "star" or "square", instead of the look's own.
    width : float
        Of the line, points.
    opens : sequence of str
        For each point, the key of the panel that a click opens; empty for none.
    """

    name: str
    x: Values
    y: Values
    look: Look
    line: bool = True
    marker: bool = True
    low: Values | None = None
    high: Values | None = None
    across: bool = False
    hollow: npt.NDArray[np.bool_] | None = None
    symbol: str = ""
    width: float = 1.5
    opens: Sequence[str] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Band:
    """The area between two lines."""

    name: str
    x: Values
    low: Values
    high: Values
    look: Look
    opacity: float = 0.3


@dataclass(frozen=True, slots=True, eq=False)
class Columns:
    """Bars from zero; `across` if they are horizontal, and then `x` is where they stand on the vertical axis."""

    name: str
    x: Values
    y: Values
    width: float
    look: Look
    across: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """A line through a value, horizontal or upright; `words` stand beside it."""

    at: float
    upright: bool = False
    words: str = ""


@dataclass(frozen=True, slots=True)
class Stretch:
    """A shaded range of values, horizontal or upright."""

    low: float
    high: float
    upright: bool = False
    look: Look = "faint"


@dataclass(frozen=True, slots=True, eq=False)
class Tiles:
    """A map: a number for each pair of parts.

    Attributes
    ----------
    shade : (rows, columns) float64
        What the colour shows; NaN: nothing.
    value : (rows, columns) float64
        What is told.
    label : str
        Of the value, with its unit.
    scale : sequence of (shade, text)
        Ticks of the scale of colours.
    """

    shade: Values
    value: Values
    label: str
    scale: Sequence[tuple[float, str]]


Mark = Series | Band | Columns | Rule | Stretch | Tiles


@dataclass(frozen=True, slots=True, eq=False)
class Panel:
    """One pair of axes.

    Attributes
    ----------
    title : str
    x, y : Axis
    marks : list of Mark
    about : tuple of str
        Forecasters or assets that the whole panel is about; a page hides it with them.
    key : str
        What a click elsewhere opens it by.
    """

    title: str
    x: Axis
    y: Axis
    marks: list[Mark]
    about: tuple[str, ...] = ()
    key: str = ""

    @property
    def empty(self) -> bool:
        """Return whether no mark has a number to draw."""
        return not any(np.isfinite(values).any() for mark in self.marks for values in _drawn(mark))


@dataclass(frozen=True, slots=True, eq=False)
class Chart:
    """A figure.

    Attributes
    ----------
    title, note : str
        What it shows; how to read it, and on how many prompts it is based.
    panels : list of Panel
        Those with something to draw.
    columns : int
        Most panels side by side.
    width, height : float
        Size of a panel, inches.
    sharey : bool
        Whether all panels share a vertical scale.
    synthetic : bool
        Whether prices are simulated, which a watermark says.
    one_at_a_time : int
        If not 0, a page shows one panel, which the reader chooses, and a picture the first so many.
    """

    title: str
    note: str
    panels: list[Panel] = field(default_factory=list)
    columns: int = 3
    width: float = 3.2
    height: float = 2.6
    sharey: bool = False
    synthetic: bool = False
    one_at_a_time: int = 0

    def of(self, panels: Iterable[Panel]) -> Chart:
        """Return the figure with these panels; those without anything to draw are left out."""
        return replace(self, panels=[panel for panel in panels if not panel.empty])

    def legend(self) -> dict[str, Mark]:
        """Return the first mark of each name."""
        known: dict[str, Mark] = {}
        for panel in self.panels:
            for mark in panel.marks:
                if isinstance(mark, Series | Band | Columns) and mark.name:
                    known.setdefault(mark.name, mark)
        return known


def looks(names: Iterable[str]) -> dict[str, int]:
    """Return the look of each series, the same in all figures that name them in this order."""
    return {name: place for place, name in enumerate(dict.fromkeys(names))}


def side_by_side(styles: dict[str, int], gap: float) -> dict[str, tuple[int, float]]:
    """Return the look of each series, and its offset from the middle of its group."""
    middle = (len(styles) - 1) / 2
    return {name: (look, (i - middle) * gap) for i, (name, look) in enumerate(styles.items())}


def values(numbers: Iterable[float | None]) -> Values:
    """Return numbers as an array, NaN for those that are missing."""
    return np.array([np.nan if number is None else number for number in numbers], np.float64)


def counted(counts: Iterable[int], what: str = "prompts") -> str:
    """Return the range of the numbers of prompts in words."""
    found = list(counts) or [0]
    low, high = int(min(found)), int(max(found))
    return f"{low:,} {what} each." if low == high else f"{low:,} to {high:,} {what} each."


def _drawn(mark: Mark) -> Iterator[Values]:
    if isinstance(mark, Series | Columns):
        yield mark.y[np.isfinite(mark.x)]
    elif isinstance(mark, Band):
        yield mark.low + mark.high
    elif isinstance(mark, Tiles):
        yield mark.shade
