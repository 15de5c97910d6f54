"""Experiment directories are whole or absent, and say what made them."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from ewmalab.cli import app
from ewmalab.errors import ExperimentError
from ewmalab.experiments import store
from ewmalab.experiments.inventory import found_in
from ewmalab.experiments.store import (
    Experiment,
    content_hash,
    environment_hash,
    find_experiment,
    list_experiments,
    save_experiment,
    versions,
    write_results,
)
from ewmalab.market.bars import Bars
from ewmalab.market.cache import Cache
from ewmalab.market.partition import Provenance
from ewmalab.replay.backtest import backtest
from ewmalab.replay.engines import Workers
from ewmalab.replay.plan import BacktestPlan, plan_backtest
from ewmalab.rulebook import RuleChoice, load_rulebook
from ewmalab.settings import load_settings
from ewmalab.times import DAY, MINUTE, parse_time

START = parse_time("2026-01-08")
NOW = parse_time("2026-03-01")
SECRET = "sk-do-not-print-me"
FILES = {"manifest.json", "results.parquet", "summary.json", "summary.txt"}


def table(crps: Mapping[tuple[str, str, str, int], float | None], rule: str = "24h") -> pa.Table:
    """Results by (forecaster, competition, asset, start)."""
    names, competitions, assets, starts = zip(*crps, strict=True)
    return pa.table(
        {
            "forecaster": names,
            "competition": competitions,
            "asset": assets,
            "start_time": pa.array(starts, pa.int64()),
            "crps": pa.array(crps.values(), pa.float64()),
            "rule": [rule] * len(names),
        }
    )


SOME = table({("ewma", "24h", "BTC", 0): 10.0, ("ewma", "24h", "BTC", 3600): 20.0})


def save(root: Path, results: pa.Table = SOME, **changed: Any) -> Experiment:
    options: dict[str, Any] = {
        "now": NOW, "inputs": {"x": 1}, "notes": {"threads": 2}, "summary": [{"asset": "BTC"}], "text": "a table\n",
    }  # fmt: skip
    name = changed.pop("name", "test")
    return save_experiment(root, name, results=results, **(options | changed))


# ------------------------------------------------------------------------------------------- whole or absent


def test_a_directory_holds_its_files_under_a_name_of_time_name_and_hash(tmp_path: Path) -> None:
    experiment = save(tmp_path)
    assert experiment.name == f"20260301T000000Z-test-{content_hash({'x': 1})[:8]}"
    assert {path.name for path in experiment.path.iterdir()} == FILES
    assert [path.name for path in tmp_path.iterdir()] == [experiment.name]
    assert (experiment.path / "summary.txt").read_text() == "a table\n"
    assert experiment.summary == [{"asset": "BTC"}]
    assert experiment.results.equals(SOME)


@pytest.mark.parametrize("failing", ["manifest.json", "results.parquet", "summary.json", "summary.txt", "rename"])
@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_an_exception_while_writing_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str, error: type[BaseException]
) -> None:
    for method in ("write_bytes", "write_text", "rename"):
        honest = getattr(Path, method)

        def fail(self: Path, *args: Any, honest: Any = honest, method: str = method, **kwargs: Any) -> Any:
            if failing in (self.name, method):
                raise error("planted")
            return honest(self, *args, **kwargs)

        monkeypatch.setattr(Path, method, fail)

    def half_written(path: Path, *_: object) -> None:
        path.touch()
        raise error("planted")

    if failing == "results.parquet":
        monkeypatch.setattr(store, "write_results", half_written)
    with pytest.raises(error, match="planted"):
        save(tmp_path)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    assert save(tmp_path).results.equals(SOME)


def test_what_a_killed_writer_left_is_neither_listed_nor_in_the_way(tmp_path: Path, monkeypatch: Any) -> None:
    def die(self: Path, target: Path) -> None:
        raise SystemExit  # after all files are there

    monkeypatch.setattr(Path, "rename", die)
    monkeypatch.setattr(shutil, "rmtree", lambda *args, **kwargs: None)
    with pytest.raises(SystemExit):
        save(tmp_path)
    monkeypatch.undo()
    left = list(tmp_path.iterdir())
    assert len(left) == 1
    assert left[0].name.startswith(".")
    assert list(list_experiments(tmp_path)) == []
    with pytest.raises(ExperimentError, match="no experiment"):
        find_experiment(tmp_path, "latest")
    assert save(tmp_path).results.equals(SOME)
    assert len(list(list_experiments(tmp_path))) == 1


def test_the_same_second_gives_each_run_its_own_directory(tmp_path: Path) -> None:
    runs = [save(tmp_path) for _ in range(3)]
    assert len({run.path for run in runs}) == 3
    assert [run.name for run in runs][1:] == [f"{runs[0].name}-2", f"{runs[0].name}-3"]
    assert all({path.name for path in run.path.iterdir()} == FILES for run in runs)
    assert len(list(list_experiments(tmp_path))) == 3
    assert find_experiment(tmp_path, "latest") == runs[-1]
    assert find_experiment(tmp_path, runs[0].name) == runs[0]


# ---------------------------------------------------------------------------------------- a backtest's manifest

MakePlan = Callable[..., BacktestPlan]


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def plan(cache_dir: Path, tmp_path: Path) -> MakePlan:
    def make(flags: Mapping[str, Any] | None = None, **options: Any) -> BacktestPlan:
        settings = load_settings(
            environ={"PYTH_API_KEY": SECRET},
            flags={
                "data.cache_dir": str(cache_dir), "run.experiments_dir": str(tmp_path / "experiments"),
                "data.feed": "simulated", **(flags or {}),
            },
        )  # fmt: skip
        chosen: dict[str, Any] = {
            "start": START, "days": 0.1, "num_simulations": 10, "assets": ["BTC"], "competitions": ["1h"], "now": NOW,
        }  # fmt: skip
        return plan_backtest(settings, **(chosen | options))

    return make


def test_the_manifest_holds_all_that_the_run_was_made_from(plan: MakePlan, cache_dir: Path) -> None:
    chosen = plan({"ewma.nu_1m.BTC": 4.5})
    experiment = backtest(chosen, now=NOW, name="mine", workers=Workers("threads", 2))
    manifest = experiment.manifest
    inputs = manifest["inputs"]
    assert inputs["settings"]["ewma"]["nu_1m"]["BTC"] == 4.5
    assert inputs["settings"]["ewma"]["half_life_1m"] == {"default": "30m"}
    assert inputs["settings"]["run"]["seed"] == 20260115
    assert inputs["forecasters"] == ["ewma", "random-walk"]
    assert (inputs["start"], inputs["days"], inputs["rules"]) == (START, 0.1, "as-of")
    assert inputs["options"] == {
        "competitions": ["1h"], "assets": ["BTC"], "which": "scored", "cadence": None, "num_simulations": 10,
        "partial": False, "prompts": None,
    }  # fmt: skip
    book = load_rulebook()
    assert inputs["rulebook"] == {"version": book.version, "sha256": book.digest}
    assert manifest["versions"] == versions()
    assert manifest["versions"]["python"] == platform.python_version()
    assert manifest["versions"]["numpy"] == np.__version__
    assert manifest["versions"]["ewmalab"] == importlib.metadata.version("ewmalab")
    assert manifest["environment_sha256"] == environment_hash()
    assert manifest["created"] == "2026-03-01T00:00:00Z"
    assert (manifest["name"], manifest["format"]) == ("mine", 2)
    assert manifest["hash"] == content_hash(inputs)
    assert (manifest["notes"]["engine"], manifest["notes"]["workers"]) == ("threads", 2)
    assert any("synthetic" in source for source in manifest["notes"]["sources"])
    data = (experiment.path / "results.parquet").read_bytes()
    assert manifest["results_sha256"] == hashlib.sha256(data).hexdigest()


def test_the_fingerprint_is_a_digest_of_all_days_that_were_read(plan: MakePlan, cache_dir: Path) -> None:
    found = backtest(plan(), now=NOW).manifest["inputs"]["data"]
    # five days before the midnight before the first request, which comes a minute before the 8th
    days = Cache(cache_dir).days("simulated-7", "BTC", START - 6 * DAY, START + DAY)
    assert [*days] == [f"2026-01-0{day}" for day in range(2, 9)]
    lines = "".join(f"simulated-7/BTC/{day} {entry.digest}\n" for day, entry in days.items())
    assert found == {"simulated-7/BTC": hashlib.sha256(lines.encode()).hexdigest()}


def test_no_secret_is_written(plan: MakePlan) -> None:
    experiment = backtest(plan(), now=NOW)
    for path in experiment.path.iterdir():
        assert SECRET.encode() not in path.read_bytes()
    found = re.findall(r'"api_key": (".*")', (experiment.path / "manifest.json").read_text())
    assert set(found) <= {'""'}


def test_a_run_can_be_repeated_from_its_manifest(plan: MakePlan, tmp_path: Path) -> None:
    """The recorded settings are a settings file: with them, results are the same bytes."""
    first = backtest(plan({"run.seed": 7, "ewma.half_life_1m.BTC": "45m", "ewma.feedback": 0.25}), now=NOW)
    inputs = first.manifest["inputs"]
    inputs["settings"]["run"]["experiments_dir"] = str(tmp_path / "again")  # a folder is no input
    again = plan(
        inputs["settings"], start=inputs["start"], days=inputs["days"], rules=RuleChoice.parse(inputs["rules"]),
        forecasters=inputs["forecasters"], **inputs["options"],
    )  # fmt: skip
    second = backtest(again, now=NOW + 5, workers=Workers("threads", 2))
    assert second.manifest["hash"] == first.manifest["hash"]
    assert second.manifest["results_sha256"] == first.manifest["results_sha256"]


def test_equal_inputs_give_equal_hashes_whatever_the_threads_folders_and_time(plan: MakePlan, tmp_path: Path) -> None:
    one = backtest(plan({"run.threads": 1}), now=NOW, workers=Workers("threads", 1))
    other = backtest(
        plan({"run.threads": 4, "run.experiments_dir": str(tmp_path / "elsewhere")}),
        now=NOW + 99,
        workers=Workers("threads", 4),
        name="b",
    )
    assert other.path.parent.name == "elsewhere"
    assert one.manifest["hash"] == other.manifest["hash"]
    assert one.manifest["results_sha256"] == other.manifest["results_sha256"]


def test_equal_bars_give_equal_hashes_in_whichever_cache_and_whenever_they_were_fetched(
    plan: MakePlan, tmp_path: Path
) -> None:
    one, other = (
        plan({"data.cache_dir": str(tmp_path / folder)}, now=now) for folder, now in (("a", NOW), ("b", NOW + 3600))
    )
    assert one.data.model["BTC"].digest() == other.data.model["BTC"].digest()
    assert content_hash(one.inputs()) == content_hash(other.inputs())


def test_every_input_changes_the_hash(plan: MakePlan) -> None:
    base = content_hash(plan().inputs())
    changed = {
        "seed": plan({"run.seed": 1}),
        "setting": plan({"ewma.feedback": 0.123}),
        "one asset's setting": plan({"ewma.nu_1m.BTC": 9.9}),
        "preset's content": plan({"presets.ewma.seed.feedback": 0.5}),
        "plug-in's parameter": plan({"plugin.x": 1}),
        "rules": plan(rules=RuleChoice.parse("2026-01-08")),
        "forecasters": plan(forecasters=["ewma"]),
        "order of forecasters": plan(forecasters=["random-walk", "ewma"]),
        "preset": plan(forecasters=["ewma@seed", "random-walk"]),
        "data": plan({"feeds.simulated.seed": 8}),
        "start": plan(start=START + 3600),
        "days": plan(days=0.2),
        "paths": plan(num_simulations=11),
        "cadence": plan(cadence=1800),
        "lead": plan({"replay.request_lead": "30s"}),
        "warm-up": plan({"replay.warmup.BTC": "4d"}),
        "assets": plan(assets=["ETH"]),
        "competitions": plan(competitions=["24h"]),
        "partial": plan(partial=True),
        "which": plan(which="sent"),
        "prompts": plan(scheduled=plan().groups["1h", "BTC"][1:]),
        "other prompts": plan(scheduled=plan().groups["1h", "BTC"][2:]),
    }
    hashes = {what: content_hash(chosen.inputs()) for what, chosen in changed.items()}
    assert base not in hashes.values()
    assert len(set(hashes.values())) == len(hashes)


def test_a_bar_that_differs_changes_the_hash(tmp_path: Path) -> None:
    begin, end = START - 4 * DAY, START + DAY
    closes = 100 * np.exp(np.cumsum(np.random.default_rng(0).standard_normal((end - begin) // MINUTE) * 1e-4))

    def planned(folder: str, factor: float) -> dict[str, Any]:
        prices = closes.copy()
        prices[2000] *= factor
        bars = Bars.from_closes(np.arange(begin, end, MINUTE), prices)
        Cache(tmp_path / folder).write("pyth", "BTC", bars, [(begin, end)], Provenance("test", NOW))
        settings = load_settings(environ={}, flags={"data.cache_dir": str(tmp_path / folder)})
        return plan_backtest(
            settings, start=START, days=0.1, num_simulations=10, assets=["BTC"], competitions=["1h"]
        ).inputs()

    one, same, other = planned("a", 1.0), planned("b", 1.0), planned("c", 1.0001)
    assert content_hash(one) == content_hash(same) != content_hash(other)
    assert {key for key in one["data"] if one["data"][key] != other["data"][key]} == {"pyth/BTC"}


def test_hashing_ignores_the_order_of_keys() -> None:
    assert content_hash({"a": 1, "b": {"c": 2, "d": 3}}) == content_hash({"b": {"d": 3, "c": 2}, "a": 1})
    assert content_hash({"a": [1, 2]}) != content_hash({"a": [2, 1]})


def test_equal_tables_give_equal_bytes_and_come_back_as_they_were(tmp_path: Path) -> None:
    same = table({("ewma", "24h", "BTC", 0): 10.0, ("ewma", "24h", "BTC", 3600): 20.0})
    for name, rows in (("one", SOME), ("other", same)):
        write_results(tmp_path / name, rows.schema, [rows])
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()
    assert pq.read_table(tmp_path / "one").equals(SOME)


# --------------------------------------------------------------------------------------------------- damage


@pytest.mark.parametrize("place", [0, 100, -1])
def test_a_flipped_bit_in_the_results_is_refused(tmp_path: Path, place: int) -> None:
    experiment = save(tmp_path)
    path = experiment.path / "results.parquet"
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(ExperimentError, match=r"results\.parquet: damaged: its sha256 differs"):
        _ = Experiment(experiment.path).results


def test_results_that_are_cut_short_or_gone_are_refused(tmp_path: Path) -> None:
    experiment = save(tmp_path)
    path = experiment.path / "results.parquet"
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(ExperimentError, match="sha256"):
        _ = Experiment(experiment.path).results
    path.unlink()
    with pytest.raises(ExperimentError, match=r"results\.parquet: cannot be read: No such file"):
        _ = Experiment(experiment.path).results


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{", r"manifest\.json: damaged"),
        (b"", r"manifest\.json: damaged"),
        (b'{"format": 99}', "format 99, this version reads 1 to 2"),
        (b"{}", "format None"),
        (b"[]", "format|damaged"),
        (b'{"format": 1}', "results_sha256|damaged"),
    ],
)
def test_a_manifest_that_cannot_be_used_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    experiment = save(tmp_path)
    (experiment.path / "manifest.json").write_bytes(content)
    with pytest.raises(ExperimentError, match=words):
        _ = Experiment(experiment.path).results


@pytest.mark.parametrize("content", [b"{", b"{}", b"[]"])
def test_a_summary_that_cannot_be_used_is_refused(tmp_path: Path, content: bytes) -> None:
    experiment = save(tmp_path)
    (experiment.path / "summary.json").write_bytes(content)
    with pytest.raises(ExperimentError, match=r"summary\.json"):
        _ = Experiment(experiment.path).summary


# -------------------------------------------------------------------------------------------------- finding


@pytest.fixture
def three(tmp_path: Path) -> list[Experiment]:
    return [
        save(tmp_path, now=NOW, name="alpha", inputs={"x": 1}),
        save(tmp_path, now=NOW + 60, name="beta", inputs={"x": 2}),
        save(tmp_path, now=NOW + 120, name="alpha-two", inputs={"x": 3}),
    ]


def test_experiments_are_listed_oldest_first(tmp_path: Path, three: list[Experiment]) -> None:
    (tmp_path / "notes.txt").write_text("not an experiment")
    (tmp_path / "a-folder").mkdir()
    assert list(list_experiments(tmp_path)) == three
    assert list(list_experiments(tmp_path / "nowhere")) == []


def test_an_experiment_is_found_by_path_name_part_or_as_the_latest(
    tmp_path: Path, three: list[Experiment], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third = three
    assert find_experiment(tmp_path / "elsewhere", str(second.path)) == second
    assert find_experiment(tmp_path, second.name) == second
    assert find_experiment(tmp_path, "beta") == second
    assert find_experiment(tmp_path, first.manifest["hash"][:8]) == first
    assert find_experiment(tmp_path, "latest") == third
    assert find_experiment(tmp_path, "T000200Z") == third
    monkeypatch.chdir(tmp_path)
    assert find_experiment(tmp_path / "elsewhere", second.name).results.equals(SOME)


def test_a_whole_name_wins_over_names_that_contain_it(tmp_path: Path) -> None:
    first, second = save(tmp_path), save(tmp_path)
    assert first.name in second.name
    assert find_experiment(tmp_path, first.name) == first


def test_a_part_that_fits_several_is_refused_with_their_names(tmp_path: Path, three: list[Experiment]) -> None:
    with pytest.raises(ExperimentError, match="'alpha' matches 2 experiments") as caught:
        find_experiment(tmp_path, "alpha")
    assert three[0].name in str(caught.value)
    assert three[2].name in str(caught.value)
    assert three[1].name not in str(caught.value)


@pytest.mark.parametrize("name", ["gamma", "latest"])
def test_an_experiment_that_is_not_there_is_an_error_that_helps(tmp_path: Path, name: str) -> None:
    with pytest.raises(ExperimentError, match=rf"no experiment '{name}': .* has none yet; `ewmalab backtest`"):
        find_experiment(tmp_path / "empty", name)


def test_runs_that_differ_beside_their_forecasters_are_named(tmp_path: Path) -> None:
    from ewmalab.analysis.run_differences import differing

    def run(name: str, seed: int, numpy: str) -> Experiment:
        folder = tmp_path / name
        folder.mkdir()
        inputs = {
            "rules": "as-of",
            "rulebook": {"version": "2026-10"},
            "settings": {"run": {"seed": seed}, "data": {"feed": "pyth", "scored_feed": ""}},
        }
        rest = {"format": 2, "notes": {}, "hash": "", "results_sha256": ""}
        manifest = {"inputs": inputs, "versions": {"numpy": numpy}, **rest}
        (folder / "manifest.json").write_text(json.dumps(manifest))
        return Experiment(folder)

    a, b = run("a", 1, "2.3"), run("b", 2, "2.4")
    assert differing({"a": a, "b": b}) == (
        "note: the runs differ in seed: 1 in a, 2 in b",
        "note: the runs differ in version of numpy: 2.3 in a, 2.4 in b",
    )
    assert differing({"a": a, "again": a}) == ()


# --------------------------------------------------------------------------------------------- the folder


def a_run(root: Path, now: int, change: float = -0.1, **more: Any) -> Experiment:
    summary = [
        {"competition": "1h", "asset": asset, "forecaster": name, "mean_crps": crps, "change": off}
        for asset in ("BTC", "ETH")
        for name, crps, off in (("ewma", 10.0, change), ("random-walk", 11.0, None))
    ]
    inputs = {
        "kind": "backtest",
        "start": START,
        "days": 1.0,
        "forecasters": ["ewma", "random-walk"],
        "synthetic": False,
        "settings": {"run": {"seed": 1}},
        **more,
    }
    results = table({("ewma", "1h", "BTC", START): 10.0})
    return save_experiment(root, "run", now=now, inputs=inputs, notes={}, results=results, summary=summary, text="")


def command(root: Path, *arguments: str) -> str:
    done = CliRunner().invoke(app, ["experiments", *arguments, f"--set=run.experiments_dir={root}"])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_a_list_tells_kinds_scores_and_tags(tmp_path: Path) -> None:
    one = a_run(tmp_path, NOW)
    command(tmp_path, "tag", "latest", "best", "kept")
    command(tmp_path, "tag", "latest", "--remove", "kept")
    (row,) = orjson.loads(command(tmp_path, "list", "--json"))
    assert (row["name"], row["kind"], row["tags"], row["days"]) == (one.name, "backtest", ["best"], 1.0)
    assert (row["crps"], row["change"]) == ({"1h": 10.0}, {"1h": pytest.approx(-0.1)})
    assert row["score"] == pytest.approx(-0.1)
    assert orjson.loads(command(tmp_path, "list", "--tag", "other", "--json")) == []
    text = command(tmp_path, "list")
    assert "-10.00" in text
    assert max(map(len, text.splitlines())) <= 80


def test_nothing_is_removed_without_yes_and_nothing_if_one_name_is_wrong(tmp_path: Path) -> None:
    runs = [a_run(tmp_path, NOW + i) for i in range(3)]
    assert "would be removed" in command(tmp_path, "rm", runs[0].name)
    folder = f"--set=run.experiments_dir={tmp_path}"
    wrong = CliRunner().invoke(app, ["experiments", "rm", runs[0].name, "no-such", "--yes", folder])
    assert wrong.exit_code != 0
    assert list(list_experiments(tmp_path)) == runs
    command(tmp_path, "rm", runs[0].name, "--yes")
    assert list(list_experiments(tmp_path)) == runs[1:]
    assert sorted(path.name for path in tmp_path.iterdir()) == [run.name for run in runs[1:]]


def test_an_experiment_outside_of_the_folder_is_not_removed(tmp_path: Path) -> None:
    elsewhere = a_run(tmp_path / "other", NOW)
    with pytest.raises(ExperimentError, match="is not in"):
        found_in(tmp_path / "experiments", [str(elsewhere.path)])


def test_pruning_keeps_the_newest_and_what_has_a_tag(tmp_path: Path) -> None:
    runs = [a_run(tmp_path, NOW + i) for i in range(4)]
    command(tmp_path, "tag", runs[0].name, "baseline")
    command(tmp_path, "prune", "--keep", "1")
    assert len(list(list_experiments(tmp_path))) == 4
    command(tmp_path, "prune", "--keep", "1", "--yes")
    assert list(list_experiments(tmp_path)) == [runs[0], runs[3]]


def test_a_difference_of_settings_is_named_and_equal_runs_have_none(tmp_path: Path) -> None:
    one, other = a_run(tmp_path, NOW), a_run(tmp_path, NOW + 1, settings={"run": {"seed": 2}})
    found = orjson.loads(command(tmp_path, "diff", one.name, other.name, "--json"))
    assert found["differences"] == {"settings.run.seed": ["1", "2"]}
    assert "the same inputs" in command(tmp_path, "diff", one.name, one.name)


def test_an_index_lists_all_runs_and_links_to_their_reports(tmp_path: Path) -> None:
    root, reports = tmp_path / "experiments", tmp_path / "reports"
    one, other = a_run(root, NOW), a_run(root, NOW + 1, change=0.2)
    (reports / one.name).mkdir(parents=True)
    (reports / one.name / "report.html").touch()
    command(root, "index", "--reports", str(reports))
    page = (root / "index.html").read_text()
    assert f'href="../reports/{one.name}/report.html"' in page
    assert f"{other.name}/report.html" not in page
    assert page.index(other.name) < page.index(one.name)
    assert "+20.00" in page
    assert len(page) < 50_000  # without figures, there is no library for them
    assert list(list_experiments(root)) == [one, other]
