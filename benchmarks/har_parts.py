"""What each part of `seasonal-har` adds: mean CRPS as parts are added, on weeks that no fit has seen.

    python benchmarks/har_parts.py --start 2025-09-15 --weeks 17

Bars are read from the cache (feed pyth). Each part keeps those before it; the last line is the forecaster as it is.
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

import ewmalab as ew
from ewmalab.analysis.compare import compare, scores_of
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
    options = parser.parse_args()
    assets, rulebook = ("BTC", "ETH", "SOL", "XAU"), load_rulebook()
    settings = ew.load_settings(flags={"data.feed": "pyth"})
    names = [*(f"seasonal-har@{part}" for part in PARTS), "ewma@seed"]
    scores: dict[str, list[pd.DataFrame]] = {name: [] for name in names}
    for week in range(options.weeks):
        begin = parse_time(options.start) + 7 * DAY * week
        present = begin - settings.values.replay.request_lead
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
