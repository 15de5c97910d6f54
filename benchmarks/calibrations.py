"""The predecessor's two calibrations again: what it chose, what we choose on the same week, and what was noise.

    python benchmarks/calibrations.py [--published ../shared/docs/published_results.json]

Half-lives and nu, 2026-01-08, 7 days, its grids, its model (``ewma@seed``), honestly replayed. Its choice is the
present value, so the interval and the verdict say whether anything beats it. The same from the command line:

    ewmalab sweep -f ewma@seed -p HALF_LIFE_1M -p HALF_LIFE_5M --values 15m,30m,1h,2h,4h,8h,12h,1d \\
        --start 2026-01-08 --days 7 --rules 2026-01-28
    ewmalab sweep -f ewma@seed -p NU_1M -p NU_5M --values 2.1,3,5,6,7,7.5,8,8.5,9,9.5,10,15,20,30 \\
        --start 2026-01-08 --days 7 --rules 2026-01-28
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

from machine import describe

from ewmalab.report.text.tables import plain_table
from ewmalab.rulebook import RuleChoice
from ewmalab.settings import load_settings
from ewmalab.sweeps.sweep import sweep, workload_of
from ewmalab.times import parse_time
from ewmalab.units import format_duration

GRIDS = {
    "half_life_seconds": (("half_life_1m", "half_life_5m"), ["15m", "30m", "1h", "2h", "4h", "8h", "12h", "1d"]),
    "nu": (("nu_1m", "nu_5m"), ["2.1", "3", "5", "6", "7", "7.5", "8", "8.5", "9", "9.5", "10", "15", "20", "30"]),
}
PARAMETER = {("half_life_seconds", "1h"): "half_life_1m", ("half_life_seconds", "24h"): "half_life_5m",
             ("nu", "1h"): "nu_1m", ("nu", "24h"): "nu_5m"}  # fmt: skip
PREDECESSOR_SECONDS = 8 * 840.0


def main() -> int:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--published", type=Path, default=Path("../shared/docs/published_results.json"))
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    published = json.loads(args.published.read_text())
    flags: dict[str, Any] = {}
    for kind, competition in (("half_life_seconds", "1h"), ("half_life_seconds", "24h"), ("nu", "1h"), ("nu", "24h")):
        for asset, found in published[kind][competition].items():
            value = format_duration(int(found["best"])) if kind == "half_life_seconds" else found["best"]
            flags[f"ewma.{PARAMETER[kind, competition]}.{asset}"] = value
    print(describe())
    for kind, (names, values) in GRIDS.items():
        # nu was calibrated at the half-lives in use, not at those just found: each search starts from the table's
        own = {key: value for key, value in flags.items() if key.split(".")[1] in names}
        settings = load_settings(flags=own)
        workload = workload_of(
            settings,
            forecaster="ewma@seed",
            start=parse_time("2026-01-08"),
            days=7,
            rules=RuleChoice.parse("2026-01-28"),
        )
        began = perf_counter()
        result = sweep(
            settings,
            dict.fromkeys(names, values),
            now=1_800_000_000,
            workload=workload,
            workers=args.workers,
            fresh=True,
        )
        seconds = perf_counter() - began
        rows = []
        for row, cell in zip(result.summary, result.cells, strict=True):
            theirs = published[kind][row["competition"]][row["asset"]]
            alike = [v["label"] for v in row["values"] if v["indistinguishable"]]
            interval = (
                "-"
                if row["best"] == row["configured"]
                else (f"{100 * row['change']:+.2f} [{100 * row['change_low']:+.2f}, {100 * row['change_high']:+.2f}]")
            )
            choice = row["values"][cell.configured]["indistinguishable"]
            verdict = "beaten" if row["verdict"] == "better" else "noise" if len(alike) > 1 and choice else "stands"
            rows.append(
                (row["competition"], row["asset"], row["configured"], f"{theirs['mean_crps']:.2f}",
                 f"{row['mean_crps_configured']:.2f}", row["best"], f"{row['mean_crps_best']:.2f}", interval,
                 f"{row['p_holm']:.2f}", f"{alike[0]}..{alike[-1]}", verdict)
            )  # fmt: skip
        columns = (
            "comp.",
            "asset",
            "chosen",
            "published",
            "replayed",
            "our best",
            "CRPS",
            "change % [95 %]",
            "p",
            "not told apart",
            "its choice",
        )
        theirs_seconds = PREDECESSOR_SECONDS * len(values) / 8
        print(
            f"\n{', '.join(names)}: {seconds:.1f} s with {args.workers} threads, judged; predecessor 840 s a value by "
            f"its logs, {theirs_seconds:.0f} s: {theirs_seconds / seconds:.0f} times\n"
        )
        print(plain_table(columns, rows))
    print(
        "\nnoise: the data cannot tell its choice from other values; beaten: another value is better; stands: no other "
        "is as good"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
