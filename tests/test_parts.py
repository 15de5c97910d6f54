"""A long replay in parts gives the same bits wherever they run, and goes on where it was stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from examples import some

from ewmalab.errors import EngineError
from ewmalab.experiments.store import Experiment
from ewmalab.replay import resumable_parts as parts_module
from ewmalab.replay.backtest import backtest
from ewmalab.replay.engines import Workers
from ewmalab.replay.plan import BacktestPlan, plan_backtest
from ewmalab.replay.resumable_parts import STRETCH, PartStore, cut, run_part, run_parts
from ewmalab.settings import load_settings
from ewmalab.times import parse_time

START, NOW = parse_time("2026-01-22"), parse_time("2026-03-01")
MakePlan = Callable[..., BacktestPlan]


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that the module's tests fill with synthetic bars as they need them."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def plan(cache_dir: Path, tmp_path: Path) -> MakePlan:
    def make(folder: str = "experiments", **options: Any) -> BacktestPlan:
        flags = {
            "data.feed": "simulated", "data.cache_dir": str(cache_dir),
            "run.experiments_dir": str(tmp_path / folder), **options.pop("flags", {}),
        }  # fmt: skip
        chosen: dict[str, Any] = {
            "start": START, "days": 15, "assets": ["BTC", "SPYX"], "cadence": 6 * 3600, "num_simulations": 20,
            "forecasters": ["ewma", "random-walk"], "now": NOW,
        }  # fmt: skip
        return plan_backtest(load_settings(environ={}, flags=flags), **(chosen | options))

    return make


REFITS = {"flags": {"fit.every": "5d", "fit.history": "9d"}, "forecasters": ["seasonal-har", "ewma"], "days": 8}


@pytest.mark.parametrize("options", some([{}, REFITS], {}))
def test_parts_give_the_rows_of_the_whole_in_order(plan: MakePlan, options: dict[str, Any]) -> None:
    chosen = plan(**options)
    experiment = backtest(chosen, now=NOW)
    table = experiment.results
    rows = plan(**options).run(threads=2)
    found = zip(*(table[name].to_pylist() for name in ("forecaster", "start_time", "competition", "crps")), strict=True)
    assert list(found) == [
        (row.forecaster, row.prompt.start_time, row.prompt.competition, row.score.total if row.score else None)
        for row in rows
    ]
    assert not (experiment.path.parent / ".unfinished" / "backtest").exists() or not any(
        (experiment.path.parent / ".unfinished" / "backtest").iterdir()
    )


def test_a_cut_covers_each_prompt_once_by_asset_and_stretch(plan: MakePlan) -> None:
    chosen = plan()
    parts = cut(chosen)
    assert sum(part.work for part in parts) == chosen.prompts
    assert {item for part in parts for item in part.prompts} == {i for items in chosen.groups.values() for i in items}
    for part in parts:
        assert {(item.prompt.start_time - START) // STRETCH for item in part.prompts} == {part.stretch}
        assert len({item.prompt.asset for item in part.prompts}) == 1
        assert [item.prompt for item in part.prompts] == sorted(item.prompt for item in part.prompts)
    refitted = cut(plan(**REFITS))
    assert [len({item.prompt.asset for item in part.prompts}) for part in refitted] == [2, 2]


@pytest.mark.ci
@pytest.mark.parametrize("options", [{}, REFITS])
def test_every_engine_writes_the_same_bytes(plan: MakePlan, options: dict[str, Any]) -> None:
    pytest.importorskip("distributed", reason="needs the extra ewmalab[dask]")
    found = {}
    for engine in ("threads", "processes", "dask"):
        told: list[int] = []
        chosen = plan(engine, **options)
        experiment = backtest(chosen, now=NOW, workers=Workers(engine, 2), progress=told.append)
        assert sum(told) == chosen.prompts
        found[engine] = experiment.manifest["results_sha256"], experiment.manifest["notes"]["remarks"]
    assert len(set(map(repr, found.values()))) == 1


@pytest.mark.ci
def test_an_interrupted_replay_resumes_and_writes_the_same_bytes(
    plan: MakePlan, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = backtest(plan("whole"), now=NOW)
    chosen = plan()
    ran: list[int] = []

    def stopped(part: Any, *given: Any) -> Any:
        if len(ran) == 3:
            raise KeyboardInterrupt
        ran.append(part.index)
        return run_part(part, *given)

    with monkeypatch.context() as patch:
        patch.setattr(parts_module, "run_part", stopped)
        with pytest.raises(KeyboardInterrupt):
            backtest(chosen, now=NOW)
    (folder,) = (Path(chosen.settings.values.run.experiments_dir) / ".unfinished" / "backtest").iterdir()
    damaged, *good = sorted(folder.glob("*.parquet"))
    assert len(good) == 2
    damaged.write_bytes(damaged.read_bytes()[:-40])
    again: list[int] = []
    told: list[int] = []

    def counted(part: Any, *given: Any) -> Any:
        again.append(part.index)
        return run_part(part, *given)

    monkeypatch.setattr(parts_module, "run_part", counted)
    resumed = backtest(plan(), now=NOW + 5, progress=told.append)
    assert sorted(again) == [0, *range(3, len(cut(chosen)))]
    assert sum(told) == chosen.prompts
    assert resumed.manifest["notes"]["resumed"] == told[0]
    assert resumed.manifest["results_sha256"] == whole.manifest["results_sha256"]
    assert not folder.exists()


def test_other_settings_or_code_do_not_use_what_was_kept(plan: MakePlan, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = plan()
    root = Path(chosen.settings.values.run.experiments_dir)
    names = {PartStore(root, chosen, NOW).folder.name}
    names.add(PartStore(root, plan(flags={"run.seed": 1}), NOW).folder.name)
    monkeypatch.setattr(parts_module, "code_version", lambda name: "another")
    names.add(PartStore(root, chosen, NOW).folder.name)
    assert len(names) == 3


def test_two_equal_replays_at_once_do_not_share_a_folder(plan: MakePlan) -> None:
    chosen = plan()
    root = Path(chosen.settings.values.run.experiments_dir)
    one, other = PartStore(root, chosen, NOW), PartStore(root, chosen, NOW)
    assert one.folder != other.folder
    one.close(finished=False)
    other.close(finished=False)
    assert not any(root.glob(".unfinished/backtest/*"))


@pytest.mark.parametrize("what", ["code", "bars"])
def test_a_worker_with_other_code_or_bars_is_an_error(plan: MakePlan, what: str) -> None:
    chosen = plan(days=1)
    parts = cut(chosen)
    if what == "code":
        parts = [replace(part, code="another") for part in parts]
    else:
        key = next(iter(chosen.data.partitions))
        data = chosen.data
        other = {**data.partitions, key: replace(data.partitions[key], digest="another")}
        chosen = replace(chosen, data=replace(data, partitions=other))
    store = PartStore(Path(chosen.settings.values.run.experiments_dir), chosen, NOW)
    with pytest.raises(EngineError, match="a worker sees other bars or runs other code"):
        run_parts(chosen, parts, store, Workers("threads", 1))
    store.close(finished=True)


@pytest.mark.ci
def test_remarks_of_parts_add_up(plan: MakePlan) -> None:
    short = {**REFITS, "flags": {"fit.every": "5d", "fit.history": "8d"}, "days": 9, "assets": ["BTC"]}
    chosen = plan(**short)
    for fits in chosen.refits.values():
        assert fits.history.partitions
    experiment = backtest(chosen, now=NOW)
    chosen.run(threads=1)
    (fits,) = chosen.refits.values()
    lines = [f"seasonal-har: {words} ({n} {'fits' if n > 1 else 'fit'})" for words, n in fits.remarks.items()]
    assert experiment.manifest["notes"]["remarks"] == lines


def test_results_are_written_a_stretch_at_a_time(plan: MakePlan) -> None:
    experiment = backtest(plan(), now=NOW)
    file = pq.ParquetFile(experiment.path / "results.parquet")
    assert file.num_row_groups == 2 * 3  # forecasters, stretches


@pytest.mark.ci
def test_a_killed_backtest_resumes_with_the_same_command(cache_dir: Path, tmp_path: Path) -> None:
    command = [
        sys.executable, "-m", "ewmalab", "backtest", "--start", "2026-01-22", "--days", "21", "--feed", "simulated",
        "--assets", "BTC", "--simulations", "200", "-f", "ewma", "--json", "--workers", "1",
        "--set", f"data.cache_dir={cache_dir}", "--set", f"run.experiments_dir={tmp_path / 'experiments'}",
    ]  # fmt: skip
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("experiments/.unfinished/backtest/*/*.parquet")) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    kept = list(tmp_path.glob("experiments/.unfinished/backtest/*/*.parquet"))
    assert kept
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=True)
    path = Path(json.loads(done.stdout)["experiment"])
    assert Experiment(path).manifest["notes"]["resumed"] > 0
    whole = [*command[:-1], f"run.experiments_dir={tmp_path / 'whole'}"]
    again = subprocess.run(whole, cwd=tmp_path, capture_output=True, check=True)
    one, other = (Experiment(Path(json.loads(run.stdout)["experiment"])).manifest for run in (done, again))
    assert one["results_sha256"] == other["results_sha256"]
