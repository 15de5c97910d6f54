"""The report of a backtest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ewmalab.analysis import diagnostics as dg
from ewmalab.analysis.compare import compare, scores_of
from ewmalab.errors import EwmalabError, ExperimentError
from ewmalab.experiments.store import Experiment
from ewmalab.replay.reproduce import reproduce_prompts, telling_prompts
from ewmalab.report.figures import backtest as draw
from ewmalab.report.pages.page import Report, Section, Table
from ewmalab.report.pages.provenance import provenance
from ewmalab.times import DAY, iso
from ewmalab.units import format_duration

_MAX_PROMPTS = 500  # of the longest table


def backtest_report(experiment: Experiment, cache_dir: Path | str) -> Report:
    """Lay out the report of a backtest.

    Parameters
    ----------
    experiment : Experiment
    cache_dir : path
        Where the bars are, for the prompts that are drawn.

    Raises
    ------
    ExperimentError
    """
    results, inputs = dg.results_frame(experiment), experiment.manifest["inputs"]
    if results.empty:
        raise ExperimentError(f"{experiment.name} has no scored prompt: there is nothing to show")
    names, synthetic = list(dict.fromkeys(results["forecaster"])), bool(inputs["synthetic"])
    baseline = names[-1]
    report = Report(experiment.name, provenance(experiment, results), synthetic)
    if len(names) > 1:
        report.sections += _differences(experiment, results, names, baseline, synthetic)
    report.sections.append(_means(experiment))
    report.sections.append(_calibration(results, synthetic))
    report.sections.append(_prompts(experiment, results, names[0], cache_dir, synthetic))
    return report


def _means(experiment: Experiment) -> Section:
    columns = ["competition", "asset", "forecaster", "prompts", "scored", "mean CRPS, bp", "sd, bp", "change, %"]
    rows = [
        (
            row["competition"], row["asset"], row["forecaster"], row["prompts"], row["scored"],
            _number(row["mean_crps"]), _number(row["sd_crps"]), _percent(row["change"]),
        )
        for row in experiment.summary
    ]  # fmt: skip
    text = f"Change: against {experiment.manifest['inputs']['forecasters'][-1]}, on the prompts both scored."
    return Section("Mean CRPS", [text], [Table("Mean CRPS per competition and asset", columns, rows)])


def _differences(
    experiment: Experiment, results: pd.DataFrame, names: list[str], baseline: str, synthetic: bool
) -> list[Section]:
    contestants = {name: scores_of(experiment, name) for name in (baseline, *names[:-1])}
    rows = compare(contestants, common=True)
    pooled = [row for row in rows if row["asset"] == "all"]
    words = [_verdict(row, baseline) for row in pooled or rows]
    table = Table(
        f"Against {baseline}",
        ["competition", "asset", "contestant", "prompts", "change, %", "95 %, from", "to", "p (Holm)", "better, %"],
        [
            (
                row["competition"], row["asset"], row["contestant"], row["prompts"], _percent(row["change"]),
                _percent(row["low"]), _percent(row["high"]), (f"{row['p_holm']:.3f}", row["p_holm"]),
                (f"{100 * row['share_better']:.0f}", row["share_better"]),
            )
            for row in rows
        ],
    )  # fmt: skip
    first = Section(f"Against {baseline}", words, [draw.change_by_asset(rows, baseline, synthetic=synthetic), table])
    relative = dg.relative_scores(results, baseline)
    starts = relative.index.get_level_values("start_time")
    period = DAY if starts.max() - starts.min() > 2 * DAY else 3 * 3600
    count = len(relative)
    when = Section(
        "When",
        [],
        [
            draw.over_time(dg.over_time(relative, period), baseline, period, count, synthetic=synthetic),
            draw.cumulative(dg.cumulative_difference(relative, baseline), baseline, count, synthetic=synthetic),
        ],
    )
    for by, what in (("hour", "hour of day"), ("weekday", "weekday")):
        parts = compare(contestants, common=True, by=by)  # type: ignore[arg-type]
        if len({row["part"] for row in parts}) > 1:
            when.content.append(draw.change_by_part(parts, baseline, what, synthetic=synthetic))
    intervals = dg.interval_changes(results, baseline)
    third = Section("By scoring interval", [], [draw.change_by_interval(intervals, baseline, synthetic=synthetic)])
    return [first, when, third]


def _calibration(results: pd.DataFrame, synthetic: bool) -> Section:
    section = Section(
        "Calibration",
        ["Is the spread right? Realised prices are compared with the paths at a few horizons after the start time."],
    )
    try:
        checks = dg.horizon_checks(results)
    except ExperimentError as error:
        section.text.append(str(error))
        return section
    covered, histogram = dg.coverage(checks), dg.pit_histogram(checks)
    terms, skill = dg.term_structure(checks), dg.spread_skill(checks)
    for competition in dict.fromkeys(checks["competition"]):
        section.content += [
            draw.coverage(covered, competition, synthetic=synthetic),
            draw.pit(histogram, competition, synthetic=synthetic),
            draw.term_structure(terms, competition, synthetic=synthetic),
            draw.spread_skill(skill, competition, synthetic=synthetic),
        ]
    section.content.append(
        Table(
            "Scale that would make forecast and realised volatility agree (1: right; above 1: too narrow)",
            ["forecaster", "competition", "asset", "horizon", "prompts", "realised, bp", "forecast, bp", "scale",
             "95 %, from", "to"],
            [
                (r["forecaster"], r["competition"], r["asset"], (format_duration(r["horizon"]), r["horizon"]),
                 r["prompts"], r["realised"], r["forecast"], r["scale"], _number(r["low"]), _number(r["high"]))
                for r in terms.to_dict("records")
            ],
            folded=True,
        )
    )  # fmt: skip
    return section


def _prompts(
    experiment: Experiment, results: pd.DataFrame, name: str, cache_dir: Path | str, synthetic: bool
) -> Section:
    section = Section("Single prompts", [])
    try:
        for competition in dict.fromkeys(results["competition"]):
            chosen = telling_prompts(results, name, competition)
            drawn = reproduce_prompts(experiment, cache_dir, list(chosen.values()))
            section.content.append(draw.telling(drawn, list(chosen), competition, name, results, synthetic=synthetic))
    except EwmalabError as error:
        section.text.append(f"Not drawn: {error}")
    mine = results[results["forecaster"] == name]
    mine = mine.assign(relative=mine["crps"] / mine.groupby(["competition", "asset"])["crps"].transform("mean"))
    worst = mine.sort_values("relative", ascending=False).head(_MAX_PROMPTS)
    section.content.append(
        Table(
            f"The {len(worst):,} worst prompts of {name}, relative to the asset's mean",
            ["start time", "competition", "asset", "CRPS, bp", "relative", "anchor", "rule"],
            [
                ((iso(r["start_time"]), r["start_time"]), r["competition"], r["asset"], r["crps"], r["relative"],
                 f"{r['anchor']:,.8g}", r["rule"])
                for r in worst.to_dict("records")
            ],
            folded=True,
        )
    )  # fmt: skip
    return section


def _verdict(row: dict[str, Any], baseline: str) -> str:
    where = row["competition"] if row["asset"] == "all" else f"{row['competition']} {row['asset']}"
    if row["low"] is None:
        return f"{where}: {row['prompts']} prompts are too few to tell {row['contestant']} from {baseline}."
    told = f"{100 * row['change']:+.1f} % [{100 * row['low']:+.1f}, {100 * row['high']:+.1f}]"
    if row["high"] < 0:
        return f"{where}: {row['contestant']} beats {baseline}: {told}."
    if row["low"] > 0:
        return f"{where}: {row['contestant']} is worse than {baseline}: {told}."
    return f"{where}: cannot tell {row['contestant']} from {baseline}: {told}."


def _number(value: float | None) -> object:
    return "-" if value is None or not np.isfinite(value) else float(value)


def _percent(value: float | None) -> object:
    return "-" if value is None else (f"{100 * value:+.2f}", 100 * value)
