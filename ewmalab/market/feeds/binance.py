"""Binance spot klines."""

from __future__ import annotations

from collections.abc import Mapping

from ewmalab.market.feeds.candles import AS_OF, HttpFeed
from ewmalab.market.feeds.host import PATIENT, Host, HttpOptions
from ewmalab.market.feeds.http import HttpClient
from ewmalab.market.feeds.parsing import FAULTS, brief
from ewmalab.market.quality import COLUMNS
from ewmalab.times import MINUTE

_LIMIT = 1000
_CLOSE_TIME = 6


class BinanceFeed(HttpFeed):
    """1-minute bars from Binance's spot market; no key is needed.

    Parameters
    ----------
    symbols : mapping of str to str
        Binance's symbol of each asset, for example ``{"BTC": "BTCUSDT"}``.
    host : str
        URL of the API. Where it answers 451, ``https://data-api.binance.vision`` has the same klines.
    options : HttpOptions
    """

    name = "binance"
    chunk = _LIMIT * MINUTE

    def __init__(
        self, symbols: Mapping[str, str], *, host: str = "https://api.binance.com", options: HttpOptions = PATIENT
    ) -> None:
        setting = "BINANCE_API_HOST (for example to https://data-api.binance.vision)"
        # A call has weight 2; 6000 per minute are allowed. 418 bans callers that ignored a 429.
        super().__init__(symbols, HttpClient(Host(host, (100, 10.0), (418, 429), setting=setting), options))

    def candles(self, asset: str, symbol: str, start: int, end: int, now: int) -> Mapping[str, object]:
        """Request the candles labelled in ``[start, end)``; see `HttpFeed.candles`.

        Parameters
        ----------
        asset, symbol : str
        start, end : int
            Seconds since 1970-01-01 UTC.
        now : int
            Not used.
        """
        del now
        query: dict[str, str | int] = {
            "symbol": symbol,
            "interval": "1m",
            "startTime": start * 1000,
            "endTime": end * 1000 - 1,
            "limit": _LIMIT,
        }
        answer = self._client.get_json("/api/v3/klines", query)
        if not isinstance(answer, list):
            raise self.error(asset, f"the answer is {brief(answer)}, not a list of klines")
        as_of = self._client.host_time
        columns: dict[str, list[object]] = {name: [] for name in COLUMNS}
        faults: dict[int, str] = {}
        for i, row in enumerate(answer):
            if not isinstance(row, list) or len(row) <= _CLOSE_TIME:
                faults[i] = f"{brief(row)} is not a kline"
                row = [None] * (_CLOSE_TIME + 1)
            label, fault = self.label(row[0], row[_CLOSE_TIME])
            columns["timestamp"].append(label)
            if fault:
                faults.setdefault(i, fault)
            for name, value in zip(COLUMNS[1:], row[1:5], strict=True):
                columns[name].append(value)
        return {**columns, FAULTS: faults, AS_OF: as_of}
