"""Set aside what no market made, before the rows of a file are stored."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ewmalab.errors import BarsError
from ewmalab.market.bars import Bars
from ewmalab.market.cache import Cache
from ewmalab.market.files.rows import Columns, Split
from ewmalab.market.quality import VALUE_FAULTS, AsideBar, Bool
from ewmalab.market.quality.sift import CONTEXT, Doubts, adjust, sift
from ewmalab.market.quality.splits import PriceSplit
from ewmalab.market.quality.suspects import UNCONFIRMED
from ewmalab.market.ranges import Range
from ewmalab.times import DAY, FOREVER, MINUTE, iso

_FEW, _SHARE = 3, 0.05  # rows with wrong prices that a file may have; with more, it is not what it seems to be


def cut(columns: Columns, span: Range) -> Columns:
    """Return the rows labelled within a span; rows without a readable time stay."""
    if span == (0, FOREVER):
        return columns
    times = np.asarray(columns["timestamp"])
    inside = ((times >= span[0]) & (times < span[1])) | (times == np.iinfo(np.int64).min)
    return {name: column[inside] for name, column in columns.items()}


def few_wrong_prices(rejected: dict[str, Bool], size: int) -> bool:
    """Return whether nothing is wrong with the bad rows but their prices, and they are few."""
    bad = sum(int(mask.sum()) for mask in rejected.values())
    return set(rejected) <= set(VALUE_FAULTS) and bad <= max(_FEW, _SHARE * size) and 2 * bad < size


def without_suspicious(
    cache: Cache, feed: str, asset: str, columns: Columns, split: Split, doubts: Doubts
) -> tuple[Split, tuple[PriceSplit, ...]]:
    """Move suspicious bars to the rejected rows; return also the splits for which earlier prices were adjusted.

    Parameters
    ----------
    cache : Cache
        Its bars around those of the file are the context.
    feed, asset : str
    columns : dict of (n,) arrays
        The rows of the file.
    split : Split
        What `split_rows` made of them.
    doubts : Doubts

    Raises
    ------
    BarsError
        If there is a split that was not named.
    """
    bars, ratios = split.bars, doubts.splits
    if doubts.keep or not len(bars):
        return split, ()
    own = sift(bars, Bars.empty(), asset, ratios=ratios).splits if ratios else ()
    for one in own:  # the cached bars around may be in the units after it already
        bars = adjust(bars, one)
    sifted = sift(bars, _around(cache, feed, asset, bars), asset, ratios=ratios)
    if sifted.unnamed is not None:
        raise BarsError(f"{sifted.unnamed}; {_remedy(sifted.unnamed)}")
    splits = (*own, *sifted.splits)
    reasons = dict(sifted.reasons)
    if sifted.waiting.any():
        reasons[UNCONFIRMED] = sifted.waiting
    if not reasons:
        return replace(split, bars=sifted.bars), splits
    times = np.asarray(columns["timestamp"], np.int64)
    bad = np.logical_or.reduce([np.zeros(len(times), bool), *split.rejected.values()])
    rejected = dict(split.rejected)
    for reason, mask in reasons.items():
        rejected[reason] = np.isin(times, bars.timestamp[mask]) & ~bad
    return replace(split, bars=sifted.bars, rejected=rejected), splits


def aside_rows(columns: Columns, rejected: dict[str, Bool], source: str, now: int) -> tuple[AsideBar, ...]:
    """Return the rejected rows whose minute is known as bars that were set aside, in order of time."""
    out = []
    for reason, mask in rejected.items():
        for row in mask.nonzero()[0].tolist():
            label, *prices = (column[row].item() for column in columns.values())
            if label >= 0 and label % MINUTE == 0:
                out.append(AsideBar(label, tuple(map(float, prices)), reason, source, now))
    return tuple(sorted(out, key=lambda bar: bar.label))


def _remedy(split: PriceSplit) -> str:
    when = iso(split.at)
    return (
        f"pass --split {split.ratio} to adjust the prices before, --start {when} or --until {when} to import one side, "
        "or --keep-suspicious to store them as they are"
    )


def _around(cache: Cache, feed: str, asset: str, bars: Bars) -> Bars:
    """Return the cached bars of two days before the first and after the last of `bars`."""
    first, end = int(bars.timestamp[0]), int(bars.timestamp[-1]) + MINUTE
    parts = [cache.read(feed, asset, first - CONTEXT, first), cache.read(feed, asset, end, end + DAY)]
    return Bars.concatenate(parts)
