"""When a market is closed, so that a price that stands still is right."""

from __future__ import annotations

import numpy as np

from ewmalab.errors import RulebookError
from ewmalab.market.quality.rules import Bool, Int
from ewmalab.market.sessions import in_session, session_days
from ewmalab.rulebook import load_rulebook


def closed_minutes(asset: str, times: Int) -> Bool | None:
    """Return in which minutes the market behind an asset may be closed, None if it never is.

    Equities and indices are open in the US cash session, metals and commodities in that of their futures, but on
    holidays of New York. Tokens of them trade all week, but may follow a price that rests.

    Parameters
    ----------
    asset : str
        An asset that the rulebook does not know is never closed.
    times : (n,) int64
        Labels, seconds since 1970-01-01 UTC.
    """
    try:
        found = load_rulebook().asset(asset)
    except RulebookError:
        return None
    calendar = next(iter(found.hours.values()), None)
    if not len(times) or not (found.sessions or calendar):
        return None
    try:
        if found.sessions or calendar is None:
            return ~in_session(times)
        return ~(in_session(times, calendar) & session_days(times))
    except ValueError:  # beyond the calendar
        return np.ones(len(times), bool)
