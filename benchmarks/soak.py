"""A soak of the whole live stack: feed faults, attacks, reloads and prompts at once, faster than real time.

    python benchmarks/soak.py --minutes 60 --speed 60

On loopback, with synthetic prices: a feed server with every fault (`bad_feed.py`), `ewmalab live`, honest validators
(our own signed client, and with ``--interop`` bittensor 10's dendrite), strangers who attack from other addresses, and
every minute changed settings and a changed rulebook. It ends by itself, and reproduces all logged answers.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import requests
from live_demo import Validator
from live_stack import ROOT, START, Stack, live, seconds_of, written_of
from machine import describe
from strangers import CARELESS, ORIGINAL, attack

from ewmalab.live.audit.probe import Prober, Reply
from ewmalab.replay.schedule import schedule
from ewmalab.report.text.tables import plain_table
from ewmalab.rulebook import RuleChoice, load_rulebook
from ewmalab.times import MINUTE

RULEBOOK = "rulebook.toml"
RELOAD_EVERY = 60.0  # seconds
SAMPLE_EVERY = 10.0
WARM = 0.2  # share of the run after which memory should be flat


def main() -> int:
    """Run the soak; fail if an honest prompt is not answered, an attack is, or an answer cannot be reproduced."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--speed", type=float, default=60.0)
    parser.add_argument("--every", type=int, default=6, help="ask only every n-th prompt of the rulebook")
    parser.add_argument("--interop", type=Path, help="Python with bittensor 10, whose dendrite asks a tenth of them")
    parser.add_argument("--folder", type=Path, help="where to keep logs and states; by default nowhere")
    options = parser.parse_args()
    print(describe(), flush=True)
    if options.folder:
        options.folder.mkdir()
        return soak(options, options.folder.resolve())
    with tempfile.TemporaryDirectory() as folder:
        return soak(options, Path(folder))


def soak(options: argparse.Namespace, folder: Path) -> int:
    """Run everything in a new folder; print the tables."""
    rules = (ROOT / "ewmalab/rulebook" / RULEBOOK).read_text()
    (folder / RULEBOOK).write_text(rules)
    serve = (str(ROOT / "benchmarks/bad_feed.py"), "--start", START, "--speed", str(options.speed))
    with live(
        folder,
        feed=serve,
        environment={"EWMALAB_RULEBOOK": str(folder / RULEBOOK)},
        options=("--allow", CARELESS.ss58_address, "--log-level", "WARNING"),
    ) as stack:
        stack.wait()
        print(f"healthy; {options.minutes:g} minutes begin", flush=True)
        end = time.monotonic() + 60 * options.minutes
        stop, tally = multiprocessing.Event(), multiprocessing.Queue()
        attacker = multiprocessing.get_context("fork").Process(target=attack, args=(stack, stop, tally))
        attacker.start()
        watch = Watch(stack)
        reloads = Reloads(stack, rules)
        threads = [threading.Thread(target=each.run, args=(stop,)) for each in (watch, reloads)]
        for thread in threads:
            thread.start()
        try:
            asked, replies, judged = ask(options, stack, end)
        finally:
            stop.set()
            attacked = tally.get(timeout=60)
            attacker.join()
            for thread in threads:
                thread.join()
        refused = refusals(stack)
    assert stack.feed.stdout
    print(f"feed: {stack.feed.stdout.read().decode().strip()}")
    return report(folder, watch, reloads, asked, replies, judged, attacked, refused)


