"""The bars that were set aside, kept beside the cached ones with the reason of each."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from ewmalab.errors import DataError
from ewmalab.market.asset_folder import QUARANTINE, AssetFolder
from ewmalab.market.bars import Bars
from ewmalab.market.cache import Cache
from ewmalab.market.quality.rules import COLUMNS, AsideBar, Bool, Int
from ewmalab.market.storage import Storage
from ewmalab.times import iso

FILE = "set_aside.csv"
_FILE = f"1m/{QUARANTINE}/{FILE}"


def aside_bars(bars: Bars, reasons: Mapping[str, Bool], source: str = "", at: int = 0) -> tuple[AsideBar, ...]:
    """Return the bars that masks by reason choose, in order of time."""
    labels, *prices = (column.tolist() for column in bars.columns().values())
    chosen = sorted((int(i), reason) for reason, mask in reasons.items() for i in mask.nonzero()[0])
    return tuple(AsideBar(labels[i], tuple(p[i] for p in prices), reason, source, at) for i, reason in chosen)


def count_reasons(aside: Iterable[AsideBar]) -> dict[str, int]:
    """Return the number of bars by reason, the most frequent first."""
    return dict(Counter(bar.reason for bar in aside).most_common())


def describe_aside(aside: Sequence[AsideBar]) -> str:
    """Return counts by reason and the first time as one line.

    Examples
    --------
    >>> describe_aside([AsideBar(60, (1.0, 10.0, 1.0, 10.0), "price that came back at once")])
    '1 x price that came back at once (first: 1970-01-01T00:01:00Z)'
    """
    first: dict[str, int] = {}
    for bar in aside:
        first.setdefault(bar.reason, bar.label)
    counts = count_reasons(aside)
    return ", ".join(f"{count} x {reason} (first: {iso(first[reason])})" for reason, count in counts.items())


def record_aside(cache: Cache, feed: str, asset: str, aside: Sequence[AsideBar], kept: Int) -> None:
    """Add bars to the record of an asset, and delete from it those that are kept now.

    Parameters
    ----------
    cache : Cache
    feed, asset : str
    aside : sequence of AsideBar
        A bar replaces an older one of its minute.
    kept : (n,) int64
        Labels of bars that were stored.
    """
    if not aside and not (cache.folder(feed, asset) / QUARANTINE / FILE).exists():
        return
    folder = cache.folder(feed, asset)
    folder.mkdir(parents=True, exist_ok=True)
    with AssetFolder(folder).locked():
        known = {bar.label: bar for bar in read_aside(cache, feed, asset)}
        stored = set(kept.tolist())
        new = {label: bar for label, bar in known.items() if label not in stored}
        for bar in (bar for bar in aside if bar.label not in stored):
            before = new.get(bar.label)
            if before is None or _values(before) != _values(bar):
                new[bar.label] = bar
        if new != known:
            AssetFolder(folder).rewrite_aside(FILE, _encoded([new[label] for label in sorted(new)]))


def read_aside(cache: Cache, feed: str, asset: str) -> list[AsideBar]:
    """Return the bars of an asset that were set aside and are still missing, in order of time."""
    try:
        data = Storage(cache.root).read(f"{feed}/{asset}/{_FILE}", lambda file: bytes(file.read()))
    except FileNotFoundError:
        return []
    try:
        rows = list(csv.reader(io.StringIO(data.decode())))[1:]
        return [
            AsideBar(int(label), tuple(map(float, prices)), reason, source, int(at))
            for label, *prices, reason, source, at in rows
        ]
    except (ValueError, csv.Error) as error:
        raise DataError(f"{cache.root}/{feed}/{asset}/{_FILE}: not a list of bars ({error}); delete it") from error


def _values(bar: AsideBar) -> str:
    return repr((bar.prices, bar.reason))  # as text, so that NaN equals NaN


def _encoded(bars: Sequence[AsideBar]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow([*COLUMNS, "reason", "source", "at"])
    writer.writerows([bar.label, *bar.prices, bar.reason, bar.source, bar.at] for bar in bars)
    return text.getvalue().encode()
