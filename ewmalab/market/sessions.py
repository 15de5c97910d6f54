"""The US cash session of tokenised equities (New York Stock Exchange, with holidays and early closes)."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

# The calendar has fixed ends, since its default range depends on the current date.
_FIRST, _LAST = "2020-01-01", "2032-12-31"


@lru_cache(maxsize=1)
def _edges() -> npt.NDArray[np.int64]:
    """Return opens and closes, alternating, seconds since 1970-01-01 UTC."""
    import exchange_calendars

    calendar = exchange_calendars.get_calendar("XNYS", start=_FIRST, end=_LAST)
    edges = np.empty(2 * len(calendar.opens), np.int64)
    edges[0::2] = calendar.opens.to_numpy("datetime64[s]").astype(np.int64)
    edges[1::2] = calendar.closes.to_numpy("datetime64[s]").astype(np.int64)
    return edges


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
    wanted = np.asarray(times, np.int64)
    edges = _edges()
    if wanted.size and (wanted.min() < edges[0] - 7 * 86_400 or wanted.max() > edges[-1] + 7 * 86_400):
        raise ValueError(f"the session calendar covers {_FIRST} to {_LAST}")
    inside: npt.NDArray[np.bool_] = np.searchsorted(edges, wanted, side="right") % 2 == 1
    return inside
