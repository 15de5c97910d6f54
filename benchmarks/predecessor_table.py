"""Reproduce the predecessor's published calibration table with this package's kernels.

The predecessor measured its forecasts with a harness that was wrong in known ways. They live here and nowhere in the
package:

* state and anchor include the candle labelled by the start time, one minute of future;
* only closes: high and low are the extremes of two successive closes;
* day files hold 1441 points, so that stitching two days repeats 00:00 and the realised path after midnight is a
minute late;
* its 5-minute state takes each call's unfinished bar as finished, never sees the rest of it, and takes the first
return of a
  batch against the bar before the batch's last.

Run after ``ewmalab data import`` of the real bars::

    python benchmarks/predecessor_table.py --published ../shared/docs/published_results.json
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from ewmalab.forecast.ewma.kernels import HOLD, decay_of, ewma_paths, filter_variances, variance_proxies
from ewmalab.forecast.streams import RandomStream
from ewmalab.market.cache import Cache
from ewmalab.report.text.tables import plain_table
from ewmalab.rulebook import load_rulebook
from ewmalab.scoring.crps import score_log_returns
from ewmalab.times import parse_time

DAY = 1440  # minutes
START, DAYS = "2026-01-08", 7
WARMUP_DAYS = {"SPYX": 5, "NVDAX": 5, "TSLAX": 5, "AAPLX": 5, "GOOGLX": 5}
NU_24H = {"BTC": 10.0, "ETH": 9.0, "SOL": 3.5, "XAU": 3.5}
NU_1H = {"BTC": 10.0, "ETH": 7.5, "SOL": 9.5, "XAU": 3.0}
ALPHA, FLOOR, H0 = 0.5, 1e-10, 1e-5


def proxies(opens_time, previous, high, low, close, resolution):
    """Variance proxies of bars, each against a given previous close (the package's kernel, bar by bar)."""
    out, elapsed, one = np.empty(len(close)), np.empty(1), np.ones(1)
    for i in range(len(close)):
        t = np.array([opens_time[i]])
        bar = [np.array([x]) for x in (previous[i], high[i], low[i], close[i])]
        variance_proxies(
            t,
            *bar,
            resolution,
            float(t[0] - resolution),
            previous[i],
            ALPHA,
            FLOOR,
            False,
            one,
            out[i : i + 1],
            elapsed,
        )
    return out


def states(values, half_life, resolution):
    """The state after each proxy, from h0."""
    track = np.empty((len(values), 1))
    filter_variances(
        values, np.ones(len(values)), np.array([decay_of(half_life, resolution)]), np.array([H0]), np.array([H0]),
        0.0, 1.0, False, HOLD, 1.0, track,
    )  # fmt: skip
    return track[:, 0]


def minute_states(close, first, half_life):
    """The 1-minute state after each minute from `first` on; index 0 belongs to `first`."""
    c = close[first:]
    before = np.concatenate([c[:1], c[:-1]])
    values = proxies(60 * np.arange(len(c)), before, np.maximum(before, c), np.minimum(before, c), c, 60)
    return states(values, half_life, 60)


def five_minute_states(close, first, calls, half_life):
    """The 5-minute state after each of the harness's update calls, with its two defects."""
    labels, highs, lows, closes = [], [], [], []
    taken = []  # label, previous close, high, low, close of each bar as the state saw it
    seen_after = []
    newest = -1
    minute, before = first, close[first]
    for call in calls:
        while minute <= call:
            c, label = close[minute], minute // 5 * 5
            if not labels or labels[-1] != label:
                labels.append(label)
                highs.append(max(before, c))
                lows.append(min(before, c))
                closes.append(c)
            else:
                highs[-1], lows[-1], closes[-1] = max(highs[-1], before, c), min(lows[-1], before, c), c
            before = c
            minute += 1
        start = len(labels)
        while start > 0 and labels[start - 1] > newest:
            start -= 1
        if start < len(labels):
            previous = closes[-2] if len(closes) > 1 else closes[start]
            for b in range(start, len(labels)):
                taken.append((60 * labels[b], previous, highs[b], lows[b], closes[b]))
                previous = closes[b]
            newest = labels[-1]
        seen_after.append(len(taken))
    values = proxies(*(np.array(column) for column in zip(*taken, strict=True)), 300)
    return states(values, half_life, 300)[np.array(seen_after) - 1]


def stitched(close, i, steps, stride):
    """The realised path of the harness: one minute late after the first midnight."""
    midnight = (i // DAY + 1) * DAY
    at = i + stride * np.arange(steps + 1)
    return close[np.where(at <= midnight, at, at - 1)]


def mean_crps(asset, close, prompts, variances, half_life, nu, competition, seed):
    """Mean CRPS over the prompts with this package's paths and scores."""
    steps, dt = competition.steps, competition.time_increment
    decay = decay_of(half_life, dt)
    scale, out = np.ones(steps, np.float32), np.empty((steps + 1, 1000), np.float32)
    total = 0.0
    for i, h in zip(prompts, variances, strict=True):
        stream = RandomStream.of(seed, asset, competition.name, int(i))
        ewma_paths(stream.lanes(1000), nu, decay, max(h, FLOOR), scale, out)
        real = stitched(close, i, steps, dt // 60)
        total += score_log_returns(out, close[i], real, competition.scoring, dt).total
    return total / len(prompts)


def main() -> int:
    """Print the table; exit code 1 if a mean is off by more than the tolerance."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--published", type=Path, default=Path("../shared/docs/published_results.json"))
    parser.add_argument("--cache", type=Path, default=Path("data_cache"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--tolerance", type=float, default=0.3, help="percent")
    args = parser.parse_args()
    published = json.loads(args.published.read_text())["half_life_seconds"]
    rules = load_rulebook().at(parse_time("2026-01-28"))
    begin = parse_time(START)
    origin = begin - 5 * 86_400  # the equities' bars begin here
    end = begin + (DAYS + 1) * 86_400
    rows, worst = [], 0.0
    for name in ("24h", "1h"):
        competition = rules.competitions[name]
        for asset in competition.assets:
            bars = Cache(args.cache).read("pyth", asset, origin, end + 60)
            close = bars.closes_at(np.arange(origin, end + 60, 60))
            if np.isnan(close).any():
                parser.error(f"{asset}: bars missing; run: ewmalab data import ../shared/data/*")
            first = (5 - WARMUP_DAYS.get(asset, 3)) * DAY
            half_life = published[name][asset]["best"]
            if name == "24h":
                prompts = 5 * DAY + 60 * np.arange(24 * DAYS)
                ends = np.arange(first + DAY, prompts[-1] + 1, DAY)
                calls = np.unique(np.concatenate([ends, prompts]))
                variances = five_minute_states(close, first, calls, half_life)[np.searchsorted(calls, prompts)]
                if rules.assets[asset].sessions:
                    variances = variances * 0.6**2
                nu = NU_24H.get(asset, 10.0)
            else:
                prompts = 5 * DAY + 12 * np.arange(120 * DAYS)
                variances = minute_states(close, first, half_life)[prompts - first]
                nu = NU_1H[asset]
            means = [
                mean_crps(asset, close, prompts, variances, half_life, nu, competition, seed)
                for seed in range(args.seeds)
            ]
            theirs = published[name][asset]["mean_crps"]
            off = 100 * (np.mean(means) / theirs - 1)
            worst = max(worst, abs(off))
            noise = 100 * np.std(means, ddof=1) / theirs if len(means) > 1 else float("nan")
            rows.append(
                (name, asset, len(prompts), f"{theirs:.2f}", f"{np.mean(means):.2f}", f"{off:+.3f} %", f"{noise:.3f} %")
            )
    print(plain_table(("competition", "asset", "prompts", "published", "ours", "off by", "seed noise"), rows))
    print(f"\nlargest deviation {worst:.3f} % (tolerance {args.tolerance:g} %)")
    return int(worst > args.tolerance)


if __name__ == "__main__":
    sys.exit(main())
