"""What a report is made of: a card with the verdict, sections of figures and tables, and its provenance."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Literal

from ewmalab.report.figures.chart import Chart

Tone = Literal["", "good", "bad"]


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of a table.

    Attributes
    ----------
    shown : str
    key : float or str, optional
        What the table is sorted by.
    tone : {"", "good", "bad"}
    detail : str
        Further, smaller lines.
    opens : str
        Key of the panel that the cell opens; see `Panel.key`.
    link : str
        Relative address of another page.
    """

    shown: str
    key: float | str | None = None
    tone: Tone = ""
    detail: str = ""
    opens: str = ""
    link: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """A table that is sorted by a click on a column's head.

    Attributes
    ----------
    title : str
    columns : sequence of str
    rows : sequence of sequence
        Cells; a (shown, key) pair is sorted by its key.
    folded : bool
        Whether it is closed at first, for long tables.
    note : str
        What the columns mean.
    fixed : bool
        Whether it keeps its order.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    folded: bool = False
    note: str = ""
    fixed: bool = False


@dataclass(frozen=True, slots=True)
class Card:
    """The answer that a page opens with.

    Attributes
    ----------
    lead : list of str
        The answer in a few sentences.
    boards : list of Table
        Side by side.
    facts : list of (str, list of str)
        Further questions, and answers to each.
    note : str
        How to read the boards.
    """

    lead: list[str]
    boards: list[Table] = field(default_factory=list)
    facts: list[tuple[str, list[str]]] = field(default_factory=list)
    note: str = ""


@dataclass(slots=True)
class Section:
    """A part of a report.

    Attributes
    ----------
    title : str
    text : list of str
        Paragraphs.
    content : list of Chart or Table
        In order, after the paragraphs.
    """

    title: str
    text: list[str] = field(default_factory=list)
    content: list[Chart | Table] = field(default_factory=list)


@dataclass(slots=True)
class Report:
    """A page.

    Attributes
    ----------
    title : str
        For readers.
    provenance : list of (str, str)
        Names and values of what it was made from.
    synthetic : bool
    sections : list of Section
    card : Card or None
    switches : dict of str to list of str
        Names that a reader may switch on and off in all figures, by what they are.
    name : str
        Of the source; by default the title.
    facts : list of (str, str)
        What stands below the title.
    """

    title: str
    provenance: list[tuple[str, str]]
    synthetic: bool
    sections: list[Section] = field(default_factory=list)
    card: Card | None = None
    switches: dict[str, list[str]] = field(default_factory=dict)
    name: str = ""
    facts: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.name = self.name or self.title


def value(number: float | None, form: str = "") -> object:
    """Return a cell that shows a number in a format and sorts by it; "-" for a missing number."""
    if number is None or not isfinite(number):
        return "-"
    return (format(number, form), number) if form else float(number)


def percent(number: float | None) -> object:
    """Return a cell of a relative difference."""
    return value(None if number is None else 100 * number, "+.2f")


def p_value(number: float | None) -> object:
    """Return a cell of a p-value."""
    if number is None:
        return "-"
    return "< 0.001" if number < 0.001 else f"{number:.3f}", number


def named_figures(reports: Sequence[Report]) -> Iterator[tuple[str, Chart]]:
    """Yield each figure with its name, made of number and title."""
    number = 0
    for report in reports:
        for section in report.sections:
            for item in section.content:
                if isinstance(item, Chart) and item.panels:
                    number += 1
                    slug = re.sub(r"[^a-z0-9]+", "-", item.title.lower()).strip("-")
                    yield f"{number:02d}-{slug}"[:80], item
