"""``ewmalab tune``."""

from __future__ import annotations

from typing import Annotated

import typer

from ewmalab.cli import common


def tune(
    param: Annotated[
        list[str],
        typer.Option("--param", "-p", metavar="NAME", help="Setting to search, e.g. HALF_LIFE_1M. Repeatable."),
    ],
    values: Annotated[
        list[str] | None,
        typer.Option(metavar="LOW,HIGH", help="Bounds, e.g. 5m,6h; one list per --param; default: those of its grid."),
    ] = None,
    trials: Annotated[int, typer.Option(min=2, help="Trials per competition and asset, earlier ones included.")] = 60,
    holdout: Annotated[
        float, typer.Option(min=0.05, max=0.9, help="Share of the days, at the end, that only judges.")
    ] = 0.3,
    study: Annotated[
        str | None,
        typer.Option(metavar="FILE|URL", help="Journal or database of the studies; several processes may share it."),
    ] = None,
    start: common.StartOption = None,
    days: common.DaysOption = 14.0,
    forecaster: common.ForecasterOption = "ewma",
    assets: common.AssetsOption = None,
    competitions: common.CompetitionsOption = None,
    rules: common.RulesOption = "as-of",
    feed: common.FeedOption = None,
    scored_feed: common.ScoredFeedOption = None,
    cadence: common.CadenceOption = None,
    simulations: common.SimulationsOption = None,
    seed: common.SeedOption = None,
    partial: common.PartialOption = False,
    exact: common.ExactOption = False,
    write_config: common.WriteConfigOption = None,
    force: common.ForceOption = False,
    workers: common.WorkersOption = 0,
    name: Annotated[str, typer.Option(help="Part of the experiment directory's name.")] = "tune",
    json: common.Json = False,
    config: common.ConfigFile = None,
    set_: common.Assignments = None,
) -> None:
    """Search several settings at once, and judge the best on days it was not chosen on.

    One study per competition and asset. The same command goes on where an
    interrupted one stopped; processes with one --study share the work.

    Examples:

      ewmalab tune -p HALF_LIFE_1M -p NU_1M --competitions 1h

      ewmalab tune -p HALF_LIFE_5M -p FEEDBACK --trials 100 --study tune.journal

      ewmalab tune -p HALF_LIFE_1M --study sqlite:///tune.db

      ewmalab tune -p HALF_LIFE_1M --values 5m,6h --write-config tuned.toml
    """
    from ewmalab.report.text.sweep import tune_text
    from ewmalab.rulebook import RuleChoice
    from ewmalab.sweeps.config_file import refuse_existing
    from ewmalab.sweeps.config_file import write_config as write
    from ewmalab.sweeps.sweep import save_sweep, workload_of
    from ewmalab.sweeps.trials import TrialStore
    from ewmalab.sweeps.tune import tune as run

    common.check_name(name)
    refuse_existing(write_config)
    chosen = common.value_lists(param, values)
    loaded = common.settings(config, set_, {"run.seed": seed, "data.feed": feed, "data.scored_feed": scored_feed})
    now = common.present()
    workload = workload_of(
        loaded, forecaster=forecaster, start=common.when(start) if start else None, days=days,
        rules=RuleChoice.parse(rules), competitions=common.commas(competitions), assets=common.upper(assets),
        cadence=common.duration(cadence, "--cadence"), num_simulations=simulations, partial=partial, exact=exact,
    )  # fmt: skip
    try:
        with common.trials(json) as progress:
            result = run(
                workload, chosen, now=now, trials=trials, holdout=holdout, study=study,
                store=TrialStore.of(loaded),
                workers=common.threads(workers or loaded.values.run.threads), progress=progress,
            )  # fmt: skip
    except KeyboardInterrupt:
        common.say("\nstopped; finished trials are kept: the same command goes on")
        raise typer.Exit(130) from None
    held_out = result.held_out
    text = tune_text(result.chosen, held_out.summary, held_out.inputs)
    experiment = save_sweep(held_out, now=now, name=name, text=text, notes={"chosen": result.chosen})
    if not json:
        print(text, end="")
    refused = write(write_config, held_out, now=now, force=force) if write_config else []
    if json:
        common.print_json(
            {
                "experiment": str(experiment.path),
                "result": held_out.digest(),
                "synthetic": held_out.inputs["synthetic"],
                "chosen": result.chosen,
                "held_out": held_out.summary,
            }
        )
        return
    if write_config:
        common.print_written(write_config, refused)
    print(f"result {held_out.digest()[:16]}; experiment: {experiment.path}")
