"""Times: seconds since 1970-01-01 UTC, and their ISO text."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from ewmalab.errors import RulebookError

MINUTE = 60
HOUR = 3600
DAY = 86_400
FOREVER = 253_402_300_800  # the end of the year 9999
LAST = 4_102_444_800  # 2100-01-01: no given time is later, so that arithmetic with it stays within calendars
MAX_DAYS = 3_653.0  # ten years: longer ranges are mistakes, and would fill the memory with prompts

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def parse_time(text: str) -> int:
    """Read an ISO date or datetime as seconds since 1970-01-01 UTC.

    Parameters
    ----------
    text : str
        For example ``2026-01-15``, ``2026-01-15T14:00`` or ``2026-04-10T14:00:00Z``; UTC unless it has an offset.

    Raises
    ------
    RulebookError
        If the text is not such a date, has fractions of a second, or is not from 1970 to 2099.

    Examples
    --------
    >>> parse_time("2026-01-15")
    1768435200
    """
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise RulebookError(
            f"{text!r} is neither an ISO date nor an ISO datetime, such as 2026-01-15 or 2026-01-15T14:00:00Z"
        ) from None
    if moment.microsecond:
        raise RulebookError(f"{text!r} has fractions of a second; rules change on whole seconds")
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    when = (moment - _EPOCH) // timedelta(seconds=1)
    if not 0 <= when < LAST:
        raise RulebookError(f"{text!r} is out of range: times are from 1970-01-01 to 2099-12-31")
    return when


def seconds_in(days: float) -> int:
    """Return the length of so many days, seconds.

    Raises
    ------
    RulebookError
        If the number is not above 0 and at most `MAX_DAYS`.

    Examples
    --------
    >>> seconds_in(0.5)
    43200
    """
    if not 0 < days <= MAX_DAYS:  # also refuses NaN
        raise RulebookError(f"{days:g} days: choose more than 0, and at most {MAX_DAYS:.0f}")
    return round(days * DAY)


def span_of(start: int, days: float) -> tuple[int, int]:
    """Return the range of so many days from a start.

    Raises
    ------
    RulebookError
        See `seconds_in`; or if the range leaves the years 1970 to 2099.

    Examples
    --------
    >>> span_of(1768435200, 0.5)
    (1768435200, 1768478400)
    """
    end = start + seconds_in(days)
    if not start < end <= LAST:
        raise RulebookError(f"{days:g} days from {iso(start)} on: choose a range that ends before 2100")
    return start, end


def iso(when: int) -> str:
    """Write seconds since 1970-01-01 UTC as an ISO datetime.

    Examples
    --------
    >>> iso(1768435200)
    '2026-01-15T00:00:00Z'
    """
    return (_EPOCH + timedelta(seconds=when)).isoformat().replace("+00:00", "Z")


def day_name(day: int) -> str:
    """Return the date of a time: 1768435200 -> "2026-01-15"."""
    return iso(day)[:10]


def day_start(name: str) -> int:
    """Return the first second of a date; raise `ValueError` if the text is not a date."""
    return int(datetime.strptime(name, "%Y-%m-%d").replace(tzinfo=UTC).timestamp())
