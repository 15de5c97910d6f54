"""Times: seconds since 1970-01-01 UTC, and their ISO text."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from ewmalab.errors import RulebookError

MINUTE = 60
HOUR = 3600
DAY = 86_400
FOREVER = 253_402_300_800  # the end of the year 9999

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
        If the text is not such a date, or has fractions of a second.

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
    return (moment - _EPOCH) // timedelta(seconds=1)


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
