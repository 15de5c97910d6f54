"""Memory of `ewmalab live` at rest: supervisor, updater and miner, in this checkout and perhaps another.

    python benchmarks/live_memory.py
    python benchmarks/live_memory.py --against ../other-checkout

Each runs by itself on loopback, with synthetic prices of every competing asset, from an empty folder: first after an
installation, when numba has no compiled kernels yet, then with them. It is measured once it is healthy and quiet, and
again after it has answered prompts of every competition. The proportional set size (PSS) divides a page among the
processes that share it, so other programs with the same libraries lower it; the private part does not depend on them.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bittensor as bt
import requests
from machine import describe

from ewmalab.live.audit.probe import Prober, next_prompts
from ewmalab.live.clock import make_clock
from ewmalab.rulebook import load_rulebook

ROOT = Path(__file__).resolve().parents[1]
START = "2026-10-03T04:00"
QUIET = 0.02  # processors in use
LIMIT = 300.0  # seconds


def main() -> int:
    """Measure; fail if a stack is not healthy, or an answer is not accepted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", type=Path, help="another checkout, measured in the same run")
    parser.add_argument("--forecaster", default="ewma", help="live.forecaster of both")
    parser.add_argument("--asks", type=int, default=5, help="prompts of each competition")
    options = parser.parse_args()
    print(describe())
    checkouts = {"this checkout": ROOT}
    if options.against:
        checkouts["the other"] = options.against.resolve()
    found: dict[str, list[Memory]] = {name: [] for name in checkouts}
    with tempfile.TemporaryDirectory() as compiled:
        for state in ("first start", "later start"):
            for name, checkout in checkouts.items():
                os.environ["NUMBA_CACHE_DIR"] = f"{compiled}/{name}"
                for when, memory in measure(checkout, options.forecaster, options.asks):
                    found[name].append(memory)
                    print(f"{name}, {state}, {when}: {memory}", flush=True)
    if options.against:
        cases = ("first start", "first start, after answers", "later start", "later start, after answers")
        for case, ours, theirs in zip(cases, *found.values(), strict=True):
            pss, private = theirs.pss / ours.pss, theirs.private / ours.private
            print(f"{case}: {pss:.2f} times less PSS, {private:.2f} times less private memory")
    return 0


@dataclass(frozen=True)
class Memory:
    """PSS and private memory of each process, MB."""

    processes: Mapping[str, tuple[float, float]]

    @property
    def pss(self) -> float:
        """The sum of the PSS."""
        return sum(pss for pss, _ in self.processes.values())

    @property
    def private(self) -> float:
        """The sum of the private memory."""
        return sum(private for _, private in self.processes.values())

    def __str__(self) -> str:
        parts = (f"{name} {pss:.0f} ({private:.0f})" for name, (pss, private) in self.processes.items())
        return f"PSS {self.pss:.0f} MB ({self.private:.0f} private): {', '.join(parts)}"


def measure(checkout: Path, forecaster: str, asks: int) -> Iterator[tuple[str, Memory]]:
    """Run a checkout's stack; yield its memory once it is healthy, and after answers."""
    with tempfile.TemporaryDirectory() as folder, live(checkout, Path(folder), forecaster) as stack:
        stack.wait()
        yield "healthy", stack.rest()
        stack.ask(asks)
        yield "after answers", stack.rest()


