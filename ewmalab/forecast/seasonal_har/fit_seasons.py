"""Estimate how volatile a market is by the clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from ewmalab.forecast.seasonal_har.clock import CLASSES, WEEK_BINS, day_classes, week_bins
from ewmalab.forecast.seasonal_har.parts import Season
from ewmalab.market.bars import Bars
from ewmalab.rulebook import Asset
from ewmalab.times import DAY, MINUTE

Floats = npt.NDArray[np.float64]
_DAY_BINS = WEEK_BINS // 7
MIN_DAYS = {False: 7, True: 4}
"""Fewest days of bars for a season, by whether the asset follows the cash session."""
_OWN = 0.7  # weight of an equity's own profile against that of all
_WEEKS = 2.0  # an asset with this many weeks has half the weight in its own season, against those of its class
PRIOR_WEEKS = {"week": 6.0, "day": 4.0}
"""By clock: an asset with this many weeks has half the weight in its own season, against that of the prior."""
_CHANCE = 0.037  # variance of the logarithm of a part of the trading day, estimated from one week
_SESSION_STEP = 300  # seconds; one-minute moves would count the bounces of closes in quiet hours
_MIN_SEEN = 6  # fewest moves that estimate a part of the trading day
_POWER = 0.5  # of the absolute returns that are averaged, so that a few large ones do not dominate


def moves(bars: Bars, step: int) -> tuple[npt.NDArray[np.int64], Floats]:
    """Return label and absolute log-return of each whole step (seconds) between existing closes."""
    ends = bars.timestamp % step == step - MINUTE
    labels, logs = bars.timestamp[ends], np.log(bars.close[ends])
    following = np.diff(labels) == step
    return labels[1:][following] - (step - MINUTE), np.abs(np.diff(logs))[following]


def relative_moves(times: npt.NDArray[np.int64], moved: Floats) -> Floats:
    """Return absolute returns divided by their centred 7-day mean, which removes the level of the week."""
    if not len(times):
        return moved
    total = np.concatenate([[0.0], np.cumsum(moved)])
    half, minute = 7 * DAY // 2 // MINUTE, (times - times[0]) // MINUTE
    before = np.zeros(minute[-1] + 2, np.int64)  # how many lie before each minute
    before[minute + 1] = 1
    before = np.cumsum(before)
    low, high = before[np.maximum(minute - half, 0)], before[np.minimum(minute + half + 1, minute[-1] + 1)]
    mean = (total[high] - total[low]) / (high - low)
    relative: Floats = moved / np.maximum(mean, 1e-12)
    return relative


def pooled_seasons(
    bars: Mapping[str, Bars], assets: Mapping[str, Asset], targets: Mapping[str, Season]
) -> dict[str, Season]:
    """Estimate the season of each asset, shrunk towards a target or else its class, more for a shorter history.

    Parameters
    ----------
    bars : mapping of symbol to Bars
    assets : mapping of symbol to Asset
    targets : mapping of symbol to Season
        Of a prior.
    """
    sessions = {symbol: own for symbol, own in bars.items() if assets[symbol].sessions}
    found = day_seasons(sessions) if sessions else {}
    own = {symbol: week_season(b) for symbol, b in bars.items() if symbol not in sessions}
    for symbol, season in own.items():
        alike = [other for name, other in own.items() if assets[name].asset_class == assets[symbol].asset_class]
        if symbol not in targets:
            found[symbol] = mixed([season, *alike], own_share(bars[symbol], _WEEKS), bars[symbol].timestamp)
        else:
            found[symbol] = season
    for symbol, target in targets.items():
        share = season_share(bars[symbol], found[symbol], target)
        found[symbol] = mixed([found[symbol], target], share, bars[symbol].timestamp)
    return found


def own_share(bars: Bars, weeks: float) -> float:
    """Return the weight of an asset's own bars where so many weeks have half of it."""
    own = len(bars) / (7 * 1440)
    return own / (own + weeks)


def season_share(bars: Bars, own: Season, target: Season) -> float:
    """Return the weight of an asset's own season against that of a prior.

    Ten parts of a day tell whether the asset is unlike those of the prior, as an index is unlike stocks: what is apart
    beyond chance is the asset's own (James and Stein).
    """
    share = own_share(bars, PRIOR_WEEKS[target.clock])
    if target.clock != "day":
        return share
    apart = float(np.log(own.level / target.level).var())
    return max(share, 1.0 - _CHANCE / (len(bars) / (7 * 1440)) / max(apart, 1e-9))


