"""What a terminal offers beside commands: completion, a start of one's own, JSON errors, quiet libraries, extras."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from ewmalab import api
from ewmalab.cli import edge

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("backtest --assets BT", ["BTC"]),
        ("backtest --assets BTC,ET", ["BTC,ETH"]),
        ("backtest -f s", ["seasonal-har"]),
        ("backtest -f mi", []),
        ("backtest --feed s", ["simulated"]),
        ("backtest --rules l", ["latest"]),
        ("predict BTC --competition crypto-1", ["crypto-1h"]),
        ("sweep -p half_life_1", ["half_life_1m"]),
        ("config show --preset ew", ["ewma@seed"]),
        ("experiments show 2026", ["20260115T000000Z-broken-00000000"]),
        ("experiments rm 2026", ["20260115T000000Z-broken-00000000"]),
        ("experiments list --tag ba", ["baseline"]),
        ("data list --feed s", ["simulated"]),
        ("data verify --asset BT", ["BTC"]),
        ("compare ra", ["random-walk"]),
        ("report la", ["latest"]),
        ("new f", ["forecaster"]),
    ],
)
def test_a_shell_completes_values(
    typed: str, offered: list[str], ewmalab, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "experiments/20260115T000000Z-broken-00000000").mkdir(parents=True, exist_ok=True)
    (folder / "experiments/20260115T000000Z-broken-00000000/manifest.json").write_text("{")
    (folder / "experiments/20260115T000000Z-broken-00000000/tags.json").write_text('{"tags": ["baseline"]}')
    monkeypatch.setenv("_EWMALAB_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", f"ewmalab {typed}")
    monkeypatch.setenv("COMP_CWORD", str(len(typed.split())))
    done = ewmalab()
    assert done.out.split() == offered


def test_names_of_built_in_forecasters_are_completed() -> None:
    from ewmalab.forecast.load import BUILT_IN

    assert set(BUILT_IN) <= set(api.complete("forecasters", ""))


@pytest.mark.ci
def test_a_new_forecaster_keeps_the_contract_and_its_test_passes_as_written(
    ewmalab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = ewmalab("new", "forecaster", "steady_steps", "--folder", str(tmp_path), "--json")
    assert [Path(path).name for path in json.loads(made.out)["files"]] == ["steady_steps.py", "test_steady_steps.py"]
    monkeypatch.syspath_prepend(tmp_path)
    space: dict[str, object] = {}
    exec((tmp_path / "test_steady_steps.py").read_text(), space)
    space["test_it_keeps_the_contract"]()  # type: ignore[operator]
    again = ewmalab("new", "forecaster", "steady_steps", "--folder", str(tmp_path))
    assert (again.code, again.err) == (2, f"ewmalab: {tmp_path}/steady_steps.py exists: choose another name\n")


@pytest.mark.parametrize(
    ("name", "words"),
    [("My-Model", "did you mean 'my_model'"), ("json", "installed module"), ("1x", "no name of a module")],
)
def test_a_new_forecaster_needs_a_free_name_of_a_module(name: str, words: str, ewmalab, folder: Path) -> None:
    done = ewmalab("new", "forecaster", name)
    assert done.code == 2
    assert words in done.err
    assert not list(folder.glob("*.py"))


def test_an_error_is_a_line_and_with_json_also_an_object(ewmalab) -> None:
    plain = ewmalab("experiments", "show", "none")
    machine = ewmalab("experiments", "show", "none", "--json")
    error = json.loads(machine.out)["error"]
    assert plain.out == ""
    assert plain.err == machine.err == f"ewmalab: {error['message']}\n"
    assert (error["kind"], error["exit_code"], machine.code) == ("ExperimentError", 3, 3)


def test_every_kind_of_error_has_a_documented_exit_code() -> None:
    from ewmalab import errors

    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    text = (ROOT / "docs/reference/exit-codes.md").read_text()
    assert {kind.exit_code for kind in kinds} | {0, 130} == set(map(int, re.findall(r"(?m)^\| (\d+) \|", text)))


def test_warnings_of_libraries_reach_the_terminal_only_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        monkeypatch.setattr(sys, "warnoptions", ["default"])
        edge.quiet_libraries()
        warnings.warn("old", DeprecationWarning, stacklevel=1)
        assert len(seen) == 1
        monkeypatch.setattr(sys, "warnoptions", [])
        monkeypatch.setenv("PYTHONWARNINGS", "")
        edge.quiet_libraries()
        warnings.warn("old", DeprecationWarning, stacklevel=1)
        assert len(seen) == 1


WITHOUT_EXTRAS = """
import sys
for name in ("bittensor", "h11", "msgpack", "prometheus_client", "uvicorn", "distributed", "mlflow"):
    sys.modules[name] = None  # as if it were not installed
from ewmalab.cli import main
sys.argv = ["ewmalab"]
for command in {commands!r}:
    sys.argv[1:] = command.split()
    try:
        main()
    except SystemExit as end:
        print(end.code, command, file=sys.stderr)
"""


def without_extras(folder: Path, commands: list[str]) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_EXTRAS.format(commands=commands)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return done.stderr.splitlines()


@pytest.mark.ci
def test_without_extras_commands_name_the_extra_and_all_others_work(tmp_path: Path) -> None:
    live = ["live", "live miner", "live updater", "live allowlist", "live score", "probe 127.0.0.1:1", "rehearse"]
    said = without_extras(tmp_path, live)
    assert said[1::2] == [f"2 {command}" for command in live]
    assert {re.sub("live commands need|this command needs", "NEEDS", line) for line in said[0::2]} == {
        "ewmalab: NEEDS an extra: pip install 'ewmalab[live]'"
    }
    others = ["config show", "rules show", "data list", "experiments list", "check parity", "report nothing"]
    others += ["crps-test --start-day 2026-01-15", "check warmup --start 2026-01-15", "check lookahead --days 0"]
    codes = [line.split()[0] for line in without_extras(tmp_path, others) if re.match(r"\d", line)]
    assert codes == ["0", "0", "0", "0", "3", "3", "3", "3", "2"]


def test_what_notebooks_and_exports_write_by_default_is_not_untracked() -> None:
    places = ["experiments/x", "data_cache/x", "reports/x", "fits/x", "rehearsals/x", "live_log/x", "state/x"]
    places += ["market_data/x", "miner_outputs/x", "offline_data/x", "prediction.json", "tune.journal", "mlflow.db"]
    places += [
        "notebooks/experiments/x",
        "notebooks/data_cache/x",
        "notebooks/reports/x",
        "notebooks/.ipynb_checkpoints/x",
    ]
    try:
        done = subprocess.run(["git", "check-ignore", *places], cwd=ROOT, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("git is not installed")
    if done.returncode == 128:
        pytest.skip("not a git checkout")
    assert done.stdout.split() == places
