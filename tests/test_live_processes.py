"""Live commands as processes: started, killed, told to change and ended, on loopback."""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import bittensor as bt
import orjson
import pytest
import requests
import typer

from ewmalab.cli import app
from ewmalab.live.audit.probe import Prober, next_prompts
from ewmalab.live.clock import make_clock
from ewmalab.live.state_store import StateStore
from ewmalab.rulebook import load_rulebook
from ewmalab.times import iso, parse_time

pytestmark = [
    pytest.mark.release,
    pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc and signals"),
]

LIMIT = 300.0  # seconds until a test fails that waits for something
START = "2026-10-03T04:00"


def environment() -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("EWMALAB_", "PYTH_", "NOTIFY_", "COV"))}
    return {k: v for k, v in kept.items() if "proxy" not in k.lower()} | {"PYTHONWARNINGS": "error::RuntimeWarning"}


def soon(holds: Callable[[], Any], what: str, seconds: float = LIMIT) -> Any:
    """Wait until something holds, and return it."""
    end = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < end, f"never: {what}"
        time.sleep(0.1)
    return found


def command(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    done = subprocess.run(
        [sys.executable, "-m", "ewmalab", *arguments], cwd=folder, env=environment(), capture_output=True, text=True,
        timeout=LIMIT, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return done


class Running:
    """A command that runs in a session of its own, its output in files."""

    def __init__(self, folder: Path, name: str, *arguments: str) -> None:
        self.out, self.err = folder / f"{name}.out", folder / f"{name}.err"
        with self.out.open("wb") as out, self.err.open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "ewmalab", *arguments], cwd=folder, env=environment(), stdout=out, stderr=err,
                start_new_session=True,
            )  # fmt: skip
        self.pid = self.process.pid

    def family(self) -> dict[int, str]:
        """Return the command lines of all living processes of the session, by process id."""
        found = {}
        for folder in Path("/proc").iterdir():
            try:
                state, _, _, session = (folder / "stat").read_text().rpartition(")")[2].split()[:4]
                if folder.name.isdigit() and int(session) == self.pid and state != "Z":
                    found[int(folder.name)] = (folder / "cmdline").read_text().replace("\0", " ")
            except (OSError, ValueError):
                continue
        return found

    def child(self, name: str) -> int | None:
        """Return the process id of a supervised child."""
        return next((pid for pid, line in self.family().items() if f" live {name} " in line), None)

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def end(self) -> int:
        """End it in order; return its exit code."""
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
        return self.process.wait(LIMIT)

    def kill(self) -> None:
        """Leave nothing behind, whatever happened."""
        for pid in self.family():
            os.kill(pid, signal.SIGKILL)
        self.process.wait(LIMIT)


def free_ports(count: int) -> list[int]:
    """Return free ports that no outgoing connection is given meanwhile, nor another worker of these tests."""
    first = 20_000 + 500 * (int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % 20)
    found: list[int] = []
    for port in random.Random(os.getpid()).sample(range(first, first + 500), 500):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            found.append(port)
        if len(found) == count:
            return found
    raise AssertionError("no free ports")


def served_url(running: Running) -> str:
    line = soon(lambda: "\n" in running.out.read_text() and running.out.read_text(), "start of the feed server")
    found = re.match(
        rf"serving SYNTHETIC prices at (http://127\.0\.0\.1:\d+), market time {START} at 60x\n"
        r"let live processes use it:  --clock \1/clock ", line
    )  # fmt: skip
    assert found, line
    return found[1]


@pytest.fixture(scope="module")
def wallets(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Any, Any]:
    """A folder with a miner's and a validator's hotkey."""
    path = str(tmp_path_factory.mktemp("wallets"))
    made = [bt.Wallet("mine", name, path) for name in ("default", "validator")]
    for wallet in made:
        wallet.create_new_hotkey(suppress=True)
    return path, made[0].hotkey, made[1].hotkey


# ---------------------------------------------------------------------------------------------------- the stack


