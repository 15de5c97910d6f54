"""Two child processes kept running, and systemd kept informed."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Event

log = logging.getLogger("ewmalab.supervisor")

FIRST_PAUSE, MAX_PAUSE = 1.0, 60.0
_STEADY = 300.0  # a child that ran this long begins again with the first pause
_GRACE = 30.0  # seconds that a child gets to end in order
_LOOK = 0.2


@dataclass
class Child:
    """A process to keep running.

    Parameters
    ----------
    name : str
    command : sequence of str
    responds : callable
        Whether the running process does its work; one that does not is killed, and started again.
    """

    name: str
    command: Sequence[str]
    responds: Callable[[], bool] = lambda: True
    process: subprocess.Popen[bytes] | None = None
    _pause: float = FIRST_PAUSE
    _started: float = 0.0
    _due: float = 0.0
    _responded: float = 0.0

    def tend(self, now: float) -> None:
        """Start, watch and restart the process; `now` is a monotonic time."""
        if self.process is None:
            if now >= self._due:
                log.info("starting %s", self.name)
                self.process, self._started, self._responded = subprocess.Popen(self.command), now, now
            return
        code = self.process.poll()
        if code is None:
            return
        if now - self._started > _STEADY:
            self._pause = FIRST_PAUSE
        log.error("%s ended with code %d; again in %.0f s", self.name, code, self._pause)
        self.process, self._due = None, now + self._pause
        self._pause = min(2 * self._pause, MAX_PAUSE)

    def check(self, now: float, patience: float) -> bool:
        """Tell whether the process works; one that has not for `patience` seconds is killed."""
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
        """End the process in order, by force if it does not."""
        self.signal(signal.SIGTERM)
        if self.process is None:
            return
        try:
            self.process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            log.error("%s does not end: killed", self.name)
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
    """Keep children running until `stop` is set; then end them, the last one first.

    Parameters
    ----------
    children : sequence of Child
    stop, reload : Event
        `reload` passes SIGHUP on.
    patience : float
        Seconds that a child may fail to respond.
    check_every : float
        Seconds between two checks; while all respond, systemd's watchdog is told so.
    on_ready : callable, optional
        Called once when all respond for the first time.
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
    """Tell systemd, if it started us, how we are (the protocol of sd_notify(3))."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.sendto(state.encode(), address)
    except OSError as error:
        log.warning("systemd cannot be told %s: %s", state, error)
