"""Hyperliquid candle snapshots."""

from __future__ import annotations

from collections.abc import Mapping

from ewmalab.market.feeds.candles import AS_OF, HttpFeed, brief
from ewmalab.market.feeds.host import PATIENT, Host, HttpOptions
from ewmalab.market.feeds.http import HttpClient
from ewmalab.market.quality import COLUMNS
from ewmalab.times import MINUTE

REACH = 5000 * MINUTE
"""About how far back candles exist, in seconds: archive them while they do."""

_INTERVAL = "1m"
_LETTERS = {"open": "o", "high": "h", "low": "l", "close": "c"}


class HyperliquidFeed(HttpFeed):
    """1-minute bars from Hyperliquid; no key is needed, and only about the last 5000 candles exist.

    Parameters
    ----------
    symbols : mapping of str to str
        Hyperliquid's coin of each asset, for example ``{"HYPE": "@107", "XAU": "xyz:GOLD"}``.
    host : str
        Where the snapshots are asked for.
    options : HttpOptions
    """

    name = "hyperliquid"
    chunk = REACH
    reach: int | None = REACH

    def __init__(
        self,
        symbols: Mapping[str, str],
        *,
        host: str = "https://api.hyperliquid.xyz",
        options: HttpOptions = PATIENT,
    ) -> None:
        # A call weighs 20, and 1 more per 60 candles, of the 1200 allowed per minute.
        super().__init__(symbols, HttpClient(Host(host, (10, 10.0), setting="Hyperliquid's host"), options))

    def candles(self, asset: str, symbol: str, start: int, end: int, now: int) -> Mapping[str, object]:
        """Ask for the candles labelled in ``[start, end)``.

        Raises
        ------
        FeedError
            If the answer is for another coin or interval, or is empty because the range is older than
            `REACH`: taken for a quiet market, it would be recorded as a range without bars.
        """
        span = {"startTime": start * 1000, "endTime": end * 1000 - 1}
        request = {"type": "candleSnapshot", "req": {"coin": symbol, "interval": _INTERVAL, **span}}
        answer = self._client.post_json("/info", request)
        if not isinstance(answer, list):
            raise self.error(asset, f"the answer is {brief(answer)}, not a list of candles")
        oldest = (now - REACH) // MINUTE * MINUTE
        if not answer and end <= oldest:
            raise self.error(
                asset,
                f"no candles in [{start}, {end}): only about the last 5000 are kept; ask from {oldest} on, "
                "or import older ones from a file",
            )
        as_of = self._client.host_time
        columns: dict[str, list[object]] = {name: [] for name in COLUMNS}
        for i, row in enumerate(answer):
            if not isinstance(row, dict):
                raise self.error(asset, f"row {i} is {brief(row)}, not a candle")
            got = (row.get("s"), row.get("i"))
            if got != (symbol, _INTERVAL):
                raise self.error(asset, f"row {i} is of {brief(got)}, not of {brief((symbol, _INTERVAL))}")
            columns["timestamp"].append(self.label(asset, i, row.get("t"), row.get("T")))
            for name, letter in _LETTERS.items():
                columns[name].append(row.get(letter))
        return {**columns, AS_OF: as_of}
