"""Times of any unit, text and zone as nanoseconds since 1970-01-01 UTC."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ewmalab.errors import BarsError
from ewmalab.market.files.numbers import MISSING
from ewmalab.market.files.table import Hints

Int = npt.NDArray[np.int64]

NO_TIME = int(np.iinfo(np.int64).min)  # of a row whose time cannot be read
_UNITS = {
    "s": ("seconds", 10**9),
    "ms": ("milliseconds", 10**6),
    "us": ("microseconds", 10**3),
    "ns": ("nanoseconds", 1),
}
_SPAN = (946_684_800 * 10**9, 4_102_444_800 * 10**9)  # years 2000 to 2099: in other units no time falls into it
_NUMBER = re.compile(r"[-+]?\d+(?:\.\d*)?(?:[eE][-+]?\d+)?")
_ZONE = re.compile(r"(?:Z|[+-]\d\d:?\d\d|[+-]\d\d)$", re.IGNORECASE)
_CLOCKS = ("%H:%M:%S", "%H:%M", "%I:%M:%S %p", "%I:%M %p")
_FORMATS = (
    "ISO8601",
    "%Y%m%d %H%M%S",
    "%Y%m%d %H:%M:%S",
    "%Y%m%d %H:%M",
    "%Y%m%d %H%M",
    "%Y%m%d%H%M%S",
    "%Y%m%d%H%M",
    "%Y.%m.%d %H:%M:%S",
    "%Y.%m.%d %H:%M",
    "%d.%m.%Y %H:%M:%S.%f",
    "%d.%m.%Y %H:%M:%S",
    "%d.%m.%Y %H:%M",
    *(f"{day} {clock}" for day in ("%Y-%m-%d", "%Y.%m.%d", "%Y/%m/%d") for clock in ("%I:%M:%S %p", "%I:%M %p")),
    *(f"{day} {clock}" for day in ("%d %b %Y", "%d-%b-%Y", "%b %d, %Y") for clock in _CLOCKS),
)
_ENOUGH = 0.9  # share of rows that a format must read


@dataclass(frozen=True, slots=True)
class Times:
    """Nanoseconds since 1970-01-01 UTC, `NO_TIME` where unreadable; how they were written; their zone."""

    ns: Int
    written: str
    zone: str


def read_times(column: pd.Series[Any], hints: Hints, name: str = "timestamp") -> Times:
    """Return a column of times in UTC.

    Parameters
    ----------
    column : (n,) Series
        Numbers since 1970-01-01, texts, or typed times.
    hints : Hints
        Zone, unit and format, if given. Times without a zone are UTC.
    name : str
        Named in errors.

    Raises
    ------
    BarsError
        If most values are no times, or could be several.
    """
    if isinstance(column.dtype, pd.DatetimeTZDtype):
        if hints.timezone:
            raise BarsError(f"column {name} has a zone ({column.dtype.tz}); leave --timezone out")
        return Times(_ns(column.dt.tz_convert("UTC")), "times with a zone", "UTC")
    if pd.api.types.is_datetime64_any_dtype(column.dtype):
        return _located(column, hints, "times")
    if pd.api.types.is_numeric_dtype(column.dtype) and not pd.api.types.is_bool_dtype(column.dtype):
        numbers = column.tolist()
    else:
        texts = [None if _absent(value) else str(value).strip() for value in column.tolist()]
        numbers = [_epoch(text, hints) for text in texts]
        lost = sum(number is None and text is not None for number, text in zip(numbers, texts, strict=True))
        if hints.time_format or lost > (1 - _ENOUGH) * len(texts) or not any(numbers):
            return _from_text(pd.Series(texts, dtype=object), hints, name)
    ns, units = _from_numbers(numbers, hints, name)
    written = " and ".join(units)
    if hints.timezone:
        return _located(pd.Series(pd.to_datetime(np.where(ns == NO_TIME, pd.NaT.value, ns))), hints, written)
    return Times(ns, written, "UTC")


def is_clock(column: pd.Series[Any]) -> bool:
    """Return whether all values are times of a day, such as 14:05."""
    if pd.api.types.is_numeric_dtype(column.dtype):
        return False
    return all(
        re.fullmatch(
            r"\d{1,2}:\d\d(?::\d\d(?:\.\d+)?)?(?: ?[AaPp][Mm])?|(?:[01]\d|2[0-3])[0-5]\d(?:[0-5]\d)?", str(v).strip()
        )
        for v in column.tolist()
    )


def seconds(ns: Int, labels: str) -> Int:
    """Return the open times of bars, in seconds, from the times that label them.

    Parameters
    ----------
    ns : (n,) int64
        Nanoseconds, or `NO_TIME`.
    labels : str
        ``open`` or ``close``; a bar's close may be written as its last millisecond.

    Returns
    -------
    (n,) int64
        A time between two seconds becomes one that is no whole minute.
    """
    minute = 60 * 10**9
    whole, rest = np.divmod(ns, 10**9)
    if labels == "close":
        late = minute - ns % minute <= 10**9  # 59 s or later
        ns = np.where(late, ns - ns % minute + minute, ns) - minute
        whole, rest = np.divmod(ns, 10**9)
    whole = np.where((rest != 0) & (whole % 60 == 0), whole + 1, whole)
    return np.where(ns < _SPAN[0] - 10**18, NO_TIME, whole)


def _absent(value: Any) -> bool:
    return value is None or value is pd.NaT or value != value or str(value).strip().lower() in MISSING


def _epoch(text: str | None, hints: Hints) -> int | float | None:
    """Return a text as a number; 8, 12 or 14 digits are a date."""
    if text is None or not _NUMBER.fullmatch(text) or (hints.unit is None and len(text.split(".")[0]) in (8, 12, 14)):
        return None
    return int(text) if text.lstrip("+-").isdigit() else float(text)


def _from_numbers(numbers: list[Any], hints: Hints, name: str) -> tuple[Int, list[str]]:
    """Return nanoseconds and the units found; a file may change its unit, as Binance's did in 2025."""
    scales = {unit: scale for unit, (_, scale) in _UNITS.items() if hints.unit in (None, unit)}
    whole = all(type(value) is int and abs(value) < 2**62 for value in numbers)
    span = None if hints.unit else _SPAN
    out, units = (
        _from_integers(np.array(numbers, np.int64), scales, span) if whole else _one_by_one(numbers, scales, span)
    )
    if np.mean(out == NO_TIME) > 1 - _ENOUGH:
        bad = next(value for value, moment in zip(numbers, out, strict=True) if moment == NO_TIME)
        raise BarsError(
            f"column {name}: {bad!r} is no time in seconds, milliseconds, microseconds or nanoseconds between 2000 and "
            "2099; name the right column with --columns timestamp=NAME, or its unit with --unit"
        )
    return out, [_UNITS[unit][0] for unit in _UNITS if unit in units]


