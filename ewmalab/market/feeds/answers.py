"""Parse hosts' answers: waiting times, dates, errors and JSON."""

from __future__ import annotations

import calendar
import re
from collections.abc import Mapping
from email.utils import parsedate
from typing import Any

import orjson

UNSTATED_SILENCE = 60.0
"""Seconds of silence after a 429 without a readable waiting time."""

LONGEST_SILENCE = 3600.0
"""Seconds after which a host is asked again, whatever it states: a mistake of its own must not silence us for good."""


class Transient(Exception):
    """An attempt failed, but another may succeed."""


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that ``Retry-After`` asks for, None if it is absent.

    An HTTP date is compared with the answer's own ``Date``, the host's clock. An unreadable value counts as
    `UNSTATED_SILENCE`, a longer one than `LONGEST_SILENCE` as that.
    """
    stated = headers.get("Retry-After")
    if stated is None:
        return None
    stated = stated.strip()
    if re.fullmatch(r"\d+", stated, re.ASCII):
        return min(float(stated), LONGEST_SILENCE)
    until, present = http_date(stated), http_date(headers.get("Date", ""))
    return UNSTATED_SILENCE if until is None or present is None else min(max(0.0, until - present), LONGEST_SILENCE)


def http_date(text: str) -> float | None:
    """Return the time in a header, seconds since 1970-01-01 UTC; None if it cannot be read."""
    try:
        date = parsedate(text)
        return None if date is None else float(calendar.timegm(date))
    except (ValueError, IndexError, TypeError, OverflowError):
        return None


def printable(text: str) -> str:
    """Return a host's text as one line of ASCII, at most 200 characters, for a message."""
    text = "".join(c if " " <= c <= "~" else " " for c in text)
    return text if len(text) <= 200 else text[:197] + "..."


def decoded(content: bytes) -> Any:
    """Return a body's JSON; raise `Transient` if it is not JSON."""
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError as error:
        start = content.lstrip()[:1]
        kind = "empty" if not start else "HTML" if start == b"<" else "not JSON"
        raise Transient(f"the body is {kind} ({len(content)} bytes)") from error


def root_cause(error: BaseException) -> str:
    """Return the name of the innermost exception that requests and urllib3 have wrapped."""
    inner: object = error
    while isinstance(inner, BaseException):
        error = inner
        inner = getattr(error, "reason", None) or (error.args[-1] if error.args else None)
    return type(error).__name__
