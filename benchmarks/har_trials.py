"""What was tried for `seasonal-har` and what it brought, on weeks that no fit has seen.

    python benchmarks/har_trials.py

Each trial changes the season or the features of the curve. It is judged without simulation: by the closed-form CRPS of
a Student-t (4) for returns over each paid length, the scale of each length and asset fitted to the test itself, so that
only what volatility depends on counts. Fits are monthly, on all bars of the cache (feed pyth) before their month.
Prints the change against the forecaster as it is, in percent, for both halves of the test: what differs in sign is
noise.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from unittest import mock

import numpy as np
import numpy.typing as npt
from scipy import special

import ewmalab as ew
from ewmalab.forecast.seasonal_har import SeasonalHar
from ewmalab.forecast.seasonal_har import fit_seasons as fs
from ewmalab.forecast.seasonal_har import kernels as hk
from ewmalab.forecast.seasonal_har.clock import new_york
from ewmalab.forecast.seasonal_har.fit_curves import DESIGNS, Design, Past, _fit_knot, windows
from ewmalab.forecast.seasonal_har.parts import HALF_LIVES, Curve, Fitted, Season
from ewmalab.forecast.seasonal_har.state import follow, initial_state
from ewmalab.market.bars import Bars
from ewmalab.rulebook import load_rulebook
from ewmalab.times import DAY, MINUTE, parse_time

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
ASSETS = ("BTC", "ETH", "SOL", "XAU")
CRYPTO = ASSETS[:3]
START, WEEKS, MONTH = parse_time("2025-09-15"), 17, 4
BOOK = load_rulebook()
Pasts = Mapping[str, Past]
Features = Callable[[Pasts, str, Design, Ints], Floats]


def past_of(bars: Bars, asset: str, season: Season) -> Past:
    """Return what an asset's bars were, and the states after each."""
    forecaster = SeasonalHar(BOOK.asset(asset), fitted=Fitted(season, {}, {}))
    states = np.empty((len(bars), hk.FIRST + len(HALF_LIVES)))
    follow(initial_state(), bars, forecaster.fitted.season, states)
    return Past(bars, season, states)


def logs_of(past: Past, rows: Ints, memories: tuple[int, ...]) -> Floats:
    """Return logarithms of averages."""
    chosen = [hk.FIRST + HALF_LIVES.index(memory) for memory in memories]
    return np.log(np.maximum(past.states[rows][:, chosen], 1e-7))


def as_it_is(pasts: Pasts, asset: str, design: Design, rows: Ints) -> Floats:
    return logs_of(pasts[asset], rows, design.memories)


def memories(*chosen: int) -> Features:
    return lambda pasts, asset, design, rows: logs_of(pasts[asset], rows, chosen)


def with_others(pasts: Pasts, asset: str, design: Design, rows: Ints) -> Floats:
    """Add the other coins' short memory against their long one."""
    moments = pasts[asset].bars.timestamp[rows]
    others = []
    for other in CRYPTO:
        if other != asset:
            there = np.searchsorted(pasts[other].bars.timestamp, moments, side="right") - 1
            logs = logs_of(pasts[other], there, (1800, 259_200))
            others.append(logs[:, :1] - logs[:, 1:])
    return np.hstack([as_it_is(pasts, asset, design, rows), np.mean(others, axis=0)])


def with_trend(pasts: Pasts, asset: str, design: Design, rows: Ints) -> Floats:
    """Add the last hour's and day's return, and their size."""
    own, logs = np.log(pasts[asset].bars.close), as_it_is(pasts, asset, design, rows)
    columns = []
    for minutes in (60, 1440):
        moved = (own[rows] - own[np.maximum(rows - minutes, 0)]) / np.sqrt(minutes) / np.exp(logs[:, -1])
        columns += [np.clip(moved, -5, 5), np.abs(np.clip(moved, -5, 5))]
    return np.hstack([logs, np.stack(columns, axis=1)])


