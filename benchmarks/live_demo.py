"""The whole live stack, rehearsed without network: feed server, supervised updater and miner, a validator's client.

    make live-demo
    python benchmarks/live_demo.py --hours 3 --speed 60

Prices are synthetic. The validator is bittensor 10's own dendrite, in the environment that `make interop` makes; it
asks every prompt of the rulebook. Afterwards the log is checked for parity and scored.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import requests

from ewmalab.forecast.protocol import Prompt
from ewmalab.replay.schedule import schedule
from ewmalab.rulebook import RuleChoice, load_rulebook
from ewmalab.times import iso, parse_time

ROOT = Path(__file__).resolve().parents[1]
FOLDER = Path("live-demo-synthetic")
EWMALAB = [sys.executable, "-m", "ewmalab"]


def main() -> int:
    """Run the rehearsal; return 1 unless every prompt was accepted and every answer could be reproduced."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=3.0, help="simulated hours")
    parser.add_argument("--speed", type=float, default=60.0)
    parser.add_argument("--start", default="2026-10-03T04:00")
    parser.add_argument("--faults", type=float, default=0.0, help="share of feed requests that go wrong")
    parser.add_argument("--interop", type=Path, default=ROOT / ".venv-interop/bin/python")
    parser.add_argument("--validators", type=int, default=2, help="processes that ask: one cannot read so much")
    parser.add_argument("--every", type=int, default=1, help="ask only every n-th prompt")
    options = parser.parse_args()
    if not options.interop.exists():
        print(f"{options.interop}: no environment with bittensor 10; `make interop` makes it", file=sys.stderr)
        return 2
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    keys = make_keys()
    started: list[subprocess.Popen] = []
    try:
        feed, url = start_feed(options.start, options.speed, options.faults)
        started.append(feed)
        live = start_live(url, keys["validator"]["address"])
        started.append(live)
        replies = ask_all(options, url, keys, started)
        end(live)
        print(f"feed: {finished(feed)}")
        later = parse_time(options.start) + round(options.hours * 3600) + 27 * 3600
        feed, url = start_feed(iso(later).replace("Z", ""), 1.0, 0.0)
        started.append(feed)
        return report(replies, url)
    finally:
        for process in reversed(started):
            end(process)


def make_keys() -> dict[str, dict[str, str]]:
    """Make the wallets of a miner and a validator."""
    import bittensor as bt
    from bittensor import sp_core

    keys = {}
    for name in ("miner", "validator"):
        mnemonic = sp_core.Keypair.generate_mnemonic()
        wallet = bt.Wallet(name, "default", str(FOLDER / "wallets"))
        wallet.regenerate_hotkey(mnemonic=mnemonic, suppress=True, overwrite=True)
        keys[name] = {"mnemonic": mnemonic, "address": wallet.hotkey.ss58_address}
    return keys


