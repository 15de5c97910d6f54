"""Time of a forecast in a replay, with one thread and several, against another checkout in the same run.

    python benchmarks/threads.py --against ../other                                # synthetic bars
    python benchmarks/threads.py --against ../other --feed pyth --start 2026-01-08 --assets BTC,ETH,SOL,XAU

One process per checkout replays the same prompts, in turn; ratios are medians over the turns. The results of all runs
are compared bit for bit.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
from itertools import product
from pathlib import Path
from statistics import median
from typing import NamedTuple

HERE = Path(__file__).resolve().parents[1]


class Run(NamedTuple):
    """One replay: milliseconds per forecast, number of forecasts, sha256 of the results."""

    wall: float
    cpu: float
    forecasts: int
    digest: str


def serve(args: argparse.Namespace) -> None:
    """Replay as often as standard input asks, with the rules and the number of threads that each line names."""
    from ewmalab.replay.plan import plan_backtest
    from ewmalab.rulebook import RuleChoice
    from ewmalab.settings import load_settings
    from ewmalab.times import parse_time

    settings = load_settings(environ={}, flags={"data.feed": args.feed, "data.cache_dir": args.cache})
    now = parse_time("2026-06-01") if args.feed == "simulated" else None
    plans = {
        rules: plan_backtest(
            settings,
            start=parse_time(args.start),
            days=args.days,
            rules=RuleChoice.parse(rules),
            assets=args.assets and args.assets.split(","),
            forecasters=["ewma", "random-walk"],
            now=now,
        )
        for rules in args.rules
    }
    for line in sys.stdin:
        rules, threads = line.split()
        wall, cpu = time.perf_counter(), time.process_time()
        rows = plans[rules].run(threads=int(threads))
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        digest = hashlib.sha256(repr(rows).encode()).hexdigest()
        print(json.dumps([1e3 * wall / len(rows), 1e3 * cpu / len(rows), len(rows), digest]), flush=True)


def start(root: Path) -> subprocess.Popen[str]:
    """Start the process that replays with a checkout's code."""
    return subprocess.Popen(
        [sys.executable, __file__, *sys.argv[1:], "--serve"],
        env={**os.environ, "PYTHONPATH": str(root.resolve())},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def ask(server: subprocess.Popen[str], rules: str, threads: int) -> Run:
    """Replay once."""
    assert server.stdin
    assert server.stdout
    server.stdin.write(f"{rules} {threads}\n")
    server.stdin.flush()
    return Run(*json.loads(server.stdout.readline()))


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--against", type=Path, default=HERE, help="another checkout; by default this one")
    parser.add_argument("--feed", default="simulated")
    parser.add_argument("--cache", default="data_cache")
    parser.add_argument("--start", default="2026-01-15")
    parser.add_argument("--days", type=float, default=0.25)
    parser.add_argument("--assets")
    parser.add_argument("--rules", nargs="+", default=["2026-01-28", "2026-10-05"])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> int:
    """Print the table; exit code 1 if any results differ."""
    args = arguments()
    if args.serve:
        serve(args)
        return 0
    from machine import describe

    from ewmalab.report.text.tables import plain_table

    servers = [start(HERE), start(args.against)]
    cases = list(product(args.rules, args.threads))
    runs: dict[tuple[str, int], list[list[Run]]] = {case: [] for case in cases}
    for repeat, case in product(range(args.repeats + 1), cases):
        pair = [ask(server, *case) for server in servers]
        if repeat:  # the first compiles and fills caches
            runs[case].append(pair)
    for server in servers:
        server.communicate()
    print(f"{describe()}; feed {args.feed}, {args.days:g} days from {args.start}; medians of {args.repeats}\n")
    table = []
    for case, pairs in runs.items():
        times = [median(getattr(pair[side], kind) for pair in pairs) for side in (0, 1) for kind in ("wall", "cpu")]
        ratios = [median(getattr(other, kind) / getattr(own, kind) for own, other in pairs) for kind in ("wall", "cpu")]
        figures = (*(f"{x:.3f}" for x in times), *(f"{x:.2f}" for x in ratios))
        table.append((*case, pairs[0][0].forecasts, *figures))
    columns = ("rules", "threads", "forecasts", "ms", "CPU ms", "other ms", "other CPU ms", "ratio", "CPU ratio")
    print(plain_table(columns, table))
    digests = {(case[0], run.digest) for case, pairs in runs.items() for pair in pairs for run in pair}
    print(f"\nresults {'equal bit for bit' if len(digests) == len(args.rules) else 'DIFFER'}")
    return int(len(digests) != len(args.rules))


if __name__ == "__main__":
    sys.exit(main())
