"""A field of miners under a date's rules: prompt scores, rolling averages, weights, ranks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pandas as pd

from ewmalab.analysis.compare import KEY
from ewmalab.errors import ExperimentError
from ewmalab.inference.aggregate import Bins, Floats, Ints
from ewmalab.rulebook import Competition, Rulebook, RuleChoice, Rules
from ewmalab.scoring.crps import INVALID
from ewmalab.scoring.leaderboard import Leaderboard, ScoreTable, leaderboard
from ewmalab.scoring.prompt_scores import table_scores
from ewmalab.times import DAY


@dataclass(frozen=True, eq=False)
class Field:
    """CRPS of several miners on a set of prompts.

    Attributes
    ----------
    crps : DataFrame
        Basis points, a column per miner, indexed by competition, asset and start time; NaN if a miner did not answer,
        -1 if its answer was invalid.
    rulebook : Rulebook
    choice : RuleChoice
    scored : Series or None
        When each prompt was scored, with the same index, if the field is a published one. NaN in `crps` then means that
        validators did not count the prompt for the miner, because they publish -1 for a missing answer.
    """

    crps: pd.DataFrame
    rulebook: Rulebook
    choice: RuleChoice
    scored: pd.Series | None = None

    @classmethod
    def of(cls, miners: Mapping[str, pd.Series], rulebook: Rulebook, choice: RuleChoice) -> Field:
        """Join miners' CRPS, each indexed by competition, asset and start time.

        Raises
        ------
        ExperimentError
            If there are no miners or prompts, or a duplicate prompt.
        """
        for name, series in miners.items():
            if series.index.has_duplicates:
                twice = series.index[series.index.duplicated()][0]
                raise ExperimentError(f"{name} has more than one score for the prompt {twice}")
        if not miners or not any(len(series) for series in miners.values()):
            raise ExperimentError("no scores: name forecasters, prediction folders or a score table")
        table = pd.DataFrame(dict(miners))
        table.index = table.index.set_names(KEY)
        return cls(table.sort_index(), rulebook, choice)

    @property
    def miners(self) -> list[str]:
        """Return the miners' names, in order of appearance."""
        return [str(name) for name in self.crps.columns]

    def competition(self, name: str, when: int) -> tuple[Competition, Rules]:
        """Return a competition and the rules at a time.

        Raises
        ------
        ExperimentError
            If it does not run then.
        """
        rules = self.choice.at(self.rulebook, when)
        if name not in rules.competitions:
            raise ExperimentError(
                f"competition {name} does not run under the rules in force then; its prompts are from another date: "
                "choose --rules"
            )
        return rules.competitions[name], rules

    @cached_property
    def boards(self) -> dict[str, Board]:
        """Return the prompt scores by competition."""
        bins = Bins.of(self.crps.index.get_level_values("competition"))
        return {name: self._board(name, self.crps.iloc[rows]) for (name,), rows in bins.items()}

    def without(self, miner: str, dropped: npt.NDArray[np.bool_]) -> Field:
        """Return the field as if a miner had not answered some prompts (mask over the rows)."""
        table = self.crps.copy()
        table.loc[dropped, miner] = np.nan if self.scored is None else INVALID
        return replace(self, crps=table)

    def with_miners(self, miners: Mapping[str, pd.Series]) -> Field:
        """Return a published field with more miners, on its prompts: CRPS as in `of`, before the others."""
        table = pd.DataFrame({name: series.reindex(self.crps.index) for name, series in miners.items()})
        return replace(self, crps=pd.concat([table, self.crps], axis=1))

    def _board(self, name: str, rows: pd.DataFrame) -> Board:
        published = None
        if self.scored is not None:
            rows = rows.assign(scored=self.scored).sort_values(["scored", "start_time"], kind="stable")
            published = rows.pop("scored").to_numpy(np.int64)
            rows = rows.reset_index()
        else:
            rows = rows.reset_index().sort_values(["start_time", "asset"], kind="stable")
        starts = rows["start_time"].to_numpy(np.int64)
        assets = rows["asset"].to_numpy(str)
        crps = rows[self.miners].to_numpy(np.float64)
        horizon = self.competition(name, int(starts[0]))[0].time_length
        answered = ~np.isnan(crps)
        # A miner takes part from its first answer on; later prompts without an answer count as missing.
        since = np.maximum.accumulate(answered, axis=0) if published is None else answered
        given = np.where(since & ~answered, INVALID, crps)
        dates = starts if published is None else published
        rules = [self.choice.at(self.rulebook, date).transformation for date in dates.tolist()]
        scores, fill, lowest = np.full(crps.shape, np.nan), np.full(len(rows), np.nan), np.full(len(rows), np.nan)
        for (transformation,), at in Bins.of(rules).items():
            scores[at], fill[at], lowest[at] = table_scores(given[at], transformation)
        kept = ~np.isnan(fill)
        times = None if published is None else published[kept]
        columns = starts[kept], assets[kept], scores[kept], fill[kept], lowest[kept], crps[kept]
        return Board(name, horizon, *columns, times)