@dataclass
class Stack:
    """A feed server and `ewmalab live` beside it."""

    folders: Iterator[Path]
    wallets: tuple[str, Any, Any]
    running: list[Running] = field(default_factory=list)

    def start(self) -> None:
        """Start both in a folder of their own."""
        self.folder = next(self.folders)
        self.feed = Running(self.folder, "feed", "feed", "serve", "--start", START, "--speed", "60x", "--assets", "BTC",
                            "--port", "0")  # fmt: skip
        self.running.append(self.feed)
        self.url, (self.port, self.monitor) = served_url(self.feed), free_ports(2)
        settings = settings_text(self.url, self.port, self.monitor, self.wallets[0], "30m")
        (self.folder / "ewmalab.toml").write_text(settings)
        self.live = Running(self.folder, "live", "live", "--no-chain", "--allow", self.wallets[2].ss58_address)
        self.running.append(self.live)

    def health(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = requests.get(f"http://127.0.0.1:{self.monitor}/health", timeout=LIMIT).json()
            return found
        except requests.RequestException:
            return {"status": "absent", "problems": []}

    def well(self) -> None:
        """Wait until all is well; start again what a test has ended."""
        if self.live.process.poll() is not None:
            self.start()
        soon(lambda: self.health()["status"] == "ok", f"health ok; {self.live.err}")

    def beat(self) -> dict[str, Any]:
        note: dict[str, Any] = orjson.loads((self.folder / "state" / "updater.json").read_bytes())
        return note

    def ask(self) -> bool:
        """Send a validator's prompt; tell whether the answer was accepted."""
        _, miner, validator = self.wallets
        now = int(make_clock(f"{self.url}/clock").now())
        prompt = next_prompts(load_rulebook(), "BTC", "crypto-1h", now, 1)[0]
        prober = Prober(f"http://127.0.0.1:{self.port}", validator, miner.ss58_address)
        return prober.ask(prompt).accepted

    def last_record(self) -> dict[str, Any]:
        path = sorted((self.folder / "log").glob("answers-*.jsonl"))[-1]
        record: dict[str, Any] = orjson.loads(path.read_bytes().splitlines()[-1])
        return record


def settings_text(url: str, port: int, monitor: int, wallet_path: str, half_life: str) -> str:
    hosts = ("binance.host", "hyperliquid.host", "pyth.host", "pyth.spot_host", "pyth.hermes_host")
    return "\n".join(
        [
            "[ewma.half_life_1m]", f'BTC = "{half_life}"', "[feeds]", *(f'{host} = "{url}"' for host in hosts),
            "[data]", 'cache_dir = "cache"', "[live]", 'forecaster = "ewma"', 'assets = ["BTC"]',
            'state_dir = "state"', 'log_dir = "log"',
            'host = "127.0.0.1"', f"port = {port}", f"monitor_port = {monitor}", 'wallet = "mine"',
            f'wallet_path = "{wallet_path}"', f'clock = "{url}/clock"', 'stale_after = "30m"', 'spot_interval = "1s"',
        ]
    )  # fmt: skip


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, wallets: tuple[str, Any, Any]) -> Iterator[Stack]:
    """The whole stack, an hour of market time a minute; whoever breaks it waits until it is well again."""
    made = Stack((tmp_path_factory.mktemp("stack") for _ in count()), wallets)
    try:
        made.start()
        made.well()
        yield made
        made.feed.end()
    finally:
        for each in reversed(made.running):
            each.kill()


def test_stack_is_healthy_and_says_so(stack: Stack) -> None:
    stack.well()
    health = stack.health()
    assert (health["synthetic"], health["problems"], list(health["assets"])) == (True, [], ["BTC"])
    done = command(stack.folder, "status")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("SYNTHETIC DATA")
    assert f"OK at {health['market_time'][:10]}" in done.stdout
    assert health["hotkey"] == stack.wallets[1].ss58_address


def test_probe_is_accepted_under_every_format_rule(stack: Stack) -> None:
    stack.well()
    miner = stack.wallets[1].ss58_address
    probe = ("probe", f"127.0.0.1:{stack.port}", "--axon", miner, "--count", "4", "--json")
    done = command(stack.folder, *probe, "--hotkey", "validator")
    assert done.returncode == 0, done.stdout + done.stderr
    assert orjson.loads(done.stdout)["accepted"] == 4
    refused = command(stack.folder, *probe)  # the miner's own key is not on its list
    assert refused.returncode == 1
    assert "HTTP 403" in str(orjson.loads(refused.stdout)["faults"])


