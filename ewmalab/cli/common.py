"""What the commands share: options, settings, output."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
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

StartOption = Annotated[
    str | None,
    typer.Option("--start", help="First start time, e.g. 2026-01-15 (UTC); default: the newest cached days."),
]
DaysOption = Annotated[float, typer.Option("--days", min=0.01, help="Days of prompts.")]
CompetitionsOption = Annotated[
    str | None, typer.Option("--competitions", metavar="A,B", help="Only these, e.g. 24h or crypto-1h.")
]
RulesOption = Annotated[str, typer.Option("--rules", help="as-of (each prompt's own date), latest, or a date.")]
ScoredFeedOption = Annotated[str | None, typer.Option("--scored-feed", help="Feed of the realised prices, if another.")]
CadenceOption = Annotated[
    str | None, typer.Option("--cadence", help="Time between prompts, e.g. 1h, instead of the rulebook's.")
]
SimulationsOption = Annotated[
    int | None, typer.Option("--simulations", min=1, max=100_000, help="Paths per prompt, instead of the rulebook's.")
]
SeedOption = Annotated[int | None, typer.Option("--seed", help="Seed of all random streams.")]
PartialOption = Annotated[
    bool, typer.Option("--partial", help="Score what can be scored where realised prices are missing.")
]
ForecasterOption = Annotated[
    str,
    typer.Option("--forecaster", "-f", metavar="NAME", help="ewma, ewma@seed or package.module:attribute."),
]
ExactOption = Annotated[
    bool, typer.Option("--exact", help="Simulate every prompt by itself, even where one ensemble would do.")
]
WriteConfigOption = Annotated[
    Path | None,
    typer.Option("--write-config", metavar="FILE", help="Write values proven better as a settings file."),
]
ForceOption = Annotated[bool, typer.Option("--force", help="With --write-config: also values not proven better.")]
EngineOption = Annotated[
    str, typer.Option("--engine", help="threads, processes or dask: where trials run. Results are the same.")
]
WorkersOption = Annotated[int, typer.Option("--workers", min=0, help="Threads or processes; 0: one per processor.")]
SchedulerOption = Annotated[
    str | None, typer.Option("--scheduler", metavar="tcp://HOST:PORT", help="A running Dask scheduler.")
]


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
    from ewmalab.times import parse_time

    try:
        return parse_time(text)
    except RulebookError as error:
        raise typer.BadParameter(str(error), param_hint=option) from error


def duration(text: str | None, option: str) -> int | None:
    """Return the seconds of a duration given on the command line."""
    from ewmalab.units import parse_duration

    try:
        return parse_duration(text) if text else None
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from error


def value_lists(names: list[str], lists: list[str] | None) -> dict[str, list[str] | None]:
    """Return the values of each parameter: one list for each, one for all, or none."""
    given = lists or []
    if len(given) > 1 and len(given) != len(names):
        raise typer.BadParameter(f"{len(given)} lists for {len(names)} parameters", param_hint="--values")
    return {name: commas(given[i if len(given) > 1 else 0]) if given else None for i, name in enumerate(names)}


def check_name(name: str) -> None:
    """Refuse what cannot be part of a directory's name."""
    import re

    if not re.fullmatch(r"[A-Za-z0-9_.]+(-[A-Za-z0-9_.]+)*", name):
        raise typer.BadParameter("letters, digits, dots, dashes and underscores only", param_hint="--name")


def present() -> int:
    """Return the time; the command line is a driver and may read the clock."""
    return int(datetime.now(UTC).timestamp())


def settings(
    config: Path | None, assignments: list[str] | None, flags: Mapping[str, Any] | None = None
) -> LoadedSettings:
    """Load the settings of a command; options that were given become the strongest layer."""
    from ewmalab.settings import load_settings
    from ewmalab.settings.layers import parse_assignments

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


def print_written(path: Path, refused: list[str]) -> None:
    """Print that a settings file was written, and what it leaves alone."""
    print(f"written: {path}")
    for line in refused:
        print(f"  left as it is: {line}")


def progress(quiet: bool = False) -> Progress:
    """Return a progress display on standard error; silent where that is not a terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    shown = console(stderr=True)
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
        console=shown, transient=True, disable=quiet or not shown.is_terminal,
    )  # fmt: skip


def table(
    columns: Iterable[str], rows: Iterable[Iterable[object]], title: str | None = None, *, clip: bool = False
) -> str:
    """Return a plain table; columns that hold numbers are right-aligned. `clip` cuts the last to fit a terminal."""
    from ewmalab.report.text.tables import plain_table

    return plain_table(list(columns), [list(row) for row in rows], title, clip=clip)


def threads(wanted: int) -> int:
    """Return the number of worker threads that a setting means."""
    import os

    return wanted or os.cpu_count() or 1


@contextmanager
def trials(quiet: bool = False) -> Iterator[Callable[[int, int], None]]:
    """Show trials done, trials in all and the time left; yields what a sweep reports to."""
    with progress(quiet) as bar:
        task = bar.add_task("reading bars", total=None)
        yield lambda done, total: bar.update(task, description="trials", completed=done, total=total)


@contextmanager
def unfinished(loaded: LoadedSettings, kind: str, options: Mapping[str, Any]) -> Iterator[None]:
    """Keep a long run's options on disk until it has ended, so that it can go on after whatever stops it."""
    import hashlib

    import orjson

    from ewmalab.atomic_files import write_atomic
    from ewmalab.errors import EngineError

    data = orjson.dumps(dict(options), option=orjson.OPT_SORT_KEYS)
    path = _unfinished_folder(loaded, kind) / f"{hashlib.sha256(data).hexdigest()[:16]}.json"
    write_atomic(path, data)
    try:
        yield
    except KeyboardInterrupt:
        say(f"\nstopped; finished trials are kept: `ewmalab {kind} --resume` goes on")
        raise typer.Exit(130) from None
    except EngineError:
        say(f"finished trials are kept: `ewmalab {kind} --resume` goes on")
        raise
    except Exception:
        path.unlink(missing_ok=True)  # it did not stop, it failed: going on would fail again
        raise
    path.unlink(missing_ok=True)


def newest_unfinished(loaded: LoadedSettings, kind: str) -> dict[str, Any] | None:
    """Return the options of the newest run that was stopped, or None."""
    import orjson

    paths = sorted(_unfinished_folder(loaded, kind).glob("[0-9a-f]*.json"), key=lambda path: path.stat().st_mtime)
    return dict(orjson.loads(paths[-1].read_bytes())) if paths else None


def _unfinished_folder(loaded: LoadedSettings, kind: str) -> Path:
    return loaded.values.run.experiments_dir / ".unfinished" / kind
