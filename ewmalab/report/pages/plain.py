"""The page of a result without a page of its own: its plain data as facts and tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ewmalab.report.pages.page import Report, Section, Table


def plain_page(title: str, data: Any) -> Report:
    """Return a page of plain data, with texts and numbers as facts, and lists and mappings as tables.

    Parameters
    ----------
    title : str
    data : mapping or sequence
        What a command prints with ``--json``.

    Examples
    --------
    >>> page = plain_page("bars", {"checked": 2, "damaged": [{"day": "2026-01-15", "problem": "cut short"}]})
    >>> page.facts, page.sections[0].content[0].columns
    ([('checked', '2')], ['day', 'problem'])
    """
    table = data if isinstance(data, Mapping) else {title: data}
    facts = [(key, str(value)) for key, value in table.items() if not isinstance(value, Mapping | list | tuple)]
    report = Report(title, [], bool(table.get("synthetic")), facts=facts)
    report.sections.append(Section(title, [], list(_tables(table))))
    return report


def _tables(data: Mapping[str, Any]) -> Iterator[Table]:
    for key, value in data.items():
        rows = _rows(value)
        if rows:
            columns = list(dict.fromkeys(column for row in rows for column in row))
            yield Table(key, columns, [[_cell(row.get(column)) for column in columns] for row in rows])


def _rows(value: Any) -> list[dict[str, Any]]:
    """Return the rows of a list or mapping, by column; none for a single value."""
    if isinstance(value, Mapping):
        return [{"": name, **_row(entry)} for name, entry in value.items()]
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_row(entry) for entry in value]
    return []


def _row(entry: Any) -> dict[str, Any]:
    if isinstance(entry, Mapping):
        return dict(entry)
    if isinstance(entry, list | tuple):
        return {str(place): value for place, value in enumerate(entry)}
    return {"value": entry}


def _cell(value: Any) -> object:
    return (
        value if isinstance(value, int | float) and not isinstance(value, bool) else "" if value is None else str(value)
    )
