"""The content of a backtest's report: differences, calibration and single prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ewmalab.analysis import diagnostics as dg
from ewmalab.analysis.compare import ALL, KEY, By, Difference, compare
from ewmalab.analysis.ranking import Ranking
from ewmalab.analysis.relative import Course, cumulative_difference, over_time
from ewmalab.analysis.verdict import Verdict, judge
from ewmalab.errors import EwmalabError, ExperimentError
from ewmalab.experiments.store import Experiment
from ewmalab.inference.aggregate import Bins, Means
from ewmalab.replay.reproduce import ReproducedPrompt, prompt_key, reproduce_prompts, telling_prompts
from ewmalab.replay.results import SummaryRow
from ewmalab.times import DAY

MAX_PROMPTS = 500  # in the list of the worst
WORST_DRAWN = 12
"""Worst prompts of a competition whose paths are reproduced."""
MIN_WEEKDAYS = 3
"""Fewest dates of each weekday for a comparison by weekday: a single date shows that date alone."""


@dataclass(frozen=True, slots=True, eq=False)
class Differences:
    """Differences of forecasters from the baseline.

    Attributes
    ----------
    baseline : str
    by_asset : list of Difference
    by_time : dict of {"hour", "weekday"} to list of Difference
        Only divisions with several parts.
    by_interval : list of Difference
    over_time, cumulative : Course
    """

    baseline: str
    by_asset: list[Difference]
    by_time: dict[By, list[Difference]]
    by_interval: list[Difference]
    over_time: Course
    cumulative: Course

    @property
    def pooled(self) -> list[Difference]:
        """Return the rows of all assets pooled, or those of single assets if there are none."""
        return [row for row in self.by_asset if row.asset == ALL] or self.by_asset


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """Calibration of the forecasters.

    Attributes
    ----------
    competitions : list of str
    coverage : list of Coverage
    pit : list of PitBin
    volatility : list of Volatility
    spread_skill : list of SpreadBin
    """

    competitions: list[str]
    coverage: list[dg.Coverage]
    pit: list[dg.PitBin]
    volatility: list[dg.Volatility]
    spread_skill: list[dg.SpreadBin]


@dataclass(frozen=True, slots=True, eq=False)
class TellingPrompts:
    """The worst, median and best prompts of one forecaster and competition, reproduced.

    Attributes
    ----------
    forecaster, competition : str
    prompts : int
        Number of prompts that they were chosen from.
    drawn : dict of {"worst", "median", "best", "2nd worst" ...} to ReproducedPrompt
    """

    forecaster: str
    competition: str
    prompts: int
    drawn: dict[str, ReproducedPrompt]


@dataclass(frozen=True, slots=True)
class ScoredPrompt:
    """One scored prompt.

    Attributes
    ----------
    start_time : int
        Seconds since 1970-01-01 UTC.
    competition, asset, rule : str
    crps : float
        Basis points.
    relative : float
        CRPS divided by the mean of its asset and competition.
    anchor : float
        Price, USD.
    """

    start_time: int
    competition: str
    asset: str
    rule: str
    crps: float
    relative: float
    anchor: float

    @property
    def key(self) -> str:
        """Return what names the prompt."""
        return prompt_key(self.competition, self.asset, self.start_time)


@dataclass(frozen=True, slots=True, eq=False)
class BacktestReview:
    """The results of a backtest for a report.

    Attributes
    ----------
    experiment : Experiment
    synthetic : bool
    forecasters : list of str
        The last is the baseline.
    scored, unscored : int
        Rows of the results.
    summary : list of SummaryRow
    verdict : Verdict or None
        None if there is a single forecaster.
    differences : Differences or None
        None if there is a single forecaster.
    calibration : Calibration or None
    telling : list of TellingPrompts
        For the first forecaster, by competition.
    worst : list of ScoredPrompt
        For the first forecaster, the worst first; the worst of each competition are among them.
    problems : dict of {"calibration", "telling"} to str
        Reasons for missing parts.
    """

    experiment: Experiment
    synthetic: bool
    forecasters: list[str]
    scored: int
    unscored: int
    summary: list[SummaryRow]
    verdict: Verdict | None
    differences: Differences | None
    calibration: Calibration | None
    telling: list[TellingPrompts]
    worst: list[ScoredPrompt]
    problems: dict[str, str]


def review_backtest(experiment: Experiment, cache_dir: Path | str, ranking: Ranking | None = None) -> BacktestReview:
    """Compute the content of a backtest's report.

    Parameters
    ----------
    experiment : Experiment
    cache_dir : path
        The cache with the bars, for the reproduced prompts.
    ranking : Ranking, optional
        A field that the forecasters were ranked in.

    Raises
    ------
    ExperimentError
        If it is not a backtest, or has no scored prompt.
    """
    results = dg.results_frame(experiment)
    if results.empty:
        raise ExperimentError(f"{experiment.name} has no scored prompt: there is nothing to show")
    names, problems = results["forecaster"].unique().tolist(), {}
    calibration, telling = None, list[TellingPrompts]()
    try:
        calibration = calibrate(results)
    except ExperimentError as error:
        problems["calibration"] = str(error)
    try:
        telling = telling_of(experiment, results["competition"].unique().tolist(), names[0], cache_dir, WORST_DRAWN)
    except EwmalabError as error:
        problems["telling"] = str(error)
    ordered = results.sort_values(KEY, kind="stable")
    frames = {name: ordered[ordered["forecaster"] == name].set_index(KEY) for name in names}
    return BacktestReview(
        experiment=experiment,
        synthetic=bool(experiment.manifest["inputs"]["synthetic"]),
        forecasters=names,
        scored=len(results),
        unscored=experiment.results.num_rows - len(results),
        summary=[SummaryRow.read(row) for row in experiment.summary],
        verdict=judge(frames, ranking) if len(names) > 1 else None,
        differences=differ(frames, results) if len(names) > 1 else None,
        calibration=calibration,
        telling=telling,
        worst=worst_prompts(results, names[0]),
        problems=problems,
    )


def differ(frames: Mapping[str, pd.DataFrame], results: pd.DataFrame) -> Differences:
    """Compare the forecasters of a backtest, whose scores are given by name, with the last one."""
    *others, baseline = frames
    scores = {name: frames[name] for name in (baseline, *others)}
    by_time: dict[By, list[Difference]] = {}
    days = (results["start_time"] // DAY).nunique()
    periods: list[By] = ["hour", "weekday"] if days >= 7 * MIN_WEEKDAYS else ["hour"]
    for by in periods:
        rows = compare(scores, common=True, by=by)
        if len({row.part for row in rows}) > 1:
            by_time[by] = rows
    long = results["start_time"].max() - results["start_time"].min() > 2 * DAY
    return Differences(
        baseline=baseline,
        by_asset=compare(scores, common=True),
        by_time=by_time,
        by_interval=compare(scores, common=True, by="interval"),
        over_time=over_time(results, baseline, DAY if long else 3 * 3600),
        cumulative=cumulative_difference(results, baseline),
    )


def calibrate(results: pd.DataFrame) -> Calibration:
    """Compute the calibration of forecasts.

    Raises
    ------
    ExperimentError
        If the results have no calibration checks.
    """
    checks = dg.horizon_checks(results)
    return Calibration(
        checks["competition"].unique().tolist(),
        dg.coverage(checks),
        dg.pit_histogram(checks),
        dg.term_structure(checks),
        dg.spread_skill(checks),
    )


def telling_of(
    experiment: Experiment, competitions: Sequence[str], forecaster: str, cache_dir: Path | str, worst: int = 1
) -> list[TellingPrompts]:
    """Reproduce a forecaster's worst, median and best prompts of some competitions.

    Parameters
    ----------
    experiment : Experiment
    competitions : sequence of str
    forecaster : str
    cache_dir : path
        The cache with the bars.
    worst : int
        How many of the worst.

    Raises
    ------
    ExperimentError, MissingDataError, ForecasterError
        If they cannot be reproduced.
    """
    results = dg.results_frame(experiment)
    mine = results[results["forecaster"] == forecaster]
    chosen = {one: telling_prompts(results, forecaster, one, worst) for one in competitions}
    keys = [key for found in chosen.values() for key in found.values()]
    drawn = dict(zip(keys, reproduce_prompts(experiment, cache_dir, keys), strict=True))  # at once: a fit is made once
    return [
        TellingPrompts(
            forecaster, one, int((mine["competition"] == one).sum()), {word: drawn[key] for word, key in found.items()}
        )
        for one, found in chosen.items()
    ]


def worst_prompts(results: pd.DataFrame, forecaster: str) -> list[ScoredPrompt]:
    """Return a forecaster's prompts with the largest CRPS relative to the asset's mean, as many of each competition."""
    mine = results[results["forecaster"] == forecaster]
    bins = Bins.of(mine["competition"], mine["asset"])
    relative = mine["crps"] / Means.of(bins, {"crps": mine["crps"]}).mean("crps")[bins.of_row]
    ranked = mine.assign(relative=relative).sort_values("relative", ascending=False)
    ranked = ranked.groupby("competition", sort=False).head(MAX_PROMPTS // mine["competition"].nunique())
    columns = ranked[list(ScoredPrompt.__dataclass_fields__)]
    return [ScoredPrompt(*row) for row in columns.itertuples(index=False, name=None)]
