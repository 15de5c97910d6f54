"""From the CRPS of a field of miners to the scores of one prompt, in which the best miner has 0."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ewmalab.scoring.crps import INVALID

_MEDIAN_MULTIPLE = 10.0
_NOT_FINITE = "crps holds values that are not finite; a missing answer is -1"

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Filled = tuple[Floats, Floats]  # of each prompt: the largest score, and the score of missing answers


@dataclass(frozen=True, slots=True, eq=False)
class PromptScores:
    """The scores of one prompt.

    Attributes
    ----------
    scores : (n,) float64
        One per miner, basis points above the best.
    fill : float
        The CRPS given to missing and invalid answers.
    lowest : float
        The subtracted CRPS of the best; late joiners are back-filled with ``fill - lowest``.
    """

    scores: Floats
    fill: float
    lowest: float


def prompt_scores(crps: npt.ArrayLike, transformation: str) -> PromptScores | None:
    """Turn the CRPS of a field of miners into prompt scores.

    Parameters
    ----------
    crps : (n,) array_like
        Basis points, one per miner; -1 where the answer is missing or invalid.
    transformation : {"p90_cap", "p95_fill", "median10_cap"}
        From the rulebook: ``load_rulebook().at(date).transformation``.

        * ``p90_cap`` caps valid scores at their 90th percentile, which missing ones get as well;
        * ``p95_fill`` caps nothing and gives missing ones the 95th percentile of the valid ones;
        * ``median10_cap`` caps at ten times the median of the valid scores and gives missing ones the 95th
          percentile of the uncapped ones.

    Returns
    -------
    PromptScores or None
        None if no score is valid; validators drop such a prompt.

    Raises
    ------
    ValueError
        If the transformation is unknown, or `crps` is not one-dimensional or not finite.

    Examples
    --------
    >>> prompt_scores([30.0, -1.0, 10.0], "p95_fill").scores.tolist()
    [20.0, 19.0, 0.0]
    """
    raw = np.asarray(crps, np.float64)
    if raw.ndim != 1:
        raise ValueError(f"crps must have one dimension, a value per miner; got shape {raw.shape}")
    if np.isnan(raw).any():
        raise ValueError(_NOT_FINITE)
    scores, fill, lowest = table_scores(raw[None, :], transformation)
    return None if np.isnan(fill[0]) else PromptScores(scores[0], float(fill[0]), float(lowest[0]))


def table_scores(crps: Floats, transformation: str) -> tuple[Floats, Floats, Floats]:
    """Return the prompt scores of several prompts.

    Parameters
    ----------
    crps : (p, m) float64
        As in `prompt_scores`, a row per prompt; NaN where a miner does not take part.
    transformation : str
        As in `prompt_scores`.

    Returns
    -------
    scores : (p, m) float64
        NaN where a miner does not take part, or no score of the prompt is valid.
    fill, lowest : (p,) float64
        As in `PromptScores`; NaN if no score is valid.

    Raises
    ------
    ValueError
        If the transformation is unknown, or `crps` is infinite.
    """
    if transformation not in _TRANSFORMATIONS:
        known = ", ".join(_TRANSFORMATIONS)
        raise ValueError(f"unknown transformation {transformation!r}; known are {known}")
    if np.isinf(crps).any():
        raise ValueError(_NOT_FINITE)
    absent = np.isnan(crps)
    valid = ~absent & (crps != INVALID)
    counts = valid.sum(axis=1)
    ordered = np.sort(np.where(valid, crps, np.inf), axis=1)
    cap, fill = _TRANSFORMATIONS[transformation](ordered, counts)
    scores = np.where(valid, np.minimum(crps, cap[:, None]), fill[:, None])
    lowest = np.min(np.where(absent, np.inf, scores), axis=1, initial=np.inf)
    lowest[counts == 0] = np.nan
    return np.where(absent, np.nan, scores - lowest[:, None]), fill, lowest


def _p90_cap(ordered: Floats, counts: Ints) -> Filled:
    cap = _of_first(ordered, counts, lambda valid: np.percentile(valid, 90, axis=1))
    return cap, cap


def _p95_fill(ordered: Floats, counts: Ints) -> Filled:
    fill = _of_first(ordered, counts, lambda valid: np.percentile(valid, 95, axis=1))
    return np.full(len(fill), np.inf), fill


def _median10_cap(ordered: Floats, counts: Ints) -> Filled:
    cap = _MEDIAN_MULTIPLE * _of_first(ordered, counts, lambda valid: np.median(valid, axis=1))
    cap[cap <= 0.0] = np.inf  # validators cap nothing if the median is zero
    # At most half of a field exceeds its median, so some scores are always uncapped.
    uncapped = np.minimum(counts, (ordered <= cap[:, None]).sum(axis=1))
    return cap, _p95_fill(ordered, uncapped)[1]


def _of_first(ordered: Floats, counts: Ints, statistic: Callable[[Floats], Floats]) -> Floats:
    """Return a statistic of the first `counts` values of each row: (p,), NaN if there are none."""
    out = np.full(len(ordered), np.nan)
    for count in np.unique(counts[counts > 0]):
        rows = counts == count
        out[rows] = statistic(ordered[rows, :count])
    return out


_TRANSFORMATIONS: dict[str, Callable[[Floats, Ints], Filled]] = {
    "p90_cap": _p90_cap,
    "p95_fill": _p95_fill,
    "median10_cap": _median10_cap,
}
