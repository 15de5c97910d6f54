"""Compare forecasters prompt by prompt: paired differences with confidence intervals and tests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd

from ewmalab.close_names import did_you_mean
from ewmalab.errors import ExperimentError
from ewmalab.experiments.store import Experiment
from ewmalab.inference.aggregate import Bins, Floats, Ints, Means
from ewmalab.inference.intervals import LEVEL, Dependence, mean_intervals, overlap_of
from ewmalab.inference.paired_tests import diebold_mariano, holm
from ewmalab.rulebook import load_rulebook
from ewmalab.times import DAY, MINUTE

By = Literal["asset", "interval", "hour", "weekday"]
PARTS = get_args(By)
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
ALL = "all"
KEY = ["competition", "asset", "start_time"]
INTERVAL = "crps_"
WEEK = 7 * DAY
MIN_WEEKS = 8
"""Fewest weeks whose spread says something about another week."""


@dataclass(frozen=True, slots=True)
class Weeks:
    """The change in single weeks, each relative to the reference's mean of that week.

    Attributes
    ----------
    count : int
        Number of whole weeks.
    spread : float
        Standard deviation between them.
    low, high : float
        95 % interval for the change in another week like these.
    """

    count: int
    spread: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Difference:
    """How a forecaster differs from the reference on the same prompts.

    Attributes
    ----------
    competition, asset : str
        The asset is "all" if several are pooled.
    part : str
        A scoring interval, an hour or a weekday; empty for all prompts.
    forecaster : str
    prompts : int
        Or start times, if several assets are pooled.
    mean_reference, mean : float
        Mean CRPS, basis points; for "all" assets percent of the reference's mean on each.
    difference : float
        `mean` less `mean_reference`; negative is better.
    change : float
        The difference, relative to the reference; 0 if that is 0.
    low, high : float or None
        95 % interval of the change; None if there are too few independent prompts.
    share_better : float
        Share of the prompts on which the forecaster has the smaller CRPS.
    p_value, p_holm : float or None
        Diebold-Mariano, alone and corrected for the number of forecasters.
    independent : float
        Number of independent stretches of prompts.
    shortage : str
        What is missing for an interval, in words; else empty.
    weeks : Weeks or None
        The change in single weeks; None if there are fewer than eight.
    """

    competition: str
    asset: str
    part: str
    forecaster: str
    prompts: int
    mean_reference: float
    mean: float
    difference: float
    change: float
    low: float | None
    high: float | None
    share_better: float
    p_value: float | None
    p_holm: float | None
    independent: float = 0.0
    shortage: str = ""
    weeks: Weeks | None = None

    @property
    def sign(self) -> int:
        """Return -1 if the forecaster is proven better, 1 if proven worse, else 0."""
        return -1 if self.high is not None and self.high < 0 else 1 if self.low is not None and self.low > 0 else 0

    @property
    def proven(self) -> bool:
        """Return whether the difference is proven, also after the correction for the number of forecasters."""
        return self.p_holm is not None and self.p_holm < 1.0 - LEVEL

    def plain(self) -> dict[str, Any]:
        """Return the row for JSON."""
        return asdict(self)


def scores_of(experiment: Experiment, forecaster: str | None = None) -> pd.DataFrame:
    """Return the scored prompts of one forecaster of a backtest, by default the first, in time order.

    Raises
    ------
    ExperimentError
        If the experiment is not a backtest, or has no such forecaster.
    """
    table = backtest_table(experiment)
    names = table["forecaster"].unique().tolist()
    chosen = forecaster or names[0]
    if chosen not in names:
        near = did_you_mean(chosen, names)
        raise ExperimentError(f"{experiment.name} has no forecaster {chosen!r}; it has {', '.join(names)}{near}")
    rows: pd.DataFrame = table[(table["forecaster"] == chosen) & table["crps"].notna()]
    ordered: pd.DataFrame = rows.sort_values(KEY, kind="stable").set_index(KEY)
    return ordered


def backtest_table(experiment: Experiment) -> pd.DataFrame:
    """Return the results of a backtest: one row per forecaster and prompt.

    Raises
    ------
    ExperimentError
        If the experiment is not a backtest.
    """
    if "forecaster" not in experiment.results.column_names:
        kind = experiment.manifest["inputs"].get("kind", "something else")
        raise ExperimentError(f"{experiment.name} is a {kind}, not a backtest: it has no prompts of forecasters")
    table: pd.DataFrame = experiment.results.to_pandas()
    return table


def compare(forecasters: Mapping[str, pd.DataFrame], *, common: bool = False, by: By = "asset") -> list[Difference]:
    """Return each forecaster's difference from the first, on the same prompts.

    Parameters
    ----------
    forecasters : mapping of label to DataFrame
        From `scores_of`; at least two.
    common : bool
        Compare the prompts that all have scored, instead of refusing different sets.
    by : {"asset", "interval", "hour", "weekday"}
        One row per asset (and one for all of a competition: the mean of relative differences), per asset and scoring
        interval, or per competition and hour of day or weekday (of the start time, UTC).

    Raises
    ------
    ExperimentError
        If the prompts or their rules differ.
    """
    if len(forecasters) < 2:
        raise ExperimentError("a comparison needs at least two forecasters")
    frames = _aligned(forecasters, common)
    return [row for part in _parts(frames, by) for row in _differences(part)]


@dataclass(frozen=True, slots=True)
class _Part:
    """Some prompts, or start times, and every forecaster's CRPS on them, the reference's first."""

    competition: str
    asset: str
    part: str
    starts: Ints
    crps: dict[str, Floats]


@dataclass(frozen=True, slots=True, eq=False)
class _Index:
    """Competition, asset and start time of each row."""

    competition: npt.NDArray[np.object_]
    asset: npt.NDArray[np.object_]
    start: Ints


def _differences(part: _Part) -> Iterator[Difference]:
    (_, reference), *others = part.crps.items()
    relative = np.stack([own - reference for _, own in others], axis=1)
    dependence = Dependence.of(relative, overlap_of(part.starts, load_rulebook().horizon(part.competition)))
    base = float(reference.mean())
    p_values = [diebold_mariano(relative[:, i], dependence) for i in range(len(others))]
    intervals = mean_intervals(relative, dependence)
    for (name, own), found, p_value, p_holm in zip(others, intervals, p_values, holm(p_values), strict=True):
        change, low, high = (bound / base if base else 0.0 for bound in (found.mean, found.low, found.high))
        bounded = bool(base) and dependence.enough
        yield Difference(
            part.competition,
            part.asset,
            part.part,
            name,
            prompts=len(own),
            mean_reference=base,
            mean=float(own.mean()),
            difference=found.mean,
            change=change,
            low=low if bounded else None,
            high=high if bounded else None,
            share_better=float((own < reference).mean()),
            p_value=p_value if dependence.enough else None,
            p_holm=float(p_holm) if dependence.enough else None,
            independent=dependence.stretches,
            shortage=dependence.shortage,
            weeks=_weeks(part.starts, own, reference),
        )


def _weeks(starts: Ints, own: Floats, reference: Floats) -> Weeks | None:
    """Return how the change differs between the whole weeks from the first start time on."""
    from scipy import special

    week = (starts - starts[0]) // WEEK
    whole = week < (starts[-1] - starts[0] + DAY) // WEEK  # the last may lack a day's last prompts
    means = Means.of(Bins.of(week[whole]), {"own": own[whole], "reference": reference[whole]})
    if len(means.keys) < MIN_WEEKS or not means.mean("reference").all():
        return None
    changes = means.mean("own") / means.mean("reference") - 1.0
    count, spread = len(changes), float(changes.std(ddof=1))
    reach = float(special.stdtrit(count - 1, (1.0 + LEVEL) / 2.0)) * spread * np.sqrt(1.0 + 1.0 / count)
    return Weeks(count, spread, float(changes.mean() - reach), float(changes.mean() + reach))


def _aligned(forecasters: Mapping[str, pd.DataFrame], common: bool) -> dict[str, pd.DataFrame]:
    """Return all frames on the same prompts, in time order."""
    (first, reference), *rest = forecasters.items()
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
        raise ExperimentError(f"{', '.join(forecasters)} have no prompt in common")
    shared = shared.sort_values()
    frames = {label: frame.loc[shared] for label, frame in forecasters.items()}
    for label, frame in frames.items():
        differing = np.flatnonzero(frame["rule"].to_numpy() != frames[first]["rule"].to_numpy())
        if len(differing):
            raise ExperimentError(
                f"{len(differing)} prompts of {label} were scored by other rules than those of {first}, e.g. "
                f"{shared[differing[0]]}: replay both with the same --rules"
            )
    return frames


def _parts(frames: Mapping[str, pd.DataFrame], by: By) -> Iterator[_Part]:
    first = next(iter(frames.values()))
    index = _Index(*(first.index.get_level_values(name).to_numpy() for name in KEY))
    competition, asset, start = index.competition, index.asset, index.start
    if by in ("hour", "weekday"):
        relative = relative_to_mean(_columns(frames, "crps"), Bins.of(competition, asset))
        # 1970-01-01 was a Thursday
        parts = start % DAY // 3600 if by == "hour" else (start // DAY + 3) % 7
        bins = Bins.of(competition, parts)
        for (name, part), rows in bins.items():
            yield _by_time(name, f"{part:02d}:00" if by == "hour" else WEEKDAYS[part], relative, index, rows)
        return
    columns = ["crps"] if by == "asset" else [name for name in first.columns if name.startswith(INTERVAL)]
    crps = {name: _columns(frames, name) for name in columns}
    for (name,), rows in Bins.of(competition).items():
        assets = Bins.of(asset[rows])
        for (one,), inside in assets.items():
            for column, values in crps.items():
                own = np.stack([found[rows[inside]] for found in values.values()])
                known = ~np.isnan(own).any(axis=0)
                if known.any():
                    part = column.removeprefix(INTERVAL) if by == "interval" else ""
                    crps_of = dict(zip(values, own[:, known], strict=True))
                    yield _Part(name, one, part, start[rows[inside][known]], crps_of)
        if by == "asset" and len(assets.keys) > 1:
            relative = relative_to_mean(crps["crps"], Bins.of(competition, asset))
            yield _by_time(name, "", relative, index, rows)


def _columns(frames: Mapping[str, pd.DataFrame], name: str) -> dict[str, Floats]:
    return {label: frame[name].to_numpy(np.float64) for label, frame in frames.items()}


def relative_to_mean(crps: Mapping[str, Floats], assets: Bins, reference: str | None = None) -> dict[str, Floats]:
    """Return CRPS in percent of the reference's mean on the same asset, so that all assets weigh the same.

    Parameters
    ----------
    crps : mapping of label to (n,) float64
    assets : Bins
        Bins of competition and asset.
    reference : str, optional
        By default the first.
    """
    base = Means.of(assets, {"crps": crps[reference or next(iter(crps))]}).mean("crps")[assets.of_row]
    return {label: 100.0 * values / base for label, values in crps.items()}


def same_time(asset: npt.NDArray[np.object_], start: Ints) -> Bins:
    """Return bins of the prompts that start about the same time, each with its earliest possible start.

    Prompts of the assets are staggered: those within the time between two prompts of one asset belong together.
    """
    own = [np.diff(np.unique(start[inside])) for inside in Bins.of(asset).rows()]
    step = max((int(np.median(steps)) for steps in own if len(steps)), default=MINUTE)
    return Bins.of(start // step * step)


def _by_time(competition: str, part: str, crps: Mapping[str, Floats], index: _Index, rows: Ints) -> _Part:
    """Average over the assets whose prompts start about the same time, because these are not independent."""
    bins = same_time(index.asset[rows], index.start[rows])
    means = Means.of(bins, {label: values[rows] for label, values in crps.items()})
    starts = np.array([key for (key,) in means.keys], np.int64)
    return _Part(competition, ALL, part, starts, {label: means.mean(label) for label in crps})
