"""Fits that follow time: at each boundary a new one, of the bars of its past."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ewmalab.errors import MissingDataError
from ewmalab.forecast.seasonal_har.artifact import write_artifact
from ewmalab.forecast.seasonal_har.fit import fit
from ewmalab.market.bars import Bars
from ewmalab.rulebook import Rulebook
from ewmalab.settings.schema import SeasonalHarSettings


def boundary(time: int, every: int) -> int:
    """Return when the fit in force at a time was due: multiples of `every` since 1970.

    Examples
    --------
    >>> from ewmalab.times import iso, parse_time
    >>> iso(boundary(parse_time("2026-01-15T14:59"), 86_400))
    '2026-01-15T00:00:00Z'
    """
    return time - time % every


def refit(
    bars: Mapping[str, Bars], rulebook: Rulebook, settings: SeasonalHarSettings, *, end: int, feed: str
) -> Path | None:
    """Fit on the bars of the past that the settings allow, and write the artifact.

    Parameters
    ----------
    bars : mapping of asset to Bars
        Those from ``end - settings.history`` up to `end` count.
    end : int
        The fit's present.
    feed : str
        For the record.

    Returns
    -------
    Path or None
        None if no asset has bars enough: forecasts are then those of an unfitted `seasonal-har`.

    Raises
    ------
    OSError
    """
    try:
        seen = {a: b.between(end - settings.history, end) for a, b in bars.items()}
        made = fit(seen, rulebook, end=end, feed=feed, windows=settings.shocks == "windows")
    except MissingDataError:
        return None
    return write_artifact(made, Path(settings.folder))
