"""Text tables (CSV and its relatives) as `Table`."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Sequence

import pandas as pd

from ewmalab.errors import BarsError
from ewmalab.market.files.headers import merged_header
from ewmalab.market.files.numbers import MISSING
from ewmalab.market.files.table import Table

_DELIMITERS = ("\t", ";", "|", ",", " ")
_NAMES = {"\t": "tab", ";": "semicolon", "|": "bar", " ": "space"}
_VALUE = re.compile(r"[-+]?[.,]?\d")
_SAMPLE = 30  # lines
_WIDTHS = re.compile(r"Expected (\d+) fields in line (\d+), saw (\d+)")
_MAX_HEADERS = 3  # Yahoo: field, ticker, name of the index


def read_text(data: bytes) -> Table:
    """Read a text table with any delimiter, encoding, and header or none.

    Raises
    ------
    BarsError
        If lines differ in their number of fields; the message names the first such line.
    """
    lines = _decoded(data).splitlines(keepends=True)
    lead = next((i for i, line in enumerate(lines) if line.strip() and not line.startswith(("http", "#"))), len(lines))
    lines, skipped = lines[lead:], sum(bool(line.strip()) for line in lines[:lead])
    lines = [line for line in lines if line.strip()]
    if not lines:
        raise BarsError("no column timestamp or close: the file is empty")
    delimiter = _delimiter(lines[:_SAMPLE])
    notes = [f"{skipped} line(s) before the header"] if skipped else []
    cells, unfinished = _cells(lines, delimiter, lead, notes)
    rows = [[str(cell) for cell in row] for row in cells.head(_MAX_HEADERS + 1).to_numpy()]
    headers = next((i for i, row in enumerate(rows) if not _is_header(row)), len(rows))
    if headers > _MAX_HEADERS:
        raise BarsError(f"no row of numbers below the header; it reads: {', '.join(rows[0])}")
    names, tickers = merged_header(rows[:headers]) if headers else (("",) * len(cells.columns), ())
    kind = "CSV" if delimiter == "," else f"CSV ({_NAMES[delimiter]})"
    body = cells.iloc[headers:].reset_index(drop=True)
    return Table(kind, names, body, headers > 0, tuple(notes), tickers=tickers, unfinished=unfinished)


def _decoded(data: bytes) -> str:
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data[: len(data) // 2 * 2].decode("utf-16")
    if data[1:2] == b"\0":
        return data[: len(data) // 2 * 2].decode("utf-16-le")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _delimiter(sample: Sequence[str]) -> str:
    """Return the first delimiter that is in every line but the last, which may be cut."""
    lines = sample[:-1] if len(sample) > 2 else sample
    for delimiter in _DELIMITERS:
        rows = csv.reader((line.strip() if delimiter == " " else line for line in lines), delimiter=delimiter)
        if all(len(row) > 1 for row in rows):
            return delimiter
    raise BarsError(
        f"no delimiter (comma, semicolon, tab, bar or space) in every line; line 1 reads {lines[0].strip()!r}"
    )


def _cells(lines: list[str], delimiter: str, lead: int, notes: list[str]) -> tuple[pd.DataFrame, bool]:
    """Return the cells as stripped text, without a last line that is cut; and whether the last line has no end."""
    unfinished = not lines[-1].endswith(("\n", "\r"))
    if unfinished and lines[-1].count('"') % 2:
        lines, unfinished = lines[:-1], False
        notes.append("the last line is cut and was left out")
    try:
        cells = pd.read_csv(
            io.StringIO("".join(lines)),
            sep=r"\s+" if delimiter == " " else delimiter,
            header=None,
            dtype=str,
            keep_default_na=False,
            skipinitialspace=True,
        )
    except pd.errors.ParserError as error:
        found = _WIDTHS.search(str(error))
        if not found:
            raise
        expected, line, seen = map(int, found.groups())
        raise BarsError(
            f"line {line + lead} has {seen} fields, but the first has {expected}: {lines[line - 1].strip()!r}; "
            "a number with a comma must be quoted, or the delimiter must be another"
        ) from error
    short = [row for row in _open_ended(cells) if _width(lines[row], delimiter) < len(cells.columns)]
    if short and short[0] == len(cells) - 1:
        cells, unfinished = cells.iloc[:-1], False
        notes.append("the last line is cut and was left out")
    elif short:
        raise BarsError(f"row {short[0] + 1} has fewer fields than the first: {lines[short[0]].strip()!r}")
    return cells.apply(lambda column: column.str.strip()), unfinished


def _open_ended(cells: pd.DataFrame) -> list[int]:
    """Return the rows whose last cell is empty: pandas fills rows that are too short."""
    last = cells.iloc[:, -1]
    return [int(row) for row in (last.isna() | (last == "")).to_numpy().nonzero()[0]]


def _width(line: str, delimiter: str) -> int:
    return len(line.split() if delimiter == " " else next(csv.reader([line], delimiter=delimiter)))


def _is_header(row: Sequence[str]) -> bool:
    """Return whether most cells are words, other than those for missing values."""
    cells = [cell for cell in row if cell.lower() not in MISSING]
    return 2 * sum(bool(_VALUE.match(cell)) for cell in cells) < len(cells) or not cells
