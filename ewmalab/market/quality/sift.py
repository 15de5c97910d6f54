"""Separate bars into those to keep, those to set aside, and those that wait; the one way through every door."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ewmalab.market.bars import Bars
from ewmalab.market.quality.hours import closed_minutes
from ewmalab.market.quality.rules import Bool
from ewmalab.market.quality.splits import PriceSplit
from ewmalab.market.quality.suspects import judge
from ewmalab.times import DAY

CONTEXT = 2 * DAY
"""Seconds of bars before and after that a verdict may depend on."""


@dataclass(frozen=True, slots=True)
class Doubts:
    """What to do with bars that no market made.

    Attributes
    ----------
    keep : bool
        Store them as they are.
    splits : tuple of (int, int)
        Known splits, new units and old: earlier prices are adjusted.
    """

    keep: bool = False
    splits: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Sifted:
    """Bars by their use.

    Attributes
    ----------
    bars : Bars
        Those to keep, after the adjustment for splits.
    reasons : dict of str to (n,) bool
        Over the n rows that were given: those to set aside.
    waiting : (n,) bool
        Those that wait: for a successor, or for a word on the split that they follow.
    splits : tuple of PriceSplit
        Splits for which earlier bars were adjusted.
    unnamed : PriceSplit or None
        A split that nobody has named.
    """

    bars: Bars
    reasons: dict[str, Bool]
    waiting: Bool
    splits: tuple[PriceSplit, ...] = ()
    unnamed: PriceSplit | None = None


def sift(bars: Bars, context: Bars, asset: str, *, ratios: Sequence[tuple[int, int]] = ()) -> Sifted:
    """Judge bars by their neighbours.

    Parameters
    ----------
    bars : Bars
    context : Bars
        Bars around them that are trusted; a row of `bars` with the same label and other prices is judged.
    asset : str
        Its market may be closed at times.
    ratios : sequence of (int, int)
        Splits that are known, new units and old: earlier prices are adjusted.
    """
    adjusted: list[PriceSplit] = []
    unnamed = None
    while True:
        known = context.holds(bars.timestamp)
        if known.any():
            known &= ~context.disagreements(bars)
        whole = context.union(bars)
        places = np.searchsorted(whole.timestamp, bars.timestamp)
        own = np.zeros(len(whole), bool)
        own[places[~known]] = True
        verdict = judge(whole.columns(), own, closed=closed_minutes(asset, whole.timestamp), ratios=ratios)
        if not verdict.splits:
            break
        split = verdict.splits[0]
        if (split.new, split.old) not in ratios:
            unnamed = split
            break
        adjusted.append(split)
        bars, context = adjust(bars, split), adjust(context, split)
    waiting = (places >= verdict.waiting) & ~known
    if unnamed is not None:
        waiting |= bars.timestamp >= unnamed.at
    reasons = {reason: mask[places] & ~waiting for reason, mask in verdict.reasons.items()}
    out = np.logical_or.reduce([waiting, *reasons.values()])
    kept = bars if not out.any() else select(bars, ~out)
    return Sifted(kept, reasons, waiting, tuple(adjusted), unnamed)


def adjust(bars: Bars, split: PriceSplit) -> Bars:
    """Return bars with the prices before a split in the units after it."""
    earlier = bars.timestamp < split.at
    o, h, l, c = (
        np.where(earlier, price * split.old / split.new, price)
        for price in (bars.open, bars.high, bars.low, bars.close)
    )
    return Bars(bars.timestamp, o, h, l, c, bars.resolution)


def select(bars: Bars, rows: Bool) -> Bars:
    """Return some rows of bars."""
    return Bars.trusted({name: column[rows] for name, column in bars.columns().items()}, bars.resolution)
