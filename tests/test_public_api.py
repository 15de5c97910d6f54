"""What the package promises to those who import it."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import subprocess
import sys

import pytest

import ewmalab

MODULES = sorted(m.name for m in pkgutil.walk_packages(ewmalab.__path__, "ewmalab.") if m.name != "ewmalab.__main__")


def test_the_public_names_are_pinned() -> None:
    assert sorted(ewmalab.__all__) == [
        "Bars", "Ewma", "EwmalabError", "Experiment", "Forecaster", "Prompt", "RandomStream", "RandomWalk", "ScaleFree",
        "SweepResult", "TrackRecord", "backtest", "compare", "crps", "load_bars", "load_experiment", "load_rulebook",
        "load_settings", "make_forecaster", "make_prompt", "rehearse", "score_paths", "settings_with_bars",
        "sweep", "track_record", "tune", "write_report",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ewmalab.__all__)
def test_every_public_name_is_there_and_documented(name: str) -> None:
    assert getattr(ewmalab, name).__doc__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = ewmalab.nothing


def test_no_package_hides_a_public_name() -> None:
    for name in MODULES:
        importlib.import_module(name)
    assert all(callable(getattr(ewmalab, name)) for name in ewmalab.__all__)


@pytest.mark.parametrize("statement", ["import ewmalab", "import ewmalab.cli"])
def test_importing_loads_nothing_heavy(statement: str) -> None:
    heavy = [
        "numpy",
        "pandas",
        "pyarrow",
        "numba",
        "scipy",
        "pydantic",
        "requests",
        "exchange_calendars",
        "arch",
        "optuna",
        "joblib",
        "distributed",
        "matplotlib",
    ]
    code = f"{statement}; import sys; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["ewmalab", *MODULES])
def test_the_examples_in_docstrings_are_true(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0
