"""Timeouts for servers that hang when a test says so: short then, and only then."""

from __future__ import annotations

from collections.abc import Callable, Iterator


class Patience(tuple[float, float]):
    """Connect and read timeouts of an HTTP client; the second is `short` while `hangs` tells that no answer comes.

    Answers that do come may take long: the machine may be busy.
    """

    hangs: Callable[[], bool]
    short: float

    @classmethod
    def of(cls, hangs: Callable[[], bool], short: float = 0.25) -> Patience:
        made = cls((60.0, 60.0))
        made.hangs, made.short = hangs, short
        return made

    def __iter__(self) -> Iterator[float]:
        yield self[0]
        yield self.short if self.hangs() else self[1]
