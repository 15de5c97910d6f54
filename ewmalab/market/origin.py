"""Where the bars of a damaged day came from, and the command that brings them back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ewmalab.market.import_log import Import
from ewmalab.market.partition import is_file
from ewmalab.market.ranges import Range, subtract, union

_LIMITS = {"hyperliquid": " (which keeps about 5000 minutes: older bars come back from a file alone)"}


@dataclass(frozen=True, slots=True)
class Origin:
    """The source of a day's bars.

    Attributes
    ----------
    source : str
        ``file NAME``, several of these, or ``feed NAME``.
    command : str
        The command that brings the bars back.
    imported : tuple of ranges
        The minutes that files had, if these are known.
    """

    source: str
    command: str
    imported: tuple[Range, ...] = ()

    @property
    def is_file(self) -> bool:
        """Return whether the bars came from a file."""
        return is_file(self.source)

    @property
    def text(self) -> str:
        """Return the source as a sentence before the command."""
        return f"Its bars came from {self.source}; bring them back"


def origin_of(
    imports: Sequence[Import], feed: str, asset: str, day: str, source: str, covered: Sequence[Range] = ()
) -> Origin:
    """Return where a day's bars came from.

    Parameters
    ----------
    imports : sequence of Import
        Those that brought bars of the day; they count first.
    feed, asset, day : str
    source : str
        What the day's own description says, or that of a neighbour; empty if there is none.
    covered : sequence of ranges
        What the day's own description says that it covers, if it can be read.
    """
    if imports:
        sources, commands = [one.source for one in imports], [one.command for one in imports]
        imported = union(part for one in imports for part in one.covered)
        if subtract(covered, imported):
            rest = origin_of((), feed, asset, day, "")
            sources, commands = [*sources, rest.source], [*commands, rest.command]
        return Origin(" and ".join(dict.fromkeys(sources)), " && ".join(commands), tuple(imported))
    if is_file(source):  # imported by an earlier version, which kept no log
        return Origin(source, f"ewmalab data import FOLDER/{source.partition(' ')[2]} --feed {feed} --asset {asset}")
    name, _, seed = feed.partition("-")
    seed, _, gaps = seed.partition("-gaps-")
    options = [f" --set feeds.simulated.seed={seed}"] if seed else []
    options += [f" --set feeds.simulated.gaps={gaps}"] if gaps else []
    fetch = f"ewmalab data fetch --feed {name} --assets {asset} --start {day} --days 1{''.join(options)}"
    return Origin(f"feed {name}" + _LIMITS.get(name, ""), fetch)
