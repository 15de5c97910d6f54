"""Memory of `ewmalab live score` on logs of two lengths, with SYNTHETIC prices and generated records.

    python benchmarks/score_memory.py
    python benchmarks/score_memory.py --days 5 30

Each day has as many lines as a busy miner writes (46 MB), and few distinct prompts, so that reading and not simulating
takes the time. Each log is scored in a process of its own, whose peak is told.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import orjson
from machine import describe

from ewmalab.live.audit.answer_log import AnswerLog, LiveLog
from ewmalab.live.audit.track_record import track_record
from ewmalab.market.cache import Cache
from ewmalab.market.feeds.simulated import SimulatedFeed
from ewmalab.market.partition import Provenance
from ewmalab.rulebook import load_rulebook
from ewmalab.settings import LoadedSettings, load_settings
from ewmalab.times import DAY, MINUTE, day_name, parse_time

BEGIN = parse_time("2026-10-01")
LINES, PROMPTS = 42_000, 24  # of a day


def main() -> int:
    """Generate, score and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, nargs=2, default=[3, 12], help="lengths of the two logs")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)  # of the log that a child scores
    options = parser.parse_args()
    if options.folder:
        found = track_record(
            LiveLog.read(options.folder / "log", answers=False), settings_of(options.folder), now=2**40
        )
        print(found.settled, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6)
        return 0
    print(describe())
    peaks = []
    for days in options.days:
        with tempfile.TemporaryDirectory() as folder:
            size = generate(Path(folder), days)
            command = [sys.executable, __file__, "--folder", folder]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            settled, peak = done.stdout.split()
        peaks.append(float(peak))
        print(f"{days} days, {size / 1e6:.0f} MB of log, {settled} prompts scored: peak {peaks[-1]:.0f} MB", flush=True)
    print(f"{(peaks[1] - peaks[0]) / (options.days[1] - options.days[0]):.2f} MB per day of log")
    return 0


def settings_of(folder: Path) -> LoadedSettings:
    """Return settings that name the folders of a generated log."""
    places = {"data.cache_dir": "cache", "live.state_dir": "state", "live.log_dir": "log"}
    flags = {key: str(folder / name) for key, name in places.items()} | {"replay.warmup": "1d"}
    return load_settings(environ={}, flags=flags)


def generate(folder: Path, days: int) -> int:
    """Write bars and a log; return its size."""
    end = BEGIN + (days + 2) * DAY
    bars = SimulatedFeed(load_rulebook(), seed=7, gaps=0.0).fetch("BTC", BEGIN - 3 * DAY, end, end)
    cache, source = Cache(folder / "cache"), Provenance("generated", end, synthetic=True)
    cache.write("simulated-7", "BTC", bars, [(BEGIN - 3 * DAY, end)], source)
    digest, size = AnswerLog(folder / "log", False).record_settings(settings_of(folder)), 0
    for day in range(days):
        lines = []
        for i in range(LINES):
            start = BEGIN + day * DAY + i * PROMPTS // LINES * (DAY // PROMPTS) + 10 * MINUTE
            lines.append(orjson.dumps(record(start, digest, i), option=orjson.OPT_APPEND_NEWLINE))
        data = b"".join(lines)
        (folder / "log" / f"answers-{day_name(BEGIN + day * DAY)}.jsonl").write_bytes(data)
        size += len(data)
    return size


def record(start: int, settings: str, number: int) -> dict[str, object]:
    """Return an answer with all fields that a miner writes."""
    newest = start - 2 * MINUTE
    return {
        "start_time": start, "competition": "crypto-1h", "asset": "BTC", "request_time": start - 60,
        "time_increment": 60, "time_length": 3600, "num_simulations": 60, "forecaster": "ewma", "seed": 3,
        "parameters": "p" * 64, "settings": settings, "feed": "simulated-7", "synthetic": True, "generation": number,
        "saved_at": newest + MINUTE, "newest": newest, "age": 1.234, "aged": False, "state_sha256": f"{number:064x}",
        "anchor": {"price": 60_000.0, "at": start - 65.0, "source": "binance"}, "paths_sha256": f"{number + 1:064x}",
        "body_sha256": f"{number + 2:064x}", "seconds": {"simulate": 0.012345, "render": 0.006789, "total": 0.05},
        "received": start - 60.0 + number / LINES, "caller": "5F3sa2TJAWMqDhXG6jhV4N8ko9SxwGy8TpaNS1repo5EYjQX",
        "uuid": "7d2d7e0c-9f8e-4f6c-8f60-0e3d9c5f5e11", "status": 200, "bytes": 2_400_000,
    }  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
