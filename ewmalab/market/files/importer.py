"""Import bar files into the cache."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from ewmalab.errors import BarsError, EwmalabError
from ewmalab.market.cache import Cache
from ewmalab.market.files.formats import SUFFIXES, Columns, read_columns, split_bars
from ewmalab.market.partition import Provenance
from ewmalab.market.quality import COLUMNS, Bool, describe_faults
from ewmalab.rulebook import Rulebook
from ewmalab.settings.schema import FeedName
from ewmalab.times import MINUTE


@dataclass(frozen=True, slots=True)
class BarFile:
    """A file to import, with the feed and asset of its bars."""

    path: Path
    feed: str
    asset: str


@dataclass(frozen=True, slots=True)
class Imported:
    """The result of one file; `rejected` counts the bad rows by reason, and `quarantine` is their file."""

    bars: int
    days_written: int
    gap_minutes: int  # minutes without a bar, between the first and the last bar
    close_only: int  # bars without a range
    rejected: str | None
    quarantine: str | None


@dataclass(frozen=True, slots=True)
class FileImport:
    """A file and the result of its import, or the error."""

    file: BarFile
    imported: Imported | None
    error: str | None = None


def find_files(
    paths: Iterable[Path], *, feed: str | None, asset: str | None, rulebook: Rulebook
) -> tuple[list[BarFile], list[tuple[str, str]]]:
    """Return the bar files among paths and folders, and the skipped paths with the reason.

    The feed is `feed` or the name of the file's folder up to its first underscore. The asset is `asset`, the file's
    name, or the nearest folder above it that is named after an asset.

    Parameters
    ----------
    paths : iterable of Path
    feed, asset : str or None
        Feed and asset of all files, if given.
    rulebook : Rulebook
        Knows the assets.
    """
    found: list[BarFile] = []
    skipped: list[tuple[str, str]] = []
    for path in paths:
        files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        for file in files:
            if not file.exists():
                skipped.append((str(file), "does not exist"))
                continue
            if file.suffix.lower() not in SUFFIXES:
                skipped.append((str(file), f"not a bar file ({', '.join(SUFFIXES)})"))
                continue
            names = [file.stem, *(p.name for p in file.parents)]
            symbol = asset.upper() if asset else next((n for n in names if n in rulebook.symbols), None)
            if symbol is None:
                skipped.append((str(file), "no asset in its name; pass --asset"))
                continue
            rulebook.asset(symbol)
            source = feed or file.resolve().parent.name.partition("_")[0]
            if source not in get_args(FeedName):
                skipped.append((str(file), f"no feed in its folder's name; pass --feed {'|'.join(get_args(FeedName))}"))
                continue
            found.append(BarFile(file, source, symbol))
    return found, skipped


def import_file(cache: Cache, item: BarFile, *, now: int, replace: bool = False, quarantine: bool = False) -> Imported:
    """Import one file; either all of its good rows are cached, or none.

    Parameters
    ----------
    cache : Cache
    item : BarFile
    now : int
        Current time, seconds since 1970-01-01 UTC; a bar that is not closed by then is bad.
    replace : bool
        Whether bars that differ from cached ones replace them.
    quarantine : bool
        Whether bad rows are moved to quarantine instead of refusing the file.

    Raises
    ------
    BarsError
        If rows are bad and `quarantine` is not set, if no row is good, or if the rows are not minute bars.
    DataError
        If bars differ from cached ones and `replace` is not set.
    """
    columns = read_columns(item.path)
    bars, rejected = split_bars(columns, item.path, now)
    described = describe_faults(rejected, columns["timestamp"]) if rejected else None
    if described and not quarantine:
        raise BarsError(f"{item.path}: {described}; pass --quarantine to import the other rows")
    if not len(bars):
        raise BarsError(f"{item.path}: no bars")
    aside = None
    if rejected:
        aside = cache.set_aside(item.feed, item.asset, f"{item.path.stem}-{now}.csv", _csv(columns, rejected))
    first, last = int(bars.timestamp[0]), int(bars.timestamp[-1]) + MINUTE
    provenance = Provenance(f"file {item.path.name}", now, item.feed.startswith("simulated"))
    written = cache.write(item.feed, item.asset, bars, [(first, last)], provenance, replace=replace)
    gaps, close_only = (last - first) // MINUTE - len(bars), int((~bars.has_range).sum())
    return Imported(len(bars), written, gaps, close_only, described, str(aside) if aside else None)


def import_files(
    cache: Cache,
    files: Sequence[BarFile],
    *,
    now: int,
    replace: bool = False,
    quarantine: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> list[FileImport]:
    """Import several files; one that is refused does not stop the others.

    Parameters
    ----------
    cache, now, replace, quarantine
        As in `import_file`.
    files : sequence of BarFile
    progress : callable, optional
        Called with the number of files done and in total.
    """
    out = []
    for number, item in enumerate(files, 1):
        try:
            done = import_file(cache, item, now=now, replace=replace, quarantine=quarantine)
            out.append(FileImport(item, done))
        except EwmalabError as error:
            out.append(FileImport(item, None, str(error)))
        if progress:
            progress(number, len(files))
    return out


def _csv(columns: Columns, rejected: Mapping[str, Bool]) -> bytes:
    """Return the bad rows as CSV, with their numbers and reasons."""
    reasons = {int(row): reason for reason, mask in rejected.items() for row in mask.nonzero()[0]}
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["row", *COLUMNS, "reason"])
    writer.writerows([row, *(columns[name][row] for name in COLUMNS), reasons[row]] for row in sorted(reasons))
    return text.getvalue().encode()
