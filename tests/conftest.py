"""Fixtures: material beside the repository (tests skip, saying so, where it is absent), and the command line."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # workers are the parallelism; numpy reads it when it is imported

import pytest
from examples import ALL, PART
from hypothesis import HealthCheck, settings
from time_machine import travel

# Examples are the same in every run (look for others with `--hypothesis-profile default`), and nobody takes their time:
# the first may compile a kernel, and the machine may be busy.
for _name, _count in (("part", PART), ("all", ALL)):
    settings.register_profile(
        _name, settings.default, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow],
        max_examples=_count,
    )  # fmt: skip
settings.load_profile("part")

LONGEST_FIRST = (
    "test_lookahead", "test_contract", "test_field",
    "test_notebooks", "test_live_processes", "test_kill", "test_rehearse", "test_report", "test_live_updater",
    "test_live_outages", "test_refit", "test_public_api", "test_live_app", "test_kernels", "test_sweep_trials",
    "test_replay", "test_competition_field", "test_live_attacks", "test_ewma", "test_parts", "test_seasonal_har",
    "test_tune", "test_cache", "test_live_refit", "test_cli", "test_simulated", "test_checks", "test_live_score",
    "test_live_parity", "test_answer_format", "test_crps", "test_inference",
)  # fmt: skip
"""Modules that take long: a module is one worker's (its fixtures are made once), and no worker should end with one."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--clock", help="run at this moment, which then passes: 2028-02-29T23:59:00+00:00")


def pytest_configure(config: pytest.Config) -> None:
    if moment := config.getoption("--clock"):
        travel(datetime.fromisoformat(moment), tick=True).start()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    place = {name: i for i, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(place)))


_BESIDE = Path(__file__).resolve().parents[2] / "shared"


def _folder(variable: str, default: Path, holds: str) -> Path:
    folder = Path(os.environ.get(variable) or default)
    if not folder.is_dir():
        pytest.skip(f"{holds}: no folder {folder}; set {variable} to where it is")
    return folder


@pytest.fixture(scope="session", autouse=True)
def _memory_of_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What a live process keeps in memory, because its disk is full, lies in a folder of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ewmalab.live.status._MEMORY", tmp_path_factory.mktemp("memory"))
        yield


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder with golden cases: $EWMALAB_SHARED, or `shared` beside the repository."""
    return _folder("EWMALAB_SHARED", _BESIDE, "golden cases")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with real bars: $EWMALAB_SHARED_DATA, or `data` in the shared folder."""
    shared = Path(os.environ.get("EWMALAB_SHARED") or _BESIDE)
    return _folder("EWMALAB_SHARED_DATA", shared / "data", "real bars")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a module's commands run: its cache and experiments lie there."""
    return tmp_path_factory.mktemp("cli")


class Result:
    """A finished command."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err
        assert "Traceback" not in err, err


@pytest.fixture
def ewmalab(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """Run the command line in this process, in a folder of its own."""
    from ewmalab.cli import main, progress

    monkeypatch.chdir(folder)
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", math.inf)  # on a busy machine as on an idle one
    monkeypatch.setattr(sys, "warnoptions", ["error"])  # a library's warning fails a test
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("EWMALAB__DATA__FEED", "PYTH_API_KEY"):
        monkeypatch.delenv(name, raising=False)

    def run(*arguments: str) -> Result:
        monkeypatch.setattr(sys, "argv", ["ewmalab", *arguments])
        code = 0
        try:
            main()
        except SystemExit as error:
            code = int(error.code or 0)
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return run
