"""Bars and spot prices in the format of each feed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ewmalab.market.bars import Bars
from ewmalab.times import MINUTE


def pyth(bars: Bars) -> dict[str, Any]:
    """Return bars in TradingView's format."""
    columns = {"t": bars.timestamp, "o": bars.open, "h": bars.high, "l": bars.low, "c": bars.close}
    return {"s": "ok" if len(bars) else "no_data", **{name: c.tolist() for name, c in columns.items()}}


def binance(bars: Bars) -> list[list[Any]]:
    """Return bars as klines."""
    return [
        [t * 1000, str(o), str(h), str(l), str(c), "1.5", (t + MINUTE) * 1000 - 1, "9.0", 3, "0", "0", "0"]
        for t, o, h, l, c in _rows(bars)
    ]


def hyperliquid(bars: Bars, coin: str) -> list[dict[str, Any]]:
    """Return bars as a candle snapshot."""
    return [
        {"t": t * 1000, "T": (t + MINUTE) * 1000 - 1, "s": coin, "i": "1m"}
        | {"o": str(o), "h": str(h), "l": str(l), "c": str(c), "v": "1.5", "n": 3}
        for t, o, h, l, c in _rows(bars)
    ]


def lazer(prices: Mapping[Any, float], now: float) -> dict[str, Any]:
    """Return prices in the format of Pyth Lazer, by feed id."""
    feeds = [{"priceFeedId": i, "price": _units(price), "exponent": -8} for i, price in prices.items()]
    return {"parsed": {"timestampUs": str(int(now * 1e6)), "priceFeeds": feeds}}


def hermes(prices: Mapping[str, float], now: float) -> dict[str, Any]:
    """Return prices in the format of Pyth Hermes, by feed id."""
    told = {"expo": -8, "publish_time": int(now)}
    return {"parsed": [{"id": i, "price": {"price": _units(price), **told}} for i, price in prices.items()]}


def _rows(bars: Bars) -> Any:
    return zip(*(column.tolist() for column in bars.columns().values()), strict=True)


def _units(price: float) -> str:
    return str(round(price * 10**8))
