"""Twenty kinds of wrong bars, planted into good ones; for tests and benchmarks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Columns = dict[str, npt.NDArray[np.generic]]
Plant = Callable[[Columns, int], int]  # plants at a row; returns the number of wrong rows from there on
PRICES = ("open", "high", "low", "close")


@dataclass(frozen=True)
class Planted:
    """Columns with faults, and which rows are wrong."""

    columns: Columns
    wrong: npt.NDArray[np.bool_]


def close(factor: float) -> Plant:
    """A close alone, within a range that holds it."""

    def plant(columns: Columns, row: int) -> int:
        columns["close"][row] *= factor
        columns["high"][row] = np.fmax(columns["high"][row], columns["close"][row])
        columns["low"][row] = np.fmin(columns["low"][row], columns["close"][row])
        return 1

    return plant


def only(name: str, factor: float) -> Plant:
    """One price alone; the candle is impossible unless it is the high upwards or the low downwards."""

    def plant(columns: Columns, row: int) -> int:
        columns[name][row] *= factor
        return 1

    return plant


def whole(factor: float, rows: int = 1) -> Plant:
    """All four prices of some candles."""

    def plant(columns: Columns, row: int) -> int:
        for name in PRICES:
            columns[name][row : row + rows] *= factor
        return rows

    return plant


def value(name: str, wrong: float) -> Plant:
    """A price that is none."""

    def plant(columns: Columns, row: int) -> int:
        columns[name][row] = wrong
        return 1

    return plant


def swapped(columns: Columns, row: int) -> int:
    """High and low exchanged, of a candle that has moved."""
    columns["high"][row] = columns["close"][row] * 1.001
    columns["low"][row] = columns["close"][row] * 0.999
    columns["high"][row], columns["low"][row] = columns["low"][row], columns["high"][row]
    return 1


def repeated(columns: Columns, row: int) -> int:
    """The candle before, once more."""
    for name in PRICES:
        columns[name][row] = columns[name][row - 1]
    return 1


def frozen(rows: int) -> Plant:
    """The last close for some minutes."""

    def plant(columns: Columns, row: int) -> int:
        for name in PRICES:
            columns[name][row : row + rows] = columns["close"][row - 1]
        return rows

    return plant


KINDS: dict[str, Plant] = {
    "close x10": close(10.0),
    "close x0.01": close(0.01),
    "close x1.25": close(1.25),
    "close x0.8": close(0.8),
    "close x1.05": close(1.05),
    "candle x10": whole(10.0),
    "candle x0.1": whole(0.1),
    "candle x1.25": whole(1.25),
    "high x10": only("high", 10.0),
    "high x1.25": only("high", 1.25),
    "low x0.01": only("low", 0.01),
    "low x0.8": only("low", 0.8),
    "close null": value("close", np.nan),
    "close negative": value("close", -1.0),
    "high below low": swapped,
    "close above high": only("close", 1.5),
    "candle repeated": repeated,
    "3 candles x10": whole(10.0, 3),
    "10 candles of another symbol": whole(27.3, 10),
    "feed frozen for 30 min": frozen(30),
}


def plant(columns: Columns, kind: str, count: int, seed: int = 0, margin: int = 120) -> Planted:
    """Plant one kind of fault at `count` places that are apart.

    Parameters
    ----------
    columns : dict of (n,) arrays
        Good bars with ranges.
    kind : str
        A name of `KINDS`.
    count : int
    seed : int
        Chooses the places.
    margin : int
        Rows without a fault at either end.
    """
    bad = {name: np.array(column) for name, column in columns.items()}
    size = len(bad["timestamp"])
    room = (size - 2 * margin) // count
    rng = np.random.default_rng(seed)
    wrong = np.zeros(size, bool)
    for place in range(count):
        row = margin + place * room + int(rng.integers(max(1, room - 45)))
        if kind == "candle repeated":
            row = _moving(bad, row)
        wrong[row : row + KINDS[kind](bad, row)] = True
    return Planted(bad, wrong)


def _moving(columns: Columns, row: int) -> int:
    """Return the next row after a candle that has moved: a still one is repeated rightly."""
    while columns["open"][row - 1] == columns["close"][row - 1]:
        row += 1
    return row
