"""The track record of a live miner: its logged answers scored against realised prices, and alarms."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import orjson
import pandas as pd

from ewmalab.analysis.compare import Difference, compare
from ewmalab.analysis.relative import Course, cumulative_difference
from ewmalab.inference.intervals import MIN_DIFFERENCES
from ewmalab.live.audit.answer_log import LiveLog, Record, prompt_of
from ewmalab.live.audit.log_stream import LogSummary, first_answers, summarise
from ewmalab.live.audit.parity import Reproducer
from ewmalab.live.audit.proposals import proposals
from ewmalab.market.bars import Bars
from ewmalab.market.cache import local_cache, open_cache
from ewmalab.market.fetch import fetch_missing
from ewmalab.replay.engine import realised_path
from ewmalab.rulebook import Rulebook, load_rulebook
from ewmalab.scoring.answer_format import render
from ewmalab.scoring.crps import score_log_returns
from ewmalab.scoring.validation import CORRECT, validate_response
from ewmalab.settings import LoadedSettings
from ewmalab.times import DAY, MINUTE, iso

BASELINE = "random-walk"
_DRIFT = 1.25  # alarm if the recent ratio of CRPS to the baseline's exceeds the earlier ratio by this factor
_RECENT = DAY
_COLUMNS = ["competition", "asset", "start_time", "crps", "rule"]


@dataclass(frozen=True, slots=True)
class Alarm:
    """A problem that a miner's owner should look into.

    Attributes
    ----------
    kind : {"drift", "missed", "format", "worse", "late", "shadow"}
    """

    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class TrackRecord:
    """The scores of a live miner.

    Attributes
    ----------
    scores : mapping of forecaster to DataFrame
        CRPS per prompt, indexed by competition, asset and start time; the answering forecaster first.
    rows : list of Difference
        Comparison with the baseline per competition and asset.
    answered, settled : int
        Distinct prompts answered, and those of them whose prices have realised.
    waiting : mapping of reason to int
        Number of prompts not scored, by reason.
    alarms : list of Alarm
    synthetic : bool
        Whether any price is simulated.
    """

    scores: Mapping[str, pd.DataFrame]
    rows: list[Difference]
    answered: int
    settled: int
    waiting: Mapping[str, int]
    alarms: list[Alarm]
    synthetic: bool

    def plain(self) -> dict[str, Any]:
        """Return the record as plain data, with the running CRPS but without the prompts."""
        return {
            "synthetic": self.synthetic,
            "answered": self.answered,
            "settled": self.settled,
            "waiting": dict(self.waiting),
            "baseline": BASELINE,
            "rows": [row.plain() for row in self.rows],
            "alarms": [asdict(alarm) for alarm in self.alarms],
            "running": self.running().reset_index().to_dict("list") if self.settled else {},
        }

    def running(self) -> pd.DataFrame:
        """Return the running mean CRPS of each forecaster, per competition and asset, by start time."""
        frames = {
            name: frame["crps"].groupby(level=["competition", "asset"]).expanding().mean().droplevel([0, 1])
            for name, frame in self.scores.items()
        }
        return pd.DataFrame(frames)

    def cumulative(self) -> Course:
        """Return the running sum of each forecaster's differences from the baseline."""
        scores = [frame["crps"].reset_index().assign(forecaster=name) for name, frame in self.scores.items()]
        return cumulative_difference(pd.concat(scores), BASELINE)


