"""The report of a live miner."""

from __future__ import annotations

from ewmalab.analysis.serving import Serving
from ewmalab.live.audit.track_record import BASELINE, TrackRecord
from ewmalab.report.figures import differences, live
from ewmalab.report.pages.page import Report, Section, Table, percent, value
from ewmalab.report.text.tables import Column, grid
from ewmalab.times import iso

_SCORES: list[Column] = [
    ("competition", "competition"),
    ("asset", "asset"),
    ("forecaster", "forecaster"),
    ("prompts", "prompts"),
    ("mean CRPS, bp", "mean"),
    ("change, %", lambda row: percent(row.change)),
    ("95 %, from", lambda row: percent(row.low)),
    ("to", lambda row: percent(row.high)),
]
_LATENCY: list[Column] = [
    ("competition", "competition"),
    ("answers", "answers"),
    ("median", lambda row: value(row.median, ".3f")),
    ("99 %", lambda row: value(row.percentile_99, ".3f")),
    ("longest", lambda row: value(row.longest, ".3f")),
]
_DAYS: list[Column] = [("day", lambda row: (iso(row.day)[:10], row.day)), ("asset", "asset"), ("answers", "answers")]


def live_report(serving: Serving, record: TrackRecord, title: str = "live track record") -> Report:
    """Return the report of a live miner.

    Parameters
    ----------
    serving : Serving
        From `ewmalab.analysis.serving.serving`, with the answers of its log.
    record : TrackRecord
        From `ewmalab.live.audit.track_record.track_record`, with the same log.
    title : str
    """
    starts = serving.answers["start_time"]
    provenance = [
        ("answers", f"{len(starts):,} to {serving.validators} validators"),
        ("start times", f"{iso(int(starts.min()))} to {iso(int(starts.max()))}"),
        ("prompts", f"{record.answered:,} distinct, {record.settled:,} of them scored"),
        ("forecaster", next(iter(record.scores))),
    ]
    return Report(title, provenance, record.synthetic, [_score(record), _serving(serving, record.synthetic)])


def _score(record: TrackRecord) -> Section:
    synthetic = record.synthetic
    alarms = [f"ALARM ({alarm.kind}) {alarm.text}" for alarm in record.alarms] or ["No alarm."]
    waiting = [f"{count} not scored: {reason}." for reason, count in record.waiting.items()]
    section = Section("Score", [*alarms, *waiting])
    if record.rows:
        section.content += [
            differences.change_by_asset(record.rows, BASELINE, synthetic=synthetic),
            Table(f"Against {BASELINE}", *grid(record.rows, _SCORES)),
            differences.cumulative(record.cumulative(), synthetic=synthetic),
        ]
    if record.settled:
        section.content.append(live.running(record.running(), synthetic=synthetic))
    return section


def _serving(serving: Serving, synthetic: bool) -> Section:
    return Section(
        "Serving",
        [],
        [
            live.latency(serving, synthetic=synthetic),
            live.state_age(serving, synthetic=synthetic),
            Table("Latency, seconds", *grid(serving.latencies[1:], _LATENCY)),
            Table("Answers per day", *grid(serving.days, _DAYS), folded=True),
        ],
    )
