"""A live track record as text."""

from __future__ import annotations

from ewmalab.live.audit.track_record import BASELINE, TrackRecord
from ewmalab.report.text.compare import compare_text
from ewmalab.report.text.tables import SYNTHETIC


def track_text(record: TrackRecord) -> str:
    """Return a track record."""
    lines = [f"{record.answered} prompts answered, {record.settled} of them scored"]
    lines += [f"  {count} not scored: {reason}" for reason, count in record.waiting.items()]
    lines.append("")
    if record.rows:
        lines.append(compare_text(record.rows, BASELINE, record.synthetic))
    elif record.synthetic:
        lines.append(SYNTHETIC + "\n")
    lines += [f"ALARM ({alarm.kind}) {alarm.text}" for alarm in record.alarms] or ["no alarm"]
    return "\n".join(lines) + "\n"
