"""`seasonal-har` against its rivals on weeks that no fit has seen: each fit strictly before its test week.

    python benchmarks/seasonal_har.py --start 2025-09-15 --weeks 17

Bars are read from the cache (feed pyth). Prints the change of mean CRPS against `ewma@seed` per competition and asset,
with the 95 % interval of a paired block bootstrap over all weeks. Rules of one date hold for all weeks.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import pandas as pd

import ewmalab as ew
from ewmalab.analysis.compare import compare, scores_of
from ewmalab.fitting.fit import fit
from ewmalab.forecast.artifact import write_artifact
from ewmalab.market.bars import DAY
from ewmalab.rulebook import load_rulebook, parse_time


def main() -> None:
    """Fit, replay and compare, week by week."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--start", default="2025-09-15")
    parser.add_argument("--weeks", type=int, default=17)
    parser.add_argument("--history", default="2025-07-20", help="first day of the bars that fits see")
    parser.add_argument("--assets", default="BTC,ETH,SOL,XAU")
    parser.add_argument("--rules", default="2026-10-05")
    parser.add_argument("--cadence", default="1h")
    parser.add_argument("--folder", type=Path, default=Path("fits"))
    options = parser.parse_args()
    assets, rulebook = options.assets.split(","), load_rulebook()
    settings = ew.load_settings(flags={"data.feed": "pyth"})
    names = ("seasonal-har", "ewma", "random-walk", "ewma@seed")
    scores: dict[str, list[pd.DataFrame]] = {name: [] for name in names}
    seconds = []
    for week in range(options.weeks):
        begin = parse_time(options.start) + 7 * DAY * week
        bars = {asset: ew.load_bars(asset, options.history, begin, settings=settings) for asset in assets}
        began = time.perf_counter()
        path = write_artifact(fit(bars, rulebook, end=begin), options.folder)
        seconds.append(time.perf_counter() - began)
        experiment = ew.backtest(
            *names, start=begin, days=7, assets=assets, rules=options.rules, cadence=options.cadence, name="rolling",
            settings=settings.with_flags({"seasonal_har.artifact": str(path)}), partial=True,
        )  # fmt: skip
        for name in names:
            scores[name].append(scores_of(experiment, name))
        print(f"week {week + 1} of {options.weeks}: fitted in {seconds[-1]:.1f} s", flush=True)
    frames = {name: pd.concat(scores[name]).sort_index() for name in ("ewma@seed", *names[:-1])}
    rows = pd.DataFrame(compare(frames, common=True))
    print(f"\n{options.weeks} weeks from {options.start}, rules {options.rules}, a prompt each {options.cadence}; "
          f"change of mean CRPS against ewma@seed, percent")  # fmt: skip
    for name in names[:-1]:
        for row in rows[rows["contestant"] == name].to_dict("records"):
            cell = f"{name:<13} {row['competition']:<12} {row['asset']:<5} {row['prompts']:>6}"
            print(f"{cell}  {100 * row['change']:+6.2f} [{100 * row['low']:+.2f}, {100 * row['high']:+.2f}]")


if __name__ == "__main__":
    main()
