"""Forecasters and prompts by name, and fits of forecasters to cached bars."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from ewmalab.api.inputs import Names, Time, assets_of, time_of
from ewmalab.api.result import Result
from ewmalab.errors import ConfigError, MissingDataError, RulebookError
from ewmalab.forecast.load import load_forecaster
from ewmalab.forecast.protocol import Forecaster, Prompt
from ewmalab.forecast.seasonal_har.artifact import write_artifact
from ewmalab.forecast.seasonal_har.fit import fit as fit_bars
from ewmalab.market.feeds.make import cache_name
from ewmalab.market.remote import open_cache
from ewmalab.report.text.experiments import fit_text
from ewmalab.rulebook import load_rulebook
from ewmalab.settings import LoadedSettings, load_settings
from ewmalab.times import DAY, iso

FITTED = "seasonal-har"


@dataclass(frozen=True)
class Fit(Result):
    """A fit and the artifact that holds it.

    Attributes
    ----------
    artifact : dict
        Plain numbers, texts and lists; see `ewmalab.forecast.seasonal_har.fit.fit`.
    path : Path
        Of the artifact: ``seasonal_har.artifact``.
    feed : str
        Of the bars.
    end : int
        The fit's present: it refuses prompts that were requested before.
    seconds : float
    """

    artifact: dict[str, Any]
    path: Path
    feed: str
    end: int
    seconds: float

    def text(self) -> str:
        return fit_text(self.artifact, str(self.path), self.feed, self.end, self.seconds)

    def json(self) -> Any:
        return {
            "artifact": str(self.path),
            "end": self.artifact["end"],
            "assets": list(self.artifact["assets"]),
            "left_out": self.artifact["left_out"],
            "seconds": round(self.seconds, 3),
        }


def fit(
    start: Time,
    days: float = 120.0,
    *,
    forecaster: str = FITTED,
    assets: Names = None,
    settings: LoadedSettings | None = None,
) -> Fit:
    """Estimate seasonality, volatility curve and shocks from cached bars, and write them as an artifact.

    Parameters
    ----------
    start : str or int
        First label.
    days : float
        Of bars; the fit sees those that are closed a request's lead before their end.
    forecaster : str
    assets : str or sequence of str, optional
        By default all that the cache has.
    settings : LoadedSettings, optional
        Name feed, cache, and ``seasonal_har.folder`` for the artifact.

    Raises
    ------
    ConfigError, RulebookError, MissingDataError
    """
    if forecaster != FITTED:
        raise ConfigError(f"forecaster {forecaster!r}: only {FITTED} is fitted")
    settings, rulebook, began = settings or load_settings(), load_rulebook(), perf_counter()
    values, begin, wanted = settings.values, time_of(start), assets_of(assets)
    end = begin + round(days * DAY) - values.replay.request_lead
    cache, feed = open_cache(values.data.cache_dir), cache_name(values.data.feed, values)
    chosen = [rulebook.asset(symbol).symbol for symbol in wanted or rulebook.symbols]
    bars = {asset: cache.read(feed, asset, begin, end) for asset in chosen}
    bars = {asset: own for asset, own in bars.items() if len(own) or wanted}
    if not any(len(own) for own in bars.values()):
        raise MissingDataError(f"the cache has no bars of {feed} in that time; see `ewmalab data list`")
    artifact = fit_bars(bars, rulebook, end=end, feed=feed, windows=values.seasonal_har.shocks == "windows")
    path = write_artifact(artifact, Path(values.seasonal_har.folder))
    return Fit(artifact, path, feed, end, perf_counter() - began)


def make_forecaster(name: str, asset: str, settings: LoadedSettings | None = None) -> Forecaster[Any]:
    """Return the forecaster of an asset, with the parameters of the settings.

    Parameters
    ----------
    name : str
        ``ewma``, ``ewma@seed``, ``random-walk`` or ``package.module:attribute``.
    asset : str

    Raises
    ------
    ForecasterError, RulebookError, ConfigError

    Examples
    --------
    >>> make_forecaster("ewma", "BTC").half_life_1m
    1800
    """
    return load_forecaster(name, load_rulebook().asset(asset), settings or load_settings())


def make_prompt(asset: str, start: Time, horizon: str = "24h", *, request_lead: int = 60) -> Prompt:
    """Return the prompt that validators would send under the rules of its date.

    Parameters
    ----------
    asset : str
    start : str or int
    horizon : str
        ``24h``, ``1h``, or the name of a competition.
    request_lead : int
        Seconds between request and start time.

    Raises
    ------
    RulebookError
        If the asset does not compete there on that date.

    Examples
    --------
    >>> make_prompt("BTC", "2026-01-15", "1h").steps
    60
    """
    when = time_of(start)
    for c in load_rulebook().at(when).select([horizon]):
        if asset in c.assets:
            request = when - request_lead
            return Prompt(when, c.name, asset, request, c.time_increment, c.time_length, c.num_simulations)
    raise RulebookError(f"{asset} is in no competition {horizon} on {iso(when)[:10]}; see `ewmalab rules show`")
