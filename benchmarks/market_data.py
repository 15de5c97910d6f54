"""How long minute bars take to import, list, verify and read, against plain pyarrow on the same bytes.

    python benchmarks/market_data.py
    python benchmarks/market_data.py --days 730     # two years

SYNTHETIC random walks, a Parquet file per asset, are imported into a cache in a temporary folder, in this process. The
rival is `pyarrow.parquet.read_table` on every file of that cache, which checks nothing; for the import it reads the
source files and writes the days' tables. Ratios are of one run, and the disk's cache is warm for all.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from machine import describe

from ewmalab.market.cache import Cache
from ewmalab.market.files.importer import import_file
from ewmalab.market.files.search import BarFile
from ewmalab.market.inventory import list_cached
from ewmalab.report.text.tables import plain_table
from ewmalab.rulebook import load_rulebook
from ewmalab.times import DAY, parse_time

START = parse_time("2024-10-01")
FEED = "pyth"


def write_source(path: Path, days: int, seed: int) -> None:
    """Write a synthetic random walk with ranges, without two minutes in a thousand."""
    rng = np.random.default_rng(seed)
    there = rng.random(days * 1440) > 0.002
    close = 100 * np.exp(np.cumsum(rng.normal(0, 5e-4, days * 1440)))
    open_ = np.r_[close[0], close[:-1]]
    columns = {
        "timestamp": START + 60 * np.arange(days * 1440),
        "open": open_,
        "high": np.maximum(open_, close) * (1 + 1e-4 * rng.random(days * 1440)),
        "low": np.minimum(open_, close) * (1 - 1e-4 * rng.random(days * 1440)),
        "close": close,
    }
    pq.write_table(pa.table({name: column[there] for name, column in columns.items()}), path)


def take(cache: Cache, sources: list[Path], days: int) -> int:
    """Import all files; return the number of bars."""
    now = START + (days + 30) * DAY
    done = [import_file(cache, BarFile(path, FEED, path.stem), now=now, rulebook=load_rulebook()) for path in sources]
    return sum(one.bars for found in done for one in found)


def plain_import(sources: list[Path], folder: Path) -> int:
    """Read the sources and write a file per day, with pyarrow alone."""
    count = 0
    for path in sources:
        table = pq.read_table(path)
        day = table["timestamp"].to_numpy() // DAY
        edges = np.flatnonzero(np.diff(day, prepend=-1, append=-1))
        (folder / path.stem).mkdir(parents=True)
        for a, b in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
            pq.write_table(table.slice(a, b - a), folder / path.stem / f"{day[a]}.parquet", compression="zstd")
        count += table.num_rows
    return count


def measured(work: Callable[[], int], expected: int) -> tuple[float, float]:
    """Return seconds and processor seconds of work that must find all bars."""
    start, used = time.perf_counter(), time.process_time()
    found = work()
    took = time.perf_counter() - start, time.process_time() - used
    if found != expected:
        raise SystemExit(f"{found} bars instead of {expected}")
    return took


def main() -> int:
    """Print a table: seconds, those of pyarrow, and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--days", type=int, default=120)
    parser.add_argument("--assets", type=int, default=13, help="the first of the rulebook's")
    args = parser.parse_args()
    symbols = load_rulebook().symbols[: args.assets]
    span = (START, START + args.days * DAY)
    with tempfile.TemporaryDirectory() as folder:
        root, cache = Path(folder), Cache(Path(folder) / "cache")
        sources = [root / f"{symbol}.parquet" for symbol in symbols]
        for seed, path in enumerate(sources):
            write_source(path, args.days, seed)
        bars = sum(pq.read_metadata(path).num_rows for path in sources)
        took = {"import": measured(lambda: take(cache, sources, args.days), bars)}
        plain = {"import": measured(lambda: plain_import(sources, root / "plain"), bars)}
        files = sorted((root / "cache").rglob("*.parquet"))
        size = sum(path.stat().st_size for path in files)
        reading = measured(lambda: sum(pq.read_table(path).num_rows for path in files), bars)
        plain |= dict.fromkeys(("list", "verify", "read"), reading)
        took["list"] = measured(lambda: sum(one.coverage.bars for one in list_cached(cache)), bars)
        took["verify"] = measured(lambda: sum(one.coverage.bars for one in list_cached(cache, thorough=True)), bars)
        took["read"] = measured(lambda: sum(len(cache.read(FEED, symbol, *span)) for symbol in symbols), bars)
    print(describe())
    title = f"SYNTHETIC: {len(symbols)} assets, {args.days} days, {bars / 1e6:.1f} million bars, "
    title += f"{len(files)} files, {size / 1e6:.0f} MB"
    rows = [
        (name, *(f"{value:.2f}" for value in (*ours, *plain[name])), f"{ours[1] / plain[name][1]:.2f}")
        for name, ours in took.items()
    ]
    columns = ("step", "seconds", "processor", "pyarrow, seconds", "processor", "ratio (processor)")
    print(plain_table(columns, rows, title))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
