"""Calibration of a backtest's forecasts: coverage, probability integral transform, and spread against error.

Functions take tables of one row per forecaster and prompt, and return typed rows; ``pandas.DataFrame(rows)`` makes a
table of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ewmalab.analysis.compare import KEY, backtest_table
from ewmalab.errors import ExperimentError
from ewmalab.experiments.store import Experiment
from ewmalab.inference.aggregate import Bins, Floats, Ints, Means
from ewmalab.inference.intervals import ConfidenceInterval, Dependence, mean_intervals, overlap_of

LEVELS = (0.5, 0.9, 0.99)
_CHECKS = ["pit", "error", "spread"]


@dataclass(frozen=True, slots=True)
class Coverage:
    """How often the realised price fell within a forecast's central interval.

    Attributes
    ----------
    forecaster, competition : str
    horizon : int
        Seconds after the start time.
    level : float
        Nominal coverage.
    prompts : int
    covered : float
        Share of the prompts.
    low, high : float
        Its 95 % interval; NaN if there are too few independent prompts.
    """

    forecaster: str
    competition: str
    horizon: int
    level: float
    prompts: int
    covered: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class PitBin:
    """The share of prompts whose probability integral transform falls into a bin, and what chance allows.

    Attributes
    ----------
    forecaster, competition : str
    horizon : int
        Seconds.
    bin : float
        Its lower end.
    share : float
    prompts : int
        Prompts in all bins.
    low, high : float
        The band that holds 95 % of the shares of a calibrated forecast, with one independent prompt per non-overlapping
        horizon (the assets of one time count as one).
    """

    forecaster: str
    competition: str
    horizon: int
    bin: float
    share: float
    prompts: int
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Volatility:
    """Realised against forecast volatility at one horizon.

    Attributes
    ----------
    forecaster, competition, asset : str
    horizon : int
        Seconds.
    prompts : int
    realised, forecast : float
        Root mean square error and spread, basis points.
    scale : float
        Their ratio: the factor that would correct the volatility.
    low, high : float
        Its 95 % interval, from that of the squared ratio; NaN if there are too few independent prompts.
    """

    forecaster: str
    competition: str
    asset: str
    horizon: int
    prompts: int
    realised: float
    forecast: float
    scale: float
    low: float
    high: float

    @property
    def ratio(self) -> float:
        """Return forecast over realised volatility: below 1 is too narrow."""
        return _inverse(self.scale)

    @property
    def ratio_low(self) -> float:
        """Return the lower end of the ratio's 95 % interval."""
        return _inverse(self.high)

    @property
    def ratio_high(self) -> float:
        """Return the upper end of the ratio's 95 % interval; NaN if it is open."""
        return _inverse(self.low)


@dataclass(frozen=True, slots=True)
class SpreadBin:
    """Errors of prompts whose forecasts are about equally wide.

    Attributes
    ----------
    forecaster, competition : str
    horizon : int
        Seconds.
    spread, error : float
        Root mean squares, relative to each asset's root mean square spread; equal in a calibrated forecast.
    prompts : int
    """

    forecaster: str
    competition: str
    horizon: int
    spread: float
    error: float
    prompts: int


def results_frame(experiment: Experiment) -> pd.DataFrame:
    """Return the scored prompts of a backtest: one row per forecaster and prompt.

    Raises
    ------
    ExperimentError
        If the experiment is no backtest.
    """
    table = backtest_table(experiment)
    scored: pd.DataFrame = table[table["crps"].notna()]
    return scored.reset_index(drop=True)


def horizon_checks(results: pd.DataFrame) -> pd.DataFrame:
    """Return the calibration checks of each prompt, one row per horizon.

    Returns
    -------
    DataFrame
        ``forecaster, competition, asset, start_time, horizon`` (seconds), ``pit, error, spread`` (basis points); see
        `ewmalab.scoring.calibration.HorizonCheck`.

    Raises
    ------
    ExperimentError
        If the results hold no checks.
    """
    horizons = sorted(int(name.removeprefix("pit_")) for name in results.columns if name.startswith("pit_"))
    keys = ["forecaster", *KEY]
    parts = []
    for horizon in horizons:
        names = [f"{check}_{horizon}" for check in _CHECKS]
        part = results.loc[results[names[0]].notna(), [*keys, *names]].set_axis([*keys, *_CHECKS], axis=1)
        parts.append(part.assign(horizon=horizon))
    if not parts:
        raise ExperimentError("these results have no calibration checks: run the backtest again with this version")
    return pd.concat(parts, ignore_index=True)


