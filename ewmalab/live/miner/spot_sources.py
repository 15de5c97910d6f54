"""The sources of spot prices: one request of each feed for all of its assets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import orjson

from ewmalab.errors import FeedError
from ewmalab.live.clock import Clock
from ewmalab.live.feeds import LIVE_HTTP
from ewmalab.live.miner.spot import Spots, SpotSource, Told
from ewmalab.market.feeds.host import Host
from ewmalab.market.feeds.http import HttpClient
from ewmalab.rulebook import Rulebook
from ewmalab.settings.schema import Settings


def make_spots(feeds: Mapping[str, str], settings: Settings, rulebook: Rulebook, clock: Clock) -> Spots:
    """Return the spot prices of assets, each from the feed of its bars.

    Parameters
    ----------
    feeds : mapping of asset to feed name
    settings : Settings
        Names the hosts and Pyth's key.
    rulebook : Rulebook
        Knows each asset's symbols and feed ids.
    clock : Clock
        Gives the time of prices whose source gives none.
    """
    sources: list[SpotSource] = []
    for name in dict.fromkeys(feeds.values()):
        if name == "simulated":
            continue  # it has no spot prices
        symbols = {asset: rulebook.asset(asset).symbols[name] for asset in feeds if feeds[asset] == name}
        if name == "pyth":
            sources += _pyth(tuple(symbols), settings, rulebook)
        elif name == "binance":
            sources.append(_binance(symbols, HttpClient(Host(settings.feeds.binance.host), LIVE_HTTP)))
        elif name == "hyperliquid":
            client = HttpClient(Host(settings.feeds.hyperliquid.host), LIVE_HTTP)
            for dex in sorted({symbol.partition(":")[0] if ":" in symbol else "" for symbol in symbols.values()}):
                of_dex = {a: s for a, s in symbols.items() if (s.partition(":")[0] if ":" in s else "") == dex}
                sources.append(_hyperliquid(of_dex, dex, client))
    return Spots(sources, clock)


def _binance(symbols: Mapping[str, str], client: HttpClient) -> SpotSource:
    assets = {symbol: asset for asset, symbol in symbols.items()}
    wanted = orjson.dumps(list(assets)).decode()

    def ask() -> Told:
        rows = client.get_json("/api/v3/ticker/price", {"symbols": wanted})
        return {assets[row["symbol"]]: (float(row["price"]), None) for row in rows}

    return _source("binance", symbols, ask)


def _hyperliquid(symbols: Mapping[str, str], dex: str, client: HttpClient) -> SpotSource:
    def ask() -> Told:
        mids = client.post_json("/info", {"type": "allMids", **({"dex": dex} if dex else {})})
        return {asset: (float(mids[symbol]), None) for asset, symbol in symbols.items() if symbol in mids}

    return _source(f"hyperliquid-{dex}" if dex else "hyperliquid", symbols, ask)


def _pyth(assets: tuple[str, ...], settings: Settings, rulebook: Rulebook) -> list[SpotSource]:
    key = settings.feeds.pyth.api_key.get_secret_value()
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    lazer = {i: asset for asset in assets if (i := rulebook.asset(asset).lazer_id) is not None}
    others = {a: rulebook.asset(a).hermes_id for a in assets if a not in lazer.values()}
    hermes = {feed_id: asset for asset, feed_id in others.items() if feed_id is not None}
    sources = []
    if lazer:
        sources.append(
            _lazer(
                lazer,
                HttpClient(Host(settings.feeds.pyth.spot_host, key_setting="PYTH_API_KEY"), LIVE_HTTP, headers=headers),
            )
        )
    if hermes:
        sources.append(
            _hermes(
                hermes,
                HttpClient(
                    Host(settings.feeds.pyth.hermes_host, key_setting="PYTH_API_KEY"), LIVE_HTTP, headers=headers
                ),
            )
        )
    return sources


def _lazer(assets: Mapping[int, str], client: HttpClient) -> SpotSource:
    body = {
        "channel": "fixed_rate@200ms",
        "priceFeedIds": list(assets),
        "properties": ["price", "exponent"],
        "formats": [],
        "parsed": True,
    }

    def ask() -> Told:
        parsed = client.post_json("/v1/latest_price", body)["parsed"]
        at = int(parsed["timestampUs"]) / 1e6
        rows = [row for row in parsed["priceFeeds"] if row.get("price") is not None]
        return {assets[row["priceFeedId"]]: (int(row["price"]) * 10.0 ** row["exponent"], at) for row in rows}

    return _source("pyth-lazer", assets.values(), ask)


def _hermes(assets: Mapping[str, str], client: HttpClient) -> SpotSource:
    path = "/v2/updates/price/latest?" + "&".join(f"ids[]={feed_id}" for feed_id in assets)

    def ask() -> Told:
        prices = {assets[row["id"].removeprefix("0x")]: row["price"] for row in client.get_json(path)["parsed"]}
        return {a: (int(p["price"]) * 10.0 ** p["expo"], float(p["publish_time"])) for a, p in prices.items()}

    return _source("pyth-hermes", assets.values(), ask)


def _source(name: str, assets: Iterable[str], ask: Callable[[], Told]) -> SpotSource:
    """Return a source that raises `FeedError` if an answer has another format."""

    def checked() -> Told:
        try:
            return ask()
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            what = f"{type(error).__name__}: {error}"
            raise FeedError(f"{name}: the answer is not a list of spot prices ({what})") from error

    return SpotSource(name, tuple(assets), checked)
