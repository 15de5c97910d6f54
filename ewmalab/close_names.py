"""The known name that a mistyped one is close to."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the known name closest to a mistyped one, else an empty text.

    Examples
    --------
    >>> did_you_mean("ewna", ["ewma", "random-walk"])
    "; did you mean 'ewma'?"
    >>> did_you_mean("something", ["ewma", "random-walk"])
    ''
    """
    spelled = {_plain(one): one for one in known}
    near = get_close_matches(_plain(name), spelled, n=1, cutoff=0.6)
    return f"; did you mean {spelled[near[0]]!r}?" if near else ""


def _plain(name: str) -> str:
    return name.lower().replace("_", "-")
