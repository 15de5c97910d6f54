"""Plain tables for terminals and files."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence

WIDTH = 80
"""Columns of a terminal that everything printed for people fits into, where names allow it."""


def wrapped(text: str, indent: str = "") -> str:
    """Return lines of text broken to the width of a terminal; what follows the first line of each is indented."""
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
    columns, rows
    title : str, optional
    clip : bool
        Cut the last column where the table would be wider than a terminal.

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
    """Return values as a line of blocks, the smallest as the lowest one; what is unknown is blank.

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


def percent(value: float | None) -> str:
    """Return a relative difference for people: -0.0123 -> "-1.23 %"."""
    return "-" if value is None else f"{100 * value:+.2f} %"
