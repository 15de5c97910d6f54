"""The real field of miners as text: what was fetched and what is cached."""

from __future__ import annotations

from collections.abc import Sequence

from ewmalab.market.field.fetch import SeriesFetch
from ewmalab.market.field.inventory import CachedSeries
from ewmalab.report.text.tables import SYNTHETIC_FIELD, Column, grid, plain_table, wrapped
from ewmalab.times import day_name, iso

_SHOWN = 5


def field_fetch_text(fetched: Sequence[SeriesFetch]) -> str:
    """Return the result of a fetch, a line per series that was asked for."""
    lines = [f"{one.series.path}: {one.rows} rows in {one.calls} calls" for one in fetched if one.calls or one.error]
    lines += [wrapped(f"{one.series.path}: failed: {one.error}", "  ") for one in fetched if one.error]
    return "".join(f"{line}\n" for line in lines or ["nothing was missing"])


def field_list_text(cached: Sequence[CachedSeries], root: str) -> str:
    """Return what is cached, and the days that are missing in between."""
    if not cached:
        return f"nothing cached in {root}; see `ewmalab field fetch --help`\n"
    columns: list[Column] = [
        ("series", "series"),
        ("from", lambda c: day_name(c.begin) if c.days else "-"),
        ("to", lambda c: iso(c.end - 1)[:10] if c.days else "-"),
        ("days", "days"),
        ("rows", "rows"),
        ("holes", lambda c: len(c.holes)),
        ("unfinished", lambda c: len(c.unfinished)),
    ]
    parts = [SYNTHETIC_FIELD] if any(one.synthetic for one in cached) else []
    parts.append(plain_table(*grid(cached, columns)))
    remarks = [f"{one.series}: no rows of {_days(one.holes)}" for one in cached if one.holes]
    remarks += [f"{one.series}: {_days(one.unfinished)} not over when fetched" for one in cached if one.unfinished]
    remarks += [message for one in cached for message in one.damaged]
    parts += ["\n".join(wrapped(line, "  ") for line in remarks)] if remarks else []
    return "\n\n".join(parts) + "\n"


def _days(days: Sequence[int]) -> str:
    more = f" and {len(days) - _SHOWN} more days" if len(days) > _SHOWN else ""
    return ", ".join(day_name(day) for day in days[:_SHOWN]) + more
