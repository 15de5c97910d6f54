"""Commands of the command line: wall and CPU seconds here, and with `--against` the ratio to another checkout.

python benchmarks/commands.py --bars ../shared/data/* [--against PATH] [--repeats 5]

Each command is a process of its own; with `--against` the checkouts take turns. Ratios are of medians; below one, this
checkout is faster.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from machine import describe

ROOT = Path(__file__).resolve().parent.parent
WEEK = ["--start", "2026-01-08", "--days", "7"]
IMPORTED = "imported"  # a cache that every import fills anew
NAMES = ["ewma", "ewma@seed", "random-walk"]


def commands(bars: Sequence[str]) -> dict[str, list[str]]:
    """Return the arguments of each command, by title."""
    compared = [f"latest/{name}" for name in NAMES]
    return {
        "help": ["--help"],
        "import of all bars": ["data", "import", *bars, "--set", f"data.cache_dir={IMPORTED}"],
        "list of bars": ["data", "list"],
        "list of experiments": ["experiments", "list"],
        "comparison of an experiment": ["compare", *compared],
        "leaderboard of an experiment": ["leaderboard", *compared, "--emission", "2000"],
        "report of a week": ["report", "latest", "-o", "report"],
        "look-ahead check": ["check", "lookahead", "--start", "2026-01-10"],
    }


def run(checkout: Path, folder: str, arguments: Sequence[str]) -> tuple[float, float]:
    """Run a command of a checkout in a folder; return its wall and CPU seconds."""
    shutil.rmtree(Path(folder) / IMPORTED, ignore_errors=True)
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "ewmalab", *arguments], cwd=folder, env=environment, check=True, capture_output=True
    )
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def report(title: str, found: Mapping[Path, list[tuple[float, float]]]) -> None:
    """Print a command's medians, and the ratios to the other checkout."""
    wall, cpu = ({checkout: median(one[i] for one in runs) for checkout, runs in found.items()} for i in (0, 1))
    line = f"{title:30} {wall[ROOT]:7.2f} s, CPU {cpu[ROOT]:7.2f} s"
    for other in found.keys() - {ROOT}:
        line += f"; ratio {wall[ROOT] / wall[other]:.2f}, CPU {cpu[ROOT] / cpu[other]:.2f}"
    print(line, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bars", nargs="+", required=True, help="files or folders of real bars")
    parser.add_argument("--against", type=Path, help="another checkout")
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    checkouts = [ROOT] + ([given.against.resolve()] if given.against else [])
    bars = [str(Path(path).resolve()) for path in given.bars]
    print(describe())
    with tempfile.TemporaryDirectory() as folder:
        run(ROOT, folder, ["data", "import", *bars])
        run(ROOT, folder, ["backtest", *WEEK, *(part for name in NAMES for part in ("-f", name))])
        for title, arguments in commands(bars).items():
            found: dict[Path, list[tuple[float, float]]] = {checkout: [] for checkout in checkouts}
            for _ in range(1 + given.repeats):
                for checkout in checkouts:
                    found[checkout].append(run(checkout, folder, arguments))
            report(title, {checkout: runs[1:] for checkout, runs in found.items()})  # the first may compile


if __name__ == "__main__":
    main()
