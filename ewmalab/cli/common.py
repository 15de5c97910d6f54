"""What the commands share: options, settings, output."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

    from ewmalab.settings import LoadedSettings

ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        help="Settings file instead of ./ewmalab.toml.",
        rich_help_panel="Settings",
    ),
]
Assignments = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Set any setting, e.g. ewma.half_life_1m.BTC=45m. Repeatable.",
        rich_help_panel="Settings",
    ),
]  # fmt: skip
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
FeedOption = Annotated[
    str | None,
    typer.Option("--feed", help="pyth, binance, hyperliquid, file or simulated; default: setting data.feed."),
]
AssetsOption = Annotated[str | None, typer.Option("--assets", metavar="A,B", help="Only these assets, e.g. BTC,ETH.")]


def commas(text: str | None) -> list[str] | None:
    """Return the items of a comma-separated option."""
    items = [item.strip() for item in (text or "").split(",") if item.strip()]
    return items or None


def upper(text: str | None) -> list[str] | None:
    """Return asset symbols of a comma-separated option."""
    items = commas(text)
    return [item.upper() for item in items] if items else None


def when(text: str, option: str = "--start") -> int:
    """Return the seconds of a date given on the command line."""
    from ewmalab.errors import RulebookError
    from ewmalab.rulebook import parse_time

    try:
        return parse_time(text)
    except RulebookError as error:
        raise typer.BadParameter(str(error), param_hint=option) from error


def present() -> int:
    """Return the time; the command line is a driver and may read the clock."""
    return int(datetime.now(UTC).timestamp())


def settings(
    config: Path | None, assignments: list[str] | None, flags: Mapping[str, Any] | None = None
) -> LoadedSettings:
    """Load the settings of a command; options that were given become the strongest layer."""
    from ewmalab.settings import load_settings, parse_assignments

    given = {key: value for key, value in (flags or {}).items() if value is not None}
    return load_settings(file=config, flags={**parse_assignments(assignments or []), **given})


def console(stderr: bool = False) -> Console:
    """Return a console that wraps nothing and colours only terminals."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, soft_wrap=True)


def say(text: str) -> None:
    """Print a line for people, apart from the output proper."""
    print(text, file=sys.stderr)


def print_json(data: Any) -> None:
    """Print JSON to standard output."""
    import orjson

    sys.stdout.write(orjson.dumps(data, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode())


def progress(quiet: bool = False) -> Progress:
    """Return a progress display on standard error; silent where that is not a terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    shown = console(stderr=True)
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
        console=shown, transient=True, disable=quiet or not shown.is_terminal,
    )  # fmt: skip


def table(columns: Iterable[str], rows: Iterable[Iterable[object]], title: str | None = None) -> str:
    """Return a plain table; columns that hold numbers are right-aligned."""
    from ewmalab.report.tables import plain_table

    return plain_table(list(columns), [list(row) for row in rows], title)


def threads(wanted: int) -> int:
    """Return the number of worker threads that a setting means."""
    import os

    return wanted or os.cpu_count() or 1
