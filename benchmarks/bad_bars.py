"""Plant twenty kinds of wrong bars into a real week: what is caught, what is set aside wrongly, what forecasts cost.

    python benchmarks/bad_bars.py
    python benchmarks/bad_bars.py --extremes

Needs the folder with real bars (``--shared``, by default ``shared`` beside the repository); where it is absent, it says
so. Each kind is planted 50 times into the week of forecasts and the nine days before it, and stored twice: as it is
(``--keep-suspicious``), and with what import sets aside. Forecasters learn from these bars (``seasonal-har`` is fitted
to four weeks before) and are scored against the good ones. ``--extremes`` shows the largest true moves of all real bars
with what was decided about them.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from planted import KINDS, plant

from ewmalab.market.bars import Bars
from ewmalab.market.cache import Cache
from ewmalab.market.files.importer import Choices, import_file
from ewmalab.market.files.search import BarFile
from ewmalab.market.partition import Provenance
from ewmalab.market.quality import COLUMNS, rejects
from ewmalab.market.quality.sift import Doubts, sift
from ewmalab.replay.plan import plan_backtest
from ewmalab.replay.results import collect, results_schema, summarise
from ewmalab.report.text.tables import plain_table
from ewmalab.rulebook import RuleChoice, load_rulebook
from ewmalab.settings import load_settings
from ewmalab.times import DAY, HOUR, MINUTE, iso, parse_time

NAMES = ["ewma", "seasonal-har"]
WALK = "random-walk"
FITTED = 28  # days of bars that are fitted
BEFORE = 9  # days before the week with planted bars, more than a warm-up


def read(file: Path) -> Bars:
    """Return the bars of a file."""
    table = pq.read_table(file)
    return Bars.from_columns({name: table[name].to_numpy() for name in COLUMNS})


def crps(folder: Path, asset: str, span: tuple[int, int], rules: str) -> dict[tuple[str, str], float]:
    """Return mean CRPS by horizon and forecaster; bars of ``binance`` are learned from, ``hyperliquid`` is scored."""
    names = [*NAMES, WALK]
    flags = {
        "data.cache_dir": str(folder),
        "data.feed": "binance",
        "data.scored_feed": "hyperliquid",
        "fit.every": "7d",
        "fit.history": f"{FITTED}d",
    }
    settings = load_settings(environ={}, flags=flags)
    plan = plan_backtest(
        settings,
        forecasters=names,
        start=span[0],
        days=(span[1] - span[0]) / DAY,
        rules=RuleChoice.parse(rules),
        assets=[asset],
        cadence=2 * HOUR,
    )
    schema = results_schema(plan.rules, (item.prompt for items in plan.groups.values() for item in items))
    rows = summarise(collect(plan.blocks(threads=1), names, schema), WALK)
    return {(row.competition.split("-")[-1], row.forecaster): row.mean_crps for row in rows}


def stored(folder: Path, asset: str, columns: dict[str, Any], keep: bool, now: int) -> Bars:
    """Import columns; return what the cache has of them."""
    import pyarrow as pa

    file = folder / f"{asset}.parquet"
    pq.write_table(pa.table(columns), file)
    choices = Choices(replace=True, quarantine=True, doubts=Doubts(keep))
    cache = Cache(folder)
    import_file(cache, BarFile(file, "binance", asset), now=now, rulebook=load_rulebook(), choices=choices)
    return cache.read("binance", asset, int(columns["timestamp"][0]), now)


def week(args: argparse.Namespace) -> None:
    """Print the table of kinds."""
    start, end = parse_time(args.start), parse_time(args.start) + round(args.days * DAY)
    good = read(args.shared / args.file).between(start - (FITTED + BEFORE) * DAY, end + 2 * DAY)
    now = int(good.timestamp[-1]) + DAY
    learned = good.between(int(good.timestamp[0]), end)
    history = len(learned.between(0, start - BEFORE * DAY))
    span = (int(good.timestamp[0]), int(good.timestamp[-1]) + MINUTE)
    found: list[tuple[str, list[int], dict[str, dict[tuple[str, str], float]]]] = []
    for kind in ["none", *args.kinds]:
        columns, wrong = learned.columns(), np.zeros(len(learned), bool)
        if kind != "none":
            fault = plant({name: column[history:] for name, column in columns.items()}, kind, args.count)
            columns = {name: np.r_[columns[name][:history], column] for name, column in fault.columns.items()}
            wrong[history:] = fault.wrong
        scores: dict[str, dict[tuple[str, str], float]] = {}
        for way in ("aside", "kept"):
            if way == "kept" and rejects(columns):  # such rows cannot be stored
                scores[way] = {}
                continue
            with tempfile.TemporaryDirectory() as name:
                folder = Path(name)
                Cache(folder).write("hyperliquid", args.asset, good, [span], Provenance("file", now))
                bars = stored(folder, args.asset, columns, way == "kept", now)
                scores[way] = crps(folder, args.asset, (start, end), args.rules)
            if way == "aside":
                missing = ~bars.holds(learned.timestamp)
        counts = [int(wrong.sum()), int((missing & wrong).sum()), int((missing & ~wrong).sum())]
        found.append((kind, counts, scores))
        print(kind, *counts, scores, file=sys.stderr, flush=True)
    print(
        f"Wrong bars planted into {args.asset}, {iso(start)}, {args.days:g} days; {args.count} of a kind; {args.file}"
    )
    print("Change of mean CRPS against good bars: bars stored as they are (kept), and what import sets aside (aside)")
    clean = found[0][2]["aside"]
    for horizon in ("1h", "24h"):
        table = [
            (kind, *map(str, counts), *(_change(scores[way], clean, (horizon, n)) for n in NAMES for way in scores))
            for kind, counts, scores in found
        ]
        ways = [f"{name}, {way}" for name in NAMES for way in ("aside", "kept")]
        print(f"\n{horizon}\n" + plain_table(("kind", "wrong rows", "caught", "falsely", *ways), table))


def _change(scores: dict[tuple[str, str], float], clean: dict[tuple[str, str], float], key: tuple[str, str]) -> str:
    if not scores:
        return "-"
    ratio = scores[key] / clean[key]
    return f"{100 * (ratio - 1):+.2f} %" if ratio < 2 else f"x {ratio:.3g}"


def moves(shared: Path) -> Iterator[tuple[float, str, int, float, bool]]:
    """Yield size, market, time, share that was left a minute later, and verdict of the largest moves of each file."""
    for file in [*sorted(shared.glob("data/*/*.parquet")), *sorted(shared.glob("data_venues/*/*.parquet"))]:
        bars = read(file)
        sifted = sift(bars, Bars.empty(), file.stem)
        out = ~sifted.bars.holds(bars.timestamp)
        log_close = np.log(bars.close)
        sizes = np.abs(np.diff(log_close))
        for i in np.argsort(-sizes)[:20].tolist():
            behind = min(i + 2, len(bars) - 1)
            left = float((log_close[behind] - log_close[i]) / (log_close[i + 1] - log_close[i]))
            yield float(sizes[i]), f"{file.parent.name} {file.stem}", int(bars.timestamp[i + 1]), left, bool(out[i + 1])
        for i in np.flatnonzero(out).tolist():
            yield np.inf, f"{file.parent.name} {file.stem}", int(bars.timestamp[i]), np.nan, True


def extremes(args: argparse.Namespace) -> int:
    """Print the largest true moves; fail if a real bar is set aside."""
    found = sorted(moves(args.shared), reverse=True)
    rows = [
        (name, iso(at), f"{100 * size:.2f} %", f"{left:.2f}", "set aside" if out else "kept")
        for size, name, at, left, out in found[:20]
    ]
    print(plain_table(("market", "minute", "move of the close", "left a minute later", "verdict"), rows))
    aside = sum(out for *_, out in found)
    print(f"\n{aside} real bars set aside")
    return int(aside > 0)


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared")
    parser.add_argument("--file", default="data_venues/binance_spot_1m/BTC.parquet")
    parser.add_argument("--asset", default="BTC")
    parser.add_argument("--start", default="2025-08-07")
    parser.add_argument("--days", type=float, default=7)
    parser.add_argument("--rules", default="2026-01-28")
    parser.add_argument("--kinds", nargs="*", default=list(KINDS))
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--extremes", action="store_true")
    args = parser.parse_args()
    if not (args.shared / args.file).exists():
        print(f"skipped: no real bars at {args.shared / args.file}; name their folder with --shared")
        return 0
    if args.extremes:
        return extremes(args)
    week(args)
    return 0


if __name__ == "__main__":
    sys.exit(main())
