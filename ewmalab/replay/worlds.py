"""What was known at a time: bars with another future, and a cache on disk that ends there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ewmalab.forecast.streams import RandomStream
from ewmalab.market import partition
from ewmalab.market.bars import Bars
from ewmalab.market.cache import Cache
from ewmalab.market.partition import Provenance
from ewmalab.settings import LoadedSettings
from ewmalab.times import DAY, MINUTE, day_name

Future = Literal["removed", "scaled", "shaken"]
FUTURES: tuple[Future, ...] = ("removed", "scaled", "shaken")


def with_future(bars: Bars, when: int, future: Future, stream: RandomStream) -> Bars | None:
    """Return bars that equal the given ones up to a time and differ after it; None if nothing comes after.

    Parameters
    ----------
    bars : Bars
    when : int
        Seconds since 1970-01-01 UTC; bars closed by then stay.
    future : {"removed", "scaled", "shaken"}
        No bars, prices at another level, or prices with noise.
    stream : RandomStream
    """
    known = bars.count_known_at(when)
    past, after = bars.rows(0, known), bars.rows(known, len(bars))
    if future == "removed":
        return Bars.concatenate([past])  # a copy: the array beneath ends here too
    if not len(after):
        return None
    rng = stream.generator()
    if future == "scaled":
        factor = np.full(len(after), np.exp(rng.choice([-1, 1]) * rng.uniform(0.5, 1.0)))
    else:
        factor = np.exp(rng.standard_normal(len(after)) * 0.05)
    o, h, l, c = (price * factor for price in (after.open, after.high, after.low, after.close))
    return Bars.concatenate([past, Bars(after.timestamp, o, h, l, c, bars.resolution)])


@dataclass
class KnownCache:
    """A cache on disk that holds what another one held at a time, which only moves forward.

    Attributes
    ----------
    root : Path
        Folder of this cache.
    source : Cache
        The cache that has everything.
    bars : mapping of (feed, asset) to Bars
        The assets that are cut at the minute. Of other assets there are whole days before the first time shown.
    """

    root: Path
    source: Cache
    bars: Mapping[tuple[str, str], Bars]
    _shown: dict[tuple[str, str], int] = field(default_factory=dict)

    def show(self, when: int) -> None:
        """Hold the bars closed at a time."""
        if not self._shown:
            self._link(when - when % DAY)
        for (feed, asset), bars in self.bars.items():
            self._write(feed, asset, bars, when - when % MINUTE)

    def _link(self, first: int) -> None:
        """Link all days before the first that is shown."""
        self.root.mkdir(parents=True, exist_ok=True)
        self._shown = dict.fromkeys(self.bars, first)
        if not isinstance(self.source.root, Path):
            self._shown = {key: int(bars.timestamp[0]) if len(bars) else first for key, bars in self.bars.items()}
            return
        for feed in {feed for feed, _ in self.bars}:
            for path in (self.source.root.absolute() / feed).glob("*/1m/*.parquet"):
                day = partition.day_of(path.stem)
                if day is not None and day < first:
                    target = self.root / path.relative_to(self.source.root.absolute())
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.symlink_to(path)

    def _write(self, feed: str, asset: str, bars: Bars, end: int) -> None:
        folder = self.root / feed / asset / "1m"
        folder.mkdir(parents=True, exist_ok=True)
        begin = self._shown[feed, asset]
        for day in range(begin - begin % DAY, end, DAY):
            stop = min(day + DAY, end)
            name = f"{feed}/{asset}/{day_name(day)}"
            data = partition.encode(name, bars.between(day, stop), [(day, stop)], Provenance("check", 0))
            (folder / f"{day_name(day)}.parquet").write_bytes(data)
        self._shown[feed, asset] = max(begin, end)


def moved(settings: LoadedSettings, source: Path | None, target: Path) -> LoadedSettings:
    """Return settings that name another cache, also in the parameters of a plug-in."""
    flags: dict[str, Any] = {"data.cache_dir": str(target)}
    for key, value in settings.values.plugin.items():
        if source is not None and isinstance(value, str) and Path(value).absolute().is_relative_to(source):
            flags[f"plugin.{key}"] = str(target / Path(value).absolute().relative_to(source))
    return settings.with_flags(flags)
