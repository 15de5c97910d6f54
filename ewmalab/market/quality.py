"""The rules of a bar, checked for every bar that is imported, fetched or received live."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from ewmalab.times import MINUTE

COLUMNS = ("timestamp", "open", "high", "low", "close")
Bool = npt.NDArray[np.bool_]
Int = npt.NDArray[np.int64]

_DUPLICATE, _OUT_OF_ORDER = "duplicate timestamp", "out of order"
_NEVER = np.iinfo(np.int64).min
# With fewer rows, a market that happens to trade every other minute would look like 2-minute bars.
_MIN_SPACING_ROWS = 10


def row_faults(columns: Mapping[str, npt.NDArray[np.generic]], resolution: int = MINUTE) -> dict[str, Bool]:
    """Return, for each broken rule, the mask of the rows that break it.

    Parameters
    ----------
    columns : mapping of (n,) arrays
        The five columns of `Bars`. Each row is judged by itself, and its order against the previous row.
    resolution : int
        Seconds per bar.

    Returns
    -------
    dict of str to (n,) bool
    """
    t = np.asarray(columns["timestamp"], np.int64)
    step = np.diff(t, prepend=t[:1] - resolution) if len(t) else t
    faults = {_DUPLICATE: step == 0, _OUT_OF_ORDER: step < 0, **_faults_within(columns, resolution)}
    return {reason: mask for reason, mask in faults.items() if mask.any()}


def rejects(columns: Mapping[str, npt.NDArray[np.generic]], now: int | None = None) -> dict[str, Bool]:
    """Return, by reason, the masks of the rows to drop so that the others are valid minute bars; each row once.

    Each row is first judged by itself and listed under the first rule that it breaks. Then, in the given order, a row
    that is not after the last good one is out of order or a duplicate.

    Parameters
    ----------
    columns : mapping of (n,) arrays
        The five columns of `Bars`.
    now : int, optional
        Current time, seconds since 1970-01-01 UTC; a bar that is not closed by then is bad.

    Returns
    -------
    dict of str to (n,) bool
    """
    times = np.asarray(columns["timestamp"], np.int64)
    faults = _faults_within(columns, MINUTE)
    if now is not None:
        faults["not closed yet"] = times + MINUTE > now
    bad = np.zeros(len(times), bool)
    for reason, mask in faults.items():
        faults[reason] = mask & ~bad
        bad |= mask
    # The latest earlier row that is not bad by itself is good: it is after all others.
    latest = np.maximum.accumulate(np.where(bad, _NEVER, times))
    before = np.concatenate([[_NEVER], latest[:-1]])
    faults |= {_DUPLICATE: ~bad & (times == before), _OUT_OF_ORDER: ~bad & (times < before)}
    return {reason: mask for reason, mask in faults.items() if mask.any()}


def spacing_fault(timestamp: Int, resolution: int = MINUTE) -> str | None:
    """Return a message if bars have a longer resolution than expected, else None.

    They do if there are at least 10 of them and every step between neighbours is a multiple of the same k > 1 times
    `resolution`. Bars of a quiet market have gaps of all lengths.

    Parameters
    ----------
    timestamp : (n,) int64
        Strictly increasing multiples of `resolution`.
    resolution : int
        Seconds per bar.
    """
    apart = int(np.gcd.reduce(np.diff(timestamp))) if len(timestamp) >= _MIN_SPACING_ROWS else resolution
    if apart == resolution:
        return None
    since = f"from timestamp {int(timestamp[0])} on"
    return f"{since}, bars are {apart} s apart, not {resolution} s; bars of {resolution} s are needed"


def describe_faults(faults: Mapping[str, Bool], timestamp: Int) -> str:
    """Return one line that counts the rows per broken rule and names the first row of each."""
    parts = []
    for reason, mask in faults.items():
        first = int(np.flatnonzero(mask)[0])
        parts.append(f"{int(mask.sum())} x {reason} (first: row {first}, timestamp {int(timestamp[first])})")
    return "bad bars: " + "; ".join(parts)


def _faults_within(columns: Mapping[str, npt.NDArray[np.generic]], resolution: int) -> dict[str, Bool]:
    """Return the masks of the rules that apply to single rows."""
    t = np.asarray(columns["timestamp"], np.int64)
    o, h, l, c = (np.asarray(columns[name], np.float64) for name in COLUMNS[1:])
    absent = np.isnan(o).astype(int) + np.isnan(h) + np.isnan(l)
    full = absent == 0
    with np.errstate(invalid="ignore"):
        return {
            f"timestamp not a multiple of {resolution} s": t % resolution != 0,
            "close missing or not finite": ~np.isfinite(c),
            "price not positive": (c <= 0) | (o <= 0) | (h <= 0) | (l <= 0),
            "open, high or low not finite": np.isinf(o) | np.isinf(h) | np.isinf(l),
            "open, high, low only partly present": (absent > 0) & (absent < 3),
            "high below low": full & (h < l),
            "close outside low..high": full & ((c < l) | (c > h)),
            "open outside low..high": full & ((o < l) | (o > h)),
        }
