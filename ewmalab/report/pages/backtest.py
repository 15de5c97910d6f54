"""The report of a backtest."""

from __future__ import annotations

from ewmalab.analysis.ranking import Ranking
from ewmalab.analysis.review import MIN_WEEKDAYS, BacktestReview, Calibration, Differences, ScoredPrompt
from ewmalab.analysis.verdict import Verdict
from ewmalab.report.figures import calibration as draw_calibration
from ewmalab.report.figures import differences as draw
from ewmalab.report.figures import paths as draw_paths
from ewmalab.report.pages.leaderboard import ranking_card, ranking_sections
from ewmalab.report.pages.page import Cell, Report, Section, Table, p_value, percent, value
from ewmalab.report.pages.provenance import between, provenance
from ewmalab.report.pages.verdict import verdict_card
from ewmalab.report.text.compare import other_weeks, verdict
from ewmalab.report.text.tables import Column, grid, short
from ewmalab.report.text.verdict import listed
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
CHANGES: list[Column] = [
    *_WHERE,
    ("forecaster", "forecaster"),
    ("prompts", "prompts"),
    ("change, %", lambda row: percent(row.change)),
    ("95 %, from", lambda row: percent(row.low)),
    ("to", lambda row: percent(row.high)),
    ("p", lambda row: p_value(row.p_value)),
    ("p (Holm)", lambda row: p_value(row.p_holm)),
    ("better, %", lambda row: (f"{100 * row.share_better:.0f}", row.share_better)),
]
CHANGES_NOTE = (
    "95 %: interval of the change; it excludes zero just where p is below 0.05. p: Diebold-Mariano test of no "
    "difference. p (Holm): the same, corrected for the number of forecasters that were compared; it decides what "
    "counts as proven. better: share of the prompts on which the forecaster has the smaller CRPS. all: mean of the "
    "assets' relative changes, where prompts are start times."
)
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


def backtest_report(review: BacktestReview, ranking: Ranking | None = None) -> Report:
    """Return the report of a backtest, with the ranks of its forecasters if they were ranked."""
    experiment = review.experiment
    names = [short(name) for name in review.forecasters]
    against = f" against {listed(names[1:])}" if names[1:] else ""
    inputs = experiment.manifest["inputs"]
    report = Report(
        f"{names[0]}{against}, {between(inputs['start'], inputs['days'])}",
        provenance(experiment, _scored(review)),
        review.synthetic,
        name=experiment.name,
        switches={
            "Forecasters": review.forecasters,
            "Assets": list(dict.fromkeys(row.asset for row in review.summary)),
        },
    )
    if ranking is not None:
        report.card, report.sections = ranking_card(ranking), ranking_sections(ranking)
    if review.verdict and review.differences:
        report.card = verdict_card(review.verdict)
        report.sections += _differences(review.differences, review.verdict, review.synthetic)
    report.sections.append(_prompts(review))
    report.sections.append(_calibration(review.calibration, review.problems.get("calibration"), review.synthetic))
    text = f"Change: against {review.forecasters[-1]}, on the prompts both scored."
    means = Table("Mean CRPS per competition and asset", *grid(review.summary, _MEANS), note="bp: basis points.")
    report.sections.append(Section("Mean CRPS", [text], [means]))
    return report


def _scored(review: BacktestReview) -> str:
    """Return how much of a backtest is scored: each forecaster has a forecast for each prompt."""
    count = len(review.forecasters)
    told = f"{review.scored:,} forecasts of {count} forecasters" if count > 1 else f"{review.scored:,} forecasts"
    return told + (f", {review.unscored:,} more not" if review.unscored else "")


def _differences(found: Differences, judged: Verdict, synthetic: bool) -> list[Section]:
    baseline, title = found.baseline, f"Against {found.baseline}"
    words = [verdict(row, baseline) for row in found.pooled]
    by_time = [
        draw.change_by_part(rows, baseline, {"hour": "hour of day"}.get(by, by), synthetic=synthetic)
        for by, rows in found.by_time.items()
    ]
    when = other_weeks(found.pooled)
    if "weekday" not in found.by_time:
        when.append(f"Weekdays are compared from {MIN_WEEKDAYS} weeks on: a single date shows that date alone.")
    by_interval = draw.change_by_interval(found.by_interval, baseline, synthetic=synthetic)
    drawn = draw.change_by_asset(found.by_asset, baseline, synthetic=synthetic)
    over_time = draw.over_time(found.over_time, synthetic=synthetic)
    cumulative = draw.cumulative(found.cumulative, synthetic=synthetic)
    changes = Table(title, *grid(found.by_asset, CHANGES), note=CHANGES_NOTE)
    return [
        Section(title, words, [drawn, changes]),
        Section("Where it came from", [], [draw.origin(judged.origins, synthetic=synthetic)]),
        Section("When", when, [cumulative, over_time, *by_time]),
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
    for found in review.telling:
        section.content.append(draw_paths.worst(review.worst, found, synthetic=review.synthetic))
        section.content.append(draw_paths.telling(found, synthetic=review.synthetic))
    drawn = {fan.key for found in review.telling for fan in found.drawn.values()}
    columns: list[Column] = [
        ("start time", lambda row: _start(row, drawn)),
        *_WHERE,
        ("CRPS, bp", "crps"),
        ("relative", "relative"),
        ("anchor", lambda row: f"{row.anchor:,.8g}"),
        ("rule", "rule"),
    ]
    title = f"The {len(review.worst):,} worst prompts of {review.forecasters[0]}, relative to the asset's mean"
    note = "relative: CRPS over the mean of the asset. The underlined start times show the paths."
    section.content.append(Table(title, *grid(review.worst, columns), folded=True, note=note))
    return section


def _start(row: ScoredPrompt, drawn: set[str]) -> Cell:
    return Cell(iso(row.start_time), row.start_time, opens=row.key if row.key in drawn else "")
