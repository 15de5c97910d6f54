"""Pyth's price history, in the format of TradingView's data feeds."""

from __future__ import annotations

from collections.abc import Mapping

from ewmalab.errors import FeedAuthError
from ewmalab.market.feeds.answers import printable
from ewmalab.market.feeds.candles import AS_OF, HttpFeed
from ewmalab.market.feeds.host import PATIENT, Host, HttpOptions
from ewmalab.market.feeds.http import HttpClient
from ewmalab.market.feeds.parsing import brief
from ewmalab.times import DAY

KEY_VARIABLE = "PYTH_API_KEY"
_KEYED_DOMAIN = "dourolabs.app"
_LETTERS = {"timestamp": "t", "open": "o", "high": "h", "low": "l", "close": "c"}


class PythFeed(HttpFeed):
    """1-minute bars from Pyth Pro, or from any server with the same format.

    The public service with that format (``https://benchmarks.pyth.network``, path ``/v1/shims/tradingview/history``)
    took no key and was retired on 2026-08-26.

    Parameters
    ----------
    symbols : mapping of str to str
        Pyth's symbol of each asset, for example ``{"BTC": "Crypto.BTC/USD"}``.
    host, path : str
        URL of the API, and path of the history.
    api_key : str or None
        Sent as a bearer token; only Pyth Pro's hosts need it.
    options : HttpOptions

    Raises
    ------
    FeedAuthError
        From the constructor if the key has invalid characters; from `fetch` if a key is needed and missing.
    """

    name = "pyth"
    chunk = DAY

    def __init__(
        self,
        symbols: Mapping[str, str],
        *,
        host: str = "https://pyth.dourolabs.app",
        path: str = "/v1/fixed_rate@200ms/history",
        api_key: str | None,
        options: HttpOptions = PATIENT,
    ) -> None:
        key = (api_key or "").strip()
        if not (key.isascii() and key.isprintable()) or " " in key:
            raise FeedAuthError(f"{KEY_VARIABLE} has characters that no key contains; set it to the key alone")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        key_setting = f"the environment variable {KEY_VARIABLE}"
        pyth = Host(host, (90, 10.0), key_setting=key_setting, setting="Pyth's host")
        super().__init__(symbols, HttpClient(pyth, options, headers=headers))
        self._path, self._has_key = path, bool(key)

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
        domain = self.source.partition(":")[0]
        if not self._has_key and (domain == _KEYED_DOMAIN or domain.endswith("." + _KEYED_DOMAIN)):
            raise FeedAuthError(f"{self.source} needs a key: set the environment variable {KEY_VARIABLE}")
        answer = self._client.get_json(self._path, {"symbol": symbol, "resolution": "1", "from": start, "to": end})
        as_of = self._client.host_time
        if not isinstance(answer, dict):
            raise self.error(asset, f"the answer is {brief(answer)}, not an object with s, t, o, h, l, c")
        match answer.get("s"):
            case "ok":
                return {name: answer.get(letter) for name, letter in _LETTERS.items()} | {AS_OF: as_of}
            case "no_data" if not answer.get("t"):
                return {**{name: [] for name in _LETTERS}, AS_OF: as_of}
            case "error":
                said = printable(str(answer.get("errmsg")))
                raise self.error(asset, f"{self.source} answers for {symbol!r}: {said}")
            case status:
                raise self.error(asset, f"status {brief(status)} is not ok, error or (without rows) no_data")
