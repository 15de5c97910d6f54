"""Splits and redenominations: lasting changes of the price by a ratio of small or round numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

from ewmalab.errors import ConfigError
from ewmalab.times import iso

_SINGLE = (2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 20, 25, 30, 40, 50, 100, 1000, 10_000, 100_000, 1_000_000)
_RATIOS = ((3, 2), *((n, 1) for n in _SINGLE))  # 5:4 and 4:3 are within what markets do
_LARGE = 10  # no market moves by more within a minute: another whole number, or another asset's prices
_TOLERANCE = 0.03  # in log: the market moves meanwhile


@dataclass(frozen=True, slots=True)
class PriceSplit:
    """A split: `new` units for `old` ones from the bar labelled `at` on, so that prices change by ``old / new``."""

    at: int
    new: int
    old: int

    @property
    def ratio(self) -> str:
        """Return the split as people write it: ``10:1``."""
        return f"{self.new}:{self.old}"

    @property
    def factor(self) -> float:
        """Return what earlier prices are multiplied by."""
        return self.old / self.new

    @property
    def usual(self) -> bool:
        """Whether markets have seen such splits; another ratio may be another asset's prices."""
        return (self.new, self.old) in _RATIOS or (self.old, self.new) in _RATIOS

    def __str__(self) -> str:
        doubt = "" if self.usual else ", or another asset's prices"
        return (
            f"from {iso(self.at)} on prices are {self.factor:.4g} times those before and stay so: "
            f"a split of {self.ratio}{doubt}"
        )


def name_split(at: int, jump: float, known: Iterable[tuple[int, int]] = ()) -> PriceSplit | None:
    """Return the split that explains a lasting jump, None if no split does.

    A jump of more than ten times is a split, whatever its ratio: the nearest whole number names it.

    Parameters
    ----------
    at : int
        Label of the first bar after it.
    jump : float
        Change of the price, in log.
    known : iterable of (int, int)
        Further splits that may be, new units and old.

    Examples
    --------
    >>> name_split(1768228200, -2.31).ratio
    '10:1'
    >>> name_split(1768228200, -0.2) is None, name_split(1768228200, -0.2, [(5, 4)]).ratio
    (True, '5:4')
    """
    for new, old in known:
        if abs(jump - math.log(old / new)) <= _TOLERANCE:
            return PriceSplit(at, new, old)
    size = math.exp(min(abs(jump), 30.0))
    for many, few in (*_RATIOS, *([(round(size), 1)] if size > _LARGE else [])):
        if abs(abs(jump) - math.log(many / few)) <= _TOLERANCE or many == round(size) > _LARGE:
            return PriceSplit(at, many, few) if jump < 0 else PriceSplit(at, few, many)
    return None


def parse_ratios(text: str | None) -> tuple[tuple[int, int], ...]:
    """Return the pairs of numbers of splits such as ``10:1,3:2``.

    Raises
    ------
    ConfigError
    """
    found = []
    for part in (text or "").split(","):
        numbers = re.fullmatch(r"\s*([1-9]\d{0,8}):([1-9]\d{0,8})\s*", part, re.ASCII)
        if numbers and numbers[1] != numbers[2]:
            found.append((int(numbers[1]), int(numbers[2])))
        elif text is not None:
            raise ConfigError(f"--split {text}: must be NEW:OLD, for example 10:1 for ten new units for one old")
    return tuple(found)