def track_record(
    log: LiveLog,
    settings: LoadedSettings,
    *,
    now: int,
    shadows: Sequence[str] = (),
    days: float | None = None,
    fetch: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> TrackRecord:
    """Score logged answers against realised prices.

    Shadows are forecasters that did not answer. Each gets the bars, the anchor and the random stream of the answer, so
    its paths are computed afterwards, exactly and at no cost to the miner.

    Parameters
    ----------
    log : LiveLog
        Its answers are read from its folder, one file at a time.
    settings : LoadedSettings
        Name cache and states.
    now : int
        Current time, seconds since 1970-01-01 UTC.
    shadows : sequence of str
        Forecasters besides the baseline, ``random-walk``.
    days : float, optional
        Score only prompts of this many days before the last.
    fetch : bool
        Whether to fetch realised prices that the cache lacks.
    progress : callable, optional
        Called with the number of prompts done and in total.

    Raises
    ------
    StateError, MissingDataError, ForecasterError, FeedError
    """
    rulebook, summary = load_rulebook(), summarise(log.folder, days)
    own = summary.forecaster
    names = list(dict.fromkeys([own, BASELINE, *shadows]))
    reproducer = Reproducer(log, settings, summary.spans)
    parts: dict[str, list[pd.DataFrame]] = {name: [] for name in names}
    waiting: dict[str, int] = {}
    done = 0
    for records in first_answers(log.folder, summary.since):
        truths = _Truths(settings, rulebook, records, now, fetch)
        found: dict[str, list[tuple[Any, ...]]] = {name: [] for name in names}
        for record in records:
            reason = _score(record, truths, reproducer, found, own)
            if reason is not None:
                waiting[reason] = waiting.get(reason, 0) + 1
            done += 1
            if progress:
                progress(done, summary.answered)
        for name, scored in found.items():
            parts[name].append(pd.DataFrame(scored, columns=_COLUMNS))
    scores = {name: _frame(frames) for name, frames in parts.items()}
    settled = len(scores[own])
    rows: list[Difference] = []
    if settled:
        order = [BASELINE, *(name for name in names if name != BASELINE)]
        rows = compare({name: scores[name] for name in order}) if len(order) > 1 else []
    alarms = [
        *_missed(summary, rulebook),
        *_late(summary),
        *_format(summary, reproducer),
        *_drift(scores, own),
        *_worse(rows, own),
        *(Alarm("shadow", text) for text in proposals(scores, own, shadows)),
    ]
    return TrackRecord(scores, rows, summary.answered, settled, waiting, alarms, summary.synthetic)


def _score(
    record: Record, truths: _Truths, reproducer: Reproducer, found: Mapping[str, list[tuple[Any, ...]]], own: str
) -> str | None:
    """Add an answer's scores by forecaster to `found`, or return why it has none yet."""
    prompt = prompt_of(record)
    truth, reason = realised_path(truths.of(record), prompt)
    if reason is not None:
        return reason
    rule = load_rulebook().at(prompt.start_time).competitions[prompt.competition].scoring
    for name, rows in found.items():
        paths = reproducer.paths(record, None if name == own else name)
        crps = score_log_returns(paths, record["anchor"]["price"], truth, rule, prompt.time_increment).total
        rows.append((prompt.competition, prompt.asset, prompt.start_time, crps, rule.name))
    return None


class _Truths:
    """Realised prices of answers, from the feed that validators score."""

    def __init__(
        self, settings: LoadedSettings, rulebook: Rulebook, records: list[Record], now: int, fetch: bool
    ) -> None:
        self._rulebook, self._bars = rulebook, dict[tuple[str, str], Bars]()
        spans: dict[tuple[str, str], list[int]] = {}
        for record in records:
            end = record["start_time"] + record["time_length"] + 2 * MINUTE
            spans.setdefault(self._key(record), []).extend((record["start_time"], end))
        cache = open_cache(settings.values.data.cache_dir)
        for (feed, asset), times in spans.items():
            if fetch and feed in rulebook.asset(asset).symbols:  # else nobody can fetch what was scored
                self._fetch(settings, feed, asset, min(times), min(max(times), now), now)
            self._bars[feed, asset] = cache.read(feed, asset, min(times), max(times) + DAY).known_at(now)

    def of(self, record: Record) -> Bars:
        return self._bars[self._key(record)]

    def _key(self, record: Record) -> tuple[str, str]:
        """Return feed and asset; simulated answers are scored on their simulated market."""
        scored = self._rulebook.at(record["start_time"]).assets[record["asset"]].scored_feed
        feed = record["feed"] if record["feed"].startswith("simulated") else str(scored or record["feed"])
        return feed, record["asset"]

    def _fetch(self, settings: LoadedSettings, feed: str, asset: str, start: int, end: int, now: int) -> None:
        from ewmalab.market.feeds.make import make_feed

        source = make_feed(feed, settings.values, self._rulebook)
        fetch_missing(local_cache(settings.values.data.cache_dir), source, asset, start, end, now=now)


def _frame(parts: list[pd.DataFrame]) -> pd.DataFrame:
    filled = [part for part in parts if len(part)] or parts[:1]
    return pd.concat(filled).sort_values(_COLUMNS[:3]).set_index(_COLUMNS[:3])


def _missed(summary: LogSummary, rulebook: Rulebook) -> list[Alarm]:
    """Find gaps between answers longer than two cadences, in which prompts were sent but not answered."""
    alarms = []
    for (competition, asset), found in summary.starts.items():
        starts = np.unique(found)
        rules = rulebook.at(int(starts[-1])).competitions.get(competition)
        if rules is None or asset not in rules.cadence:
            continue
        cadence = rules.cadence[asset]
        steps = np.diff(starts)
        missed = int(sum(step // cadence - 1 for step in steps if step > 2 * cadence))
        if missed:
            at = int(starts[int(np.argmax(steps))])
            text = f"{competition} {asset}: about {missed} prompts not answered; longest gap after {iso(at)}"
            alarms.append(Alarm("missed", text))
    return alarms


def _late(summary: LogSummary) -> list[Alarm]:
    if not summary.slow:
        return []
    return [Alarm("late", f"{summary.slow} answers took more than 10 s (the slowest {summary.slowest:.1f} s)")]


def _format(summary: LogSummary, reproducer: Reproducer) -> list[Alarm]:
    """Judge the newest answer of each competition and asset as a validator does."""
    alarms = []
    for (competition, asset), record in summary.newest.items():
        prompt = prompt_of(record)
        body = render(prompt.start_time, prompt.time_increment, record["anchor"]["price"], reproducer.paths(record))
        verdict = validate_response(
            orjson.loads(body),
            start_time=prompt.start_time,
            time_increment=prompt.time_increment,
            time_length=prompt.time_length,
            num_simulations=prompt.num_simulations,
            response_format=load_rulebook().at(prompt.start_time).response_format,
            process_time=record["seconds"]["total"],
        )
        if verdict != CORRECT:
            alarms.append(Alarm("format", f"{competition} {asset} at {iso(prompt.start_time)}: {verdict}"))
    return alarms


def _drift(scores: Mapping[str, pd.DataFrame], own: str) -> list[Alarm]:
    """Find assets whose CRPS relative to the baseline's is much worse in the last day than before."""
    alarms = []
    if own == BASELINE:
        return []
    both = scores[own].join(scores[BASELINE]["crps"].rename("crps_baseline"))
    for (competition, asset), frame in both.groupby(level=["competition", "asset"]):
        starts = frame.index.get_level_values("start_time").to_numpy()
        recent = starts > starts[-1] - _RECENT
        if min(recent.sum(), (~recent).sum()) < MIN_DIFFERENCES:
            continue
        late, early = (frame[m]["crps"].sum() / frame[m]["crps_baseline"].sum() for m in (recent, ~recent))
        if late > _DRIFT * early:
            text = f"{competition} {asset}: CRPS is {late:.2f} of the baseline's in the last day, {early:.2f} before"
            alarms.append(Alarm("drift", text))
    return alarms


def _worse(rows: Iterable[Difference], own: str) -> list[Alarm]:
    return [
        Alarm("worse", f"{row.competition} {row.asset}: worse than {BASELINE} by {100 * row.change:.1f} %")
        for row in rows
        if row.forecaster == own and row.sign > 0
    ]
