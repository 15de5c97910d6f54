"""Stretches in which a feed stands still although its market moves."""

from __future__ import annotations

import math

import numpy as np

from ewmalab.market.quality.jumps import Float
from ewmalab.market.quality.rules import Bool, Int
from ewmalab.times import DAY, MINUTE

_LEAST = 10  # minutes; real feeds of moving markets repeat a price for up to 10
_AROUND = 3 * DAY // 2
_LEAST_ROWS = 120  # of other minutes, to know how often the market stands still
_ODDS = math.log(1e-12)
_CLUSTERED = 1.5  # quiet minutes come together


def frozen_rows(times: Int, prices: list[Float], closed: Bool | None = None) -> Bool:
    """Return the rows that repeat the row before for longer than the market's usual share of still minutes explains.

    Parameters
    ----------
    times : (n,) int64
    prices : list of four (n,) float64
        Open, high, low and close; the first three may be NaN.
    closed : (n,) bool, optional
        Minutes in which the market is closed.
    """
    out = np.zeros(len(times), bool)
    still = _still(times, prices)
    edges = np.flatnonzero(np.diff(still.astype(np.int8), prepend=0, append=0)).reshape(-1, 2)
    runs = edges[edges[:, 1] - edges[:, 0] >= _LEAST].tolist()
    usual = np.ones(len(times), bool)
    for first, stop in runs:
        usual[first:stop] = False
    for first, stop in runs:
        open_minutes = stop - first if closed is None else int((~closed[first:stop]).sum())
        if open_minutes >= _longest(times, usual, still, first, stop):
            out[first:stop] = True
    return out


def _still(times: Int, prices: list[Float]) -> Bool:
    """Return which rows equal the row one minute before, or stand at its close."""
    _, high, low, close = prices
    still = np.zeros(len(times), bool)
    flat = np.isnan(high) | (high == low)
    same = np.logical_and.reduce([column[1:] == column[:-1] for column in prices])
    still[1:] = (np.diff(times) == MINUTE) & (close[1:] == close[:-1]) & (flat[1:] | same)
    return still


def _longest(times: Int, usual: Bool, still: Bool, first: int, stop: int) -> float:
    """Return the length from which a run of still minutes is no chance, from the other minutes around it."""
    begin, end = np.searchsorted(times, (times[first] - _AROUND, times[stop - 1] + _AROUND))
    near = usual[int(begin) : int(end)]
    if near.sum() < _LEAST_ROWS:
        return math.inf
    share = min(0.99, 3 * float(still[int(begin) : int(end)][near].mean()) + 0.03)  # quiet hours stand still more often
    return max(_LEAST, _CLUSTERED * _ODDS / math.log(share))
