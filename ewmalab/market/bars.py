"""`Bars`: minute bars as columns, validated once and immutable afterwards."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ewmalab.errors import BarsError
from ewmalab.market.quality import COLUMNS, describe_faults, row_faults
from ewmalab.times import MINUTE

Float = npt.NDArray[np.float64]
Int = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Bars:
    """Price bars of one asset at one resolution, as contiguous read-only columns.

    A bar is labelled by its open time: the bar labelled ``t`` covers ``[t, t + resolution)`` and is known from
    ``t + resolution`` on. A missing bar is a missing row, never a flat bar. A bar from a source without a real
    range has NaN in open, high and low ("close-only").

    Parameters
    ----------
    timestamp : (n,) int64
        Open times, seconds since 1970-01-01 UTC, strictly increasing multiples of `resolution`.
    open, high, low : (n,) float64
        Prices, or NaN in all three for a close-only bar.
    close : (n,) float64
        Closing prices; positive and finite.
    resolution : int
        Seconds per bar.

    Raises
    ------
    BarsError
        If any row breaks a rule; the message counts the rows per rule and names the first row of each.

    Examples
    --------
    >>> bars = Bars.from_closes([0, 60, 180], [100.0, 101.0, 102.0])
    >>> len(bars), bars.gaps()
    (3, [(120, 180)])
    """

    timestamp: Int
    open: Float
    high: Float
    low: Float
    close: Float
    resolution: int = MINUTE

    def __post_init__(self) -> None:
        for name in COLUMNS:
            dtype = np.int64 if name == "timestamp" else np.float64
            column = np.array(getattr(self, name), dtype=dtype, order="C")  # a copy that nothing else can write to
            if column.ndim != 1:
                raise BarsError(f"column {name!r} has {column.ndim} dimensions, not 1")
            column.setflags(write=False)
            object.__setattr__(self, name, column)
        lengths = {name: len(getattr(self, name)) for name in COLUMNS}
        if len(set(lengths.values())) != 1:
            raise BarsError(f"columns differ in length: {lengths}")
        reasons = row_faults(self.columns(), self.resolution)
        if reasons:
            raise BarsError(describe_faults(reasons, self.timestamp))

    @classmethod
    def empty(cls, resolution: int = MINUTE) -> Bars:
        """Return bars without rows."""
        none = np.empty(0)
        return cls(np.empty(0, np.int64), none, none, none, none, resolution)

    @classmethod
    def from_closes(cls, timestamp: npt.ArrayLike, close: npt.ArrayLike, resolution: int = MINUTE) -> Bars:
        """Return close-only bars (open, high and low are NaN)."""
        times = np.asarray(timestamp, np.int64)
        nan = np.full(times.shape, np.nan)
        return cls(times, nan, nan, nan, np.asarray(close, np.float64), resolution)

    @classmethod
    def from_columns(cls, columns: Mapping[str, npt.ArrayLike], resolution: int = MINUTE) -> Bars:
        """Return bars from a mapping of the five columns by name."""
        t, o, h, l, c = (np.asarray(columns[name]) for name in COLUMNS)
        return cls(t, o, h, l, c, resolution)

    @classmethod
    def concatenate(cls, parts: list[Bars]) -> Bars:
        """Join bars that follow each other in time."""
        if not parts:
            return cls.empty()
        if len({part.resolution for part in parts}) != 1:
            raise BarsError("bars of different resolutions cannot be joined")
        joined = {name: np.concatenate([getattr(part, name) for part in parts]) for name in COLUMNS}
        return cls.from_columns(joined, parts[0].resolution)

    @classmethod
    def trusted(cls, columns: Mapping[str, npt.NDArray[np.generic]], resolution: int) -> Bars:
        """Wrap slices of validated columns without validating again."""
        bars = object.__new__(cls)
        for name in COLUMNS:
            columns[name].setflags(write=False)
            object.__setattr__(bars, name, columns[name])
        object.__setattr__(bars, "resolution", resolution)
        return bars

    def __len__(self) -> int:
        return len(self.timestamp)

    def __iter__(self) -> Iterator[Bars]:
        """Yield the bars one by one, each as `Bars` of length one."""
        for i in range(len(self)):
            yield self.rows(i, i + 1)

    def columns(self) -> dict[str, npt.NDArray[np.generic]]:
        """Return the columns by name (not copies)."""
        return {name: getattr(self, name) for name in COLUMNS}

    def rows(self, start: int, stop: int) -> Bars:
        """Return rows ``start:stop`` without copying or validating again."""
        return self.trusted({k: v[start:stop] for k, v in self.columns().items()}, self.resolution)

    def between(self, start: int, end: int) -> Bars:
        """Return the bars labelled in ``[start, end)``."""
        i, j = np.searchsorted(self.timestamp, (start, end))
        return self.rows(int(i), int(j))

    def known_at(self, when: int) -> Bars:
        """Return the bars closed at `when`: label + resolution <= when."""
        return self.rows(0, self.count_known_at(when))

    def count_known_at(self, when: int) -> int:
        """Return the number of bars closed at `when`."""
        return int(np.searchsorted(self.timestamp, when - self.resolution, side="right"))

    @property
    def has_range(self) -> Bool:
        """(n,) bool: whether the bar has a real open, high and low (False: close-only)."""
        return ~np.isnan(self.high)

    def closes_at(self, times: npt.ArrayLike) -> Float:
        """Return the close of the bar labelled by each time, NaN where there is none.

        Parameters
        ----------
        times : (k,) int64
            Bar labels, seconds since 1970-01-01 UTC.

        Returns
        -------
        (k,) float64
        """
        wanted = np.asarray(times, np.int64)
        out = np.full(wanted.shape, np.nan)
        if len(self):
            at = np.minimum(np.searchsorted(self.timestamp, wanted), len(self) - 1)
            found = self.timestamp[at] == wanted
            out[found] = self.close[at[found]]
        return out

    def holds(self, times: npt.ArrayLike) -> Bool:
        """Return for which of k labels there is a row: (k,) bool."""
        wanted = np.asarray(times, np.int64)
        if not len(self):
            return np.zeros(wanted.shape, bool)
        at = np.minimum(np.searchsorted(self.timestamp, wanted), len(self) - 1)
        return np.asarray(self.timestamp[at] == wanted)

    def disagreements(self, fresh: Bars, *, stated: bool = False) -> Bool:
        """Return which of the m rows of `fresh` have the label of a row here but another price: (m,) bool.

        Parameters
        ----------
        fresh : Bars
        stated : bool
            Whether a price that only one of them states is no other price.
        """
        differs = np.zeros(len(fresh), bool)
        _, here, there = np.intersect1d(self.timestamp, fresh.timestamp, assume_unique=True, return_indices=True)
        for name in COLUMNS[1:]:
            old, new = getattr(self, name)[here], getattr(fresh, name)[there]
            unstated = np.isnan(old) | np.isnan(new) if stated else np.isnan(old) & np.isnan(new)
            differs[there] |= ~((old == new) | unstated)
        return differs

    def union(self, fresh: Bars) -> Bars:
        """Return the rows of both, in order; a row of `fresh` replaces one with the same label."""
        if not len(self):
            return fresh
        kept = ~fresh.holds(self.timestamp)
        joined = {k: np.concatenate([column[kept], getattr(fresh, k)]) for k, column in self.columns().items()}
        order = np.argsort(joined["timestamp"], kind="stable")
        return self.from_columns({k: column[order] for k, column in joined.items()}, self.resolution)

    def gaps(self) -> list[tuple[int, int]]:
        """Return the gaps between the first and the last bar as ``[from, to)`` label ranges."""
        at = np.flatnonzero(np.diff(self.timestamp) != self.resolution)
        return [(int(self.timestamp[i]) + self.resolution, int(self.timestamp[i + 1])) for i in at]

    def digest(self) -> str:
        """Return the SHA-256 of the columns' bytes: equal digests mean equal bars, bit for bit."""
        sha = hashlib.sha256(str(self.resolution).encode())
        for name in COLUMNS:
            sha.update(np.ascontiguousarray(getattr(self, name)).tobytes())
        return sha.hexdigest()
