"""Plain tables for terminals and files."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import Any

WIDTH = 80
"""Columns of a terminal; everything printed for people fits into them unless names are too long."""

SYNTHETIC = "SYNTHETIC DATA: simulated prices, not a market."

SYNTHETIC_FIELD = "SYNTHETIC FIELD: made-up miners and scores, not the subnet's."

Column = tuple[str, str | Callable[[Any], object]]


def grid(rows: Iterable[Any], columns: Sequence[Column]) -> tuple[list[str], list[list[object]]]:
    """Return the heads and the cells of a table, for `plain_table` and a page's `Table`.

    Parameters
    ----------
    rows : iterable
        Typed results.
    columns : sequence of (head, cell)
        A cell is an attribute's name, or a function of the row.

    Examples
    --------
    >>> grid([3 + 4j], [("real", "real"), ("size", abs)])
    (['real', 'size'], [[3.0, 5.0]])
    """
    cells = [attrgetter(cell) if isinstance(cell, str) else cell for _, cell in columns]
    return [head for head, _ in columns], [[cell(row) for cell in cells] for row in rows]


def refusal(name: str, error: object) -> str:
    """Return the line of a file that was refused; it names the file once."""
    return f"{name}: refused: {str(error).removeprefix(f'{name}: ')}"


def wrapped(text: str, indent: str = "") -> str:
    """Return lines of text wrapped to the width of a terminal, with continuation lines indented."""
    return "\n".join(
        textwrap.fill(line, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
        for line in text.splitlines()
    )


def plain_table(
    columns: Sequence[str], rows: Sequence[Sequence[object]], title: str | None = None, *, clip: bool = False
) -> str:
    """Return a table of text; columns of numbers are right-aligned.

    Parameters
    ----------
    columns : sequence of str
        Heads.
    rows : sequence of sequence
        Cells.
    title : str, optional
        Line above the table.
    clip : bool
        Cut the last column if the table would be wider than a terminal.

    Examples
    --------
    >>> print(plain_table(["asset", "crps"], [["BTC", 1.5], ["ETH", 12]]))
    asset  crps
    BTC     1.5
    ETH      12
    """
    cells = [[str(value) for value in row] for row in rows]
    number = re.compile(r"^([+-]?[\d.,]+(e[+-]?\d+)?( %)?|-|)$")
    right = [
        bool(cells) and all(number.match(row[i]) for row in cells) and any(row[i] for row in cells)
        for i in range(len(columns))
    ]
    widths = [max(len(name), *(len(row[i]) for row in cells), 0) for i, name in enumerate(columns)]
    lines = [title] if title else []
    for row in [list(columns), *cells]:
        parts = [c.rjust(w) if r else c.ljust(w) for c, w, r in zip(row, widths, right, strict=True)]
        line = "  ".join(parts).rstrip()
        lines.append(line if not clip or len(line) <= WIDTH else f"{line[: WIDTH - 3].rstrip()}...")
    return "\n".join(lines)


_LEVELS = "▁▂▃▄▅▆▇█"


def sparkline(values: Sequence[float]) -> str:
    """Return values as a line of blocks, the smallest as the lowest one and NaN as a blank.

    Examples
    --------
    >>> sparkline([1.0, 2.0, float("nan"), 4.0])
    '▁▃ █'
    """
    known = [value for value in values if value == value]
    if not known:
        return " " * len(values)
    low, reach = min(known), (max(known) - min(known)) or 1.0
    top = len(_LEVELS) - 1
    return "".join(" " if v != v else _LEVELS[int((v - low) / reach * top + 0.5)] for v in values)


def number(value: float | None, digits: int = 2) -> str:
    """Return a number for people; "-" if it is missing."""
    return "-" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def percent(value: float | None) -> str:
    """Return a relative difference for people: -0.0123 -> "-1.23 %"."""
    return "-" if value is None else f"{100 * value:+.2f} %"


def points(change: float) -> str:
    """Return a relative difference for a sentence, in percent: two digits below one percent, and zero without a sign.

    Examples
    --------
    >>> points(-0.0972), points(-0.0044), points(-0.00001)
    ('-9.7', '-0.44', '0.00')
    """
    return signed(change, 1 if abs(change) >= 0.00995 else 2)


def signed(change: float, digits: int = 2) -> str:
    """Return a relative difference in percent with its sign; zero has none."""
    text = f"{100 * change:+.{digits}f}"
    return text if float(text) else text[1:]


def bounds(low: float | None, high: float | None) -> str:
    """Return an interval of relative differences, percent; "-" if there are too few prompts for one."""
    if low is None or high is None or not math.isfinite(high - low):
        return "-"
    return f"{100 * low:+.2f}..{100 * high:+.2f}"


def short(name: str) -> str:
    """Return a forecaster's name without its module path."""
    return name.rpartition(":")[2]
