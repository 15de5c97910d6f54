"""Damaged days: those in place, and those in quarantine whose bars are not back."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from ewmalab.errors import CorruptPartitionError
from ewmalab.market import partition
from ewmalab.market.asset_folder import QUARANTINE
from ewmalab.market.cache import Cache
from ewmalab.market.origin import Origin
from ewmalab.market.partition import Partition
from ewmalab.market.ranges import Range, minutes, subtract, union
from ewmalab.times import DAY, MINUTE, day_start


@dataclass(frozen=True, slots=True)
class Damage:
    """A damaged day of an asset, in view until its bars are back.

    Attributes
    ----------
    feed, asset, day : str
    problem : str
        What is wrong, and where the file is.
    path : str
        The damaged file.
    origin : Origin
        Where its bars came from, and the command that brings them back.
    moved : bool
        Whether the file is in quarantine.
    """

    feed: str
    asset: str
    day: str
    problem: str
    path: str
    origin: Origin
    moved: bool

    @property
    def text(self) -> str:
        """Return one line for people."""
        return f"{self.feed} {self.asset} {self.day}: {self.problem}. {self.origin.text}: {self.origin.command}"


@dataclass(frozen=True, slots=True)
class Survey:
    """All days of an asset: the descriptions of sound ones by date, the names of all files, and the damaged days."""

    days: dict[str, Partition]
    checked: int
    damage: tuple[Damage, ...]


def survey(cache: Cache, feed: str, asset: str, *, thorough: bool = False) -> Survey:
    """Check every byte of an asset's files; move no file, and need no lock.

    Parameters
    ----------
    cache : Cache
    feed, asset : str
    thorough : bool
        Whether the bars are also decoded and compared with their digests.
    """
    days: dict[str, Partition] = {}
    found: list[Damage] = []
    checked = 0
    for day in cache.stems(feed, asset):
        name = f"{feed}/{asset}/{day}"
        try:
            days[day] = cache.load(name)[0] if thorough else cache.check(name)
        except FileNotFoundError:  # moved to quarantine since it was listed
            continue
        except CorruptPartitionError as error:
            path = f"{cache.root}/{feed}/{asset}/1m/{day}.parquet"
            found.append(Damage(feed, asset, day, str(error), path, cache.origin(feed, asset, day), False))
        checked += 1
    in_place = {one.day for one in found}
    lost = [one for one in lost_days(cache, feed, asset, days) if one.day not in in_place]
    return Survey(days, checked, tuple(sorted([*found, *lost], key=lambda one: one.day)))


def lost_days(cache: Cache, feed: str, asset: str, days: dict[str, Partition]) -> list[Damage]:
    """Return the days in quarantine whose bars are not back.

    A day is back when the cache covers all that the damaged file covered; if its description cannot be read, all that
    imported files had of it, or the whole day up to when it was written.

    Parameters
    ----------
    cache : Cache
    feed, asset : str
    days : dict of date to Partition
        The sound days.
    """
    found: dict[str, Damage] = {}
    if isinstance(cache.root, str):  # nothing is moved at a URL
        return []
    for path in sorted((cache.folder(feed, asset) / QUARANTINE).glob("*.parquet")):
        day = path.name.partition(".")[0]
        data, name = path.read_bytes(), f"{feed}/{asset}/{day}"
        if partition.day_of(day) is None or partition.own_name(data) not in (None, name):
            continue  # a stray file: no bars of the day are lost with it
        entry = None
        with suppress(CorruptPartitionError):
            entry = partition.describe(data, name)
        origin = cache.origin(feed, asset, day, entry)
        written = int(path.stat().st_mtime)
        if missing := subtract(_needed(day, entry, origin, written), days[day].covered if day in days else ()):
            problem = f"it was damaged and moved aside to {path}; {minutes(missing)} minutes of it are not back"
            found[day] = Damage(feed, asset, day, problem, str(path), origin, True)
    return list(found.values())


def _needed(day: str, entry: Partition | None, origin: Origin, written: int) -> list[Range]:
    start = day_start(day)
    end = min(start + DAY, written - written % MINUTE)  # it cannot hold what came after it was written
    return union((entry.covered if entry else ()) or origin.imported or [(start, end if end > start else start + DAY)])
