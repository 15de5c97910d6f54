"""Means of a statistic by bin, from partial sums that can be added.

A *statistic* is one number per row: a forecast scored on a prompt. A *metric* is computed from means of statistics.
The sums by bin of two parts of the rows add up to those of the whole, so parts may be summed separately, stored, and
added later.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Key = tuple[Any, ...]


@dataclass(frozen=True, eq=False)
class Bins:
    """Which bin each row belongs to.

    Attributes
    ----------
    keys : list of tuple
        The values that the rows of each bin share, ascending.
    of_row : (n,) int64
        Indices into `keys`.
    """

    keys: list[Key]
    of_row: Ints

    @classmethod
    def of(cls, *columns: npt.ArrayLike) -> Bins:
        """Make one bin for each combination of the columns' values that occurs.

        Examples
        --------
        >>> Bins.of(["ETH", "BTC", "ETH"], [1, 1, 1]).keys
        [('BTC', 1), ('ETH', 1)]
        """
        found = [_coded(np.asarray(column)) for column in columns]
        shape = tuple(max(1, len(values)) for values, _ in found)
        flat, of_row = np.unique(np.ravel_multi_index(tuple(code for _, code in found), shape), return_inverse=True)
        places = np.unravel_index(flat, shape)
        parts = [values[place].tolist() for (values, _), place in zip(found, places, strict=True)]
        return cls(list(zip(*parts, strict=True)), of_row.astype(np.int64))

    @property
    def sizes(self) -> Ints:
        """Return the number of rows in each bin."""
        return np.bincount(self.of_row, minlength=len(self.keys)).astype(np.int64)

    def rows(self) -> list[Ints]:
        """Return the indices of each bin's rows, ascending."""
        order = np.argsort(self.of_row, kind="stable")
        return np.split(order, np.cumsum(self.sizes)[:-1])[: len(self.keys)]

    def items(self) -> Iterator[tuple[Key, Ints]]:
        """Yield each bin's key and the indices of its rows."""
        return zip(self.keys, self.rows(), strict=True)


@dataclass(frozen=True, eq=False)
class Means:
    """Sums and counts of statistics by bin, which give their means.

    Attributes
    ----------
    keys : list of tuple
        Keys of the bins, ascending.
    count : mapping of str to (b,) int64
        By statistic, how many numbers each bin holds; NaN does not count.
    total : mapping of str to (b,) float64
        Their sums.

    Examples
    --------
    >>> first = Means.of(Bins.of(["BTC", "BTC"]), {"crps": [1.0, 2.0]})
    >>> both = first + Means.of(Bins.of(["BTC", "ETH"]), {"crps": [6.0, 5.0]})
    >>> both.keys, both.mean("crps").tolist()
    ([('BTC',), ('ETH',)], [3.0, 5.0])
    """

    keys: list[Key]
    count: Mapping[str, Ints]
    total: Mapping[str, Floats]

    @classmethod
    def of(cls, bins: Bins, statistics: Mapping[str, npt.ArrayLike]) -> Means:
        """Sum statistics, each (n,), by the bins of their rows."""
        order = np.argsort(bins.of_row, kind="stable")
        count, total = {}, {}
        for name, values in statistics.items():
            column = np.asarray(values, np.float64)[order]
            known = ~np.isnan(column)
            count[name] = np.bincount(bins.of_row[order][known], minlength=len(bins.keys)).astype(np.int64)
            total[name] = _sums(column[known], count[name])
        return cls(bins.keys, count, total)

    def mean(self, name: str) -> Floats:
        """Return a statistic's mean in each bin: (b,), NaN if the bin holds no number."""
        out = np.full(len(self.keys), np.nan)
        np.divide(self.total[name], self.count[name], out=out, where=self.count[name] > 0)
        return out

    def __add__(self, other: Means) -> Means:
        """Return the sums over the rows of both; they must have the same statistics."""
        keys = sorted({*self.keys, *other.keys})
        place = {key: i for i, key in enumerate(keys)}
        count = {name: np.zeros(len(keys), np.int64) for name in self.count}
        total = {name: np.zeros(len(keys)) for name in self.total}
        for part in (self, other):
            at = [place[key] for key in part.keys]
            for name in count.keys() | part.count.keys():
                count[name][at] += part.count[name]
                total[name][at] += part.total[name]
        return Means(keys, count, total)

    def plain(self) -> dict[str, Any]:
        """Return the sums as plain data for JSON; `read` is the inverse."""
        return {
            "keys": [list(key) for key in self.keys],
            "count": {name: values.tolist() for name, values in self.count.items()},
            "total": {name: values.tolist() for name, values in self.total.items()},
        }

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> Means:
        """Return sums from what `plain` returned."""
        count = {name: np.array(values, np.int64) for name, values in data["count"].items()}
        total = {name: np.array(values, np.float64) for name, values in data["total"].items()}
        return cls([tuple(key) for key in data["keys"]], count, total)


def _coded(column: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], Ints]:
    """Return the distinct values, ascending, and the place of each row's among them."""
    if column.dtype != object:
        return np.unique(column, return_inverse=True)
    rows = column.tolist()  # texts, which a set tells apart faster than sorting does
    values = sorted(set(rows))
    places = {value: place for place, value in enumerate(values)}
    return np.array(values, object), np.fromiter(map(places.__getitem__, rows), np.int64, len(rows))


def _sums(values: Floats, counts: Ints) -> Floats:
    """Return the sums of consecutive parts of the values; parts of equal length are summed at once."""
    first = np.cumsum(counts) - counts
    sums = np.zeros(len(counts))
    for count in np.unique(counts[counts > 0]):
        at = np.flatnonzero(counts == count)
        sums[at] = values[first[at, None] + np.arange(count)].sum(axis=1)
    return sums


def paired(prompts: Bins, reference: npt.NDArray[np.bool_], values: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Return each row's statistic and the reference's on the same prompt; both NaN if either is missing.

    Parameters
    ----------
    prompts : Bins
        A bin per prompt.
    reference : (n,) bool
        The rows of the reference.
    values : (n,) array_like
    """
    own = np.asarray(values, np.float64)
    known = np.full(len(prompts.keys), np.nan)
    known[prompts.of_row[reference]] = own[reference]
    theirs = known[prompts.of_row]
    return np.where(np.isnan(theirs), np.nan, own), np.where(np.isnan(own), np.nan, theirs)
