"""``ewmalab data``: the cache of minute bars."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ewmalab import api
from ewmalab.cli import common

app = typer.Typer(
    no_args_is_help=True,
    help="Fetch, import and check cached minute bars.",
    epilog="Example:  ewmalab data fetch --feed pyth --assets BTC --start 2026-01-10 --days 7",
)
OneFeed = Annotated[str | None, typer.Option("--feed", help="Only this feed.")]


@app.command()
def fetch(
    start: Annotated[
        str, typer.Option(help="First day or time, e.g. 2026-01-10 (UTC).", callback=common.checked("parse_time"))
    ],
    days: Annotated[float, typer.Option(min=0.001, help="Days to fetch.")] = 1.0,
    assets: common.Assets = None,
    feed: common.Feed = None,
    json: common.Json = False,
    config: common.ConfigFile = None,
    set_: common.Assignments = None,
) -> None:
    """Fetch closed minute bars that the cache lacks; an interrupted fetch resumes where it stopped.

    Examples:

      ewmalab data fetch --feed pyth --assets BTC,ETH --start 2026-01-10 --days 12

      ewmalab data fetch --feed simulated --start 2026-01-10 --days 12
    """
    settings = common.settings(config, set_, {"data.feed": feed})
    with common.progress(json, "fetching minutes") as progress:
        result = api.fetch_bars(start, days, assets=assets, settings=settings, progress=progress)
    common.show(result, json)


@app.command("import")
def import_(
    paths: Annotated[list[Path], typer.Argument(help="Files, or folders of files named <ASSET>.parquet.")],
    feed: Annotated[
        str | None, typer.Option(help="Feed of the bars; default: the folder's name up to its first underscore.")
    ] = None,
    asset: Annotated[str | None, typer.Option(help="Asset; default: the file's name.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace cached bars that differ.")] = False,
    quarantine: Annotated[
        bool, typer.Option("--quarantine", help="Set bad rows aside instead of refusing the file.")
    ] = False,
    json: common.Json = False,
    config: common.ConfigFile = None,
    set_: common.Assignments = None,
) -> None:
    """Import bars from CSV, Parquet or JSON files.

    Columns: timestamp (open time, seconds UTC) and close; optionally open,
    high and low. A file with bad rows is refused with their count by reason,
    unless --quarantine sets the bad rows aside.

    Examples:

      ewmalab data import ../shared/data/*

      ewmalab data import my_bars.csv --feed binance --asset BTC --quarantine
    """
    with common.progress(json, "importing") as progress:
        result = api.import_bars(
            paths,
            feed=feed,
            asset=asset,
            replace=replace,
            quarantine=quarantine,
            settings=common.settings(config, set_),
            progress=progress,
        )
    common.show(result, json)


@app.command("list")
def list_(
    feed: OneFeed = None, json: common.Json = False, config: common.ConfigFile = None, set_: common.Assignments = None
) -> None:
    """List what is cached.

    Example:

      ewmalab data list --feed pyth
    """
    common.show(api.list_bars(feed, settings=common.settings(config, set_)), json)


@app.command()
def verify(
    feed: OneFeed = None,
    asset: Annotated[str | None, typer.Option(help="Only this asset.")] = None,
    json: common.Json = False,
    config: common.ConfigFile = None,
    set_: common.Assignments = None,
) -> None:
    """Check every byte of the cache; exit code 1 if anything is damaged.

    Example:

      ewmalab data verify
    """
    common.show(api.verify_bars(feed, asset, settings=common.settings(config, set_)), json)


@app.command()
def repair(
    refetch: Annotated[
        bool, typer.Option("--refetch/--no-refetch", help="Fetch the days that were moved aside.")
    ] = True,
    json: common.Json = False,
    config: common.ConfigFile = None,
    set_: common.Assignments = None,
) -> None:
    """Move damaged partitions aside and fetch them again.

    Leftover temporary files of killed writers are deleted too.

    Example:

      ewmalab data repair --no-refetch
    """
    common.show(api.repair_bars(refetch=refetch, settings=common.settings(config, set_)), json)
