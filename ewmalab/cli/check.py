"""``ewmalab check``: checks of the replay's honesty on the user's own data and forecaster."""

from __future__ import annotations

from typing import Annotated

import typer

from ewmalab import api
from ewmalab.cli import common, complete

app = typer.Typer(
    no_args_is_help=True,
    help="Check a replay's honesty, forecasters, live answers, and the subnet's own scores.",
    epilog="Example:  ewmalab check lookahead --start 2026-01-15 --feed simulated",
)


@app.command()
def lookahead(
    start: common.Start = None,
    days: common.Days = 1.0,
    forecaster: common.Forecasters = None,
    assets: common.Assets = None,
    competitions: common.Competitions = None,
    rules: common.Rules = "as-of",
    feed: common.Feed = None,
    cuts: Annotated[int, typer.Option(min=1, max=1000, help="Random cuts per forecaster, competition and asset.")] = 12,
    json: common.Json = False,
    config: common.ConfigFile = None,
    set_: common.Assignments = None,
) -> None:
    """Check that no forecast depends on its future.

    At random moments the future is changed or removed, in fresh processes
    with a cache that ends there. Forecasts must stay the same, bit for
    bit. Exit code 1 if one changes, or if a forecaster is not
    deterministic.

    Examples:

      ewmalab check lookahead --start 2026-01-15 --feed simulated

      ewmalab check lookahead --start 2026-01-10 -f my_package.model:Mine --assets BTC
    """
    with common.progress(json, "checking") as progress:
        result = api.check_lookahead(
            *(forecaster or ()),
            start=start,
            days=days,
            assets=assets,
            competitions=competitions,
            rules=rules,
            cuts=cuts,
            settings=common.settings(config, set_, {"data.feed": feed}),
            progress=progress,
        )
    common.show(result, json)


@app.command()
def forecaster(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME",
            help="package.module:attribute, or a built-in name.",
            autocompletion=complete.names("forecasters"),
        ),
    ],
    asset: Annotated[
        str, typer.Option(help="The asset that it forecasts.", autocompletion=complete.names("assets"))
    ] = "BTC",
    json: common.Json = False,
    config: common.ConfigFile = None,
    set_: common.Assignments = None,
) -> None:
    """Check a forecaster against its whole contract.

    On a small synthetic market: shapes, determinism, states, threads, fresh
    processes, gaps, every horizon, fits, look-ahead. Each rule that is
    broken is a line that names the method and what to do. Exit code 1 if
    one is.

    Examples:

      ewmalab check forecaster my_forecaster:Recent --set plugin.scale=0.9

      ewmalab check forecaster ewma --asset SPYX --json
    """
    with common.progress(json, "checking") as progress:
        result = api.check_forecaster(name, asset=asset, settings=common.settings(config, set_), progress=progress)
    common.show(result, json)


@app.command()
def warmup(
    start: common.Start = None,
    forecaster: common.Forecasters = None,
    assets: common.Assets = None,
    competitions: common.Competitions = None,
    rules: common.Rules = "as-of",
    feed: common.Feed = None,
    tolerance: Annotated[
        float, typer.Option(min=0, max=1000, help="Largest acceptable change of volatility, percent.")
    ] = 2.0,
    json: common.Json = False,
    config: common.ConfigFile = None,
    set_: common.Assignments = None,
) -> None:
    """Check that the warm-up is long enough.

    The warm-up is cut to a half and to three quarters. The final spread of
    the paths is compared with that after the whole warm-up. Exit code 1 if
    it changes by more than the tolerance.

    Example:

      ewmalab check warmup --start 2026-01-15 --feed simulated
    """
    result = api.check_warmup(
        *(forecaster or ()),
        start=start,
        assets=assets,
        competitions=competitions,
        rules=rules,
        tolerance=tolerance / 100,
        settings=common.settings(config, set_, {"data.feed": feed}),
    )
    common.show(result, json)


@app.command()
def parity(
    log_dir: common.LogDir = None,
    state_dir: common.StateDir = None,
    miner: common.Miner = None,
    json: common.Json = False,
    config: common.ConfigFile = None,
    set_: common.Assignments = None,
) -> None:
    """Check that live answers equal a replay of the same bars.

    Every logged answer is reproduced from the cached bars and its recorded
    settings: state, paths and bytes must be the same, bit for bit. The same
    prompts are also replayed as a backtest. Exit code 1 if one differs.

    Example:

      ewmalab check parity --log-dir live_log
    """
    flags = api.live_flags(log_dir=log_dir, state_dir=state_dir, miner=miner)
    with common.progress(json, "checking") as progress:
        result = api.check_parity(common.settings(config, set_, flags), progress)
    common.show(result, json)


@app.command("field")
def field_(
    start: Annotated[
        str | None,
        typer.Option(
            "--start", help="First scored day; default: the first cached.", callback=common.checked("parse_time")
        ),
    ] = None,
    days: Annotated[
        float | None, typer.Option("--days", min=0.001, max=common.MAX_DAYS, help="Days; default: all that are cached.")
    ] = None,
    competitions: common.Competitions = None,
    rules: common.Rules = "as-of",
    json: common.Json = False,
    config: common.ConfigFile = None,
    set_: common.Assignments = None,
) -> None:
    """Check that our leaderboard is the subnet's.

    Prompt scores, rolling averages and weights are recomputed from the
    published CRPS of all miners, and compared with the published ones.
    Exit code 1 if one differs, or nothing could be compared.

    Examples:

      ewmalab check field

      ewmalab check field --start 2026-08-10 --days 3 --competitions crypto-1h
    """
    with common.progress(json, "checking") as progress:
        result = api.check_field(
            start,
            days,
            competitions=competitions,
            rules=rules,
            settings=common.settings(config, set_),
            progress=progress,
        )
    common.show(result, json)
