"""Import bar files into the cache."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ewmalab.errors import BarsError, EwmalabError
from ewmalab.market.adjust import adjust_cached
from ewmalab.market.bars import Bars
from ewmalab.market.cache import Cache
from ewmalab.market.files.answered import answered_at, answered_closures, import_command, silence, unsettled_note
from ewmalab.market.files.parts import Part, read_parts
from ewmalab.market.files.rows import Columns, Split, split_rows
from ewmalab.market.files.search import BarFile
from ewmalab.market.files.suspicious import aside_rows, cut, few_wrong_prices, without_suspicious
from ewmalab.market.files.table import Hints
from ewmalab.market.partition import Provenance
from ewmalab.market.quality import COLUMNS, DUPLICATE, NO_READABLE_TIME, Bool, describe_faults
from ewmalab.market.quality.aside_record import record_aside
from ewmalab.market.quality.sift import Doubts
from ewmalab.market.quality.splits import PriceSplit
from ewmalab.market.ranges import Range, union
from ewmalab.rulebook import Rulebook
from ewmalab.times import FOREVER, iso

_SHOWN = 3  # bars of a dry run


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
    parts = read_parts(item, rulebook, choices.hints)
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
class _Taken:
    """The rows of an asset as they were judged; `adjusted` are the splits that earlier prices were adjusted for."""

    part: Part
    split: Split
    described: str | None
    adjusted: tuple[PriceSplit, ...]


def _split(cache: Cache, item: BarFile, part: Part, now: int, choices: Choices) -> _Taken:
    """Judge the rows."""
    written = int(item.path.stat().st_mtime)
    try:
        split = split_rows(part.columns, now=now, written=written, minute_bars=choices.hints.interval == "1m")
        few = few_wrong_prices(split.rejected, len(part.columns["close"]))
        if split.rejected and not (few or (choices.quarantine and len(split.bars))):
            faults = describe_faults(split.rejected, part.columns["timestamp"])
            raise BarsError(f"{faults}; {_advice(split, choices.hints)}")
        if not len(split.bars) and (split.rejected or not split.covered):
            raise BarsError("no bars")
        split, adjusted = without_suspicious(cache, part.feed, part.asset, part.columns, split, choices.doubts)
    except BarsError as error:
        raise BarsError(f"{item.path}: {error}") from error
    described = describe_faults(split.rejected, part.columns["timestamp"]) if split.rejected else None
    return _Taken(part, split, described, adjusted)


def _advice(split: Split, hints: Hints) -> str:
    """Return what helps with a file of many bad rows."""
    if DUPLICATE in split.rejected and 2 * int(split.rejected[DUPLICATE].sum()) > len(split.rejected[DUPLICATE]):
        return (
            "if a column tells markets apart pass --columns symbol=NAME, if another one has the time of day "
            "--columns timestamp=NAME"
        )
    twice = NO_READABLE_TIME in split.rejected and hints.timezone
    why = f"clocks of {hints.timezone} may show that hour twice or never; " if twice else ""
    return f"{why}pass --quarantine to import the other rows" if len(split.bars) else "no row is good"


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
        kept = bars.timestamp
        if rows:  # a minute may have a good bar of another file
            kept = np.union1d(kept, cache.read(part.feed, part.asset, rows[0].label, rows[-1].label + 1).timestamp)
        record_aside(cache, part.feed, part.asset, rows, kept)
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


def _again(item: BarFile, part: Part, choices: Choices) -> str:
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
