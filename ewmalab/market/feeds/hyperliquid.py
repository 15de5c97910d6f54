"""Hyperliquid candle snapshots."""

from __future__ import annotations

from collections.abc import Mapping

from ewmalab.market.feeds.candles import AS_OF, HttpFeed
from ewmalab.market.feeds.host import PATIENT, Host, HttpOptions
from ewmalab.market.feeds.http import HttpClient
from ewmalab.market.feeds.parsing import FAULTS, brief
from ewmalab.market.quality import COLUMNS
from ewmalab.times import MINUTE

REACH = 5000 * MINUTE
"""About how far back candles exist, in seconds; archive them before they expire."""

_INTERVAL = "1m"
_LETTERS = {"open": "o", "high": "h", "low": "l", "close": "c"}


class HyperliquidFeed(HttpFeed):
    """1-minute bars from Hyperliquid; no key is needed, and only about the last 5000 candles exist.

    Parameters
    ----------
    symbols : mapping of str to str
        Hyperliquid's coin of each asset, for example ``{"HYPE": "@107", "XAU": "xyz:GOLD"}``.
    host : str
        URL of the API.
    options : HttpOptions
    """

    name = "hyperliquid"
    chunk = REACH
    reach: int | None = REACH

    def __init__(
        self, symbols: Mapping[str, str], *, host: str = "https://api.hyperliquid.xyz", options: HttpOptions = PATIENT
    ) -> None:
        # A call has weight 20, plus 1 per 60 candles; 1200 per minute are allowed.
        super().__init__(symbols, HttpClient(Host(host, (10, 10.0), setting="Hyperliquid's host"), options))

    def candles(self, asset: str, symbol: str, start: int, end: int, now: int) -> Mapping[str, object]:
        """Request the candles labelled in ``[start, end)``; see `HttpFeed.candles`.

        Parameters
        ----------
        asset, symbol : str
        start, end, now : int
            Seconds since 1970-01-01 UTC.

        Raises
        ------
        FeedError
            If the answer is for another coin or interval, or is empty because the range is older than `REACH`,
            which would otherwise be recorded as a range without bars.
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
                f"no candles in [{start}, {end}): only about the last 5000 are kept; fetch from {oldest} on, "
                "or import older ones from a file",
            )
        as_of = self._client.host_time
        columns: dict[str, list[object]] = {name: [] for name in COLUMNS}
        faults: dict[int, str] = {}
        for i, row in enumerate(answer):
            if not isinstance(row, dict):
                faults[i] = f"{brief(row)} is not a candle"
                row = {}
            got = (row.get("s"), row.get("i"))
            if row and got != (symbol, _INTERVAL):
                raise self.error(asset, f"row {i} is for {brief(got)}, not for {brief((symbol, _INTERVAL))}")
            label, fault = self.label(row.get("t"), row.get("T"))
            columns["timestamp"].append(label)
            if fault:
                faults.setdefault(i, fault)
            for name, letter in _LETTERS.items():
                columns[name].append(row.get(letter))
        return {**columns, FAULTS: faults, AS_OF: as_of}
