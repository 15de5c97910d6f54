"""Completion of values in a shell."""

from __future__ import annotations

from collections.abc import Callable

from ewmalab import api


def names(kind: str) -> Callable[[str], list[str]]:
    """Return what completes a value in a shell; see `ewmalab.api.completions.complete`."""

    def complete(incomplete: str) -> list[str]:
        return api.complete(kind, incomplete)

    return complete


def words(*known: str) -> Callable[[str], list[str]]:
    """Return what completes one of a few words in a shell."""

    def complete(incomplete: str) -> list[str]:
        return [word for word in known if word.startswith(incomplete)]

    return complete
