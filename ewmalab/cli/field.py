"""``ewmalab field``: the real field of miners."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ewmalab import api
from ewmalab.cli import common

app = typer.Typer(
    no_args_is_help=True,
    help="The real prompts, scores and rewards of the subnet.",
    epilog="Example:  ewmalab field fetch --start 2026-08-01 --days 14 --competitions crypto-1h",
)


@app.command()
def fetch(
    start: Annotated[
        str, typer.Option(help="First day of prompts, e.g. 2026-08-01 (UTC).", callback=common.checked("parse_time"))
    ],
    days: common.Days = 1.0,
    competitions: common.Competitions = None,
    assets: common.Assets = None,
    paths: Annotated[
        bool, typer.Option("--paths/--no-paths", help="Fetch the realised path of each scored prompt, a call each.")
    ] = True,
    json: common.Json = False,
    config: common.ConfigFile = None,
    set_: common.Assignments = None,
) -> None:
    """Fetch prompts, realised paths, scores of all miners, rewards and the pool.

    They come from the subnet's public API, which needs no key. Only what is
    missing is asked for, two requests a second (setting field.rate), and
    each answer is kept at once: an interrupted fetch resumes with the same
    command. Give the days of the rolling window too: 5 for 1h, 10 for 24h.

    Examples:

      ewmalab field fetch --start 2026-08-01 --days 14

      ewmalab field fetch --start 2026-08-01 --days 7 --competitions crypto-1h --assets BTC
    """
    settings = common.settings(config, set_)
    with common.progress(json, "fetching", common.SAME_COMMAND) as progress:
        result = api.fetch_field(
            start, days, competitions=competitions, assets=assets, paths=paths, settings=settings, progress=progress
        )
    common.show(result, json)


@app.command("list")
def list_(json: common.Json = False, config: common.ConfigFile = None, set_: common.Assignments = None) -> None:
    """List what is cached of the field, and the days that are missing.

    Example:

      ewmalab field list
    """
    common.show(api.list_field(settings=common.settings(config, set_)), json)


@app.command("import")
def import_(
    paths: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Files, or folders of files.")],
    asset: Annotated[str | None, typer.Option("--asset", help="Asset of JSON files with start times.")] = None,
    competition: Annotated[
        str | None, typer.Option("--competition", help="Competition of JSON files with start times, e.g. 1h.")
    ] = None,
    json: common.Json = False,
    config: common.ConfigFile = None,
    set_: common.Assignments = None,
) -> None:
    """Import the API's answers, or an offline bundle.

    Files are the API's answers as JSON; or those of a bundle, such as
    miner_scores_BTC_crypto-1h.parquet, rewards_history_crypto-1h.parquet,
    miner_pool_usd.parquet and ASSET/1m/date=2026-08-01.parquet (prices). A
    file that contradicts the cache is refused.

    Examples:

      ewmalab field import offline_data/crypto-1h

      ewmalab field import prompts.json --asset BTC --competition crypto-1h
    """
    with common.progress(json, "importing", common.SAME_COMMAND) as progress:
        result = api.import_field(
            paths, asset=asset, competition=competition, settings=common.settings(config, set_), progress=progress
        )
    common.show(result, json)


@app.command()
def export(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder.")],
    prices: Annotated[bool, typer.Option("--prices/--no-prices", help="With the cached bars of these days.")] = True,
    feed: common.Feed = None,
    json: common.Json = False,
    config: common.ConfigFile = None,
    set_: common.Assignments = None,
) -> None:
    """Export the cached field as an offline bundle for other programs.

    Example:

      ewmalab field export offline_data
    """
    settings = common.settings(config, set_, {"data.feed": feed})
    common.show(api.export_field(folder, prices=prices, settings=settings), json)


@app.command()
def miner(
    uid: Annotated[int, typer.Argument(min=0, max=65535, help="The miner's number in the subnet.")],
    start: Annotated[
        str | None,
        typer.Option(
            "--start", help="First scored day; default: the newest cached.", callback=common.checked("parse_time")
        ),
    ] = None,
    days: Annotated[float, typer.Option("--days", min=0.001, max=common.MAX_DAYS, help="Days.")] = 14.0,
    ask: Annotated[bool, typer.Option("--ask/--no-ask", help="Ask the API about the miner's newest answer.")] = True,
    json: common.Json = False,
    config: common.ConfigFile = None,
    set_: common.Assignments = None,
) -> None:
    """Show a real miner: its newest answer, its scores, ranks and weights.

    The API says whether the newest answer was valid, and why not; exit code
    1 if it was not. The rest comes from the cache.

    Examples:

      ewmalab field miner 42

      ewmalab field miner 42 --start 2026-08-01 --days 30 --no-ask
    """
    common.show(api.field_miner(uid, start, days, ask=ask, settings=common.settings(config, set_)), json)
