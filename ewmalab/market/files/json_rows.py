"""JSON files as `Table`: rows, objects, and every orientation of pandas."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd

from ewmalab.errors import BarsError
from ewmalab.market.files.arrow import frame_table
from ewmalab.market.files.headers import ROLES, plain
from ewmalab.market.files.table import Table


def read_json(data: bytes) -> Table:
    """Read a JSON document, or JSON lines.

    Raises
    ------
    BarsError
        If it is neither a list of rows, nor a list of objects, nor an object of columns or of rows.
    """
    text = data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    try:
        content = json.loads(text, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        lines = [line for line in text.splitlines() if line.strip()]
        if error.msg != "Extra data" or len(lines) < 2:
            raise
        content = [json.loads(line, object_pairs_hook=_object) for line in lines]
    return _table(content)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise BarsError(f"an object has two values for {next(key for key in keys if keys.count(key) > 1)!r}")
    return found


def _table(content: Any) -> Table:
    if isinstance(content, list):
        return _rows(content)
    if not isinstance(content, dict):
        raise BarsError("expected a list of rows or an object of columns")
    if set(content) >= {"columns", "data"}:
        frame = pd.DataFrame(content["data"], content.get("index"), content["columns"])
        return frame_table("JSON (split)", _with_real_index(frame))
    if set(content) >= {"schema", "data"}:
        return _rows(content["data"], "JSON (table)")
    named = _has_names(content)
    if not named and (answer := _answer(content)) is not None:
        return _table(answer)
    lists = [value for value in content.values() if isinstance(value, list)]
    if named and len(lists) == len(content):
        if len({len(column) for column in lists}) != 1:
            raise BarsError(f"columns differ in length: { {key: len(column) for key, column in content.items()} }")
        return frame_table("JSON (lists)", pd.DataFrame(content))
    inner = [value for value in content.values() if isinstance(value, dict)]
    if not inner or len(inner) != len(content):
        raise BarsError(
            f"expected a list of rows or an object of columns; its keys are {', '.join(list(content)[:20])}"
        )
    if named:
        return frame_table("JSON (columns)", _with_real_index(pd.DataFrame(content)))
    return frame_table("JSON (index)", _with_real_index(pd.DataFrame.from_dict(content, orient="index")))


def _answer(content: dict[str, Any]) -> Any:
    """Return the rows inside an answer of an API, such as ``{"result": {"XXBTZUSD": [...], "last": 7}}``."""
    filled = [value for value in content.values() if isinstance(value, (list, dict)) and value]
    if len(filled) == 1 and not (isinstance(filled[0], dict) and _has_names(filled[0]) and len(content) == 1):
        return filled[0]
    return None


def _rows(rows: Any, kind: str = "") -> Table:
    if not isinstance(rows, list) or not rows:
        raise BarsError("expected a list of rows; it is empty or none")
    if all(isinstance(row, dict) for row in rows):
        return frame_table(kind or "JSON (objects)", pd.DataFrame(rows))
    if not all(isinstance(row, list) for row in rows):
        raise BarsError("expected a list of rows, all lists or all objects")
    widths = [len(row) for row in rows]
    if len(set(widths)) > 1:
        odd = next(i for i, width in enumerate(widths) if width != widths[0])
        raise BarsError(f"rows differ in length: row 1 has {widths[0]} values, row {odd + 1} has {widths[odd]}")
    frame = pd.DataFrame(rows)
    return Table(kind or "JSON (rows)", ("",) * widths[0], frame, False)


def _has_names(keys: Any) -> bool:
    return any(ROLES.get(plain(key)) == "close" for key in keys)


def _with_real_index(frame: pd.DataFrame) -> pd.DataFrame:
    """Drop an index of row numbers, which JSON writes as text."""
    numbers = [str(number) for number in range(len(frame))]
    return frame.reset_index(drop=True) if list(map(str, frame.index)) == numbers else frame
