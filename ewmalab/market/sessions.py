"""Hours of the markets behind assets: the US cash session, and Globex with its daily halt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from ewmalab.market.ranges import Range, intersect

# The calendars as the package exchange_calendars has them, with which the tests compare every session. They are tables
# here because that package loads pandas: 50 MB and a second in each process, once within an answer of a miner.
_HOLIDAYS = {
    2020: "01-01 01-20 02-17 04-10 05-25 07-03 09-07 11-26 12-25",
    2021: "01-01 01-18 02-15 04-02 05-31 07-05 09-06 11-25 12-24",
    2022: "01-17 02-21 04-15 05-30 06-20 07-04 09-05 11-24 12-26",
    2023: "01-02 01-16 02-20 04-07 05-29 06-19 07-04 09-04 11-23 12-25",
    2024: "01-01 01-15 02-19 03-29 05-27 06-19 07-04 09-02 11-28 12-25",
    2025: "01-01 01-09 01-20 02-17 04-18 05-26 06-19 07-04 09-01 11-27 12-25",
    2026: "01-01 01-19 02-16 04-03 05-25 06-19 07-03 09-07 11-26 12-25",
    2027: "01-01 01-18 02-15 03-26 05-31 06-18 07-05 09-06 11-25 12-24",
    2028: "01-17 02-21 04-14 05-29 06-19 07-04 09-04 11-23 12-25",
    2029: "01-01 01-15 02-19 03-30 05-28 06-19 07-04 09-03 11-22 12-25",
    2030: "01-01 01-21 02-18 04-19 05-27 06-19 07-04 09-02 11-28 12-25",
    2031: "01-01 01-20 02-17 04-11 05-26 06-19 07-04 09-01 11-27 12-25",
    2032: "01-01 01-19 02-16 03-26 05-31 06-18 07-05 09-06 11-25 12-24",
}
_EARLY_CLOSES = {
    2020: "11-27 12-24",
    2021: "11-26",
    2022: "11-25",
    2023: "07-03 11-24",
    2024: "07-03 11-29 12-24",
    2025: "07-03 11-28 12-24",
    2026: "11-27 12-24",
    2027: "11-26",
    2028: "07-03 11-24",
    2029: "07-03 11-23 12-24",
    2030: "07-03 11-29 12-24",
    2031: "07-03 11-28 12-24",
    2032: "11-26",
}
_GLOBEX_HOLIDAYS = {
    2020: "01-01 04-10 12-25",
    2021: "01-01 04-02 12-24",
    2022: "04-15 12-26",
    2023: "01-02 04-07 12-25",
    2024: "01-01 03-29 12-25",
    2025: "01-01 04-18 12-25",
    2026: "01-01 04-03 12-25",
    2027: "01-01 03-26 12-24",
    2028: "04-14 12-25",
    2029: "01-01 03-30 12-25",
    2030: "01-01 04-19 12-25",
    2031: "01-01 04-11 12-25",
    2032: "01-01 03-26 12-24",
}
_GLOBEX_EARLY_CLOSES = {
    2020: "01-20 02-17 05-25 07-03 09-07 11-26 11-27 12-24",
    2021: "01-18 02-15 05-31 07-05 09-06 11-25 11-26",
    2022: "01-17 02-21 05-30 07-04 09-05 11-24 11-25",
    2023: "01-16 02-20 05-29 07-04 09-04 11-23 11-24",
    2024: "01-15 02-19 05-27 07-04 09-02 11-28 11-29 12-24",
    2025: "01-20 02-17 05-26 07-04 09-01 11-27 11-28 12-24",
    2026: "01-19 02-16 05-25 07-03 09-07 11-26 11-27 12-24",
    2027: "01-18 02-15 05-31 07-05 09-06 11-25 11-26",
    2028: "01-17 02-21 05-29 07-04 09-04 11-23 11-24",
    2029: "01-15 02-19 05-28 07-04 09-03 11-22 11-23 12-24",
    2030: "01-21 02-18 05-27 07-04 09-02 11-28 11-29 12-24",
    2031: "01-20 02-17 05-26 07-04 09-01 11-27 11-28 12-24",
    2032: "01-19 02-16 05-31 07-05 09-06 11-25 11-26",
}
_FIRST, _LAST = date(2020, 1, 1), date(2032, 12, 31)
_NEW_YORK = ZoneInfo("America/New_York")


@dataclass(frozen=True, slots=True)
class _Calendar:
    """Sessions on weekdays, in New York's time; one that opens in the evening belongs to the next date."""

    opens: time
    closes: time
    early: time
    holidays: Mapping[int, str]
    early_closes: Mapping[int, str]


