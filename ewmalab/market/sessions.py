"""The US cash session of tokenised equities (New York Stock Exchange, with holidays and early closes)."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

# The exchange's calendar as the package exchange_calendars has it, with which the tests compare every session. It is a
# table here because that package loads pandas: 50 MB and a second in each process, once within an answer of a miner.
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
_FIRST, _LAST = date(2020, 1, 1), date(2032, 12, 31)
_OPEN, _CLOSE, _EARLY_CLOSE = time(9, 30), time(16), time(13)
_NEW_YORK = ZoneInfo("America/New_York")


@lru_cache(maxsize=1)
def _edges() -> npt.NDArray[np.int64]:
    """Return opens and closes, alternating, seconds since 1970-01-01 UTC."""
    edges: list[float] = []
    for day in (_FIRST + timedelta(days) for days in range((_LAST - _FIRST).days + 1)):
        name = f"{day:%m-%d}"
        if day.weekday() >= 5 or name in _HOLIDAYS[day.year]:
            continue
        close = _EARLY_CLOSE if name in _EARLY_CLOSES[day.year] else _CLOSE
        edges += [datetime.combine(day, moment, _NEW_YORK).timestamp() for moment in (_OPEN, close)]
    return np.array(edges, np.int64)


def in_session(times: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Return whether each moment lies in the cash session: open <= time < close.

    Parameters
    ----------
    times : (n,) int64
        Seconds since 1970-01-01 UTC, within 2020 to 2032.

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
    edges = _edges()
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
