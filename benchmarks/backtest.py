"""A whole backtest end to end: where the time goes, and how time and memory grow with its length.

    python benchmarks/backtest.py --feed simulated            # 7, 14 and 28 days on synthetic bars
    python benchmarks/backtest.py --feed pyth --start 2026-01-08 --days 7    # on imported real bars

Every length runs in a process of its own, `--repeats` times; compiled kernels are cached by a first run that does
not count. Bars of the synthetic feed are made before the clock starts.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time


def one(args: argparse.Namespace, days: int) -> dict[str, float]:
    """Run one backtest in this process and report its split."""
    begin = time.perf_counter()
    from pathlib import Path

    from ewmalab.replay.backtest import backtest
    from ewmalab.replay.engines import Workers
    from ewmalab.replay.plan import plan_backtest
    from ewmalab.rulebook import RuleChoice
    from ewmalab.settings import load_settings
    from ewmalab.times import parse_time

    imported = time.perf_counter()
    flags = {"data.feed": args.feed, "run.experiments_dir": args.folder, "data.cache_dir": args.cache}
    settings = load_settings(environ={}, flags=flags)
    now = parse_time("2026-06-01") if args.feed == "simulated" else None
    plan = plan_backtest(
        settings, start=parse_time(args.start), days=days, rules=RuleChoice.parse(args.rules),
        forecasters=["ewma"], now=now,
    )  # fmt: skip
    planned = time.perf_counter()
    experiment = backtest(plan, now=0, workers=Workers("threads", args.threads))
    done = time.perf_counter()
    replayed = experiment.manifest["notes"]["seconds"]
    assert Path(experiment.path).exists()
    return {
        "days": days,
        "prompts": plan.prompts,
        "import": imported - begin,
        "read": planned - imported,
        "replay": replayed,
        "write": done - planned - replayed,
        "total": done - begin,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def main() -> int:
    """Print the table; exit code 1 if memory passes 1 GB or time grows faster than the prompts."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--feed", default="simulated")
    parser.add_argument("--start", default="2026-01-15")
    parser.add_argument("--days", type=int, nargs="+", default=[7, 14, 28])
    parser.add_argument("--rules", default="2026-01-28")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--cache", default="data_cache")
    parser.add_argument("--folder", default=tempfile.mkdtemp(prefix="ewmalab-benchmark-"))
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(one(args, args.one)))
        return 0
    from machine import describe

    from ewmalab.report.text.tables import plain_table

    rows = []
    command = [sys.executable, __file__, *sys.argv[1:], "--folder", args.folder]
    for days in args.days:
        runs = []
        for repeat in range(args.repeats + 1):
            out = subprocess.run([*command, "--one", str(days)], check=True, capture_output=True, text=True)
            if repeat:  # the first compiles and fills caches
                runs.append(json.loads(out.stdout))
        rows.append(sorted(runs, key=lambda run: run["total"])[len(runs) // 2])
    print(f"{describe()}; {args.threads} thread(s)")
    synthetic = " (synthetic)" if args.feed == "simulated" else ""
    print(f"feed {args.feed}{synthetic}, from {args.start}, rules {args.rules}; medians of {args.repeats}; seconds\n")
    columns = ("days", "prompts", "import", "read", "replay", "write", "total", "ms/prompt", "peak MB")
    print(
        plain_table(
            columns,
            [
                (r["days"], r["prompts"], *(f"{r[k]:.2f}" for k in columns[2:7]),
                 f"{1e3 * r['replay'] / r['prompts']:.3f}", f"{r['peak_mb']:.0f}")
                for r in rows
            ],
        )
    )  # fmt: skip
    per_prompt = [r["replay"] / r["prompts"] for r in rows]
    linear = max(per_prompt) < 1.5 * min(per_prompt)
    small = max(r["peak_mb"] for r in rows) < 1024
    print(f"\ntime per prompt {'constant within 50 %' if linear else 'GROWS'}; "
          f"peak memory {'under' if small else 'OVER'} 1 GB")  # fmt: skip
    return int(not (linear and small))


if __name__ == "__main__":
    sys.exit(main())
