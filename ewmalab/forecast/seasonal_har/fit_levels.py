"""Levels of the volatility curves, shrunk towards a prior or the assets of a class."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from math import log

import numpy as np

from ewmalab.errors import ForecasterError
from ewmalab.forecast.seasonal_har.fit_curves import RIDGE, RIDGE_ALONE, Design, Floats, Past, Windows, fit_curves
from ewmalab.forecast.seasonal_har.parts import SMOOTHED, Curve, Fitted

_LEVEL_DAYS = 7.0  # an asset with this many days has half the weight in its own level, against those of its class
PRIOR_DAYS = {300: 28.0, 60: 28.0}
"""By increment: an asset with this many days has half the weight in its own level, against that of the prior."""


@dataclass(frozen=True, slots=True)
class Levelled:
    """An asset's curve, and the one of equal value at its mean state that serves markets of any volatility."""

    curve: Curve
    homogeneous: Curve


def fit_levels(
    found: Mapping[str, Windows],
    pasts: Mapping[str, Past],
    classes: Mapping[str, str],
    design: Design,
    pool: Executor,
    targets: Mapping[str, Fitted],
) -> dict[str, Levelled]:
    """Fit the curves, and shrink each level.

    Parameters
    ----------
    found : mapping of asset to Windows
    pasts : mapping of asset to Past
    classes : mapping of asset to str
    design : Design
    pool : Executor
    targets : mapping of asset to Fitted
        Entries of a prior.
    """
    step, memories, longest = design.step, len(design.memories), len(design.memories) - 1
    equal = np.zeros((len(design.knots), memories + len(design.trends)))
    equal[:, :memories] = 1.0 / memories
    aims = {asset: targets[asset].curves[step].slopes if asset in targets else equal for asset in found}
    if any(aim.shape != equal.shape for aim in aims.values()):
        raise ForecasterError(
            "seasonal-har: the prior's curves are of another version: make it again, or set fit.prior"
        )
    days = float(np.mean([past.days for past in pasts.values()]))
    fitted = fit_curves(found, design, pool, aims, RIDGE[step] / days if targets else RIDGE_ALONE)
    means = {asset: own.logs.mean(axis=0) for asset, own in found.items()}
    values = {asset: value_at(curve, means[asset]) for asset, curve in fitted.items()}
    shrunk = {}
    for asset, curve in fitted.items():
        past = pasts[asset]
        if asset in targets:
            other = _of_prior(targets[asset], step, means[asset], past.smoothness)
            own = past.days / (past.days + PRIOR_DAYS[step])
        else:
            alike = [a for a in fitted if classes[a] == classes[asset]]
            other = np.mean([values[a] - means[a][longest] for a in alike], axis=0) + means[asset][longest]
            own = past.days / (past.days + _LEVEL_DAYS)
        moved = replace(curve, level=curve.level + (1 - own) * (other - values[asset]))
        shrunk[asset] = Levelled(moved, moved.homogeneous(means[asset]))
    return shrunk


def value_at(curve: Curve, logs: Floats) -> Floats:
    """Return the log-volatility at the knots for given averages: (J,) float64."""
    found: Floats = curve.level + curve.slopes @ logs
    return found


def _of_prior(target: Fitted, step: int, logs: Floats, smoothness: float) -> Floats:
    """Return the log-volatility that the prior expects at given averages, for closes of a given smoothness."""
    changed = SMOOTHED[step] * log(smoothness / target.smoothness) if target.smoothness else 0.0
    return value_at(target.curves[step], logs) + changed