def start_feed(start: str, speed: float, faults: float) -> tuple[subprocess.Popen, str]:
    """Start a feed server; return it and where it listens."""
    command = [*EWMALAB, "feed", "serve", "--start", start, "--speed", f"{speed:g}x", "--port", "0"]
    process = subprocess.Popen([*command, "--faults", str(faults)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    line = process.stdout.readline()
    url = next(word.rstrip(",") for word in line.split() if word.startswith("http"))
    return process, url


def live_settings(url: str) -> list[str]:
    """Return the options that let live processes use the feed server and the demo's folder."""
    given = {
        "feeds.binance.host": url, "feeds.hyperliquid.host": url, "live.clock": f"{url}/clock",
        "data.cache_dir": FOLDER / "data_cache", "live.state_dir": FOLDER / "state", "live.log_dir": FOLDER / "log",
        "live.port": PORT, "live.monitor_port": MONITOR_PORT, "live.host": "127.0.0.1", "live.wallet": "miner",
        "live.wallet_path": FOLDER / "wallets", "live.spot_interval": "15s",
    }  # fmt: skip
    return [item for key, value in given.items() for item in ("--set", f"{key}={json.dumps(str(value))}"
            if not isinstance(value, int) else f"{key}={value}")]  # fmt: skip


PORT, MONITOR_PORT = 8791, 8792


def start_live(url: str, caller: str) -> subprocess.Popen:
    """Start `ewmalab live` and wait until it is well."""
    command = [*EWMALAB, "live", "--no-chain", "--allow", caller, "--log-level", "WARNING", *live_settings(url)]
    with (FOLDER / "live.log").open("w") as log:
        process = subprocess.Popen(command, stderr=log, stdout=log)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        time.sleep(1)
        try:
            health = requests.get(f"http://127.0.0.1:{MONITOR_PORT}/health", timeout=5).json()
        except (requests.RequestException, ValueError):
            continue
        if health["status"] == "ok":
            print(f"live and well at {health['market_time']}, market time; {len(health['assets'])} assets")
            return process
    end(process)
    raise SystemExit(f"not well after 120 s; see {FOLDER / 'live.log'}")


class Validator:
    """One process of a validator: bittensor 10's dendrite in its own environment."""

    def __init__(self, python: Path, keys: dict[str, dict[str, str]], port: int) -> None:
        command = [str(python), str(ROOT / "tests/interop/validator.py"), "127.0.0.1", str(port)]
        command += [keys["miner"]["address"], keys["validator"]["mnemonic"]]
        quiet = {**os.environ, "BT_NO_PARSE_CLI_ARGS": "1"}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=quiet
        )  # fmt: skip
        self.replies: list[dict] = []
        self.version = threading.Event()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stdout:
            if line.startswith("{"):  # bittensor may have something to say of its own
                reply = json.loads(line)
                if "ready" in reply:
                    print(f"validator: bittensor {reply['ready']}")
                    self.version.set()
                else:
                    self.replies.append(reply)

    def ask(self, prompt: Prompt) -> None:
        """Hand over a prompt."""
        start = iso(prompt.start_time).replace("Z", "+00:00")
        self._tell(
            {
                "competition": prompt.competition, "asset": prompt.asset, "start": prompt.start_time,
                "start_time": start, "time_increment": prompt.time_increment, "time_length": prompt.time_length,
                "num_simulations": prompt.num_simulations,
            }
        )  # fmt: skip

    def _tell(self, what: dict | None) -> None:
        self.process.stdin.write(json.dumps(what) + "\n")
        self.process.stdin.flush()

    def finish(self) -> list[dict]:
        """Return all replies with their verdicts, once all are judged."""
        self._tell(None)
        self.process.wait(600)
        self._reader.join()
        return self.replies


def ask_all(options, url: str, keys, started: list[subprocess.Popen]) -> list[dict]:
    """Let the validators ask every prompt of the rulebook, each at its time."""
    told = requests.get(f"{url}/clock", timeout=5).json()

    def market() -> float:
        return told["began"] + (time.time() - told["real"]) * told["speed"]

    validators = [Validator(options.interop, keys, PORT) for _ in range(options.validators)]
    started += [validator.process for validator in validators]
    for validator in validators:
        validator.version.wait(60)
    rulebook = load_rulebook()
    begin = int(market()) // 60 * 60 + 180
    stop = begin + round(options.hours * 3600)
    prompts = [item.prompt for item in schedule(rulebook, RuleChoice(), begin, stop, which="sent")]
    prompts = prompts[:: options.every]
    print(f"asking {len(prompts)} prompts, start times {iso(begin)} to {iso(stop)}, at {options.speed:g}x")
    for number, prompt in enumerate(prompts):
        while market() < prompt.request_time:
            time.sleep(0.005)
        validators[number % len(validators)].ask(prompt)
    return [reply for validator in validators for reply in validator.finish()]


def report(replies: list[dict], url: str) -> int:
    """Print what came of the prompts; check parity and score."""
    accepted = [r for r in replies if "error" not in r and set(r["verdicts"].values()) == {"CORRECT"}]
    print(f"{len(accepted)} of {len(replies)} answers accepted under the format rules of every date")
    for reply in [r for r in replies if r not in accepted][:5]:
        print(f"  refused: {reply}")
    for length, name in ((86_400, "24h"), (3600, "1h")):
        seconds = [float(r["process_time"]) for r in accepted if r["time_length"] == length]
        if seconds:
            p50, p99 = np.percentile(seconds, [50, 99])
            print(f"  {name}: {len(seconds)} answers, the dendrite's process time: p50 {p50:.3f} s, p99 {p99:.3f} s")
    answers = [json.loads(line) for path in FOLDER.glob("log/answers-*.jsonl") for line in path.open("rb")]
    for length, name in ((86_400, "24h"), (3600, "1h")):
        seconds = [a["seconds"]["total"] for a in answers if a["time_length"] == length]
        if seconds:
            p50, p99 = np.percentile(seconds, [50, 99])
            print(f"  {name}: from the whole request to the last byte handed over: p50 {p50:.3f} s, p99 {p99:.3f} s")
    settings = live_settings(url)
    parity = subprocess.run([*EWMALAB, "check", "parity", *settings], check=False)
    print(flush=True)
    score = subprocess.run([*EWMALAB, "live", "score", "--fetch", *settings], check=False)
    return int(len(accepted) < len(replies) or parity.returncode or score.returncode)


def finished(process: subprocess.Popen) -> str:
    """End a process and return its last line."""
    end(process)
    assert process.stdout is not None
    return process.stdout.read().strip().splitlines()[-1]


def end(process: subprocess.Popen) -> None:
    """End a process that we started."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()


if __name__ == "__main__":
    sys.exit(main())
