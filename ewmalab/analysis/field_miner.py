"""One real miner over time: its scores, rank and weight by competition, and what it earned."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from ewmalab.analysis.real_field import read_published
from ewmalab.errors import MissingDataError
from ewmalab.market.field.series import Series
from ewmalab.market.field.store import FieldStore
from ewmalab.market.ranges import Range
from ewmalab.rulebook import Rulebook, RuleChoice
from ewmalab.scoring.crps import INVALID
from ewmalab.times import DAY


@dataclass(frozen=True, slots=True)
class MinerDay:
    """A miner's day in a competition, by scored time; NaN or 0 where nothing was published.

    Attributes
    ----------
    day : int
        First second.
    competition : str
    prompts, invalid : int
        Scored prompts, and those without a valid answer.
    crps, prompt_score : float
        Means, basis points; CRPS of the valid answers.
    rank, miners : int
        Place by weight in the last published set of the day, 1 is the best, and the number of miners in it.
    average, weight : float
        Rolling average, and share of all miners' reward, then.
    """

    day: int
    competition: str
    prompts: int
    invalid: int
    crps: float
    prompt_score: float
    rank: int
    miners: int
    average: float
    weight: float


@dataclass(frozen=True, slots=True)
class Earned:
    """What a miner earned on a day.

    Attributes
    ----------
    day : int
    share : float
        Its part of the emission of all miners with an incentive, averaged over the day's snapshots.
    usd : float
        That share of what the subnet paid its miners; NaN if that is unknown.
    """

    day: int
    share: float
    usd: float


@dataclass(frozen=True, slots=True)
class MinerHistory:
    """A miner in the cached field.

    Attributes
    ----------
    uid : int
    days : list of MinerDay
    earned : list of Earned
    synthetic : bool
    """

    uid: int
    days: list[MinerDay]
    earned: list[Earned]
    synthetic: bool


def miner_history(store: FieldStore, rulebook: Rulebook, uid: int, span: Range) -> MinerHistory:
    """Return what is cached of a miner.

    Parameters
    ----------
    store : FieldStore
    rulebook : Rulebook
    uid : int
    span : (int, int)
        Scored times ``[from, to)``, seconds since 1970-01-01 UTC.

    Raises
    ------
    MissingDataError
        If nothing is cached of it.
    """
    published = read_published(store, rulebook, RuleChoice(), span)
    own = published.rows[published.rows["miner_uid"] == uid]
    ranked = {
        series.name: _ranked(store.read(series, *span).to_pandas(), uid)
        for series in store.series()
        if series.kind == "rewards"
    }
    days = [
        _day(name, day, own[(own["competition"] == name) & (own["scored_time"] // DAY * DAY == day)], ranked)
        for name in sorted({*own["competition"], *ranked})
        for day in range(span[0] // DAY * DAY, span[1], DAY)
    ]
    days = [one for one in days if one.prompts or one.rank]
    earned = _earned(store, uid, span)
    if not days and not earned:
        raise MissingDataError(f"nothing of uid {uid} is cached in this range; see `ewmalab field list`")
    return MinerHistory(uid, days, earned, published.synthetic)


_RECENT = 7 * DAY  # an older rank is not shown as the newest


@dataclass(frozen=True, slots=True)
class NewestRank:
    """A miner's place in the newest published set of a competition.

    Attributes
    ----------
    competition : str
    day : int
        First second of the day it was published.
    rank, miners : int
        1 is the best.
    """

    competition: str
    day: int
    rank: int
    miners: int


def newest_ranks(store: FieldStore, uid: int) -> list[NewestRank]:
    """Return a miner's newest rank in each competition, as far as it is cached."""
    found = []
    for series in store.series():
        days = list(store.days(series)) if series.kind == "rewards" else []
        if days:
            newest = max(days)  # which may be a day on which nothing was published yet
            ranked = _ranked(store.read(series, newest - _RECENT, newest + DAY).to_pandas(), uid)
            found += [NewestRank(series.name, day, *ranked[day][:2]) for day in sorted(ranked)[-1:]]
    return found


_Ranked = dict[int, tuple[int, int, float, float]]  # by day: rank, miners, average, weight


def _ranked(rewards: pd.DataFrame, uid: int) -> _Ranked:
    out: _Ranked = {}
    for day, rows in rewards.groupby(rewards["updated_at"] // DAY * DAY):
        last = rows[rows["updated_at"] == rows["updated_at"].max()]
        mine = last[last["miner_uid"] == uid]
        if len(mine):
            weight = float(mine["reward_weight"].iloc[0])
            rank = 1 + int((last["reward_weight"] > weight).sum())
            out[int(str(day))] = rank, len(last), float(mine["smoothed_score"].iloc[0]), weight
    return out


def _day(name: str, day: int, rows: pd.DataFrame, ranked: dict[str, _Ranked]) -> MinerDay:
    valid = rows["crps"] != INVALID
    rank, miners, average, weight = ranked.get(name, {}).get(day, (0, 0, float("nan"), float("nan")))
    return MinerDay(
        day=day,
        competition=name,
        prompts=len(rows),
        invalid=int((~valid).sum()),
        crps=float(rows.loc[valid, "crps"].mean()),
        prompt_score=float(rows["prompt_score"].mean()),
        rank=rank,
        miners=miners,
        average=average,
        weight=weight,
    )


def _earned(store: FieldStore, uid: int, span: Range) -> list[Earned]:
    rows = store.read(Series("emission"), *span).to_pandas()
    rows = rows[rows["incentive"] > 0]
    table = store.read(Series("pool"), *span)
    pool = dict(zip(table["date"].to_pylist(), table["usd"].to_pylist(), strict=True))
    whole = rows.groupby("updated_at")["emission"].sum()
    mine = rows[rows["miner_uid"] == uid].set_index("updated_at")["emission"].reindex(whole.index).fillna(0.0)
    shares = (mine / whole).groupby(whole.index // DAY * DAY).mean()
    return [
        Earned(int(str(day)), float(share), float(share) * pool.get(int(str(day)), np.nan))
        for day, share in shares.items()
    ]
