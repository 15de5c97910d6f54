"""The report of a backtest."""

from __future__ import annotations

from ewmalab.analysis.review import BacktestReview, Calibration, Differences
from ewmalab.report.figures import calibration as draw_calibration
from ewmalab.report.figures import differences as draw
from ewmalab.report.figures import paths as draw_paths
from ewmalab.report.pages.page import Report, Section, Table, percent, value
from ewmalab.report.pages.provenance import provenance
from ewmalab.report.text.compare import other_weeks, verdict
from ewmalab.report.text.tables import Column, grid
from ewmalab.times import iso
from ewmalab.units import format_duration

_WHERE: list[Column] = [("competition", "competition"), ("asset", "asset")]
_MEANS: list[Column] = [
    *_WHERE,
    ("forecaster", "forecaster"),
    ("prompts", "prompts"),
    ("scored", "scored"),
    ("mean CRPS, bp", lambda row: value(row.mean_crps)),
    ("sd, bp", lambda row: value(row.sd_crps)),
    ("change, %", lambda row: percent(row.change)),
]
_CHANGES: list[Column] = [
    *_WHERE,
    ("forecaster", "forecaster"),
    ("prompts", "prompts"),
    ("change, %", lambda row: percent(row.change)),
    ("95 %, from", lambda row: percent(row.low)),
    ("to", lambda row: percent(row.high)),
    ("p (Holm)", lambda row: value(row.p_holm, ".3f")),
    ("better, %", lambda row: (f"{100 * row.share_better:.0f}", row.share_better)),
]
_VOLATILITY: list[Column] = [
    ("forecaster", "forecaster"),
    *_WHERE,
    ("horizon", lambda row: (format_duration(row.horizon), row.horizon)),
    ("prompts", "prompts"),
    ("realised, bp", "realised"),
    ("forecast, bp", "forecast"),
    ("scale", "scale"),
    ("95 %, from", lambda row: value(row.low)),
    ("to", lambda row: value(row.high)),
]
_PROMPTS: list[Column] = [
    ("start time", lambda row: (iso(row.start_time), row.start_time)),
    *_WHERE,
    ("CRPS, bp", "crps"),
    ("relative", "relative"),
    ("anchor", lambda row: f"{row.anchor:,.8g}"),
    ("rule", "rule"),
]


def backtest_report(review: BacktestReview) -> Report:
    """Return the report of a backtest."""
    experiment = review.experiment
    report = Report(experiment.name, provenance(experiment, (review.scored, review.unscored)), review.synthetic)
    if review.differences:
        report.sections += _differences(review.differences, review.synthetic)
    text = f"Change: against {review.forecasters[-1]}, on the prompts both scored."
    means = Table("Mean CRPS per competition and asset", *grid(review.summary, _MEANS))
    report.sections.append(Section("Mean CRPS", [text], [means]))
    report.sections.append(_calibration(review.calibration, review.problems.get("calibration"), review.synthetic))
    report.sections.append(_prompts(review))
    return report


def _differences(found: Differences, synthetic: bool) -> list[Section]:
    baseline, title = found.baseline, f"Against {found.baseline}"
    words = [verdict(row, baseline) for row in found.pooled]
    by_time = [
        draw.change_by_part(rows, baseline, {"hour": "hour of day"}.get(by, by), synthetic=synthetic)
        for by, rows in found.by_time.items()
    ]
    drawn = draw.change_by_asset(found.by_asset, baseline, synthetic=synthetic)
    over_time = draw.over_time(found.over_time, synthetic=synthetic)
    cumulative = draw.cumulative(found.cumulative, synthetic=synthetic)
    by_interval = draw.change_by_interval(found.by_interval, baseline, synthetic=synthetic)
    return [
        Section(title, words, [drawn, Table(title, *grid(found.by_asset, _CHANGES))]),
        Section("When", other_weeks(found.pooled), [over_time, cumulative, *by_time]),
        Section("By scoring interval", [], [by_interval]),
    ]


def _calibration(found: Calibration | None, problem: str | None, synthetic: bool) -> Section:
    section = Section(
        "Calibration",
        ["Whether the spread is right: realised prices against the paths at a few horizons after the start time."],
    )
    if found is None:
        section.text.append(str(problem))
        return section
    for competition in found.competitions:
        section.content += [
            draw_calibration.coverage(found.coverage, competition, synthetic=synthetic),
            draw_calibration.pit(found.pit, competition, synthetic=synthetic),
            draw_calibration.term_structure(found.volatility, competition, synthetic=synthetic),
            draw_calibration.spread_skill(found.spread_skill, competition, synthetic=synthetic),
        ]
    title = "Scale at which forecast and realised volatility agree (1: right; above 1: too narrow)"
    section.content.append(Table(title, *grid(found.volatility, _VOLATILITY), folded=True))
    return section


def _prompts(review: BacktestReview) -> Section:
    problem = review.problems.get("telling")
    section = Section("Single prompts", [f"Not drawn: {problem}"] if problem else [])
    section.content += [draw_paths.telling(found, synthetic=review.synthetic) for found in review.telling]
    title = f"The {len(review.worst):,} worst prompts of {review.forecasters[0]}, relative to the asset's mean"
    section.content.append(Table(title, *grid(review.worst, _PROMPTS), folded=True))
    return section
