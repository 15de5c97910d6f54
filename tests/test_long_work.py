"""Long work: folders are checked first, results are kept, an interruption says what is kept and how to go on."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from ewmalab.cli import progress
from ewmalab.experiments import store
from ewmalab.experiments.store import Experiment, rescued, save_experiment

BACKTEST = ["backtest", "--start", "2026-01-15", "--days", "0.1", "--feed", "simulated", "--assets", "BTC"]


def saved(root: Path, seed: int = 1) -> Experiment:
    kind: dict[str, Any] = {"inputs": {"seed": seed}, "notes": {}, "summary": [], "text": ""}
    return save_experiment(root, "run", now=1_768_435_200, results=pa.table({"seed": [seed]}), **kind)


def test_equal_runs_that_end_in_the_same_second_keep_all_their_results(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: saved(tmp_path), range(8)))
    assert len({one.path for one in found}) == 8
    assert all(one.results.num_rows == 1 for one in found)
    assert sorted(one.name for one in store.list_experiments(tmp_path)) == sorted(one.name for one in found)


def test_results_that_cannot_be_written_are_kept_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "taken").write_text("")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    found = saved(tmp_path / "taken")
    assert found.results["seed"].to_pylist() == [1]
    said = f"note: {tmp_path / 'taken'}: File exists; the results are in {found.path}: move that folder"
    assert rescued(found) == (said,)
    assert found.path.is_relative_to(tmp_path)
    shutil.rmtree(found.path.parent)
    assert rescued(saved(tmp_path / "free")) == ()


def test_a_fit_that_cannot_be_written_is_kept_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ewmalab.api import fitting
    from ewmalab.forecast.model import Fit
    from ewmalab.replay.fits import Artifact, read_artifact

    (tmp_path / "taken").write_text("")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    artifact = Artifact("my.model:Mine", Fit(1_768_435_200, {"factor": 2.0}, ""), "pyth", {"BTC": {"bars": 3}})
    path, (note,) = fitting._written(artifact, tmp_path / "taken")
    assert read_artifact(str(path)).fit.numbers == {"factor": 2.0}
    assert str(path) in note


@pytest.mark.parametrize("option", ["--keep-predictions", "--set"])
def test_an_output_folder_is_checked_before_the_work(option: str, ewmalab, folder: Path) -> None:
    (folder / "taken").write_text("")
    before = sorted(folder.rglob("*"))
    value = "taken/here" if option == "--keep-predictions" else 'run.experiments_dir="taken/here"'
    done = ewmalab(*BACKTEST, option, value)
    assert done.code == 2
    assert done.err == (
        f"ewmalab: taken/here: nothing can be written there ({folder}/taken is a file): choose another folder\n"
    )
    assert sorted(folder.rglob("*")) == before


def test_an_interruption_says_what_is_kept_and_the_command_that_goes_on(
    ewmalab, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ewmalab.replay import resumable_parts

    run_part, begun = resumable_parts.run_part, []

    def interrupted(*arguments: Any) -> Any:
        begun.append(arguments)
        if len(begun) == 2:
            raise KeyboardInterrupt
        return run_part(*arguments)

    monkeypatch.setattr(resumable_parts, "run_part", interrupted)
    two = [*BACKTEST[:-1], "BTC,ETH", "--name", "two", "-f", "random-walk"]
    stopped = ewmalab(*two)
    assert stopped.code == 130
    assert stopped.err == (
        "ewmalab: stopped\n1 of 2 parts are kept: the same command resumes\n"
        f"what is finished is kept; go on with: ewmalab {' '.join(two)}\n"
    )
    assert ewmalab(*two).code == 0
    assert len(begun) == 3  # the first part was not replayed again


def test_progress_without_a_terminal_is_a_line_now_and_then_with_the_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 15.0)
    said: list[str] = []
    lines = progress.PlainProgress("trials", said.append)
    for done, now in ((10, 0.0), (20, 5.0), (30, 20.0), (40, 21.0), (110, 200.0)):
        lines.report(done, 410, now)
    assert said == ["trials: 30 of 410, 6 min left", "trials: 110 of 410, 10 min left"]


def test_progress_of_a_sweep_ends_when_all_is_judged(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ewmalab import api

    monkeypatch.chdir(folder)
    seen: list[tuple[int, int]] = []
    settings = api.load_settings(flags={"data.feed": "simulated"})
    result = api.sweep(
        {"nu_1m": [4, 8]},
        start="2026-01-15",
        days=0.1,
        assets="BTC",
        competitions="1h",
        name=None,
        settings=settings,
        progress=lambda done, total: seen.append((done, total)),
    )
    trials = result.sweep.trials
    assert (trials, trials + 1) in seen  # all trials are done, and their one cell is not judged
    assert seen[-1] == (trials + 1, trials + 1)


def test_ranks_that_cannot_be_written_are_printed_all_the_same(ewmalab, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Experiment, "attach", full)
    done = ewmalab("leaderboard", "ewma", "random-walk", *BACKTEST[1:], "--competitions", "1h")
    assert (done.code, "lack these ranks: they cannot be written: No space left" in done.err) == (0, True)
    assert "random-walk" in done.out