def with_calendar(pasts: Pasts, asset: str, design: Design, rows: Ints) -> Floats:
    """Add the weekend, and the hour of the day as a wave."""
    local = new_york(pasts[asset].bars.timestamp[rows])
    weekend = ((local // DAY + 3) % 7 >= 5).astype(np.float64)
    turn = 2 * np.pi * (local % DAY) / DAY
    return np.hstack([as_it_is(pasts, asset, design, rows), np.stack([weekend, np.sin(turn), np.cos(turn)], axis=1)])


def with_yesterday(pasts: Pasts, asset: str, design: Design, rows: Ints) -> Floats:
    """Add how lively the coming two hours were a day ago, against that day."""
    x = np.abs(np.diff(np.log(pasts[asset].bars.close), prepend=np.log(pasts[asset].bars.close[0])))
    season = np.sqrt(pasts[asset].season.variance(pasts[asset].bars.timestamp))
    total = np.concatenate([[0.0], np.cumsum(x / season)])
    first = np.maximum(rows - 1440, 0)
    then = np.log(np.maximum((total[first + 120] - total[first]) / 120, 1e-7))
    whole = np.log(np.maximum((total[rows] - total[first]) / np.maximum(rows - first, 1), 1e-7))
    return np.hstack([as_it_is(pasts, asset, design, rows), (then - whole)[:, None]])


def pooled_seasons(bars: Mapping[str, Bars]) -> dict[str, Season]:
    """Give all coins the season that they have in common."""
    own = {asset: fs.week_season(b) for asset, b in bars.items()}
    level = np.exp(np.mean([np.log(own[a].level) for a in CRYPTO], axis=0))
    minute = np.exp(np.mean([np.log(own[a].minute) for a in CRYPTO], axis=0))
    return {a: Season("week", level, minute) if a in CRYPTO else own[a] for a in bars}


def recent_seasons(bars: Mapping[str, Bars]) -> dict[str, Season]:
    """Look at the newest 60 days only."""
    return seasons_of(
        {a: b.between(int(b.timestamp[-1]) - 60 * DAY, int(b.timestamp[-1]) + 1) for a, b in bars.items()}
    )


def seasons_of(bars: Mapping[str, Bars]) -> dict[str, Season]:
    return fs.pooled_seasons(bars, {asset: BOOK.asset(asset) for asset in bars})


def with_power(power: float) -> Callable[[Mapping[str, Bars]], dict[str, Season]]:
    def made(bars: Mapping[str, Bars]) -> dict[str, Season]:
        with mock.patch.object(fs, "_POWER", power):
            return seasons_of(bars)

    return made


def without_minutes(bars: Mapping[str, Bars]) -> dict[str, Season]:
    """Forget the minute of the hour."""
    return {a: Season(s.clock, s.level, np.ones(60)) for a, s in seasons_of(bars).items()}


def of_all(bars: Mapping[str, Bars]) -> dict[str, Season]:
    """Know the whole season, the test's included: a bound, not a forecast."""
    return ALL_SEASONS


CONSTANT = 4.0 / 3.0 * special.beta(0.5, 3.5) / special.beta(0.5, 2.0) ** 2
ALL_SEASONS: dict[str, Season] = {}


@dataclass(frozen=True)
class Trial:
    """A change and what it is called."""

    words: str
    features: Features = as_it_is
    seasons: Callable[[Mapping[str, Bars]], dict[str, Season]] = seasons_of


TRIALS = (
    Trial("memories 30 min, 3 d", memories(1800, 259_200)),
    Trial("memories 10 min, 1 h, 6 h, 2 d", memories(600, 3600, 21_600, 172_800)),
    Trial("memories, all seven", memories(*HALF_LIVES)),
    Trial("other coins' volatility", with_others),
    Trial("trend and its size", with_trend),
    Trial("weekend and hour of day", with_calendar),
    Trial("the same hours yesterday", with_yesterday),
    Trial("season: common to all coins", seasons=pooled_seasons),
    Trial("season: newest 60 days", seasons=recent_seasons),
    Trial("season: means of moves", seasons=with_power(1.0)),
    Trial("season: means of squares", seasons=with_power(2.0)),
    Trial("season: no minute of the hour", seasons=without_minutes),
    Trial("season: the test's own (a bound)", seasons=of_all),
)


def score(trial: Trial, design: Design, bars: Mapping[str, Bars]) -> dict[str, tuple[Ints, Floats]]:
    """Return start times and scores by asset."""
    found: dict[str, list[tuple[Ints, Floats, Floats]]] = {asset: [] for asset in ASSETS}
    steps, minutes = design.length // design.step, design.step // MINUTE
    tau = (np.arange(steps) + 0.5) * minutes
    for first in range(0, WEEKS, MONTH):
        begin, end = START + 7 * DAY * first, START + 7 * DAY * min(first + MONTH, WEEKS)
        seasons = trial.seasons({asset: own.between(0, begin - MINUTE) for asset, own in bars.items()})
        everything = {asset: past_of(own, asset, seasons[asset]) for asset, own in bars.items()}
        outcomes, logs = [], []
        for asset in ASSETS:
            known = everything[asset].bars.count_known_at(begin - MINUTE)
            past = Past(bars[asset].rows(0, known), seasons[asset], everything[asset].states[:known])
            _, rows = past.starts(design, design.every)
            seen = windows(past, design)
            outcomes.append(seen.outcomes)
            logs.append(
                np.repeat(trial.features(everything, asset, design, rows), len(seen.outcomes) // len(rows), axis=0)
            )
        fitted = [_fit_knot([np.ascontiguousarray(y[:, j]) for y in outcomes], logs) for j in range(len(design.knots))]
        slopes = np.stack([s for _, s in fitted])
        for i, asset in enumerate(ASSETS):
            past = everything[asset]
            starts = np.arange(
                begin, min(end, int(past.bars.timestamp[-1]) - design.length), 3600 if steps > 60 else 1200
            )
            rows = np.searchsorted(past.bars.timestamp, starts - 2 * MINUTE, side="right") - 1
            curve = Curve(np.array(design.knots), (), np.array([level[i] for level, _ in fitted]), slopes)
            log_sigma = curve.at(trial.features(everything, asset, design, rows), tau)
            place = ((starts - past.begin) // MINUTE)[:, None] + minutes * np.arange(steps + 1)
            variance = np.diff(past.variance[place], axis=1) * np.exp(2 * log_sigma)
            found[asset].append((starts, past.price[place], np.cumsum(np.insert(variance, 0, 0.0, axis=1), axis=1)))
    return {asset: _judged(parts, design) for asset, parts in found.items()}


def _judged(parts: list[tuple[Ints, Floats, Floats]], design: Design) -> tuple[Ints, Floats]:
    starts, price, total = (np.concatenate(column) for column in zip(*parts, strict=True))
    scores = np.zeros(len(starts))
    for length in design.lengths:
        moved = np.diff(price[:, ::length], axis=1)
        sigma = np.sqrt(np.diff(total[:, ::length], axis=1))
        tried = [crps_student_t4(moved, c * sigma).sum(axis=1) for c in np.exp(np.linspace(-0.3, 0.3, 13))]
        scores += min(tried, key=lambda values: float(values.mean()))
    return starts, scores


def crps_student_t4(y: Floats, sigma: Floats) -> Floats:
    """Return the CRPS of a Student-t with 4 degrees of freedom; see `crps_of_scales`."""
    z = np.abs(y) / sigma
    square = 1.0 + z * z / 4.0
    root = np.sqrt(square)
    twice = 0.75 * z / root * (1.0 - z * z / (12.0 * square))
    found: Floats = sigma * (z * twice + 0.25 / (square * square * root) * (4.0 + z * z) - CONSTANT)
    return found


def main() -> None:
    """Score each trial and print its change."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    settings = ew.load_settings(flags={"data.feed": "pyth"})
    bars = {asset: ew.load_bars(asset, "2025-07-20", "2026-01-16", settings=settings) for asset in ASSETS}
    ALL_SEASONS.update(seasons_of(bars))
    for design, horizon in zip(DESIGNS, ("24h", "1h"), strict=True):
        present = score(Trial("as it is"), design, bars)
        print(f"\n{horizon}: change of CRPS, percent (first half, second half)", flush=True)
        for trial in TRIALS:
            tried, cells, means = score(trial, design, bars), [], []
            for asset in ASSETS:
                (starts, old), (_, new) = present[asset], tried[asset]
                half = starts < START + 7 * DAY * (WEEKS // 2)
                change, one, two = (100 * (new[k].mean() / old[k].mean() - 1) for k in (half | True, half, ~half))
                means.append(change)
                cells.append(f"{asset} {change:+.2f} ({one:+.2f}, {two:+.2f})")
            print(f"{trial.words:<34}{'  '.join(cells)}  mean {np.mean(means):+.3f}", flush=True)


if __name__ == "__main__":
    main()
