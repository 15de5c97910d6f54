"""`ewmalab live` on loopback, with a feed server beside it, for benchmarks of the whole stack."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import bittensor as bt
import requests
from bittensor import sp_core

from ewmalab.live.clock import Clock, make_clock

ROOT = Path(__file__).resolve().parents[1]
START = "2026-10-03T04:00"
LIMIT = 300.0  # seconds
SETTINGS_FILE = "ewmalab.toml"
NAMES = ("default", "validator")
HOSTS = ("binance.host", "hyperliquid.host", "pyth.host", "pyth.spot_host", "pyth.hermes_host")
"""Settings of the section ``feeds`` that name who is asked for prices."""


class Stack:
    """A running `ewmalab live`, in a session of its own.

    Attributes
    ----------
    process, feed : subprocess.Popen
    started : float
        Monotonic time at the start of `process`.
    folder : Path
        Where it runs, with its settings file and its log.
    url : str
        Address of the feed server.
    port, monitor_port : int
    miner, validator
        Hotkeys.
    mnemonic : str
        The validator's.
    """

    def __init__(self, feed: subprocess.Popen[bytes], url: str, folder: Path, keys: dict[str, Any]) -> None:
        self.feed, self.url, self.folder = feed, url, folder
        self.miner, self.validator = keys.values()
        self.mnemonic = list(keys)[1]
        self.port, self.monitor_port = free_ports()
        self.process: subprocess.Popen[bytes]
        self.started = 0.0

    def clock(self) -> Clock:
        """Return the market's clock."""
        return make_clock(f"{self.url}/clock")

    def health(self) -> dict[str, Any]:
        """Return what the miner says; a status of its own if it says nothing."""
        try:
            found: dict[str, Any] = requests.get(f"http://127.0.0.1:{self.monitor_port}/health", timeout=5).json()
        except (requests.RequestException, ValueError):
            return {"status": "no answer"}
        return found

    def wait(self) -> None:
        """Wait until it is healthy."""
        end = time.monotonic() + LIMIT
        while time.monotonic() < end and self.process.poll() is None:
            time.sleep(1)
            if self.health()["status"] == "ok":
                return
        raise SystemExit("not healthy")

    def family(self) -> dict[int, str]:
        """Return the names of all living processes of its session, by process id."""
        found = {}
        for path in Path("/proc").glob("[0-9]*"):
            try:
                state, _, _, session = (path / "stat").read_text().rpartition(")")[2].split()[:4]
                if session == str(self.process.pid) and state != "Z":
                    line = [*(path / "cmdline").read_text().split("\0"), (path / "comm").read_text().strip()]
                    pid = int(path.name)
                    name = "supervisor" if pid == self.process.pid else "fit" if "spawn_main" in str(line) else "other"
                    found[pid] = next((word for word in line if word in ("updater", "miner")), name)
            except OSError:  # it has ended
                continue
        return found

    def write_settings(self, **sections: str) -> None:
        """Write the settings file: only the feed server is asked; `sections` hold lines of other sections, or more."""
        lines = {
            "feeds": [f'{host} = "{self.url}"' for host in HOSTS],
            "live": [
                f'clock = "{self.url}/clock"',
                'host = "127.0.0.1"',
                f"port = {self.port}",
                f"monitor_port = {self.monitor_port}",
                'wallet = "mine"',
                f'wallet_path = "{self.folder / "wallets"}"',
            ],
        }
        for name, text in sections.items():
            lines.setdefault(name, []).append(text)
        text = "\n".join(line for name, own in lines.items() for line in (f"[{name}]", *own))
        (self.folder / SETTINGS_FILE).write_text(text + "\n")


def memory_of(pid: int) -> tuple[float, float]:
    """Return a process's PSS and private memory, MB."""
    found = _memory(pid)
    return found["Pss"], found["Private_Clean"] + found["Private_Dirty"]


def written_of(pid: int) -> float:
    """Return the memory that a process alone has written, MB: what grows in a leak, whatever shares its libraries."""
    return _memory(pid)["Private_Dirty"]


def _memory(pid: int) -> dict[str, float]:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return {name: int(size) * 1024 / 1e6 for name, size in re.findall(r"^(\w+):\s+(\d+) kB", text, re.MULTILINE)}


def seconds_of(pid: int) -> float:
    """Return the processor time of a process, seconds; 0 if it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def live(
    folder: Path,
    *,
    feed: Sequence[str] = ("-m", "ewmalab", "feed", "serve", "--start", START, "--port", "0"),
    checkout: Path = ROOT,
    environment: dict[str, str] | None = None,
    options: Sequence[str] = (),
    **sections: str,
) -> Iterator[Stack]:
    """Run a feed server, and `ewmalab live` of a checkout, in a new folder.

    Parameters
    ----------
    folder : Path
    feed : sequence of str
        Python's arguments that start a feed server, which prints its address first.
    checkout : Path
    environment : dict of str, optional
        Further variables.
    options : sequence of str
        Of `ewmalab live`.
    **sections : str
        See `Stack.write_settings`.
    """
    keys = {sp_core.Keypair.generate_mnemonic(): bt.Wallet("mine", name, str(folder / "wallets")) for name in NAMES}
    for mnemonic, key in keys.items():
        key.regenerate_hotkey(mnemonic=mnemonic, suppress=True)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("EWMALAB_", "PYTH_"))}
    kept |= {"PYTHONPATH": str(checkout), **(environment or {})}
    started: list[subprocess.Popen[bytes]] = []

    def start(*arguments: str, **more: Any) -> subprocess.Popen[bytes]:
        command = [sys.executable, *arguments]
        started.append(subprocess.Popen(command, start_new_session=True, cwd=folder, env=kept, **more))
        return started[-1]

    try:
        server = start(*feed, stdout=subprocess.PIPE)
        stack = Stack(server, address_of(server), folder, {mnemonic: key.hotkey for mnemonic, key in keys.items()})
        stack.write_settings(**sections)
        command = ["-m", "ewmalab", "live", "--no-chain", "--allow", stack.validator.ss58_address, *options]
        with (folder / "live.log").open("wb") as log:
            stack.started = time.monotonic()
            stack.process = start(*command, stdout=log, stderr=log)
        try:
            yield stack
        except BaseException:
            print((folder / "live.log").read_text()[-3000:], file=sys.stderr)
            raise
    finally:
        for each in reversed(started):
            end(each)


def address_of(server: subprocess.Popen[bytes]) -> str:
    """Return the address that a feed server prints first."""
    assert server.stdout
    found = re.search(r"http://127\.0\.0\.1:\d+", server.stdout.readline().decode())
    assert found
    return found[0]


def free_ports() -> tuple[int, int]:
    """Return two free ports."""
    with socket.socket() as one, socket.socket() as two:
        one.bind(("127.0.0.1", 0))
        two.bind(("127.0.0.1", 0))
        return one.getsockname()[1], two.getsockname()[1]


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process that we started, with its children."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(90)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # its own session
            process.wait()
