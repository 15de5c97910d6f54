"""A live track record as text and as plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import pandas as pd

from ewmalab.report.compare import compare_text


class _Alarm(Protocol):
    @property
    def kind(self) -> str: ...
    @property
    def text(self) -> str: ...


class TrackRecord(Protocol):
    """What is reported of `ewmalab.analysis.track.TrackRecord`."""

    @property
    def rows(self) -> list[dict[str, Any]]: ...
    @property
    def answered(self) -> int: ...
    @property
    def settled(self) -> int: ...
    @property
    def waiting(self) -> Mapping[str, int]: ...
    @property
    def alarms(self) -> Sequence[_Alarm]: ...
    @property
    def synthetic(self) -> bool: ...
    def running(self) -> pd.DataFrame:
        """Return the running mean CRPS."""
        ...


def track_text(record: TrackRecord) -> str:
    """Return a track record for people."""
    lines = [f"{record.answered} prompts answered, {record.settled} of them scored"]
    lines += [f"  {count} not scored: {reason}" for reason, count in record.waiting.items()]
    lines.append("")
    if record.rows:
        lines.append(compare_text(record.rows, record.rows[0]["reference"], record.synthetic))
    elif record.synthetic:
        lines.append("SYNTHETIC DATA: simulated prices, not a market.\n")
    lines += [f"ALARM ({alarm.kind}) {alarm.text}" for alarm in record.alarms] or ["no alarm"]
    return "\n".join(lines) + "\n"


def track_json(record: TrackRecord) -> dict[str, Any]:
    """Return a track record for machines, the running CRPS included."""
    running = record.running().reset_index().to_dict("list") if record.settled else {}
    return {
        "synthetic": record.synthetic,
        "answered": record.answered,
        "settled": record.settled,
        "waiting": dict(record.waiting),
        "rows": record.rows,
        "alarms": [{"kind": alarm.kind, "text": alarm.text} for alarm in record.alarms],
        "running": running,
    }
