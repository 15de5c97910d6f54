"""``ewmalab compare``."""

from __future__ import annotations

from typing import Annotated

import typer

from ewmalab.cli import common


def compare(
    contestants: Annotated[
        list[str],
        typer.Argument(
            metavar="A B [C ...]", help="Forecasters; or experiments, or EXPERIMENT/FORECASTER. A is the reference."
        ),
    ],
    by: Annotated[str, typer.Option(help="asset, interval, hour or weekday: what gets a row of its own.")] = "asset",
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
    from ewmalab.analysis.compare import PARTS
    from ewmalab.analysis.compare import compare as run
    from ewmalab.cli.named_forecasters import finished, one_kind, replayed
    from ewmalab.report.text.compare import compare_text

    if by not in PARTS:
        raise typer.BadParameter(f"{by!r} is none of {', '.join(PARTS)}", param_hint="--by")
    if len(contestants) < 2:
        raise typer.BadParameter("name at least two: the first is the reference", param_hint="A B")
    loaded = common.settings(config, set_, {"run.seed": seed, "data.feed": feed})
    if one_kind(contestants):
        frames, synthetic = replayed(
            loaded, contestants, start=start, days=days, rules=rules, assets=assets, competitions=competitions,
            cadence=cadence, name="compare", quiet=json,
        )  # fmt: skip
    else:
        frames, synthetic = finished(loaded.values.run.experiments_dir, contestants)
    rows = run(frames, common=common_, by=by, seed=loaded.values.run.seed)  # type: ignore[arg-type]
    if json:
        plain = [row.plain() for row in rows]
        common.print_json({"reference": next(iter(frames)), "by": by, "synthetic": synthetic, "rows": plain})
    else:
        print(compare_text(rows, next(iter(frames)), synthetic), end="")
