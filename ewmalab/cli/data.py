"""``ewmalab data``: the cache of minute bars."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ewmalab import api
from ewmalab.cli import common, complete

app = typer.Typer(
    no_args_is_help=True,
    help="Fetch, import, export and check cached minute bars.",
    epilog="Example:  ewmalab data fetch --feed pyth --assets BTC --start 2026-01-10 --days 7",
)
KeepSuspicious = Annotated[bool, typer.Option("--keep-suspicious", help="Store bars that no market made as they are.")]
Splits = Annotated[
    str | None,
    typer.Option("--split", metavar="NEW:OLD,...", help="Known splits, e.g. 10:1: the prices before are adjusted."),
]
OneFeed = Annotated[str | None, typer.Option("--feed", help="Only this feed.", autocompletion=complete.names("feeds"))]


@app.command()
def fetch(
    start: Annotated[
        str, typer.Option(help="First day or time, e.g. 2026-01-10 (UTC).", callback=common.checked("parse_time"))
    ],
    days: Annotated[float, typer.Option(min=0.001, max=common.MAX_DAYS, help="Days to fetch.")] = 1.0,
    assets: common.Assets = None,
    feed: common.Feed = None,
    again: Annotated[
        bool, typer.Option("--again", help="Request all minutes that the feed left out again, also within a day.")
    ] = False,
    keep_suspicious: KeepSuspicious = False,
    split: Splits = None,
    json: common.Json = False,
    config: common.ConfigFile = None,
    set_: common.Assignments = None,
) -> None:
    """Fetch closed minute bars that the cache lacks; an interrupted fetch resumes where it stopped.

    Minutes that the feed left out are requested again: those of today by
    each fetch, others daily for a week. Feeds publish some of them later.
    Wrong bars are set aside as missing, and listed by `data verify`.

    Examples:

      ewmalab data fetch --feed pyth --assets BTC,ETH --start 2026-01-10 --days 12

      ewmalab data fetch --feed simulated --start 2026-01-10 --days 12
    """
    settings = common.settings(config, set_, {"data.feed": feed})
    with common.progress(json, "fetching minutes", common.SAME_COMMAND) as progress:
        result = api.fetch_bars(
            start,
            days,
            assets=assets,
            again=again,
            keep_suspicious=keep_suspicious,
            split=split,
            settings=settings,
            progress=progress,
        )
    common.show(result, json)


@app.command("import")
def import_(
    paths: Annotated[list[Path], typer.Argument(help="Files, archives, or folders of such files.")],
    feed: Annotated[
        str | None,
        typer.Option(
            help="Feed of the bars; default: from the names of folder and file.", autocompletion=complete.names("feeds")
        ),
    ] = None,
    asset: Annotated[
        str | None,
        typer.Option(
            help="Asset; default: from the file's name, its folders, or a column of symbols.",
            autocompletion=complete.names("assets"),
        ),
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(metavar="ROLE=NAME,...", help="Columns by name or number, e.g. close=Last,timestamp=1."),
    ] = None,
    timezone: Annotated[
        str | None, typer.Option(help="Zone of times without one, e.g. America/New_York; default: UTC.")
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            metavar="open|close",
            help="The moment of a bar that its time names.",
            autocompletion=complete.words("open", "close"),
        ),
    ] = None,
    unit: Annotated[str | None, typer.Option(metavar="s|ms|us|ns", help="Unit of times that are numbers.")] = None,
    time_format: Annotated[
        str | None, typer.Option(metavar="FORMAT", help="Format of times that are text, e.g. '%d/%m/%Y %H:%M'.")
    ] = None,
    decimal: Annotated[str | None, typer.Option(metavar=".|,", help="The decimal mark.")] = None,
    symbol: Annotated[str | None, typer.Option(help="The only symbol to take from a file of several.")] = None,
    interval: Annotated[
        str | None, typer.Option(metavar="1m", help="State that few bars far apart are minute bars.")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace cached bars that differ.")] = False,
    quarantine: Annotated[
        bool, typer.Option("--quarantine", help="Set bad rows aside, whatever is wrong with them, and however many.")
    ] = False,
    keep_suspicious: KeepSuspicious = False,
    split: Splits = None,
    start: Annotated[
        str | None,
        typer.Option(help="Only bars from this day or time on (UTC).", callback=common.checked("parse_time")),
    ] = None,
    until: Annotated[
        str | None, typer.Option(help="Only bars before this day or time (UTC).", callback=common.checked("parse_time"))
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the first bars, and write nothing.")] = False,
    json: common.Json = False,
    config: common.ConfigFile = None,
    set_: common.Assignments = None,
) -> None:
    """Import bars from CSV, JSON, Parquet and Feather files, also in .zip and .gz.

    Each file is read as its program wrote it, and a line says how it was
    understood. A file in doubt is refused with the option that helps, and one
    with many bad rows with their count by reason. A few wrong bars (a price
    that comes back, a candle repeated, a feed that stood still) are set aside
    as missing, and listed by `data verify`. See docs/howto/import.md.

    Examples:

      ewmalab data import ../shared/data/*

      ewmalab data import BTCUSDT-1m-2025-11.zip --dry-run

      ewmalab data import mt5_export.csv --feed file --asset BTC --timezone Etc/GMT+5 --quarantine
    """
    hints = {
        "columns": columns,
        "timezone": timezone,
        "labels": labels,
        "unit": unit,
        "time_format": time_format,
        "decimal": decimal,
        "symbol": symbol,
        "interval": interval,
    }
    with common.progress(json, "importing", common.SAME_COMMAND) as progress:
        result = api.import_bars(
            paths,
            feed=feed,
            asset=asset,
            hints=hints,
            replace=replace,
            quarantine=quarantine,
            keep_suspicious=keep_suspicious,
            split=split,
            start=start,
            until=until,
            dry_run=dry_run,
            settings=common.settings(config, set_),
            progress=progress,
        )
    common.show(result, json)


@app.command()
def export(
    feed: Annotated[
        str, typer.Option("--feed", help="Feed of the bars, e.g. pyth.", autocompletion=complete.names("feeds"))
    ],
    to: Annotated[Path, typer.Option("--to", metavar="FOLDER", help="Write files below this folder.")] = Path(
        "market_data"
    ),
    layout: Annotated[
        str,
        typer.Option(
            metavar="csv|parquet|synth-lib",
            help="One file per asset, or synth-lib's file per day.",
            autocompletion=complete.words("csv", "parquet", "synth-lib"),
        ),
    ] = "parquet",
    assets: common.Assets = None,
    start: Annotated[
        str | None, typer.Option(help="First day or time (UTC); default: all.", callback=common.checked("parse_time"))
    ] = None,
    days: Annotated[
        float | None, typer.Option(min=0.001, max=common.MAX_DAYS, help="Days to export, with --start; default: all.")
    ] = None,
    json: common.Json = False,
    config: common.ConfigFile = None,
    set_: common.Assignments = None,
) -> None:
    """Write cached bars as files for other programs.

    Examples:

      ewmalab data export --feed binance --layout csv --to bars --assets BTC,ETH

      ewmalab data export --feed pyth --layout synth-lib --to market_data
    """
    settings = common.settings(config, set_)
    common.show(
        api.export_bars(feed, to, layout=layout, assets=assets, start=start, days=days, settings=settings), json
    )


@app.command("list")
def list_(
    feed: OneFeed = None, json: common.Json = False, config: common.ConfigFile = None, set_: common.Assignments = None
) -> None:
    """List what is cached: bars, minutes without one, holes, damaged days.

    Missing minutes are those for which a source has answered without a bar
    while the market was open; holes are those that no source has answered
    for.

    Example:

      ewmalab data list --feed pyth
    """
    common.show(api.list_bars(feed, settings=common.settings(config, set_)), json)


@app.command()
def verify(
    feed: OneFeed = None,
    asset: Annotated[str | None, typer.Option(help="Only this asset.", autocompletion=complete.names("assets"))] = None,
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
    """Move damaged partitions aside; fetch again what came from feeds.

    For what came from files, the command that imports it again is named.
    Exit code 1 if bars are not back, except with --no-refetch. Leftover
    temporary files of killed writers are deleted too.

    Example:

      ewmalab data repair --no-refetch
    """
    common.show(api.repair_bars(refetch=refetch, settings=common.settings(config, set_)), json)
