"""Importing bar files into the cache."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from ewmalab.errors import BarsError, EwmalabError
from ewmalab.market.cache import Cache
from ewmalab.market.files.formats import SUFFIXES, describe_rejects, read_columns, split_bars
from ewmalab.market.quality import COLUMNS
from ewmalab.rulebook import Rulebook
from ewmalab.settings.schema import FeedName
from ewmalab.times import MINUTE


@dataclass(frozen=True, slots=True)
class BarFile:
    """A file to import, and what its bars are."""

    path: Path
    feed: str
    asset: str


@dataclass(frozen=True, slots=True)
class Imported:
    """What came of a file.

    Attributes
    ----------
    bars, days_written : int
    gap_minutes : int
        Missing between the first and the last bar.
    close_only : int
        Bars without a range.
    rejected : str or None
        Bad rows by reason.
    quarantine : str or None
        The file that bad rows were set aside in.
    """

    bars: int
    days_written: int
    gap_minutes: int
    close_only: int
    rejected: str | None
    quarantine: str | None


@dataclass(frozen=True, slots=True)
class FileImport:
    """A file and what came of it, or why it was refused."""

    file: BarFile
    imported: Imported | None
    error: str | None = None


def find_files(
    paths: Iterable[Path], *, feed: str | None, asset: str | None, rulebook: Rulebook
) -> tuple[list[BarFile], list[tuple[str, str]]]:
    """Return the bar files among paths and folders, and what was passed over with the reason.

    The feed is `feed` or the name of the file's folder up to its first underscore; the asset is `asset`, the file's
    name, or the nearest folder above it that is named after an asset.
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
                skipped.append((str(file), f"its folder names no feed; pass --feed {'|'.join(get_args(FeedName))}"))
                continue
            found.append(BarFile(file, source, symbol))
    return found, skipped


def import_file(cache: Cache, item: BarFile, *, now: int, replace: bool = False, quarantine: bool = False) -> Imported:
    """Import one file; either all its good rows are cached, or none.

    Raises
    ------
    BarsError
        If rows are bad and `quarantine` is not set, or none is good.
    DataError
        If bars differ from cached ones and `replace` is not set.
    """
    columns = read_columns(item.path)
    bars, rejected = split_bars(columns, now)
    if rejected and not quarantine:
        raise BarsError(f"{item.path}: {describe_rejects(rejected)}; pass --quarantine to import the other rows")
    if not len(bars):
        raise BarsError(f"{item.path}: holds no bar")
    aside = None
    if rejected:
        reasons = {row: reason for reason, rows in rejected.items() for row in rows}
        lines = [["row", *COLUMNS, "reason"]]
        lines += [[str(i), *(str(columns[c][i]) for c in COLUMNS), reasons[i]] for i in sorted(reasons)]
        aside = cache.set_aside(item.feed, item.asset, f"{item.path.stem}-{now}.csv", _csv(lines))
    first, last = int(bars.timestamp[0]), int(bars.timestamp[-1]) + MINUTE
    written = cache.write(
        item.feed, item.asset, bars, [(first, last)],
        source=f"file {item.path.name}", now=now, synthetic=item.feed.startswith("simulated"), replace=replace,
    )  # fmt: skip
    return Imported(
        bars=len(bars),
        days_written=written,
        gap_minutes=(last - first) // MINUTE - len(bars),
        close_only=int((~bars.has_range).sum()),
        rejected=describe_rejects(rejected) if rejected else None,
        quarantine=str(aside) if aside else None,
    )


def import_files(
    cache: Cache,
    files: Sequence[BarFile],
    *,
    now: int,
    replace: bool = False,
    quarantine: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> list[FileImport]:
    """Import several files, each as in `import_file`; one that is refused does not stop the others."""
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


def _csv(rows: list[list[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()
