"""Which bars a replay needs, and reading them with a clear word about what is missing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from ewmalab.errors import MissingDataError
from ewmalab.forecast.protocol import Prompt
from ewmalab.market.bars import Bars
from ewmalab.market.cache import Cache
from ewmalab.market.partition import Partition
from ewmalab.market.ranges import Range, union
from ewmalab.replay.schedule import Scheduled
from ewmalab.settings.schema import ReplaySettings, asset_value
from ewmalab.times import DAY, MINUTE, day_name, iso

Group = tuple[str, str]  # competition, asset


@dataclass(frozen=True, slots=True)
class ReplayData:
    """Bars of a replay.

    Attributes
    ----------
    model : mapping of asset to Bars
        What forecasters learn from.
    realised : mapping of asset to Bars
        What their paths are scored against.
    partitions : mapping of "feed/asset/date" to Partition
        The files they came from.
    """

    model: Mapping[str, Bars]
    realised: Mapping[str, Bars]
    partitions: Mapping[str, Partition]

    @property
    def synthetic(self) -> bool:
        """Return whether any of the bars is simulated."""
        return any(entry.synthetic for entry in self.partitions.values())


def group_prompts(scheduled: Iterable[Scheduled]) -> dict[Group, list[Scheduled]]:
    """Return the prompts by competition and asset, each list in time order."""
    groups: dict[Group, list[Scheduled]] = {}
    for item in scheduled:
        groups.setdefault((item.prompt.competition, item.prompt.asset), []).append(item)
    return groups


def warmup_start(first: Prompt, settings: ReplaySettings) -> int:
    """Return the label of the first bar that a group's forecasters see: its first start time less the warm-up."""
    if first.time_increment == MINUTE:
        length = asset_value(settings.warmup_1m_hours, first.asset) * 3600
    else:
        length = asset_value(settings.warmup_5m_days, first.asset) * DAY
    start = first.start_time - int(length)
    return start - start % MINUTE


def needed(groups: Mapping[Group, list[Scheduled]], settings: ReplaySettings) -> dict[str, tuple[Range, Range]]:
    """Return, per asset, the label ranges needed by forecasters and by scores.

    A score needs the grid and one later candle, the settlement witness.
    """
    ranges: dict[str, list[tuple[Range, Range]]] = {}
    for (_, asset), items in groups.items():
        first, last = items[0].prompt, items[-1].prompt
        end = max(item.prompt.start_time + item.prompt.time_length for item in items)
        known = (warmup_start(first, settings), last.request_time - last.request_time % MINUTE)
        ranges.setdefault(asset, []).append((known, (first.start_time, end + 2 * MINUTE)))
    return {asset: (_hull(k for k, _ in pairs), _hull(t for _, t in pairs)) for asset, pairs in ranges.items()}


def _hull(ranges: Iterable[Range]) -> Range:
    starts, ends = zip(*ranges, strict=True)
    return min(starts), max(ends)


def load_data(
    cache: Cache,
    needs: Mapping[str, tuple[Range, Range]],
    feed: str,
    scored_feed: str,
    *,
    partial: bool = False,
    progress: Callable[[str], None] | None = None,
) -> ReplayData:
    """Read what `needed` says from the cache.

    Parameters
    ----------
    partial : bool
        Accept that realised prices are missing: their prompts stay unscored, each with its reason.

    Raises
    ------
    MissingDataError
        Naming every missing range and the commands that get them.
    """
    missing: dict[tuple[str, str], list[Range]] = {}
    for asset, (known, scored) in needs.items():
        for name, (a, b), optional in ((feed, known, False), (scored_feed, scored, partial)):
            holes = cache.missing(name, asset, a, b)
            if holes and not optional:
                missing[name, asset] = union([*missing.get((name, asset), []), *holes])
    if missing:
        raise MissingDataError(_explain(missing))
    model: dict[str, Bars] = {}
    realised: dict[str, Bars] = {}
    partitions: dict[str, Partition] = {}
    for asset, (known, scored) in needs.items():
        if progress:
            progress(asset)
        for name, (a, b), into in ((feed, known, model), (scored_feed, scored, realised)):
            bars, entries = cache.read_with_fingerprint(name, asset, a, b)
            if into is realised:  # where the next candle is missing, a later one settles the last prompts
                bars = Bars.concatenate([bars, cache.read(name, asset, b, b + DAY).rows(0, 1)])
            into[asset] = bars
            partitions |= {f"{name}/{asset}/{day}": entry for day, entry in entries.items()}
    return ReplayData(model, realised, partitions)


def latest_window(
    cache: Cache, feeds: Iterable[str], days: float, assets: Sequence[str] | None = None
) -> tuple[int, tuple[str, ...]]:
    """Return the start of the newest `days` whose prompts the cache can score, and the assets they are of.

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
        If it has none of them.
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
    return last - last % DAY - round(days * DAY), tuple(assets or sorted(complete))


def _explain(missing: Mapping[tuple[str, str], list[Range]]) -> str:
    lines = ["the cache lacks bars:"]
    commands: dict[tuple[str, str, int], list[str]] = {}
    for (feed, asset), ranges in missing.items():
        for a, b in ranges:
            lines.append(f"  {feed:<12} {asset:<7} {iso(a)} to {iso(b)}")
        first = ranges[0][0] - ranges[0][0] % DAY
        days = -(-(ranges[-1][1] - first) // DAY)
        commands.setdefault((feed, day_name(first), days), []).append(asset)
    lines.append("get them with")
    lines += [
        f"  ewmalab data fetch --feed {feed.partition('-')[0]} --assets {','.join(assets)} --start {day} --days {days}"
        for (feed, day, days), assets in commands.items()
    ]
    lines.append("or import files: ewmalab data import PATH; or score only what can be: --partial")
    return "\n".join(lines)
