"""The small programs in the documents run as they are written."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

EXAMPLES = Path(__file__).parent.parent / "docs/examples"
PROGRAMS = sorted(path.stem for path in EXAMPLES.glob("*.py"))


@pytest.fixture
def program(request: pytest.FixtureRequest, folder: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    import matplotlib as mpl

    mpl.use("Agg")
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(EXAMPLES)
    return importlib.import_module(request.param)


@pytest.mark.parametrize("program", ["small_sweep"], indirect=True)
def test_a_sweep_returns_a_verdict_and_a_row_per_combination(program: ModuleType) -> None:
    words, table = program.main()
    assert words.startswith("cannot tell half_life_1m 20m, nu_1m 8 from half_life_1m 30m, nu_1m 4; not ruled out: ")
    combinations = set(zip(table["ewma.half_life_1m"], table["ewma.nu_1m"], strict=True))
    assert {("20m", 4), ("20m", 8), ("1h", 4), ("1h", 8)} <= combinations
    assert (table["mean_crps"] > 0).all()


def test_a_sweep_of_two_settings_fits_a_terminal(ewmalab) -> None:
    grid = ["-p", "HALF_LIFE_1M", "-p", "NU_1M", "--values", "20m,1h", "--values", "4,8"]
    prompts = ["--start", "2026-01-15", "--days", "0.25", "--assets", "BTC", "--competitions", "1h"]
    done = ewmalab("sweep", *grid, *prompts, "--feed", "simulated")
    assert done.code == 0, done.err
    assert "20m 8" in done.out
    assert max(map(len, done.out.splitlines())) <= 80


@pytest.mark.parametrize("program", ["results_in_pandas"], indirect=True)
def test_results_become_a_table_and_a_figure(program: ModuleType, folder: Path) -> None:
    table, path = program.main()
    assert list(table.columns) == ["ewma", "random-walk"]
    assert len(table) > 3
    assert (folder / path).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("program", ["fitted_forecaster"], indirect=True)
def test_a_fit_is_found_and_replayed(program: ModuleType, folder: Path) -> None:
    done = program.main()
    assert [row["forecaster"] for row in done.summary] == ["fitted_forecaster:HourlyVolatility", "random-walk"]
    assert all(np.isfinite(row["mean_crps"]) for row in done.summary)
    assert len(list((folder / "fits").glob("HourlyVolatility-*.json"))) == 1


def test_every_program_is_tested_and_shown() -> None:
    shown = (EXAMPLES.parent / "howto/examples.md").read_text()
    assert PROGRAMS == ["fitted_forecaster", "results_in_pandas", "small_sweep"]
    assert all(f"../examples/{name}.py" in shown for name in PROGRAMS)
