"""Find the bar files among paths, folders and archives."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ewmalab.errors import BarsError
from ewmalab.market.files.formats import SUFFIXES, bar_suffix, members
from ewmalab.market.files.names import FEEDS
from ewmalab.rulebook import Rulebook


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


def find_files(
    paths: Iterable[Path], *, feed: str | None, asset: str | None, rulebook: Rulebook
) -> tuple[list[BarFile], list[tuple[str, str]]]:
    """Return the bar files among paths, folders and archives, and the skipped paths with the reason.

    What does not exist or is damaged is a bar file, whose import is refused.

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
        files = [path]
        if path.is_dir():  # hidden files are systems', not people's
            files = sorted(p for p in path.rglob("*") if p.is_file() and not p.name.startswith("."))
        for file in files:
            if not file.exists():
                found.append(BarFile(file, feed, symbol))
            elif file.suffix.lower() != ".zip" and bar_suffix(file.name) is None:
                skipped.append((str(file), f"not a bar file ({', '.join(SUFFIXES)}, .gz, .zip)"))
            else:
                found += _members(file, feed, symbol, skipped)
    return found, skipped


def _members(file: Path, feed: str | None, asset: str | None, skipped: list[tuple[str, str]]) -> list[BarFile]:
    try:
        names = members(file)
    except BarsError:  # its import names the error
        names = [""]
    if not names:
        skipped.append((str(file), "no bar file inside"))
    return [BarFile(file, feed, asset, name) for name in names]