def ask(options: argparse.Namespace, stack: Stack, end: float) -> tuple[int, list[Reply], list[dict[str, Any]]]:
    """Ask prompts of the rulebook, each at its time, until the end; return how many, and what came."""
    clock, rulebook = stack.clock(), load_rulebook()
    begin = int(clock.now()) // MINUTE * MINUTE + 3 * MINUTE
    until = begin + int((end - time.monotonic()) * options.speed)
    prompts = [s.prompt for s in schedule(rulebook, RuleChoice(), begin, until, which="sent")][:: options.every]
    prober = Prober(f"http://127.0.0.1:{stack.port}", stack.validator, stack.miner.ss58_address, connections=4)
    dendrite = None
    if options.interop:
        keys = {"miner": {"address": stack.miner.ss58_address}, "validator": {"mnemonic": stack.mnemonic}}
        dendrite = Validator(options.interop, keys, stack.port)
        dendrite.version.wait(60)
    asked: list[Future[Reply]] = []
    others = 0
    with ThreadPoolExecutor(4) as pool:
        for number, prompt in enumerate(prompts):
            while (left := (prompt.request_time - clock.now()) / options.speed) > 0:
                time.sleep(min(left, 1.0))
            if dendrite is not None and number % 10 == 0:
                dendrite.ask(prompt)
                others += 1
            else:
                asked.append(pool.submit(prober.ask, prompt))
        replies = [future.result() for future in asked]
    return len(asked) + others, replies, dendrite.finish() if dendrite else []


