"""How many prompts validators send and score, and what each asset counts for in the average of a competition.

    python benchmarks/prompts.py

For six dates: prompts of a day by asset, and the share of each asset in the rolling average of its competition, which
is weighted by asset: once if all sent prompts counted, and once as validators count. No bars are needed.
"""

from __future__ import annotations

import argparse
from collections import Counter

from ewmalab.replay.schedule import Which, schedule
from ewmalab.report.text.tables import plain_table
from ewmalab.rulebook import RuleChoice, Rules, load_rulebook
from ewmalab.times import DAY, parse_time

DATES = ("2026-01-08", "2026-05-30", "2026-06-10", "2026-06-28", "2026-07-10", "2026-10-05")


def counts(when: int, days: int, which: Which) -> Counter[tuple[str, str]]:
    """Return the number of prompts by competition and asset."""
    items = schedule(load_rulebook(), RuleChoice(), when, when + days * DAY, which=which)
    return Counter((item.prompt.competition, item.prompt.asset) for item in items)


def shares(found: Counter[tuple[str, str]], rules: Rules) -> dict[tuple[str, str], float]:
    """Return each asset's share of the weighted average of its competition."""
    mass = {key: count * rules.weight(key[1]) for key, count in found.items()}
    totals: dict[str, float] = {}
    for (competition, _), weight in mass.items():
        totals[competition] = totals.get(competition, 0.0) + weight
    return {key: weight / totals[key[0]] for key, weight in mass.items()}


def main() -> int:
    """Print a table for each date."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dates", nargs="+", default=list(DATES))
    parser.add_argument("--days", type=int, default=7, help="days that are counted and averaged")
    args = parser.parse_args()
    for date in args.dates:
        when = parse_time(date)
        rules = load_rulebook().at(when)
        sent, scored = (counts(when, args.days, which) for which in ("sent", "scored"))
        before, after = shares(sent, rules), shares(scored, rules)
        rows = [
            (
                competition,
                asset,
                f"{sent[competition, asset] / args.days:.1f}",
                f"{scored[competition, asset] / args.days:.1f}",
                f"{100 * before[competition, asset]:.1f}",
                f"{100 * after[competition, asset]:.1f}",
            )
            for competition, asset in sorted(sent)
        ]
        columns = ("competition", "asset", "sent a day", "scored a day", "share of sent, %", "share of scored, %")
        print(plain_table(columns, rows, f"{date}, {args.days} days"), end="\n\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
