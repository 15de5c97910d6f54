"""Memory of `ewmalab live` at rest: supervisor, updater and miner, in this checkout and perhaps another.

    python benchmarks/live_memory.py
    python benchmarks/live_memory.py --against ../other-checkout

Each runs by itself on loopback, with synthetic prices of every competing asset, from an empty folder: first after an
installation, when numba has no compiled kernels yet, then with them. It is measured once it is healthy and quiet, and
again after it has answered prompts of every competition. The time from the start to the first accepted answer is
measured too. The proportional set size (PSS) divides a page among the processes that share it, so other programs with
the same libraries lower it; the private part does not depend on them.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from live_stack import LIMIT, ROOT, Stack, live, memory_of, seconds_of
from machine import describe

from ewmalab.live.audit.probe import Prober, next_prompts
from ewmalab.rulebook import load_rulebook

QUIET = 0.02  # processors in use


def main() -> int:
    """Measure; fail if a stack is not healthy, or an answer is not accepted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", type=Path, help="another checkout, measured in the same run")
    parser.add_argument("--forecaster", default="seasonal-har", help="live.forecaster of both")
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
    named = f'forecaster = "{forecaster}"'
    with tempfile.TemporaryDirectory() as folder, live(Path(folder), checkout=checkout, live=named) as stack:
        print(first_answer(stack), flush=True)
        stack.wait()
        yield "healthy", at_rest(stack)
        ask(stack, asks)
        yield "after answers", at_rest(stack)


def first_answer(stack: Stack) -> str:
    """Ask again and again until an answer is accepted; return how long that took since the start."""
    prober = Prober(f"http://127.0.0.1:{stack.port}", stack.validator, stack.miner.ss58_address)
    rulebook, clock = load_rulebook(), stack.clock()
    while not prober.ask(next_prompts(rulebook, "BTC", None, int(clock.now()), 1)[0]).accepted:
        if time.monotonic() - stack.started > LIMIT:
            raise SystemExit("no answer")
        time.sleep(0.2)
    said = (
        "; the log says that the prior serves" if "it uses the prior" in (stack.folder / "live.log").read_text() else ""
    )
    return f"first accepted answer {time.monotonic() - stack.started:.1f} s after the start, on an empty cache{said}"


def ask(stack: Stack, count: int) -> None:
    """Ask for answers of every competition, one at a time."""
    now, rulebook = int(stack.clock().now()), load_rulebook()
    prober = Prober(f"http://127.0.0.1:{stack.port}", stack.validator, stack.miner.ss58_address)
    for name, competition in rulebook.at(now).competitions.items():
        for prompt in next_prompts(rulebook, competition.assets[0], name, now, count):
            if not prober.ask(prompt).accepted:
                raise SystemExit(f"not accepted: {prompt}")


def at_rest(stack: Stack) -> Memory:
    """Wait until nothing happens for ten seconds; return the memory of its processes."""

    def seconds() -> float:
        return sum(map(seconds_of, stack.family()))

    end, before = time.monotonic() + LIMIT, seconds()
    while time.monotonic() < end:
        time.sleep(10)
        now = seconds()
        if now - before < 10 * QUIET:
            break
        before = now
    return Memory({name: memory_of(pid) for pid, name in sorted(stack.family().items())})


if __name__ == "__main__":
    sys.exit(main())
