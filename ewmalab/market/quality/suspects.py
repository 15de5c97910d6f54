"""Find bars that no market made: spikes, wrong highs and lows, repeated candles, frozen feeds, and splits.

A bar is judged against the bars before it and the few after it. The rule looks at most an hour ahead, as long as a live
miner waits for a bar that jumps; only of huge excursions that end within a week an import sees more, and may set aside
what a miner took for a split.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ewmalab.market.quality.frozen import frozen_rows
from ewmalab.market.quality.jumps import Float, Jumps, find_jumps, local_scale
from ewmalab.market.quality.rules import COLUMNS, Bool, Int
from ewmalab.market.quality.splits import PriceSplit
from ewmalab.times import MINUTE

SPIKE = "price that came back at once"
WICK = "high or low far from its close"
REPEAT = "candle repeated"
FROZEN = "feed stood still"
UNCONFIRMED = "jump that no later bar confirms"

# The largest true ones in half a year of nine assets, a crash included: 1.4 %, and 12 times the local scale.
_WICK = 0.03
_WICK_SCALES = 22.0
# Real candles equal the one before them only by chance: with bodies of up to 2 ticks, ranges of up to 8.
_BODY_TICKS, _RANGE_TICKS = 2.5, 12.5
_LEAST_BODY, _LEAST_RANGE = 1e-6, 5e-5
_TICK_ROWS = 500
_REPEATED_SHARE = 0.2


@dataclass(frozen=True, slots=True)
class Verdict:
    """The judgement of n bars.

    Attributes
    ----------
    reasons : dict of str to (n,) bool
        The rows to set aside, each under one reason.
    waiting : int
        Rows from this one on wait for a successor that confirms a jump; n if none waits.
    splits : tuple of PriceSplit
        Lasting changes of the price by a ratio that only a split explains.
    """

    reasons: dict[str, Bool] = field(default_factory=dict)
    waiting: int = 0
    splits: tuple[PriceSplit, ...] = ()


def judge(
    columns: Mapping[str, npt.NDArray[np.generic]],
    judged: Bool | None = None,
    *,
    closed: Bool | None = None,
    ratios: Collection[tuple[int, int]] = (),
) -> Verdict:
    """Judge bars by their neighbours.

    Parameters
    ----------
    columns : mapping of (n,) arrays
        The columns of valid `Bars`.
    judged : (n,) bool, optional
        The rows that may be set aside; the others are the context. By default all.
    closed : (n,) bool, optional
        Minutes in which the market is closed; a price that stands still then is right.
    ratios : collection of (int, int)
        Splits that are known, new units and old.

    Returns
    -------
    Verdict
    """
    times = np.asarray(columns["timestamp"], np.int64)
    prices = [np.asarray(columns[name], np.float64) for name in COLUMNS[1:]]
    size = len(times)
    own = np.ones(size, bool) if judged is None else judged
    if not size or not own.any():
        return Verdict(waiting=size)
    with np.errstate(invalid="ignore"):
        jumps = find_jumps(times, np.log(prices[3]), own, ratios)
        reasons = {SPIKE: jumps.aside}
        reasons[WICK] = _wicks(times, prices, jumps)
        reasons[REPEAT] = _repeats(times, prices)
        reasons[FROZEN] = frozen_rows(times, prices, closed)
    taken = np.zeros(size, bool)
    taken[jumps.waiting :] = True
    for reason, mask in reasons.items():
        reasons[reason] = mask & own & ~taken
        taken |= mask
    return Verdict({r: m for r, m in reasons.items() if m.any()}, jumps.waiting, jumps.splits)


def _wicks(times: Int, prices: list[Float], jumps: Jumps) -> Bool:
    """Return the rows whose high or low is far above or below both their close and the close before."""
    _, high, low, close = prices
    out = np.zeros(len(times), bool)
    kept = np.where(jumps.aside, 0, np.arange(len(times)))
    before = np.maximum.accumulate(kept)
    before = np.r_[0, before[:-1]]
    previous = close[before]
    reach = np.maximum(np.log(high / np.maximum(previous, close)), np.log(np.minimum(previous, close) / low))
    log_close = np.log(close)
    for i in np.flatnonzero(reach > _WICK).tolist():
        minutes = max(1.0, (times[i] - times[before[i]]) / MINUTE)
        scale = local_scale(times, log_close, jumps.aside, int(before[i]))
        out[i] = reach[i] > _WICK_SCALES * scale * np.sqrt(minutes)
    return out


def _repeats(times: Int, prices: list[Float]) -> Bool:
    """Return the rows that have all four prices of the row one minute before, which must have moved."""
    opened, high, low, close = prices
    out = np.zeros(len(times), bool)
    same = np.diff(times) == MINUTE
    for column in prices:
        same &= column[1:] == column[:-1]
    same &= high[1:] > low[1:]
    if same.sum() > _REPEATED_SHARE * len(times):
        return out  # whatever this market is, it repeats
    for i in (np.flatnonzero(same) + 1).tolist():
        near = close[max(0, i - _TICK_ROWS) : i + _TICK_ROWS]
        steps = np.abs(np.diff(near))
        tick = float(steps[steps > 1e-9 * close[i]].min(initial=np.inf))
        body, span = abs(opened[i] - close[i]), high[i] - low[i]
        moved = body > max(_BODY_TICKS * tick, _LEAST_BODY * close[i])
        out[i] = moved or span > max(_RANGE_TICKS * tick, _LEAST_RANGE * close[i])
    return out