@dataclass
class Watch:
    """Samples memory, open files and processor time of the stack's processes."""

    stack: Stack
    rows: dict[str, list[tuple[float, float, int, float]]] = field(default_factory=dict)
    health: Counter[str] = field(default_factory=Counter)
    problems: Counter[str] = field(default_factory=Counter)

    def run(self, stop: Any) -> None:
        """Sample until `stop` is set; print a line every five minutes."""
        began = time.monotonic()
        printed = 0.0
        while not stop.is_set():
            now = time.monotonic() - began
            for pid, name in self.stack.family().items():
                with suppress(OSError, KeyError):
                    files = len(list(Path(f"/proc/{pid}/fd").iterdir()))
                    self.rows.setdefault(f"{name} {pid}", []).append((now, written_of(pid), files, seconds_of(pid)))
            health = self.stack.health()
            self.health[health["status"]] += 1
            self.problems.update({re.sub(r"[\d.,:TZ-]+", "#", text) for text in health.get("problems", [])})
            if now - printed >= 300:
                printed = now
                told = (f"{name} {rows[-1][1]:.0f} MB {rows[-1][2]} files" for name, rows in sorted(self.rows.items()))
                print(f"{now / 60:.0f} min: {', '.join(told)}", flush=True)
            stop.wait(SAMPLE_EVERY)

    def table(self) -> str:
        """Return written memory (MB) and files over the run, by process."""
        out = []
        for name, rows in sorted(self.rows.items()):
            seen = np.array(rows)
            warm = seen[seen[:, 0] >= WARM * seen[-1, 0]]
            slope = np.polyfit(warm[:, 0] / 3600, warm[:, 1], 1)[0] if len(warm) > 2 else float("nan")
            quarter = max(1, len(warm) // 4)
            out.append(
                (name, f"{(seen[-1, 0] - seen[0, 0]) / 60:.0f}", f"{seen[0, 1]:.0f}",
                 f"{np.median(warm[:quarter, 1]):.0f}", f"{np.median(warm[-quarter:, 1]):.0f}",
                 f"{seen[:, 1].max():.0f}", f"{slope:+.1f}", f"{np.median(warm[:quarter, 2]):.0f}",
                 f"{np.median(warm[-quarter:, 2]):.0f}", f"{seen[:, 2].max():.0f}",
                 f"{(seen[-1, 3] - seen[0, 3]) / max(seen[-1, 0] - seen[0, 0], 1):.2f}")
            )  # fmt: skip
        head = ("process", "min", "MB at first", "2nd fifth", "last fifth", "most", "MB/h", "files 2nd fifth",
                "last fifth", "most", "processors")  # fmt: skip
        return plain_table(head, out)


@dataclass
class Reloads:
    """Changes settings and rulebook every minute; every fifth time, the settings are unusable."""

    stack: Stack
    rules: str
    count: int = 0

    def run(self, stop: Any) -> None:
        """Change them until `stop` is set."""
        while not stop.wait(RELOAD_EVERY):
            self.count += 1
            scale = "-1" if self.count % 5 == 0 else f"{1 + 0.01 * (self.count % 4)}"
            self.stack.write_settings(seasonal_har=f"volatility_scale = {scale}")
            version = re.sub(r'^version = "(.*)"', rf'version = "\1-{self.count}"', self.rules, flags=re.MULTILINE)
            (self.stack.folder / RULEBOOK).write_text(version)
            os.kill(self.stack.process.pid, signal.SIGHUP)
        self.stack.write_settings()


def refusals(stack: Stack) -> dict[str, int]:
    """Return the miner's own count of refused requests, by kind."""
    text = requests.get(f"http://127.0.0.1:{stack.monitor_port}/metrics", timeout=5).text
    return {kind: int(float(n)) for kind, n in re.findall(r'^ewmalab_refused_total\{kind="(\w+)"\} (\S+)', text, re.M)}


def report(
    folder: Path,
    watch: Watch,
    reloads: Reloads,
    asked: int,
    replies: list[Reply],
    judged: list[dict[str, Any]],
    attacked: dict[str, Counter[str]],
    refused: dict[str, int],
) -> int:
    """Print the tables; return 1 if anything is not as it should be."""
    accepted = [r for r in replies if r.accepted]
    good = [r for r in judged if set(r.get("verdicts", {"": ""}).values()) == {"CORRECT"}]
    print(f"honest validators: {asked} prompts, {len(accepted) + len(good)} answered and accepted "
          f"({len(good)} asked by bittensor 10); health {dict(watch.health)}")  # fmt: skip
    for problem, count in watch.problems.most_common(6):
        print(f"  {count} x {problem[:100]}")
    for reply in [r for r in replies if not r.accepted][:5]:
        print(f"  not accepted: {reply.prompt} {reply.status} {reply.seconds:.2f} s {set(reply.verdicts.values())}")
    for one in [r for r in judged if r not in good][:5]:
        print(f"  not accepted: {one}")
    for length, name in ((86_400, "24h"), (3600, "1h")):
        seconds = [r.seconds for r in accepted if r.prompt.time_length == length]
        if seconds:
            p50, p99, most = np.percentile(seconds, [50, 99, 100])
            print(f"  {name}: {len(seconds)} answers, from sending to the last byte: p50 {p50:.3f} s, p99 {p99:.3f} s, "
                  f"most {most:.3f} s")  # fmt: skip
    log = [json.loads(line) for path in folder.glob("live_log/answers-*.jsonl") for line in path.open("rb")]
    for length, name in ((86_400, "24h"), (3600, "1h")):
        p50, p99, most = np.percentile(
            [a["seconds"]["total"] for a in log if a["time_length"] == length], [50, 99, 100]
        )
        print(f"  {name}: from the whole request to the last byte handed over: p50 {p50:.3f} s, p99 {p99:.3f} s, "
              f"most {most:.3f} s")  # fmt: skip
    print(f"{reloads.count} reloads of settings and rulebook")
    print(plain_table(("attack", "sent", "results"), [
        (kind, str(results.total()), ", ".join(f"{n} x {what}" for what, n in results.most_common()))
        for kind, results in sorted(attacked.items())
    ]))  # fmt: skip
    print("the miner's own count of refusals:", ", ".join(f"{kind} {n}" for kind, n in sorted(refused.items())))
    print(watch.table(), flush=True)
    messages = (folder / "live.log").read_text()
    wrong = sorted(set(re.findall(r"^(?:Traceback|.* (?:killed|exited with).*)$", messages, re.MULTILINE)))
    print(
        f"live.log: {messages.count('Traceback')} tracebacks, {messages.count(' ERROR ')} errors {wrong[:3]}",
        flush=True,
    )
    parity = subprocess.run([sys.executable, "-m", "ewmalab", "check", "parity"], cwd=folder, check=False,
                            env=os.environ | {"PYTHONPATH": str(ROOT)})  # fmt: skip
    bad = [
        f"{kind}: {what}"
        for kind, found in attacked.items()
        for what in found
        if what[:1] in "25h" and kind != ORIGINAL
    ]
    for one in bad:
        print(f"not refused: {one}")
    return int(bool(bad or wrong or parity.returncode) or len(accepted) + len(good) < asked)


if __name__ == "__main__":
    sys.exit(main())
