"""The verdict of a backtest: who beats whom, by how much, how surely, where it came from, and what it is worth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd

from ewmalab.analysis.compare import ALL, INTERVAL, KEY, Difference, compare, same_time
from ewmalab.analysis.ranking import Ranking
from ewmalab.inference.aggregate import Bins, Floats, Means
from ewmalab.inference.paired_tests import holm
from ewmalab.times import DAY, iso

PartOf = Literal["asset", "day", "interval"]
BY: dict[PartOf, tuple[str, str]] = {
    "asset": ("asset", "assets"),
    "day": ("day of the start time", "days"),
    "interval": ("scoring interval", "scoring intervals"),
}
REST = "rest"


@dataclass(frozen=True, slots=True)
class Part:
    """What an asset, a day or a scoring interval contributes to a difference.

    Attributes
    ----------
    by : {"asset", "day", "interval"}
    name : str
    change : float
        Its contribution to the relative change; those of all parts add up to the whole.
    base : float
        Its share of the reference's CRPS.
    """

    by: PartOf
    name: str
    change: float
    base: float


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the difference of a forecaster from another comes from.

    Attributes
    ----------
    competition, own, other : str
    prompts : int
    change : float
        Relative difference of mean CRPS; negative is better for `own`.
    parts : list of Part
    """

    competition: str
    own: str
    other: str
    prompts: int
    change: float
    parts: list[Part]

    def of(self, by: PartOf) -> list[Part]:
        """Return the assets, days or intervals."""
        return [part for part in self.parts if part.by == by]

    def share(self, parts: Sequence[Part]) -> float:
        """Return the share of the change that some parts make."""
        return sum(part.change for part in parts) / self.change

    def without(self, parts: Sequence[Part]) -> float:
        """Return the change on everything but some parts; NaN if nothing is left."""
        left = 1.0 - sum(part.base for part in parts)
        return (self.change - sum(part.change for part in parts)) / left if left > 1e-9 else float("nan")

    def majority(self, by: PartOf) -> list[Part]:
        """Return the fewest parts that make more than half of the change, the largest first; empty without a change."""
        if not self.change:
            return []
        ranked = sorted(self.of(by), key=lambda part: -part.change / self.change)
        count = next((n for n in range(1, len(ranked) + 1) if self.share(ranked[:n]) > 0.5), 0)
        return ranked[:count]


@dataclass(frozen=True, slots=True)
class Worth:
    """What a forecaster would be worth in a field of miners.

    Attributes
    ----------
    miner : str
    rank : int
    weight : float
        Share of all miners' reward.
    weight_low, weight_high : float or None
    earnings, earnings_low, earnings_high : float or None
        None if no emission is known.
    """

    miner: str
    rank: int
    weight: float
    weight_low: float | None = None
    weight_high: float | None = None
    earnings: float | None = None
    earnings_low: float | None = None
    earnings_high: float | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """The verdict of a backtest.

    Attributes
    ----------
    contestants : list of str
    duels : list of (str, Difference)
        All ordered pairs of contestants by competition, the other's name first, all assets pooled; `p_holm` is
        corrected for the number of pairs of a competition.
    origins : list of Origin
        For pairs with the first or the last contestant.
    worth : list of Worth
        Empty if the field is not known.
    miners : int
        Number of miners in that field.
    unit : str
        Of the earnings.
    """

    contestants: list[str]
    duels: list[tuple[str, Difference]]
    origins: list[Origin]
    worth: list[Worth]
    miners: int = 0
    unit: str = ""

    @property
    def competitions(self) -> list[str]:
        """Return the names of the competitions."""
        return list(dict.fromkeys(row.competition for _, row in self.duels))

    def duel(self, competition: str, own: str, other: str) -> Difference | None:
        """Return how a contestant differs from another."""
        for reference, row in self.duels:
            if (row.competition, row.forecaster, reference) == (competition, own, other):
                return row
        return None

    def beaten(self, competition: str, own: str) -> list[str]:
        """Return the contestants that one is proven to beat."""
        found = [(other, self.duel(competition, own, other)) for other in self.contestants if other != own]
        return [other for other, row in found if row is not None and row.proven and row.change < 0]


def judge(frames: Mapping[str, pd.DataFrame], ranking: Ranking | None = None) -> Verdict:
    """Return the verdict on some contestants.

    Parameters
    ----------
    frames : mapping of label to DataFrame
        From `ewmalab.analysis.compare.scores_of`; at least two.
    ranking : Ranking, optional
        The field that the contestants were ranked in.

    Raises
    ------
    ExperimentError
        If they have no prompt in common.
    """
    names = list(frames)
    shared = frames[names[0]].index
    for frame in frames.values():
        shared = shared.intersection(frame.index)
    common = {name: frame.loc[shared.sort_values()] for name, frame in frames.items()}
    pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
    telling = [pair for pair in pairs if names[0] in pair or names[-1] in pair]
    return Verdict(
        contestants=names,
        duels=_duels(common),
        origins=[one for own, other in telling for one in _origins(common[own], common[other], own, other)],
        worth=[] if ranking is None else worth_of(ranking, names),
        miners=0 if ranking is None else len(ranking.miners),
        unit="" if ranking is None or ranking.emission is None else ranking.unit,
    )


