"""Fetch, check and read the cached bars."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ewmalab.api.inputs import Names, Progress, Time, assets_of, feed_of, present, time_of
from ewmalab.api.result import Outcome
from ewmalab.errors import MissingDataError
from ewmalab.market import inventory
from ewmalab.market.bars import Bars
from ewmalab.market.cache import Cache, Finding, local_cache, open_cache
from ewmalab.market.feeds.make import cache_name, make_feed
from ewmalab.market.fetch import AssetFetch, fetch_assets, fetch_missing
from ewmalab.market.inventory import CachedAsset, Repair
from ewmalab.report.text.market import fetch_text, inventory_text, repair_text, verify_text
from ewmalab.rulebook import RuleChoice, load_rulebook
from ewmalab.settings import LoadedSettings, load_settings
from ewmalab.times import iso, span_of


def fetch_bars(
    start: Time,
    days: float = 1.0,
    *,
    assets: Names = None,
    settings: LoadedSettings | None = None,
    progress: Progress | None = None,
) -> Outcome[list[AssetFetch]]:
    """Fetch closed minute bars that the cache lacks; an interrupted fetch resumes where it stopped.

    Parameters
    ----------
    start : str or int
    days : float
    assets : str or sequence of str, optional
        By default all that the feed has.
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
    found = fetch_assets(_writable_cache(settings), source, symbols, span, now=present(), progress=progress)
    ok = all(one.error is None for one in found)
    return Outcome(
        "Fetched bars",
        found,
        lambda fetched: fetch_text(name, fetched),
        lambda fetched: [{"feed": name, **asdict(one), "unanswered": _spans(one)} for one in fetched],
        ok,
    )


def list_bars(feed: str | None = None, *, settings: LoadedSettings | None = None) -> Outcome[list[CachedAsset]]:
    """Return the cached assets of all feeds or of one."""
    cache = _cache(settings or load_settings())
    found, damaged = inventory.list_cached(cache, feed and feed_of(feed))
    return Outcome(
        "Cached bars",
        found,
        lambda cached: inventory_text(cached, str(cache.root)),
        lambda cached: list(map(_row, cached)),
        notes=tuple(damaged),
    )


def verify_bars(
    feed: str | None = None, asset: str | None = None, *, settings: LoadedSettings | None = None
) -> Outcome[list[Finding]]:
    """Check every byte of the cache and return the damaged partitions, of all feeds and assets or of one."""
    symbol = load_rulebook().asset(asset.upper()).symbol if asset else None
    findings = list(_cache(settings or load_settings()).verify(feed and feed_of(feed), symbol))
    damaged = [finding for finding in findings if finding.problem]
    return Outcome(
        "Damaged bars",
        damaged,
        lambda found: verify_text(len(findings), found),
        lambda found: {"checked": len(findings), "damaged": [[f.feed, f.asset, f.day, f.problem] for f in found]},
        not damaged,
    )


def repair_bars(*, refetch: bool = True, settings: LoadedSettings | None = None) -> Outcome[list[Repair]]:
    """Move damaged partitions aside and fetch them again."""
    settings, rulebook = settings or load_settings(), load_rulebook()
    values = settings.values
    source = (lambda name: make_feed(name, values, rulebook)) if refetch else None
    found = inventory.repair_cache(_writable_cache(settings), source, now=present())
    ok = all(one.error is None for one in found)
    return Outcome("Repaired bars", found, repair_text, lambda repairs: list(map(asdict, repairs)), ok)


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


def _row(one: CachedAsset) -> dict[str, Any]:
    rest = {key: value for key, value in asdict(one).items() if key not in ("feed", "asset", "begin", "end")}
    return {"feed": one.feed, "asset": one.asset, "from": iso(one.begin), "to": iso(one.end), **rest}
