"""Fill the cache of the real field: ask only for what is missing, and write each answer as it arrives."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa

from ewmalab.errors import FeedError, FeedUnavailable
from ewmalab.market.field.client import POOL_DAYS, PROMPT_DAYS, FieldClient
from ewmalab.market.field.matching import LONGEST_DELAY, match_starts
from ewmalab.market.field.series import Series, between
from ewmalab.market.field.store import SETTLED, FieldDay, FieldStore
from ewmalab.market.ranges import Range
from ewmalab.rulebook import Competition, Rulebook
from ewmalab.times import DAY


@dataclass(frozen=True, slots=True)
class Wanted:
    """The series of a range of start times.

    Attributes
    ----------
    span : (int, int)
        Range of start times, whole days.
    grids : mapping of (asset, time_length) to time_increment
        Seconds.
    competitions : mapping of str to tuple of str
        Aliases of each competition.
    """

    span: Range
    grids: dict[tuple[str, int], int]
    competitions: dict[str, tuple[str, ...]]

    @classmethod
    def of(
        cls, rulebook: Rulebook, span: Range, competitions: Sequence[str] | None, assets: Sequence[str] | None
    ) -> Wanted:
        """Return the series of the competitions and assets that the rulebook has in a range.

        Parameters
        ----------
        rulebook : Rulebook
        span : (int, int)
            Range of start times; widened to whole days.
        competitions, assets : sequence of str, optional
            Only these; names as in `ewmalab.replay.schedule.schedule`.

        Raises
        ------
        RulebookError
            If a name is unknown, or nothing is left.
        """
        for symbol in assets or ():
            rulebook.asset(symbol)
        start, end = span[0] // DAY * DAY, -(-span[1] // DAY) * DAY
        found: list[Competition] = []
        for when in (start, *(edge for edge in rulebook.breakpoints() if start < edge < end)):
            found += rulebook.at(when).select(competitions)
        grids = {
            (asset, c.time_length): c.time_increment
            for c in found
            for asset in c.assets
            if assets is None or asset in assets
        }
        return cls((start, end), grids, {c.name: c.aliases for c in found})

    def scored(self, time_length: int) -> Range:
        """Return the days on which prompts of these start times are scored, the first of the range included."""
        return self.span[0], -(-(self.span[1] + time_length + LONGEST_DELAY) // DAY) * DAY

    def series(self) -> list[Series]:
        """Return all series."""
        own = [Series(kind, *key) for kind in ("prompts", "scores", "paths") for key in self.grids]
        return [*own, *(Series("rewards", name) for name in self.competitions), Series("emission"), Series("pool")]

    @property
    def longest(self) -> int:
        """Return the longest horizon, seconds."""
        return max((length for _, length in self.grids), default=0)


@dataclass(frozen=True, slots=True)
class SeriesFetch:
    """What was fetched of a series, or the error that ended it.

    Attributes
    ----------
    series : Series
    calls, rows : int
    error : str or None
    """

    series: Series
    calls: int = 0
    rows: int = 0
    error: str | None = None


Call = Callable[[], list[tuple[int, pa.Table]]]  # asks once, and returns the rows of each day


@dataclass
class FieldFetch:
    """Fetches the field into a store.

    Parameters
    ----------
    store : FieldStore
    client : FieldClient
    now : callable
        Returns the present time, seconds since 1970-01-01 UTC.
    progress : callable, optional
        Called with the numbers of finished calls and of all that are known to be needed.
    """

    store: FieldStore
    client: FieldClient
    now: Callable[[], int]
    progress: Callable[[int, int], None] | None = None
    _done: int = 0
    _total: int = 0

    def run(self, wanted: Wanted, *, paths: bool = True) -> list[SeriesFetch]:
        """Fetch what is missing; a series with a malformed answer does not stop the others.

        Parameters
        ----------
        wanted : Wanted
        paths : bool
            Also fetch the realised path of every scored prompt, a call each.

        Raises
        ------
        FeedUnavailable
            If the API does not answer. What was fetched before is kept.
        """
        for series in wanted.series():
            self.store.set_damaged_aside(series)
        plan = [(series, list(calls)) for series, calls in self._plan(wanted)]
        self._total = sum(len(calls) for _, calls in plan)
        out = [self._fetch(series, calls) for series, calls in plan]
        if paths:
            later = {key: self._unknown_paths(*key, wanted.span) for key in wanted.grids}
            self._total += sum(map(len, later.values()))
            out += [self._fetch_paths(key, wanted.grids[key], starts) for key, starts in later.items()]
        return out

    def _plan(self, wanted: Wanted) -> Iterator[tuple[Series, Iterator[Call]]]:
        for (asset, length), increment in wanted.grids.items():
            series = Series("prompts", asset, length)
            first = (wanted.span[0] - length - LONGEST_DELAY) // DAY * DAY
            yield series, self._prompts(series, (increment, length), (first, wanted.span[1]))
        for (asset, length), increment in wanted.grids.items():
            series, ask = Series("scores", asset, length), partial(self.client.scores, asset, (increment, length))
            yield series, self._daily(series, wanted.scored(length), ask)
        days = wanted.scored(wanted.longest)
        for name, aliases in wanted.competitions.items():
            series = Series("rewards", name)
            yield series, self._daily(series, days, partial(self.client.rewards, (name, *aliases)))
        yield Series("emission"), self._daily(Series("emission"), days, self.client.emission)
        yield Series("pool"), self._pool(days)

    def _missing(self, series: Series, span: Range) -> list[int]:
        """Return the days without a final file that have begun."""
        known = {day for day, entry in self.store.days(series).items() if entry.final}
        return [day for day in range(span[0], min(span[1], self.now()), DAY) if day not in known]

    def _daily(self, series: Series, span: Range, ask: Callable[[int], pa.Table]) -> Iterator[Call]:
        for day in self._missing(series, span):

            def one(day: int = day) -> list[tuple[int, pa.Table]]:
                return [(day, ask(day))]

            yield one

    def _prompts(self, series: Series, grid: tuple[int, int], span: Range) -> Iterator[Call]:
        for days in runs(self._missing(series, span), PROMPT_DAYS):

            def ask(days: Range = days) -> list[tuple[int, pa.Table]]:
                table = pa.table([self.client.prompts(series.name, grid, days)], schema=series.schema)
                return [(day, between(table, day, day + DAY)) for day in range(*days, DAY)]

            yield ask

    def _pool(self, span: Range) -> Iterator[Call]:
        for days in runs(self._missing(Series("pool"), span), POOL_DAYS):

            def ask(days: Range = days) -> list[tuple[int, pa.Table]]:
                table = self.client.pool(days[0], days[1] - DAY)
                return [(day, between(table, day, day + DAY)) for day in range(*days, DAY)]

            yield ask

    def _fetch(self, series: Series, calls: Sequence[Call]) -> SeriesFetch:
        rows = 0
        for number, ask in enumerate(calls):
            began = self.now()
            try:
                for day, table in ask():
                    self._write(series, table, day, began)
                    rows += table.num_rows
            except FeedUnavailable:
                raise
            except FeedError as error:
                self._step(len(calls) - number)
                return SeriesFetch(series, number, rows, str(error))
            self._step()
        return SeriesFetch(series, len(calls), rows)

    def _unknown_paths(self, asset: str, length: int, span: Range) -> list[int]:
        """Return the start times of scored prompts whose path was not asked for when it had to exist."""
        starts = scored_starts(self.store, asset, length, span)
        table = self.store.read(Series("paths", asset, length), *span)
        known = {
            row["start_time"]
            for row in table.to_pylist()
            if row["prices"] is not None or row["asked"] >= row["start_time"] + length + SETTLED
        }
        return [start for start in starts.tolist() if start not in known]

    def _fetch_paths(self, key: tuple[str, int], increment: int, starts: Sequence[int]) -> SeriesFetch:
        """Ask for the path of each prompt, and add it to the file of its day."""
        asset, length = key
        series, rows = Series("paths", asset, length), 0
        for number, start in enumerate(starts):
            asked = self.now()
            try:
                prices = self.client.path(asset, (increment, length), start)
            except FeedUnavailable:
                raise
            except FeedError as error:
                self._step(len(starts) - number)
                return SeriesFetch(series, number, rows, str(error))
            day = start // DAY * DAY
            fresh = pa.table([[start], [asked], [prices]], schema=series.schema)
            self._write(series, merged(self.store, series, fresh, day), day, asked)
            rows += prices is not None
            self._step()
        return SeriesFetch(series, len(starts), rows)

    def _write(self, series: Series, table: pa.Table, day: int, began: int) -> None:
        described = FieldDay(day, table.num_rows, began, self.client.source, self.client.synthetic)
        self.store.write(series, table, described)

    def _step(self, count: int = 1) -> None:
        self._done += count
        if self.progress:
            self.progress(self._done, self._total)


def merged(store: FieldStore, series: Series, fresh: pa.Table, day: int) -> pa.Table:
    """Return the rows of a day with fresh ones, which replace those of the same time."""
    held = store.read(series, day, day + DAY)
    times = set(fresh[series.time].to_pylist())
    kept = held.filter(pa.array([time not in times for time in held[series.time].to_pylist()], pa.bool_()))
    return pa.concat_tables([kept, fresh]).sort_by(series.time)


def scored_starts(store: FieldStore, asset: str, length: int, span: Range) -> np.ndarray:
    """Return the start times in a range of the prompts that were scored, in order.

    Parameters
    ----------
    store : FieldStore
    asset : str
    length : int
        Horizon, seconds.
    span : (int, int)
        Range of start times, seconds since 1970-01-01 UTC.
    """
    reach = span[0], span[1] + length + LONGEST_DELAY
    scored = np.unique(store.read(Series("scores", asset, length), reach[0], reach[1])["scored_time"].to_numpy())
    sent = store.read(Series("prompts", asset, length), span[0] - length - LONGEST_DELAY, span[1])
    found = match_starts(scored, sent["start_time"].to_numpy(), length)
    return found[(found >= span[0]) & (found < span[1])]


def runs(days: Sequence[int], longest: int) -> list[Range]:
    """Return days, in order, as ranges of at most `longest` days.

    Examples
    --------
    >>> runs([0, 86400, 259200], 60)
    [(0, 172800), (259200, 345600)]
    """
    out: list[Range] = []
    for day in days:
        if out and out[-1][1] == day and day - out[-1][0] < longest * DAY:
            out[-1] = (out[-1][0], day + DAY)
        else:
            out.append((day, day + DAY))
    return out
