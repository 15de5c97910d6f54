"""What live processes share: logging, signals, and options. It loads nothing heavy, since a supervisor uses it."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

import orjson

from ewmalab.errors import ConfigError

if TYPE_CHECKING:
    from ewmalab.settings import LoadedSettings

Load = Callable[[], "LoadedSettings"]
"""Returns the current settings; called again when a process reloads them."""

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


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


def start_logging(level: str) -> None:
    """Log to standard error."""
    form = "%(asctime)s %(levelname)s %(name)s: %(message)s"
    logging.basicConfig(level=parse_level(level), format=form, stream=sys.stderr, force=True)


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
