"""A reader's walk: the commands of a page as they stand there, in an empty folder; prints how long each took.

    python benchmarks/walk.py                                       # the tutorial
    python benchmarks/walk.py docs/zero-to-serving.md README.md

Every host is a feed server on this machine with SYNTHETIC prices. What a page needs from elsewhere has a stand-in, as
printed: a wallet made here instead of a registered one, `--no-chain`, and files and bars that a reader has already.
Commands that need the chain, the subnet's public records, or an installation are left out, and named.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import bittensor as bt
import requests
from bittensor import sp_core
from live_stack import HOSTS, ROOT, address_of, end, free_ports

from ewmalab.rulebook import load_rulebook

LEFT_OUT = ("pip", "uv", "source", "btcli", "make test", "make docs", "ewmalab field", "ewmalab check field")
START_LIMIT = 120.0  # seconds
PREPARED = {
    "README.md": (
        "ewmalab data fetch --feed pyth --start 2026-01-17 --days 24",
        "mkdir my_bars && ewmalab data export --feed pyth --assets BTC --start 2026-01-20 --days 2 --to my_bars",
        "python -m zipfile -c BTCUSDT-1m-2026-01.zip my_bars/",
        "ewmalab new forecaster my_forecaster",
        "python -c 'print([100_000.0 + i for i in range(61)])' > prices.json",
    )
}
"""What a reader of a page has already."""


def main() -> int:
    """Walk; return 1 if a command fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", nargs="*", default=["docs/tutorial.md"])
    failed = 0
    for page in parser.parse_args().pages:
        print(f"\n{page}; SYNTHETIC prices", flush=True)
        with tempfile.TemporaryDirectory() as folder, feed_server(Path(folder)) as walk:
            failed += walk.page(page)
    return int(failed > 0)


class Walk:
    """A folder in which commands run, with settings that lead every request to the feed server."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder, self.port, self.monitor_port = folder, *free_ports()
        self.serving: subprocess.Popen[bytes] | None = None
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        kept = {k: v for k, v in os.environ.items() if not k.startswith("EWMALAB_")}
        hosts = {f"EWMALAB__FEEDS__{host.replace('.', '__').upper()}": url for host in HOSTS}
        live = {"WALLET_PATH": str(folder / "wallets"), "HOST": "127.0.0.1", "MONITOR_PORT": str(self.monitor_port)}
        live |= {"PORT": str(self.port), "CLOCK": f"{url}/clock"}
        self.environment = kept | hosts | {f"EWMALAB__LIVE__{name}": value for name, value in live.items()}
        self.environment |= {"PATH": path, "PYTH_API_KEY": "synthetic", "PYTHONPATH": str(ROOT)}
        key = bt.Wallet("miner", "default", str(folder / "wallets"))
        key.regenerate_hotkey(mnemonic=sp_core.Keypair.generate_mnemonic(), suppress=True)
        self.hotkey = key.hotkey.ss58_address

    def page(self, name: str) -> int:
        """Run a page's commands; return how many failed."""
        text = (ROOT / name).read_text()
        if name.endswith("tutorial.md") and (code := re.search(r"```python\n(.*?)```", text, re.DOTALL)):
            (self.folder / "my_forecaster.py").write_text(code[1])
        variables, codes, total = "", Counter[int](), 0.0
        for command in (*PREPARED.get(name, ()), *commands_of(text)):
            if re.match(r"\w+=\$\(", command):
                variables += f"{command}\n"
                continue
            if command.startswith(LEFT_OUT) or " --field " in command:
                print(f"     left out  {command}", flush=True)
                continue
            began = time.perf_counter()
            run = self.stand_in(command)
            code, said = self.serve(run) if run.startswith("ewmalab live --") else self.run(variables + run)
            seconds = time.perf_counter() - began
            total += seconds
            print(f"{seconds:7.1f} s  {run.replace(self.hotkey, 'HOTKEY')}", flush=True)
            codes[code] += 1
            if code:
                print(f"exit code {code}\n{said}")
        if self.serving:
            end(self.serving)
        failed = codes.total() - codes[0] - codes[1]
        print(
            f"{total:7.1f} s  in all; {failed} failed, {codes[1]} said that a result is not well (exit code 1); "
            "setting up, and reading, not included"
        )
        return failed

    def stand_in(self, command: str) -> str:
        """Return what runs in a command's place."""
        command = command.replace("HOTKEY", self.hotkey).replace("127.0.0.1:8091", f"127.0.0.1:{self.port}")
        if command == "make demo":
            demo = re.search(r"(?m)^demo:.*\n\t\$\(BIN\)/(.*)$", (ROOT / "Makefile").read_text())
            assert demo
            return demo[1]
        if not command.startswith("ewmalab live --"):
            return command
        allowed = "" if "--allow" in command else f" --allow {self.hotkey}"
        return f"{command} --no-chain{allowed}"

    def run(self, command: str) -> tuple[int, str]:
        """Run a command; return its exit code, and what it printed."""
        done = subprocess.run(
            command, shell=True, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
        )
        return done.returncode, done.stdout + done.stderr

    def serve(self, command: str) -> tuple[int, str]:
        """Start the live processes, wait until they are healthy, and ask once, as validators do by and by."""
        with (self.folder / "live.txt").open("wb") as log:
            self.serving = subprocess.Popen(
                command.split(), cwd=self.folder, env=self.environment, stdout=log, stderr=log, start_new_session=True
            )
        found, until = {}, time.monotonic() + START_LIMIT
        while time.monotonic() < until and self.serving.poll() is None:
            try:
                found = requests.get(f"http://127.0.0.1:{self.monitor_port}/health", timeout=5).json()
            except (requests.RequestException, ValueError):
                found = {}
            if found.get("status") == "ok":
                return self.run(f"ewmalab probe 127.0.0.1:{self.port} --axon {self.hotkey} --wallet miner")
            time.sleep(0.5)
        return 4, f"not healthy: {found}\n{(self.folder / 'live.txt').read_text()}"


def commands_of(text: str) -> list[str]:
    """Return the commands of a page, without comments: indented lines that begin with a program or an assignment."""
    lines = [line for line in re.sub(r"\\\n\s+", "", text).splitlines() if line.startswith("    ")]
    found = [re.sub(r"\s+# .*", "", line).strip() for line in lines]
    return [c for c in found if re.match(r"(ewmalab|make|pip|pipx|uv|source|btcli) |\w+=\$\(", c)]


@contextmanager
def feed_server(folder: Path) -> Iterator[Walk]:
    """Serve synthetic prices up to now in the formats of all feeds."""
    every = ",".join(load_rulebook().symbols)  # those that competed at any time
    command = [sys.executable, "-m", "ewmalab", "feed", "serve", "--port", "0", "--assets", every, "--start"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with tempfile.TemporaryDirectory() as own:
        server = subprocess.Popen(
            [*command, datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S")],
            stdout=subprocess.PIPE,
            cwd=own,
            env=environment,
        )
        try:
            yield Walk(folder, address_of(server))
        finally:
            end(server)


if __name__ == "__main__":
    sys.exit(main())
