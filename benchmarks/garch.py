"""A rival for benchmarks: GARCH(1,1) with Student-t shocks, fitted by maximum likelihood with `arch`."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from arch import arch_model
from numba import njit

from ewmalab.forecast.protocol import LogReturns, Prompt
from ewmalab.forecast.streams import RandomStream
from ewmalab.market.bars import Bars
from ewmalab.rulebook import Asset

_DAYS = {60: 30, 300: 150}
"""Of history that the fit of each increment sees: the likelihood of 43 000 returns takes about a second."""


def fit_garch(bars: Bars, step: int) -> dict[str, float]:
    """Fit to log-returns over `step` seconds, in basis points."""
    newest = bars.between(int(bars.timestamp[-1]) - _DAYS[step] * 86_400, int(bars.timestamp[-1]) + 1)
    closes = newest.close[newest.timestamp % step == step - 60]
    returns = 1e4 * np.diff(np.log(closes))
    found = arch_model(returns, mean="Zero", vol="GARCH", p=1, q=1, dist="t", rescale=False).fit(
        disp="off", show_warning=False, options={"maxiter": 500}
    )
    if found.convergence_flag:
        print(f"  a GARCH fit did not converge ({step} s, flag {found.convergence_flag})", flush=True)
    return {name: float(found.params[key]) for name, key in
            (("omega", "omega"), ("alpha", "alpha[1]"), ("beta", "beta[1]"), ("nu", "nu"))}  # fmt: skip


class Garch:
    """The forecaster; `fits` names a file that holds per asset ``{"60": {...}, "300": {...}}``."""

    def __init__(self, asset: Asset, fits: str) -> None:
        known = json.loads(Path(fits).read_text())
        self.steps = {int(step): dict(p) for step, p in known[asset.symbol].items()}

    def initial_state(self) -> dict[str, Any]:
        """Return the state before any bar."""
        return {"last": {}, "variance": {}}

    def update(self, state: dict[str, Any], bars: Bars) -> dict[str, Any]:
        """Follow the closes at multiples of each increment."""
        new: dict[str, Any] = {"last": dict(state["last"]), "variance": dict(state["variance"])}
        for step, p in self.steps.items():
            closes = bars.close[bars.timestamp % step == step - 60]
            if not len(closes):
                continue
            if str(step) in new["last"]:
                closes = np.concatenate([[new["last"][str(step)]], closes])
            first = new["variance"].get(str(step), p["omega"] / max(1e-3, 1 - p["alpha"] - p["beta"]))
            returns = 1e4 * np.diff(np.log(closes))
            new["variance"][str(step)] = _follow(first, returns, p["omega"], p["alpha"], p["beta"])
            new["last"][str(step)] = float(closes[-1])
        return new

    def simulate(self, state: dict[str, Any], prompt: Prompt, stream: RandomStream) -> LogReturns:
        """Run the recursion along each path."""
        p, step = self.steps[prompt.time_increment], str(prompt.time_increment)
        shape = (prompt.steps, prompt.num_simulations)
        shocks = stream.generator().standard_t(p["nu"], shape) * math.sqrt((p["nu"] - 2) / p["nu"])
        paths = _paths(state["variance"][step], shocks, p["omega"], p["alpha"], p["beta"])
        return (
            np.concatenate([np.zeros((1, shape[1])), 1e-4 * np.cumsum(paths, axis=0)]).clip(-30, 30).astype(np.float32)
        )

    def dump_state(self, state: dict[str, Any]) -> dict[str, Any]:
        """Return the state."""
        return state

    def load_state(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """Return the state."""
        return dict(data)


@njit(cache=True)
def _follow(variance, returns, omega, alpha, beta):
    for r in returns:
        variance = omega + alpha * r * r + beta * variance
    return variance


@njit(cache=True)
def _paths(variance, shocks, omega, alpha, beta):
    out = np.empty(shocks.shape)
    h = np.full(shocks.shape[1], variance)
    for t in range(shocks.shape[0]):
        for j in range(shocks.shape[1]):
            r = math.sqrt(h[j]) * shocks[t, j]
            out[t, j] = r
            h[j] = omega + alpha * r * r + beta * h[j]
    return out
