"""The week of the predecessor's table, honestly replayed, and what honesty costs.

    python benchmarks/honesty.py

Needs the real bars in the cache (``ewmalab data import ../shared/data/*``). Each forecaster is replayed with
requests a minute before the start time (honest: what a live miner knows), at the start time, and a minute after it:
then state and anchor know the candle labelled by the start time, as the predecessor's harness let them.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace

from ewmalab.replay.plan import plan_backtest
from ewmalab.replay.results import collect, results_schema, summarise
from ewmalab.report.text.tables import plain_table
from ewmalab.rulebook import RuleChoice
from ewmalab.settings import load_settings
from ewmalab.times import parse_time

LEADS = {"60 s before": 60, "at start": 0, "60 s after (future)": -60}


def main() -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--start", default="2026-01-08")
    parser.add_argument("--days", type=float, default=7)
    parser.add_argument("--rules", default="2026-01-28")
    parser.add_argument("--cache", default="data_cache")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    names = ["ewma", "ewma@seed", "random-walk"]
    plan = plan_backtest(
        load_settings(environ={}, flags={"data.cache_dir": args.cache}),
        start=parse_time(args.start), days=args.days, rules=RuleChoice.parse(args.rules), forecasters=names,
    )  # fmt: skip
    schema = results_schema(plan.rules, (item.prompt for items in plan.groups.values() for item in items))
    found: dict[tuple[str, str, str, str], float] = {}
    for label, lead in LEADS.items():
        groups = {
            group: [replace(i, prompt=replace(i.prompt, request_time=i.prompt.start_time - lead)) for i in items]
            for group, items in plan.groups.items()
        }
        blocks = replace(plan, groups=groups).blocks(threads=args.threads)
        for row in summarise(collect(blocks, names, schema), "random-walk"):
            found[row.competition, row.asset, row.forecaster, label] = row.mean_crps
    honest, _, future = LEADS
    print(f"Mean CRPS (bp), {args.start}, {args.days:g} days, rules {args.rules}, requests 60 s before the start\n")
    table = []
    for competition, asset in plan.groups:
        values = [found[competition, asset, name, honest] for name in names]
        walk = values[-1]
        cells = [f"{v:.2f}" for v in values]
        changes = [f"{100 * (v / walk - 1):+.2f} %" for v in values[:-1]]
        table.append((competition, asset, cells[0], changes[0], cells[1], changes[1], cells[2]))
    print(plain_table(("competition", "asset", "ewma", "change", "ewma@seed", "change", "random-walk"), table))
    print("\nCost of honesty: mean CRPS with requests 60 s before the start (and at it)")
    print("against those that know the candle labelled by the start time\n")
    columns = ["competition", "asset"]
    for name in names:
        columns += [f"{name}, 60 s", "at start"]
    table = []
    for competition, asset in plan.groups:
        cells = []
        for name in names:
            best = found[competition, asset, name, future]
            cells += [f"{100 * (found[competition, asset, name, k] / best - 1):+.3f} %" for k in list(LEADS)[:2]]
        table.append((competition, asset, *cells))
    print(plain_table(columns, table))
    return 0


if __name__ == "__main__":
    sys.exit(main())
