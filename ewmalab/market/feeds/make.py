"""Make feeds by name from the settings."""

from __future__ import annotations

from pathlib import Path

from ewmalab.market.feeds.base import Feed
from ewmalab.market.feeds.host import PATIENT, HttpOptions
from ewmalab.rulebook import Rulebook
from ewmalab.settings.schema import Settings


def cache_name(name: str, settings: Settings) -> str:
    """Return the folder of a feed's bars in the cache: the feed's name, or the name of the synthetic market.

    Examples
    --------
    >>> from ewmalab.settings.layers import load_settings
    >>> cache_name("simulated", load_settings(environ={}).values)
    'simulated-7'
    """
    if name != "simulated":
        return name
    from ewmalab.market.feeds.simulated import market_name

    return market_name(settings.feeds.simulated.seed, settings.feeds.simulated.gaps)


def make_feed(name: str, settings: Settings, rulebook: Rulebook, options: HttpOptions = PATIENT) -> Feed:
    """Return the feed `name` as the settings describe it.

    Parameters
    ----------
    name : str
        ``pyth``, ``binance``, ``hyperliquid``, ``file`` or ``simulated``.
    settings : Settings
    rulebook : Rulebook
        Knows the feed's symbol for each asset.
    options : HttpOptions
        Options of its HTTP client, if it has one.

    Raises
    ------
    FeedError
        If the feed cannot work with these settings (no key, no folder).
    ValueError
        If there is no such feed.
    """
    feeds = settings.feeds
    symbols = {
        symbol: rulebook.asset(symbol).symbols[name]
        for symbol in rulebook.symbols
        if name in rulebook.asset(symbol).symbols
    }
    # Import only the feed that is used: requests and its dependencies are slow to import.
    if name == "pyth":
        from ewmalab.market.feeds.pyth import PythFeed

        key = feeds.pyth.api_key.get_secret_value() or None
        return PythFeed(symbols, host=feeds.pyth.host, path=feeds.pyth.path, api_key=key, options=options)
    if name == "binance":
        from ewmalab.market.feeds.binance import BinanceFeed

        return BinanceFeed(symbols, host=feeds.binance.host, options=options)
    if name == "hyperliquid":
        from ewmalab.market.feeds.hyperliquid import HyperliquidFeed

        return HyperliquidFeed(symbols, host=feeds.hyperliquid.host, options=options)
    if name == "file":
        from ewmalab.market.feeds.file import FileFeed

        return FileFeed(Path(feeds.file.folder))
    if name.startswith("simulated"):
        from ewmalab.market.feeds.simulated import SimulatedFeed

        return SimulatedFeed(rulebook, seed=feeds.simulated.seed, gaps=feeds.simulated.gaps)
    raise ValueError(f"unknown feed {name!r}")
