"""Fetch, check and read the cached bars."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ewmalab.api.inputs import Names, Progress, Time, assets_of, feed_of, present, time_of
from ewmalab.api.result import Outcome
from ewmalab.errors import MissingDataError
from ewmalab.market import inventory
from ewmalab.market.bars import Bars
from ewmalab.market.cache import Cache, local_cache, open_cache
from ewmalab.market.damage_survey import Damage
from ewmalab.market.feeds.make import cache_name, make_feed
from ewmalab.market.fetch import AssetFetch, fetch_assets, fetch_missing
from ewmalab.market.inventory import CachedAsset, Repair
from ewmalab.market.quality.sift import Doubts
from ewmalab.market.quality.splits import parse_ratios
from ewmalab.market.ranges import minutes
from ewmalab.report.text.market import fetch_text, inventory_text, repair_text, verify_text
from ewmalab.rulebook import RuleChoice, load_rulebook
from ewmalab.settings import LoadedSettings, load_settings
from ewmalab.times import iso, span_of


def fetch_bars(
    start: Time,
    days: float = 1.0,
    *,
    assets: Names = None,
    again: bool = False,
    keep_suspicious: bool = False,
    split: str | None = None,
    settings: LoadedSettings | None = None,
    progress: Progress | None = None,
) -> Outcome[list[AssetFetch]]:
    """Fetch closed minute bars that the cache lacks; an interrupted fetch resumes where it stopped.

    Minutes that the feed left out are requested again daily for a week, since feeds publish some of them later.

    Parameters
    ----------
    start : str or int
    days : float
    assets : str or sequence of str, optional
        By default all that the feed has.
    again : bool
        Request all minutes that the feed left out again, whenever they were requested last.
    keep_suspicious : bool
        Store bars that no market made as they are, instead of setting them aside.
    split : str, optional
        Known splits, such as ``10:1`` for ten new units for one old; the cached prices before are adjusted.
    settings : LoadedSettings, optional
        Name feed and cache.
    progress : callable, optional
        Called with minutes done and the total.

    Raises
    ------
    RulebookError, FeedError, ConfigError
        If a feed fails for one asset, the result says so instead.
    """
    settings, rulebook = settings or load_settings(), load_rulebook()
    values, name, begin = settings.values, settings.values.data.feed, time_of(start)
    symbols = [rulebook.asset(symbol).symbol for symbol in assets_of(assets) or rulebook.symbols]
    if assets_of(assets) is None and name not in ("simulated", "file"):
        symbols = [symbol for symbol in symbols if name in rulebook.asset(symbol).symbols]
    source, span = make_feed(name, values, rulebook), span_of(begin, days)
    doubts = Doubts(keep_suspicious, parse_ratios(split))
    cache = _writable_cache(settings)
    found = fetch_assets(
        cache,
        source,
        symbols,
        span,
        now=present(),
        again=again,
        hours=lambda asset: _hours(source.name, asset),
        doubts=doubts,
        progress=progress,
    )
    ok = all(one.error is None for one in found)
    return Outcome(
        "Fetched bars",
        found,
        lambda fetched: fetch_text(name, fetched),
        lambda fetched: [{"feed": name, **asdict(one), "unanswered": _spans(one)} for one in fetched],
        ok,
    )


def list_bars(feed: str | None = None, *, settings: LoadedSettings | None = None) -> Outcome[list[CachedAsset]]:
    """Return the cached assets of all feeds or of one, with their holes and damaged days."""
    cache = _cache(settings or load_settings())
    found = inventory.list_cached(cache, feed and feed_of(feed), hours=_hours)
    return Outcome(
        "Cached bars",
        found,
        lambda cached: inventory_text(cached, str(cache.root)),
        lambda cached: list(map(_row, cached)),
    )


def verify_bars(
    feed: str | None = None, asset: str | None = None, *, settings: LoadedSettings | None = None
) -> Outcome[list[CachedAsset]]:
    """Check every byte and bar of the cache, of all feeds and assets or of one; not ok if a day is damaged.

    The text also lists the wrong bars that were set aside, by asset and reason.
    """
    symbol = load_rulebook().asset(asset.upper()).symbol if asset else None
    cache = _cache(settings or load_settings())
    found = inventory.list_cached(cache, feed and feed_of(feed), symbol, hours=_hours, thorough=True)
    return Outcome("Verified bars", found, verify_text, _verified, not any(one.damage for one in found))


def repair_bars(*, refetch: bool = True, settings: LoadedSettings | None = None) -> Outcome[list[Repair]]:
    """Move damaged partitions aside, and fetch those that came from feeds again; not ok if days are still damaged."""
    settings, rulebook = settings or load_settings(), load_rulebook()
    values = settings.values
    source = (lambda name: make_feed(name, values, rulebook)) if refetch else None
    found = inventory.repair_cache(_writable_cache(settings), source, now=present())
    ok = not any(one.error or (refetch and one.damage) for one in found)
    return Outcome("Repaired bars", found, repair_text, lambda repairs: list(map(_repaired, repairs)), ok)


def load_bars(
    asset: str,
    start: Time,
    end: Time | None = None,
    *,
    days: float = 1.0,
    fetch: bool = False,
    settings: LoadedSettings | None = None,
) -> Bars:
    """Return the closed minute bars of an asset from the cache.

    Parameters
    ----------
    asset : str
    start, end : str or int
        Labels in ``[start, end)``; without `end`, `days` from the start.
    days : float
    fetch : bool
        Fetch what the cache lacks first; always done for the synthetic feed.
    settings : LoadedSettings, optional
        Name feed and cache.

    Raises
    ------
    RulebookError, FeedError, CorruptPartitionError
    """
    settings = settings or load_settings()
    values, rulebook = settings.values, load_rulebook()
    begin = time_of(start)
    stop = span_of(begin, days)[1] if end is None else time_of(end)
    rulebook.asset(asset)  # refuses an unknown asset before anything is fetched
    name = cache_name(values.data.feed, values)
    if fetch or values.data.feed == "simulated":
        source = make_feed(values.data.feed, values, rulebook)
        fetch_missing(local_cache(values.data.cache_dir), source, asset, begin, stop, now=present())
    return open_cache(values.data.cache_dir).read(name, asset, begin, stop)


def settings_with_bars(days: float = 7.0, flags: dict[str, Any] | None = None) -> LoadedSettings:
    """Return settings with bars to replay: real ones if the cache has them, else synthetic ones.

    Parameters
    ----------
    days : float
        Days of prompts that the cache must be able to score.
    flags : mapping, optional
        As in `load_settings`.

    Examples
    --------
    >>> settings_with_bars(flags={"data.cache_dir": "an-empty-folder"}).values.data.feed
    'simulated'
    """
    from ewmalab.replay.newest_days import newest_days  # compiles: slow to import

    settings = load_settings(flags=flags)
    try:
        newest_days(settings.values, days, RuleChoice())
    except MissingDataError:
        return settings.with_flags({"data.feed": "simulated", "data.scored_feed": ""})
    return settings


def _cache(settings: LoadedSettings) -> Cache:
    return local_cache(settings.values.data.cache_dir)


def _writable_cache(settings: LoadedSettings) -> Cache:
    """Return the cache for writing; delete leftover temporary files."""
    cache = _cache(settings)
    cache.delete_leftovers()
    return cache


def _spans(fetched: AssetFetch) -> list[list[str]]:
    return [[iso(a), iso(b)] for a, b in fetched.unanswered]


def _hours(feed: str, asset: str) -> str | None:
    """Return the calendar of a feed's market of an asset, None if it never closes or is unknown."""
    rulebook = load_rulebook()
    return rulebook.asset(asset).hours.get(feed) if asset in rulebook.symbols else None


