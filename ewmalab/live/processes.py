"""What live processes share: logging, signals, and options. It loads nothing heavy, since a supervisor uses it."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

import orjson

from ewmalab.errors import ConfigError, StateError

if TYPE_CHECKING:
    from ewmalab.settings import LoadedSettings
    from ewmalab.settings.schema import LiveSettings

Load = Callable[[], "LoadedSettings"]
"""Returns the current settings; called again when a process reloads them."""

PASSWORD = "EWMALAB_HOTKEY_PASSWORD"
"""Environment variable with the password of an encrypted hotkey."""

SUPERVISOR = "EWMALAB_SUPERVISOR"
"""Environment variable that names the supervisor of a process: its process id and its start."""

RESTARTS = "EWMALAB_RESTARTS"
"""Environment variable with the number of times that the supervisor has restarted a process."""

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
_PR_SET_PDEATHSIG = 1
_MESSAGE_FILE = 10_000_000  # bytes


def parse_level(text: str) -> str:
    """Return the name of a logging level.

    Raises
    ------
    ConfigError
        If there is no such level.
    """
    if text.upper() not in LEVELS:
        raise ConfigError(f"{text!r} is not one of {', '.join(LEVELS)}")
    return text.upper()


def start_logging(level: str, path: Path | None = None, files: int = 0) -> None:
    """Log to standard error, or to files of 10 MB that are rotated.

    Parameters
    ----------
    level : str
    path : Path, optional
        The newest file.
    files : int
        Number of files; 0 logs to standard error.
    """
    form = "%(asctime)s %(levelname)s %(name)s: %(message)s"
    handler: logging.Handler = logging.StreamHandler(sys.stderr)
    if path is not None and files:
        from logging.handlers import RotatingFileHandler

        path.parent.mkdir(parents=True, exist_ok=True)
        handler = RotatingFileHandler(path, maxBytes=_MESSAGE_FILE, backupCount=max(files - 1, 1), encoding="utf-8")
    logging.basicConfig(level=parse_level(level), format=form, handlers=[handler], force=True)


def log_messages(name: str, level: str, live: LiveSettings) -> None:
    """Log the messages of a process where the settings say."""
    start_logging(level, live.log_dir / "messages" / f"{name}.log", live.message_files)


@dataclass(frozen=True, slots=True)
class Supervisor:
    """The supervisor of a process.

    Attributes
    ----------
    pid : int
    since : int
        Start, seconds since 1970-01-01 UTC.
    """

    pid: int
    since: int

    def __str__(self) -> str:
        return f"{self.pid} {self.since}"


def own_supervisor() -> Supervisor | None:
    """Return the supervisor of this process, None if it has none."""
    words = os.environ.get(SUPERVISOR, "").split()
    return Supervisor(int(words[0]), int(words[1])) if len(words) == 2 and all(map(str.isdigit, words)) else None


def own_restarts() -> int:
    """Return how often the supervisor has restarted this process."""
    text = os.environ.get(RESTARTS, "")
    return int(text) if text.isdigit() else 0


def end_with(parent: int) -> None:
    """Let this process end when its parent does, however that ends.

    The kernel sends SIGTERM then, so that answers are finished and bars archived; only Linux can.

    Raises
    ------
    StateError
        If the parent has ended already.
    """
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # checked last: it may have ended before the call
        raise StateError(f"process {parent}, which started this one, has ended: start `ewmalab live` again")


def end_with_supervisor() -> None:
    """Let this process end with its supervisor, if it has one."""
    supervisor = own_supervisor()
    if supervisor is not None:
        end_with(supervisor.pid)


def until_signalled(on_hangup: Callable[[], None] | None = None) -> Event:
    """Return an event that SIGTERM and SIGINT set; SIGHUP calls `on_hangup`."""
    stop = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    if on_hangup is not None and hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, lambda *_: on_hangup())
    return stop


def take_up_rulebook(log: logging.Logger) -> None:
    """Read the rulebook's file again, if it has changed; an unusable one is reported, and the old rules stay."""
    from ewmalab.errors import RulebookError
    from ewmalab.rulebook import load_rulebook, reload_rulebook

    try:
        if reload_rulebook():
            log.info("rulebook %s taken up", load_rulebook().version)
    except RulebookError as error:
        log.error("rulebook not changed: %s", error)


def live_flags(**options: Any) -> dict[str, Any]:
    """Return the ``live.*`` settings for options of the same name, without None and empty lists.

    Examples
    --------
    >>> live_flags(port=8091, update_interval="60", assets="btc,eth", host=None, no_chain=True)
    {'live.port': 8091, 'live.update_interval': '60s', 'live.assets': ['BTC', 'ETH'], 'live.chain': False}
    """
    if options.get("assets") is not None:
        options["assets"] = [asset.strip().upper() for asset in options["assets"].split(",") if asset.strip()]
    if (options.get("update_interval") or "").isdigit():
        options["update_interval"] += "s"
    if options.pop("no_chain", False):
        options["chain"] = False
    given = {key: str(value) if isinstance(value, Path) else value for key, value in options.items()}
    return {f"live.{key}": value for key, value in given.items() if value not in (None, [], ())}


def options_of(flags: Mapping[str, Any]) -> list[str]:
    """Return command-line options that set what `live_flags` returned.

    Examples
    --------
    >>> options_of({"live.port": 8091, "live.wallet": "miner"})
    ['--set', 'live.port=8091', '--set', 'live.wallet="miner"']
    """
    return [word for key, value in flags.items() for word in ("--set", f"{key}={orjson.dumps(value).decode()}")]
