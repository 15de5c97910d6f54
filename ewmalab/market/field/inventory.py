"""List what is cached of the real field, and what is missing in between."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from ewmalab.market.field.store import FieldStore
from ewmalab.times import DAY


@dataclass(frozen=True, slots=True)
class CachedSeries:
    """What is cached of a series.

    Attributes
    ----------
    series : str
        Its folder, such as ``scores/BTC/86400``.
    begin, end : int
        Range of the cached days, seconds since 1970-01-01 UTC.
    days, rows : int
    holes : list of int
        Days between them that are not cached.
    unfinished : list of int
        Cached days that were not over when they were fetched; the next fetch asks for them again.
    damaged : list of str
        Messages about files whose bytes have changed.
    synthetic : bool
    """

    series: str
    begin: int
    end: int
    days: int
    rows: int
    holes: list[int]
    unfinished: list[int]
    damaged: list[str]
    synthetic: bool


def list_series(store: FieldStore) -> list[CachedSeries]:
    """Return what is cached, by series."""
    out = []
    for series in store.series():
        days = store.days(series)
        damaged = store.damaged(series)
        known = sorted(days)
        out.append(
            CachedSeries(
                series=series.path,
                begin=known[0] if known else 0,
                end=known[-1] + DAY if known else 0,
                days=len(known),
                rows=sum(day.rows for day in days.values()),
                holes=[hole for a, b in pairwise(known) for hole in range(a + DAY, b, DAY)],
                # the rows of a path know by themselves whether they are final
                unfinished=[] if series.kind == "paths" else [day for day in known if not days[day].final],
                damaged=damaged,
                synthetic=any(day.synthetic for day in days.values()),
            )
        )
    return out
