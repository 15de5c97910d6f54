"""Fits against those of another checkout, in turn: `ewmalab fit` of nine assets, and a week that is refitted daily.

    git worktree add ../before v0.1.0
    python benchmarks/fits.py --against ../before --cache data_cache

The cache holds imported minute bars of the feed `pyth`. It prints CPU seconds of all threads, wall seconds and
peak memory, and this checkout's share of the other's. Exit code 1 if an artifact or a score differs.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from machine import describe

ROOT = Path(__file__).resolve().parent.parent
ASSETS = "BTC,ETH,SOL,XAU,SPYX,NVDAX,TSLAX,AAPLX,GOOGLX"
COMMANDS = {
    "fit": ["fit", "--start", "2025-07-20", "--days", "178"],
    "refitted week": ["backtest", "--start", "2026-01-08", "--days", "7", "--rules", "2026-01-28",
                      "--refit", "1d", "-f", "seasonal-har", "-f", "ewma", "-f", "ewma@seed"],
}  # fmt: skip


def run(checkout: Path, command: list[str], cache: str) -> tuple[float, float, float, str]:
    """Run a command of a checkout; return CPU and wall seconds, peak MB, and a digest of the artifact or the scores."""
    with tempfile.TemporaryDirectory() as folder:
        settings = {"data.cache_dir": cache, "fit.folder": folder, "run.experiments_dir": folder}
        flags = ["--assets", ASSETS, "--feed", "pyth", *(f"--set={key}={value}" for key, value in settings.items())]
        environment, began = {**os.environ, "PYTHONPATH": str(checkout)}, time.perf_counter()
        child = subprocess.Popen(
            [sys.executable, "-m", "ewmalab", *command, *flags], stdout=subprocess.DEVNULL, env=environment, cwd=folder
        )
        _, status, used = os.wait4(child.pid, 0)
        wall, child.returncode = time.perf_counter() - began, os.waitstatus_to_exitcode(status)
        if child.returncode:
            raise SystemExit(f"{' '.join(command)} of {checkout} ended with code {child.returncode}")
        made = [*Path(folder).glob("*.json"), *Path(folder).glob("*/results.parquet")]
        digest = hashlib.sha256(b"".join(path.read_bytes() for path in made)).hexdigest()
    return used.ru_utime + used.ru_stime, wall, used.ru_maxrss / 1024, digest


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--against", type=Path, required=True, help="root of the other checkout")
    parser.add_argument("--cache", type=Path, default=Path("data_cache"))
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    print(f"{describe()}\nthis checkout, the other, ratio; medians of {args.repeats}\n")
    same = True
    for name, command in COMMANDS.items():
        runs: dict[Path, list[tuple[float, float, float, str]]] = {ROOT: [], args.against.resolve(): []}
        for _ in range(args.repeats + 1):
            for checkout, done in runs.items():
                done.append(run(checkout, command, str(args.cache.resolve())))
        for i, kind in enumerate(("CPU s", "wall s", "peak MB")):
            new, old = (statistics.median(found[i] for found in done[1:]) for done in runs.values())  # 0 compiles
            print(f"{name:<14} {kind:<8} {new:8.2f} {old:8.2f} {new / old:6.2f}", flush=True)
        same &= len({digest for done in runs.values() for *_, digest in done}) == 1
    print(f"\nartifacts and scores are {'the same bits' if same else 'DIFFERENT'}")
    return int(not same)


if __name__ == "__main__":
    sys.exit(main())