def worth_of(ranking: Ranking, names: Sequence[str]) -> list[Worth]:
    """Return rank, weight and estimated earnings of the named miners that a ranking holds, the best first."""
    earned = {one.miner: one for one in ranking.earnings}
    found = []
    for standing in ranking.final:
        if standing.competition or standing.miner not in names:
            continue
        one, plain = earned.get(standing.miner), Worth(standing.miner, standing.rank, standing.weight)
        if one is not None:
            plain = replace(
                plain,
                weight_low=one.weight_low,
                weight_high=one.weight_high,
                earnings=one.earnings,
                earnings_low=one.earnings_low,
                earnings_high=one.earnings_high,
            )
        found.append(plain)
    return found


def _duels(frames: Mapping[str, pd.DataFrame]) -> list[tuple[str, Difference]]:
    """Return the pooled difference of each contestant from each other one, with the name of the other."""
    names, forwards = list(frames), list[tuple[str, Difference]]()
    for place, reference in enumerate(names[1:], 1):
        rows = compare({reference: frames[reference], **{name: frames[name] for name in names[:place]}})
        pooled = {row.competition for row in rows if row.asset == ALL}
        forwards += [(reference, row) for row in rows if row.asset == ALL or row.competition not in pooled]
    out = []
    for competition in dict.fromkeys(row.competition for _, row in forwards):
        rows_of = [(other, row) for other, row in forwards if row.competition == competition]
        p_values = holm(1.0 if row.p_value is None else row.p_value for _, row in rows_of)
        for (other, row), p in zip(rows_of, p_values, strict=True):
            corrected = row if row.p_value is None else replace(row, p_holm=float(p))
            out += [(other, corrected), (row.forecaster, _reversed(corrected, other))]
    return out


def _reversed(row: Difference, reference: str) -> Difference:
    """Return the difference of the reference from the forecaster, by the same test."""
    return replace(
        row,
        forecaster=reference,
        mean_reference=row.mean,
        mean=row.mean_reference,
        difference=-row.difference,
        change=_turned(row.change),
        low=None if row.high is None else _turned(row.high),
        high=None if row.low is None else _turned(row.low),
        share_better=1.0 - row.share_better,
        weeks=None,
    )


def _turned(change: float) -> float:
    """Return the relative change of the reverse direction."""
    return 1.0 / (1.0 + change) - 1.0 if change > -1.0 else float("inf")


def _origins(own: pd.DataFrame, other: pd.DataFrame, name: str, reference: str) -> Iterator[Origin]:
    """Yield by competition where the difference comes from; all assets and all times weigh the same."""
    competition, asset, start = (own.index.get_level_values(key).to_numpy() for key in KEY)
    for (which,), rows in Bins.of(competition).items():
        assets, times = Bins.of(asset[rows]), same_time(asset[rows], start[rows])
        mine, theirs = own.iloc[rows], other.iloc[rows]
        mean = Means.of(assets, {"crps": theirs["crps"]}).mean("crps")[assets.of_row]
        if not mean.all():
            continue
        weight = 1.0 / (mean * len(times.keys) * times.sizes[times.of_row])
        difference, base = (weight * values.to_numpy() for values in (mine["crps"] - theirs["crps"], theirs["crps"]))
        days = Bins.of(start[rows] // DAY)
        parts = list(_parts("asset", [str(key) for (key,) in assets.keys], assets, difference, base))
        parts += _parts("day", [iso(day * DAY)[:10] for (day,) in days.keys], days, difference, base)
        parts += _intervals(mine, theirs, weight, difference, base)
        change = float(difference.sum() / base.sum())
        yield Origin(str(which), name, reference, len(rows), change, parts)


def _parts(by: PartOf, names: Sequence[str], bins: Bins, difference: Floats, base: Floats) -> Iterator[Part]:
    sums = Means.of(bins, {"difference": difference, "base": base})
    for name, gain, size in zip(names, sums.total["difference"], sums.total["base"], strict=True):
        yield _part(by, name, (gain, size), base.sum())


def _intervals(
    mine: pd.DataFrame, theirs: pd.DataFrame, weight: Floats, difference: Floats, base: Floats
) -> Iterator[Part]:
    """Yield the contributions of scoring intervals, whose CRPS add up to the whole; what is left is the rest."""
    whole, left = float(base.sum()), np.array([difference.sum(), base.sum()])
    for column in [name for name in mine.columns if name.startswith(INTERVAL)]:
        own, reference = mine[column].to_numpy(np.float64), theirs[column].to_numpy(np.float64)
        if np.isfinite(reference).any():
            sums = float(np.nansum(weight * (own - reference))), float(np.nansum(weight * reference))
            left -= sums
            yield _part("interval", column.removeprefix(INTERVAL), sums, whole)
    if abs(left[0]) > 1e-6 * whole:
        yield _part("interval", REST, (float(left[0]), float(left[1])), whole)


def _part(by: PartOf, name: str, part: tuple[float, float], whole: float) -> Part:
    return Part(by, name, float(part[0] / whole), float(part[1] / whole))
