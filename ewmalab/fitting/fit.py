"""`fit`: from bars to the artifact of `seasonal-har`."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from ewmalab.errors import MissingDataError
from ewmalab.fitting.curves import DESIGNS, Design, Windows, edges_of, fit_curves, windows
from ewmalab.fitting.seasons import day_seasons, week_season
from ewmalab.forecast import har_kernels as hk
from ewmalab.forecast.artifact import FORMAT
from ewmalab.forecast.seasonal_har import HALF_LIVES, Curve, SeasonalHar, Shocks
from ewmalab.forecast.streams import RandomStream
from ewmalab.market.bars import Bars
from ewmalab.rulebook import Rulebook, iso

_SESSIONS = ("equity", "index")  # classes that follow the US cash session
_LEVEL, _WAVE, _WAVE_HALF_LIFE, _NU = 0.3, 0.5, 10_800, 20.0


def fit(bars: Mapping[str, Bars], rulebook: Rulebook, *, end: int) -> dict[str, Any]:
    """Estimate seasonality, volatility curve and the shocks' scale of each asset from bars before a time.

    Parameters
    ----------
    bars : mapping of asset to Bars
        Those labelled from `end` on are not looked at.
    rulebook : Rulebook
    end : int
        Seconds since 1970-01-01 UTC: the present of the fit.

    Returns
    -------
    dict
        The artifact: plain numbers, texts and lists.

    Raises
    ------
    MissingDataError
        If an asset has too few bars.
    """
    known = {asset: own.known_at(end) for asset, own in bars.items()}
    equities = {a: b for a, b in known.items() if rulebook.asset(a).asset_class in _SESSIONS}
    seasons = {a: week_season(b) for a, b in known.items() if a not in equities}
    if equities:
        seasons |= day_seasons(equities)
    entries: dict[str, dict[str, Any]] = {}
    made: dict[str, tuple[Bars, np.ndarray]] = {}
    for asset, own in known.items():
        forecaster = SeasonalHar(rulebook.asset(asset), seasons[asset], {}, {})
        states = np.empty((len(own), hk.FIRST + len(HALF_LIVES)))
        forecaster.follow(forecaster.initial_state(), own, states)
        made[asset] = own, states
        season = seasons[asset]
        entries[asset] = {
            "season": {"clock": season.clock, "level": season.level.tolist(), "minute": season.minute.tolist()},
            "curves": {}, "shocks": {}, "bars": own.digest(), "from": iso(int(own.timestamp[0])),
        }  # fmt: skip
    for design in DESIGNS:
        found = {}
        for asset, (own, states) in made.items():
            seen = windows(own, seasons[asset], states, design, int(own.timestamp[0]), end)
            if len(seen.outcomes) < 100:
                raise MissingDataError(f"{asset}: {len(seen.outcomes)} windows are too few to fit {design.length} s")
            found[asset] = seen
        for asset, curve in fit_curves(found, design).items():
            entries[asset]["curves"][str(design.step)] = {
                "knots": curve.knots.tolist(), "memories": list(curve.memories), "level": curve.level.tolist(),
                "slopes": curve.slopes.tolist(),
            }  # fmt: skip
            scale = _scale(found[asset], curve, design)
            shocks = Shocks(scale, _NU, _LEVEL, _WAVE, _WAVE_HALF_LIFE)
            entries[asset]["shocks"][str(design.step)] = {
                name: getattr(shocks, name) for name in ("scale", "nu", "level", "wave", "wave_half_life")
            }
    classes = {asset: rulebook.asset(asset).asset_class for asset in entries}
    pooled = {
        name: _pooled([entry for asset, entry in entries.items() if classes[asset] == name])
        for name in dict.fromkeys(classes.values())
    }
    return {
        "format": FORMAT, "end": iso(end), "half_lives": list(HALF_LIVES), "assets": entries, "pooled": pooled,
    }  # fmt: skip


def _pooled(entries: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what the assets of a class have in common, for one without a history of its own."""
    seasons = [entry["season"] for entry in entries]
    return {
        "season": {
            "clock": seasons[0]["clock"],
            "level": np.exp(np.mean([np.log(s["level"]) for s in seasons], axis=0)).tolist(),
            "minute": np.mean([s["minute"] for s in seasons], axis=0).tolist(),
        },
        "curves": {
            step: curve | {"level": np.mean([entry["curves"][step]["level"] for entry in entries], axis=0).tolist()}
            for step, curve in entries[0]["curves"].items()
        },
        "shocks": {
            step: shocks | {"scale": float(np.mean([entry["shocks"][step]["scale"] for entry in entries]))}
            for step, shocks in entries[0]["shocks"].items()
        },
        "of": len(entries),
    }


def _scale(found: Windows, curve: Curve, design: Design) -> float:
    """Return the factor with which simulated stretches move as much, in the mean, as those of history.

    The curve is that of a Student-t's scale; the shocks are others, and add up over a stretch.
    """
    expected = found.logs @ curve.slopes.T + curve.level
    history = np.abs(found.outcomes / np.exp(expected)).mean(axis=0)
    steps = design.length // design.step
    out = np.empty((steps + 1, 4000), np.float32)
    persistence = 0.5 ** (design.step / _WAVE_HALF_LIFE)
    lanes = RandomStream.of(0, "", "scale", design.step).lanes(2000)
    hk.stochastic_volatility_paths(lanes, _NU, _LEVEL, _WAVE, persistence, np.ones(steps, np.float32), out)
    edges = np.minimum(np.array(_step_edges(design)), steps)
    simulated = [float(np.abs(out[b] - out[a]).mean() / np.sqrt(b - a)) for a, b in pairwise(edges.tolist())]
    return float(np.exp(np.mean(np.log(history / np.array(simulated)))))


def _step_edges(design: Design) -> list[int]:
    minutes = design.step // 60
    edges = [round(edge / minutes) for edge in edges_of(design)]
    return [max(edge, i) for i, edge in enumerate(edges)]
