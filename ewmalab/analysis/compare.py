"""Comparing forecasters prompt by prompt: paired differences, and how sure they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd

from ewmalab.errors import ExperimentError
from ewmalab.experiments.store import Experiment
from ewmalab.forecast.streams import RandomStream
from ewmalab.inference.intervals import ConfidenceInterval, block_length, mean_intervals, overlap_of
from ewmalab.inference.paired_tests import diebold_mariano, holm
from ewmalab.rulebook import load_rulebook

By = Literal["asset", "interval", "hour", "weekday"]
PARTS = get_args(By)
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
ALL = "all"
_KEY = ["competition", "asset", "start_time"]
_PREFIX = "crps_"


def scores_of(experiment: Experiment, forecaster: str | None = None) -> pd.DataFrame:
    """Return the scored prompts of one forecaster of a backtest, in time order.

    Parameters
    ----------
    experiment : Experiment
    forecaster : str, optional
        By default the experiment's first.

    Raises
    ------
    ExperimentError
        If the experiment is no backtest, or has no such forecaster.
    """
    if "forecaster" not in experiment.results.column_names:
        kind = experiment.manifest["inputs"].get("kind", "something else")
        raise ExperimentError(f"{experiment.name} is a {kind}, not a backtest: there are no forecasters to compare")
    table = experiment.results.to_pandas()
    names = list(dict.fromkeys(table["forecaster"]))
    chosen = forecaster or names[0]
    if chosen not in names:
        raise ExperimentError(f"{experiment.name} has no forecaster {chosen!r}; it has {', '.join(names)}")
    rows: pd.DataFrame = table[(table["forecaster"] == chosen) & table["crps"].notna()]
    ordered: pd.DataFrame = rows.sort_values(_KEY, kind="stable").set_index(_KEY)
    return ordered


def compare(
    contestants: Mapping[str, pd.DataFrame], *, common: bool = False, by: By = "asset", seed: int = 0
) -> list[dict[str, Any]]:
    """Return each contestant's difference from the first, on the same prompts.

    Parameters
    ----------
    contestants : mapping of label to DataFrame
        From `scores_of`; at least two.
    common : bool
        Compare the prompts that all have, instead of refusing different sets.
    by : {"asset", "interval", "hour", "weekday"}
        One row per asset (and one for all of a competition: the mean of relative differences), per asset and scoring
        interval, or per competition and hour of day or weekday (of the start time, UTC).
    seed : int
        Of the bootstrap.

    Returns
    -------
    list of dict
        ``competition, asset, part, contestant, prompts, mean_reference, mean, difference, change, low, high`` (the 95 %
        interval of `change`), ``p_value, p_holm`` (corrected for the number of contestants), ``share_better``.

    Raises
    ------
    ExperimentError
        If the prompts or their rules differ.
    """
    labels = list(contestants)
    if len(labels) < 2:
        raise ExperimentError("a comparison needs at least two contestants")
    frames = _aligned(contestants, common)
    book = load_rulebook()
    out: list[dict[str, Any]] = []
    for competition, asset, part, columns, starts in _parts(frames, by):
        reference, others = columns[labels[0]], labels[1:]
        rng = RandomStream.of(seed, asset, f"compare/{competition}/{part}", len(starts)).generator()
        relative = np.stack([(columns[label] - reference) for label in others], axis=1)
        block = block_length(relative, overlap_of(starts, book.horizon(competition)))
        base = float(reference.mean())
        p_values = [diebold_mariano(relative[:, i], block) for i in range(len(others))]
        adjusted = holm(p_values)
        for i, (label, interval) in enumerate(zip(others, mean_intervals(relative, block, rng), strict=True)):
            out.append(
                _row(competition, asset, part, label, columns[label], reference, base, interval)
                | {"p_value": p_values[i], "p_holm": float(adjusted[i])}
            )
    return out


def _row(
    competition: str, asset: str, part: str, label: str, own: np.ndarray, reference: np.ndarray, base: float,
    interval: ConfidenceInterval,
) -> dict[str, Any]:  # fmt: skip
    return {
        "competition": competition,
        "asset": asset,
        "part": part,
        "contestant": label,
        "prompts": len(own),
        "mean_reference": base,
        "mean": float(own.mean()),
        "difference": interval.mean,
        "change": interval.mean / base if base else 0.0,
        "low": _finite(interval.low / base) if base else None,
        "high": _finite(interval.high / base) if base else None,
        "share_better": float((own < reference).mean()),
    }


def _finite(value: float) -> float | None:
    """Return a bound, None where there are too few prompts for one."""
    return value if np.isfinite(value) else None


def _aligned(contestants: Mapping[str, pd.DataFrame], common: bool) -> dict[str, pd.DataFrame]:
    """Return all frames on the same prompts, in time order."""
    (first, reference), *rest = contestants.items()
    shared = reference.index
    for label, frame in rest:
        both = shared.intersection(frame.index)
        if not common and not (len(both) == len(reference) == len(frame)):
            raise ExperimentError(
                f"{first} scored {len(reference)} prompts, {label} {len(frame)}, and they share {len(both)}; pass "
                "--common to compare those that all have"
            )
        shared = both
    if not len(shared):
        raise ExperimentError(f"{', '.join(contestants)} have no prompt in common")
    shared = shared.sort_values()
    frames = {label: frame.loc[shared] for label, frame in contestants.items()}
    for label, frame in frames.items():
        differing = np.flatnonzero(frame["rule"].to_numpy() != frames[first]["rule"].to_numpy())
        if len(differing):
            raise ExperimentError(
                f"{len(differing)} prompts of {label} were scored by other rules than those of {first}, e.g. "
                f"{shared[differing[0]]}: replay both with the same --rules"
            )
    return frames


_Part = tuple[str, str, str, dict[str, np.ndarray], np.ndarray]


def _parts(frames: Mapping[str, pd.DataFrame], by: By) -> Iterator[_Part]:
    """Yield competition, asset, part, CRPS by contestant, and start times."""
    first = next(iter(frames.values()))
    keys = first.index.to_frame(index=False)
    for competition, inside in keys.groupby("competition", sort=True):
        if by in ("hour", "weekday"):
            relative, times = _relative(frames, inside.index), inside["start_time"].to_numpy()
            # 1970-01-01 was a Thursday
            parts = times % 86_400 // 3600 if by == "hour" else (times // 86_400 + 3) % 7
            for part in np.unique(parts):
                columns, starts = _by_time(relative, times, np.flatnonzero(parts == part))
                yield str(competition), ALL, f"{part:02d}:00" if by == "hour" else WEEKDAYS[part], columns, starts
            continue
        assets = list(inside.groupby("asset", sort=True))
        for asset, rows in assets:
            starts = rows["start_time"].to_numpy()
            names = ["crps"] if by == "asset" else [c for c in first.columns if c.startswith(_PREFIX)]
            for name in names:
                columns = {label: frame[name].to_numpy()[rows.index] for label, frame in frames.items()}
                if not np.isnan(next(iter(columns.values()))).all():
                    yield (
                        str(competition),
                        str(asset),
                        name.removeprefix(_PREFIX) if by == "interval" else "",
                        columns,
                        starts,
                    )
        if by == "asset" and len(assets) > 1:
            relative = _relative(frames, inside.index)
            times = inside["start_time"].to_numpy()
            columns, starts = _by_time(relative, times, np.arange(len(times)))
            yield str(competition), ALL, "", columns, starts


def _relative(frames: Mapping[str, pd.DataFrame], rows: pd.Index) -> dict[str, np.ndarray]:
    """Return CRPS in percent of the reference's mean on the same asset: assets of all sizes count alike."""
    reference = next(iter(frames.values())).iloc[rows]["crps"]
    base = reference.groupby(level="asset").transform("mean").to_numpy()
    return {label: 100.0 * frame.iloc[rows]["crps"].to_numpy() / base for label, frame in frames.items()}


def _by_time(
    columns: Mapping[str, np.ndarray], times: np.ndarray, at: np.ndarray
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Average over the assets that share a start time: what happens at one time is not independent."""
    starts, group = np.unique(times[at], return_inverse=True)
    count = np.bincount(group)
    return {label: np.bincount(group, values[at]) / count for label, values in columns.items()}, starts
