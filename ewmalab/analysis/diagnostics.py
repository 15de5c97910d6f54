"""What a backtest's prompts tell besides their mean: when, at which interval, and whether the spread is right.

All functions take results as a table (``experiment.results.to_pandas()``) and return tables.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ewmalab.errors import ExperimentError
from ewmalab.experiments.store import Experiment
from ewmalab.forecast.streams import RandomStream
from ewmalab.inference.intervals import block_length, mean_intervals, overlap_of
from ewmalab.times import DAY

ALL = "all"
LEVELS = (0.5, 0.9, 0.99)
_KEYS = ["forecaster", "competition", "asset", "start_time"]


def results_frame(experiment: Experiment) -> pd.DataFrame:
    """Return the scored prompts of a backtest: one row per forecaster and prompt.

    Raises
    ------
    ExperimentError
        If the experiment is no backtest.
    """
    if "forecaster" not in experiment.results.column_names:
        kind = experiment.manifest["inputs"].get("kind", "something else")
        raise ExperimentError(f"{experiment.name} is a {kind}, not a backtest: it has no prompts of forecasters")
    table = experiment.results.to_pandas()
    scored: pd.DataFrame = table[table["crps"].notna()]
    return scored.reset_index(drop=True)


def horizon_checks(results: pd.DataFrame) -> pd.DataFrame:
    """Return what each prompt tells of the forecast's calibration, one row per horizon.

    Returns
    -------
    DataFrame
        ``forecaster, competition, asset, start_time, horizon`` (seconds), ``pit, error, spread`` (basis points); see
        `ewmalab.scoring.calibration.HorizonCheck`.

    Raises
    ------
    ExperimentError
        If the results hold none.
    """
    horizons = sorted(int(name.removeprefix("pit_")) for name in results.columns if name.startswith("pit_"))
    parts = []
    for horizon in horizons:
        names = [f"{what}_{horizon}" for what in ("pit", "error", "spread")]
        part = results.loc[results[names[0]].notna(), [*_KEYS, *names]].set_axis(
            [*_KEYS, "pit", "error", "spread"], axis=1
        )
        parts.append(part.assign(horizon=horizon))
    if not parts:
        raise ExperimentError("these results tell nothing of calibration: run the backtest again with this version")
    return pd.concat(parts, ignore_index=True)


def coverage(checks: pd.DataFrame, levels: Sequence[float] = LEVELS, *, seed: int = 0) -> pd.DataFrame:
    """Return how often the realised price fell within the central intervals of a forecast.

    Prompts of one start time are averaged over the assets; the interval is that of a block bootstrap whose blocks are
    at least twice the overlap of the horizons.

    Parameters
    ----------
    checks : DataFrame
        From `horizon_checks`.
    levels : sequence of float
        Nominal coverage.
    seed : int
        Of the bootstrap.

    Returns
    -------
    DataFrame
        ``forecaster, competition, horizon, level, prompts, covered, low, high`` (95 %; infinite where there are too few
        prompts).
    """
    rows = []
    for (competition, horizon), group in checks.groupby(["competition", "horizon"], sort=False):
        starts = np.unique(group["start_time"].to_numpy())
        columns, owners = [], []
        for forecaster, own in group.groupby("forecaster", sort=False):
            for level in levels:
                inside = ((own["pit"] - 0.5).abs() <= level / 2).astype(np.float64)
                averaged = inside.groupby(own["start_time"]).mean().reindex(starts)
                columns.append(averaged.fillna(averaged.mean()).to_numpy())
                owners.append((forecaster, level, len(own), float(inside.mean())))
        table = np.stack(columns, axis=1).astype(np.float64)
        block = block_length(table, overlap_of(starts, int(str(horizon))))
        rng = RandomStream.of(seed, ALL, f"coverage/{competition}/{horizon}", len(starts)).generator()
        for (forecaster, level, prompts, covered), found in zip(owners, mean_intervals(table, block, rng), strict=True):
            rows.append(
                {
                    "forecaster": forecaster, "competition": competition, "horizon": horizon, "level": level,
                    "prompts": prompts, "covered": covered, "low": max(0.0, found.low), "high": min(1.0, found.high),
                }
            )  # fmt: skip
    return pd.DataFrame(rows)


def pit_histogram(checks: pd.DataFrame, bins: int = 10) -> pd.DataFrame:
    """Return the share of prompts whose probability integral transform falls into each bin, and what chance allows.

    Returns
    -------
    DataFrame
        ``forecaster, competition, horizon, bin`` (its lower end), ``share, prompts, low, high``: the band that holds
        95 % of the shares of a calibrated forecast, with as many independent prompts as there are horizons that do not
        overlap (the assets of one time count as one).
    """
    from scipy import stats

    edges = np.linspace(0.0, 1.0, bins + 1)
    rows = []
    for (forecaster, competition, horizon), group in checks.groupby(
        ["forecaster", "competition", "horizon"], sort=False
    ):
        counts, _ = np.histogram(group["pit"], edges)
        starts = np.unique(group["start_time"].to_numpy())
        independent = max(1, round(len(starts) / overlap_of(starts, int(str(horizon)))))
        low, high = stats.binom.interval(0.95, independent, 1.0 / bins)
        for edge, count in zip(edges, counts, strict=False):
            rows.append(
                {
                    "forecaster": forecaster, "competition": competition, "horizon": horizon, "bin": edge,
                    "share": count / len(group), "prompts": len(group), "low": low / independent,
                    "high": high / independent,
                }
            )  # fmt: skip
    return pd.DataFrame(rows)


def term_structure(checks: pd.DataFrame, *, seed: int = 0) -> pd.DataFrame:
    """Return realised against forecast volatility by horizon, and the scale that would make them agree.

    Returns
    -------
    DataFrame
        ``forecaster, competition, asset, horizon, prompts, realised`` (root mean square error), ``forecast`` (root mean
        square spread; both basis points) and ``scale``, their ratio: what to multiply the volatility by. `low` and
        `high` bound it at 95 % by a block bootstrap of the squared ratio.
    """
    rows = []
    for (competition, asset, horizon), group in checks.groupby(["competition", "asset", "horizon"], sort=False):
        wide = group.pivot(index="start_time", columns="forecaster", values=["error", "spread"]).dropna() ** 2
        error, spread = wide["error"], wide["spread"]
        names = [name for name in dict.fromkeys(group["forecaster"]) if name in spread and spread[name].any()]
        if not names:
            continue
        relative = np.stack([(error[name] / spread[name].mean()).to_numpy(np.float64) for name in names], axis=1)
        block = block_length(relative, overlap_of(wide.index.to_numpy(), int(str(horizon))))
        rng = RandomStream.of(seed, str(asset), f"scale/{competition}/{horizon}", len(wide)).generator()
        for name, found in zip(names, mean_intervals(relative, block, rng), strict=True):
            rows.append(
                {
                    "forecaster": name, "competition": competition, "asset": asset, "horizon": horizon,
                    "prompts": len(wide), "realised": float(np.sqrt(error[name].mean())),
                    "forecast": float(np.sqrt(spread[name].mean())), "scale": float(np.sqrt(found.mean)),
                    "low": float(np.sqrt(max(0.0, found.low))), "high": float(np.sqrt(max(0.0, found.high))),
                }
            )  # fmt: skip
    return pd.DataFrame(rows)


def spread_skill(checks: pd.DataFrame, bins: int = 6) -> pd.DataFrame:
    """Return whether the errors are larger where the forecast is wider, in bins of equal numbers of prompts.

    Spread and error of each asset are relative to its root mean square spread, so that assets can be put together.

    Returns
    -------
    DataFrame
        ``forecaster, competition, horizon, spread, error, prompts``: root mean squares per bin; equal in a calibrated
        forecast, and flat in one whose spread tells nothing.
    """
    rows = []
    for (forecaster, competition, horizon), group in checks.groupby(
        ["forecaster", "competition", "horizon"], sort=False
    ):
        typical = (group["spread"] ** 2).groupby(group["asset"]).transform("mean") ** 0.5
        known = typical > 0
        spread, error = ((group[name] / typical)[known].to_numpy() for name in ("spread", "error"))
        for part in np.array_split(np.argsort(spread, kind="stable"), min(bins, max(1, len(spread) // 10))):
            rows.append(
                {
                    "forecaster": forecaster, "competition": competition, "horizon": horizon,
                    "spread": float(np.sqrt(np.mean(spread[part] ** 2))),
                    "error": float(np.sqrt(np.mean(error[part] ** 2))), "prompts": len(part),
                }
            )  # fmt: skip
    return pd.DataFrame(rows)


def relative_scores(results: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """Return CRPS in percent of the baseline's mean on the same competition and asset.

    Parameters
    ----------
    results : DataFrame
        From `results_frame`.
    baseline : str

    Returns
    -------
    DataFrame
        ``competition, asset, start_time`` as index, a column per forecaster; prompts that all have scored.
    """
    wide = results.pivot(index=_KEYS[1:], columns="forecaster", values="crps").dropna()
    if baseline not in wide:
        raise ExperimentError(f"no forecaster {baseline!r}; there are {', '.join(map(str, wide.columns))}")
    base = wide[baseline].groupby(level=["competition", "asset"]).transform("mean")
    relative: pd.DataFrame = wide.div(base, axis=0) * 100.0
    return relative[list(dict.fromkeys(results["forecaster"]))]


def interval_changes(results: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """Return the change of mean CRPS against the baseline per scoring interval, on the prompts that both have.

    Parameters
    ----------
    results : DataFrame
        From `results_frame`.
    baseline : str

    Returns
    -------
    DataFrame
        ``competition, forecaster, asset, interval, prompts, change``.
    """
    intervals = [name for name in results.columns if name.startswith("crps_")]
    keyed = results.set_index(_KEYS)[intervals]
    base = keyed.xs(baseline, level="forecaster")
    rows = []
    for forecaster in (name for name in dict.fromkeys(results["forecaster"]) if name != baseline):
        own, other = keyed.xs(forecaster, level="forecaster").align(base, join="inner", axis=0)
        cells = own.index.to_frame(index=False)[["competition", "asset"]]
        for competition, asset in cells.drop_duplicates().itertuples(index=False):
            at = ((cells["competition"] == competition) & (cells["asset"] == asset)).to_numpy()
            mine, theirs = own[at], other[at]
            for name in intervals:
                both = mine[name].notna() & theirs[name].notna()
                if both.any() and theirs[name][both].mean() > 0:
                    rows.append(
                        {
                            "competition": competition, "forecaster": forecaster, "asset": asset,
                            "interval": name.removeprefix("crps_"), "prompts": int(both.sum()),
                            "change": float(mine[name][both].mean() / theirs[name][both].mean() - 1.0),
                        }
                    )  # fmt: skip
    frame = pd.DataFrame(rows, columns=["competition", "forecaster", "asset", "interval", "prompts", "change"])
    return frame.sort_values(["competition", "forecaster"], kind="stable", ignore_index=True)


def over_time(relative: pd.DataFrame, period: int = DAY) -> pd.DataFrame:
    """Return mean relative CRPS per period of start times, each asset counting alike.

    Returns
    -------
    DataFrame
        ``competition, time`` (the period's first second) as index, a column per forecaster.
    """
    frame = relative.reset_index()
    frame["time"] = frame["start_time"] // period * period
    columns = list(relative.columns)
    by_asset = frame.groupby(["competition", "time", "asset"])[columns].mean()
    mean: pd.DataFrame = by_asset.groupby(level=["competition", "time"]).mean()
    return mean


def cumulative_difference(relative: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """Return the running sum of differences from the baseline, per competition and start time.

    Returns
    -------
    DataFrame
        ``competition, start_time`` as index, a column per other forecaster: the mean over the assets of one time,
        summed up, in prompts' worth of the baseline's mean CRPS (-1: as much as one whole prompt was saved).
    """
    others = [name for name in relative.columns if name != baseline]
    difference = relative[others].sub(relative[baseline], axis=0) / 100.0
    mean = difference.groupby(level=["competition", "start_time"]).mean()
    summed: pd.DataFrame = mean.groupby(level="competition").cumsum()
    return summed
