"""Durations as text with a unit."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def parse_duration(value: object) -> int:
    """Return seconds from text with a unit ("90s", "30m", "2h", "3d").

    Raises
    ------
    ValueError
        If the unit is missing or unknown, or the duration is not a whole number of seconds.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*", str(value))
    if not match:
        raise ValueError('a duration is a number with a unit, such as "90s", "30m", "2h" or "3d"')
    number, unit = match.groups()
    if unit not in _UNITS:
        what = f"unit {unit!r} is not one of s, m, h, d" if unit else "the duration has no unit"
        raise ValueError(f'{what}; write for example "{number}s" or "{number}m"')
    seconds = Fraction(number) * _UNITS[unit]
    if seconds.denominator != 1:
        raise ValueError("a duration must be a whole number of seconds")
    return int(seconds)


def format_duration(seconds: int) -> str:
    """Return the shortest text that `parse_duration` reads back: 5400 -> "90m"."""
    unit = next(u for u in ("d", "h", "m", "s") if seconds % _UNITS[u] == 0)
    return f"{seconds // _UNITS[unit]}{unit}"


def magnitude(value: Any) -> float | None:
    """Return a number as it is and a duration in seconds; None for anything else."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value)
    try:
        return float(parse_duration(value))
    except ValueError:
        return None
