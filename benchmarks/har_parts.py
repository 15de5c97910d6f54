"""What each part of `seasonal-har` adds: mean CRPS as parts are added, on weeks that no fit has seen.

    python benchmarks/har_parts.py --start 2025-09-15 --weeks 17
    python benchmarks/har_parts.py --bound --start 2025-10-13 --weeks 6 --cadence 4h

Bars are read from the cache (feed pyth). Each part keeps those before it; the last line is the forecaster as it is.
With `--bound` the forecaster is compared at 24h with one that looks ahead, and knows how volatile the day will be on
the mean (or each 3 hours of it), by scored interval: how much is left to gain from volatility.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
from seasonal_har import by_interval, settle_gaps

import ewmalab as ew
from ewmalab.analysis.compare import compare, scores_of
from ewmalab.forecast.seasonal_har import SeasonalHar
from ewmalab.forecast.seasonal_har import fit as fitting
from ewmalab.forecast.seasonal_har import fit_curves as curves
from ewmalab.forecast.seasonal_har import fit_seasons as seasons
from ewmalab.forecast.seasonal_har import fit_shocks as shocks
from ewmalab.forecast.seasonal_har.clock import WEEK_BINS
from ewmalab.forecast.seasonal_har.parts import Season
from ewmalab.replay.artifacts import write_artifact
from ewmalab.replay.fits import make_artifact
from ewmalab.rulebook import load_rulebook
from ewmalab.times import DAY, parse_time

RULES = "2026-01-28"  # XAU competes at 1h


def flat_seasons(bars: Any, assets: Any, targets: Any) -> dict[str, Season]:
    """Return seasons that know no clock."""
    return {symbol: Season("week", np.ones(WEEK_BINS), np.ones(60)) for symbol in bars}


NO_SEASON = [(fitting, "pooled_seasons", flat_seasons)]
STRETCHES = [(curves, "_CHANGES", 1), (curves, "_STEPS", 10_000)]
MEANS = [(seasons, "_POWER", 1.0)]
PLAIN = [(shocks, "SHAPES", {"level": (0.0,), "wave": (0.0,), "nu": (20.0,)})]
WAVES = [(shocks, "SHAPES", {"level": (0.3,), "wave": (0.5,), "nu": (20.0,)})]
PARTS: dict[str, list[tuple[Any, str, Any]] | None] = {
    "memories": None,
    "curve": NO_SEASON + STRETCHES + PLAIN,
    "season": STRETCHES + MEANS + PLAIN,
    "waves": STRETCHES + MEANS + WAVES,
    "shapes": STRETCHES + MEANS,
    "roots": STRETCHES,
    "changes": [],
}
WORDS = {
    "memories": "nothing fitted: the mean of three memories, 30 min to 3 days",
    "curve": "weights of memories by horizon, fitted; Student-t shocks, 20 degrees of freedom",
    "season": "New York's week",
    "waves": "stochastic volatility, exp(0.3 U + 0.5 V)",
    "shapes": "tails, waves and scale of the shocks by CRPS over the paid lengths",
    "roots": "seasons from roots of moves: few large ones do not make a season",
    "changes": "curves from short changes instead of whole stretches: as it is",
}


class Knowing:
    """`seasonal-har` that looks ahead: its paths move as much as the market will, over stretches of so many steps."""

    def __init__(self, asset: Any, made: Any, bars: Any, stretch: int) -> None:
        inner = SeasonalHar(asset).with_fit(made.fit.numbers)
        shocks = {step: replace(one, level=0.0) for step, one in inner.fitted.shocks.items()}  # the day's size is known
        self.inner, self.stretch = replace(inner, fitted=replace(inner.fitted, shocks=shocks)), stretch
        self.times, self.prices = bars.timestamp + 60, np.log(bars.close)
        self.warmup, self.initial_state, self.update = inner.warmup, inner.initial_state, inner.update
        self.dump_state, self.load_state = inner.dump_state, inner.load_state

    def simulate(self, state: Any, prompt: Any, stream: Any) -> Any:
        """Return the forecaster's paths, each stretch scaled to the realised size of its steps."""
        steps = np.diff(self.inner.simulate(state, prompt, stream).astype(np.float64), axis=0)
        known = np.diff(self.prices[np.searchsorted(self.times, prompt.grid(), side="right") - 1])
        blocks = (-1, self.stretch)
        size = np.abs(known).reshape(blocks).sum(axis=1) / np.abs(steps).mean(axis=1).reshape(blocks).sum(axis=1)
        moved = np.cumsum(steps * np.repeat(np.maximum(size, 1e-3), self.stretch)[:, None], axis=0)
        return np.concatenate([np.zeros((1, prompt.num_simulations)), moved]).astype(np.float32)


