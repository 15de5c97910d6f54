"""The files that start the miner on a server: as far as they can be tried without one."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from configparser import ConfigParser
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ewmalab.cli import app
from ewmalab.live.supervisor import _GRACE

DEPLOY = Path(__file__).resolve().parents[1] / "deploy"


def unit() -> ConfigParser:
    parser = ConfigParser(interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(DEPLOY / "ewmalab.service")
    return parser


def environment() -> dict[str, str]:
    """Return the variables that the unit sets; they stand on a line each."""
    lines = re.findall(r"(?m)^Environment=(\w+)=(.*)$", (DEPLOY / "ewmalab.service").read_text())
    return dict(lines)


def options_are_known(arguments: list[str]) -> None:
    """Every option that a file passes on is one of the command's."""
    shown = CliRunner().invoke(app, ["live", "--help"], terminal_width=200).output
    for argument in arguments:
        if argument.startswith("--"):
            assert argument in shown


def test_the_unit_starts_a_command_that_exists():
    words = shlex.split(unit()["Service"]["ExecStart"])
    assert words[0].endswith("bin/ewmalab")
    assert words[1] == "live"
    options_are_known(words[2:])


def test_the_unit_waits_for_readiness_and_the_watchdog():
    service = unit()["Service"]
    assert service["Type"] == "notify"
    assert int(service["WatchdogSec"]) > 180  # what a child may fail to respond before it is restarted by itself
    assert service["ExecReload"].split()[1] == "-HUP"


def test_an_end_in_order_has_the_time_it_needs():
    two_children = 2 * _GRACE
    assert int(unit()["Service"]["TimeoutStopSec"]) >= two_children
    pm2 = (DEPLOY / "ecosystem.config.js").read_text()
    assert int(re.search(r"kill_timeout: (\d+)", pm2)[1]) / 1000 >= two_children
    assert int(re.search(r"--stop-timeout (\d+)", (DEPLOY / "Dockerfile").read_text())[1]) >= two_children


def test_systemd_accepts_the_unit(tmp_path):
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed")
    text = (DEPLOY / "ewmalab.service").read_text().replace("/opt/ewmalab/.venv/bin/ewmalab", "/bin/true")
    (tmp_path / "ewmalab.service").write_text(text)
    result = subprocess.run(
        ["systemd-analyze", "verify", str(tmp_path / "ewmalab.service")], capture_output=True, text=True, check=False
    )
    assert "Unknown" not in result.stderr


def test_pm2_can_read_its_file():
    if not shutil.which("node"):
        pytest.skip("node is not installed")
    script = f"const c = require('{DEPLOY}/ecosystem.config.js'); console.log(c.apps[0].args)"
    args = subprocess.run(["node", "-e", script], capture_output=True, text=True, check=True).stdout.split()
    assert args[0] == "live"
    options_are_known(args[1:])


def test_the_image_holds_what_it_copies():
    for line in (DEPLOY / "Dockerfile").read_text().splitlines():
        if line.startswith("COPY "):
            for source in line.split()[1:-1]:
                assert (DEPLOY.parent / source).exists()


def test_every_file_keeps_compiled_kernels_where_the_service_can_write():
    folder = environment()["NUMBA_CACHE_DIR"]
    assert Path(folder).is_relative_to(Path("/var/lib") / unit()["Service"]["StateDirectory"])
    assert "NUMBA_CACHE_DIR" in (DEPLOY / "ecosystem.config.js").read_text()
    assert "NUMBA_CACHE_DIR=/data/" in (DEPLOY / "Dockerfile").read_text()


# ------------------------------------------------------------------------------------ a bare machine

ROOT = DEPLOY.parent
OPERATIONS = (ROOT / "docs/operations.md").read_text()
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()


