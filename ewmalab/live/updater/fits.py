"""Fits in the background: a process of its own makes the new one, a note names it, and all take it up at once."""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

import orjson

from ewmalab.atomic_files import write_atomic
from ewmalab.errors import EwmalabError, ForecasterError
from ewmalab.forecast.seasonal_har.artifact import read_artifact
from ewmalab.forecast.seasonal_har.refit import boundary, refit
from ewmalab.live.clock import Clock
from ewmalab.market.cache import local_cache
from ewmalab.replay.fits import refitted
from ewmalab.rulebook import load_rulebook
from ewmalab.settings import LoadedSettings
from ewmalab.times import MINUTE, iso

NOTE = "fit.json"
"""In the state folder: which artifact is in force, and until when it has seen bars."""
_RETRY = 10 * MINUTE

log = logging.getLogger("ewmalab.updater")


def read_note(folder: Path) -> dict[str, Any] | None:
    """Return what the newest fit left, None if there is none or nothing can be made of it: a new one is due then."""
    try:
        note = orjson.loads((folder / NOTE).read_bytes())
        if not (isinstance(note["end"], int) and isinstance(note["artifact"], str)):
            return None
        if note["artifact"]:
            read_artifact(note["artifact"])
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError, ForecasterError):
        return None
    return note  # type: ignore[no-any-return]


def with_newest_fit(settings: LoadedSettings) -> LoadedSettings:
    """Return settings that name the newest fit, where the live forecaster is fitted along the way."""
    if refitted(settings.values.live.forecaster, settings) is None:
        return settings
    note = read_note(settings.values.live.state_dir)
    if note is None or not note["artifact"]:
        return settings
    return settings.with_flags({"seasonal_har.artifact": note["artifact"]})


def refit_now(settings: LoadedSettings, feeds: Mapping[str, str], end: int) -> None:
    """Fit on the cached bars of the past, and leave a note of it; the work of the process in the background.

    Parameters
    ----------
    settings : LoadedSettings
    feeds : mapping of asset to str
        Folder of the cache that its bars are in.
    end : int
        The fit's present.
    """
    own = refitted(settings.values.live.forecaster, settings)
    assert own is not None
    cache, rulebook = local_cache(settings.values.data.cache_dir), load_rulebook()
    bars = {
        asset: cache.read(feed, asset, end - own.history, end)
        for asset, feed in feeds.items()
        if not own.assets or asset in own.assets
    }
    path = refit(bars, rulebook, own, end=end, feed=", ".join(dict.fromkeys(feeds.values())))
    note = {"artifact": str(path.absolute()) if path else "", "end": end}
    write_atomic(settings.values.live.state_dir / NOTE, orjson.dumps(note))


@dataclass
class Refitter:
    """Makes a new fit whenever one is due.

    Parameters
    ----------
    load : callable
        Returns the present settings.
    feeds : callable
        Returns, by asset, the folder of the cache that its bars are in.
    clock : Clock
    fitted : Event
        Set when there is a new fit.
    """

    load: Callable[[], LoadedSettings]
    feeds: Callable[[], Mapping[str, str]]
    clock: Clock
    fitted: Event

    def run(self, stop: Event) -> None:
        """Fit when due until `stop` is set; a fit that fails is tried again."""
        while not stop.is_set():
            try:
                again = self.step(stop)
            except (EwmalabError, OSError) as error:
                log.error("no fit: %s", error)
                again = self.clock.now() + _RETRY
            self.clock.wait(again, stop)

    def step(self, stop: Event) -> float:
        """Fit if one is due; return when to look again."""
        now = self.clock.now()
        settings = self.load()
        own = refitted(settings.values.live.forecaster, settings)
        if own is None:
            return now + _RETRY
        due = boundary(int(now), own.refit)
        note = read_note(settings.values.live.state_dir)
        if note is None or note["end"] < due:
            log.info("fitting on bars closed by %s", iso(due))
            child = multiprocessing.get_context("spawn").Process(
                target=refit_now, args=(settings, dict(self.feeds()), due), daemon=True
            )
            child.start()
            while child.is_alive() and not stop.is_set():
                child.join(0.2)
            if stop.is_set():
                child.terminate()
                return now
            note = read_note(settings.values.live.state_dir)
            if child.exitcode or note is None or note["end"] < due:
                log.error("the fit failed (code %s): the one before stays in force", child.exitcode)
                return now + _RETRY
            log.info("fitted: %s", note["artifact"] or "too few bars, forecasts go on without a fit")
            self.fitted.set()
        return due + own.refit + 5.0
