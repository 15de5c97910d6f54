"""``ewmalab data``: the cache of minute bars."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ewmalab.cli import common

if TYPE_CHECKING:
    from ewmalab.market.cache import Cache
    from ewmalab.settings import LoadedSettings

app = typer.Typer(
    no_args_is_help=True,
    help="Fetch, import and check cached minute bars.",
    epilog="Example:  ewmalab data fetch --feed pyth --assets BTC --start 2026-01-10 --days 7",
)


def _cache(loaded: LoadedSettings, *, writes: bool = False) -> Cache:
    """Return the cache; before a write, temporary files of killed writers are deleted."""
    from ewmalab.market.cache import local_cache, open_cache

    if not writes:
        return open_cache(loaded.values.data.cache_dir)
    cache = local_cache(loaded.values.data.cache_dir)
    cache.delete_leftovers()
    return cache


@app.command()
def fetch(
    start: Annotated[str, typer.Option(help="First day or time, e.g. 2026-01-10 (UTC).")],
    days: Annotated[float, typer.Option(min=0.001, help="Days to fetch.")] = 1.0,
    assets: common.AssetsOption = None,
    feed: common.FeedOption = None,
    json: common.Json = False,
    config: common.ConfigFile = None,
    set_: common.Assignments = None,
) -> None:
    """Fetch closed minute bars that the cache lacks; an interrupted fetch goes on where it stopped.

    Examples:

      ewmalab data fetch --feed pyth --assets BTC,ETH --start 2026-01-10 --days 12

      ewmalab data fetch --feed simulated --start 2026-01-10 --days 12
    """
    from ewmalab.errors import FeedError
    from ewmalab.market.feeds.make import make_feed
    from ewmalab.market.fetch import fetch_missing
    from ewmalab.rulebook import load_rulebook
    from ewmalab.times import iso

    begin = common.when(start)
    end = begin + round(days * 86_400)
    loaded = common.settings(config, set_, {"data.feed": feed})
    rulebook = load_rulebook()
    name = loaded.values.data.feed
    wanted = common.upper(assets)
    for symbol in wanted or ():
        rulebook.asset(symbol)
    source = make_feed(name, loaded.values, rulebook)
    chosen = wanted or [
        s for s in rulebook.symbols if name in ("simulated", "file") or name in rulebook.asset(s).symbols
    ]
    cache = _cache(loaded, writes=True)
    now = common.present()
    report: list[dict[str, Any]] = []
    failed = False
    with common.progress(quiet=json) as bar:
        for asset in chosen:
            task = bar.add_task(f"{name} {asset}", total=1)

            def step(done: int, total: int, task: Any = task) -> None:
                bar.update(task, completed=done // 60, total=total // 60)

            entry: dict[str, Any] = {"feed": name, "asset": asset, "bars": 0, "unanswered": [], "error": None}
            try:
                fetched = fetch_missing(cache, source, asset, begin, end, now=now, progress=step)
                entry["bars"] = fetched.bars
                entry["unanswered"] = [[iso(a), iso(b)] for a, b in fetched.unanswered]
            except FeedError as error:
                entry["error"] = str(error)
                failed = True
            bar.remove_task(task)
            report.append(entry)
    if json:
        common.print_json(report)
    else:
        for entry in report:
            line = f"{entry['feed']} {entry['asset']}: {entry['bars']} new bars"
            for a, b in entry["unanswered"]:
                line += f"\n  no bars from {a} to {b}: will be asked again"
            if entry["error"]:
                line += f"\n  failed: {entry['error']}"
            print(line)
    if failed:
        raise typer.Exit(1)


@app.command("import")
def import_(
    paths: Annotated[list[Path], typer.Argument(help="Files, or folders of files named <ASSET>.parquet.")],
    feed: Annotated[
        str | None,
        typer.Option(help="Feed the bars are of; default: the folder's name up to its first underscore."),
    ] = None,
    asset: Annotated[str | None, typer.Option(help="Asset; default: the file's name.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Prefer new bars to differing cached ones.")] = False,
    quarantine: Annotated[
        bool, typer.Option("--quarantine", help="Set bad rows aside instead of refusing the file.")
    ] = False,
    json: common.Json = False,
    config: common.ConfigFile = None,
    set_: common.Assignments = None,
) -> None:
    """Import bars from CSV, Parquet or JSON files.

    Columns: timestamp (open time, seconds UTC) and close, perhaps open, high
    and low. A file with bad rows is refused with their count by reason, or
    its bad rows are set aside.

    Examples:

      ewmalab data import ../shared/data/*

      ewmalab data import my_bars.csv --feed binance --asset BTC --quarantine
    """
    from ewmalab.errors import EwmalabError
    from ewmalab.market.files.importer import find_files, import_file
    from ewmalab.rulebook import load_rulebook

    loaded = common.settings(config, set_)
    cache = _cache(loaded, writes=True)
    now = common.present()
    files, skipped = find_files(paths, feed=feed, asset=asset, rulebook=load_rulebook())
    report: list[dict[str, Any]] = []
    failed = False
    with common.progress(quiet=json) as bar:
        for item in bar.track(files, description="importing"):
            entry: dict[str, Any] = {
                "file": str(item.path),
                "feed": item.feed,
                "asset": item.asset,
                "error": None,
            }
            try:
                entry |= asdict(import_file(cache, item, now=now, replace=replace, quarantine=quarantine))
            except EwmalabError as error:
                entry["error"] = str(error)
                failed = True
            report.append(entry)
    if json:
        common.print_json({"imported": report, "skipped": skipped})
    else:
        for path, reason in skipped:
            common.say(f"skipped {path}: {reason}")
        for entry in report:
            if entry["error"]:
                print(f"{entry['feed']} {entry['asset']}: refused: {entry['error']}")
                continue
            line = f"{entry['feed']} {entry['asset']}: {entry['bars']} bars, {entry['days_written']} days written"
            if entry["gap_minutes"]:
                line += f", {entry['gap_minutes']} minutes missing inside"
            if entry["close_only"]:
                line += f", {entry['close_only']} without a range"
            if entry["rejected"]:
                line += f"\n  set aside in {entry['quarantine']}: {entry['rejected']}"
            print(line)
    if failed or not files:
        if not files:
            common.say("nothing to import: name .parquet, .csv or .json files, or folders that hold them")
        raise typer.Exit(1)


@app.command("list")
def list_(
    feed: Annotated[str | None, typer.Option(help="Only this feed.")] = None,
    json: common.Json = False,
    config: common.ConfigFile = None,
    set_: common.Assignments = None,
) -> None:
    """List what is cached.

    Example:

      ewmalab data list --feed pyth
    """
    from ewmalab.errors import CorruptPartitionError
    from ewmalab.market.ranges import union
    from ewmalab.times import iso

    cache = _cache(common.settings(config, set_))
    rows: list[dict[str, Any]] = []
    for name, asset in cache.assets():
        try:
            days = [] if feed and name != feed else cache.days(name, asset).values()
        except CorruptPartitionError as error:
            common.say(f"{name} {asset} is not listed: {error}")
            continue
        if not days:
            continue
        covered = union(r for entry in days for r in entry.covered)
        rows.append(
            {
                "feed": name,
                "asset": asset,
                "from": iso(covered[0][0]),
                "to": iso(covered[-1][1]),
                "days": len(days),
                "final_days": sum(entry.final for entry in days),
                "bars": sum(entry.rows for entry in days),
                "missing_minutes": sum(b - a for a, b in covered) // 60 - sum(entry.rows for entry in days),
                "holes": len(covered) - 1,
                "synthetic": any(entry.synthetic for entry in days),
            }
        )
    if json:
        common.print_json(rows)
        return
    if not rows:
        print(f"nothing cached in {cache.root}; see `ewmalab data fetch --help` and `ewmalab data import --help`")
        return
    tables = []
    for name in dict.fromkeys(row["feed"] for row in rows):
        mine = [row for row in rows if row["feed"] == name]
        lines = [(r["asset"], r["from"][:16], r["to"][:16], r["bars"], r["missing_minutes"], r["holes"]) for r in mine]
        title = name + (" (synthetic)" if any(row["synthetic"] for row in mine) else "")
        tables.append(common.table(("asset", "from", "to", "bars", "gaps (min)", "holes"), lines, title))
    print("\n\n".join(tables))


@app.command()
def verify(
    feed: Annotated[str | None, typer.Option(help="Only this feed.")] = None,
    asset: Annotated[str | None, typer.Option(help="Only this asset.")] = None,
    json: common.Json = False,
    config: common.ConfigFile = None,
    set_: common.Assignments = None,
) -> None:
    """Check every byte of the cache; exit code 1 if anything is damaged.

    Example:

      ewmalab data verify
    """
    cache = _cache(common.settings(config, set_))
    findings = list(cache.verify(feed, asset.upper() if asset else None))
    bad = [f for f in findings if f.problem]
    if json:
        common.print_json({"checked": len(findings), "damaged": [[f.feed, f.asset, f.day, f.problem] for f in bad]})
    else:
        for finding in bad:
            print(f"{finding.feed} {finding.asset} {finding.day}: {finding.problem}")
        print(f"{len(findings)} partitions checked, {len(bad)} damaged")
        if bad:
            print("`ewmalab data repair` moves damaged ones aside and fetches them again")
    if bad:
        raise typer.Exit(1)


@app.command()
def repair(
    refetch: Annotated[
        bool, typer.Option("--refetch/--no-refetch", help="Fetch again what had to be moved aside.")
    ] = True,
    json: common.Json = False,
    config: common.ConfigFile = None,
    set_: common.Assignments = None,
) -> None:
    """Move damaged partitions aside and fetch them again.

    Temporary files that killed writers left are deleted.

    Example:

      ewmalab data repair --no-refetch
    """
    from ewmalab.errors import FeedError
    from ewmalab.market.feeds.make import make_feed
    from ewmalab.market.fetch import fetch_missing
    from ewmalab.rulebook import load_rulebook
    from ewmalab.times import day_start

    loaded = common.settings(config, set_)
    cache = _cache(loaded, writes=True)
    now = common.present()
    report: list[dict[str, Any]] = []
    failed = False
    for feed, asset in cache.assets():
        done = cache.repair(feed, asset)
        entry: dict[str, Any] = {"feed": feed, "asset": asset, "done": done, "refetched": 0, "error": None}
        lost = [line.split(":")[0] for line in done if "moved aside" in line]
        if refetch:
            try:
                for day in lost:
                    begin = day_start(day)
                    source = make_feed(feed, loaded.values, load_rulebook())
                    entry["refetched"] += fetch_missing(cache, source, asset, begin, begin + 86_400, now=now).bars
            except (FeedError, ValueError) as error:
                entry["error"] = f"not fetched again: {error}"
                failed = True
        if done:
            report.append(entry)
    if json:
        common.print_json(report)
    elif not report:
        print("nothing to repair")
    else:
        for entry in report:
            for line in entry["done"]:
                print(f"{entry['feed']} {entry['asset']}: {line}")
            if entry["refetched"]:
                print(f"{entry['feed']} {entry['asset']}: {entry['refetched']} bars fetched again")
            if entry["error"]:
                print(f"{entry['feed']} {entry['asset']}: {entry['error']}")
    if failed:
        raise typer.Exit(1)
