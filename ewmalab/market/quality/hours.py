"""When a market is closed, so that a price that stands still is right."""

from __future__ import annotations

import numpy as np

from ewmalab.errors import RulebookError
from ewmalab.market.quality.rules import Bool, Int
from ewmalab.market.sessions import in_session, session_days
from ewmalab.rulebook import load_rulebook
from ewmalab.times import DAY

_HOUR = 3600
_BREAK = (21 * _HOUR, 23 * _HOUR)  # 17:00 to 18:00 in New York, summer and winter: metals and commodities rest
_FRIDAY, _SATURDAY, _SUNDAY = 4, 5, 6


def closed_minutes(asset: str, times: Int) -> Bool | None:
    """Return in which minutes the market behind an asset may be closed, None if it never is.

    Equities and indices are open in the US cash session; metals and commodities from Sunday 23:00 to Friday 21:00 UTC
    without the break of each day, and not on holidays of New York. Tokens of them trade all week, but may follow a
    price that rests.

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
        trading = session_days(times)
    except ValueError:  # beyond the calendar
        return np.ones(len(times), bool)
    weekday = (times // DAY + 3) % 7
    second = times % DAY
    resting = (second >= _BREAK[0]) & (second < _BREAK[1])
    resting |= (weekday == _SATURDAY) | ((weekday == _FRIDAY) & (second >= _BREAK[0]))
    resting |= (weekday == _SUNDAY) & (second < _BREAK[1])
    return np.asarray(resting | ~trading)
