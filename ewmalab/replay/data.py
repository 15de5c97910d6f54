"""Find the bars that a replay needs and read them, or say which are missing."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from ewmalab.errors import MissingDataError
from ewmalab.forecast.model import origin_of
from ewmalab.forecast.protocol import Prompt
from ewmalab.market.bars import Bars
from ewmalab.market.cache import Cache
from ewmalab.market.damage_survey import Damage, lost_days
from ewmalab.market.partition import Partition
from ewmalab.market.ranges import Range, intersect, union
from ewmalab.replay.schedule import Scheduled
from ewmalab.times import DAY, MINUTE, day_name, day_start, iso, seconds_in

Group = tuple[str, str]  # competition, asset


MIN_WARMUP = 3 * DAY
"""Shortest accepted warm-up, seconds: a live miner gets as much from a venue that keeps 5000 minute candles."""


@dataclass(frozen=True, slots=True)
class Needs:
    """The bars that one asset's prompts need.

    Attributes
    ----------
    first, last : int
        First and last request time, whole minutes: bars with earlier labels are closed.
    warmup : int
        The longest warm-up of the forecasters, seconds.
    scored : (int, int)
        Range of labels: the grids and the candle after the last, which settles the last prompt. Prompts with a
        published path need none.
    newest : int
        Label of the newest bar that the first request knows.
    """

    first: int
    last: int
    warmup: int
    scored: Range
    newest: int

    @property
    def origin(self) -> int:
        """Return the label of the first bar of the first state."""
        return origin_of(self.newest, self.warmup)

    @property
    def required(self) -> int:
        """Return the label from which bars are required."""
        return origin_of(self.newest, min(self.warmup, MIN_WARMUP))


@dataclass(frozen=True)
class ReplayData:
    """Bars of a replay, read when they are first used.

    Attributes
    ----------
    cache : Cache
    feed, scored_feed : str
        Folders of the cache: what forecasters learn from, and what paths are scored against.
    needs : mapping of asset to Needs
    partitions : mapping of "feed/asset/date" to Partition
        The files that hold the bars.
    short : mapping of asset to int
        Assets whose cache begins after the warm-up: label of the first cached bar.
    """

    cache: Cache
    feed: str
    scored_feed: str
    needs: Mapping[str, Needs]
    partitions: Mapping[str, Partition]
    short: Mapping[str, int] = field(default_factory=dict)

    @property
    def synthetic(self) -> bool:
        """Return whether any bars are simulated."""
        return any(entry.synthetic for entry in self.partitions.values())

    @cached_property
    def model(self) -> dict[str, Bars]:
        """Return the bars that forecasters learn from, by asset."""
        return {a: self.cache.read(self.feed, a, need.origin, need.last) for a, need in self.needs.items()}

    @cached_property
    def realised(self) -> dict[str, Bars]:
        """Return the bars that paths are scored against, by asset."""
        return {a: self.cache.read(self.scored_feed, a, *need.scored) for a, need in self.needs.items()}


def group_prompts(scheduled: Iterable[Scheduled]) -> dict[Group, list[Scheduled]]:
    """Return the prompts by competition and asset, each list in time order."""
    groups: dict[Group, list[Scheduled]] = {}
    for item in scheduled:
        groups.setdefault((item.prompt.competition, item.prompt.asset), []).append(item)
    return groups


def needed(groups: Mapping[Group, Sequence[Scheduled]], warmups: Mapping[str, int]) -> dict[str, Needs]:
    """Return the bars that each asset's prompts need in a market that is never silent; see `after_silence`.

    Parameters
    ----------
    groups : mapping of (competition, asset) to prompts
    warmups : mapping of asset to int
        The longest warm-up of the forecasters, seconds.
    """
    prompts: dict[str, list[Scheduled]] = {}
    for (_, asset), items in groups.items():
        prompts.setdefault(asset, []).extend(items)
    found = {}
    for asset, asked in prompts.items():
        requests = [p.request_time - p.request_time % MINUTE for p in (item.prompt for item in asked)]
        scored = _scored([item.prompt for item in asked if not item.published]) or (min(requests), min(requests))
        found[asset] = Needs(min(requests), max(requests), warmups[asset], scored, min(requests) - MINUTE)
    return found


def _scored(prompts: Sequence[Prompt]) -> Range | None:
    """Return the labels of the bars that prompts are scored against."""
    if not prompts:
        return None
    return min(p.start_time for p in prompts), max(p.start_time + p.time_length for p in prompts) + 2 * MINUTE


def after_silence(
    cache: Cache, needs: Mapping[str, Needs], feed: str, make: Callable[[str, int, int], object] | None = None
) -> dict[str, Needs]:
    """Return the needs with the newest bar that each first request knows; after a silence origins lie further back.

    Parameters
    ----------
    cache : Cache
    needs : mapping of asset to Needs
    feed : str
        Folder of the cache.
    make : callable, optional
        Called with an asset and a range of labels before these are read.
    """
    return {asset: replace(need, newest=_newest(cache, feed, asset, need, make)) for asset, need in needs.items()}


def _newest(cache: Cache, feed: str, asset: str, need: Needs, make: Callable[[str, int, int], object] | None) -> int:
    end = need.first
    while True:
        begin = (end - MINUTE) // DAY * DAY
        if make:
            make(asset, begin, end)
        if len(bars := cache.read(feed, asset, begin, end)):
            return int(bars.timestamp[-1])
        if cache.missing(feed, asset, begin, end):
            return need.newest  # unknown whether the market was silent
        end = begin


def find_data(
    cache: Cache, needs: Mapping[str, Needs], feed: str, scored_feed: str, *, partial: bool = False
) -> ReplayData:
    """Find the needed bars in the cache; only descriptions are read.

    Parameters
    ----------
    cache : Cache
    needs : mapping of asset to Needs
    feed, scored_feed : str
        Folders of the cache.
    partial : bool
        Accept missing realised prices: their prompts stay unscored, each with its reason.

    Raises
    ------
    MissingDataError
        If bars are missing; names every missing range and the commands that get them.
    """
    missing: dict[tuple[str, str], list[Range]] = {}
    short: dict[str, int] = {}
    unseen = False  # whether a forecaster would lack bars, which no choice of prompts mends
    for asset, need in needs.items():
        holes = cache.missing(feed, asset, need.origin, need.last)
        if intersect(holes, [(need.required, need.last)]):
            missing[feed, asset] = holes
            unseen = True
        elif holes:
            short[asset] = holes[-1][1]
        if not partial and (holes := cache.missing(scored_feed, asset, *need.scored)):
            missing[scored_feed, asset] = union([*missing.get((scored_feed, asset), []), *holes])
    if missing:
        raise MissingDataError(_explain(cache, missing, skippable=not unseen))
    partitions: dict[str, Partition] = {}
    for asset, need in needs.items():
        for source, span in ((feed, (need.origin, need.last)), (scored_feed, need.scored)):
            days = cache.days(source, asset, *span)
            partitions |= {f"{source}/{asset}/{day}": entry for day, entry in days.items()}
    return ReplayData(cache, feed, scored_feed, needs, partitions, short)


@dataclass(frozen=True)
class FitHistory:
    """Bars that the fits during a replay see, read when they are first used.

    Attributes
    ----------
    cache : Cache
    feed : str
        Folder of the cache.
    start, end : int
        Range of labels.
    partitions : mapping of "feed/asset/date" to Partition
        The files that hold the bars.
    """

    cache: Cache
    feed: str
    start: int
    end: int
    partitions: Mapping[str, Partition]

    @cached_property
    def bars(self) -> dict[str, Bars]:
        """Return the bars of each asset that has any."""
        assets = dict.fromkeys(key.split("/")[1] for key in self.partitions)
        found = {asset: self.cache.read(self.feed, asset, self.start, self.end) for asset in assets}
        return {asset: bars for asset, bars in found.items() if len(bars)}

    @classmethod
    def find(cls, cache: Cache, feed: str, assets: Iterable[str], start: int, end: int) -> FitHistory:
        """Find the bars of some assets in the cache; only descriptions are read."""
        days = {f"{feed}/{a}/{day}": entry for a in assets for day, entry in cache.days(feed, a, start, end).items()}
        return cls(cache, feed, start, end, days)


def digests(partitions: Mapping[str, Partition]) -> dict[str, str]:
    """Return a digest of the bars of all days by "feed/asset"."""
    found: dict[str, Any] = {}
    for key, entry in sorted(partitions.items()):
        found.setdefault(key.rpartition("/")[0], hashlib.sha256()).update(f"{key} {entry.digest}\n".encode())
    return {name: sha.hexdigest() for name, sha in found.items()}


def newest_scorable_days(
    cache: Cache, feeds: Iterable[str], days: float, assets: Sequence[str] | None = None
) -> tuple[int, tuple[str, ...]]:
    """Return the start of the newest `days` whose prompts the cache can score, and the assets with bars.

    Parameters
    ----------
    cache : Cache
    feeds : iterable of str
        Folders of the cache that must all have the bars.
    days : float
    assets : sequence of str, optional
        By default all that the cache has of these feeds.

    Raises
    ------
    MissingDataError
        If the cache has no bars of an asset, or none at all.
    """
    ends: dict[str, list[int]] = {}
    names = set(feeds)
    for feed, asset in cache.assets():
        if feed in names and (assets is None or asset in assets) and (end := cache.newest(feed, asset)):
            ends.setdefault(asset, []).append(end)
    complete = {asset: min(found) for asset, found in ends.items() if len(found) == len(names)}
    absent = [asset for asset in assets or () if asset not in complete]
    if absent or not complete:
        raise MissingDataError(
            f"the cache has no bars of {', '.join(absent) or ' and '.join(sorted(names))}; get some with `ewmalab data "
            "fetch` or `ewmalab data import`, or use the synthetic market: --feed simulated"
        )
    last = min(complete.values()) - DAY - 2 * MINUTE  # the longest path, and the candle that settles it
    return last - last % DAY - seconds_in(days), tuple(assets or sorted(complete))


def _explain(cache: Cache, missing: Mapping[tuple[str, str], list[Range]], *, skippable: bool) -> str:
    lines = ["the cache lacks bars:"]
    commands: dict[tuple[str, str, int], list[str]] = {}
    for (feed, asset), ranges in missing.items():
        for a, b in ranges:
            lines.append(f"  {feed:<12} {asset:<7} {iso(a)} to {iso(b)}")
        first = ranges[0][0] - ranges[0][0] % DAY
        days = -(-(ranges[-1][1] - first) // DAY)
        commands.setdefault((feed, day_name(first), days), []).append(asset)
    lines += [f"  {one.text}" for name, ranges in missing.items() for one in _damaged(cache, *name, ranges)]
    lines.append("get them with")
    lines += [
        f"  ewmalab data fetch --feed {feed.partition('-')[0]} --assets {','.join(assets)} --start {day} --days {days}"
        for (feed, day, days), assets in commands.items()
    ]
    lines.append(
        f"or import files: ewmalab data import PATH{'; or skip unscorable prompts: --partial' if skippable else ''}"
    )
    return "\n".join(lines)


def _damaged(cache: Cache, feed: str, asset: str, ranges: list[Range]) -> list[Damage]:
    """Return the damaged days in missing ranges; their bars may have come from a file."""
    lost = lost_days(cache, feed, asset, cache.days(feed, asset, ranges[0][0], ranges[-1][1]))
    return [one for one in lost if intersect(ranges, [(day_start(one.day), day_start(one.day) + DAY)])]
