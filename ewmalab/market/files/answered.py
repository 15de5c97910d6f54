"""What an imported file answers for besides its bars, and the command that imports it again."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ewmalab.market.bars import Bars
from ewmalab.market.files.table import Hints
from ewmalab.market.ranges import Range, intersect, minutes, runs, subtract
from ewmalab.market.sessions import closures
from ewmalab.times import HOUR, MINUTE, iso

_NEAR = HOUR


def answered_closures(bars: Bars, calendar: str | None) -> list[Range]:
    """Return the closures of the market that a file answers for: those with bars within an hour on both sides.

    Parameters
    ----------
    bars : Bars
    calendar : str or None
        See `ewmalab.market.sessions.closures`; None if the market never closes.
    """
    if calendar is None or not len(bars):
        return []
    times = bars.timestamp
    found = closures(calendar, int(times[0]), int(times[-1]))
    closes, opens = np.array(found, np.int64).reshape(-1, 2).T
    before = np.searchsorted(times, closes) - np.searchsorted(times, closes - _NEAR)
    after = np.searchsorted(times, opens + _NEAR) - np.searchsorted(times, opens)
    return [one for one, near in zip(found, (before > 0) & (after > 0), strict=True) if near]


def silence(bars: Bars, calendar: str | None) -> tuple[int, int]:
    """Return the minutes without a bar between the first and the last: missing ones, and those of a closed market."""
    if not len(bars):
        return 0, 0
    span = int(bars.timestamp[0]), int(bars.timestamp[-1]) + MINUTE
    silent = subtract([span], runs(bars.timestamp))
    closed = minutes(intersect(silent, closures(calendar, *span))) if calendar else 0
    return minutes(silent) - closed, closed


def answered_at(bars: Bars, written: int, now: int) -> int:
    """Return when the source of a file answered: when the file was written, or `now` if that cannot be true."""
    return now if len(bars) and written < bars.timestamp[-1] else written


def unsettled_note(bars: Bars, as_of: int) -> list[str]:
    """Return a line if the newest bar had closed less than a minute before the source answered."""
    if not len(bars) or not MINUTE <= as_of - int(bars.timestamp[-1]) < 2 * MINUTE:
        return []
    return [f"the bar of {iso(int(bars.timestamp[-1]))} had just closed and is not final"]


def import_command(path: Path, feed: str, asset: str | None, hints: Hints, options: Sequence[str]) -> str:
    """Return the command that imports a file again.

    Parameters
    ----------
    path : Path
    feed : str
    asset : str or None
        None if the file or archive has several, which it names itself.
    hints : Hints
    options : sequence of str
        Further options, as typed.
    """
    words = ["ewmalab", "data", "import", str(path.resolve()), "--feed", feed]
    words += ["--asset", asset] if asset else []
    if hints.columns:
        words += ["--columns", ",".join(f"{role}={name}" for role, name in hints.columns.items())]
    for name in ("timezone", "labels", "unit", "time_format", "decimal", "symbol", "interval"):
        value = getattr(hints, name)
        words += [f"--{name.replace('_', '-')}", value] if value is not None else []
    return shlex.join([*words, *options])
