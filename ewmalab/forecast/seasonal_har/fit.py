"""`fit`: from bars to the numbers of `seasonal-har`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np

from ewmalab.errors import MissingDataError
from ewmalab.forecast.protocol import Numbers
from ewmalab.forecast.seasonal_har.fit_curves import DESIGNS, Design, Floats, Past, standardised
from ewmalab.forecast.seasonal_har.fit_curves import windows as windows_of
from ewmalab.forecast.seasonal_har.fit_levels import Levelled, fit_levels
from ewmalab.forecast.seasonal_har.fit_pooled import pooled, targets_of
from ewmalab.forecast.seasonal_har.fit_seasons import MIN_DAYS, PRIOR_WEEKS, own_share, pooled_seasons
from ewmalab.forecast.seasonal_har.fit_shocks import fit_shocks
from ewmalab.forecast.seasonal_har.parts import HALF_LIVES, Curve, Fitted, Season
from ewmalab.market.bars import Bars
from ewmalab.rulebook import Asset
from ewmalab.times import iso

Entry = dict[str, Any]
"""The numbers of one asset or class in an artifact, or a part of them."""

_MIN_WINDOWS = 100
_WINDOWS = 500
SHOCK_WEEKS = 4.0
"""An asset with this many weeks has half the weight in its own shocks, against those of the prior."""


def fit(
    bars: Mapping[str, Bars],
    assets: Mapping[str, Asset],
    *,
    end: int,
    prior: Numbers | None = None,
    windows: bool = False,
    threads: int = 1,
) -> dict[str, Any]:
    """Estimate seasonality, volatility curve and shocks of each asset from bars before a time.

    Slopes are common to all assets, up to the differences between their classes in the prior. Everything is shrunk
    towards the prior's entry of the asset's class, more for a shorter history; without a prior, seasons and levels are
    shrunk towards those of the class. An asset with too few bars gets no entry; forecasters then use the pooled entry
    of its class, of this fit or else of the prior.

    Parameters
    ----------
    bars : mapping of asset to Bars
        Bars not closed at `end` are ignored.
    assets : mapping of asset to Asset
    end : int
        Time of the fit, seconds since 1970-01-01 UTC.
    prior : mapping, optional
        Numbers of an earlier fit.
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
        instead = "; no fit is needed: the prior serves" if prior else ""
        raise MissingDataError(f"too few bars before {iso(end)}: {found}{instead}")
    targets = targets_of(prior, {asset: assets[asset] for asset in known})
    seasons = pooled_seasons(known, assets, {asset: target.season for asset, target in targets.items()})
    with ThreadPoolExecutor(threads) as pool:
        task = _Task(_each(pool, Past.of, known, seasons), assets, targets, windows, pool)
        entries, shared = task.entries()
    inherited = {name: entry | {"prior": True} for name, entry in prior["pooled"].items()} if prior else {}
    return {"half_lives": list(HALF_LIVES), "assets": entries, "pooled": inherited | shared, "left_out": short}


@dataclass(frozen=True)
class _Task:
    """What is fitted, and what it is shrunk towards."""

    pasts: Mapping[str, Past]
    assets: Mapping[str, Asset]
    targets: Mapping[str, Fitted]
    windows: bool
    pool: Executor

    def entries(self) -> tuple[dict[str, Entry], dict[str, Entry]]:
        """Return the entry of each asset, and that of each class."""
        classes = {asset: self.assets[asset].asset_class for asset in self.pasts}
        entries = {asset: self._begun(asset) for asset in self.pasts}
        common: dict[str, Entry] = {asset: {} for asset in self.pasts}
        for design in DESIGNS:
            step, curves = str(design.step), self._curves(classes, design)
            found = _each(self.pool, partial(self._shocks, design), {a: a for a in curves}, curves)
            lived = {asset: own for asset, (_, _, own) in found.items()}
            for asset, (shocks, report, _) in found.items():
                entries[asset]["curves"][step] = _curve(curves[asset].curve)
                common[asset][step] = _curve(curves[asset].homogeneous)
                entries[asset]["shocks"][step] = shocks
                entries[asset]["report"][step] = report
                if self.windows:
                    entries[asset].setdefault("windows", {})[step] = _windows(asset, lived, self.assets)
        days = {asset: past.days for asset, past in self.pasts.items()}
        shared = pooled({asset: entry | {"curves": common[asset]} for asset, entry in entries.items()}, classes, days)
        for name, entry in shared.items() if self.windows else ():
            entry["windows"] = _shared_windows([own for asset, own in entries.items() if classes[asset] == name])
        return entries, shared

    def _begun(self, asset: str) -> Entry:
        """Return an entry with the season, and the share of the asset's own bars in it."""
        past, target = self.pasts[asset], self.targets.get(asset)
        own = 1.0 if target is None else own_share(past.bars, PRIOR_WEEKS[target.season.clock])
        return {
            "season": _season(past.season),
            "smoothness": past.smoothness,
            "own": round(own, 3),
            "curves": {},
            "shocks": {},
            "report": {},
        }

    def _curves(self, classes: Mapping[str, str], design: Design) -> dict[str, Levelled]:
        """Fit the curves, and shrink slopes and levels."""
        found = _each(self.pool, partial(windows_of, design=design), self.pasts)
        short = [f"{asset} {len(seen.outcomes)}" for asset, seen in found.items() if len(seen.outcomes) < _MIN_WINDOWS]
        if short:
            raise MissingDataError(f"too few windows to fit {design.length} s: {', '.join(short)}")
        return fit_levels(found, self.pasts, classes, design, self.pool, self.targets)

    def _shocks(self, design: Design, asset: str, levelled: Levelled) -> tuple[Entry, Entry, Floats | None]:
        """Return an asset's shocks, the report, and its standardised returns by start time if windows are kept."""
        past, target = self.pasts[asset], self.targets.get(asset)
        left = standardised(past, levelled.curve, design)
        aim = target.shocks[design.step] if target else None
        shocks = fit_shocks(left, design, aim, own_share(past.bars, SHOCK_WEEKS))
        lived = left[1].reshape(-1, design.length // design.step) if self.windows else None
        return asdict(shocks), _report(left, design), lived


def min_bars(asset: Asset) -> int:
    """Return how many bars an asset needs for a fit of its own."""
    return MIN_DAYS[asset.sessions] * 1440 - 10


def _each(pool: Executor, function: Callable[..., Any], *given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a function makes of each asset's arguments, computed side by side."""
    return dict(zip(given[0], pool.map(function, *([own[asset] for asset in given[0]] for own in given)), strict=True))


def _season(season: Season) -> Entry:
    return {"clock": season.clock, "level": season.level.tolist(), "minute": season.minute.tolist()}


def _curve(curve: Curve) -> Entry:
    return {
        "knots": curve.knots.tolist(),
        "memories": list(curve.memories),
        "trends": list(curve.trends),
        "level": curve.level.tolist(),
        "slopes": curve.slopes.tolist(),
    }


def _report(left: Mapping[int, Any], design: Design) -> Entry:
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


def _shared_windows(entries: list[Entry]) -> dict[str, list[str]]:
    return {
        step: [
            line for entry in entries for line in _evenly(np.array(entry["windows"][step]), _WINDOWS // len(entries))
        ]
        for step in entries[0]["windows"]
    }
