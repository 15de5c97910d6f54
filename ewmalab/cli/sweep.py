"""``ewmalab sweep`` and ``ewmalab tune``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from ewmalab import api
from ewmalab.cli import common, complete


def sweep(
    param: Annotated[
        list[str] | None,
        typer.Option(
            "--param",
            "-p",
            metavar="NAME",
            help="Setting to vary, e.g. HALF_LIFE_1M. Repeatable: a grid.",
            autocompletion=complete.names("parameters"),
        ),
    ] = None,
    values: Annotated[
        list[str] | None,
        typer.Option(
            metavar="A,B,C", help="Values of the parameter, e.g. 15m,30m,1h; one list per --param, or one for all."
        ),
    ] = None,
    start: common.Start = None,
    days: common.Days = 7.0,
    forecaster: common.Forecaster = "ewma",
    assets: common.Assets = None,
    competitions: common.Competitions = None,
    rules: common.Rules = "as-of",
    feed: common.Feed = None,
    scored_feed: common.ScoredFeed = None,
    prompts: common.PromptSource = "scored",
    cadence: common.Cadence = None,
    simulations: common.Simulations = None,
    seed: common.Seed = None,
    partial: common.Partial = False,
    exact: common.Exact = False,
    replicates: Annotated[
        int | None,
        typer.Option(min=2, max=64, help="Independent sets of random numbers; default 4, prompt by prompt 2."),
    ] = None,
    walk_forward: Annotated[
        str | None, typer.Option(metavar="5d/1d", help="Choose on one window, score on the next, rolling.")
    ] = None,
    write_config: common.WriteConfig = None,
    force: common.Force = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Without --param: resume the newest interrupted sweep.")
    ] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Recompute trials known from earlier runs.")] = False,
    engine: common.Engine = "threads",
    workers: common.Workers = 0,
    scheduler: common.Scheduler = None,
    name: common.Name = "sweep",
    json: common.Json = False,
    config: common.ConfigFile = None,
    set_: common.Assignments = None,
) -> None:
    """Try values of settings on the same prompts; say which is best, and how certain that is.

    Every value is scored on the same prompts with the same random numbers.
    Finished trials are kept: an interrupted sweep resumes where it stopped,
    and a wider grid computes only what is new.

    Examples:

      ewmalab sweep --param HALF_LIFE_1M

      ewmalab sweep --param HALF_LIFE_1M --values 15m,30m,1h --assets BTC --start 2026-01-08

      ewmalab sweep --param NU_5M --param HALF_LIFE_5M --competitions 24h --walk-forward 5d/1d

      ewmalab sweep --param FEEDBACK --engine dask --scheduler tcp://10.0.0.5:8786

      ewmalab sweep --param HALF_LIFE_1M --write-config ewmalab.toml
    """
    flags = {"run.seed": seed, "data.feed": feed, "data.scored_feed": scored_feed}
    settings = common.settings(config, set_, flags)
    if param:
        selection: api.Prompts = {
            "start": start,
            "days": days,
            "assets": assets,
            "competitions": competitions,
            "rules": rules,
            "prompts": prompts,
            "cadence": cadence,
            "num_simulations": simulations,
            "partial": partial,
        }
        request = api.SweepRequest(
            common.value_lists(param, values),
            settings,
            selection,
            forecaster,
            exact=exact,
            replicates=replicates,
            walk_forward=walk_forward,
            name=name,
            write_config=write_config,
            force=force,
        )
    elif resume:
        request = api.unfinished_sweep(settings)
        common.say("resuming " + " ".join(f"--param {one}" for one in request.parameters))
    else:
        raise typer.BadParameter("name at least one setting, e.g. HALF_LIFE_1M", param_hint="--param")
    with common.progress(json, "trials", common.RESUME_SWEEP) as progress:
        result = api.run_sweep(
            request,
            fresh=fresh,
            engine=engine,  # type: ignore[arg-type]  # checked there
            workers=workers,
            scheduler=scheduler,
            progress=progress,
        )
    common.show(result, json)
    if request.write_config:
        _write(result, request.write_config, request.force, json)


def tune(
    param: Annotated[
        list[str],
        typer.Option(
            "--param",
            "-p",
            metavar="NAME",
            help="Setting to search, e.g. HALF_LIFE_1M. Repeatable.",
            autocompletion=complete.names("parameters"),
        ),
    ],
    values: Annotated[
        list[str] | None,
        typer.Option(metavar="LOW,HIGH", help="Bounds, e.g. 5m,6h; one list per --param; default: those of its grid."),
    ] = None,
    trials: Annotated[
        int, typer.Option(min=2, max=100_000, help="Trials per competition and asset, earlier ones included.")
    ] = 60,
    holdout: Annotated[
        float, typer.Option(min=0.05, max=0.9, help="Share of the days, at the end, held out for judging.")
    ] = 0.3,
    study: Annotated[
        str | None,
        typer.Option(metavar="FILE|URL", help="Journal or database of the studies; several processes may share it."),
    ] = None,
    start: common.Start = None,
    days: common.Days = 14.0,
    forecaster: common.Forecaster = "ewma",
    assets: common.Assets = None,
    competitions: common.Competitions = None,
    rules: common.Rules = "as-of",
    feed: common.Feed = None,
    scored_feed: common.ScoredFeed = None,
    prompts: common.PromptSource = "scored",
    cadence: common.Cadence = None,
    simulations: common.Simulations = None,
    seed: common.Seed = None,
    partial: common.Partial = False,
    exact: common.Exact = False,
    write_config: common.WriteConfig = None,
    force: common.Force = False,
    workers: common.Workers = 0,
    name: common.Name = "tune",
    json: common.Json = False,
    config: common.ConfigFile = None,
    set_: common.Assignments = None,
) -> None:
    """Search several settings at once, and judge the best on held-out days.

    One study per competition and asset. The same command resumes an
    interrupted one. Processes with the same --study share the work.

    Examples:

      ewmalab tune -p HALF_LIFE_1M -p NU_1M --competitions 1h

      ewmalab tune -p HALF_LIFE_5M -p FEEDBACK --trials 100 --study tune.journal

      ewmalab tune -p HALF_LIFE_1M --study sqlite:///tune.db

      ewmalab tune -p HALF_LIFE_1M --values 5m,6h --write-config tuned.toml
    """
    flags = {"run.seed": seed, "data.feed": feed, "data.scored_feed": scored_feed}
    with common.progress(json, "trials", common.SAME_COMMAND) as progress:
        result = api.tune(
            common.value_lists(param, values),
            forecaster=forecaster,
            exact=exact,
            trials=trials,
            holdout=holdout,
            study=study,
            start=start,
            days=days,
            assets=assets,
            competitions=competitions,
            rules=rules,
            prompts=prompts,
            cadence=cadence,
            num_simulations=simulations,
            partial=partial,
            name=name,
            threads=workers,
            settings=common.settings(config, set_, flags),
            progress=progress,
        )
    common.show(result, json)
    if write_config:
        _write(result, write_config, force, json)


def _write(result: Any, path: Path, force: bool, json: bool) -> None:
    """Write a settings file; with ``--json`` print nothing more than the result."""
    try:
        written = api.write_config(result, path, force=force)
    except api.EwmalabError as error:
        common.say(f"ewmalab: {error}")
        raise typer.Exit(error.exit_code) from None
    if not json:
        common.show(written, json)