def _row(one: CachedAsset) -> dict[str, Any]:
    found = one.coverage
    return {
        "feed": one.feed,
        "asset": one.asset,
        "from": iso(one.begin) if one.days else None,
        "to": iso(one.end) if one.days else None,
        "days": one.days,
        "final_days": one.final_days,
        "bars": found.bars,
        "missing_minutes": minutes(found.missing),
        "closed_minutes": minutes(found.closed),
        "holes": len(found.holes),
        "hole_minutes": minutes(found.holes),
        "set_aside": one.set_aside,
        "synthetic": one.synthetic,
        "damaged": list(map(_damaged, one.damage)),
    }


def _damaged(one: Damage) -> dict[str, Any]:
    known = {"feed": one.feed, "asset": one.asset, "day": one.day, "problem": one.problem, "path": one.path}
    return known | {"source": one.origin.source, "command": one.origin.command}


def _verified(found: list[CachedAsset]) -> dict[str, Any]:
    return {
        "checked": sum(one.checked for one in found),
        "damaged": [[one.feed, one.asset, one.day, one.text] for asset in found for one in asset.damage],
        "holes": [[one.feed, one.asset, iso(a), iso(b)] for one in found for a, b in one.coverage.holes],
        "set_aside": [[one.feed, one.asset, iso(bar.label), bar.reason] for one in found for bar in one.aside],
    }


def _repaired(one: Repair) -> dict[str, Any]:
    return asdict(one) | {"damage": list(map(_damaged, one.damage))}