_GLOBEX = _Calendar(time(18), time(17), time(13), _GLOBEX_HOLIDAYS, {})
_CALENDARS = {
    "XNYS": _Calendar(time(9, 30), time(16), time(13), _HOLIDAYS, _EARLY_CLOSES),  # the New York Stock Exchange
    # Futures on Globex: the halt from 17:00 to 18:00 is not in the package, nor are the early closes of metals and oil,
    # so that minutes without a bar count as missing then.
    "us_futures": _GLOBEX,
    "CMES": replace(
        _GLOBEX,  # equity indices
        holidays=_GLOBEX_HOLIDAYS | {2025: "01-01 01-09 04-18 12-25"},
        early_closes=_GLOBEX_EARLY_CLOSES,
    ),
}
CALENDARS = tuple(_CALENDARS)
"""Names of the calendars, as in the package exchange_calendars."""


@lru_cache
def _edges(name: str = "XNYS") -> npt.NDArray[np.int64]:
    """Return opens and closes, alternating, seconds since 1970-01-01 UTC."""
    calendar = _CALENDARS[name]
    edges: list[float] = []
    for day in (_FIRST + timedelta(days) for days in range((_LAST - _FIRST).days + 1)):
        short = f"{day:%m-%d}"
        if day.weekday() >= 5 or short in calendar.holidays[day.year]:
            continue
        opens = day - timedelta(calendar.opens > calendar.closes)
        close = calendar.early if short in calendar.early_closes.get(day.year, "") else calendar.closes
        moments = datetime.combine(opens, calendar.opens, _NEW_YORK), datetime.combine(day, close, _NEW_YORK)
        edges += [moment.timestamp() for moment in moments]
    return np.array(edges, np.int64)


def closures(calendar: str, start: int, end: int) -> list[Range]:
    """Return the times in ``[start, end)`` at which a market is closed; none outside the years 2020 to 2032.

    Parameters
    ----------
    calendar : str
        One of `CALENDARS`.
    start, end : int
        Seconds since 1970-01-01 UTC.

    Examples
    --------
    >>> closures("us_futures", 1768514400, 1768604400)  # from 2026-01-15 17:00 in New York, a daily halt
    [(1768514400, 1768518000), (1768600800, 1768604400)]
    """
    edges = _edges(calendar)
    first, last = np.searchsorted(edges[1::2], start, "right"), np.searchsorted(edges[::2], end, "left")
    closes, opens = edges[1:-1:2][max(0, first - 1) : last], edges[2::2][max(0, first - 1) : last]
    return intersect(zip(closes.tolist(), opens.tolist(), strict=True), [(start, end)])


def in_session(times: npt.ArrayLike, calendar: str = "XNYS") -> npt.NDArray[np.bool_]:
    """Return whether each moment lies in a session, by default the cash session: open <= time < close.

    Parameters
    ----------
    times : (n,) int64
        Seconds since 1970-01-01 UTC, within 2020 to 2032.
    calendar : str
        One of `CALENDARS`.

    Returns
    -------
    (n,) bool

    Raises
    ------
    ValueError
        If a time lies outside the years of the calendar.

    Examples
    --------
    >>> in_session([1768487400, 1768487399]).tolist()  # 2026-01-15 09:30 in New York, and a second before
    [True, False]
    """
    wanted = _within(times)
    edges = _edges(calendar)
    inside: npt.NDArray[np.bool_] = np.searchsorted(edges, wanted, side="right") % 2 == 1
    return inside


def session_days(times: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Return whether each moment's day (UTC) has a cash session, or is on a weekend; see `in_session`."""
    wanted = _within(times)
    days, sessions = wanted // 86_400, _edges()[::2] // 86_400
    session = sessions[np.minimum(np.searchsorted(sessions, days), len(sessions) - 1)] == days
    return np.asarray(session | ((days + 3) % 7 >= 5))


def _within(times: npt.ArrayLike) -> npt.NDArray[np.int64]:
    wanted = np.asarray(times, np.int64)
    edges = _edges()
    if wanted.size and (wanted.min() < edges[0] - 7 * 86_400 or wanted.max() > edges[-1] + 7 * 86_400):
        raise ValueError(f"the session calendar covers {_FIRST} to {_LAST}")
    return wanted
