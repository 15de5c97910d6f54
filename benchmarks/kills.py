"""Kill processes of the live stack with SIGKILL, again and again, at random moments.

    python benchmarks/kills.py --count 500

On loopback, with synthetic prices, faster than real time: a feed server and `ewmalab live`, which refits in the
background, while a validator asks. Each round kills one or more of supervisor, updater, miner and the process of a fit,
and perhaps kills them again while they start. After each round no process without a supervisor may be left, the killed
ones must be back, and all state files must load. In the end the states must be those of an uninterrupted build, bit for
bit, and all logged answers must be reproduced. Pauses before a restart are shortened, and the children of a restarted
supervisor are forked from it.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from live_stack import LIMIT, ROOT, SETTINGS_FILE, START, Stack, live
from machine import describe

from ewmalab.cli import app
from ewmalab.live import supervisor
from ewmalab.live.audit.probe import Prober, next_prompts
from ewmalab.live.state_store import StateStore
from ewmalab.live.status import read_heartbeat
from ewmalab.market.feeds.make import make_feed
from ewmalab.replay.fits import load_model
from ewmalab.rulebook import load_rulebook
from ewmalab.settings import load_settings
from ewmalab.times import DAY, MINUTE, iso, parse_time

ASSETS = {"BTC": "binance", "GOOGLX": "hyperliquid"}
DAYS = 16  # of history, more than the warm-up
END = 2**40  # a time after all fits
ORPHANS_END = 60.0  # seconds that children of a killed supervisor may take: they finish answers and archive bars
AGAIN = 0.6  # chance that some are killed once more before all have started
SETTINGS = {
    "fit": 'every = "30m"\nhistory = "9d"',
    "live": f'assets = {json.dumps(list(ASSETS))}\nspot_interval = "15s"\nstale_after = "1h"',
}


def main() -> int:
    """Kill; fail unless everything is as if nobody had."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--minutes", type=float, default=120.0, help="end sooner, after this time")
    parser.add_argument("--speed", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="where to keep logs and states; by default nowhere")
    parser.add_argument("--supervise", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.supervise:
        supervise(options.supervise)
        return 0
    print(describe(), flush=True)
    serve = ("-m", "ewmalab", "feed", "serve", "--start", START, "--speed", f"{options.speed:g}x", "--port", "0",
             "--assets", ",".join(ASSETS))  # fmt: skip
    with ExitStack() as held:
        folder = options.folder or Path(held.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(exist_ok=True)
        stack = held.enter_context(live(folder.resolve(), feed=serve, options=("--log-level", "WARNING"), **SETTINGS))
        stack.wait()
        fetch_history(stack)
        kills = Kills(stack, random.Random(options.seed))
        began = time.monotonic()
        kills.run(options.count, options.minutes)
        seconds = time.monotonic() - began
        stack.process.send_signal(signal.SIGTERM)
        stack.process.wait(LIMIT)
        print(f"{kills.killed.total()} kills in {kills.rounds} rounds, {seconds:.0f} s: {dict(kills.killed)}")
        print(f"{kills.answers} of {kills.asked} prompts answered; longest pause between answers {kills.longest:.1f} s")
        print("the others:", ", ".join(f"{count} x {why}" for why, count in kills.refused.most_common(5)))
        left = list(stack.folder.rglob(".tmp*"))
        print(f"unfinished files left: {len(left)}; in quarantine: {len(list(stack.folder.rglob('quarantine/*')))}")
        same = [uninterrupted(stack, asset) for asset in ASSETS]
        parity = subprocess.run([sys.executable, "-m", "ewmalab", "check", "parity"], cwd=stack.folder, check=False)
    return int(not all(same) or bool(parity.returncode) or bool(left))


def supervise(stack: str) -> None:
    """Run the supervisor with short pauses; its children are forked, so that they need not load the libraries again."""
    import ewmalab.live.miner.process
    import ewmalab.live.updater.process  # noqa: F401

    threads = [(task / "comm").read_text() for task in Path("/proc/self/task").iterdir()]
    assert sum("jemalloc" not in name for name in threads) == 1, threads  # a fork copies one thread alone
    supervisor._STEADY, supervisor.FIRST_PAUSE, supervisor._LOOK = 0.0, 0.05, 0.05
    supervisor.subprocess.Popen = Forked
    supervisor.main(stack)


class Forked:
    """A child that runs one of our commands, as `subprocess.Popen` would."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str]) -> None:
        self.returncode: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            code = 1
            try:
                os.environ.clear()
                os.environ.update(env)
                for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                    signal.signal(number, signal.SIG_DFL)
                Path("/proc/self/comm").write_text(command[4])
                app(command[3:], standalone_mode=False)
                code = 0
            except BaseException:  # noqa: BLE001  what Popen's child would print
                traceback.print_exc()
            finally:
                os._exit(code)

    def poll(self) -> int | None:
        """Return the exit code, None while it runs."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.returncode = os.waitstatus_to_exitcode(status) if pid else None
        return self.returncode

    def wait(self, timeout: float = LIMIT) -> None:
        """Wait for its end."""
        end = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > end:
                raise subprocess.TimeoutExpired(str(self.pid), timeout)
            time.sleep(0.01)

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill it."""
        self.send_signal(signal.SIGKILL)


def fetch_history(stack: Stack) -> None:
    """Fetch what a warm-up and fits need beyond a feed's reach."""
    first = iso(parse_time(START) - DAYS * DAY)[:10]
    for asset, feed in ASSETS.items():
        fetch = ["data", "fetch", "--feed", feed, "--assets", asset, "--start", first, "--days", str(DAYS)]
        subprocess.run([sys.executable, "-m", "ewmalab", *fetch], cwd=stack.folder, check=True, capture_output=True)


class Kills:
    """Kills processes, and checks what comes of it."""

    def __init__(self, stack: Stack, dice: random.Random) -> None:
        self.stack, self.dice = stack, dice
        self.killed: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.rounds = self.asked = self.answers = 0
        self.longest = 0.0
        self._answered = time.monotonic()
        command = Path(f"/proc/{stack.process.pid}/cmdline").read_bytes().split(b"\0")
        self._stack = command[-2].decode()

    def run(self, count: int, minutes: float) -> None:
        """Kill until `count` processes were killed or some minutes have passed, while a validator asks."""
        end = time.monotonic() + 60 * minutes
        stop = threading.Event()
        asking = threading.Thread(target=self._ask, args=(stop,))
        asking.start()
        try:
            while self.killed.total() < count and time.monotonic() < end:
                before = self._kill()
                while self.dice.random() < AGAIN and self.killed.total() < count:
                    time.sleep(self.dice.uniform(0, 2))
                    before |= self._kill()
                self._check(before)
                self.rounds += 1
                if self.rounds % 10 == 0:
                    print(f"{self.killed.total()} kills, {self.answers} answers", flush=True)
        finally:
            stop.set()
            asking.join()

    def _kill(self) -> dict[int, str]:
        """Kill some processes; return all that there were before."""
        time.sleep(self.dice.uniform(0, 1))
        family = {pid: name for pid, name in self.stack.family().items() if name != "other"}
        if not family:
            return {}
        chosen = self.dice.sample(sorted(family), min(self.dice.choice((1, 2, 2, 3)), len(family)))
        if self.stack.process.pid in chosen and self.dice.random() < 0.6:  # to start another one takes longest
            chosen.remove(self.stack.process.pid)
        chosen += [pid for pid, name in family.items() if name == "fit" and pid not in chosen]
        for pid in chosen:
            try:
                os.kill(pid, signal.SIGKILL)  # ours: of the session that we started
                self.killed[family[pid]] += 1
            except ProcessLookupError:
                continue
        return {pid: family[pid] for pid in chosen}

    def _check(self, killed: dict[int, str]) -> None:
        if self.stack.process.pid in killed:
            self.stack.process.wait(LIMIT)
            soon(lambda: not self.stack.family(), f"orphans: {self.stack.family()}", ORPHANS_END)
            self._start()
        soon(lambda: self._miner_answers(killed), "no miner answers")
        soon(lambda: self._updater_beats(killed), "no updater has a heartbeat")
        soon(lambda: not self._orphans(), f"orphans: {self._orphans()}")
        for asset in ASSETS:
            state, problems = StateStore(self.stack.folder / "state").load(asset)
            if problems or (state is None):
                raise SystemExit(f"{asset}: the state does not load: {problems}")

    def _start(self) -> None:
        command = [sys.executable, str(ROOT / "benchmarks/kills.py"), "--supervise", self._stack]
        single = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
        with (self.stack.folder / "live.log").open("ab") as log:
            self.stack.process = subprocess.Popen(
                command, cwd=self.stack.folder, env=single, start_new_session=True, stdout=log, stderr=log
            )

    def _miner_answers(self, killed: dict[int, str]) -> bool:
        pid = self.stack.health().get("pid")
        return isinstance(pid, int) and pid not in killed and pid in self.stack.family()

    def _updater_beats(self, killed: dict[int, str]) -> bool:
        pid = (read_heartbeat(self.stack.folder / "state") or {}).get("pid")
        return isinstance(pid, int) and pid not in killed and pid in self.stack.family()

    def _orphans(self) -> dict[int, str]:
        family = self.stack.family()
        return {pid: name for pid, name in family.items() if name != "supervisor" and parent_of(pid) not in family}

    def _ask(self, stop: threading.Event) -> None:
        """Ask one prompt after the other."""
        stack, rulebook, clock = self.stack, load_rulebook(), self.stack.clock()
        prober = Prober(f"http://127.0.0.1:{stack.port}", stack.validator, stack.miner.ss58_address)
        while not stop.wait(0.5):
            prompt = next_prompts(rulebook, self.dice.choice(list(ASSETS)), None, int(clock.now()), 1)[0]
            self.asked += 1
            reply = prober.ask(prompt)
            if not reply.accepted:
                self.refused[next(iter(reply.verdicts.values()))[:60]] += 1
            else:
                self.answers += 1
                self.longest = max(self.longest, time.monotonic() - self._answered)
                self._answered = time.monotonic()


def parent_of(pid: int) -> int:
    """Return the parent's process id; that of the process itself if it has ended."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return pid


def soon(holds, what: str, seconds: float = LIMIT) -> None:
    """Wait until something holds."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            raise SystemExit(what)
        time.sleep(0.05)


def uninterrupted(stack: Stack, asset: str) -> bool:
    """Build an asset's state in one go from the feed's own bars; return whether the saved one is the same."""
    settings, book = load_settings(file=stack.folder / SETTINGS_FILE, environ={}), load_rulebook()
    state, _ = StateStore(stack.folder / "state").load(asset)
    assert state is not None
    fits = [[], *([str(path)] for path in (stack.folder / "fits").iterdir())]
    models = (
        load_model(settings.values.live.forecaster, book.asset(asset), settings.with_flags({"fit.artifacts": fit}), END)
        for fit in fits
    )
    model = next(m for m in models if m.parameters == state.states[m.name].parameters)
    end = state.newest + MINUTE
    bars = make_feed("simulated", settings.values, book).fetch(asset, model.origin(state.newest), end, end)
    built = model.forecaster.dump_state(model.state_of(bars))
    known = state.bars.between(model.origin(state.newest), end)
    same = known.digest() == bars.digest() and state.states[model.name].state == built
    verdict = "the" if same else "NOT the"
    print(f"{asset}: {len(bars)} bars, {state.generation} saves, {len(fits) - 1} fits: {verdict} state of one build")
    return same


if __name__ == "__main__":
    sys.exit(main())
