"""The command line: help with examples, exit codes, messages that name the fix, JSON for machines."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

COMMANDS = [
    "backtest",
    "data fetch",
    "data import",
    "data list",
    "data verify",
    "data repair",
    "config show",
    "config validate",
    "rules show",
    "score",
    "validate",
    "check forecaster",
    "check lookahead",
    "check warmup",
    "experiments list",
    "experiments show",
    "compare",
    "leaderboard",
    "predict",
    "field fetch",
    "field list",
    "field import",
    "field export",
    "field miner",
    "check field",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_commands_help_has_an_example(ewmalab, command: str) -> None:
    result = ewmalab(*command.split(), "--help")
    assert result.code == 0
    assert "Example" in result.out
    assert f"ewmalab {command}" in result.out


@pytest.mark.parametrize("group", [[], ["data"], ["config"], ["rules"], ["check"], ["experiments"], ["field"]])
def test_every_groups_help_has_an_example(ewmalab, group: list[str]) -> None:
    result = ewmalab(*group, "--help")
    assert result.code == 0
    assert "Example" in result.out


BACKTEST = ["backtest", "--start", "2026-01-15", "--days", "0.1", "--feed", "simulated", "--assets", "BTC"]


def test_a_synthetic_backtest_ends_in_a_table_and_an_experiment(ewmalab, folder: Path) -> None:
    result = ewmalab(*BACKTEST, "--name", "trial")
    assert result.code == 0, result.err
    assert "SYNTHETIC" in result.out
    assert "random-walk" in result.out
    assert result.err.startswith("note: seasonal-har is left out")  # its prior came later
    assert len(result.err.splitlines()) == 1  # no progress where nobody watches
    path = folder / result.out.strip().splitlines()[-1].removeprefix("experiment: ")
    assert (path / "results.parquet").exists()
    assert max(map(len, result.out.splitlines())) <= 80
    shown = ewmalab("experiments", "show", path.name)
    assert shown.code == 0
    assert "SYNTHETIC" in shown.out
    assert path.name in ewmalab("experiments", "list").out
    compared = ewmalab("compare", "latest/ewma", "latest/random-walk", "--json")
    assert {row["asset"] for row in json.loads(compared.out)["rows"]} == {"BTC"}


def test_without_a_start_the_newest_days_are_replayed(ewmalab) -> None:
    options = ["--days", "0.1", "--feed", "simulated", "--assets", "BTC", "--json"]
    newest, named = (json.loads(ewmalab("backtest", *start, *options).out) for start in ([], BACKTEST[1:3]))
    assert newest["summary"] == named["summary"]


def test_json_is_all_that_is_printed(ewmalab) -> None:
    result = ewmalab(*BACKTEST, "--json")
    data = json.loads(result.out)
    assert data["synthetic"] is True
    assert {row["forecaster"] for row in data["summary"]} == {"ewma", "random-walk"}
    for command in (
        ["data", "list"],
        ["data", "verify"],
        ["config", "show"],
        ["rules", "show"],
        ["experiments", "list"],
    ):
        json.loads(ewmalab(*command, "--json").out)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["backtest", "--feed", "binance"], 3, "the cache has no bars of binance"),
        (["backtest", "--start", "yesterday"], 2, "neither an ISO date"),
        (["backtest", "--start", "2026-01-15", "--days", "0"], 2, "--days"),
        (["backtest", "--start", "2026-01-15", "--set", "ewma.half_life_1m=30"], 2, "no unit"),
        (["backtest", "--start", "2026-01-15", "--set", "ewma.nu_1m=2"], 2, "greater than 2"),
        (["backtest", "--start", "2026-01-15", "--set", "ewma.nope=2"], 2, "unknown setting"),
        (["backtest", "--start", "2026-01-15", "--config", "nowhere.toml"], 2, "nowhere.toml"),
        (["backtest", "--start", "2026-01-15", "--rules", "never"], 2, "latest"),
        (["backtest", "--start", "2026-01-15", "--assets", "DOGE"], 2, "DOGE"),
        (["backtest", "--start", "2026-01-15", "--assets", "SPYX"], 2, "--rules"),
        (["backtest", "--start", "2026-01-15", "--name", "a/b"], 2, "--name"),
        (["backtest", "--start", "2026-01-15", "-f", "no.module:Here", "--feed", "simulated"], 5, "cannot be imported"),
        (["backtest", "--start", "2026-01-15", "-f", "ewma@nope", "--feed", "simulated"], 2, "no preset"),
        (["backtest", "--start", "2026-01-15", "--feed", "binance"], 3, "ewmalab data fetch --feed binance"),
        (["data", "import", "nowhere.csv"], 1, "does not exist"),
        (["data", "fetch", "--start", "2026-01-15", "--feed", "pyth", "--assets", "BTC"], 1, "PYTH_API_KEY"),
        (["experiments", "show", "nothing-like-it"], 3, "no experiment"),
        (["config", "validate", "--set", "ewma.nu_1m.DOGE=5"], 2, "DOGE"),
        (["score", "nowhere.json", "--competition", "1h"], 3, "nowhere.json"),
        (["nonsense"], 2, "nonsense"),
    ],
)
def test_mistakes_are_named_with_their_exit_code(ewmalab, arguments: list[str], code: int, words: str) -> None:
    result = ewmalab(*arguments)
    assert result.code == code, result.err
    assert words in result.out + result.err


def test_secrets_are_masked(ewmalab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTH_API_KEY", "very-secret-key")
    for extra in ([], ["--json"]):
        result = ewmalab("config", "show", *extra)
        assert "very-secret-key" not in result.out
        assert "********" in result.out


@pytest.fixture(scope="module")
def answers(folder: Path) -> tuple[Path, Path]:
    rng = np.random.default_rng(3)
    steps = rng.standard_normal((1000, 60)).cumsum(1) * 5e-4
    paths = 95_000 * np.exp(np.concatenate([np.zeros((1000, 1)), steps], axis=1))
    prediction, prices = folder / "prediction.json", folder / "prices.json"
    prediction.write_text(json.dumps([1_777_593_600, 60, *np.round(paths, 3).tolist()]))
    real = (95_000 * np.exp(rng.standard_normal(61).cumsum() * 5e-4)).tolist()
    real[7] = None
    prices.write_text(json.dumps(real))
    return prediction, prices


def test_score_agrees_with_the_library_and_gives_both_verdicts(ewmalab, answers: tuple[Path, Path]) -> None:
    from ewmalab.rulebook import load_rulebook
    from ewmalab.scoring.crps import score_paths
    from ewmalab.times import parse_time

    prediction, prices = answers
    options = ["--realised", str(prices), "--competition", "1h", "--rules", "2026-05-01"]
    found = json.loads(ewmalab("score", str(prediction), *options, "--json").out)
    rule = load_rulebook().at(parse_time("2026-05-01")).select(["1h"])[0].scoring
    real = np.array([np.nan if x is None else x for x in json.loads(prices.read_text())])
    expected = score_paths(np.array(json.loads(prediction.read_text())[2:]), real, rule, 60)
    assert found["total"] == expected.total
    assert found["intervals"] == dict(expected.intervals)
    assert found["format"] == {"digits8_text": "CORRECT", "float32_8sig": "CORRECT"}
    assert f"{expected.total:.4f}" in ewmalab("score", str(prediction), *options).out


def test_validate_fails_where_a_validator_would(ewmalab, answers: tuple[Path, Path]) -> None:
    prediction, _ = answers
    assert ewmalab("validate", str(prediction), "--competition", "1h").code == 0
    wrong = ewmalab("validate", str(prediction), "--competition", "24h")
    assert wrong.code == 1
    assert "Time increment is incorrect" in wrong.out


@pytest.mark.parametrize(
    ("check", "words"),
    [
        pytest.param(["lookahead", "--cuts", "2"], "no leak found: ", marks=pytest.mark.ci),  # in other processes
        (["warmup"], "sufficient"),
    ],
)
def test_checks_pass_on_the_synthetic_market(check: list[str], words: str, ewmalab) -> None:
    options = ["--start", "2026-01-15", "--feed", "simulated", "--assets", "BTC", "--competitions", "1h"]
    done = ewmalab("check", *check, *options)
    assert done.code == 0
    assert words in done.out


def test_repair_reports_what_it_moved_and_fetches_it_again(ewmalab, folder: Path) -> None:
    ewmalab("data", "fetch", "--feed", "simulated", "--assets", "ETH", "--start", "2026-02-01", "--days", "2")
    path = folder / "data_cache" / "simulated-7" / "ETH" / "1m" / "2026-02-01.parquet"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    verified = ewmalab("data", "verify", "--asset", "ETH")
    assert verified.code == 1
    assert "2026-02-01" in verified.out
    repaired = ewmalab("data", "repair")
    assert repaired.code == 0, repaired.out + repaired.err
    assert "1440 bars fetched again" in repaired.out
    assert ewmalab("data", "verify").code == 0


def test_the_module_runs_and_help_does_not_wait_for_heavy_imports() -> None:
    done = subprocess.run([sys.executable, "-m", "ewmalab", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("ewmalab ")


def test_end_of_a_file_inside_a_command_is_not_taken_for_an_aborted_prompt(ewmalab, monkeypatch) -> None:
    def cut(*_: object, **__: object) -> None:
        raise EOFError("Ran out of input")

    monkeypatch.setattr("ewmalab.cli.common.settings", cut)
    with pytest.raises(RuntimeError, match="ended too early"):
        ewmalab("config", "show")


SHOWS = """
import sys
from ewmalab.cli import main
sys.argv = ["ewmalab", "config", "show", "--set", "live.wallet=n\u00fcrnberg \u2581"]
try:
    main()
finally:
    import matplotlib
    print(matplotlib.get_backend())
"""


@pytest.mark.ci
def test_plain_terminal_and_a_notebooks_backend_do_not_end_a_command_in_a_traceback() -> None:
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "LANG": "C", "MPLBACKEND": "module://not_installed.inline"}
    done = subprocess.run(
        [sys.executable, "-c", SHOWS], env=environment, capture_output=True, encoding="ascii", check=False
    )
    assert done.returncode == 0, done.stderr
    assert "n?rnberg ?" in done.stdout
    assert done.stdout.splitlines()[-1].lower() == "agg"
