"""JSON files as `Table`: rows, objects, and every orientation of pandas."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pandas as pd

from ewmalab.errors import BarsError
from ewmalab.market.files.arrow import frame_table
from ewmalab.market.files.headers import ROLES, plain
from ewmalab.market.files.table import Table
from ewmalab.market.files.text import decoded

_SYMBOL = re.compile(r"[A-Z0-9]{2,}(?:[/:_-][A-Z0-9]+)*")
# What an answer says of all of its rows. One letter may say anything.
_SAID = {name: role for name, role in ROLES.items() if role in ("symbol", "interval") and len(name) > 2}


def read_json(data: bytes) -> Table:
    """Read a JSON document, or JSON lines.

    Raises
    ------
    BarsError
        If it is neither a list of rows, nor a list of objects, nor an object of columns or of rows.
    """
    text = decoded(data)
    try:
        content = json.loads(text, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        lines = [line for line in text.splitlines() if line.strip()]
        if error.msg != "Extra data" or len(lines) < 2:
            raise
        content = [json.loads(line, object_pairs_hook=_object) for line in lines]
    return _table(content, {})


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise BarsError(f"an object has two values for {next(key for key in keys if keys.count(key) > 1)!r}")
    return found


def _table(content: Any, said: Mapping[str, str]) -> Table:
    """Return the rows of a document; `said` is what the objects around them say of all rows, by role."""
    if isinstance(content, dict):
        own = {_SAID[plain(key)]: str(v) for key, v in content.items() if plain(key) in _SAID and _is_scalar(v)}
        said = {**said, **own}
        named = _has_names(content)
        if not named and not set(content) >= {"columns", "data"} and (answer := _answer(content)) is not None:
            key, rows = answer
            return _table(rows, {**said, "symbol": key} if _SYMBOL.fullmatch(key) else said)
    table = _rows(content) if isinstance(content, list) else _of_object(content)
    about = {"interval": said["interval"]} if "interval" in said else {}
    alone = "symbol" in said and not table.tickers and "symbol" not in {ROLES.get(plain(name)) for name in table.names}
    tickers = (said["symbol"],) * len(table.names) if alone else table.tickers
    return replace(table, metadata={**table.metadata, **about}, tickers=tickers)


def _of_object(content: Any) -> Table:
    if not isinstance(content, dict):
        raise BarsError("expected a list of rows or an object of columns")
    if set(content) >= {"columns", "data"}:
        frame = pd.DataFrame(content["data"], content.get("index"), content["columns"])
        return frame_table("JSON (split)", _with_real_index(frame))
    if set(content) >= {"schema", "data"}:
        return _rows(content["data"], "JSON (table)")
    named = _has_names(content)
    lists = {key: value for key, value in content.items() if isinstance(value, list)}
    inner = [value for value in content.values() if isinstance(value, dict)]
    if named and lists and not inner:
        if len({len(column) for column in lists.values()}) != 1:
            raise BarsError(f"columns differ in length: { {key: len(column) for key, column in lists.items()} }")
        return frame_table("JSON (lists)", pd.DataFrame(lists))
    if named and not lists and not inner:
        return _rows([content])
    names, rows = _header_and_rows(lists)
    if names:
        return frame_table("JSON (split)", pd.DataFrame(rows, columns=names))
    if (
        lists
        and len(lists) == len(content)
        and all(_SYMBOL.fullmatch(key) and _are_objects(lists[key]) for key in lists)
    ):
        return _rows([{**row, "symbol": key} for key, rows in lists.items() for row in rows])
    if len(content) > 1 and all(_is_scalar(value) and key[:1].isdigit() for key, value in content.items()):
        return _rows([[key, value] for key, value in content.items()], "JSON (series)")
    if not inner or len(inner) != len(content):
        raise BarsError(
            f"expected a list of rows or an object of columns; its keys are {', '.join(list(content)[:20])}"
        )
    if named:
        return frame_table("JSON (columns)", _with_real_index(pd.DataFrame(content)))
    return frame_table("JSON (index)", _with_real_index(pd.DataFrame.from_dict(content, orient="index")))


def _answer(content: dict[str, Any]) -> tuple[str, Any] | None:
    """Return the key and the rows inside an answer of an API, such as ``{"result": {"XXBTZUSD": [...], "last": 7}}``.

    Objects of plain values beside them describe the answer.
    """
    filled = [(key, value) for key, value in content.items() if isinstance(value, (list, dict)) and value]
    if len(filled) > 1:
        filled = [(k, v) for k, v in filled if isinstance(v, list) or not all(map(_is_scalar, v.values()))]
    if len(filled) != 1 or (isinstance(filled[0][1], dict) and _has_names(filled[0][1]) and len(content) == 1):
        return None
    return filled[0]


def _header_and_rows(lists: dict[str, list[Any]]) -> tuple[list[str], list[Any]]:
    """Return a list of names and the list of rows that it heads; empty if there are none."""
    names = [value for value in lists.values() if value and all(isinstance(cell, str) for cell in value)]
    rows = [value for value in lists.values() if value and all(isinstance(row, list) for row in value)]
    if len(names) != 1 or len(rows) != 1 or {len(row) for row in rows[0]} != {len(names[0])}:
        return [], []
    return names[0], rows[0]


def _rows(rows: Any, kind: str = "") -> Table:
    if not isinstance(rows, list) or not rows:
        raise BarsError("expected a list of rows; it is empty or none")
    if _are_objects(rows):
        return frame_table(kind or "JSON (objects)", pd.DataFrame(rows))
    if not all(isinstance(row, list) for row in rows):
        raise BarsError("expected a list of rows, all lists or all objects")
    widths = [len(row) for row in rows]
    if len(set(widths)) > 1:
        odd = next(i for i, width in enumerate(widths) if width != widths[0])
        raise BarsError(f"rows differ in length: row 1 has {widths[0]} values, row {odd + 1} has {widths[odd]}")
    frame = pd.DataFrame(rows)
    return Table(kind or "JSON (rows)", ("",) * widths[0], frame, False)


def _are_objects(rows: list[Any]) -> bool:
    return all(isinstance(row, dict) for row in rows)


def _is_scalar(value: Any) -> bool:
    return not isinstance(value, (list, dict))


def _has_names(keys: Any) -> bool:
    return any(ROLES.get(plain(key)) == "close" for key in keys)


def _with_real_index(frame: pd.DataFrame) -> pd.DataFrame:
    """Drop an index of row numbers, which JSON writes as text."""
    numbers = [str(number) for number in range(len(frame))]
    return frame.reset_index(drop=True) if list(map(str, frame.index)) == numbers else frame
