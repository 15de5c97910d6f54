"""How many examples and cases of a test run by default; all of them run in CI's tier."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import settings

PART, ALL = 30, 100
"""Examples of a test that does not say how many: by default, and with ``--hypothesis-profile all``."""


def examples(count: int) -> settings:
    """Return settings of a property test that needs other than `ALL` examples: so many where the others get all."""
    return settings(max_examples=max(4, count * settings.default.max_examples // ALL))


def some(cases: Iterable[Any], *chosen: Any) -> list[Any]:
    """Return cases for `parametrize`; those that are not chosen, by equality, run in CI's tier alone."""
    return [case if case in chosen else pytest.param(case, marks=pytest.mark.ci) for case in cases]
