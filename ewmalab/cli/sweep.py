"""``ewmalab sweep``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ewmalab.cli import common

if TYPE_CHECKING:
    from ewmalab.settings import LoadedSettings


def sweep(
    param: Annotated[
        list[str] | None,
        typer.Option("--param", "-p", metavar="NAME", help="Setting to vary, e.g. HALF_LIFE_1M. Repeatable: a grid."),
    ] = None,
    values: Annotated[
        list[str] | None,
        typer.Option(
            metavar="A,B,C", help="Values of the parameter, e.g. 15m,30m,1h; one list per --param, or one for all."
        ),
    ] = None,
    start: common.StartOption = None,
    days: common.DaysOption = 7.0,
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
    replicates: Annotated[
        int | None,
        typer.Option(min=2, max=64, help="Independent sets of random numbers; default 4, or 2 prompt by prompt."),
    ] = None,
    walk_forward: Annotated[
        str | None, typer.Option(metavar="5d/1d", help="Choose on one window, score on the next, rolling.")
    ] = None,
    write_config: common.WriteConfigOption = None,
    force: common.ForceOption = False,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Without --param: go on with the newest sweep that did not end."),
    ] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Compute also trials known from earlier runs.")] = False,
    engine: common.EngineOption = "threads",
    workers: common.WorkersOption = 0,
    scheduler: common.SchedulerOption = None,
    name: Annotated[str, typer.Option(help="Part of the experiment directory's name.")] = "sweep",
    json: common.Json = False,
    config: common.ConfigFile = None,
    set_: common.Assignments = None,
) -> None:
    """Try values of settings on the same prompts and say which is best, and how sure that is.

    Every value meets the same prompts and the same random numbers. Finished
    trials are kept: an interrupted sweep goes on where it stopped, and a
    wider grid computes only what is new.

    Examples:

      ewmalab sweep --param HALF_LIFE_1M

      ewmalab sweep --param HALF_LIFE_1M --values 15m,30m,1h --assets BTC --start 2026-01-08

      ewmalab sweep --param NU_5M --param HALF_LIFE_5M --competitions 24h --walk-forward 5d/1d

      ewmalab sweep --param FEEDBACK --engine dask --scheduler tcp://10.0.0.5:8786

      ewmalab sweep --param HALF_LIFE_1M --write-config ewmalab.toml
    """
    options = {
        key: str(value) if isinstance(value, Path) else value
        for key, value in locals().items()
        if key not in ("resume", "json", "fresh", "engine", "workers", "scheduler")
    }
    from ewmalab.sweeps.config_file import refuse_existing

    loaded = common.settings(config, set_, {"run.seed": seed, "data.feed": feed, "data.scored_feed": scored_feed})
    if not param:
        if not resume:
            raise typer.BadParameter("name at least one setting, e.g. HALF_LIFE_1M", param_hint="--param")
        options = _unfinished(loaded)
        loaded = common.settings(
            Path(options["config"]) if options["config"] else None, options["set_"],
            {"run.seed": options["seed"], "data.feed": options["feed"], "data.scored_feed": options["scored_feed"]},
        )  # fmt: skip
        common.say("going on with " + " ".join(f"--param {p}" for p in options["param"]))
    refuse_existing(Path(options["write_config"]) if options["write_config"] else None)
    _run(loaded, options, engine, workers, scheduler, fresh, json)


def _run(
    loaded: LoadedSettings, options: dict[str, Any], engine: str, workers: int, scheduler: str | None,
    fresh: bool, json: bool,
) -> None:  # fmt: skip
    from time import perf_counter

    from ewmalab.report.text.sweep import sweep_text
    from ewmalab.rulebook import RuleChoice
    from ewmalab.sweeps.sweep import parse_walk_forward, save_sweep, workload_of
    from ewmalab.sweeps.sweep import sweep as run
    from ewmalab.times import iso

    common.check_name(options["name"])
    chosen = common.value_lists(options["param"], options["values"])
    if options["walk_forward"]:
        parse_walk_forward(options["walk_forward"])
    began = perf_counter()
    now = common.present()
    workload = workload_of(
        loaded, forecaster=options["forecaster"], start=common.when(options["start"]) if options["start"] else None,
        days=options["days"], rules=RuleChoice.parse(options["rules"]),
        competitions=common.commas(options["competitions"]), assets=common.upper(options["assets"]),
        cadence=common.duration(options["cadence"], "--cadence"), num_simulations=options["simulations"],
        partial=options["partial"], exact=options["exact"],
    )  # fmt: skip
    # The newest days of today may not be those of the day on which an interrupted sweep goes on.
    # A key is never written down.
    options["set_"] = [item for item in options["set_"] or [] if "api_key" not in item.partition("=")[0].lower()]
    options |= {"start": iso(workload.start), "assets": ",".join(workload.assets) if workload.assets else None}
    with common.unfinished(loaded, "sweep", options):
        with common.trials(json) as progress:
            result = run(
                loaded, chosen, now=now, workload=workload, replicates=options["replicates"],
                forward=options["walk_forward"], fresh=fresh, engine=engine,  # type: ignore[arg-type]
                workers=common.threads(workers or loaded.values.run.threads), scheduler=scheduler, progress=progress,
            )  # fmt: skip
        text = sweep_text(result.summary, result.inputs)
        seconds = round(perf_counter() - began, 3)
        notes = {"engine": engine, "workers": workers, "seconds": seconds}
        experiment = save_sweep(result, now=now, name=options["name"], text=text, notes=notes)
    for warning in result.sweep.plan.warnings():
        common.say(warning)
    if not json:
        print(text, end="")
    refused: list[str] = []
    if options["write_config"]:
        from ewmalab.sweeps.config_file import write_config

        refused = write_config(Path(options["write_config"]), result, now=now, force=options["force"])
    if json:
        common.print_json(
            {
                "experiment": str(experiment.path),
                "result": result.digest(),
                "synthetic": result.inputs["synthetic"],
                "trials": result.sweep.trials,
                "reused": result.sweep.reused,
                "no_effect": [list(group) for group in result.sweep.untouched],
                "config": options["write_config"],
                "summary": result.summary,
            }
        )
        return
    untouched = list(dict.fromkeys(competition for competition, _ in result.sweep.untouched))
    if untouched:
        print(f"left out, since it has no effect there: {', '.join(untouched)}")
    if options["write_config"]:
        common.print_written(Path(options["write_config"]), refused)
    print(f"{result.sweep.trials} trials, {result.sweep.reused} of them known before; {seconds:.1f} s")
    print(f"result {result.digest()[:16]}; experiment: {experiment.path}")


def _unfinished(loaded: LoadedSettings) -> dict[str, Any]:
    from ewmalab.errors import ConfigError

    found = common.newest_unfinished(loaded, "sweep")
    if found is None:
        raise ConfigError("no sweep is unfinished; start one with `ewmalab sweep --param NAME`")
    return found
