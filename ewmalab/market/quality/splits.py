"""Splits and redenominations: lasting changes of the price by a ratio of small or round numbers."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from ewmalab.errors import ConfigError
from ewmalab.times import iso

_SINGLE = (2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 20, 25, 30, 40, 50, 100, 1000, 10_000, 100_000, 1_000_000)
_RATIOS = ((3, 2), *((n, 1) for n in _SINGLE))  # 5:4 and 4:3 are within what markets do
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

    def __str__(self) -> str:
        return (
            f"from {iso(self.at)} on prices are {self.factor:g} times those before and stay so: a split of {self.ratio}"
        )


def name_split(at: int, jump: float) -> PriceSplit | None:
    """Return the split that explains a lasting jump, None if no split does.

    Parameters
    ----------
    at : int
        Label of the first bar after it.
    jump : float
        Change of the price, in log.

    Examples
    --------
    >>> name_split(1768228200, -2.31).ratio
    '10:1'
    >>> name_split(1768228200, -0.2) is None
    True
    """
    for many, few in _RATIOS:
        if abs(abs(jump) - math.log(many / few)) <= _TOLERANCE:
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
