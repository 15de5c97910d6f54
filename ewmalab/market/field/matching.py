"""Match scored prompts to their start times, which the API does not give."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

LONGEST_DELAY = 1800
"""Most seconds between the end of a prompt's path and its scoring."""

Ints = npt.NDArray[np.int64]


def match_starts(scored: Ints, starts: Ints, time_length: int) -> Ints:
    """Return the start time of each scored prompt of one asset and horizon.

    That is the latest start at or before ``scored - time_length``, at most `LONGEST_DELAY` earlier. If two prompts
    would have the same start, only the one that was scored first has it.

    Parameters
    ----------
    scored : (n,) int64
        Distinct times, ascending, seconds since 1970-01-01 UTC.
    starts : (m,) int64
        Start times that validators sent, ascending.
    time_length : int
        Seconds.

    Returns
    -------
    (n,) int64
        -1 where no start fits.

    Examples
    --------
    >>> match_starts(np.array([4000, 9000]), np.array([60, 120, 5100]), 3600).tolist()
    [120, 5100]
    """
    ends = np.asarray(scored, np.int64) - time_length
    if not len(starts):
        return np.full(len(ends), -1, np.int64)
    place = np.searchsorted(starts, ends, side="right") - 1
    found = np.where(place >= 0, np.asarray(starts, np.int64)[np.maximum(place, 0)], -1)
    found[(found >= 0) & (ends - found > LONGEST_DELAY)] = -1
    again = np.r_[False, found[1:] == found[:-1]] if len(found) else np.zeros(0, bool)
    found[again] = -1
    return found
