"""Text tables (CSV and its relatives) as `Table`."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Sequence

import pandas as pd

from ewmalab.errors import BarsError
from ewmalab.market.files.headers import ROLES, merged_header, plain
from ewmalab.market.files.numbers import MISSING
from ewmalab.market.files.table import Table

_DELIMITERS = ("\t", ";", "|", ",", " ")
_NAMES = {"\t": "tab", ";": "semicolon", "|": "bar", " ": "space"}
_VALUE = re.compile(r"[-+]?\$?[.,]?\d")
_EMPTY = ' \t,;|"\r\n'  # a line of nothing else has no cell
_SAMPLE = 30  # lines
_MAX_LEAD = 5  # lines before a table
_WIDTHS = re.compile(r"Expected (\d+) fields in line (\d+), saw (\d+)")
_MAX_HEADERS = 3  # Yahoo: field, ticker, name of the index


def read_text(data: bytes) -> Table:
    """Read a text table with any delimiter, encoding, and header or none.

    Raises
    ------
    BarsError
        If lines differ in their number of fields; the message names the first such line.
    """
    numbered = [(n, line) for n, line in enumerate(decoded(data).splitlines(keepends=True), 1) if line.strip(_EMPTY)]
    kept = [(n, line) for n, line in ((n, _uncommented(line)) for n, line in numbered) if line]
    if not kept:
        raise BarsError("no column timestamp or close: the file is empty")
    delimiter, lead = _delimiter([line for _, line in kept[:_SAMPLE]])
    comments = len(numbered) - len(kept)
    above = sum(n < kept[lead][0] for n, _ in numbered)
    notes = [f"{above} line(s) before the header"] if above else []
    notes += [f"{rest} comment line(s) were left out"] if (rest := comments + lead - above) else []
    kept = _evened(kept[lead:], delimiter)
    cells, unfinished = _cells(kept, delimiter, notes)
    rows = [[str(cell) for cell in row] for row in cells.head(_MAX_HEADERS + 1).to_numpy()]
    headers = next((i for i, row in enumerate(rows) if not _is_header(row)), len(rows))
    if headers > _MAX_HEADERS:
        raise BarsError(f"no row of numbers below the header; it reads: {', '.join(rows[0])}")
    names, tickers = merged_header(rows[:headers]) if headers else (("",) * len(cells.columns), ())
    kind = "CSV" if delimiter == "," else f"CSV ({_NAMES[delimiter]})"
    body = cells.iloc[headers:].reset_index(drop=True)
    if headers and (again := (body[0] == rows[0][0]) & (body == rows[0]).all(axis=1)).any():
        notes.append(f"{int(again.sum())} repeated header(s)")
        body = body[~again].reset_index(drop=True)
    return Table(kind, names, body, headers > 0, tuple(notes), tickers=tickers, unfinished=unfinished)


def decoded(data: bytes) -> str:
    """Return the text of a file in UTF-8, UTF-16 or UTF-32, with a mark of its order or none, else in Latin-1."""
    if data.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return data[: len(data) // 4 * 4].decode("utf-32", "replace")
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data[: len(data) // 2 * 2].decode("utf-16", "replace")
    if b"\0" in data[:2] and len(data) > 1:
        return data[: len(data) // 2 * 2].decode("utf-16-le" if data[1] == 0 else "utf-16-be", "replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def _uncommented(line: str) -> str:
    """Return a line, or an empty text for a comment; a header may be written as one."""
    if not line.startswith(("#", "//")):
        return line
    text = line.lstrip("#/ ")
    return text if {"timestamp", "close"} <= {ROLES.get(plain(name)) for name in re.split(r"[,;|\t]", text)} else ""


def _delimiter(sample: Sequence[str]) -> tuple[str, int]:
    """Return the delimiter of all lines but the last, which may be cut, and the number of lines before the table."""
    lines = sample[:-1] if len(sample) > 2 else sample
    usable = []
    for delimiter in _DELIMITERS:
        widths = [_width(line, delimiter) for line in lines]
        usable += [delimiter] if min(widths) > 1 else []
        usual = sorted(widths)[len(widths) // 2]
        for lead in range(min(_MAX_LEAD + 1, len(lines) - 1)):
            if min(widths[lead:]) > 1 and abs(widths[lead] - usual) <= 1:
                return delimiter, lead
            if _is_data_or_header(lines[lead], delimiter):
                break
    if usable:
        return usable[0], 0
    raise BarsError(
        f"no delimiter (comma, semicolon, tab, bar or space) in every line; line 1 reads {lines[0].strip()[:200]!r}"
    )


def _is_data_or_header(line: str, delimiter: str) -> bool:
    cells = line.split(None if delimiter == " " else delimiter)
    named = sum(plain(cell) in ROLES for cell in cells)
    return named > 1 or any(_VALUE.match(cell.strip()) for cell in cells)


def _evened(kept: list[tuple[int, str]], delimiter: str) -> list[tuple[int, str]]:
    """Return lines that agree in width where only the header has one cell less.

    Below it each line ends with a delimiter, or starts with the number of its row.
    """
    widths = [_width(line, delimiter) for _, line in kept[:_SAMPLE]]
    below = widths[1:-1] or widths[1:]
    if not below or set(below) != {widths[0] + 1}:
        return kept
    (first, header), rows = kept[0], kept[1:]
    if all(line.rstrip("\r\n").endswith(delimiter) for _, line in rows[: len(below)]) and delimiter != " ":
        return [kept[0], *((n, re.sub(re.escape(delimiter) + r"([\r\n]*)$", r"\1", line)) for n, line in rows)]
    numbers = [re.split(r"[,;|\s]", line.strip())[0].strip('"') for _, line in rows[: len(below)]]
    if numbers in [[str(i + start) for i in range(len(numbers))] for start in (0, 1)]:
        return [(first, f"index{delimiter}{header.lstrip()}"), *rows]
    return kept


def _cells(kept: list[tuple[int, str]], delimiter: str, notes: list[str]) -> tuple[pd.DataFrame, bool]:
    """Return the cells as stripped text, without a last line that is cut; and whether the last line has no end."""
    lines = [line for _, line in kept]
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
            f"line {kept[line - 1][0]} has {seen} fields, but the first has {expected}: {lines[line - 1].strip()!r}; "
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
    if delimiter == " ":
        return len(line.split())
    try:
        return len(next(csv.reader([line], delimiter=delimiter)))
    except csv.Error:  # longer than any cell
        return 1


def _is_header(row: Sequence[str]) -> bool:
    """Return whether most cells are words, other than those for missing values."""
    cells = [cell for cell in row if cell.lower() not in MISSING]
    return 2 * sum(bool(_VALUE.match(cell)) and plain(cell) not in ROLES for cell in cells) < len(cells) or not cells
