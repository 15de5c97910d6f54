"""The feed and the asset of a bar file, from its name, its folders, or a symbol that it holds."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from ewmalab.errors import BarsError
from ewmalab.rulebook import Rulebook
from ewmalab.settings.schema import FeedName

FEEDS: tuple[str, ...] = get_args(FeedName)
_DOLLARS = ("USD", "USDT", "USDC")
# Another quote currency makes other prices.
_OTHER_QUOTES = {"EUR", "GBP", "JPY", "CHF", "AUD", "CAD", "KRW", "TRY", "BRL", "BNB", "DAI"}
_WORDS = """
    spot futures future perp perpetual swap um cm klines kline candles candle candlestick bars bar ohlc ohlcv prices
    price
    data date minute minutes min hour daily history historical raw trades close closes dump export full new old part all
    m1 m5 h1 d1 dat ascii mt generic exness utc last days jan feb mar apr may jun jul aug sep oct nov dec kraken
    coinbase bitstamp bitfinex bybit okx kucoin gemini gateio tradingview yahoo freqtrade histdata ib file
"""
_PLAIN_WORDS = frozenset(_WORDS.split())


def asset_names(rulebook: Rulebook) -> dict[str, str]:
    """Return the assets by every plain name: their symbols, those of the feeds, and those against the dollar."""
    names: dict[str, str] = {}
    for own in rulebook.symbols:
        of_feeds = [symbol for symbol in rulebook.asset(own).symbols.values() if not symbol.startswith("@")]
        for name in (own, *of_feeds, *(own + quote for quote in _DOLLARS), f"{own}PERP", f"X{own}ZUSD"):
            names.setdefault(_squeezed(name), own)
    return names


def asset_of_symbol(symbol: str, rulebook: Rulebook) -> str | None:
    """Return the asset that a symbol such as ``BTCUSDT``, ``BTC-USD`` or ``btc/usdt`` names, None if there is none."""
    by_feeds = {name: own for own in rulebook.symbols for name in rulebook.asset(own).symbols.values()}
    if found := by_feeds.get(symbol) or asset_names(rulebook).get(_squeezed(symbol)):
        return found
    named = {found for part in symbol.split(":") if (found := asset_names(rulebook).get(_squeezed(part)))}
    return named.pop() if ":" in symbol and len(named) == 1 else None  # BINANCE:BTCUSDT, BTC/USDT:USDT


def asset_of_path(path: Path, rulebook: Rulebook) -> str:
    """Return the asset that a file's name names, or the nearest folder above it if the name says nothing.

    Raises
    ------
    BarsError
        If there is none, or if the name could be another market's.
    """
    found = _asset_of_name(_stem(path.name), rulebook)
    if found:
        return found
    for parent in path.parents:
        if found := asset_of_symbol(parent.name, rulebook):
            return found
    raise BarsError("no asset in its name; pass --asset")


def feed_of_path(path: Path, own: str | None, member: str = "") -> str:
    """Return the feed that a file's folder or name names, or the one that alone writes such files.

    Parameters
    ----------
    path : Path
    own : str or None
        The feed that alone writes such files.
    member : str
        Its path inside an archive, whose folders and name count too.

    Raises
    ------
    BarsError
        If there is none, or if folder and file disagree.
    """
    named: set[str] = set()
    for name, folder in ((path.name, path.resolve().parent), (member, Path(member).parent)):
        named |= {*_words(_stem(name).lower()), _folder_feed(folder)} & set(FEEDS)
    if len(named) > 1:
        raise BarsError(f"its folder and its name say {' and '.join(sorted(named))}; pass --feed")
    above = (_folder_feed(parent) for parent in (*Path(member).parents, *path.parents))
    feed = next(iter(named), None) or own or next((name for name in above if name in FEEDS), None)
    if feed is None:
        raise BarsError(f"no feed in its folder's name; pass --feed {'|'.join(FEEDS)}")
    return feed


def _asset_of_name(stem: str, rulebook: Rulebook) -> str | None:
    words = list(_words(stem))
    assets = {asset for word in words if (asset := asset_of_symbol(word, rulebook))}
    joined = asset_of_symbol(stem, rulebook)
    quotes = {word.upper() for word in words} & _OTHER_QUOTES
    if joined and not quotes:
        return joined
    if len(assets) > 1 or (assets and quotes):
        raise BarsError(f"its name {stem!r} could be several markets; pass --asset")
    unknown = [word for word in words if not _says_nothing(word)]
    if not assets and unknown:
        raise BarsError(f"no asset in its name: none is called {unknown[0]!r}; pass --asset")
    return next(iter(assets), None)


def _says_nothing(word: str) -> bool:
    lower = word.lower()
    lower = lower.rstrip("0123456789") if lower.rstrip("0123456789") in _PLAIN_WORDS else lower
    return (
        bool(re.fullmatch(r"\d*[a-z]?\d*", lower))
        or re.fullmatch(r"\d+(?:min|sec|day|hour)s?", lower) is not None
        or (lower in _PLAIN_WORDS or lower in FEEDS or word.upper() in _DOLLARS)
    )


def _words(stem: str) -> Iterator[str]:
    return (word for word in re.split(r"[^A-Za-z0-9]+", stem) if word)


def _folder_feed(folder: Path) -> str:
    return re.split(r"[_ -]", folder.name)[0].lower()


def _stem(name: str) -> str:
    return Path(name).name.split(".")[0] or name


def _squeezed(symbol: str) -> str:
    return re.sub(r"[^A-Z0-9]", "", symbol.upper().removesuffix(".P")).replace("XBT", "BTC")
