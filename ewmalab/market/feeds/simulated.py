"""The feed ``simulated``: a synthetic market that is the same for everyone."""

from __future__ import annotations

import hashlib
import math
from dataclasses import asdict, dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from ewmalab.errors import FeedError
from ewmalab.market.bars import Bars
from ewmalab.market.sessions import in_session
from ewmalab.rulebook import Rulebook
from ewmalab.times import DAY, MINUTE

EPOCH = 1_748_736_000  # 2025-06-01: every asset's history begins here
LAST = 2_082_758_400  # 2036-01-01: and ends here, since a day's prices follow from all days before
_TICKS = 6  # price changes per minute, so that bars have a real range
_PRICES = {"BTC": 95_000.0, "ETH": 3_300.0, "SOL": 142.5, "XAU": 4_600.0, "XRP": 2.1, "HYPE": 25.0}


@dataclass(frozen=True, slots=True)
class MarketParameters:
    """The true parameters of the synthetic prices of one asset.

    Attributes
    ----------
    price : float
        Price at the start of the history.
    sigma_per_hour : float
        Root mean square volatility per hour over the daily cycle, on weekdays, in session, without jumps.
    volatility_half_life : float
        Half-life of the logarithm of volatility (an Ornstein-Uhlenbeck process), hours.
    volatility_spread : float
        Standard deviation of the logarithm of volatility.
    time_of_day : float
        Amplitude of the daily cycle of the logarithm of volatility, which peaks at 15:00 UTC.
    weekend : float
        Volatility on Saturdays and Sundays relative to weekdays.
    off_hours : float
        Volatility outside the US cash session relative to inside (1 for assets that do not follow the session).
    jumps_per_day, jump_size : float
        Rate of jumps, and their standard deviation in log-price.
    gaps : float
        Share of minutes without a bar.
    """

    price: float
    sigma_per_hour: float
    volatility_half_life: float
    volatility_spread: float
    time_of_day: float
    weekend: float
    off_hours: float
    jumps_per_day: float
    jump_size: float
    gaps: float


def market_name(seed: int, gaps: float) -> str:
    """Return the name of a synthetic market."""
    return f"simulated-{seed}" + (f"-gaps-{gaps:g}" if gaps else "")