def coverage(checks: pd.DataFrame, levels: Sequence[float] = LEVELS) -> list[Coverage]:
    """Return how often the realised price fell within the central intervals of a forecast.

    Prompts of one start time are averaged over the assets.

    Parameters
    ----------
    checks : DataFrame
        From `horizon_checks`.
    levels : sequence of float
        Nominal coverage.
    """
    rows = []
    for (competition, horizon), group in _split(checks, "competition", "horizon"):
        starts = np.unique(group["start_time"].to_numpy())
        columns, owners = [], []
        for name, own in _by_forecaster(group):
            inside = {str(k): (own["pit"] - 0.5).abs().to_numpy() <= level / 2 for k, level in enumerate(levels)}
            means = Means.of(Bins.of(own["start_time"]), inside)
            known = np.searchsorted(starts, [start for (start,) in means.keys])
            for k, level in enumerate(levels):
                averaged = means.mean(str(k))
                column = np.full(len(starts), averaged.mean())
                column[known] = averaged
                columns.append(column)
                owners.append((name, level, len(own), float(inside[str(k)].mean())))
        found = _bounded(np.stack(columns, axis=1), starts, horizon)
        for (name, level, prompts, covered), bounds in zip(owners, found, strict=True):
            low, high = (float(np.clip(bound, 0.0, 1.0)) for bound in (bounds.low, bounds.high))
            rows.append(Coverage(name, competition, horizon, level, prompts, covered, low, high))
    return rows


def pit_histogram(checks: pd.DataFrame, bins: int = 10) -> list[PitBin]:
    """Return the histogram of the probability integral transform of each forecaster, competition and horizon."""
    from scipy import special

    edges = np.linspace(0.0, 1.0, bins + 1)
    rows = []
    for (competition, horizon), group in _split(checks, "competition", "horizon"):
        for name, own in _by_forecaster(group):
            counts, _ = np.histogram(own["pit"], edges)
            starts = np.unique(own["start_time"].to_numpy())
            independent = max(1, round(len(starts) / overlap_of(starts, horizon)))
            chances = special.bdtr(np.arange(independent + 1), independent, 1.0 / bins)
            low, high = (float(np.searchsorted(chances, tail)) / independent for tail in (0.025, 0.975))
            for edge, count in zip(edges.tolist(), counts.tolist(), strict=False):
                rows.append(PitBin(name, competition, horizon, edge, count / len(own), len(own), low, high))
    return rows


def term_structure(checks: pd.DataFrame) -> list[Volatility]:
    """Return realised and forecast volatility by horizon, and the scale that would make them agree."""
    rows = []
    for (competition, asset, horizon), group in _split(checks, "competition", "asset", "horizon"):
        wide = group.pivot(index="start_time", columns="forecaster", values=["error", "spread"]).dropna() ** 2
        error, spread = wide["error"], wide["spread"]
        names = [name for name in group["forecaster"].unique() if name in spread and spread[name].any()]
        if not names:
            continue
        relative = np.stack([(error[name] / spread[name].mean()).to_numpy(np.float64) for name in names], axis=1)
        found = _bounded(relative, wide.index.to_numpy(), horizon)
        for name, squared in zip(names, found, strict=True):
            squares = [error[name].mean(), spread[name].mean(), squared.mean, squared.low, squared.high]
            realised, forecast, scale, low, high = np.sqrt(np.maximum(0.0, squares)).tolist()
            count = len(wide)
            rows.append(Volatility(name, competition, asset, horizon, count, realised, forecast, scale, low, high))
    return rows


def spread_skill(checks: pd.DataFrame, bins: int = 6) -> list[SpreadBin]:
    """Return errors by forecast spread, in bins of equal numbers of prompts.

    Spread and error of each asset are relative to its root mean square spread, so that assets can be pooled. Errors are
    flat over the bins if the spread is not informative.
    """
    rows = []
    for (competition, horizon), group in _split(checks, "competition", "horizon"):
        for name, own in _by_forecaster(group):
            assets = Bins.of(own["asset"])
            squares = Means.of(assets, {"spread": own["spread"] ** 2}).mean("spread")
            typical = np.sqrt(squares)[assets.of_row]
            known = typical > 0
            spread, error = (own[what].to_numpy()[known] / typical[known] for what in ("spread", "error"))
            for part in np.array_split(np.argsort(spread, kind="stable"), min(bins, max(1, len(spread) // 10))):
                wide, wrong = (float(np.sqrt(np.mean(values[part] ** 2))) for values in (spread, error))
                rows.append(SpreadBin(name, competition, horizon, wide, wrong, len(part)))
    return rows


def _inverse(number: float) -> float:
    return 1.0 / number if number > 0 else float("nan")


def _split(table: pd.DataFrame, *columns: str) -> Iterator[tuple[tuple[Any, ...], pd.DataFrame]]:
    """Yield the rows that have the same values in some columns."""
    for key, rows in Bins.of(*(table[name] for name in columns)).items():
        yield key, table.iloc[rows]


def _by_forecaster(table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    for name in table["forecaster"].unique():
        yield str(name), table[table["forecaster"] == name]


def _bounded(series: Floats, starts: Ints, horizon: int) -> list[ConfidenceInterval]:
    """Return the interval of each column's mean; rows are start times with overlapping horizons."""
    found = mean_intervals(series, Dependence.of(series, overlap_of(starts, horizon)))
    return [one if np.isfinite(one.low) else ConfidenceInterval(one.mean, np.nan, np.nan) for one in found]
