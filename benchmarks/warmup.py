"""How much past a state wants: change of the mean CRPS by the length of the warm-up, against one of 60 days.

    python benchmarks/warmup.py --start 2025-11-25 --days 28

Bars are read from the cache (feed pyth, from 2025-07-20 on). `seasonal-har` is fitted once, on the bars up to a month
before the start.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ewmalab.market.cache import open_cache
from ewmalab.replay.artifacts import write_artifact
from ewmalab.replay.fits import make_artifact
from ewmalab.replay.plan import plan_backtest
from ewmalab.rulebook import RuleChoice, load_rulebook
from ewmalab.settings import LoadedSettings, load_settings
from ewmalab.times import DAY, parse_time

ASSETS = ["BTC", "ETH", "SOL", "XAU"]
RULES = "2026-01-28"  # XAU competes at 1h
LENGTHS = ("3d", "5d", "7d", "10d", "14d", "21d", "28d")
WHOLE = "60d"

Means = dict[tuple[str, str], npt.NDArray[np.float64]]


def scores(settings: LoadedSettings, name: str, start: int, days: float) -> Means:
    """Return the CRPS of the prompts, by competition and asset."""
    plan = plan_backtest(
        settings,
        start=start,
        days=days,
        rules=RuleChoice.parse(RULES),
        forecasters=[name],
        assets=ASSETS,
        cadence=4 * 3600,
    )
    found: dict[tuple[str, str], list[float]] = {}
    for row in plan.run(threads=2):
        if row.score is not None:
            found.setdefault((row.prompt.competition, row.prompt.asset), []).append(row.score.total)
    return {group: np.array(values) for group, values in found.items()}


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--start", default="2025-11-25")
    parser.add_argument("--days", type=float, default=28.0)
    args = parser.parse_args()
    start, settings = parse_time(args.start), load_settings(flags={"data.feed": "pyth"})
    with tempfile.TemporaryDirectory() as folder:
        cache, end = open_cache(settings.values.data.cache_dir), start - 31 * DAY
        bars = {asset: cache.read("pyth", asset, parse_time("2025-07-20"), end) for asset in ASSETS}
        artifact = make_artifact("seasonal-har", bars, settings, load_rulebook(), end=end, feed="pyth")
        path = write_artifact(artifact, Path(folder))
        fitted = settings.with_flags({"fit.artifacts": [str(path)]})
        for name in ("seasonal-har", "ewma"):
            whole = scores(fitted.with_flags({"replay.warmup": WHOLE}), name, start, args.days)
            print(f"{name:<14}" + "".join(f"{f'{c} {a}':>11}" for c, a in whole))
            for length in LENGTHS:
                other = scores(fitted.with_flags({"replay.warmup": length}), name, start, args.days)
                changes = (100 * (other[group].mean() / whole[group].mean() - 1) for group in whole)
                print(f"{length:>14}" + "".join(f"{change:>+9.3f} %" for change in changes), flush=True)


if __name__ == "__main__":
    main()
