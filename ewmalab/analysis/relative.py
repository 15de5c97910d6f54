"""Differences from a baseline over time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ewmalab.analysis.compare import KEY, relative_to_mean
from ewmalab.errors import ExperimentError
from ewmalab.inference.aggregate import Bins, Floats, Ints, Means
from ewmalab.times import DAY


@dataclass(frozen=True, slots=True, eq=False)
class Course:
    """Time series by competition and forecaster.

    Attributes
    ----------
    baseline : str
    prompts : int
        Number of prompts.
    period : int
        Seconds per point; 0 means a point per start time.
    competitions : dict of str to (times, values by forecaster)
        Times (t,) int64, seconds since 1970-01-01 UTC; values (t,) float64.
    """

    baseline: str
    prompts: int
    period: int
    competitions: dict[str, tuple[Ints, dict[str, Floats]]]


def relative_scores(results: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """Return CRPS in percent of the baseline's mean on the same competition and asset.

    Returns
    -------
    DataFrame
        Indexed by ``competition, asset, start_time``, a column per forecaster; prompts that all have scored.
    """
    wide = results.pivot(index=KEY, columns="forecaster", values="crps").dropna()
    if baseline not in wide:
        raise ExperimentError(f"no forecaster {baseline!r}; there are {', '.join(map(str, wide.columns))}")
    assets = Bins.of(*(wide.index.get_level_values(name) for name in KEY[:2]))
    crps = {name: wide[name].to_numpy() for name in results["forecaster"].unique()}
    return pd.DataFrame(relative_to_mean(crps, assets, baseline), index=wide.index)


def over_time(results: pd.DataFrame, baseline: str, period: int = DAY) -> Course:
    """Return mean CRPS per period of start times, in percent of the baseline's mean; all assets weigh the same."""
    relative = relative_scores(results, baseline)
    competition, asset, start = (relative.index.get_level_values(name).to_numpy() for name in KEY)
    columns = {str(name): values for name, values in relative.items()}
    by_asset = Means.of(Bins.of(competition, start // period * period, asset), columns)
    mean = {name: by_asset.mean(name) for name in columns}
    bins = Bins.of(*(np.array(column) for column in list(zip(*by_asset.keys, strict=True))[:2]))
    return Course(baseline, len(relative), period, _by_competition(Means.of(bins, mean)))


def cumulative_difference(results: pd.DataFrame, baseline: str) -> Course:
    """Return the running sum of differences from the baseline, per competition and start time.

    Values are cumulative sums of the mean over the assets of one time, in units of the baseline's mean CRPS (-1: the
    CRPS of one whole prompt was saved).
    """
    relative = relative_scores(results, baseline)
    base = relative.pop(baseline)
    difference = {str(name): (values - base) / 100.0 for name, values in relative.items()}
    bins = Bins.of(*(relative.index.get_level_values(name) for name in ("competition", "start_time")))
    found = _by_competition(Means.of(bins, difference))
    summed = {c: (times, {name: np.cumsum(v) for name, v in values.items()}) for c, (times, values) in found.items()}
    return Course(baseline, len(relative), 0, summed)


def _by_competition(means: Means) -> dict[str, tuple[Ints, dict[str, Floats]]]:
    """Return the means of bins of competition and time as series."""
    competition, times = (np.array(column) for column in zip(*means.keys, strict=True))
    series = {name: means.mean(name) for name in means.total}
    return {
        str(name): (times[at], {one: values[at] for one, values in series.items()})
        for (name,), at in Bins.of(competition).items()
    }
