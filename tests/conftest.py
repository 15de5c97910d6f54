"""Fixtures that reach for material beside the repository, and skip, saying so, where it is absent."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# The first example may compile a kernel: a deadline would only measure that.
settings.register_profile("ewmalab", settings.default, deadline=None)
settings.load_profile("ewmalab")

_BESIDE = Path(__file__).resolve().parents[2] / "shared"


def _folder(variable: str, default: Path, holds: str) -> Path:
    folder = Path(os.environ.get(variable) or default)
    if not folder.is_dir():
        pytest.skip(f"{holds}: no folder {folder}; set {variable} to where it is")
    return folder


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder with golden cases: $EWMALAB_SHARED, or `shared` beside the repository."""
    return _folder("EWMALAB_SHARED", _BESIDE, "golden cases")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with real bars: $EWMALAB_SHARED_DATA, or `data` in the shared folder."""
    shared = Path(os.environ.get("EWMALAB_SHARED") or _BESIDE)
    return _folder("EWMALAB_SHARED_DATA", shared / "data", "real bars")
