"""``ewmalab rules``: what the subnet decided, by date."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from ewmalab.cli import common

app = typer.Typer(
    no_args_is_help=True, help="Show the rulebook.", epilog="Example:  ewmalab rules show --on 2026-01-15"
)


@app.command()
def show(
    on: Annotated[str, typer.Option(metavar="DATE", help="A date, or latest.")] = "latest",
    json: common.Json = False,
) -> None:
    """Print competitions, scoring, weights and feeds in force on a date.

    Examples:

      ewmalab rules show

      ewmalab rules show --on 2026-01-15 --json
    """
    from ewmalab.report.text.tables import wrapped
    from ewmalab.rulebook import RuleChoice, load_rulebook
    from ewmalab.times import iso
    from ewmalab.units import format_duration

    rulebook = load_rulebook()
    moment = rulebook.breakpoints()[-1] if on == "latest" else common.when(on, "--on")
    rules = RuleChoice().at(rulebook, moment)
    if json:
        common.print_json({"rulebook": rulebook.version, "on": iso(moment), **asdict(rules)})
        return
    print(f"rulebook {rulebook.version}, rules on {iso(moment)}\n(this set is in force since {iso(rules.on)})\n")
    if not rules.competitions:
        print(f"no competition yet: the first start on {iso(rules.first_start)}")
        return
    for c in rules.competitions.values():
        print(
            wrapped(
                f"{c.name}: {c.num_simulations} paths, {format_duration(c.time_increment)} steps over "
                f"{format_duration(c.time_length)}, window {format_duration(c.window)}, "
                f"softmax {c.beta:g}, share {c.share:.3g}",
                "  ",
            )
        )
        cadences: dict[int, list[str]] = {}
        for symbol in c.assets:
            cadences.setdefault(c.cadence[symbol], []).append(symbol)
        for seconds, names in cadences.items():
            print(wrapped(f"  every {format_duration(seconds)}: {' '.join(names)}", "    "))
        print(wrapped(f"  scoring {c.scoring.name}: {' '.join(i.name for i in c.scoring.intervals)}", "    "))
        if c.scoring.volatility_blocks:
            blocks = ", ".join(f"{format_duration(s)} x {w:.4g}" for s, w in c.scoring.volatility_blocks)
            print(f"  volatility term: {blocks}")
    print(
        f"\nprompt scores: {rules.transformation}   response format: {rules.response_format}\n"
        f"request lead: {rules.request_lead} s   minimum stake: {rules.min_stake}"
    )
    playing = dict.fromkeys(a for c in rules.competitions.values() for a in c.assets)
    rows = []
    for symbol in playing:
        asset = rules.assets[symbol]
        scored = f"{asset.scored_feed} {asset.symbols.get(asset.scored_feed or '', '')}"
        rows.append(
            (
                symbol,
                asset.asset_class,
                f"{rules.weight(symbol):.4f}",
                f"{rules.sigma_per_hour(symbol):.5f}",
                scored,
            )
        )
    print()
    print(common.table(("asset", "class", "weight", "reference sigma/h", "scored on"), rows))
    if rules.notes:
        print("\nuncertain:")
        for note in rules.notes:
            print(wrapped(f"  - {note}", "    "))