@dataclass(frozen=True, eq=False)
class Board:
    """Prompt scores of one competition, in order of time.

    Attributes
    ----------
    competition : str
    horizon : int
        Length of a path, seconds.
    starts : (p,) int64
    assets : (p,) str
    scores : (p, m) float64
        Basis points above the best; NaN before a miner's first answer.
    fill, lowest : (p,) float64
        See `ewmalab.scoring.prompt_scores.PromptScores`.
    crps : (p, m) float64
    published : (p,) int64 or None
        When the prompts were scored, if that is known.
    """

    competition: str
    horizon: int
    starts: Ints
    assets: npt.NDArray[np.str_]
    scores: Floats
    fill: Floats
    lowest: Floats
    crps: Floats
    published: Ints | None = None

    @cached_property
    def scored(self) -> Ints:
        """Return the scored time of each prompt, the end of its path: (p,) int64.

        If that is not known, prompts with the same start time are put a second apart: validators spread them over a
        cycle, and their back-filling takes one prompt per scored time.
        """
        if self.published is not None:
            return self.published
        _, first, place = np.unique(self.starts, return_index=True, return_inverse=True)
        return self.starts + self.horizon + np.arange(len(self.starts)) - first[place]

    def table(self) -> ScoreTable:
        """Return the scores that validators average."""
        prompt, miner = np.nonzero(~np.isnan(self.scores))
        scored, assets, scores = self.scored[prompt], self.assets[prompt], self.scores[prompt, miner]
        return ScoreTable(scored, miner, assets, scores, self.fill[prompt], self.lowest[prompt])

    def mean_scores(self, when: int, window: int) -> Floats:
        """Return each miner's mean prompt score in the window that ends at `when`: (m,), NaN without a prompt."""
        scores = self.scores[(self.scored > when - window) & (self.scored <= when)]
        valid = ~np.isnan(scores)
        count = valid.sum(axis=0)
        return np.where(count, np.where(valid, scores, 0.0).sum(axis=0) / np.maximum(count, 1), np.nan)

    def filled(self) -> Floats:
        """Return the scores, with those that back-fill the time before a miner's first answer: (p, m)."""
        return np.where(np.isnan(self.scores), (self.fill - self.lowest)[:, None], self.scores)


@dataclass(frozen=True, slots=True)
class Standing:
    """A miner's standing at a time.

    Attributes
    ----------
    when : int
    competition : str
        Empty for the sum over competitions.
    miner : str
    average : float
        Rolling average, basis points; NaN for the sum over competitions.
    weight : float
    rank : int
        1 is the best; ties share a rank.
    score : float
        Mean prompt score of the window's own prompts, basis points, every asset alike; NaN if there are none.
    """

    when: int
    competition: str
    miner: str
    average: float
    weight: float
    rank: int
    score: float = float("nan")


def board_at(field: Field, name: str, when: int) -> Leaderboard:
    """Return a competition's leaderboard at a time."""
    competition, rules = field.competition(name, when)
    return leaderboard(
        field.boards[name].table(),
        end=when,
        window=competition.window,
        beta=competition.beta,
        share=competition.share,
        weights=rules.weights,
    )


def standings(field: Field, times: Sequence[int]) -> list[Standing]:
    """Return every miner's standing in every competition, and in their sum, at the given times.

    Parameters
    ----------
    field : Field
    times : sequence of int
        Seconds since 1970-01-01 UTC; from `moments`.
    """
    out = []
    for when in times:
        total = dict.fromkeys(field.miners, 0.0)
        for name, board in field.boards.items():
            if not len(board.scored) or board.scored[0] > when:
                continue
            found = board_at(field, name, when)
            ranks = _ranks(found.weights, -found.averages)
            scores = board.mean_scores(when, field.competition(name, when)[0].window)
            for miner, average, weight, rank in zip(
                found.miners.tolist(), found.averages, found.weights, ranks, strict=True
            ):
                who, score = field.miners[miner], float(scores[miner])
                out.append(Standing(when, name, who, float(average), float(weight), rank, score))
                total[who] += float(weight)
        weights = np.array(list(total.values()))
        if weights.any():
            for (miner, weight), rank in zip(total.items(), _ranks(weights, weights), strict=True):
                out.append(Standing(when, "", miner, float("nan"), weight, rank))
    return out


def moments(field: Field, every: int = DAY) -> list[int]:
    """Return the times of standings: every `every` seconds, and when the last prompt is scored."""
    scored = [board.scored for board in field.boards.values() if len(board.scored)]
    if not scored:
        raise ExperimentError("no miner has a valid score: there is nothing to rank")
    first, last = min(int(times[0]) for times in scored), max(int(times[-1]) for times in scored)
    return [*range(first - first % every + every, last, every), last]


def _ranks(weights: Floats, tie: Floats) -> list[int]:
    """Return ranks, 1 for the largest weight; `tie` decides between weights that underflow to equals."""
    return [1 + int(((weights > w) | ((weights == w) & (tie > t))).sum()) for w, t in zip(weights, tie, strict=True)]
