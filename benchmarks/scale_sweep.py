"""A sweep over a parameter that multiplies the paths, against the same sweep that simulates every value anew.

    python benchmarks/scale_sweep.py                                     # synthetic bars; the rival is --exact
    python benchmarks/scale_sweep.py --against ../other --cache data_cache --feed pyth --assets BTC,ETH,SOL,XAU
    python benchmarks/scale_sweep.py --param half_life_1m,nu_1m --forecaster ewma --against ../other

The whole command runs in a process of its own, both sides in turn; a first run of each, which compiles, does not count.
With `--against` the rival is another checkout. Prints processor seconds and their ratio, and how far scores differ.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from machine import describe

from ewmalab.report.text.tables import plain_table
from ewmalab.times import DAY, iso, parse_time

ROOT = Path(__file__).resolve().parent.parent


def run(root: Path, folder: Path, *arguments: str) -> tuple[float, str]:
    """Run a checkout's command line; return processor seconds and what it printed."""
    environment = {**os.environ, "PYTHONPATH": str(root)}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "ewmalab", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--against", type=Path, help="another checkout; by default --exact is the rival")
    parser.add_argument("--forecaster", default="seasonal-har")
    parser.add_argument("--param", default="volatility_scale")
    parser.add_argument("--cache", type=Path, help="of imported bars; by default a new one of synthetic bars")
    parser.add_argument("--feed", default="simulated")
    parser.add_argument("--assets", default="BTC,ETH")
    parser.add_argument("--start", default="2026-01-08")
    parser.add_argument("--days", default="7")
    parser.add_argument("--rules", default="2026-01-28")
    parser.add_argument("--history", type=int, default=40, help="days of bars that the fit sees")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    sides = {"ours": (ROOT, ()), "rival": (args.against.resolve(), ()) if args.against else (ROOT, ("--exact",))}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        common = ["--feed", args.feed, "--assets", args.assets]
        common += ["--set", f"data.cache_dir={args.cache.resolve() if args.cache else folder / 'cache'}"]
        asked = ["sweep", "-f", args.forecaster, "--start", args.start, "--days", args.days, "--rules", args.rules]
        asked += [word for one in args.param.split(",") for word in ("-p", one)]
        if args.forecaster == "seasonal-har":
            history = ["--start", iso(parse_time(args.start) - args.history * DAY), "--days", str(args.history)]
            if args.feed == "simulated":
                run(ROOT, folder, "data", "fetch", *history, *common)
            run(ROOT, folder, "fit", *history, *common)
            asked += ["--set", f"fit.artifacts={next((folder / 'fits').iterdir())}"]
        seconds: dict[str, list[float]] = {side: [] for side in sides}
        scores, words = {}, {}
        for _ in range(1 + args.rounds):
            for side, (root, more) in sides.items():
                took, text = run(root, folder, *asked, *common, *more, "--fresh", "--json")
                found = json.loads(text)
                seconds[side].append(took)
                words[side] = [cell["words"] for cell in found["summary"]]
                scores[side] = pq.read_table(folder / found["experiment"] / "results.parquet")["crps"].to_numpy()
    counted = {side: float(np.median(values[1:])) for side, values in seconds.items()}
    ratios = np.array(seconds["rival"][1:]) / np.array(seconds["ours"][1:])
    rival = "another checkout" if args.against else "every value simulated anew (--exact)"
    print(f"{describe()}; {args.forecaster}, {args.param}, {args.assets}, {args.days} days, rules {args.rules}\n")
    rows = [("ours", f"{counted['ours']:.2f}", ""), (rival, f"{counted['rival']:.2f}", f"{np.median(ratios):.2f}")]
    print(plain_table(("whole command", "processor seconds", "times ours"), rows, f"medians of {args.rounds}"))
    print(f"\nlargest relative difference of a score: {np.nanmax(np.abs(scores['ours'] / scores['rival'] - 1)):.0e}; "
          f"verdicts {'equal' if words['ours'] == words['rival'] else 'DIFFER'}")  # fmt: skip


if __name__ == "__main__":
    main()
