"""Fit the shocks' shape and scale to the standardised returns, by CRPS over the scored lengths."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache

import numpy as np
import numpy.typing as npt

from ewmalab.forecast.seasonal_har import kernels as hk
from ewmalab.forecast.seasonal_har.fit_curves import Design
from ewmalab.forecast.seasonal_har.fit_kernels import crps_by_scale
from ewmalab.forecast.seasonal_har.parts import Shocks
from ewmalab.forecast.streams import RandomStream

Floats = npt.NDArray[np.float64]

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


def fit_shocks(seen: Mapping[str, Mapping[int, Floats]], design: Design) -> dict[str, Shocks]:
    """Return, for each asset, the shape and scale that minimise the sum of CRPS over the scored lengths.

    Parameters
    ----------
    seen : mapping of asset to mapping of length to (n,) float64
        From `ewmalab.forecast.seasonal_har.fit_curves.standardised`.
    design : Design
    """
    draws = cache(lambda shape: unit_draws(design, shape))
    return {
        asset: _fit_one({n: _sample(z, _OBSERVED) for n, z in own.items()}, design, draws)
        for asset, own in seen.items()
    }


def _fit_one(observed: Mapping[int, Floats], design: Design, draws: Callable[[Shocks], Mapping[int, Floats]]) -> Shocks:
    steps = design.length // design.step
    tried: dict[Shocks, tuple[float, float]] = {}

    def value(shape: Shocks) -> float:
        if shape not in tried:
            total = np.zeros(len(_SCALES))
            for length, z in observed.items():  # number of changes times the root of their length
                total += steps // length * np.sqrt(length) * crps_by_scale(z, draws(shape)[length], _SCALES)
            tried[shape] = _minimum(total)
        return tried[shape][1]

    shape = _FIRST
    for _ in range(_ROUNDS):
        for name, values in SHAPES.items():
            shape = min((_with(shape, name, x) for x in values), key=value)
    return replace(shape, scale=tried[shape][0])


def _with(shape: Shocks, name: str, value: float) -> Shocks:
    return replace(shape, **{name: value})  # type: ignore[arg-type]


def unit_draws(design: Design, shape: Shocks) -> dict[int, Floats]:
    """Return simulated returns over each scored length, sorted, for a volatility of one over that length."""
    steps = design.length // design.step
    out = np.empty((steps + 1, 2 * _PATHS), np.float32)
    lanes = RandomStream.of(0, "", "shocks", design.step).lanes(_PATHS)
    persistence = 0.5 ** (design.step / shape.wave_half_life)
    hk.stochastic_volatility_paths(
        lanes, shape.nu, shape.level, shape.wave, persistence, np.ones(steps, np.float32), out
    )
    return {n: _sample(np.diff(out[::n], axis=0).ravel() / np.sqrt(n), _DRAWS) for n in design.lengths}


def _sample(values: npt.NDArray[np.floating], count: int) -> Floats:
    """Return at most `count` of the values, evenly spaced by rank."""
    ordered = np.sort(values.astype(np.float64))
    if len(ordered) <= count:
        return ordered
    return ordered[((np.arange(count) + 0.5) * (len(ordered) / count)).astype(np.int64)]


def _minimum(total: Floats) -> tuple[float, float]:
    """Return the scale and the value at the minimum of the parabola through the three smallest values."""
    k = int(np.clip(np.argmin(total), 1, len(_SCALES) - 2))
    left, middle, right = total[k - 1 : k + 2]
    shift = 0.5 * (left - right) / (left - 2 * middle + right)
    return float(_SCALES[k] * (_SCALES[1] / _SCALES[0]) ** shift), float(middle - 0.25 * (left - right) * shift)
