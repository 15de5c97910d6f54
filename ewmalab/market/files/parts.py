"""Read a bar file by asset: what its symbols, its name and its folders say of its rows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ewmalab.errors import BarsError
from ewmalab.market.files.names import asset_of_path, asset_of_symbol, feed_of_path
from ewmalab.market.files.rows import Columns
from ewmalab.market.files.search import BarFile
from ewmalab.market.files.table import Hints
from ewmalab.rulebook import Rulebook


@dataclass(frozen=True, slots=True)
class Part:
    """The rows of one asset of a file."""

    feed: str
    asset: str
    columns: Columns
    understood: str
    named: bool  # whether the file names the asset


def read_parts(item: BarFile, rulebook: Rulebook, hints: Hints) -> list[Part]:
    """Return the rows of a file by asset.

    Raises
    ------
    BarsError
        If the file is in doubt, or does not say which asset or feed it is of.
    """
    from ewmalab.market.files.bar_file import Reading, read_readings  # loads pandas

    readings = read_readings(item.path, hints, item.member)
    symbols = [one.symbol for one in readings if one.symbol is not None]
    if hints.symbol is not None and symbols:
        readings = [one for one in readings if str(one.symbol).upper() == hints.symbol.upper()]
        if not readings:
            raise BarsError(f"{item.path}: no symbol {hints.symbol}; it has {', '.join(symbols[:20])}")
    try:
        assets = [
            item.asset if hints.symbol and item.asset else _asset(item, one.symbol or hints.symbol, rulebook)
            for one in readings
        ]
        if len(symbols) == 1 and item.asset and assets == [None]:
            assets = [item.asset]  # a symbol that the rulebook does not know, and the user does
        feed = item.feed or feed_of_path(item.path, readings[0].feed if readings else None, item.member)
    except BarsError as error:
        raise BarsError(f"{item.path}: {error}") from error
    found: dict[str, tuple[Reading, str]] = {}
    left = []
    for one, asset in zip(readings, assets, strict=True):
        if asset is None or (item.asset and asset != item.asset):
            left.append(str(one.symbol or hints.symbol))
        elif asset in found:
            raise BarsError(f"{item.path}: {found[asset][0].symbol} and {one.symbol} are both {asset}; pass --symbol")
        else:
            found[asset] = one, asset
    if not found:
        held = ", ".join(left[:20])
        if item.asset and any(assets):
            raise BarsError(f"{item.path}: it holds {held}, not {item.asset}; leave --asset out, or pass --symbol too")
        raise BarsError(f"{item.path}: no asset is called {held}; pass --asset and --symbol")
    words = f", without {', '.join(left[:20])}" if left else ""
    return [
        Part(feed, asset, one.columns, one.understood + words, one.symbol is not None) for one, asset in found.values()
    ]


def _asset(item: BarFile, symbol: str | None, rulebook: Rulebook) -> str | None:
    if symbol is not None:
        return asset_of_symbol(symbol, rulebook)
    if item.asset:
        return item.asset
    if item.member:
        try:
            return asset_of_path(Path(item.member), rulebook)
        except BarsError:
            return asset_of_path(item.path, rulebook)
    return asset_of_path(item.path, rulebook)