def _from_integers(numbers: Int, scales: Mapping[str, int], span: tuple[int, int] | None) -> tuple[Int, set[str]]:
    """Return nanoseconds and the units found, of the unit that brings each number into the span; none: of the one."""
    out = np.full(len(numbers), NO_TIME, np.int64)
    units = set()
    for unit, scale in scales.items():
        low, high = (-(-span[0] // scale), -(-span[1] // scale)) if span else (-(2**62 // scale), 2**62 // scale + 1)
        fits = (out == NO_TIME) & (numbers >= low) & (numbers < high)
        out[fits] = numbers[fits] * scale
        units |= {unit} if fits.any() else set()
    return out, units


def _one_by_one(numbers: list[Any], scales: Mapping[str, int], span: tuple[int, int] | None) -> tuple[Int, set[str]]:
    """Do as `_from_integers` for numbers of which some have fractions or are missing."""
    out = np.full(len(numbers), NO_TIME, np.int64)
    units = set()
    for at, value in enumerate(numbers):
        if value is None or value != value:
            continue
        for unit, scale in scales.items():
            if span is None or span[0] <= value * scale < span[1]:
                whole = int(value // 1)
                moment = whole * scale + round((value - whole) * scale)
                if abs(moment) < 2**62:
                    out[at] = moment
                    units.add(unit)
                break
    return out, units


def _from_text(texts: pd.Series[Any], hints: Hints, name: str) -> Times:
    present = texts.dropna().map(lambda text: re.sub(r"[ ]?(?:UTC|GMT)$", "Z", re.sub(r" GMT(?=[+-])", "", text)))
    zoned = present.map(lambda text: bool(_ZONE.search(text)) and ":" in text)
    if not len(present):
        raise BarsError(f"column {name} has no times")
    if zoned.any() and not zoned.all():
        raise BarsError(f"column {name} has times with and without a zone: {present[~zoned].iloc[0]!r}")
    aware = bool(zoned.all())
    if aware and hints.timezone:
        raise BarsError(f"column {name} has times with a zone ({present.iloc[0]!r}); leave --timezone out")
    parsed = _parsed(present, hints, aware, name).reindex(texts.index)
    if aware:
        return Times(_ns(parsed), "times with a zone", "UTC")
    return _located(parsed, hints, "times")


def _parsed(present: pd.Series[Any], hints: Hints, aware: bool, name: str) -> pd.Series[Any]:
    """Return texts as datetimes, NaT where unreadable."""
    for one in (hints.time_format,) if hints.time_format else _FORMATS:
        suffix = "" if one == "ISO8601" or not aware or "%z" in one else "%z"
        try:
            found = pd.to_datetime(present, format=one + suffix, errors="coerce", utc=aware)
        except ValueError as error:
            raise BarsError(f"--time-format {one}: {error}; write for example '%d/%m/%Y %H:%M'") from error
        if found.notna().mean() >= _ENOUGH:
            return found
    if not hints.time_format:
        orders = []
        for day in ("%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y"):
            for clock in _CLOCKS:
                found = pd.to_datetime(present, format=f"{day} {clock}", errors="coerce")
                if found.notna().all():
                    orders.append(found)
        if orders and all(found.equals(orders[0]) for found in orders):
            return orders[0]
        if orders:
            raise BarsError(
                f"column {name}: {present.iloc[0]!r} may start with the day or the month; pass --time-format, for "
                "example --time-format '%d/%m/%Y %H:%M'"
            )
    raise BarsError(f"column {name}: {present.iloc[0]!r} is not a time that can be read; pass --time-format")


def _located(naive: pd.Series[Any], hints: Hints, written: str) -> Times:
    """Return times without a zone in UTC; `hints.timezone` is the zone of their clock."""
    if not hints.timezone:
        return Times(_ns(naive.dt.tz_localize("UTC")), f"{written} without a zone", "taken as UTC")
    known = naive.dropna()
    backwards = len(known) > 0 and known.iloc[0] > known.iloc[-1]
    naive = naive[::-1] if backwards else naive  # an hour that is shown twice is told by its order
    try:
        try:
            local = naive.dt.tz_localize(hints.timezone, ambiguous="infer", nonexistent="NaT")
        except ValueError:  # an hour that the clock shows twice, but the file has once
            local = naive.dt.tz_localize(hints.timezone, ambiguous="NaT", nonexistent="NaT")
    except (KeyError, LookupError, TypeError, ValueError) as error:
        raise BarsError(f"--timezone {hints.timezone}: unknown zone ({error}); for example America/New_York") from error
    local = local[::-1] if backwards else local
    return Times(_ns(local.dt.tz_convert("UTC")), written, f"clock of {hints.timezone}")


def _ns(moments: pd.Series[Any]) -> Int:
    naive = moments.dt.tz_localize(None)
    inside = (naive >= pd.Timestamp(_SPAN[0])) & (naive < pd.Timestamp(_SPAN[1]))  # others may not fit nanoseconds
    stamped = naive.where(inside).astype("datetime64[ns]")
    return np.asarray(stamped.to_numpy().astype(np.int64))  # NaT is the smallest integer, as NO_TIME is
