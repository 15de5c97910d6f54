"""What a bar must be: every bar that enters, by import, fetch or live, is judged here."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from ewmalab.times import MINUTE

COLUMNS = ("timestamp", "open", "high", "low", "close")
Bool = npt.NDArray[np.bool_]
Int = npt.NDArray[np.int64]


def row_faults(columns: Mapping[str, npt.NDArray[np.generic]], resolution: int = MINUTE) -> dict[str, Bool]:
    """Return, for each broken rule, the mask of the rows that break it (rules nobody breaks are left out).

    Parameters
    ----------
    columns : mapping of (n,) arrays
        The five columns of `Bars`; rows are judged one by one, the order against the row before.
    resolution : int
        Seconds per bar.

    Returns
    -------
    dict of str to (n,) bool
    """
    t = np.asarray(columns["timestamp"], np.int64)
    o, h, l, c = (np.asarray(columns[name], np.float64) for name in COLUMNS[1:])
    step = np.diff(t, prepend=t[:1] - resolution) if len(t) else t
    absent = np.isnan(o).astype(int) + np.isnan(h) + np.isnan(l)
    full = absent == 0
    with np.errstate(invalid="ignore"):
        faults = {
            "duplicate timestamp": step == 0,
            "out of order": step < 0,
            f"timestamp not a multiple of {resolution} s": t % resolution != 0,
            "close missing or not finite": ~np.isfinite(c),
            "price not positive": (c <= 0) | (o <= 0) | (h <= 0) | (l <= 0),
            "open, high or low not finite": np.isinf(o) | np.isinf(h) | np.isinf(l),
            "open, high, low only partly present": (absent > 0) & (absent < 3),
            "high below low": full & (h < l),
            "close outside low..high": full & ((c < l) | (c > h)),
            "open outside low..high": full & ((o < l) | (o > h)),
        }
    return {reason: mask for reason, mask in faults.items() if mask.any()}


def describe_faults(faults: Mapping[str, Bool], timestamp: Int) -> str:
    """Return one line that counts the rows per broken rule and names the first of each."""
    parts = []
    for reason, mask in faults.items():
        first = int(np.flatnonzero(mask)[0])
        parts.append(f"{int(mask.sum())} x {reason} (first: row {first}, timestamp {int(timestamp[first])})")
    return "bad bars: " + "; ".join(parts)
