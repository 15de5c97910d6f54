"""``ewmalab compare``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ewmalab.cli import common

if TYPE_CHECKING:
    import pandas as pd

    from ewmalab.settings import LoadedSettings


def compare(
    contestants: Annotated[
        list[str],
        typer.Argument(
            metavar="A B [C ...]", help="Forecasters; or experiments, or EXPERIMENT/FORECASTER. A is the reference."
        ),
    ],
    by: Annotated[str, typer.Option(help="asset, interval or hour: what gets a row of its own.")] = "asset",
    common_: Annotated[
        bool, typer.Option("--common", help="Compare the prompts that all have, instead of refusing.")
    ] = False,
    start: common.StartOption = None,
    days: common.DaysOption = 7.0,
    assets: common.AssetsOption = None,
    competitions: common.CompetitionsOption = None,
    rules: common.RulesOption = "as-of",
    feed: common.FeedOption = None,
    cadence: common.CadenceOption = None,
    seed: common.SeedOption = None,
    json: common.Json = False,
    config: common.ConfigFile = None,
    set_: common.Assignments = None,
) -> None:
    """Compare forecasters, or finished experiments, on the same prompts.

    Forecasters are replayed first (--start, --days, ...; by default the
    newest cached days). Experiments are compared as they are; a forecaster
    inside one is named behind a slash, by default it is the first.

    Examples:

      ewmalab compare random-walk ewma ewma@seed --start 2026-01-08

      ewmalab compare latest/random-walk latest/ewma --by interval

      ewmalab compare 20260115T101500Z-backtest-1a2b3c4d latest --common
    """
    from ewmalab.analysis.compare import compare as run
    from ewmalab.report.compare import compare_text

    if by not in ("asset", "interval", "hour"):
        raise typer.BadParameter(f"{by!r} is none of asset, interval, hour", param_hint="--by")
    if len(contestants) < 2:
        raise typer.BadParameter("name at least two: the first is the reference", param_hint="A B")
    loaded = common.settings(config, set_, {"run.seed": seed, "data.feed": feed})
    kinds = {_is_forecaster(text) for text in contestants}
    if len(kinds) > 1:
        raise typer.BadParameter(
            "name forecasters or experiments, not both; replay a forecaster first with `ewmalab backtest`",
            param_hint="A B",
        )
    if kinds == {True}:
        frames, synthetic = _replayed(
            loaded, list(dict.fromkeys(contestants)), start, days, rules, assets, competitions, cadence, json
        )
    else:
        frames, synthetic = _finished(loaded.values.run.experiments_dir, contestants)
    rows = run(frames, common=common_, by=by, seed=loaded.values.run.seed)  # type: ignore[arg-type]
    if json:
        common.print_json({"reference": next(iter(frames)), "by": by, "synthetic": synthetic, "rows": rows})
    else:
        print(compare_text(rows, next(iter(frames)), synthetic), end="")


def _is_forecaster(text: str) -> bool:
    from ewmalab.forecast.load import BUILT_IN

    return text.partition("@")[0] in BUILT_IN or (":" in text and "/" not in text)


def _replayed(
    loaded: LoadedSettings, names: list[str], start: str | None, days: float, rules: str, assets: str | None,
    competitions: str | None, cadence: str | None, json: bool,
) -> tuple[dict[str, pd.DataFrame], bool]:  # fmt: skip
    from ewmalab.analysis.compare import scores_of

    experiment = common.replay(
        loaded, names, start=start, days=days, rules=rules, assets=assets, competitions=competitions,
        cadence=cadence, name="compare", quiet=json,
    )  # fmt: skip
    common.say(f"experiment: {experiment.path}")
    return {name: scores_of(experiment, name) for name in names}, bool(experiment.manifest["inputs"]["synthetic"])


def _finished(root: Path, names: list[str]) -> tuple[dict[str, Any], bool]:
    from ewmalab.analysis.compare import scores_of
    from ewmalab.errors import ExperimentError
    from ewmalab.experiments.store import find_experiment

    frames: dict[str, Any] = {}
    synthetic = False
    for text in names:
        try:
            experiment, forecaster = find_experiment(root, text), None
        except ExperimentError:
            name, slash, forecaster = text.rpartition("/")
            if not slash:
                raise
            experiment = find_experiment(root, name)
        if text in frames:
            raise typer.BadParameter(f"{text} is named twice", param_hint="A B")
        frames[text] = scores_of(experiment, forecaster)
        synthetic |= bool(experiment.manifest["inputs"]["synthetic"])
    return frames, synthetic
