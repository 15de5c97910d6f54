"""``ewmalab crps-test``: the offline test of the miner that the adapters stand in for."""

from __future__ import annotations

from typing import Annotated

import typer

from ewmalab.cli import common


def crps_test(
    start_day: Annotated[str, typer.Option(help="First day, e.g. 2026-01-15 (UTC).")],
    num_days: Annotated[int, typer.Option(min=1, help="Days of prompts.")] = 1,
    forecaster: common.ForecasterOption = "ewma",
    assets: common.AssetsOption = None,
    competitions: common.CompetitionsOption = None,
    rules: common.RulesOption = "as-of",
    feed: common.FeedOption = None,
    cadence: common.CadenceOption = None,
    json: common.Json = False,
    config: common.ConfigFile = None,
    set_: common.Assignments = None,
) -> None:
    """Score the adapter's functions on the prompts of some days.

    Every prompt goes through ewmalab.adapters.synth_simulations, as another
    program would call it: rounded prices included. `ewmalab backtest` does
    the same without the detour, and much faster.

    Examples:

      ewmalab crps-test --start-day 2026-01-15 --num-days 1

      ewmalab crps-test --start-day 2026-01-15 --feed simulated --assets BTC
    """
    begin = common.when(start_day, "--start-day")
    loaded = common.settings(config, set_, {"data.feed": feed, "live.forecaster": forecaster})
    from ewmalab.adapters.offline import offline_test
    from ewmalab.rulebook import RuleChoice

    step = common.duration(cadence, "--cadence")
    with common.progress(quiet=json) as bar:
        task = bar.add_task("scoring", total=None)
        result = offline_test(
            loaded, begin, num_days, rules=RuleChoice.parse(rules), competitions=common.commas(competitions),
            assets=common.upper(assets), cadence=step, now=common.present(),
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )  # fmt: skip
    if json:
        common.print_json({"synthetic": result.synthetic, "rows": result.rows})
        return
    if result.synthetic:
        print("SYNTHETIC DATA: simulated prices, not a market.\n")
    columns = ("competition", "asset", "prompts", "mean CRPS (bp)")
    print(
        common.table(columns, ((r["competition"], r["asset"], r["prompts"], f"{r['crps']:.3f}") for r in result.rows))
    )
