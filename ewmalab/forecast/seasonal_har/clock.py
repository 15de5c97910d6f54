"""The clock of seasonality: 5-minute bins of New York's week, and parts of the equities' trading day."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from ewmalab.market.sessions import in_session

Ints = npt.NDArray[np.int64]

NEW_YORK = ZoneInfo("America/New_York")
BIN = 300
WEEK_BINS = 7 * 86_400 // BIN
_FIRST_YEAR, _LAST_YEAR = 2019, 2033
# Edges of the trading day's parts, hours of New York time; the weekend runs from Friday 20:00 to Sunday 20:00.
_PARTS = np.array([4.0, 9.5, 10.0, 11.5, 15.5, 16.0, 20.0])
CLASSES = ("0-4", "4-9:30", "9:30-10", "10-11:30", "11:30-15:30", "15:30-16", "16-20", "20-24", "weekend", "holiday")


@lru_cache(maxsize=1)
def _offsets() -> tuple[Ints, Ints]:
    """Return the times at which New York's UTC offset changes, and the offsets (seconds), searched day by day."""
    found: list[tuple[int, int]] = []
    epoch = datetime(1970, 1, 1, tzinfo=ZoneInfo("UTC"))
    hours = 24 * 366 * (_LAST_YEAR - _FIRST_YEAR)
    start = datetime(_FIRST_YEAR, 1, 1, tzinfo=ZoneInfo("UTC"))
    last: int | None = None
    for day in range(0, hours, 24):
        moment = start + timedelta(hours=day)
        offset = _offset(moment)
        if offset != last:
            if last is not None:  # find the hour within the last day
                moment -= timedelta(hours=24)
                while _offset(moment) == last:
                    moment += timedelta(hours=1)
            found.append((int((moment - epoch).total_seconds()), offset))
            last = offset
    times, offsets = zip(*found, strict=True)
    return np.array(times, np.int64), np.array(offsets, np.int64)


def _offset(moment: datetime) -> int:
    shift = moment.astimezone(NEW_YORK).utcoffset()
    assert shift is not None
    return int(shift.total_seconds())


def new_york(times: npt.ArrayLike) -> Ints:
    """Return New York's wall clock, seconds since 1970-01-01 on that clock.

    Examples
    --------
    >>> (new_york([1768487400]) % 86_400 / 3600).tolist()  # 2026-01-15T14:30 UTC
    [9.5]
    """
    moments = np.asarray(times, np.int64)
    changes, offsets = _offsets()
    local: Ints = moments + offsets[np.searchsorted(changes, moments, side="right") - 1]
    return local


def week_bins(times: npt.ArrayLike) -> Ints:
    """Return the 5-minute bin of New York's week, 0 at Monday 00:00: (n,) int64 below `WEEK_BINS`."""
    return (new_york(times) + 3 * 86_400) // BIN % WEEK_BINS  # 1970-01-01 was a Thursday


def day_classes(times: npt.ArrayLike) -> Ints:
    """Return the part of the equities' week: an index into `CLASSES`; weekdays without a session are holidays."""
    moments = np.asarray(times, np.int64)
    local = new_york(moments)
    hour, day = local % 86_400 / 3600.0, (local // 86_400 + 3) % 7
    found = np.searchsorted(_PARTS, hour, side="right").astype(np.int64)
    weekend = ((day == 4) & (hour >= 20)) | (day == 5) | ((day == 6) & (hour < 20))
    closed = (hour >= 9.5) & (hour < 16) & (day < 5) & ~in_session(moments)
    return np.where(weekend, 8, np.where(closed, 9, found))
