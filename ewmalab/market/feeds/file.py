"""The feed ``file``: bars from a folder, one file per asset."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from ewmalab.errors import FeedError
from ewmalab.market.bars import Bars
from ewmalab.market.files.formats import SUFFIXES
from ewmalab.market.quality import AsideBar
from ewmalab.times import DAY, MINUTE


class FileFeed:
    """Bars from ``<folder>/<ASSET>`` with a suffix of `SUFFIXES`, for example ``BTC.parquet`` or ``BTC.csv``.

    Parameters
    ----------
    folder : Path

    Attributes
    ----------
    malformed : dict of str to tuple of AsideBar
        By asset: the rows of the last answer that are no bars.

    Raises
    ------
    FeedError
        If the folder does not exist.
    """

    name = "file"
    synthetic = False
    complete = False  # the file may grow
    reach: int | None = None
    chunk = 31 * DAY

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise FeedError(f"feed file: {str(folder)!r} is not a folder; set feeds.file.folder")
        self.folder = folder
        self.malformed: dict[str, tuple[AsideBar, ...]] = {}
        self.source = f"files in {folder.name}"

    def fetch(self, asset: str, start: int, end: int, now: int) -> Bars:
        """Return the closed bars labelled in ``[start, end)``; see `Feed.fetch`.

        Parameters
        ----------
        asset : str
        start, end, now : int
            Seconds since 1970-01-01 UTC.
        """
        for suffix in SUFFIXES:
            path = self.folder / f"{asset}{suffix}"
            if path.exists():
                bars, aside = _load(path, path.stat().st_mtime_ns)
                self.malformed[asset] = tuple(replace(bar, at=now) for bar in aside if start <= bar.label < end)
                return bars.between(start, min(end, now - MINUTE + 1))
        raise FeedError(f"feed file: {self.folder} has no {asset}{{{','.join(SUFFIXES)}}}; set feeds.file.folder")


@lru_cache(maxsize=16)
def _load(path: Path, modified: int) -> tuple[Bars, tuple[AsideBar, ...]]:
    from ewmalab.market.files.bar_file import read_bars  # loads pandas

    return read_bars(path)
