"""The report of a live miner."""

from __future__ import annotations

from ewmalab.analysis.compare import ALL
from ewmalab.analysis.serving import Serving
from ewmalab.live.audit.track_record import BASELINE, TrackRecord
from ewmalab.report.figures import differences, live
from ewmalab.report.pages.backtest import CHANGES, CHANGES_NOTE
from ewmalab.report.pages.page import Card, Report, Section, Table, value
from ewmalab.report.text.compare import verdict
from ewmalab.report.text.tables import Column, grid, short
from ewmalab.times import iso

_SCORES: list[Column] = [*CHANGES[:4], ("mean CRPS", lambda row: _mean(row.mean, row.asset)), *CHANGES[4:]]
_LATENCY: list[Column] = [
    ("competition", lambda row: row.competition or "all"),
    ("answers", "answers"),
    ("median", lambda row: value(row.median, ".3f")),
    ("99 %", lambda row: value(row.percentile_99, ".3f")),
    ("longest", lambda row: value(row.longest, ".3f")),
]
_DAYS: list[Column] = [("day", lambda row: (iso(row.day)[:10], row.day)), ("asset", "asset"), ("answers", "answers")]
_MEAN_NOTE = f" mean CRPS: basis points; over all assets percent of the mean of {BASELINE} on each."


def live_report(serving: Serving, record: TrackRecord, title: str = "") -> Report:
    """Return the report of a live miner.

    Parameters
    ----------
    serving : Serving
        From `ewmalab.analysis.serving.serving`, with the answers of its log.
    record : TrackRecord
        From `ewmalab.live.audit.track_record.track_record`, with the same log.
    title : str
        Name of the log.
    """
    starts, forecaster = serving.answers["start_time"], next(iter(record.scores))
    first, last = (iso(int(at)) for at in (starts.min(), starts.max()))
    provenance = [
        ("answers", f"{len(starts):,} to {serving.validators} validators"),
        ("start times", f"{first} to {last}"),
        ("prompts", f"{record.answered:,} distinct, {record.settled:,} of them scored"),
        ("forecaster", forecaster),
    ]
    until = "" if first[:10] == last[:10] else f" to {last[:10]}"
    report = Report(f"Live track record of {short(forecaster)}, {first[:10]}{until}", provenance, record.synthetic)
    report.name = title or report.title
    report.card = _card(serving, record)
    report.switches = {"Forecasters": list(record.scores), "Assets": sorted(serving.answers["asset"].unique())}
    report.sections = [_score(record), _serving(serving, record.synthetic)]
    return report


def _card(serving: Serving, record: TrackRecord) -> Card:
    pooled = [row for row in record.rows if row.asset == ALL] or record.rows
    lead = [verdict(row, BASELINE) for row in pooled]
    lead += [f"ALARM ({alarm.kind}) {alarm.text}" for alarm in record.alarms] or ["No alarm."]
    total = serving.latencies[0]
    answered = [
        f"{record.answered:,} prompts answered, {record.settled:,} of them scored.",
        *(f"{count} not scored: {reason}." for reason, count in record.waiting.items()),
        f"{total.answers:,} answers; the median took {total.median:.3f} s, the longest {total.longest:.3f} s.",
    ]
    return Card(lead, [], [("Answers", answered)])


def _score(record: TrackRecord) -> Section:
    synthetic = record.synthetic
    section = Section("Score")
    if record.rows:
        table = Table(f"Against {BASELINE}", *grid(record.rows, _SCORES), note=CHANGES_NOTE + _MEAN_NOTE)
        drawn = differences.change_by_asset(record.rows, BASELINE, synthetic=synthetic)
        section.content += [drawn, table, differences.cumulative(record.cumulative(), synthetic=synthetic)]
    if record.settled:
        section.content.append(live.running(record.running(), synthetic=synthetic))
    else:
        section.text.append("No prompt is scored yet.")
    return section


def _serving(serving: Serving, synthetic: bool) -> Section:
    return Section(
        "Serving",
        [],
        [
            live.latency(serving, synthetic=synthetic),
            live.state_age(serving, synthetic=synthetic),
            Table("Latency, seconds", *grid(serving.latencies, _LATENCY)),
            Table("Answers per day", *grid(serving.days, _DAYS), folded=True),
        ],
    )


def _mean(mean: float, asset: str) -> object:
    """Return a mean CRPS with its unit: over all assets it is in percent of each asset's own mean."""
    return (f"{mean:,.2f} %", mean) if asset == ALL else (f"{mean:,.2f} bp", mean)
