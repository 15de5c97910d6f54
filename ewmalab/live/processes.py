"""The live processes: signals, reloading of settings, and the loops around updater and miner."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import Any

import orjson

from ewmalab.errors import ChainError, ConfigError, EwmalabError, StateError
from ewmalab.live import supervisor
from ewmalab.live.clock import Clock, make_clock
from ewmalab.live.feeds import choose_feeds
from ewmalab.live.miner import chain as chains
from ewmalab.live.miner.miner import Miner
from ewmalab.live.status import miner_responds, updater_responds
from ewmalab.live.supervisor import Child
from ewmalab.live.updater.refitter import Refitter, with_newest_fit
from ewmalab.live.updater.updater import Updater
from ewmalab.replay.fits import load_model
from ewmalab.rulebook import load_rulebook
from ewmalab.settings import LoadedSettings
from ewmalab.times import iso

Load = Callable[[], LoadedSettings]
"""Returns the current settings; called again when a process reloads them."""

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
_AWAY_PAUSE = 30.0  # seconds until the chain is queried again
_log = logging.getLogger("ewmalab.updater")


@dataclass(frozen=True, slots=True)
class SavedStates:
    """The states after an update.

    Attributes
    ----------
    newest : dict of asset to int or None
        Label of the newest bar in each state.
    errors : dict of asset to str
        The reason why an asset has no bar.
    """

    newest: dict[str, int | None]
    errors: dict[str, str]


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


def run_live(settings: LoadedSettings, options: Sequence[str]) -> None:
    """Keep an updater and a miner running until signalled.

    Parameters
    ----------
    settings : LoadedSettings
    options : sequence of str
        Command-line options with which both processes load these settings.

    Raises
    ------
    ConfigError, RulebookError, ForecasterError, ChainError
        Raised once here, before any child starts, instead of by children that restart over and over.
    """
    values, rulebook = settings.values.live, load_rulebook()
    clock = make_clock(values.clock)
    chains.make_chain(values, rulebook, chains.load_wallet(values))
    for asset in choose_feeds(settings.values, rulebook, int(clock.now())).feeds:
        load_model(values.forecaster, rulebook.asset(asset), settings)
    command = [sys.executable, "-m", "ewmalab", "live"]
    children = [
        Child("updater", [*command, "updater", *options], lambda: updater_responds(values, clock.speed)),
        Child("miner", [*command, "miner", *options], lambda: miner_responds(values)),
    ]
    reload = Event()
    supervisor.supervise(children, until_signalled(reload.set), reload=reload)


def run_miner(load: Load) -> None:
    """Answer validators until signalled; SIGHUP reloads the settings."""

    def fitted() -> LoadedSettings:
        return with_newest_fit(load())

    settings = fitted()
    live = settings.values.live
    own = chains.load_wallet(live)
    chain = chains.make_chain(live, load_rulebook(), own)
    miner = Miner(settings, own.hotkey.ss58_address, chain, make_clock(live.clock), fitted)
    miner.stop = until_signalled(miner.reconfigure)
    miner.run()


def run_updater(load: Load) -> None:
    """Keep the states of all assets current until signalled; SIGHUP and a new fit reload the settings."""

    def fitted() -> LoadedSettings:
        return with_newest_fit(load())

    settings, reload = fitted(), Event()
    stop = until_signalled(reload.set)
    clock = make_clock(settings.values.live.clock)
    updater = Updater.of(settings, clock)
    with updater.store.writing():
        updater.restore()
        refitter = Refitter(fitted, lambda: {a: f.feed.name for a, f in updater.followers.items()}, clock, reload)
        Thread(target=refitter.run, args=(stop,), daemon=True).start()
        while not stop.is_set():
            updater.run(stop, reload=reload)
            if reload.is_set():
                reload.clear()
                updater = _changed(updater, fitted, clock)


def update_once(settings: LoadedSettings, date: int | None = None) -> SavedStates:
    """Bring the states of all assets up to date once.

    Parameters
    ----------
    settings : LoadedSettings
    date : int, optional
        Build the states as of this time instead of now.

    Raises
    ------
    StateError
        If a state has bars after `date`.
    """
    settings = with_newest_fit(settings)
    clock = make_clock(settings.values.live.clock) if date is None else Clock(date, 0.0, 0.0)
    updater = Updater.of(settings, clock)
    followers = updater.followers
    with updater.store.writing():
        updater.restore()
        for asset, follower in followers.items():
            if date is not None and follower.newest is not None and follower.newest >= date:
                raise StateError(
                    f"{updater.store.root} has bars of {asset} after {iso(date)}: choose an empty --state-dir"
                )
        now = int(clock.now())
        updater.update(now)
        updater.archive(now)
    errors = {asset: f.counts.error for asset, f in followers.items() if f.newest is None}
    return SavedStates({asset: f.newest for asset, f in followers.items()}, errors)


def _changed(updater: Updater, load: Load, clock: Clock) -> Updater:
    """Return an updater with the changed settings, or the old updater if they are unusable."""
    try:
        new = Updater.of(load(), clock)
    except EwmalabError as error:
        _log.error("settings not changed: %s", error)
        return updater
    new.store = updater.store  # whose lock this process holds
    for follower in new.followers.values():
        follower.store = updater.store
    new.restore()
    return new


def allowlists(
    settings: LoadedSettings, stop: Event, every: float | None, say: Callable[[str], None]
) -> Iterator[list[str]]:
    """Yield the addresses of the validators that may call, each time that they have changed.

    Parameters
    ----------
    settings : LoadedSettings
    stop : Event
        Ends the watch.
    every : float, optional
        Seconds between two queries; by default there is a single query.
    say : callable
        Called with a message when the chain cannot be reached, which does not end a watch.

    Raises
    ------
    ChainError
        If there is a single query and the chain cannot be reached.
    """
    rulebook, clock = load_rulebook(), Clock()
    chain = chains.make_chain(settings.values.live, rulebook, None)
    before: list[str] | None = None
    while not stop.is_set():
        try:
            rules = rulebook.at(int(clock.system()))
            found = chains.allowed_ips(chain.neurons(), settings.values.live, rules)
        except ChainError as error:
            if every is None:
                raise
            say(f"{error}; the list is unchanged")
            stop.wait(_AWAY_PAUSE)
            continue
        if found != before:
            yield found
            before = found
        if every is None or stop.wait(every):
            return


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
