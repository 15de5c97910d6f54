"""From the prompt scores of a window to each miner's share of the reward."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_COLUMNS: dict[str, type] = {
    "scored_time": np.int64,
    "miner": np.int64,
    "asset": np.str_,
    "score": np.float64,
    "fill": np.float64,
    "lowest": np.float64,
}


@dataclass(frozen=True, slots=True, eq=False)
class ScoreTable:
    """Prompt scores of one competition, a row per miner and prompt.

    Parameters
    ----------
    scored_time : (r,) int
        When validators scored the prompt, seconds since 1970-01-01 UTC; it identifies the prompt.
    miner : (r,) int
        The miner.
    asset : (r,) str
        The prompt's asset.
    score : (r,) float
        Prompt score, basis points above the best; NaN or None if there is none.
    fill, lowest : (r,) float
        The prompt's `PromptScores.fill` and `PromptScores.lowest`; NaN or None where unknown.

    Raises
    ------
    ValueError
        If a column is not one-dimensional, columns differ in length, or times or miners are not integers.
    """

    scored_time: npt.NDArray[np.int64]
    miner: npt.NDArray[np.int64]
    asset: npt.NDArray[np.str_]
    score: npt.NDArray[np.float64]
    fill: npt.NDArray[np.float64]
    lowest: npt.NDArray[np.float64]

    def __post_init__(self) -> None:
        shape = np.shape(self.scored_time)
        for name, dtype in _COLUMNS.items():
            given = np.asarray(getattr(self, name))
            if given.ndim != 1 or given.shape != shape:
                raise ValueError(f"column {name} has shape {given.shape}, scored_time {shape}")
            if dtype == np.int64 and given.size and given.dtype.kind not in "iu":
                # a cast would read nanoseconds as seconds, and 1.5 as 1
                raise ValueError(f"column {name} must hold integers, not {given.dtype}")
            object.__setattr__(self, name, given.astype(dtype))

    def between(self, after: int, until: int) -> ScoreTable:
        """Return the rows scored later than `after` and not later than `until`."""
        rows = (self.scored_time > after) & (self.scored_time <= until)
        return ScoreTable(*(getattr(self, name)[rows] for name in _COLUMNS))


@dataclass(frozen=True, slots=True, eq=False)
class Leaderboard:
    """The rolling averages and weights of the miners of one competition.

    Attributes
    ----------
    miners : (m,) int64
        Ascending.
    averages : (m,) float64
        Rolling averages, basis points; infinity for a miner without a valid score.
    weights : (m,) float64
        They sum to the competition's share, or to 0 if nobody has a valid score.
    """

    miners: npt.NDArray[np.int64]
    averages: npt.NDArray[np.float64]
    weights: npt.NDArray[np.float64]


def rolling_averages(
    table: ScoreTable, *, end: int, window: int, weights: Mapping[str, float]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Average each miner's prompt scores over a window, weighted by asset.

    A miner whose first row in the window is later than the window's first is back-filled: at each earlier
    scored time it gets that prompt's worst score, ``fill - lowest``, and its asset. Of several prompts scored
    at one time validators take the one whose row comes first. If its worst score is unknown, they add
    nothing.

    Parameters
    ----------
    table : ScoreTable
        Rows outside the window are ignored.
    end : int
        Last scored time of the window, inclusive.
    window : int
        Its length in seconds; a row scored exactly that long before `end` is outside.
    weights : mapping of str to float
        From the rulebook: ``load_rulebook().at(end).weights``; the weight of an asset that it lacks is 1.

    Returns
    -------
    miners : (m,) int64
        Miners with a row in the window, ascending.
    averages : (m,) float64
        Basis points; infinity for a miner without a valid score.
    """
    rows = table.between(end - window, end)
    miners, of_miner = np.unique(rows.miner, return_inverse=True)
    times, sample, of_time = np.unique(rows.scored_time, return_index=True, return_inverse=True)
    weight = np.array([weights.get(asset, 1.0) for asset in rows.asset.tolist()], np.float64)

    size = len(miners)
    first = np.full(size, len(times))
    np.minimum.at(first, of_miner, of_time)
    worst = (rows.fill - rows.lowest)[sample]
    known = ~np.isnan(worst)
    missed_mass = np.where(known, weight[sample], 0.0)
    missed_total = missed_mass * np.where(known, worst, 0.0)

    valid = ~np.isnan(rows.score)
    total = np.bincount(of_miner[valid], (weight * rows.score)[valid], size) + _sum_before(missed_total)[first]
    mass = np.bincount(of_miner[valid], weight[valid], size) + _sum_before(missed_mass)[first]
    averages = np.full(size, np.inf)
    np.divide(total, mass, out=averages, where=mass > 0.0)
    return miners, averages


def softmax_weights(averages: npt.ArrayLike, beta: float) -> npt.NDArray[np.float64]:
    """Return ``softmax(beta * averages)``: the miners' shares of a competition's reward.

    Parameters
    ----------
    averages : (m,) array_like
        Rolling averages; a miner at infinity gets exactly 0.
    beta : float
        Negative, because low averages are better.

    Returns
    -------
    (m,) float64
        Non-negative; they sum to 1, or are all 0 if no average is finite.

    Raises
    ------
    ValueError
        If an average is NaN.

    Examples
    --------
    >>> softmax_weights([0.0, 0.0, float("inf")], -0.1).tolist()
    [0.5, 0.5, 0.0]
    """
    values = np.asarray(averages, np.float64)
    if np.isnan(values).any():
        raise ValueError("averages hold NaN; a miner without a valid score has infinity")
    weights = np.zeros(values.shape)
    finite = np.isfinite(values)
    if finite.any():
        exponents = beta * values[finite]
        powers = np.exp(exponents - exponents.max())  # the largest exponent is 0, so nothing overflows
        weights[finite] = powers / powers.sum()
    return weights


def leaderboard(
    table: ScoreTable, *, end: int, window: int, beta: float, share: float, weights: Mapping[str, float]
) -> Leaderboard:
    """Rank the miners of one competition.

    Parameters
    ----------
    table, end, window, weights
        As in `rolling_averages`.
    beta, share : float
        Softmax coefficient and share of all reward; like `window`, from a ``Competition`` of the rulebook.

    Returns
    -------
    Leaderboard
        An empty one if no row lies in the window.
    """
    miners, averages = rolling_averages(table, end=end, window=window, weights=weights)
    return Leaderboard(miners, averages, share * softmax_weights(averages, beta))


def _sum_before(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the (n + 1,) sums of the values before each index."""
    return np.concatenate([[0.0], np.cumsum(values)])