def test_second_updater_of_the_same_states_is_refused(stack: Stack) -> None:
    stack.well()
    done = command(stack.folder, "live", "updater", "--one-shot")
    assert done.returncode == 3
    message = done.stderr.splitlines()[-1]
    assert message.startswith("ewmalab: ")
    assert "state" in message
    assert "updater" in message
    stack.well()


@pytest.mark.parametrize("name", ["updater", "miner"])
def test_killed_process_comes_back_and_the_other_goes_on(name: str, stack: Stack) -> None:
    stack.well()
    other = {"updater": "miner", "miner": "updater"}[name]
    before, sibling = stack.live.child(name), stack.live.child(other)
    assert before
    assert sibling
    os.kill(before, signal.SIGKILL)
    after = soon(lambda: (pid := stack.live.child(name)) != before and pid, f"another {name}")
    assert stack.live.child(other) == sibling
    if name == "updater":
        soon(lambda: stack.beat()["pid"] == after, "a heartbeat of the new updater")
    soon(stack.ask, "an accepted answer")


def test_hangup_lets_changed_settings_take_effect_without_a_restart(stack: Stack) -> None:
    stack.well()
    soon(stack.ask, "an accepted answer")
    before = soon(stack.last_record, "a record")["parameters"]
    pids = stack.live.child("updater"), stack.live.child("miner")
    (stack.folder / "ewmalab.toml").write_text(
        settings_text(stack.url, stack.port, stack.monitor, stack.wallets[0], "50m")
    )
    stack.live.signal(signal.SIGHUP)
    soon(lambda: stack.ask() and stack.last_record()["parameters"] != before, "an answer with other parameters")
    changed = stack.last_record()["parameters"]

    def saved() -> bool:
        state = StateStore(stack.folder / "state").load("BTC")[0]
        return state is not None and state.states["ewma"].parameters == changed

    soon(saved, "a state with other parameters")
    assert (stack.live.child("updater"), stack.live.child("miner")) == pids
    assert stack.ask()


@pytest.mark.slow
def test_unusable_settings_are_not_taken_up(stack: Stack) -> None:
    stack.well()
    good = (stack.folder / "ewmalab.toml").read_text()
    pids = stack.live.child("updater"), stack.live.child("miner")
    (stack.folder / "ewmalab.toml").write_text(good.replace('BTC = "', 'BTC = "x'))
    try:
        kept = stack.live.err.read_text().count("settings not changed")
        stack.live.signal(signal.SIGHUP)
        soon(lambda: stack.live.err.read_text().count("settings not changed") == kept + 2, "both say so")
        assert stack.ask()
        assert (stack.live.child("updater"), stack.live.child("miner")) == pids
    finally:
        (stack.folder / "ewmalab.toml").write_text(good)
    stack.well()


def test_second_supervisor_is_refused_and_children_end_with_a_killed_one(stack: Stack) -> None:
    stack.well()
    assert stack.health()["supervisor"]["pid"] == stack.live.pid
    second = command(stack.folder, "live", "--no-chain", "--allow", stack.wallets[2].ss58_address)
    assert second.returncode == 1
    assert f"the supervisor with process id {stack.live.pid} runs here" in second.stderr
    stack.live.signal(signal.SIGKILL)
    stack.live.process.wait(LIMIT)
    soon(lambda: not stack.live.family(), "the end of the children")


def test_end_is_in_order_and_leaves_no_process(stack: Stack) -> None:
    stack.well()
    assert len(stack.live.family()) >= 3
    assert stack.live.end() == 0, stack.live.err.read_text()[-2000:]
    assert stack.live.family() == {}
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", stack.port)) != 0
    log = stack.live.err.read_text()
    assert "Traceback" not in log
    assert "killed" not in log
    done = command(stack.folder, "status")
    assert done.returncode == 3
    assert "no miner answers" in done.stderr
    assert stack.feed.end() == 0
    found = re.search(r"^(\d+) requests, 0 of them met a fault$", stack.feed.out.read_text(), re.MULTILINE)
    assert found
    assert int(found[1]) > 10