def mixed(seasons: Sequence[Season], share: float, times: npt.NDArray[np.int64]) -> Season:
    """Return the geometric mean of a season, by its share, and others, scaled to a mean square of 1 at given times."""
    first, others = seasons[0], seasons[1:]
    weights = [share, *[(1 - share) / len(others)] * len(others)]
    level = np.exp(np.average([np.log(s.level) for s in seasons], axis=0, weights=weights))
    minute = np.exp(np.average([np.log(s.minute) for s in seasons], axis=0, weights=weights))
    return _normalised(first.clock, level, minute, times)


def week_season(bars: Bars) -> Season:
    """Estimate the season of a market that trades around the clock.

    Weekdays share a shape in 5-minute bins (lightly smoothed), times a smooth level of each weekday, shrunk by half.
    Weekends have shapes of their own, smoothed more. A factor of the minute of the hour applies to all.
    """
    times, moved = moves(bars, MINUTE)
    relative = relative_moves(times, moved) ** _POWER
    bins = week_bins(times)
    count = np.bincount(bins, minlength=WEEK_BINS).astype(np.float64)
    total = np.bincount(bins, relative, WEEK_BINS)
    mean = np.where(count > 0, total / np.maximum(count, 1), relative.mean()).reshape(7, _DAY_BINS)
    shape = _smooth(mean[:5].mean(axis=0), 1.0, wrap=True)
    flat = mean[:5] / shape
    week = np.empty((7, _DAY_BINS))
    week[:5] = shape * np.sqrt(_smooth(flat.ravel(), 6.0).reshape(5, _DAY_BINS))
    week[5:] = _smooth(mean[4:].ravel(), 6.0).reshape(3, _DAY_BINS)[1:]
    level = np.maximum(week.ravel(), 1e-3)
    minute = _minute_of_hour(times, relative / level[bins])
    return _normalised("week", level ** (1 / _POWER), minute ** (1 / _POWER), times)


def day_seasons(all_bars: Mapping[str, Bars]) -> dict[str, Season]:
    """Estimate the seasons of equities by the part of the trading day, each shrunk towards the mean of all."""
    logs, every = {}, {}
    for asset, bars in all_bars.items():
        times, moved = moves(bars, _SESSION_STEP)
        relative = relative_moves(times, moved)
        classes = day_classes(times)
        count = np.bincount(classes, minlength=len(CLASSES))
        mean = np.bincount(classes, relative, len(CLASSES)) / np.maximum(count, 1)
        mean = np.where(count >= _MIN_SEEN, mean, np.nan)
        logs[asset] = np.log(np.maximum(mean, 1e-3))
        every[asset] = bars.timestamp
    stacked = np.stack(list(logs.values()))
    counts = np.isfinite(stacked).sum(axis=0)
    pooled = np.where(counts > 0, np.nansum(stacked, axis=0) / np.maximum(counts, 1), np.nan)
    fallback = np.nanmean(pooled[[7, 8]]) if np.isfinite(pooled[[7, 8]]).any() else np.nanmin(pooled)
    pooled = np.where(np.isfinite(pooled), pooled, fallback)
    out = {}
    for asset, own in logs.items():
        level = np.exp(np.where(np.isfinite(own), _OWN * own + (1 - _OWN) * pooled, pooled))
        out[asset] = _normalised("day", level, np.ones(60), every[asset])
    return out


def _minute_of_hour(times: npt.NDArray[np.int64], left: Floats) -> Floats:
    minute = times // MINUTE % 60
    mean = np.bincount(minute, left, 60) / np.bincount(minute, minlength=60)
    factor: Floats = mean / mean.mean()
    return factor


def _smooth(values: Floats, width: float, *, wrap: bool = False) -> Floats:
    from scipy.ndimage import gaussian_filter1d

    found: Floats = gaussian_filter1d(values, width, mode="wrap" if wrap else "nearest")
    return found


def _normalised(clock: str, level: Floats, minute: Floats, times: npt.NDArray[np.int64]) -> Season:
    season = Season(clock, level, minute)
    rms = float(np.sqrt(season.variance(times).mean()))
    return Season(clock, level / rms, minute)
