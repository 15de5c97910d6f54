"""From the CRPS of a field of miners to the scores of one prompt, in which the best miner has 0."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ewmalab.scoring.crps import INVALID

_MEDIAN_MULTIPLE = 10.0

Filled = tuple[npt.NDArray[np.float64], float]  # the valid scores, transformed, and the score of missing ones


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

    scores: npt.NDArray[np.float64]
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
    if transformation not in _TRANSFORMATIONS:
        known = ", ".join(_TRANSFORMATIONS)
        raise ValueError(f"unknown transformation {transformation!r}; known are {known}")
    raw = np.asarray(crps, np.float64)
    if raw.ndim != 1:
        raise ValueError(f"crps must have one dimension, a value per miner; got shape {raw.shape}")
    if not np.isfinite(raw).all():
        raise ValueError("crps holds values that are not finite; a missing answer is -1")
    valid = raw != INVALID
    if not valid.any():
        return None
    kept, fill = _TRANSFORMATIONS[transformation](raw[valid])
    scores = np.full(len(raw), fill)
    scores[valid] = kept
    lowest = float(scores.min())
    return PromptScores(scores - lowest, fill, lowest)


def _p90_cap(valid: npt.NDArray[np.float64]) -> Filled:
    cap = float(np.percentile(valid, 90))
    return np.minimum(valid, cap), cap


def _p95_fill(valid: npt.NDArray[np.float64]) -> Filled:
    return valid, float(np.percentile(valid, 95))


def _median10_cap(valid: npt.NDArray[np.float64]) -> Filled:
    cap = _MEDIAN_MULTIPLE * float(np.median(valid))
    if cap <= 0.0:  # validators cap nothing if the median is zero
        return _p95_fill(valid)
    uncapped = valid[valid <= cap]
    # At most half of a field exceeds its median, so some scores are always uncapped.
    return np.minimum(valid, cap), float(np.percentile(uncapped, 95))


_TRANSFORMATIONS: dict[str, Callable[[npt.NDArray[np.float64]], Filled]] = {
    "p90_cap": _p90_cap,
    "p95_fill": _p95_fill,
    "median10_cap": _median10_cap,
}
