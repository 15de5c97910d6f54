"""Estimate what miners earn and what missed prompts cost them, with confidence intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ewmalab.analysis.competition_field import Board, Field, standings
from ewmalab.forecast.streams import RandomStream
from ewmalab.inference.aggregate import Bins, Floats, Means
from ewmalab.inference.bootstrap import resampled_means
from ewmalab.inference.intervals import LEVEL, REPLICATIONS, Dependence, overlap_of, widening
from ewmalab.scoring.leaderboard import softmax_weights


@dataclass(frozen=True, slots=True)
class Estimate:
    """A miner's estimated earnings.

    Attributes
    ----------
    miner : str
    weight, weight_low, weight_high : float
        Share of all miners' reward, with a 95 % interval over resampled prompts of the window; its bounds are None if
        there are too few independent prompts.
    earnings, earnings_low, earnings_high : float
        Weight times emission times correction, in the unit of the emission.
    """

    miner: str
    weight: float
    weight_low: float | None
    weight_high: float | None
    earnings: float
    earnings_low: float | None
    earnings_high: float | None


@dataclass(frozen=True, slots=True)
class MissingEffect:
    """The effect on a miner of not answering a share of the prompts.

    Attributes
    ----------
    miner : str
    share : float
        Share of its prompts, drawn at random.
    averages : dict of competition to float
        Rolling average with these prompts missing, less that with all.
    weight, weight_before : float
    rank, rank_before : int
    """

    miner: str
    share: float
    averages: dict[str, float]
    weight: float
    weight_before: float
    rank: int
    rank_before: int


def emission_factor(field: Field, when: int) -> float:
    """Return realised emission relative to what the weights promise, under the field's rules at a time."""
    return field.choice.at(field.rulebook, when).emission_factor


def estimate_earnings(
    field: Field, when: int, *, emission: float, correction: float | None = None, seed: int = 0
) -> list[Estimate]:
    """Estimate what the miners of a field earn.

    Parameters
    ----------
    field : Field
    when : int
        End of the rolling windows, seconds since 1970-01-01 UTC.
    emission : float
        Reward of all miners, per day or any other time, in any unit.
    correction : float, optional
        Realised emission relative to what the weights promise; by default the rulebook's `emission_factor` then.
    seed : int
        For the bootstrap.

    Returns
    -------
    list of Estimate
        In the field's order.
    """
    final = {s.miner: s.weight for s in standings(field, [when]) if s.competition == ""}
    drawn = [_drawn_weights(field, name, board, when, seed) for name, board in field.boards.items()]
    tail = (1.0 - LEVEL) / 2.0
    known = [one for one in drawn if one is not None]
    bounds = np.quantile(np.sum(known, axis=0), [tail, 1.0 - tail], axis=0).T if len(known) == len(drawn) else None
    factor = emission * (emission_factor(field, when) if correction is None else correction)
    out = []
    for i, miner in enumerate(field.miners):
        weight = final.get(miner, 0.0)
        if bounds is None:
            out.append(Estimate(miner, weight, None, None, weight * factor, None, None))
            continue
        a, b = min(float(bounds[i, 0]), weight), max(float(bounds[i, 1]), weight)
        out.append(Estimate(miner, weight, a, b, weight * factor, a * factor, b * factor))
    return out


def _drawn_weights(field: Field, name: str, board: Board, when: int, seed: int) -> Floats | None:
    """Return weights under resampled prompts of the window, in blocks: (replications, m); None if these are too few."""
    competition, rules = field.competition(name, when)
    size = len(field.miners)
    inside = (board.scored > when - competition.window) & (board.scored <= when)
    if not inside.any():
        return np.zeros((REPLICATIONS, size))
    seen = (~np.isnan(board.scores[inside])).any(axis=0)
    scores = board.filled()[inside]
    mass = np.array([rules.weight(asset) for asset in board.assets[inside]])
    # Prompts with the same start time are correlated, so they are drawn together.
    sums = Means.of(Bins.of(board.starts[inside]), {"mass": mass} | {str(i): mass * scores[:, i] for i in range(size)})
    times = np.array([start for (start,) in sums.keys], np.int64)
    weighted, masses = np.stack([sums.total[str(i)] for i in range(size)], axis=1), sums.total["mass"]
    dependence = Dependence.of(weighted[:, seen] / masses[:, None], overlap_of(times, board.horizon))
    if not dependence.enough:
        return None
    block = dependence.block
    rng = RandomStream.of(seed, "field", f"earnings/{name}", when).generator()
    drawn = resampled_means(np.column_stack([weighted, masses]), block, rng, REPLICATIONS)
    averages = drawn[:, :-1] / drawn[:, -1:]
    averages += (averages - weighted.sum(axis=0) / masses.sum()) * (widening(len(times), block) - 1.0)
    averages[:, ~seen] = np.inf
    return np.array([competition.share * softmax_weights(row, competition.beta) for row in averages])


def missing_effects(
    field: Field, miner: str, when: int, shares: Sequence[float], *, seed: int = 0
) -> list[MissingEffect]:
    """Return the cost to a miner of not answering some of its prompts.

    Parameters
    ----------
    field : Field
    miner : str
    when : int
        End of the rolling windows, seconds since 1970-01-01 UTC.
    shares : sequence of float
        Shares of the prompts, between 0 and 1; larger shares contain the smaller ones' prompts.
    seed : int
    """
    rng = RandomStream.of(seed, "field", f"missing/{miner}", when).generator()
    draws = rng.random(len(field.crps))
    before = {s.competition: s for s in standings(field, [when]) if s.miner == miner}
    if "" not in before:
        return []  # no weight yet, hence nothing to lose
    out = []
    for share in shares:
        after = {s.competition: s for s in standings(field.without(miner, draws < share), [when]) if s.miner == miner}
        total, kept = after.get(""), [name for name in before if name and name in after]
        out.append(
            MissingEffect(
                miner=miner,
                share=share,
                averages={name: after[name].average - before[name].average for name in kept},
                weight=total.weight if total else 0.0,
                weight_before=before[""].weight,
                rank=total.rank if total else len(field.miners),
                rank_before=before[""].rank,
            )
        )
    return out
