"""Whether 95 % intervals cover, and p-values stay honest, where the true difference is zero.

    python benchmarks/null_coverage.py

SYNTHETIC differences of two forecasters that are equally good: white noise, heavy tails (t with 3.5 degrees of
freedom), and volatility that clusters with a half-life of a day. A prompt's difference is the sum over its path, so
neighbouring prompts share most of it. Each cell simulates many windows and prints, in percent: how many windows get an
interval at all, how many of these intervals hold zero, and how many p-values are below 5 %.
"""

from __future__ import annotations

import argparse

import numpy as np
import numpy.typing as npt
from machine import describe

from ewmalab.inference.intervals import Dependence, mean_intervals
from ewmalab.inference.paired_tests import diebold_mariano
from ewmalab.report.text.tables import plain_table

Floats = npt.NDArray[np.float64]
KINDS = ("white", "t", "clusters")
HORIZONS = {"24h": (24, 24), "1h": (144, 6)}  # scored prompts a day, prompts that overlap
DAYS = (0.5, 1, 2, 3, 4, 5, 7, 14, 28, 60)


def noise(kind: str, count: int, per_day: int, rng: np.random.Generator) -> Floats:
    """Return shocks between two prompts: (count,)."""
    if kind == "white":
        return rng.standard_normal(count)
    if kind == "t":
        return rng.standard_t(3.5, count)
    keep = 0.5 ** (1 / per_day)
    shocks = rng.standard_normal(count) * np.sqrt(1 - keep**2)
    level = np.empty(count)
    now = rng.standard_normal()
    for i, shock in enumerate(shocks):
        now = keep * now + shock
        level[i] = now
    return np.exp(0.7 * level) * rng.standard_normal(count)


def measured(kind: str, horizon: str, days: float, windows: int, seed: int) -> tuple[float, float, float]:
    """Return the shares of windows with an interval, of intervals that hold zero, and of p-values below 5 %."""
    per_day, overlap = HORIZONS[horizon]
    count = round(days * per_day)
    rng = np.random.default_rng([seed, KINDS.index(kind), per_day, count])
    judged = held = rejected = 0
    for _ in range(windows):
        total = np.cumsum(np.concatenate([[0.0], noise(kind, count + overlap - 1, per_day, rng)]))
        series = total[overlap:] - total[:-overlap]
        dependence = Dependence.of(series, overlap)
        if dependence.enough:
            judged += 1
            held += mean_intervals(series[:, None], dependence)[0].sign == 0
            rejected += diebold_mariano(series, dependence) < 0.05
    return judged / windows, held / judged if judged else np.nan, rejected / judged if judged else np.nan


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--windows", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    print(f"{describe()}\nSYNTHETIC differences whose true mean is zero, {args.windows} windows a cell; percent\n")
    rows = []
    for horizon, (per_day, overlap) in HORIZONS.items():
        for days in DAYS:
            cells = []
            for kind in KINDS:
                found = measured(kind, horizon, days, args.windows, args.seed)
                cells += ["-" if np.isnan(share) else f"{100 * share:.1f}" for share in found]
            rows.append((horizon, f"{days:g}", f"{days * per_day / overlap:.1f}", *cells))
    names = [f"{kind} {what}" for kind in KINDS for what in ("judged", "covers", "p<.05")]
    print(plain_table(("", "days", "stretches", *names), rows))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
