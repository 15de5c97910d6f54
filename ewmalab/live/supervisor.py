"""A supervisor that keeps child processes running and reports to systemd.

As a program, ``python -m ewmalab.live.supervisor``, it keeps an updater and a miner running. It loads nothing heavy.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event

from ewmalab.live.processes import PASSWORD, RESTARTS, SUPERVISOR, Supervisor, start_logging, until_signalled
from ewmalab.live.status import miner_responds, updater_responds

log = logging.getLogger("ewmalab.supervisor")

FIRST_PAUSE, MAX_PAUSE = 1.0, 60.0
_STEADY = 300.0  # seconds after which the pause before a restart is reset to the first
_GRACE = 30.0  # seconds that a child gets to shut down
_LOOK = 0.2  # seconds between two checks for ended children

# Set for the children unless the user has. One malloc arena instead of one per thread saves 10 MB in each, and answers
# take no longer. The pool that pyarrow otherwise reserves takes 22 MB of the updater, for half a megabyte in use.
_MEMORY = {"MALLOC_ARENA_MAX": "1", "ARROW_DEFAULT_MEMORY_POOL": "system"}


@dataclass
class Child:
    """A process to keep running.

    Parameters
    ----------
    name : str
    command : sequence of str
    responds : callable
        Returns whether the running process works; if not, it is killed and restarted.
    environment : mapping, optional
        Its environment variables; by default those of this process.
    """

    name: str
    command: Sequence[str]
    responds: Callable[[], bool] = lambda: True
    environment: Mapping[str, str] | None = None
    process: subprocess.Popen[bytes] | None = None
    _pause: float = FIRST_PAUSE
    _started: float = 0.0
    _due: float = 0.0
    _responded: float = 0.0
    _starts: int = 0

    def tend(self, now: float) -> None:
        """Start, watch and restart the process; `now` is a monotonic time."""
        if self.process is None:
            if now >= self._due:
                log.info("starting %s", self.name)
                environment = os.environ if self.environment is None else self.environment
                restarts = {RESTARTS: str(self._starts)}
                self.process = subprocess.Popen(self.command, env={**environment, **restarts})
                self._starts += 1
                self._started = self._responded = now
            return
        code = self.process.poll()
        if code is None:
            return
        if now - self._started > _STEADY:
            self._pause = FIRST_PAUSE
        log.error("%s exited with code %d; restart in %.0f s", self.name, code, self._pause)
        self.process, self._due = None, now + self._pause
        self._pause = min(2 * self._pause, MAX_PAUSE)

    def check(self, now: float, patience: float) -> bool:
        """Return whether the process works; kill it if it has not for `patience` seconds."""
        if self.process is None:
            return False
        if self.responds():
            self._responded = now
            return True
        if now - self._responded > patience:
            log.error("%s does not respond: killed", self.name)
            self.process.kill()
        return False

    def signal(self, number: int) -> None:
        """Pass a signal on."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)

    def end(self) -> None:
        """Shut the process down, by force after a grace period."""
        self.signal(signal.SIGTERM)
        if self.process is None:
            return
        try:
            self.process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            log.error("%s does not exit: killed", self.name)
            self.process.kill()
            self.process.wait()


def supervise(
    children: Sequence[Child],
    stop: Event,
    *,
    reload: Event | None = None,
    patience: float = 180.0,
    check_every: float = 5.0,
    on_ready: Callable[[], None] | None = None,
) -> None:
    """Keep children running until `stop` is set; then shut them down, last first.

    Parameters
    ----------
    children : sequence of Child
    stop, reload : Event
        `reload` passes SIGHUP on.
    patience : float
        Seconds that a child may fail to respond.
    check_every : float
        Seconds between two checks; while all children respond, each check notifies systemd's watchdog.
    on_ready : callable, optional
        Called once, when all children first respond.
    """
    ready, checked = False, 0.0
    try:
        while not stop.wait(_LOOK):
            now = time.monotonic()
            for child in children:
                child.tend(now)
            if reload is not None and reload.is_set():
                reload.clear()
                for child in children:
                    child.signal(signal.SIGHUP)
            if now - checked >= check_every:
                checked = now
                working = [child.check(now, patience) for child in children]
                if all(working):
                    notify("WATCHDOG=1")
                    if not ready:
                        ready = True
                        notify("READY=1")
                        log.info("all children respond")
                        if on_ready:
                            on_ready()
    finally:
        notify("STOPPING=1")
        for child in reversed(children):
            child.end()


def notify(state: str) -> None:
    """Send a state to systemd, if it started this process (protocol of sd_notify(3))."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.sendto(state.encode(), address)
    except OSError as error:
        log.warning("systemd cannot be notified of %s: %s", state, error)


@dataclass(frozen=True)
class Stack:
    """What the supervisor of an updater and its miners needs to know.

    Attributes
    ----------
    options : tuple of str
        Command-line options of both.
    state_dir : str
        Folder of the updater's heartbeat.
    miners : tuple of (str, str, int)
        Name of each miner, empty if it is the only one, and where it answers ``/health``.
    speed : float
        Market seconds per real second.
    log_level : str
    messages : str
        File of the supervisor's own messages.
    message_files : int
        0: standard error.
    """

    options: tuple[str, ...]
    state_dir: str
    miners: tuple[tuple[str, str, int], ...]
    speed: float
    log_level: str
    messages: str = ""
    message_files: int = 0

    def children(self) -> list[Child]:
        """Return the processes to keep running."""
        command = [sys.executable, "-m", "ewmalab", "live"]
        options = ["--log-level", self.log_level, *self.options]
        keyless = {name: value for name, value in os.environ.items() if not name.startswith((PASSWORD, "BT_PW_"))}
        return [
            Child(
                "updater",
                [*command, "updater", *options],
                lambda: updater_responds(Path(self.state_dir), self.speed),
                keyless,
            ),
            *(self._miner(*miner, [*command, "miner", *options]) for miner in self.miners),
        ]

    def _miner(self, name: str, host: str, port: int, command: list[str]) -> Child:
        named = ["--set", f"live.miner={json.dumps(name)}"] if name else []
        return Child(f"miner {name}".strip(), [*command, *named], lambda: miner_responds(host, port))


def main(argument: str) -> None:
    """Keep the processes of a `Stack`, given as JSON, running until signalled."""
    stack = Stack(**json.loads(argument))
    start_logging(stack.log_level, Path(stack.messages), stack.message_files)
    for name, value in _MEMORY.items():
        os.environ.setdefault(name, value)
    os.environ[SUPERVISOR] = str(Supervisor(os.getpid(), int(time.time())))  # noqa: TID251  no market's time
    reload = Event()
    supervise(stack.children(), until_signalled(reload.set), reload=reload)


if __name__ == "__main__":
    main(sys.argv[1])