def test_everything_that_the_unit_names_is_made_by_systemd_or_by_the_documented_commands():
    service = unit()["Service"]
    assert (
        f"useradd --system --user-group --home-dir /var/lib/ewmalab --shell /usr/sbin/nologin {service['User']}"
        in OPERATIONS
    )
    assert service["User"] == service["Group"]
    made = [Path("/var/lib") / service["StateDirectory"], Path("/etc") / service["ConfigurationDirectory"]]
    named = [service["WorkingDirectory"], *environment().values(), service["EnvironmentFile"].removeprefix("-")]
    assert all(any(Path(path).is_relative_to(folder) for folder in made) for path in named), named
    assert service["EnvironmentFile"].startswith("-")  # it may be missing
    install = re.search(r"cd (\S+) && python3 -m venv (\S+)\n", OPERATIONS)
    assert install
    assert service["ExecStart"].split()[0] == f"{install[1]}/{install[2]}/bin/ewmalab"


def test_the_documented_place_of_the_hotkey_is_where_the_unit_looks(tmp_path):
    words = shlex.split(unit()["Service"]["ExecStart"])
    wallet, hotkey = (words[words.index(option) + 1] for option in ("--wallet", "--hotkey"))
    path = f"{environment()['EWMALAB__LIVE__WALLET_PATH']}/{wallet}/hotkeys/{hotkey}"
    assert f"install -g {unit()['Service']['Group']} -m 0640 {hotkey} {path}" in OPERATIONS


def test_numba_may_compile_in_the_unit():
    """It writes machine code into memory that it then executes."""
    assert "MemoryDenyWriteExecute" not in unit()["Service"]


def exposure(text: str, folder: Path) -> float:
    (folder / "ewmalab.service").write_text(text)
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", str(folder / "ewmalab.service")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(r"Overall exposure level for ewmalab.service: ([\d.]+)", done.stdout)
    if not found:
        pytest.skip(f"systemd-analyze cannot rate a unit here: {done.stderr.strip()}")
    return float(found[1])


def test_the_unit_is_hardly_exposed(tmp_path):
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed")
    text = (DEPLOY / "ewmalab.service").read_text()
    assert exposure(text, tmp_path) < 2.0
    assert exposure(text.replace("CapabilityBoundingSet=\n", "").replace("SystemCallFilter", "#"), tmp_path) > 4.0


# ------------------------------------------------------------------------------------ the image


def sent_to_the_builder() -> set[str]:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in lines
    return {line.removeprefix("!") for line in lines if line.startswith("!")}


def test_the_builder_gets_what_is_copied_and_nothing_else():
    copied = {source.rstrip("/") for line in re.findall(r"(?m)^COPY (.*) \S+$", DOCKERFILE) for source in line.split()}
    assert copied == sent_to_the_builder()
    assert not {"state", "live_log", "data_cache", "ewmalab.toml", ".git"} & copied


def test_the_documented_commands_build_and_run_the_image():
    run = re.search(r"docker run ((?:.*\\\n)*.*)", OPERATIONS)
    assert run
    words = shlex.split(run[1].replace("\\\n", " "))
    image = words.index("ewmalab", words.index("-e"))
    options_are_known(words[image:])
    assert "127.0.0.1:9091:9091" in words
    assert words[words.index("--user") + 1] == "$(id -u):$(id -g)"  # who can read the hotkey
    assert "docker build -f deploy/Dockerfile -t ewmalab ." in OPERATIONS
    assert "EWMALAB__LIVE__MONITOR_HOST=0.0.0.0" in DOCKERFILE
    assert "chmod 1777 /data" in DOCKERFILE  # any user may be named


@pytest.mark.ci
def test_a_degraded_miner_is_a_healthy_container(monkeypatch):
    check = re.search(r"(?m)^HEALTHCHECK .* CMD (\[.*\])$", DOCKERFILE)
    assert check
    words = json.loads(check[1])
    assert words[0] == "ewmalab"
    health = {
        "synthetic": False,
        "chain_age": 1.0,
        "uid": None,
        "market_time": "",
        "hotkey": "5x",
        "problems": [],
        "assets": {},
    }
    for status, code in (("ok", 0), ("degraded", 0), ("failing", 1)):
        monkeypatch.setattr("ewmalab.api.live.read_health", lambda *_, now=status: health | {"status": now})
        assert CliRunner().invoke(app, words[1:]).exit_code == code
        assert CliRunner().invoke(app, ["status"]).exit_code == (status != "ok")
