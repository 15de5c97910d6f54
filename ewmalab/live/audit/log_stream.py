"""Read an answer log one file at a time, so that memory does not grow with its length."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ewmalab.errors import StateError
from ewmalab.forecast.protocol import Prompt
from ewmalab.live.audit.answer_log import read_lines
from ewmalab.times import MINUTE, seconds_in

Record = dict[str, Any]
Span = tuple[int, int, int]
"""Oldest newest bar of an asset's answers, the end of the newest one, and when the first of their states was saved."""
_SLOW = 10.0  # seconds after which an answer is late
_BESIDE_THE_PROMPT = "forecaster settings seed feed synthetic newest saved_at anchor received seconds"
_KEPT = {*Prompt.__dataclass_fields__, *_BESIDE_THE_PROMPT.split()}


@dataclass
class LogSummary:
    """What is known of a log before its answers are scored.

    Attributes
    ----------
    since : float
        Only prompts that start later count.
    answered : int
        Distinct prompts.
    starts : mapping of (competition, asset) to array of int
        Start times of the distinct prompts.
    newest : mapping of (competition, asset) to dict
        The answer to the last prompt.
    spans : mapping of (feed, asset) to Span
    slow : int
        Answers that were late, and `slowest`, the seconds that the slowest took.
    """

    since: float
    answered: int = 0
    synthetic: bool = False
    starts: dict[tuple[str, str], array[int]] = field(default_factory=dict)
    newest: dict[tuple[str, str], Record] = field(default_factory=dict)
    spans: dict[tuple[str, str], Span] = field(default_factory=dict)
    slow: int = 0
    slowest: float = 0.0

    @property
    def forecaster(self) -> str:
        """Return the forecaster of the last answer."""
        last = max(self.newest.values(), key=_order)
        return str(last["forecaster"])

    def see(self, record: Record) -> None:
        """Count one of all answers."""
        seconds = record["seconds"]["total"]
        if seconds > _SLOW:
            self.slow, self.slowest = self.slow + 1, max(self.slowest, seconds)

    def add(self, record: Record) -> None:
        """Count the first answer to a prompt."""
        key, source = (record["competition"], record["asset"]), (record["feed"], record["asset"])
        self.answered += 1
        self.synthetic |= record["synthetic"]
        self.starts.setdefault(key, array("q")).append(record["start_time"])
        if key not in self.newest or _order(record) > _order(self.newest[key]):
            self.newest[key] = record
        self.spans[source] = widened(self.spans.get(source), record)


def widened(span: Span | None, record: Mapping[str, Any]) -> Span:
    """Return a span with that of one more answer."""
    first, last = record["newest"], max(record["newest"] + MINUTE, record["request_time"])
    one = first, last, record["saved_at"]
    return one if span is None else (min(span[0], first), max(span[1], last), min(span[2], one[2]))


def summarise(folder: Path, days: float | None) -> LogSummary:
    """Read a log once, or twice if only its last days count.

    Raises
    ------
    StateError
        If it holds no answers.
    """
    since = float("-inf")
    if days is not None:
        starts = (record["start_time"] for path in _files(folder) for record in read_lines(path) if record)
        since = max(starts, default=0) - seconds_in(days)
    found = LogSummary(since)
    for records in first_answers(folder, since, found.see):
        for record in records:
            found.add(record)
    if not found.answered:
        raise StateError(f"{folder}: no answers logged here; choose another folder with --log-dir")
    return found


def first_answers(
    folder: Path, since: float = float("-inf"), see: Callable[[Record], None] | None = None
) -> Iterator[list[Record]]:
    """Yield the first answer to each prompt, one file at a time, in the order of their start times.

    Parameters
    ----------
    folder : Path
    since : float
        Only prompts that start later.
    see : callable, optional
        Called with every answer to them.
    """
    before: set[tuple[str, str, int]] = set()
    for path in _files(folder):
        first: dict[tuple[str, str, int], Record] = {}
        for record in read_lines(path):
            if record is None or record["start_time"] <= since:
                continue
            if see is not None:
                see(record)
            key = record["competition"], record["asset"], record["start_time"]
            if key not in before and (key not in first or record["received"] < first[key]["received"]):
                first[key] = {name: value for name, value in record.items() if name in _KEPT}
        before = set(first)  # validators ask for one prompt within minutes, so that it is in two files at most
        yield sorted(first.values(), key=_order)


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("answers-*.jsonl"))


def _order(record: Mapping[str, Any]) -> tuple[int, str, str]:
    return record["start_time"], record["competition"], record["asset"]
