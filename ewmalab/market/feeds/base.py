"""The protocol that every price feed satisfies."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from ewmalab.market.bars import Bars
from ewmalab.market.quality import AsideBar


@runtime_checkable
class Feed(Protocol):
    """A source of closed 1-minute bars.

    Attributes
    ----------
    name : str
        The feed's folder in the cache: ``pyth``, ``binance``, ...
    source : str
        Provenance of the bars, recorded in the cache: a host, a file, "synthetic ..."; never a key.
    chunk : int
        Longest range of one `fetch`, in seconds.
    reach : int or None
        How far back bars exist, in seconds; None means the whole history of the market.
    synthetic : bool
        Whether the prices are simulated.
    complete : bool
        Whether a minute missing from an answer certainly has no bar; otherwise the bar may only be late.
    """

    name: str
    source: str
    chunk: int
    reach: int | None
    synthetic: bool
    complete: bool

    def fetch(self, asset: str, start: int, end: int, now: int) -> Bars:
        """Return the closed 1-minute bars labelled in ``[start, end)``.

        Parameters
        ----------
        asset : str
            The subnet's symbol, for example ``"BTC"``.
        start, end : int
            Seconds since 1970-01-01 UTC, multiples of 60; ``end - start <= chunk``.
        now : int
            Current time; a bar labelled ``t`` is returned only if ``t + 60 <= now``.

        Raises
        ------
        FeedError
            If the feed does not know the asset, rejects the key, or keeps failing.
        BarsError
            If the answer's rows break a rule of `Bars`.
        """
        ...


def malformed_of(feed: Feed, asset: str) -> tuple[AsideBar, ...]:
    """Return the candles of a feed's last answer for an asset that are no bars, if the feed says so."""
    found: dict[str, tuple[AsideBar, ...]] = getattr(feed, "malformed", {})
    return found.get(asset, ())
