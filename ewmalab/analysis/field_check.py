"""Recompute what validators published from the published CRPS: prompt scores, rolling averages and weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from ewmalab.analysis.competition_field import Field, board_at
from ewmalab.analysis.real_field import Published, field_of, read_published
from ewmalab.errors import MissingDataError
from ewmalab.inference.aggregate import Floats
from ewmalab.market.field.series import Series
from ewmalab.market.field.store import FieldDay, FieldStore
from ewmalab.market.ranges import Range
from ewmalab.rulebook import Competition, Rulebook, RuleChoice
from ewmalab.times import DAY, iso

TOLERANCE = 1e-9
"""Largest accepted difference, relative to the published value; to 1, or a billionth of the largest weight, if that is
more."""

PROMPT_SCORES, AVERAGES, WEIGHTS = "prompt scores", "rolling averages", "weights"
NOT_CACHED, NO_SCORES, NO_VALUE = "window not cached", "miner without scores in it", "none published"
NO_WEIGHT = "miner with scores but none published"
_EXAMPLES = 5

Known = Mapping[Series, Mapping[int, FieldDay]]


@dataclass(slots=True)
class Compared:
    """The comparison of one quantity of a competition.

    Attributes
    ----------
    competition, quantity : str
    compared, differing : int
    worst : float
        Largest difference, relative as in `TOLERANCE`.
    left_out : counter of reason
        Published values that could not be compared.
    examples : list of str
        The first differences.
    """

    competition: str
    quantity: str
    compared: int = 0
    differing: int = 0
    worst: float = 0.0
    left_out: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    def plain(self) -> dict[str, Any]:
        """Return the comparison as plain data."""
        return {name: getattr(self, name) for name in self.__slots__} | {"left_out": dict(self.left_out)}

    def add(self, own: Floats, published: Floats, scale: Floats, words: Callable[[int], str]) -> None:
        """Compare values, infinity and NaN included.

        Parameters
        ----------
        own, published : (n,) float64
        scale : (n,) float64
            What differences are relative to.
        words : callable
            Returns what a value is, by its index.
        """
        with np.errstate(invalid="ignore"):
            gap = np.where(own == published, 0.0, np.abs(own - published) / scale)
        gap = np.where(np.isnan(gap), np.inf, gap)
        bad = np.flatnonzero(gap > TOLERANCE)
        self.compared += len(gap)
        self.differing += len(bad)
        self.worst = max(self.worst, float(gap.max(initial=0.0)))
        for i in bad[: _EXAMPLES - len(self.examples)].tolist():
            self.examples.append(f"{words(i)}: {own[i]:.12g} here, {published[i]:.12g} published")


@dataclass(frozen=True, slots=True)
class FieldReport:
    """The result of `check_field`.

    Attributes
    ----------
    rows : list of Compared
    prompts, miners, snapshots : int
        Prompts and miners with scores, and published sets of weights.
    ambiguous : int
        Prompts left out because a miner has two scores at one scored time.
    synthetic : bool
    """

    rows: list[Compared]
    prompts: int
    miners: int
    snapshots: int
    ambiguous: int
    synthetic: bool

    @property
    def differing(self) -> int:
        """Return the number of values that differ."""
        return sum(row.differing for row in self.rows)

    @property
    def exact(self) -> bool:
        """Return whether anything was compared, and everything is equal."""
        return not self.differing and any(row.compared for row in self.rows)


def check_field(
    store: FieldStore,
    rulebook: Rulebook,
    span: Range,
    *,
    competitions: Sequence[str] | None = None,
    choice: RuleChoice | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> FieldReport:
    """Recompute prompt scores, rolling averages and weights from the published CRPS, by the code of our leaderboard.

    Parameters
    ----------
    store : FieldStore
    rulebook : Rulebook
    span : (int, int)
        Scored times and times of weights, ``[from, to)``, whole days in seconds since 1970-01-01 UTC.
    competitions : sequence of str, optional
        Only these; names as in `ewmalab.replay.schedule.schedule`.
    choice : RuleChoice, optional
        By default each time's own rules.
    progress : callable, optional
        Called with the days done and the total.

    Raises
    ------
    MissingDataError
        If no score is cached in the range.
    """
    rules = choice or RuleChoice()
    published = read_published(store, rulebook, rules, span, competitions=competitions)
    if published.rows.empty:
        raise MissingDataError("no score of the real field is cached in this range; see `ewmalab field list`")
    found: dict[tuple[str, str], Compared] = {}
    names = list(dict.fromkeys(published.rows["competition"]))
    for name in names:
        _check_prompts(published, name, rulebook, rules, _row(found, name, PROMPT_SCORES))
    days, snapshots = range(span[0], span[1], DAY), 0
    known = {series: store.days(series) for series in store.series() if series.kind == "scores"}
    for number, day in enumerate(days, 1):
        for name in names:
            snapshots += _check_day(store, rulebook, rules, (name, day), known, found)
        if progress:
            progress(number, len(days))
    prompts = len(published.rows.drop_duplicates(["competition", "asset", "scored_time"]))
    miners = published.rows["miner_uid"].nunique()
    rows = list(found.values())
    return FieldReport(rows, prompts, miners, snapshots, published.ambiguous, published.synthetic)


def _row(found: dict[tuple[str, str], Compared], name: str, quantity: str) -> Compared:
    return found.setdefault((name, quantity), Compared(name, quantity))


def _own_field(rows: pd.DataFrame, rulebook: Rulebook, choice: RuleChoice) -> Field:
    """Return a field that is keyed by scored time, so that it needs no start times."""
    return field_of(rows.assign(start_time=rows["scored_time"]), rulebook, choice)


def _check_prompts(published: Published, name: str, rulebook: Rulebook, choice: RuleChoice, row: Compared) -> None:
    rows = published.rows[published.rows["competition"] == name]
    known = rows["prompt_score"].notna()
    row.left_out[NO_VALUE] += int((~known).sum())
    board = _own_field(rows, rulebook, choice).boards[name]
    uids = sorted(rows["miner_uid"].unique())
    own = pd.DataFrame(board.scores, columns=uids)
    own.index = pd.MultiIndex.from_arrays([board.assets, board.scored], names=["asset", "scored_time"])
    given = rows[known].pivot(index=["asset", "scored_time"], columns="miner_uid", values="prompt_score")
    ours = own.reindex(index=given.index, columns=given.columns).to_numpy()
    at, miner = np.nonzero(~np.isnan(given.to_numpy()))
    values, mine = given.to_numpy()[at, miner], ours[at, miner]

    def words(i: int) -> str:
        asset, when = given.index[at[i]]
        return f"{asset} scored {iso(int(when))}, uid {given.columns[miner[i]]}"

    row.add(mine, values, np.maximum(1.0, np.abs(values)), words)


def _check_day(
    store: FieldStore,
    rulebook: Rulebook,
    choice: RuleChoice,
    which: tuple[str, int],
    known: Known,
    found: dict[tuple[str, str], Compared],
) -> int:
    """Compare the averages and weights of one day; return the number of its published sets."""
    name, day = which
    rewards = store.read(Series("rewards", name), day, day + DAY).to_pandas()
    if rewards.empty:
        return 0
    averages, weights = _row(found, name, AVERAGES), _row(found, name, WEIGHTS)
    times = sorted(rewards["updated_at"].unique())
    held: Field | None = None
    for when in map(int, times):
        given = rewards[rewards["updated_at"] == when]
        competition = choice.at(rulebook, when).competitions.get(name)
        if competition is None or not _covered(known, competition, when):
            averages.left_out[NOT_CACHED] += len(given)
            weights.left_out[NOT_CACHED] += len(given)
            continue
        if held is None:
            span = day - competition.window, day + DAY
            rows = read_published(store, rulebook, choice, span, competitions=[name]).rows
            held = _own_field(rows[rows["competition"] == name], rulebook, choice)
        _compare(held, name, when, given, averages, weights)
    return len(times)


def _covered(known: Known, competition: Competition, when: int) -> bool:
    """Return whether every score of a window is cached."""
    days = range((when - competition.window) // DAY * DAY, when + 1, DAY)
    for asset in competition.assets:
        held = known.get(Series("scores", asset, competition.time_length), {})
        if any(day not in held or held[day].fetched_at < min(day + DAY, when) for day in days):
            return False
    return True


def _compare(held: Field, name: str, when: int, given: pd.DataFrame, averages: Compared, weights: Compared) -> None:
    board = board_at(held, name, when)
    uids = [int(miner.removeprefix("uid ")) for miner in held.miners]
    place = {uids[miner]: i for i, miner in enumerate(board.miners.tolist())}
    scored = given["miner_uid"].isin(place)
    for row in (averages, weights):
        row.left_out[NO_SCORES] += int((~scored).sum())
    given = given[scored]
    at = [place[uid] for uid in given["miner_uid"]]
    published = given["smoothed_score"].to_numpy(np.float64)
    published = np.where(np.isnan(published), np.inf, published)  # no number stands for an infinite average

    def words(i: int) -> str:
        return f"{iso(when)}, uid {given['miner_uid'].iloc[i]}"

    averages.add(board.averages[at], published, np.maximum(1.0, np.abs(published)), words)
    shares = given["reward_weight"].to_numpy(np.float64)
    scale = np.maximum(shares, max(TOLERANCE * float(shares.max(initial=0.0)), np.finfo(float).tiny))
    weights.add(board.weights[at], shares, scale, words)
    absent = len(set(place) - set(given["miner_uid"]))
    for row in (averages, weights):
        row.left_out[NO_WEIGHT] += absent
