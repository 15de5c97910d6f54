"""Tuning searches on one part of the days and judges on another; interrupted studies go on as if they had not been."""

from __future__ import annotations

import multiprocessing
import time
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from ewmalab.cli import app
from ewmalab.errors import ConfigError
from ewmalab.settings import LoadedSettings, load_settings
from ewmalab.sweeps import tune as module
from ewmalab.sweeps.sweep import workload_of
from ewmalab.sweeps.trials import TrialStore
from ewmalab.sweeps.tune import TuneResult, tune
from ewmalab.sweeps.workload import Workload

NOW = 1_780_000_000
DAY = 86_400


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def settings(cache: Path, folder: Path, **flags: Any) -> LoadedSettings:
    fixed = {"data.feed": "simulated", "data.cache_dir": str(cache), "run.experiments_dir": str(folder)}
    return load_settings(environ={}, flags={**fixed, **{k.replace("__", "."): v for k, v in flags.items()}})


def work(cache: Path, folder: Path, **flags: Any) -> Workload:
    return workload_of(settings(cache, folder, **flags), days=3, competitions=["1h"], assets=["BTC"])


def run(workload: Workload, trials: int, **options: Any) -> TuneResult:
    return tune(workload, ["half_life_1m", "nu_1m"], now=NOW, trials=trials, **options)


@pytest.mark.ci
def test_an_interrupted_study_goes_on_as_if_it_had_not_been(cache: Path, tmp_path: Path) -> None:
    whole = run(work(cache, tmp_path / "a"), 16)
    run(work(cache, tmp_path / "b"), 5)
    parts = run(work(cache, tmp_path / "b"), 16)
    assert parts.chosen == whole.chosen
    assert parts.held_out.digest() == whole.held_out.digest()


@pytest.mark.ci
def test_the_best_is_at_least_as_good_as_the_present_values_where_it_was_chosen(cache: Path, tmp_path: Path) -> None:
    (row,) = run(work(cache, tmp_path, ewma__half_life_1m="2d"), 15).chosen
    assert row["in_sample"] < 0
    assert row["trials"] == 15


@pytest.mark.ci
def test_prompts_that_judge_took_no_part_in_the_choice(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = run(work(cache, tmp_path / "a"), 12)
    border = work(cache, tmp_path).start + round(0.7 * 3 * DAY)
    scored = module.score_trials

    def shaken(trials: Any) -> Any:
        (trial,) = trials
        (scores,) = scored(trials)
        return [np.where(trial.cell.starts + 3600 > border, scores * (1 + abs(hash(trial.name)) % 7), scores)]

    monkeypatch.setattr(module, "score_trials", shaken)
    assert run(work(cache, tmp_path / "b"), 12).chosen == honest.chosen


@pytest.mark.ci
def test_judged_prompts_start_after_all_that_was_chosen_on_had_ended(cache: Path, tmp_path: Path) -> None:
    workload = work(cache, tmp_path)
    (cell,) = run(workload, 3, holdout=0.5).held_out.sweep.cells
    assert cell.starts.min() >= workload.start + round(1.5 * DAY)


def test_studies_of_other_prompts_may_share_a_journal(cache: Path, tmp_path: Path) -> None:
    journal = tmp_path / "shared.journal"
    one = run(work(cache, tmp_path), 4, study=str(journal))
    other = run(work(cache, tmp_path, run__seed=5), 4, study=str(journal))
    assert [row["trials"] for row in (*one.chosen, *other.chosen)] == [4, 4]


def test_finished_trials_are_taken_from_the_store(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = TrialStore(tmp_path / "trials")
    first = run(work(cache, tmp_path / "a"), 6, store=store)
    monkeypatch.setattr(module, "score_trials", lambda *_: pytest.fail("computed again"))
    assert run(work(cache, tmp_path / "b"), 6, store=store).chosen == first.chosen


def _share(cache: Path, folder: Path, journal: Path) -> None:
    run(work(cache, folder), 12, study=str(journal))


@pytest.mark.ci
def test_two_processes_share_a_study(cache: Path, tmp_path: Path) -> None:
    journal = tmp_path / "shared.journal"
    run(work(cache, tmp_path), 2, study=str(journal))  # the bars are there before the processes start
    other = multiprocessing.get_context("spawn").Process(target=_share, args=(cache, tmp_path, journal))
    other.start()
    size = journal.stat().st_size
    while other.is_alive() and journal.stat().st_size == size:  # until it takes part
        time.sleep(0.01)
    _share(cache, tmp_path, journal)
    other.join(600)
    assert other.exitcode == 0
    (row,) = run(work(cache, tmp_path), 12, study=str(journal)).chosen
    # Both may be in their last trial when the study is full, neither begins another.
    assert row["trials"] in (12, 13)


def test_unordered_settings_are_choices(cache: Path, tmp_path: Path) -> None:
    result = tune(work(cache, tmp_path, data__feed="simulated"), ["gap_policy", "feedback"], now=NOW, trials=4)
    assert result.chosen[0]["best"].startswith("gap_policy ")


def test_bounds_are_those_of_the_values(cache: Path, tmp_path: Path) -> None:
    result = tune(work(cache, tmp_path), {"half_life_1m": ["40m", "50m"]}, now=NOW, trials=8)
    assert result.chosen[0]["best"].removesuffix("m") in {str(m) for m in range(40, 51)}


def test_too_few_days_to_keep_some_for_judging_are_refused(cache: Path, tmp_path: Path) -> None:
    short = workload_of(settings(cache, tmp_path), days=0.05, competitions=["1h"], assets=["BTC"])
    with pytest.raises(ConfigError, match=r"0 prompts to choose on, .* replay more days"):
        run(short, 3)


def test_settings_without_effect_are_refused(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no effect"):
        tune(work(cache, tmp_path), ["half_life_5m"], now=NOW, trials=3)


@pytest.mark.ci
def test_the_command_prints_what_was_promised_and_what_came(
    cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["tune", "-p", "HALF_LIFE_1M", "--trials", "4", "--feed", "simulated", "--days", "3", "--assets", "BTC",
               "--competitions", "1h", "--set", f"data.cache_dir={cache}"]  # fmt: skip
    app(command, standalone_mode=False)
    text = capsys.readouterr().out
    assert "SYNTHETIC" in text
    assert "in sample" in text
    assert "out of sample" in text
    app([*command, "--json"], standalone_mode=False)
    printed = orjson.loads(capsys.readouterr().out)
    assert printed["chosen"][0]["trials"] == 4
    assert printed["synthetic"] is True


@pytest.mark.ci
def test_studies_may_live_in_a_database(cache: Path, tmp_path: Path) -> None:
    import optuna

    url = f"sqlite:///{tmp_path / 'tune.db'}"
    first = run(work(cache, tmp_path), 6, study=url)
    assert run(work(cache, tmp_path), 6, study=url).chosen == first.chosen  # gone on with, nothing left to try
    studies = optuna.get_all_study_summaries(url)
    assert [study.n_trials for study in studies] == [6] * len(first.chosen)


def test_a_database_that_cannot_be_used_is_named(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nosuch://"):
        run(work(cache, tmp_path), 2, study="nosuch://place")
