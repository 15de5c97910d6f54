"""Import bar files into the cache."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ewmalab.errors import BarsError, EwmalabError
from ewmalab.market.adjust import adjust_cached
from ewmalab.market.bars import Bars
from ewmalab.market.cache import Cache
from ewmalab.market.files.answered import answered_at, answered_closures, import_command, silence, unsettled_note
from ewmalab.market.files.formats import SUFFIXES, bar_suffix, members
from ewmalab.market.files.names import FEEDS, asset_of_path, asset_of_symbol, feed_of_path
from ewmalab.market.files.rows import Columns, Split, split_rows
from ewmalab.market.files.suspicious import aside_rows, cut, few_wrong_prices, without_suspicious
from ewmalab.market.files.table import Hints
from ewmalab.market.partition import Provenance
from ewmalab.market.quality import COLUMNS, Bool, describe_faults
from ewmalab.market.quality.aside import record_aside
from ewmalab.market.quality.sift import Doubts
from ewmalab.market.quality.splits import PriceSplit
from ewmalab.market.ranges import Range, union
from ewmalab.rulebook import Rulebook
from ewmalab.times import FOREVER, iso

_SHOWN = 3  # bars of a dry run


@dataclass(frozen=True, slots=True)
class BarFile:
    """A file to import, or a member of an archive; feed and asset if they are given."""

    path: Path
    feed: str | None = None
    asset: str | None = None
    member: str = ""

    @property
    def name(self) -> str:
        """Return the file's name, with the member's."""
        return f"{self.path.name}/{self.member}" if self.member else self.path.name


@dataclass(frozen=True, slots=True)
class Imported:
    """The bars of one asset of a file; `rejected` counts the bad rows by reason, and `quarantine` is their file."""

    feed: str
    asset: str
    understood: str
    bars: int
    days_written: int
    gap_minutes: int  # minutes without a bar, between the first and the last bar, while the market was open
    closed_minutes: int  # the same while it was closed
    close_only: int  # bars without a range
    rejected: str | None
    quarantine: str | None
    first_bars: tuple[tuple[float | None, ...], ...] = ()  # of a dry run


@dataclass(frozen=True, slots=True)
class FileImport:
    """A file and the result of its import, or the error."""

    file: BarFile
    imported: tuple[Imported, ...] = ()
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Choices:
    """How to import.

    Attributes
    ----------
    hints : Hints
        What the user says of the files.
    replace : bool
        Whether bars that differ from cached ones replace them.
    quarantine : bool
        Whether bad rows are set aside however many they are, and also if their times are wrong.
    dry_run : bool
        Whether nothing is written.
    doubts : Doubts
        What to do with bars that no market made.
    span : (int, int)
        Only rows labelled in ``[from, to)`` are imported.
    """

    hints: Hints = field(default_factory=Hints)
    replace: bool = False
    quarantine: bool = False
    dry_run: bool = False
    doubts: Doubts = field(default_factory=Doubts)
    span: Range = (0, FOREVER)

    def options(self) -> list[str]:
        """Return the options of the command line beside the hints."""
        flags = {"--replace": self.replace, "--quarantine": self.quarantine, "--keep-suspicious": self.doubts.keep}
        words = [name for name, given in flags.items() if given]
        ratios = ",".join(f"{new}:{old}" for new, old in self.doubts.splits)
        words += ["--split", ratios] if ratios else []
        words += ["--start", iso(self.span[0])] if self.span[0] > 0 else []
        return words + (["--until", iso(self.span[1])] if self.span[1] < FOREVER else [])


def find_files(
    paths: Iterable[Path], *, feed: str | None, asset: str | None, rulebook: Rulebook
) -> tuple[list[BarFile], list[tuple[str, str]]]:
    """Return the bar files among paths, folders and archives, and the skipped paths with the reason.

    Parameters
    ----------
    paths : iterable of Path
    feed, asset : str or None
        Feed and asset of all files, if given.
    rulebook : Rulebook
        Knows the assets.

    Raises
    ------
    RulebookError, BarsError
        If asset or feed is unknown.
    """
    symbol = rulebook.asset(asset.upper()).symbol if asset else None
    if feed is not None and feed not in FEEDS:
        raise BarsError(f"--feed {feed}: unknown feed; known: {', '.join(FEEDS)}")
    found: list[BarFile] = []
    skipped: list[tuple[str, str]] = []
    for path in paths:
        files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        for file in files:
            if not file.exists():
                skipped.append((str(file), "does not exist"))
            elif file.suffix.lower() != ".zip" and bar_suffix(file.name) is None:
                skipped.append((str(file), f"not a bar file ({', '.join(SUFFIXES)}, .gz, .zip)"))
            else:
                found += _members(file, feed, symbol, skipped)
    return found, skipped


def import_file(
    cache: Cache, item: BarFile, *, now: int, rulebook: Rulebook, choices: Choices | None = None
) -> tuple[Imported, ...]:
    """Import one file; either all of its good rows of an asset are cached, or none.

    Parameters
    ----------
    cache : Cache
    item : BarFile
    now : int
        Current time, seconds since 1970-01-01 UTC; a bar that is not closed by then is bad.
    rulebook : Rulebook
        Knows the assets and their symbols.
    choices : Choices, optional

    Raises
    ------
    BarsError
        If the file is in doubt, many rows are bad or one has a wrong time and `quarantine` is not set, no row is good,
        there is a split that was not named, or the rows are not minute bars; nothing is stored.
    DataError
        If bars differ from cached ones and `replace` is not set.
    """
    choices = choices or Choices()
    parts = _read(item, rulebook, choices.hints)
    taken = [_split(cache, item, replace(one, columns=cut(one.columns, choices.span)), now, choices) for one in parts]
    return tuple(_store(cache, item, one, now, choices, rulebook) for one in taken)


def import_files(
    cache: Cache,
    files: Sequence[BarFile],
    *,
    now: int,
    rulebook: Rulebook,
    choices: Choices | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[FileImport]:
    """Import several files; one that is refused does not stop the others.

    Parameters
    ----------
    cache, now, rulebook, choices
        As in `import_file`.
    files : sequence of BarFile
    progress : callable, optional
        Called with the number of files done and in total.
    """
    out = []
    for number, item in enumerate(files, 1):
        try:
            out.append(FileImport(item, import_file(cache, item, now=now, rulebook=rulebook, choices=choices)))
        except EwmalabError as error:
            out.append(FileImport(item, error=str(error)))
        if progress:
            progress(number, len(files))
    return out


@dataclass(frozen=True, slots=True)
class _Part:
    """The rows of one asset of a file."""

    feed: str
    asset: str
    columns: Columns
    understood: str
    named: bool  # whether the file names the asset


def _members(file: Path, feed: str | None, asset: str | None, skipped: list[tuple[str, str]]) -> list[BarFile]:
    try:
        names = members(file)
    except BarsError as error:
        skipped.append((str(file), str(error)))
        return []
    if not names:
        skipped.append((str(file), "no bar file inside"))
    return [BarFile(file, feed, asset, name) for name in names]


def _read(item: BarFile, rulebook: Rulebook, hints: Hints) -> list[_Part]:
    """Return the rows of a file by asset."""
    from ewmalab.market.files.bar_file import Reading, read_readings  # loads pandas

    readings = read_readings(item.path, hints, item.member)
    symbols = [one.symbol for one in readings if one.symbol is not None]
    if hints.symbol is not None and symbols:
        readings = [one for one in readings if str(one.symbol).upper() == hints.symbol.upper()]
        if not readings:
            raise BarsError(f"{item.path}: no symbol {hints.symbol}; it has {', '.join(symbols[:20])}")
    try:
        assets = [
            item.asset if hints.symbol and item.asset else _asset(item, one.symbol or hints.symbol, rulebook)
            for one in readings
        ]
        if len(symbols) == 1 and item.asset and assets == [None]:
            assets = [item.asset]  # a symbol that the rulebook does not know, and the user does
        feed = item.feed or feed_of_path(item.path, readings[0].feed if readings else None)
    except BarsError as error:
        raise BarsError(f"{item.path}: {error}") from error
    found: dict[str, tuple[Reading, str]] = {}
    left = []
    for one, asset in zip(readings, assets, strict=True):
        if asset is None or (item.asset and asset != item.asset):
            left.append(str(one.symbol or hints.symbol))
        elif asset in found:
            raise BarsError(f"{item.path}: {found[asset][0].symbol} and {one.symbol} are both {asset}; pass --symbol")
        else:
            found[asset] = one, asset
    if not found:
        raise BarsError(f"{item.path}: no asset is called {', '.join(left[:20]) or 'so'}; pass --asset and --symbol")
    words = f", without {', '.join(left[:20])}" if left else ""
    return [
        _Part(feed, asset, one.columns, one.understood + words, one.symbol is not None) for one, asset in found.values()
    ]


def _asset(item: BarFile, symbol: str | None, rulebook: Rulebook) -> str | None:
    if symbol is not None:
        return asset_of_symbol(symbol, rulebook)
    if item.asset:
        return item.asset
    if item.member:
        try:
            return asset_of_path(Path(item.member), rulebook)
        except BarsError:
            return asset_of_path(item.path, rulebook)
    return asset_of_path(item.path, rulebook)


@dataclass(frozen=True, slots=True)
class _Taken:
    """The rows of an asset as they were judged; `adjusted` are the splits that earlier prices were adjusted for."""

    part: _Part
    split: Split
    described: str | None
    adjusted: tuple[PriceSplit, ...]


def _split(cache: Cache, item: BarFile, part: _Part, now: int, choices: Choices) -> _Taken:
    """Judge the rows."""
    written = int(item.path.stat().st_mtime)
    try:
        split = split_rows(part.columns, now=now, written=written, minute_bars=choices.hints.interval == "1m")
        if split.rejected and not (choices.quarantine or few_wrong_prices(split.rejected, len(part.columns["close"]))):
            faults = describe_faults(split.rejected, part.columns["timestamp"])
            raise BarsError(f"{faults}; pass --quarantine to import the other rows")
        if not len(split.bars) and (split.rejected or not split.covered):
            raise BarsError("no bars")
        split, adjusted = without_suspicious(cache, part.feed, part.asset, part.columns, split, choices.doubts)
    except BarsError as error:
        raise BarsError(f"{item.path}: {error}") from error
    described = describe_faults(split.rejected, part.columns["timestamp"]) if split.rejected else None
    return _Taken(part, split, described, adjusted)


def _store(cache: Cache, item: BarFile, taken: _Taken, now: int, choices: Choices, rulebook: Rulebook) -> Imported:
    part, split, described = taken.part, taken.split, taken.described
    bars, aside, written = split.bars, None, 0
    hours = rulebook.asset(part.asset).hours.get(part.feed)
    as_of = answered_at(bars, int(item.path.stat().st_mtime), now)
    done = {one.ratio for one in taken.adjusted}
    unused = [ratio for new, old in choices.doubts.splits if (ratio := f"{new}:{old}") not in done]
    notes = [*split.notes, *(f"adjusted for the split {one.ratio} of {iso(one.at)}" for one in taken.adjusted)]
    notes += [f"nothing to adjust for the split {ratio}" for ratio in unused]
    if not choices.dry_run:
        if split.rejected:
            name = f"{Path(item.member or item.path.name).name.split('.')[0]}-{now}.csv"
            aside = cache.set_aside(part.feed, part.asset, name, _csv(part.columns, split.rejected))
        adjust_cached(cache, part.feed, part.asset, taken.adjusted, now, bars)
        provenance = Provenance.of_file(
            item.name,
            now,
            synthetic=part.feed.startswith("simulated"),
            as_of=as_of,
            command=_again(item, part, choices),
        )
        covered = union([*split.covered, *answered_closures(bars, hours)])
        written = cache.write(part.feed, part.asset, bars, covered, provenance, replace=choices.replace)
        rows = aside_rows(part.columns, split.rejected, provenance.source, now)
        record_aside(cache, part.feed, part.asset, rows, bars.timestamp)
    result = Imported(
        part.feed,
        part.asset,
        ", ".join([part.understood, *notes, *unsettled_note(bars, as_of)]),
        len(bars),
        written,
        *silence(bars, hours),
        int((~bars.has_range).sum()),
        described,
        str(aside) if aside else None,
    )
    return replace(result, first_bars=_first_bars(bars)) if choices.dry_run else result


def _again(item: BarFile, part: _Part, choices: Choices) -> str:
    """Return the command that imports the file again."""
    asset = item.asset if part.named or item.member else part.asset
    return import_command(item.path, part.feed, asset, choices.hints, choices.options())


def _first_bars(bars: Bars) -> tuple[tuple[float | None, ...], ...]:
    columns = [column[:_SHOWN].tolist() for column in bars.columns().values()]
    return tuple(tuple(None if value != value else value for value in row) for row in zip(*columns, strict=True))


def _csv(columns: Columns, rejected: Mapping[str, Bool]) -> bytes:
    """Return the bad rows as CSV, with their numbers and reasons."""
    reasons = {int(row): reason for reason, mask in rejected.items() for row in mask.nonzero()[0]}
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["row", *COLUMNS, "reason"])
    writer.writerows([row, *(columns[name][row] for name in COLUMNS), reasons[row]] for row in sorted(reasons))
    return text.getvalue().encode()
