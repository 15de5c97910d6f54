"""Answers to many validators at once: our server, and the stock axon of bittensor 10 in the same run.

    make interop
    python benchmarks/serving.py

64 callers at once ask our miner for 1000 x 289 prices (different prompts: nothing is shared), then 200 do, of the miner
and of the stock axon, whose paths are made in advance. Each server is a process of its own; so are the callers.
"""

from __future__ import annotations

import argparse
import json
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path

from machine import describe

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))


@contextmanager
def our_miner():
    """Run a miner on a loopback port; yields its URL, hotkey and market time."""
    process = subprocess.Popen(
        [sys.executable, __file__, "--serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        told = json.loads(process.stdout.readline())
        yield told["url"], told["hotkey"], told["now"]
    finally:
        process.stdin.close()
        process.wait(60)


@contextmanager
def stock_axon(python: Path, port: int, mnemonic: str):
    """Run the stock axon; yields its URL."""
    command = [str(python), str(ROOT / "tests/interop/stock_axon.py"), str(port), mnemonic]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env={"BT_NO_PARSE_CLI_ARGS": "1", "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    try:
        while "serving" not in process.stdout.readline():
            if process.poll() is not None:
                raise SystemExit("the stock axon did not start")
        for _ in range(200):  # its server starts on a thread
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.stdin.close()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()


def serve() -> None:
    """Be the miner of `our_miner`."""
    from live_rig import MINER, rig

    with tempfile.TemporaryDirectory() as folder, rig(Path(folder), assets=("BTC", "ETH")) as running:
        print(json.dumps({"url": running.url, "hotkey": MINER.ss58_address, "now": running.clock.now()}), flush=True)
        sys.stdin.read()


def ask(url: str, hotkey: str, now: float, count: int, *, judge: bool, timeout: float = 400.0) -> dict:
    """Send prompts all at once; return counts and latencies."""
    from live_rig import VALIDATOR

    from ewmalab.forecast.protocol import Prompt
    from ewmalab.live.audit.probe import Prober, summarise

    first = int(now) // 60 * 60 + 180
    prompts = [Prompt(first + 60 * (i // 2 % 10), "crypto-24h", ("BTC", "ETH")[i % 2], 0, 300, 86_400, 1000 - i // 20)
               for i in range(count)]  # fmt: skip
    prober = Prober(url, VALIDATOR, hotkey, connections=count)
    if judge:
        return summarise(prober.load(prompts, timeout=timeout))
    from concurrent.futures import ThreadPoolExecutor

    import numpy as np

    with ThreadPoolExecutor(count) as pool:
        came = list(pool.map(lambda prompt: prober.send(prompt, timeout=timeout), prompts))
    seconds = [s for status, s, _ in came if status == 200]
    return {
        "prompts": count,
        "accepted": len(seconds),
        "seconds": {"p50": float(np.percentile(seconds, 50)) if seconds else None},
    }


def main() -> None:
    """Run all and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--callers", type=int, default=200, help="at once, of the comparison")
    parser.add_argument("--interop", type=Path, default=ROOT / ".venv-interop/bin/python")
    options = parser.parse_args()
    if options.serve:
        return serve()
    print(describe())
    for _ in range(options.rounds):
        with our_miner() as (url, hotkey, now):
            result = ask(url, hotkey, now, 64, judge=True)
            print(f"64 at once: {result['accepted']} of 64 accepted, {result['seconds']}")
            time.sleep(1)
            ours = ask(url, hotkey, now, options.callers, judge=False)
        print(f"{options.callers} at once, ours: {ours['accepted']} answered, p50 {ours['seconds']['p50']:.3f} s")
    from bittensor import sp_core

    mnemonic = sp_core.Keypair.generate_mnemonic()
    with stock_axon(options.interop, 8793, mnemonic) as url:
        key = sp_core.Keypair.create_from_mnemonic(mnemonic)
        stock = ask(url, key.ss58_address, time.time(), options.callers, judge=False)
    p50 = stock["seconds"]["p50"]
    print(f"{options.callers} at once, stock axon: {stock['accepted']} answered, p50 {p50 and round(p50, 3)} s")
    if p50:
        print(f"ratio of p50: {p50 / ours['seconds']['p50']:.0f}")
    return None


if __name__ == "__main__":
    main()