class SimulatedFeed:
    """Synthetic bars: stochastic volatility, daily and weekly profile, jumps, off-hours, optional gaps.

    The prices of an asset and minute depend on the seed alone, not on the requested range or the time of the request.

    Parameters
    ----------
    rulebook : Rulebook
        Gives the reference miner's volatilities, which set the volatility levels.
    seed : int
    gaps : float
        Share of minutes without a bar.
    """

    synthetic = True
    complete = True
    reach: int | None = None
    chunk = 31 * DAY

    def __init__(self, rulebook: Rulebook, *, seed: int, gaps: float = 0.0) -> None:
        self.rulebook = rulebook
        self.seed = seed
        self.gaps = gaps
        # Each seed is a market of its own, with its own folder in the cache.
        self.name = market_name(seed, gaps)
        self.source = f"synthetic market, seed {seed}, gaps {gaps:g}"

    def parameters(self, asset: str) -> MarketParameters:
        """Return the true parameters of an asset's prices.

        Raises
        ------
        RulebookError
            If the asset is unknown.
        """
        sessions = self.rulebook.asset(asset).sessions
        sigma = self.rulebook.at(self.rulebook.breakpoints()[-1]).sigma_per_hour(asset)
        return MarketParameters(
            price=_PRICES.get(asset, 250.0),
            sigma_per_hour=sigma,
            volatility_half_life=6.0,
            volatility_spread=0.4,
            time_of_day=0.25,
            weekend=0.7,
            off_hours=0.5 if sessions else 1.0,
            jumps_per_day=0.5,
            jump_size=2 * sigma,
            gaps=self.gaps,
        )

    def truth(self, asset: str) -> dict[str, float]:
        """Return `parameters` as a plain dict, for records."""
        return asdict(self.parameters(asset))

    def fetch(self, asset: str, start: int, end: int, now: int) -> Bars:
        """Return the closed bars labelled in ``[start, end)``; see `Feed.fetch`.

        Parameters
        ----------
        asset : str
        start, end, now : int
            Seconds since 1970-01-01 UTC.

        Raises
        ------
        FeedError
            If the range begins before the synthetic history, or ends after it.
        """
        if start < EPOCH:
            raise FeedError("feed simulated: its synthetic history begins on 2025-06-01")
        if end > LAST:
            raise FeedError("feed simulated: its synthetic history ends with 2035")
        parameters = self.parameters(asset)
        days = range((start - EPOCH) // DAY, (end - 1 - EPOCH) // DAY + 1)
        parts = [_day(self.seed, asset, parameters, day) for day in days]
        return Bars.concatenate(parts).between(start, min(end, now - MINUTE + 1))


def _draws(seed: int, asset: str, day: int) -> np.random.Generator:
    digest = hashlib.blake2b(f"synthetic\0{seed}\0{asset}\0{day}".encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little")))


@lru_cache(maxsize=20_000)
def _drift(seed: int, asset: str, p: MarketParameters, day: int) -> tuple[float, float]:
    """Return log-price and log-volatility at the start of a day: a sum over the earlier days."""
    if day == 0:
        return math.log(p.price), 0.0
    # Fill the cache forwards, so that a first call far from the epoch does not recurse once per day.
    for earlier in range(day % 200, day, 200):
        _drift(seed, asset, p, earlier)
    prices, volatility, _ = _walk(seed, asset, p, day - 1)
    return float(prices[-1]), volatility


@lru_cache(maxsize=64)
def _walk(
    seed: int, asset: str, p: MarketParameters, day: int
) -> tuple[npt.NDArray[np.float64], float, npt.NDArray[np.bool_]]:
    """Return a day's log-prices at every tick, the log-volatility at its end, and which minutes have a bar."""
    log_price, volatility = _drift(seed, asset, p, day)
    rng = _draws(seed, asset, day)
    minutes = DAY // MINUTE
    keep = 0.5 ** (1 / (60 * p.volatility_half_life))
    shocks = rng.standard_normal(minutes) * p.volatility_spread * math.sqrt(1 - keep * keep)
    levels = np.empty(minutes)
    for i in range(minutes):
        volatility = keep * volatility + shocks[i]
        levels[i] = volatility
    times = EPOCH + DAY * day + MINUTE * np.arange(minutes)
    clock = p.time_of_day * np.cos(2 * np.pi * ((times % DAY) / 3600 - 15) / 24)
    scale = np.exp(levels + clock - p.volatility_spread**2 - p.time_of_day**2 / 2)
    weekend = (times // DAY + 3) % 7 >= 5
    scale *= np.where(weekend, p.weekend, 1.0)
    if p.off_hours != 1.0:
        scale *= np.where(in_session(times), 1.0, p.off_hours)
    ticks = rng.standard_normal((minutes, _TICKS)) * (scale * p.sigma_per_hour / math.sqrt(60 * _TICKS))[:, None]
    jumps = rng.random(minutes) < p.jumps_per_day / minutes
    ticks[:, 0] += jumps * rng.standard_normal(minutes) * p.jump_size
    exists = rng.random(minutes) >= p.gaps
    return log_price + np.cumsum(ticks.ravel()), volatility, exists


@lru_cache(maxsize=256)
def _day(seed: int, asset: str, p: MarketParameters, day: int) -> Bars:
    walk, _, exists = _walk(seed, asset, p, day)
    before = _drift(seed, asset, p, day)[0]
    # Eight digits, as real feeds give; rounded here, so that cached bars equal the simulated ones.
    prices = np.exp(np.concatenate([[before], walk]))
    prices = np.round(prices, 8 - 1 - np.floor(np.log10(prices[0])).astype(int))
    ticks = prices[1:].reshape(-1, _TICKS)
    opens = prices[:-1:_TICKS]
    times = EPOCH + DAY * day + MINUTE * np.arange(len(ticks))
    high = np.maximum(opens, ticks.max(axis=1))
    low = np.minimum(opens, ticks.min(axis=1))
    return Bars(times[exists], opens[exists], high[exists], low[exists], ticks[exists, -1])