@pytest.mark.slow
def test_two_copies_of_one_signal_end_as_well_as_one(tmp_path: Path) -> None:
    feed = Running(tmp_path, "feed", "feed", "serve", "--start", START, "--speed", "60x", "--assets", "BTC",
                   "--port", "0")  # fmt: skip
    try:
        url = served_url(feed)
        for _ in range(3):
            requests.get(f"{url}/clock", timeout=LIMIT).raise_for_status()
        feed.signal(signal.SIGTERM)
        feed.signal(signal.SIGTERM)
        assert feed.process.wait(LIMIT) == 0
        assert re.search(r"^\d+ requests, 0 of them met a fault$", feed.out.read_text(), re.MULTILINE)
    finally:
        feed.kill()


# --------------------------------------------------------------------------------------------- without a server

ONE_SHOT = ("live", "updater", "--one-shot", "--feed", "simulated", "--assets", "BTC", "--state-dir", "state")


def test_warm_up_gives_the_state_as_of_the_start_of_the_day(tmp_path: Path) -> None:
    done = command(tmp_path, *ONE_SHOT, "--warmup-date", "2026-01-15")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "BTC: state after the bar of 2026-01-14T23:59:00Z\n"
    state, problems = StateStore(tmp_path / "state").load("BTC")
    assert problems == []
    assert state is not None
    assert iso(state.newest) == "2026-01-14T23:59:00Z"
    assert state.synthetic
    assert state.saved_at == parse_time("2026-01-15")
    later = command(tmp_path, *ONE_SHOT, "--warmup-date", "2026-01-14")
    assert later.returncode == 3
    assert "BTC after 2026-01-14T00:00:00Z: choose an empty --state-dir" in later.stderr
    kept, _ = StateStore(tmp_path / "state").load("BTC")
    assert kept is not None
    assert kept.newest == state.newest


def test_warm_up_needs_one_shot(tmp_path: Path) -> None:
    done = command(tmp_path, "live", "updater", "--warmup-date", "2026-01-15")
    assert done.returncode == 2
    assert "needs --one-shot" in done.stderr
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("name", [(), ("miner",)])
def test_wrong_wallet_is_said_once(name: tuple[str, ...], tmp_path: Path, wallets: tuple[str, Any, Any]) -> None:
    done = command(tmp_path, "live", *name, "--no-chain", "--allow", "A", "--wallet", "other", "--wallet-path",
                   wallets[0])  # fmt: skip
    assert done.returncode == 2
    assert "hotkey 'default' of wallet 'other'" in done.stderr
    assert "--wallet-path" in done.stderr


@pytest.mark.slow
def test_absent_clock_is_said_once(tmp_path: Path, wallets: tuple[str, Any, Any]) -> None:
    done = command(tmp_path, "live", "--wallet", "mine", "--wallet-path", wallets[0], "--no-chain", "--allow", "A",
                   "--clock", "http://127.0.0.1:1/clock")  # fmt: skip
    assert done.returncode == 2
    assert "ewmalab feed serve" in done.stderr


# --------------------------------------------------------------------------------------------------------- help

COMMANDS = (
    "live",
    "live updater",
    "live miner",
    "live allowlist",
    "live score",
    "live backup",
    "live restore",
    "feed",
    "feed serve",
    "probe",
    "status",
)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_an_example_that_can_be_typed(name: str, ewmalab: Callable[..., Any]) -> None:
    result = ewmalab(*name.split(), "--help")
    assert result.code == 0
    plain = re.sub(r"\s+", " ", result.out.replace("│", " "))
    examples = re.findall(r"Examples?:(.*?)(?:Options|Arguments|Commands|╭|$)", plain)
    found = [line for text in examples for line in re.split(r"(?=ewmalab )", text) if line.startswith("ewmalab ")]
    assert found
    for line in found:
        words, group = line.split()[1:], typer.main.get_command(app)
        while words and words[0] in getattr(group, "commands", {}):
            group = group.commands[words.pop(0)]  # type: ignore[attr-defined]
        group.make_context(name, words, resilient_parsing=False)
