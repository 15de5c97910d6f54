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
        kind = load_rulebook().asset(asset).asset_class
    except RulebookError:
        return None
    if kind == "crypto" or not len(times):
        return None
    try:
        if kind in ("equity", "index"):
            return ~in_session(times)
        return ~(in_session(times, "us_futures") & session_days(times))
    except ValueError:  # beyond the calendar
        return np.ones(len(times), bool)
