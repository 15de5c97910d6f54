"""``ewmalab leaderboard``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ewmalab.cli import common

if TYPE_CHECKING:
    import pandas as pd

    from ewmalab.rulebook import Rulebook, RuleChoice
    from ewmalab.settings import LoadedSettings


def leaderboard(
    contestants: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME ...]", help="Forecasters; or experiments, or EXPERIMENT/FORECASTER."),
    ] = None,
    predictions: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="DIR", exists=True, file_okay=False,
            help="Prediction files, e.g. miner_outputs/; a folder per miner. Repeatable.",
        ),
    ] = None,
    scores: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE", exists=True, dir_okay=False,
            help="Table of other miners' scores, CSV or Parquet: miner, asset, crps, start_time, time_length.",
        ),
    ] = None,
    start: common.StartOption = None,
    days: common.DaysOption = 7.0,
    assets: common.AssetsOption = None,
    competitions: common.CompetitionsOption = None,
    rules: common.RulesOption = "as-of",
    feed: common.FeedOption = None,
    cadence: common.CadenceOption = None,
    every: Annotated[str, typer.Option(help="Time between standings, e.g. 6h.")] = "1d",
    missing: Annotated[
        str, typer.Option(metavar="A,B", help="Shares of missed prompts whose cost is shown, of the first miner.")
    ] = "0.01,0.05,0.2",
    emission: Annotated[
        float | None, typer.Option(min=0, help="All miners' reward per day: adds an estimate of earnings.")
    ] = None,
    unit: Annotated[str, typer.Option(help="What the emission is counted in.")] = "alpha/day",
    correction: Annotated[
        float | None,
        typer.Option(min=0, help="Realised part of the weights' promise; default: the rulebook's on that date."),
    ] = None,
    seed: common.SeedOption = None,
    json: common.Json = False,
    config: common.ConfigFile = None,
    set_: common.Assignments = None,
) -> None:  # fmt: skip
    """Rank forecasters, prediction files and other miners as validators would.

    Prompt scores, rolling averages and softmax weights follow the rules of
    the date. With files of real miners, forecasters are replayed on exactly
    those miners' prompts. Weights hold within the field that is given.

    Examples:

      ewmalab leaderboard ewma ewma@seed random-walk --start 2026-01-08

      ewmalab leaderboard ewma --scores field.csv --emission 2000

      ewmalab leaderboard --predictions miner_outputs/ --rules 2026-05-01
    """
    from ewmalab.analysis.competition_field import Field
    from ewmalab.analysis.ranking import Questions, rank
    from ewmalab.report.text.leaderboard import leaderboard_text
    from ewmalab.rulebook import RuleChoice, load_rulebook

    loaded = common.settings(config, set_, {"run.seed": seed, "data.feed": feed})
    book, choice = load_rulebook(), RuleChoice.parse(rules)
    shares = _shares(missing)
    step = common.duration(every, "--every") or 86_400
    if step < 60:
        raise typer.BadParameter("at least 1m", param_hint="--every")
    files, notes = _from_files(loaded, book, choice, predictions or [], scores or [], json)
    names = contestants or ([] if files else list(loaded.values.replay.forecasters))
    frames, synthetic = _contestants(loaded, names, files, book, choice, locals())
    named = list(frames) or list(dict.fromkeys(files))[:1]
    miners = {name: frame["crps"] for name, frame in frames.items()} | files
    field = Field.of(miners, book, choice)
    questions = Questions(step, shares, emission, unit, correction, loaded.values.run.seed)
    simulated = synthetic or (bool(predictions) and _simulated(loaded))
    ranking = rank(field, named, questions, synthetic=simulated, notes=notes)
    if json:
        common.print_json(ranking)
    else:
        print(leaderboard_text(ranking), end="")


def _contestants(
    loaded: LoadedSettings, names: list[str], files: dict[str, pd.Series], book: Rulebook, choice: RuleChoice,
    options: dict[str, Any],
) -> tuple[dict[str, pd.DataFrame], bool]:  # fmt: skip
    from ewmalab.analysis.submissions import prompts_of
    from ewmalab.cli.named_forecasters import finished, one_kind, replayed

    if not names:
        return {}, False
    if not one_kind(names):
        return finished(loaded.values.run.experiments_dir, names)
    prompts = prompts_of(files, book, choice, loaded.values.replay.request_lead) if files else None
    return replayed(
        loaded, names, start=options["start"], days=options["days"], rules=options["rules"], assets=options["assets"],
        competitions=options["competitions"], cadence=options["cadence"], name="leaderboard", quiet=options["json"],
        prompts=prompts,
    )  # fmt: skip


def _from_files(
    loaded: LoadedSettings, book: Rulebook, choice: RuleChoice, folders: Sequence[Path], tables: Sequence[Path],
    quiet: bool,
) -> tuple[dict[str, pd.Series], list[str]]:  # fmt: skip
    from ewmalab.analysis.submissions import find_predictions, read_scores, score_predictions
    from ewmalab.errors import PredictionError
    from ewmalab.market.cache import open_cache
    from ewmalab.market.feeds.make import cache_name

    found: dict[str, pd.Series] = {}
    notes: list[str] = []
    data = loaded.values.data
    cache, feed = open_cache(data.cache_dir), cache_name(data.scored_feed or data.feed, loaded.values)
    for folder in folders:
        files = find_predictions(folder)
        with common.progress(quiet) as bar:
            tracked = bar.track(files, description="scoring predictions")
            scored, remarks = score_predictions(
                tracked, book, choice, lambda asset, a, b: cache.read(feed, asset, a, b)
            )
        if not scored:
            raise PredictionError(
                f"{folder}: none of {len(files)} predictions could be scored ({remarks[0]}); get the prices with "
                f"`ewmalab data fetch --feed {feed}`"
            )
        _join(found, scored, folder)
        notes += remarks
    for path in tables:
        _join(found, read_scores(path, book, choice), path)
    return found, notes


def _join(into: dict[str, pd.Series], more: dict[str, pd.Series], where: Path) -> None:
    from ewmalab.errors import PredictionError

    twice = into.keys() & more.keys()
    if twice:
        raise PredictionError(f"{where}: miner {sorted(twice)[0]} stands in another file too; give each its own name")
    into.update(more)


def _simulated(loaded: LoadedSettings) -> bool:
    """Tell whether prediction files were scored on simulated prices."""
    data = loaded.values.data
    return (data.scored_feed or data.feed) == "simulated"


def _shares(text: str) -> list[float]:
    try:
        shares = [float(item) for item in common.commas(text) or []]
    except ValueError as error:
        raise typer.BadParameter(f"{error}", param_hint="--missing") from error
    if not all(0 <= share <= 1 for share in shares):
        raise typer.BadParameter("shares lie between 0 and 1", param_hint="--missing")
    return shares
