"""Forecasters and prompts by name, and fits to cached bars."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from ewmalab.api.inputs import Names, Time, assets_of, time_of
from ewmalab.api.result import Result
from ewmalab.atomic_files import check_folder
from ewmalab.errors import MissingDataError, RulebookError
from ewmalab.forecast.load import FITTED, load_forecaster
from ewmalab.forecast.protocol import Explained, Forecaster, Prompt
from ewmalab.market.cache import open_cache
from ewmalab.market.feeds.make import cache_name
from ewmalab.replay.artifacts import Artifact, write_artifact
from ewmalab.replay.fits import make_artifact
from ewmalab.replay.schedule import scheduled_at
from ewmalab.report.text.experiments import fit_text
from ewmalab.rulebook import load_rulebook
from ewmalab.settings import LoadedSettings, load_settings
from ewmalab.times import iso, span_of


@dataclass(frozen=True)
class Fit(Result):
    """A fit and its artifact.

    Attributes
    ----------
    artifact : Artifact
    path : Path
        The artifact's file, for ``fit.artifacts``.
    table : mapping of asset to mapping
        A few columns that describe the fit of each asset.
    seconds : float
        Duration of the fit.
    notes : tuple of str
    """

    artifact: Artifact
    path: Path
    table: Mapping[str, Mapping[str, str]]
    seconds: float
    notes: tuple[str, ...] = ()

    @property
    def left_out(self) -> dict[str, int]:
        """Return the number of bars of each asset that has too few."""
        return {asset: seen["bars"] for asset, seen in self.artifact.seen.items() if asset not in self.table}

    def text(self) -> str:
        return fit_text(self.artifact, self.table, self.left_out, str(self.path), self.seconds)

    def json(self) -> Any:
        return {
            "artifact": str(self.path),
            "forecaster": self.artifact.forecaster,
            "end": iso(self.artifact.fit.end),
            "prior": self.artifact.prior,
            "assets": list(self.table),
            "left_out": self.left_out,
            "seconds": round(self.seconds, 3),
        }


def fit(
    start: Time,
    days: float = 120.0,
    *,
    forecaster: str | None = None,
    assets: Names = None,
    settings: LoadedSettings | None = None,
) -> Fit:
    """Fit a forecaster to cached bars, and write the fit as an artifact.

    Parameters
    ----------
    start : str or int
        Label of the first bar.
    days : float
        Days of bars; the fit uses those that a request of their end would know.
    forecaster : str
        A `Fittable` forecaster.
    assets : str or sequence of str, optional
        By default all in the cache.
    settings : LoadedSettings, optional
        Name feed, cache, and ``fit.folder`` for the artifact.

    Raises
    ------
    ConfigError, RulebookError, MissingDataError, ForecasterError
    """
    settings, rulebook, began = settings or load_settings(), load_rulebook(), perf_counter()
    check_folder(Path(settings.values.fit.folder))
    values, begin, wanted = settings.values, time_of(start), assets_of(assets)
    _, end = span_of(begin, days)
    end -= values.replay.request_lead or rulebook.at(end).longest_lead
    cache, feed = open_cache(values.data.cache_dir), cache_name(values.data.feed, values)
    chosen = [rulebook.asset(symbol).symbol for symbol in wanted or rulebook.symbols]
    bars = {asset: cache.read(feed, asset, begin, end) for asset in chosen}
    bars = {asset: own for asset, own in bars.items() if len(own) or wanted}
    if not any(len(own) for own in bars.values()):
        raise MissingDataError(f"the cache has no bars of {feed} in that range; see `ewmalab data list`")
    name = forecaster or FITTED
    artifact = make_artifact(name, bars, settings, rulebook, end=end, feed=feed)
    path, notes = _written(artifact, Path(values.fit.folder))
    maker: object = load_forecaster(name, rulebook.asset(chosen[0]), settings)
    table = maker.fit_table(artifact.fit.numbers) if isinstance(maker, Explained) else {asset: {} for asset in bars}
    return Fit(artifact, path, table, perf_counter() - began, notes)


def _written(artifact: Artifact, folder: Path) -> tuple[Path, tuple[str, ...]]:
    """Write an artifact; where its folder fails after minutes of fitting, write it elsewhere and say so."""
    try:
        return write_artifact(artifact, folder), ()
    except OSError as error:
        path = write_artifact(artifact, Path(tempfile.mkdtemp(prefix="ewmalab-fits-")))
        return path, (f"note: {folder}: {error.strerror or error}; the fit is in {path}: move that file",)


def make_forecaster(name: str, asset: str, settings: LoadedSettings | None = None) -> Forecaster[Any]:
    """Return the forecaster of an asset, with the parameters from the settings.

    Parameters
    ----------
    name : str
        ``ewma``, ``ewma@seed``, ``seasonal-har``, ``random-walk``, ``blend`` or ``package.module:attribute``.
    asset : str
    settings : LoadedSettings, optional

    Raises
    ------
    ForecasterError, RulebookError, ConfigError

    Examples
    --------
    >>> make_forecaster("ewma", "BTC").half_life_1m
    1800
    """
    return load_forecaster(name, load_rulebook().asset(asset), settings or load_settings())


def make_prompt(asset: str, start: Time, horizon: str = "24h", *, request_lead: int = 0) -> Prompt:
    """Return the prompt that validators would send under the rules of its date.

    Parameters
    ----------
    asset : str
    start : str or int
    horizon : str
        ``24h``, ``1h``, or the name of a competition.
    request_lead : int
        Seconds between request and start time; 0: as the rulebook says.

    Raises
    ------
    RulebookError
        If the asset is not in that competition on that date.

    Examples
    --------
    >>> make_prompt("BTC", "2026-01-15", "1h").steps
    60
    """
    when = time_of(start)
    for c in load_rulebook().at(when).select([horizon]):
        if asset in c.assets:
            return scheduled_at(c, asset, when, request_lead).prompt
    raise RulebookError(f"{asset} is in no competition {horizon} on {iso(when)[:10]}; see `ewmalab rules show`")
