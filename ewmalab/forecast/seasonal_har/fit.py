"""`fit`: from bars to the numbers of `seasonal-har`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np

from ewmalab.errors import MissingDataError
from ewmalab.forecast.seasonal_har.fit_curves import DESIGNS, Design, Floats, Past, fit_curves, standardised
from ewmalab.forecast.seasonal_har.fit_curves import windows as windows_of
from ewmalab.forecast.seasonal_har.fit_seasons import MIN_DAYS, pooled_seasons
from ewmalab.forecast.seasonal_har.fit_shocks import fit_shocks
from ewmalab.forecast.seasonal_har.parts import HALF_LIVES, Curve, Season
from ewmalab.market.bars import Bars
from ewmalab.rulebook import Asset
from ewmalab.times import DAY, iso

_MIN_WINDOWS = 100
_WINDOWS = 500
_LEVEL_DAYS = 7.0  # an asset with this many days has half the weight in its own level


def fit(
    bars: Mapping[str, Bars], assets: Mapping[str, Asset], *, end: int, windows: bool = False, threads: int = 1
) -> dict[str, Any]:
    """Estimate seasonality, volatility curve and shocks of each asset from bars before a time.

    Slopes are common to all assets. Seasons and levels are shrunk towards those of the asset's class, more for a
    shorter history. An asset with too few bars gets no entry; forecasters then use the pooled entry of its class.

    Parameters
    ----------
    bars : mapping of asset to Bars
        Bars not closed at `end` are ignored.
    assets : mapping of asset to Asset
    end : int
        Time of the fit, seconds since 1970-01-01 UTC.
    windows : bool
        Whether to keep past windows, for historical simulation; they make the artifact large.
    threads : int
        The result does not depend on it.

    Returns
    -------
    dict
        Plain numbers, strings and lists.

    Raises
    ------
    MissingDataError
        If no asset has enough bars.
    """
    known = {asset: bars[asset].known_at(end) for asset in sorted(bars)}
    short = {asset: len(own) for asset, own in known.items() if len(own) < min_bars(assets[asset])}
    known = {asset: own for asset, own in known.items() if asset not in short}
    if not known:
        found = ", ".join(f"{a} {count:,} of {min_bars(assets[a]):,}" for a, count in short.items())
        raise MissingDataError(f"too few bars before {iso(end)}: {found}")
    classes = {asset: assets[asset].asset_class for asset in known}
    with ThreadPoolExecutor(threads) as pool:
        pasts = _each(pool, Past.of, known, pooled_seasons(known, assets))
        entries: dict[str, dict[str, Any]] = {
            asset: {"season": _season(past.season), "curves": {}, "shocks": {}, "report": {}}
            for asset, past in pasts.items()
        }
        for design in DESIGNS:
            step, curves = str(design.step), _curves(pasts, classes, design, pool)
            shaped = _each(pool, partial(_shocks, design=design, windows=windows), pasts, curves)
            lived = {asset: own for asset, (_, _, own) in shaped.items()}
            for asset, (shocks, report, _) in shaped.items():
                entries[asset]["curves"][step] = _curve(curves[asset])
                entries[asset]["shocks"][step] = shocks
                entries[asset]["report"][step] = report
                if windows:
                    entries[asset].setdefault("windows", {})[step] = _windows(asset, lived, assets)
    pooled = {
        name: _pooled([entry for asset, entry in entries.items() if classes[asset] == name])
        for name in dict.fromkeys(classes.values())
    }
    return {"half_lives": list(HALF_LIVES), "assets": entries, "pooled": pooled, "left_out": short}


def min_bars(asset: Asset) -> int:
    """Return how many bars an asset needs for a fit of its own."""
    return MIN_DAYS[asset.sessions] * 1440 - 10


def _each(pool: Executor, function: Callable[..., Any], *given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a function makes of each asset's arguments, computed side by side."""
    return dict(zip(given[0], pool.map(function, *([own[asset] for asset in given[0]] for own in given)), strict=True))


def _curves(pasts: Mapping[str, Past], classes: Mapping[str, str], design: Design, pool: Executor) -> dict[str, Curve]:
    """Fit the curves, and shrink each level towards the mean of its class."""
    found = _each(pool, partial(windows_of, design=design), pasts)
    short = [f"{asset} {len(seen.outcomes)}" for asset, seen in found.items() if len(seen.outcomes) < _MIN_WINDOWS]
    if short:
        raise MissingDataError(f"too few windows to fit {design.length} s: {', '.join(short)}")
    fitted = fit_curves(found, design, pool)
    shrunk = {}
    for asset, curve in fitted.items():
        others = np.mean([c.level for a, c in fitted.items() if classes[a] == classes[asset]], axis=0)
        days = len(pasts[asset].bars) * 60 / DAY
        own = days / (days + _LEVEL_DAYS)
        shrunk[asset] = Curve(curve.knots, curve.memories, own * curve.level + (1 - own) * others, curve.slopes)
    return shrunk


def _season(season: Season) -> dict[str, Any]:
    return {"clock": season.clock, "level": season.level.tolist(), "minute": season.minute.tolist()}


def _curve(curve: Curve) -> dict[str, Any]:
    return {
        "knots": curve.knots.tolist(),
        "memories": list(curve.memories),
        "level": curve.level.tolist(),
        "slopes": curve.slopes.tolist(),
    }


def _shocks(
    past: Past, curve: Curve, design: Design, *, windows: bool
) -> tuple[dict[str, Any], dict[str, Any], Floats | None]:
    """Return an asset's shocks, the report, and its standardised returns by start time if windows are kept."""
    left = standardised(past, curve, design)
    steps = design.length // design.step
    return asdict(fit_shocks(left, design)), _report(left, design), left[1].reshape(-1, steps) if windows else None


def _report(left: Mapping[int, Any], design: Design) -> dict[str, Any]:
    """Return the mean absolute standardised return by length, before the shocks are fitted."""
    moved = {f"{n * design.step}s": round(float(np.abs(z).mean()), 4) for n, z in left.items()}
    return {"start_times": len(left[1]) * design.step // design.length, "mean_absolute_standardised_return": moved}


def _windows(asset: str, lived: Mapping[str, Any], assets: Mapping[str, Asset]) -> list[str]:
    """Return past windows as lines of text: the asset's own; half from others of its class if it has sessions."""
    own, alike = _evenly(lived[asset], _WINDOWS), assets[asset].asset_class
    others = [z for a, z in lived.items() if a != asset and assets[a].asset_class == alike]
    if assets[asset].sessions and others:
        own = np.concatenate([_evenly(own, _WINDOWS // 2), _evenly(np.concatenate(others), _WINDOWS // 2)])
    return [" ".join(f"{z:.2f}" for z in window) for window in own]


def _evenly(rows: Any, count: int) -> Any:
    return rows[(np.arange(min(count, len(rows))) * (len(rows) / min(count, len(rows)))).astype(np.int64)]


def _pooled(entries: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the pooled entry of a class, for an asset without enough history."""
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
            step: shocks
            | {
                name: float(np.mean([entry["shocks"][step][name] for entry in entries]))
                for name in ("scale", "nu", "level", "wave")
            }
            for step, shocks in entries[0]["shocks"].items()
        },
        "of": len(entries),
    } | ({"windows": _shared_windows(entries)} if "windows" in entries[0] else {})


def _shared_windows(entries: list[dict[str, Any]]) -> dict[str, list[str]]:
    return {
        step: [
            line for entry in entries for line in _evenly(np.array(entry["windows"][step]), _WINDOWS // len(entries))
        ]
        for step in entries[0]["windows"]
    }
