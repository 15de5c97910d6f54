"""The real field from its cache: published scores with their start times, prompts to replay, and the pool."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ewmalab.analysis.compare import KEY
from ewmalab.analysis.competition_field import Field
from ewmalab.errors import MissingDataError
from ewmalab.market.field.matching import LONGEST_DELAY, match_starts
from ewmalab.market.field.series import Series
from ewmalab.market.field.store import FieldStore
from ewmalab.market.ranges import Range
from ewmalab.replay.schedule import Scheduled, scheduled_at
from ewmalab.replay.settlement import with_published
from ewmalab.rulebook import Rulebook, RuleChoice
from ewmalab.times import DAY, day_name, iso, seconds_in

SYNTHETIC = "the field is SYNTHETIC: made-up miners and scores, not the subnet's"
FETCH = "fetch it with `ewmalab field fetch --start DATE --days N`"


@dataclass(frozen=True, eq=False)
class Published:
    """Published scores.

    Attributes
    ----------
    rows : DataFrame
        ``competition, asset, start_time, scored_time, miner_uid, crps, prompt_score``, in order of scored time;
        `start_time` is -1 if no sent prompt fits.
    ambiguous : int
        Prompts left out because a miner has two scores at one scored time.
    synthetic : bool
    """

    rows: pd.DataFrame
    ambiguous: int
    synthetic: bool

    @property
    def unmatched(self) -> int:
        """Return the number of scored prompts without a start time."""
        return int((self.rows.drop_duplicates(["asset", "competition", "scored_time"])["start_time"] < 0).sum())

    def field(self, rulebook: Rulebook, choice: RuleChoice, span: Range | None = None) -> Field:
        """Return the field of all miners, without prompts that have no start time.

        Parameters
        ----------
        rulebook, choice
            The rules.
        span : (int, int), optional
            Only prompts with a start time in this range.

        Raises
        ------
        MissingDataError
            If no prompt is left.
        """
        start = self.rows["start_time"]
        rows = self.rows[(start >= 0) if span is None else (start >= span[0]) & (start < span[1])]
        if rows.empty:
            raise MissingDataError(f"no scored prompt of the field has a start time in this range; {FETCH}")
        return field_of(rows, rulebook, choice)


def name_of(uid: int) -> str:
    """Return the name of a real miner."""
    return f"uid {uid}"


def field_of(rows: pd.DataFrame, rulebook: Rulebook, choice: RuleChoice) -> Field:
    """Return published rows as a field; columns as in `Published`, each prompt with its own start time."""
    crps = rows.pivot(index=KEY, columns="miner_uid", values="crps").sort_index()
    crps.columns = pd.Index([name_of(int(uid)) for uid in crps.columns])
    scored = rows.drop_duplicates(KEY).set_index(KEY)["scored_time"].reindex(crps.index)
    return Field(crps, rulebook, choice, scored)


def read_published(
    store: FieldStore,
    rulebook: Rulebook,
    choice: RuleChoice,
    scored: Range,
    *,
    competitions: Sequence[str] | None = None,
    assets: Sequence[str] | None = None,
) -> Published:
    """Read the published scores of a range of scored times.

    Parameters
    ----------
    store : FieldStore
    rulebook, choice
        The rules.
    scored : (int, int)
        Scored times ``[from, to)``, seconds since 1970-01-01 UTC.
    competitions, assets : sequence of str, optional
        Only these; names as in `ewmalab.replay.schedule.schedule`.

    Raises
    ------
    CorruptPartitionError
    """
    parts, ambiguous, synthetic = [], 0, False
    for series in store.series():
        if series.kind != "scores" or (assets is not None and series.name not in assets):
            continue
        rows = store.read(series, *scored).to_pandas()
        synthetic |= any(day.synthetic for day in store.days(series).values())
        twice = rows.loc[rows.duplicated(["scored_time", "miner_uid"]), "scored_time"].unique()
        ambiguous += len(twice)
        rows = rows[~rows["scored_time"].isin(twice)]
        parts.append(_placed(rows, series, store, rulebook, choice, competitions))
    columns = ["competition", "asset", "start_time", "scored_time", "miner_uid", "crps", "prompt_score"]
    rows = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)
    return Published(
        rows[columns].sort_values(["scored_time", "asset", "miner_uid"], kind="stable"), ambiguous, synthetic
    )


def _placed(
    rows: pd.DataFrame,
    series: Series,
    store: FieldStore,
    rulebook: Rulebook,
    choice: RuleChoice,
    competitions: Sequence[str] | None,
) -> pd.DataFrame:
    """Add asset, start time and competition; leave out rows of other competitions."""
    length, times = series.time_length, np.unique(rows["scored_time"].to_numpy(np.int64))
    span = (int(times[0]) - length - LONGEST_DELAY, int(times[-1]) + 1) if len(times) else (0, 0)
    sent = store.read(Series("prompts", series.name, length), *span)["start_time"].to_numpy()
    starts = dict(zip(times.tolist(), match_starts(times, sent, length).tolist(), strict=True))
    names = {}
    for time in times.tolist():
        start = starts[time] if starts[time] >= 0 else time - length
        names[time] = _competition(series, rulebook, choice, start, competitions)
    placed = rows.assign(asset=series.name, start_time=rows["scored_time"].map(starts))
    placed = placed.assign(competition=rows["scored_time"].map(names).astype(object))
    return placed[placed["competition"].notna()]


def _competition(
    series: Series, rulebook: Rulebook, choice: RuleChoice, start: int, wanted: Sequence[str] | None
) -> str | None:
    for competition in choice.at(rulebook, start).competitions.values():
        if competition.time_length == series.time_length and series.name in competition.assets:
            return competition.name if competition.is_among(wanted) else None
    return None


def scored_range(span: Range, rulebook: Rulebook) -> Range:
    """Return the scored times of the prompts with a start time in a range."""
    longest = max(c.time_length for era in rulebook.eras for c in era.competitions.values())
    return span[0], span[1] + longest + LONGEST_DELAY


def newest_span(store: FieldStore, days: float) -> Range:
    """Return the newest days whose prompts have been scored: a range of start times that ends at midnight.

    Raises
    ------
    MissingDataError
        If no score is cached.
    """
    ends = [max(store.days(s), default=0) + DAY - s.time_length for s in store.series() if s.kind == "scores"]
    if not ends:
        raise MissingDataError(f"no score of the real field is cached; {FETCH}")
    end = min(ends) // DAY * DAY
    return end - seconds_in(days), end


def field_prompts(
    store: FieldStore,
    rulebook: Rulebook,
    choice: RuleChoice,
    span: Range,
    *,
    competitions: Sequence[str] | None = None,
    assets: Sequence[str] | None = None,
    request_lead: int = 0,
    num_simulations: int | None = None,
) -> list[Scheduled]:
    """Return the real prompts of a range that were scored, with their published paths.

    Parameters
    ----------
    store : FieldStore
    rulebook, choice
        The rules.
    span : (int, int)
        Range of start times, seconds since 1970-01-01 UTC.
    competitions, assets : sequence of str, optional
        Only these; names as in `ewmalab.replay.schedule.schedule`.
    request_lead : int
        Seconds between a prompt's request and its start time; 0: as the rulebook says.
    num_simulations : int, optional
        Paths per prompt, instead of the rulebook's.

    Raises
    ------
    MissingDataError
        If there are none.
    """
    published = read_published(
        store, rulebook, choice, scored_range(span, rulebook), competitions=competitions, assets=assets
    )
    rows = published.rows.drop_duplicates(KEY)
    rows = rows[(rows["start_time"] >= span[0]) & (rows["start_time"] < span[1])]
    if rows.empty:
        raise MissingDataError(
            f"no scored prompt of the real field is cached between {iso(span[0])} and {iso(span[1])}; {FETCH}"
        )
    return prompts_at(
        set(rows[KEY].itertuples(index=False, name=None)), store, rulebook, choice, request_lead, num_simulations
    )


def prompts_at(
    keys: Collection[tuple[str, str, int]],
    store: FieldStore,
    rulebook: Rulebook,
    choice: RuleChoice,
    request_lead: int = 0,
    num_simulations: int | None = None,
) -> list[Scheduled]:
    """Return prompts in time order, with their published paths.

    Parameters
    ----------
    keys : collection of (competition, asset, start time)
    store, rulebook, choice, request_lead, num_simulations
        As in `field_prompts`.
    """
    items = [
        scheduled_at(
            choice.at(rulebook, int(start)).competitions[name], asset, int(start), request_lead, num_simulations
        )
        for name, asset, start in keys
    ]
    return with_published(sorted(items, key=lambda item: item.prompt), store)


def pool_at(store: FieldStore, when: int) -> tuple[int, float] | None:
    """Return the newest day up to a time with a known pool, and what the subnet paid its miners on it, USD."""
    table = store.read(Series("pool"), 0, when + 1)
    return (table["date"][-1].as_py(), table["usd"][-1].as_py()) if table.num_rows else None


def field_notes(field: Field, ours: Sequence[str], published: Published, paid: tuple[int, float] | None) -> list[str]:
    """Return what a reader of a ranking in the real field must know, what is estimated above all.

    Parameters
    ----------
    field : Field
        The real miners and ours.
    ours : sequence of str
        Names of our forecasters in it.
    published : Published
        What the field is made of.
    paid : (int, float) or None
        Day and USD of the pool that earnings are estimated from.
    """
    notes = [SYNTHETIC] if published.synthetic else []
    notes.append(
        f"estimated: scores, averages and weights of {', '.join(ours)}, from a replay in which no answer is late or "
        "lost; and those of the real miners, which ours change a little. `ewmalab check field` compares the real ones "
        "alone with what was published"
    )
    if paid is not None:
        notes.append(
            f"estimated: USD a day is weight x what the subnet paid its miners on {day_name(paid[0])} x correction"
        )
    size = len(field.crps)
    for name in ours:
        count = int(field.crps[name].notna().sum())
        if count < size:
            notes.append(f"{name} is scored on {count} of the {size} prompts; the others do not count for it")
    for name, board in field.boards.items():
        window = field.competition(name, int(board.scored[-1]))[0].window
        span = int(board.scored[-1]) - int(board.scored[0])
        if span < window - DAY / 4:
            notes.append(
                f"{name}: prompts of {span / DAY:.1f} d only, of a window of {window / DAY:g} d: give more --days"
            )
    if published.unmatched:
        notes.append(f"{published.unmatched} scored prompts have no start time in the cache and are left out")
    if published.ambiguous:
        notes.append(f"{published.ambiguous} scored times with two scores of one miner are left out")
    return notes
