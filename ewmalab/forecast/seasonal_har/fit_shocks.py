"""Fit the shocks' shape and scale to the standardised returns, by CRPS over the scored lengths."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from ewmalab.forecast.seasonal_har.fit_curves import Design
from ewmalab.forecast.seasonal_har.fit_kernels import crps_by_scale
from ewmalab.forecast.seasonal_har.parts import Shocks
from ewmalab.forecast.seasonal_har.paths import wave_paths
from ewmalab.forecast.streams import RandomStream

Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]
Score = Callable[[Floats], Floats]

SHAPES: Mapping[str, tuple[float, ...]] = {
    "level": (0.0, 0.1, 0.2, 0.3, 0.4),
    "wave": (0.0, 0.1, 0.2, 0.35, 0.5),
    "nu": (4.0, 5.0, 6.0, 8.0, 12.0, 20.0, 50.0),
}
"""Values that are tried, one parameter after the other."""
_FIRST = Shocks(scale=1.0, nu=20.0, level=0.2, wave=0.2, wave_half_life=10_800)
_ROUNDS = 2
_PATHS, _DRAWS, _OBSERVED = 1000, 10_000, 20_000
_SCALES = np.exp(np.linspace(-0.4, 0.4, 17))


def fit_shocks(seen: Mapping[int, Floats], design: Design, target: Shocks | None = None, share: float = 1.0) -> Shocks:
    """Return the shape and scale that minimise the sum of an asset's CRPS over the scored lengths.

    Parameters
    ----------
    seen : mapping of length to (n,) float64
        From `ewmalab.forecast.seasonal_har.fit_curves.standardised`.
    design : Design
    target : Shocks, optional
        Shocks to shrink towards.
    share : float
        Weight of what was found against the target.
    """
    observed = {n: _by_rank(np.sort(z), _OBSERVED) for n, z in seen.items()}
    tried: dict[Shocks, tuple[float, float]] = {}
    place = len(_SCALES) // 2

    def value(shape: Shocks) -> float:
        nonlocal place
        if shape not in tried:
            place, scale, least = _best_scale(_score(observed, unit_draws(design, shape), design), place)
            tried[shape] = scale, least
        return tried[shape][1]

    shape = _FIRST
    for _ in range(_ROUNDS):
        for name, values in SHAPES.items():
            shape = min((_with(shape, name, x) for x in values), key=value)
    if target is None:
        return replace(shape, scale=tried[shape][0])
    for name, values in SHAPES.items():
        wanted = _between(getattr(shape, name), getattr(target, name), share, logs=name == "nu")
        shape = _with(shape, name, min(values, key=lambda x: abs(x - wanted)))
    value(shape)
    return replace(shape, scale=_between(tried[shape][0], target.scale, share, logs=True))


def _between(own: float, target: float, share: float, *, logs: bool) -> float:
    if logs:
        return float(own**share * target ** (1 - share))
    return share * own + (1 - share) * target


def _with(shape: Shocks, name: str, value: float) -> Shocks:
    return replace(shape, **{name: value})  # type: ignore[arg-type]


def _score(observed: Mapping[int, Floats], draws: Mapping[int, Floats], design: Design) -> Score:
    """Return the function from scales to the CRPS, summed over the scored lengths."""
    steps = design.length // design.step

    def score(scales: Floats) -> Floats:
        total = np.zeros(len(scales))
        for length, z in observed.items():  # number of changes times the root of their length
            total += steps // length * np.sqrt(length) * crps_by_scale(z, draws[length], scales)
        return total

    return score


def _best_scale(score: Score, place: int) -> tuple[int, float, float]:
    """Find the smallest score in `_SCALES`, and the minimum of the parabola through it and its neighbours.

    The CRPS of draws times a scale is a convex function of the scale: a mean of absolute values, less a multiple of the
    scale. A walk downhill, to the first of equal scores, therefore ends where a search of all scales would.

    Parameters
    ----------
    score : callable
    place : int
        Where the walk begins; a good guess makes it short.

    Returns
    -------
    int, float, float
        The place in `_SCALES`; scale and score at the minimum.
    """
    last = len(_SCALES) - 2
    place = min(max(place, 1), last)
    left, middle, right = score(_SCALES[place - 1 : place + 2])
    while left <= middle and place > 1:
        place, middle, right = place - 1, left, middle
        left = score(_SCALES[place - 1 : place])[0]
    while right < middle and place < last:
        place, left, middle = place + 1, middle, right
        right = score(_SCALES[place + 1 : place + 2])[0]
    shift = 0.5 * (left - right) / (left - 2 * middle + right)
    scale = _SCALES[place] * (_SCALES[1] / _SCALES[0]) ** shift
    return place, float(scale), float(middle - 0.25 * (left - right) * shift)


@lru_cache(maxsize=512)
def _moves(design: Design, shape: Shocks) -> dict[int, Singles]:
    """Return simulated returns over each scored length, ascending, for a volatility of one over a step.

    They are kept, since every asset and every refit tries much the same shapes.
    """
    steps = design.length // design.step
    stream = RandomStream.of(0, "", "shocks", design.step)
    out = wave_paths(stream, shape, design.step, np.ones(steps, np.float32), _PATHS)
    found = {}
    for n in design.lengths:
        sizes = np.sort(np.abs(np.diff(out[::n], axis=0)), axis=None)
        found[n] = _by_rank(np.concatenate([-sizes[::-1], sizes]), _DRAWS)  # with the paths' mirror images
    return found


def unit_draws(design: Design, shape: Shocks) -> dict[int, Floats]:
    """Return simulated returns over each scored length, ascending, for a volatility of one over that length."""
    return {n: moves / np.sqrt(n) for n, moves in _moves(design, shape).items()}


def _by_rank(ordered: npt.NDArray[Any], count: int) -> npt.NDArray[Any]:
    """Return at most `count` of ascending values, evenly spaced by rank."""
    if len(ordered) <= count:
        return ordered
    return ordered[((np.arange(count) + 0.5) * (len(ordered) / count)).astype(np.int64)]
