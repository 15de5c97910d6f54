"""A feed server that plays back a history, for rehearsals of live processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ewmalab.errors import MissingDataError
from ewmalab.live.clock import Clock
from ewmalab.live.rehearsal.feed_server import FeedServer
from ewmalab.market.bars import Bars
from ewmalab.market.cache import open_cache
from ewmalab.market.feeds.make import make_feed
from ewmalab.rulebook import Rulebook, load_rulebook
from ewmalab.settings import LoadedSettings
from ewmalab.times import DAY

_BEFORE = 8 * DAY  # prepared in advance, since an updater fetches it first


@dataclass(frozen=True, slots=True)
class _History:
    """One asset's bars, read or simulated on request."""

    read: Callable[[str, int, int], Bars]
    asset: str

    def between(self, start: int, end: int) -> Bars:
        """Return the bars labelled in ``[start, end)``."""
        return self.read(self.asset, start, end)


def rehearsal_feed(
    settings: LoadedSettings,
    start: int,
    speed: float,
    *,
    feed: str = "simulated",
    assets: Sequence[str] | None = None,
    faults: float = 0.0,
    port: int = 0,
) -> FeedServer:
    """Return a feed server whose market time is now `start` and runs `speed` times as fast as real time.

    Parameters
    ----------
    settings : LoadedSettings
        Name the cache, or the simulated market.
    start : int
        Seconds since 1970-01-01 UTC.
    speed : float
    feed : str
        ``simulated``, or a feed whose bars are cached.
    assets : sequence of str, optional
        By default all that compete at `start`.
    faults : float
        Share of requests answered with a random fault.
    port : int
        0 takes any free port.

    Raises
    ------
    MissingDataError
        If the cache has no bars before `start`.
    """
    rulebook = load_rulebook()
    chosen = assets or list(dict.fromkeys(a for c in rulebook.at(start).competitions.values() for a in c.assets))
    read = _reader(settings, rulebook, feed)
    found = [asset for asset in chosen if len(read(asset, start - _BEFORE, start))]
    if not found:
        raise MissingDataError(f"the cache has no bars of {feed} before that time; see `ewmalab data list`")
    if feed == "simulated":
        for asset in found:
            read(asset, start, start + DAY)
    symbols = {s: _History(read, asset) for asset in found for s in rulebook.asset(asset).symbols.values()}
    clock = Clock(start, Clock().system(), speed)
    return FeedServer(
        symbols,
        clock.now,
        speed=speed,
        synthetic=feed == "simulated",
        fault_share=faults,
        ids=_ids(rulebook, found),
        port=port,
    )


def _reader(settings: LoadedSettings, rulebook: Rulebook, feed: str) -> Callable[[str, int, int], Bars]:
    if feed == "simulated":
        source = make_feed(feed, settings.values, rulebook)
        return lambda asset, start, end: source.fetch(asset, start, end, end)
    cache = open_cache(settings.values.data.cache_dir)
    return lambda asset, start, end: cache.read(feed, asset, start, end)


def _ids(rulebook: Rulebook, assets: Sequence[str]) -> dict[str, str]:
    """Return Pyth's symbol of each of its feed ids."""
    found = {}
    for asset in map(rulebook.asset, assets):
        for feed_id in (asset.lazer_id, asset.hermes_id):
            if feed_id is not None and "pyth" in asset.symbols:
                found[str(feed_id)] = asset.symbols["pyth"]
    return found
