"""The files that start the miner on a server: as far as they can be tried without one."""

from __future__ import annotations

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
    text = (DEPLOY / "ewmalab.service").read_text().replace("/srv/ewmalab/.venv/bin/ewmalab", "/bin/true")
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
    service = unit()["Service"]
    name, _, folder = service["Environment"].partition("=")
    assert name == "NUMBA_CACHE_DIR"
    assert Path(folder).is_relative_to(service["ReadWritePaths"])
    assert "NUMBA_CACHE_DIR" in (DEPLOY / "ecosystem.config.js").read_text()
    assert "NUMBA_CACHE_DIR=/data/" in (DEPLOY / "Dockerfile").read_text()
