"""``ewmalab backtest``."""

from __future__ import annotations

from typing import Annotated

import typer

from ewmalab.cli import common


def backtest(
    start: Annotated[str, typer.Option(help="First start time, e.g. 2026-01-15 (UTC).")],
    days: Annotated[float, typer.Option(min=0.001, help="Days of prompts.")] = 1.0,
    forecaster: Annotated[
        list[str] | None,
        typer.Option(
            "--forecaster",
            "-f",
            metavar="NAME",
            help="ewma, ewma@seed, seasonal-har, random-walk or package.module:attribute. Repeatable; the last is the "
            "baseline.",
        ),
    ] = None,
    assets: common.AssetsOption = None,
    competitions: common.CompetitionsOption = None,
    rules: common.RulesOption = "as-of",
    feed: common.FeedOption = None,
    scored_feed: common.ScoredFeedOption = None,
    cadence: common.CadenceOption = None,
    request_lead: Annotated[str | None, typer.Option(help="Time between request and start, e.g. 60s.")] = None,
    simulations: common.SimulationsOption = None,
    refit: Annotated[
        str | None, typer.Option(help="Fit forecasters that have a fit anew so often, on the bars known then, e.g. 1d.")
    ] = None,
    seed: common.SeedOption = None,
    threads: Annotated[int | None, typer.Option(min=0, help="Worker threads; 0: one per processor.")] = None,
    partial: common.PartialOption = False,
    name: Annotated[str, typer.Option(help="Part of the experiment directory's name.")] = "backtest",
    json: common.Json = False,
    config: common.ConfigFile = None,
    set_: common.Assignments = None,
) -> None:
    """Replay prompts on cached bars and score the forecasts.

    Forecasters see only bars that were closed when each request arrived.
    Bars of the synthetic feed are made on the fly; those of real feeds come
    from the cache: see `ewmalab data fetch` and `ewmalab data import`.

    Examples:

      ewmalab backtest --start 2026-01-15 --days 7

      ewmalab backtest --start 2026-01-15 --feed simulated --assets BTC,ETH

      ewmalab backtest --start 2026-01-08 --days 7 -f ewma -f ewma@seed

      ewmalab backtest --start 2026-01-08 --days 7 -f seasonal-har -f ewma --refit 1d
    """
    common.check_name(name)
    begin = common.when(start)
    loaded = common.settings(
        config,
        set_,
        {
            "run.seed": seed,
            "run.threads": threads,
            "data.feed": feed,
            "data.scored_feed": scored_feed,
            "replay.request_lead": request_lead,
            "fit.every": refit,
        },
    )
    from ewmalab.replay.backtest import backtest as run
    from ewmalab.replay.backtest import plan_backtest
    from ewmalab.report.text.backtest import backtest_text
    from ewmalab.rulebook import RuleChoice

    step = common.duration(cadence, "--cadence")
    now = common.present()
    with common.progress(quiet=json) as bar:
        task = bar.add_task("reading bars", total=None)
        plan = plan_backtest(
            loaded,
            start=begin,
            days=days,
            rules=RuleChoice.parse(rules),
            competitions=common.commas(competitions),
            assets=common.upper(assets),
            forecasters=forecaster,
            cadence=step,
            num_simulations=simulations,
            partial=partial,
            now=now,
        )
        bar.update(task, description="replaying", total=plan.prompts)
        for warning in plan.warnings():
            common.say(warning)
        experiment = run(
            plan,
            now=now,
            name=name,
            threads=common.threads(loaded.values.run.threads),
            progress=lambda done: bar.advance(task, done),
            render=backtest_text,
        )
    for remark in plan.remarks():
        common.say(remark)
    if json:
        common.print_json(
            {
                "experiment": str(experiment.path),
                "synthetic": plan.data.synthetic,
                "summary": experiment.summary,
            }
        )
        return
    print((experiment.path / "summary.txt").read_text(encoding="utf-8"), end="")
    print(f"experiment: {experiment.path}")
