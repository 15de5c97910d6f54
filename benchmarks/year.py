"""A year of scored prompts with daily refits on two worker processes, of which one is killed: time, memory, bits.

    python benchmarks/year.py
    python benchmarks/year.py --days 14 --check

SYNTHETIC bars of all assets under the newest rules; the default forecasters. The backtest runs as a command of its own,
after a short one that compiles the kernels. `--kill-after` seconds after its first part is done, one of its workers is
killed by its id; Dask starts another one. Memory is the sum over the run's processes, where shared pages count once
(PSS). `--check` runs it again in threads, without a kill: exit code 1 if a row differs. The synthetic history begins on
2025-06-01, and the first fit needs 180 days of it; the last day must have passed.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
from machine import describe

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=float, default=365.0)
    parser.add_argument("--start", default="2025-11-28")
    parser.add_argument("--assets", default="", help="all that compete by default")
    parser.add_argument("--kill-after", type=float, default=60.0, help="seconds from the first finished part")
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    print(f"{describe()}; SYNTHETIC bars; {args.days:g} days from {args.start}, refitted daily\n")
    with tempfile.TemporaryDirectory() as folder:
        run(args, Path(folder) / "bars", ["--engine", "threads", "--workers", "2"], days=0.2)
        digest = run(args, Path(folder) / "workers", ["--engine", "dask", "--workers", "2"], kill=True)
        if args.check:
            same = run(args, Path(folder) / "threads", ["--engine", "threads", "--workers", "2"]) == digest
            print("\nrows equal those in threads, without a kill" if same else "\nrows DIFFER")
            return 0 if same else 1
    return 0


def run(args: argparse.Namespace, folder: Path, engine: list[str], *, days: float = 0.0, kill: bool = False) -> str:
    """Run one backtest and print what it took; return the digest of its rows."""
    options = [
        "--feed",
        "simulated",
        "--start",
        args.start,
        "--days",
        f"{days or args.days:g}",
        "--rules",
        "2026-10-05",
    ]
    options += ["--refit", "1d", "--name", "year", "--set", f"run.experiments_dir={folder}"]
    options += ["--assets", args.assets] if args.assets else []
    began, peak, first, killed = time.monotonic(), 0.0, 0.0, False
    command = [sys.executable, "-m", "ewmalab", "backtest", *options, *engine]
    with (folder.parent / f"{folder.name}.txt").open("wb") as log:
        child = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "PYTHONPATH": str(ROOT)})
    while child.poll() is None:
        time.sleep(1.0)
        family = [psutil.Process(child.pid), *psutil.Process(child.pid).children(recursive=True)]
        peak = max(peak, sum(map(pss, family)))
        first = first or (time.monotonic() if any(folder.rglob("*.parquet")) else 0.0)
        if kill and not killed and first and time.monotonic() - first > args.kill_after:
            killed = True
            kill_worker(family)
    if child.returncode:
        raise SystemExit((folder.parent / f"{folder.name}.txt").read_text())
    (rows,) = folder.glob("*/results.parquet")
    if not days:
        print(
            f"{engine[1]}: {(time.monotonic() - began) / 60:.1f} minutes, at most {peak:.0f} MB; killed: {killed}",
            flush=True,
        )
    return hashlib.sha256(rows.read_bytes()).hexdigest()


def kill_worker(family: list[psutil.Process]) -> None:
    """Kill the worker that has used the most time."""
    workers = [one for one in family[1:] if one.is_running() and not one.children()]
    os.kill(max(workers, key=lambda one: one.cpu_times().user).pid, signal.SIGKILL)


def pss(process: psutil.Process) -> float:
    """Return a process's memory, MB; shared pages are divided among those that share them."""
    try:
        lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:")), 0.0)


if __name__ == "__main__":
    sys.exit(main())