class Stack:
    """A running `ewmalab live`."""

    def __init__(self, process: subprocess.Popen[bytes], url: str, ports: tuple[int, int], keys: Any) -> None:
        self.process, self.url, self.ports, self.keys = process, url, ports, keys

    def wait(self) -> None:
        """Wait until it is healthy."""
        end = time.monotonic() + LIMIT
        while time.monotonic() < end and self.process.poll() is None:
            time.sleep(1)
            try:
                if requests.get(f"http://127.0.0.1:{self.ports[1]}/health", timeout=5).json()["status"] == "ok":
                    return
            except (requests.RequestException, ValueError):
                continue
        raise SystemExit("not healthy")

    def ask(self, count: int) -> None:
        """Ask for answers of every competition, one at a time."""
        miner, validator = self.keys
        now, rulebook = int(make_clock(f"{self.url}/clock").now()), load_rulebook()
        prober = Prober(f"http://127.0.0.1:{self.ports[0]}", validator.hotkey, miner.hotkey.ss58_address)
        for name, competition in rulebook.at(now).competitions.items():
            for prompt in next_prompts(rulebook, competition.assets[0], name, now, count):
                if not prober.ask(prompt).accepted:
                    raise SystemExit(f"not accepted: {prompt}")

    def rest(self) -> Memory:
        """Wait until nothing happens for ten seconds; return the memory of its processes."""
        end, before = time.monotonic() + LIMIT, self._seconds()
        while time.monotonic() < end:
            time.sleep(10)
            now = self._seconds()
            if now - before < 10 * QUIET:
                break
            before = now
        return Memory({name: memory_of(pid) for pid, name in sorted(self._family().items())})

    def _seconds(self) -> float:
        ticks = 0
        for pid in self._family():
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def _family(self) -> dict[int, str]:
        """Return the names of all processes of its session."""
        found = {}
        for path in Path("/proc").glob("[0-9]*"):
            try:
                if (path / "stat").read_text().rpartition(")")[2].split()[3] == str(self.process.pid):
                    line = (path / "cmdline").read_text().split("\0")
                    pid = int(path.name)
                    name = "supervisor" if pid == self.process.pid else "other"
                    found[pid] = next((word for word in line if word in ("updater", "miner")), name)
            except OSError:  # it has ended
                continue
        return found


def memory_of(pid: int) -> tuple[float, float]:
    """Return a process's PSS and private memory, MB."""
    found = dict(re.findall(r"^(\w+):\s+(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.MULTILINE))
    kilobytes = int(found["Pss"]), int(found["Private_Clean"]) + int(found["Private_Dirty"])
    return kilobytes[0] * 1024 / 1e6, kilobytes[1] * 1024 / 1e6


@contextmanager
def live(checkout: Path, folder: Path, forecaster: str) -> Iterator[Stack]:
    """Run a feed server and `ewmalab live` of a checkout."""
    keys = [bt.Wallet("mine", name, str(folder / "wallets")) for name in ("default", "validator")]
    for key in keys:
        key.create_new_hotkey(suppress=True)
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("EWMALAB_", "PYTH_"))}
    started: list[subprocess.Popen[bytes]] = []

    def start(*arguments: str, **options: Any) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "ewmalab", *arguments]
        where = {"cwd": folder, "env": environment | {"PYTHONPATH": str(checkout)}}
        started.append(subprocess.Popen(command, start_new_session=True, **where, **options))
        return started[-1]

    try:
        feed = start("feed", "serve", "--start", START, "--port", "0", stdout=subprocess.PIPE)
        assert feed.stdout
        url = re.search(r"http://127\.0\.0\.1:\d+", feed.stdout.readline().decode())[0]
        ports = free_ports()
        (folder / "ewmalab.toml").write_text(settings_text(url, ports, folder, forecaster))
        with (folder / "live.log").open("wb") as log:
            process = start("live", "--no-chain", "--allow", keys[1].hotkey.ss58_address, stdout=log, stderr=log)
        try:
            yield Stack(process, url, ports, keys)
        except BaseException:
            print((folder / "live.log").read_text()[-3000:], file=sys.stderr)
            raise
    finally:
        for each in reversed(started):
            end(each)


def settings_text(url: str, ports: tuple[int, int], folder: Path, forecaster: str) -> str:
    """Return the settings file of a stack that asks only the feed server."""
    hosts = ("binance.host", "hyperliquid.host", "pyth.host", "pyth.spot_host", "pyth.hermes_host")
    return "\n".join(
        [
            "[feeds]",
            *(f'{host} = "{url}"' for host in hosts),
            "[live]",
            f'forecaster = "{forecaster}"',
            f'clock = "{url}/clock"',
            'host = "127.0.0.1"',
            f"port = {ports[0]}",
            f"monitor_port = {ports[1]}",
            'wallet = "mine"',
            f'wallet_path = "{folder / "wallets"}"',
        ]
    )


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


if __name__ == "__main__":
    sys.exit(main())
