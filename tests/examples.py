"""How many examples a property test gets: a part of them by default, all of them in CI's tier."""

from __future__ import annotations

from hypothesis import settings

PART, ALL = 30, 100
"""Examples of a test that does not say how many: by default, and with ``--hypothesis-profile all``."""


def examples(count: int) -> settings:
    """Return settings of a property test that needs other than `ALL` examples: so many where the others get all."""
    return settings(max_examples=max(10, count * settings.default.max_examples // ALL))