def bound(options: argparse.Namespace, assets: tuple[str, ...], settings: Any) -> None:
    """Print how much knowledge of the day's volatility would bring, by scored interval."""
    labels = ("seasonal-har", "knows 3 hours", "knows the day", "ewma@seed")
    scores: dict[str, list[pd.DataFrame]] = {label: [] for label in labels}
    for week in range(options.weeks):
        begin = parse_time(options.start) + 7 * DAY * week
        present = begin - 600  # requests come before the prompts
        bars = {asset: ew.load_bars(asset, "2025-07-20", begin + 8 * DAY, settings=settings) for asset in assets}
        seen = {asset: own.known_at(present) for asset, own in bars.items()}
        made = make_artifact("seasonal-har", seen, settings, load_rulebook(), end=present, feed="pyth")

        def day(asset: Any, made: Any = made, bars: Any = bars) -> Knowing:
            return Knowing(asset, made, bars[asset.symbol], 288)

        def hours(asset: Any, made: Any = made, bars: Any = bars) -> Knowing:
            return Knowing(asset, made, bars[asset.symbol], 36)

        own = settings.with_flags({"fit.artifacts": [str(write_artifact(made, options.folder))]})
        experiment = ew.backtest(
            "seasonal-har", hours, day, "ewma@seed", start=begin, days=7, assets=list(assets), competitions=["24h"],
            rules=RULES, cadence=options.cadence, name="bound", settings=own, workers=1, partial=True,
        )  # fmt: skip
        for label, name in zip(labels, experiment.results["forecaster"].unique().to_pylist(), strict=True):
            scores[label].append(scores_of(experiment, name))
    frames = {label: pd.concat(parts).sort_index() for label, parts in scores.items()}
    print(f"{options.weeks} weeks from {options.start}, rules {RULES}, a prompt each {options.cadence}; percent")
    print(by_interval(frames, labels).to_string())
    rows = compare({label: frames[label] for label in labels[:3]}, common=True)
    print("\nchange of mean CRPS against seasonal-har, percent")
    for row in rows:
        interval = f"[{100 * (row.low or 0):+.2f}, {100 * (row.high or 0):+.2f}]"
        print(f"{row.forecaster:<15}{row.asset:<5}{100 * row.change:+6.2f} {interval}")


@contextmanager
def patched(changes: list[tuple[Any, str, Any]]) -> Iterator[None]:
    """Take parts away for a while."""
    patches = [mock.patch.object(*change) for change in changes]
    for patch in patches:
        patch.start()
    try:
        yield
    finally:
        for patch in patches:
            patch.stop()


def main() -> None:
    """Fit each stage, replay and compare, week by week."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--start", default="2025-09-15")
    parser.add_argument("--weeks", type=int, default=17)
    parser.add_argument("--cadence", default="2h")
    parser.add_argument("--folder", type=Path, default=Path("fits"))
    parser.add_argument("--bound", action="store_true", help="compare with forecasters that know the day's volatility")
    options = parser.parse_args()
    assets, rulebook = ("BTC", "ETH", "SOL", "XAU"), load_rulebook()
    settings = ew.load_settings(flags={"data.feed": "pyth"})
    settle_gaps(settings)
    if options.bound:
        bound(options, assets, settings)
        return
    names = [*(f"seasonal-har@{part}" for part in PARTS), "ewma@seed"]
    scores: dict[str, list[pd.DataFrame]] = {name: [] for name in names}
    for week in range(options.weeks):
        begin = parse_time(options.start) + 7 * DAY * week
        present = begin - 600  # requests come before the prompts
        bars = {asset: ew.load_bars(asset, "2025-07-20", present, settings=settings) for asset in assets}
        for part, changes in PARTS.items():
            with patched(changes or []):
                made = make_artifact("seasonal-har", bars, settings, rulebook, end=present, feed="pyth")
            if changes is None:
                made = replace(made, fit=replace(made.fit, numbers={**made.fit.numbers, "assets": {}, "pooled": {}}))
            path = str(write_artifact(made, options.folder))
            others = ["ewma@seed"] if part == "changes" else []
            experiment = ew.backtest(
                "seasonal-har", *others, start=begin, days=7, assets=list(assets), rules=RULES,
                cadence=options.cadence, name="parts", settings=settings.with_flags({"fit.artifacts": [path]}),
                partial=True,
            )  # fmt: skip
            scores[f"seasonal-har@{part}"].append(scores_of(experiment, "seasonal-har"))
            for name in others:
                scores[name].append(scores_of(experiment, name))
        print(f"week {week + 1} of {options.weeks}", flush=True)
    frames = {name: pd.concat(scores[name]).sort_index() for name in ("ewma@seed", *names[:-1])}
    rows = pd.DataFrame(compare(frames, common=True))
    tested = f"{options.weeks} weeks from {options.start}, rules {RULES}, a prompt each {options.cadence}"
    print(f"\n{tested}; change of mean CRPS against ewma@seed, percent")
    for horizon in ("24h", "1h"):
        print(f"\n{horizon:<10}{''.join(f'{asset:>8}' for asset in assets)}    mean")
        for part in PARTS:
            mine = rows[(rows["forecaster"] == f"seasonal-har@{part}") & (rows["competition"] == horizon)]
            change = 100 * mine.set_index("asset")["change"][list(assets)]
            print(f"{part:<10}{''.join(f'{x:>+8.2f}' for x in change)}{change.mean():>+8.2f}  {WORDS[part]}")


if __name__ == "__main__":
    main()
