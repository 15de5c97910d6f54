"""A live track record as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ewmalab.report.text.compare import compare_text


def track_text(record: Mapping[str, Any]) -> str:
    """Return a track record for people.

    Parameters
    ----------
    record : mapping
        From `ewmalab.live.audit.track_record.TrackRecord.plain`.
    """
    lines = [f"{record['answered']} prompts answered, {record['settled']} of them scored"]
    lines += [f"  {count} not scored: {reason}" for reason, count in record["waiting"].items()]
    lines.append("")
    if record["rows"]:
        lines.append(compare_text(record["rows"], record["baseline"], record["synthetic"]))
    elif record["synthetic"]:
        lines.append("SYNTHETIC DATA: simulated prices, not a market.\n")
    lines += [f"ALARM ({alarm['kind']}) {alarm['text']}" for alarm in record["alarms"]] or ["no alarm"]
    return "\n".join(lines) + "\n"
