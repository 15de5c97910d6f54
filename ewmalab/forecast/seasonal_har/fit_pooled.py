"""What assets of one class share: the pooled entries of a fit, and those of a prior as targets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ewmalab.forecast.protocol import Numbers
from ewmalab.forecast.seasonal_har.parts import Fitted
from ewmalab.rulebook import Asset


def targets_of(prior: Numbers | None, assets: Mapping[str, Asset]) -> dict[str, Fitted]:
    """Return the prior's entry of each asset's class, where it has one with the asset's clock."""
    shared = prior["pooled"] if prior else {}
    found = {symbol: Fitted.of(shared[a.asset_class]) for symbol, a in assets.items() if a.asset_class in shared}
    return {s: one for s, one in found.items() if (one.season.clock == "day") == assets[s].sessions}


def pooled(
    entries: Mapping[str, Mapping[str, Any]], classes: Mapping[str, str], days: Mapping[str, float]
) -> dict[str, dict[str, Any]]:
    """Return an entry for each class: means of its assets, weighted by their days.

    Parameters
    ----------
    entries : mapping of asset to entry
        With homogeneous curves, which serve assets of any volatility.
    classes : mapping of asset to str
    days : mapping of asset to float
    """
    found = {}
    for name in dict.fromkeys(classes.values()):
        alike = [asset for asset in entries if classes[asset] == name]
        found[name] = _mean([entries[a] for a in alike], [days[a] for a in alike]) | {"of": len(alike)}
    return found


def _mean(entries: list[Mapping[str, Any]], weights: list[float]) -> dict[str, Any]:
    def mean(values: list[Any]) -> Any:
        return np.average(np.array(values), axis=0, weights=weights).tolist()

    def geometric(values: list[Any]) -> Any:
        return np.exp(mean(np.log(np.array(values)))).tolist()

    seasons, steps = [entry["season"] for entry in entries], entries[0]["curves"]
    curves = {step: [entry["curves"][step] for entry in entries] for step in steps}
    shocks = {step: [entry["shocks"][step] for entry in entries] for step in steps}
    return {
        "season": {
            "clock": seasons[0]["clock"],
            "level": geometric([s["level"] for s in seasons]),
            "minute": geometric([s["minute"] for s in seasons]),
        },
        "smoothness": geometric([entry["smoothness"] for entry in entries]),
        "curves": {
            step: own[0] | {name: mean([c[name] for c in own]) for name in ("level", "slopes")}
            for step, own in curves.items()
        },
        "shocks": {
            step: own[0] | {name: mean([s[name] for s in own]) for name in ("scale", "nu", "level", "wave")}
            for step, own in shocks.items()
        },
    }
