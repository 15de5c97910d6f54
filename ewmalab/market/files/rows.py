"""The rows of a file as bars: good ones, gaps, repeats and bad ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ewmalab.errors import BarsError
from ewmalab.market.bars import Bars
from ewmalab.market.quality import COLUMNS, VALUE_FAULTS, Bool, Int, rejects, spacing_fault
from ewmalab.market.ranges import Range, runs
from ewmalab.times import MINUTE, iso

Columns = dict[str, npt.NDArray[Any]]
_MIN_ROWS = 2  # one row says nothing of its length


@dataclass(frozen=True, slots=True)
class Split:
    """Rows of a file by their use.

    Attributes
    ----------
    bars : Bars
        The good rows in order.
    covered : list of ranges
        The minutes that the file answers for: those of its bars, of rows without any price (gaps), and of rows whose
        prices are wrong.
    rejected : dict of str to (n,) bool
        The bad rows by reason; see `rejects`.
    notes : tuple of str
        What was left out that is not bad.
    """

    bars: Bars
    covered: list[Range]
    rejected: dict[str, Bool]
    notes: tuple[str, ...]


def split_rows(
    columns: Columns, *, now: int | None = None, written: int | None = None, minute_bars: bool = False
) -> Split:
    """Separate the rows of a file.

    Parameters
    ----------
    columns : dict of (n,) arrays
        The five columns of `Bars`, in the order of the file.
    now : int, optional
        Current time, seconds since 1970-01-01 UTC. The bar that is open then is left out; later ones are bad.
    written : int, optional
        When the file was last written. If that was within its newest bar, the bar was still forming.
    minute_bars : bool
        Whether few rows far apart are known to be minute bars.

    Raises
    ------
    BarsError
        If the rows have a longer resolution, or are too few and too far apart to tell.
    """
    times = np.asarray(columns["timestamp"], np.int64)
    _check_spacing(times, minute_bars)
    empty = np.logical_and.reduce([np.isnan(columns[name]) for name in COLUMNS[1:]])
    repeated = _repeats(columns)
    forming = _forming(times, now, written)
    gaps = empty & (times % MINUTE == 0) & (times >= 0) & (times <= (now - MINUTE if now is not None else times))
    candidates = np.flatnonzero(~(gaps | repeated | forming))
    found = rejects({name: column[candidates] for name, column in columns.items()}, now)
    rejected = {reason: _spread(mask, candidates, len(times)) for reason, mask in found.items()}
    bad = np.logical_or.reduce([np.zeros(len(times), bool), *rejected.values()])
    good = candidates[~bad[candidates]]
    good = good[np.argsort(times[good], kind="stable")]
    bars = Bars.from_columns({name: column[good] for name, column in columns.items()})
    past = times <= (now - MINUTE if now is not None else times)
    unusable = np.logical_or.reduce(
        [rejected[reason] & past for reason in VALUE_FAULTS if reason in rejected] or [gaps]
    )
    answered = _distinct(np.concatenate([bars.timestamp, times[gaps | unusable]]))
    doubtful = np.setdiff1d(_distinct(times[bad & ~unusable]), bars.timestamp, assume_unique=True)
    answered = np.setdiff1d(answered, doubtful, assume_unique=True)
    notes = [f"{count} repeated row(s)"] if (count := int(repeated.sum())) else []
    notes += [f"the bar of {iso(int(times[forming][0]))} was still forming and was left out"] if forming.any() else []
    return Split(bars, runs(answered), rejected, tuple(notes))


def _check_spacing(times: Int, minute_bars: bool) -> None:
    """Refuse bars of a longer resolution; bad rows and gaps count too, since they have times."""
    minutes = _distinct(times[(times % MINUTE == 0) & (times >= 0)])
    if fault := spacing_fault(minutes):
        raise BarsError(f"{fault}; ewmalab needs 1-minute bars")
    if not minute_bars and (fault := spacing_fault(minutes, least=_MIN_ROWS)):
        raise BarsError(f"{fault}; too few rows to tell whether these are minute bars; pass --interval 1m if they are")


def _distinct(times: Int) -> Int:
    """Return the distinct times in order, faster than `np.unique`, which hashes."""
    ordered = np.sort(times)
    first: Bool = np.diff(ordered, prepend=ordered[:1] - 1) != 0
    return ordered[first]


def _repeats(columns: Columns) -> Bool:
    """Return which rows equal an earlier row in every column."""
    rows = np.column_stack([np.asarray(columns[name]).view(np.int64) for name in COLUMNS])
    times = rows[:, 0]
    out = np.zeros(len(rows), bool)
    order = np.lexsort(rows.T[::-1])
    if len(rows) > 1:
        out[order[1:]] = (rows[order[1:]] == rows[order[:-1]]).all(axis=1)
    return out & (times >= 0)


def _forming(times: Int, now: int | None, written: int | None) -> Bool:
    """Return which rows are the newest bar, if it was not closed when the file was written."""
    if not len(times):
        return np.zeros(0, bool)
    newest = int(times.max())
    moments = [moment for moment in (now, written) if moment is not None]
    return np.asarray((times == newest) & any(newest <= moment < newest + MINUTE for moment in moments))


def _spread(mask: Bool, places: Int, size: int) -> Bool:
    out = np.zeros(size, bool)
    out[places] = mask
    return out
