"""The updater as a process, and a single update."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from threading import Event, Thread

from ewmalab.errors import EwmalabError, StateError
from ewmalab.live.clock import Clock, make_clock
from ewmalab.live.feeds import eras
from ewmalab.live.fit_note import with_newest_fit
from ewmalab.live.housekeeping import keep_house
from ewmalab.live.processes import Load, take_up_rulebook, until_signalled
from ewmalab.live.updater.refitter import Refitter
from ewmalab.live.updater.updater import Updater
from ewmalab.live.updater.webhooks import send_alerts
from ewmalab.settings import LoadedSettings
from ewmalab.times import iso

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


def run_updater(load: Load) -> None:
    """Keep the states of all assets current until signalled; SIGHUP and a new fit reload the settings."""

    def fitted() -> LoadedSettings:
        return with_newest_fit(load())

    settings, reload = fitted(), Event()
    stop = until_signalled(reload.set)
    clock = make_clock(settings.values.live.clock)
    updater = Updater.of(settings, clock)

    def adopt(new: Updater) -> None:
        nonlocal updater  # whose assets and feeds the next fit is made on
        updater = new

    with updater.store.writing():
        updater.restore()
        refitter = Refitter(fitted, lambda: {a: f.feed.name for a, f in updater.followers.items()}, clock, reload)
        updater.fit_error = lambda: refitter.error
        Thread(target=refitter.run, args=(stop,), daemon=True).start()
        Thread(target=keep_house, args=(load, clock, stop), daemon=True).start()
        Thread(target=send_alerts, args=(load, clock, stop), daemon=True).start()
        keep_updating(updater, fitted, stop, reload, adopt)


def keep_updating(
    updater: Updater,
    load: Load,
    stop: Event,
    reload: Event | None = None,
    adopt: Callable[[Updater], None] = lambda _: None,
) -> None:
    """Update until `stop` is set; changed settings, fits, rulebooks and rules are followed.

    Parameters
    ----------
    updater : Updater
        The caller holds its store's lock.
    load : callable
        Returns the current settings.
    stop, reload : Event
        `reload` asks for the settings to be loaded again.
    adopt : callable
        Called with each updater that takes the place of the one before.
    """
    while not stop.is_set():
        updater.run(stop, reload=reload)
        if not stop.is_set():
            if reload is not None:
                reload.clear()
            updater = _changed(updater, load)
            adopt(updater)


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
    with updater.store.writing():
        updater.restore()
        for asset in updater.followers:
            newest = updater.serving(asset).newest
            if date is not None and newest is not None and newest >= date:
                raise StateError(
                    f"{updater.store.root} has bars of {asset} after {iso(date)}: choose an empty --state-dir"
                )
        now = int(clock.now())
        updater.update(now)
        updater.archive(now)
    served = {asset: updater.serving(asset) for asset in updater.followers}
    errors = {asset: f.counts.error for asset, f in served.items() if f.newest is None}
    return SavedStates({asset: f.newest for asset, f in served.items()}, errors)


def _changed(updater: Updater, load: Load) -> Updater:
    """Return an updater with the changed settings and rules, or the old updater if they are unusable."""
    clock = updater.clock
    try:
        take_up_rulebook(_log)
        new = Updater.of(load(), clock, running=True)
    except EwmalabError as error:
        _log.error("settings not changed: %s", error)
        updater.eras = eras(updater.rulebook, clock.now())
        return updater
    new.store = updater.store  # whose lock this process holds
    new.updates, new.missed, new.started = updater.updates, updater.missed, updater.started
    new.fit_error = updater.fit_error
    if new.amendments is not None and updater.amendments is not None:
        new.amendments.lost = updater.amendments.lost
    for follower in new.everyone():
        follower.store = updater.store
    new.restore()
    return new
