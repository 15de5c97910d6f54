"""Refit the live forecaster in the background.

A separate process computes each fit and writes a note that names the artifact. Updater and miner read the note and
adopt the fit together.
"""

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
from ewmalab.errors import EwmalabError
from ewmalab.live.clock import Clock
from ewmalab.live.fit_note import NOTE, read_note
from ewmalab.live.housekeeping import note_fit
from ewmalab.live.processes import end_with
from ewmalab.market.cache import local_cache
from ewmalab.replay.artifacts import write_artifact
from ewmalab.replay.fits import boundary, refit, refitted
from ewmalab.rulebook import load_rulebook
from ewmalab.settings import LoadedSettings
from ewmalab.times import MINUTE, iso

_RETRY = 10 * MINUTE
_AFTER_DUE = 5.0  # seconds after a boundary at which to look, so as not to look just before it

log = logging.getLogger("ewmalab.updater")


def refit_now(settings: LoadedSettings, feeds: Mapping[str, str], end: int) -> None:
    """Fit on the cached bars before `end` and write the note; the background process runs this.

    Parameters
    ----------
    settings : LoadedSettings
    feeds : mapping of asset to str
        Name of the feed whose cached bars are used.
    end : int
        End of the fit, seconds since 1970-01-01 UTC.
    """
    if (parent := multiprocessing.parent_process()) is not None and parent.pid is not None:
        end_with(parent.pid)
    own, live = settings.values.fit, settings.values.live
    cache, rulebook = local_cache(settings.values.data.cache_dir), load_rulebook()
    bars = {
        asset: cache.read(feed, asset, end - own.history, end)
        for asset, feed in feeds.items()
        if not own.assets or asset in own.assets
    }
    feed = ", ".join(dict.fromkeys(feeds.values()))
    made = refit(live.forecaster, bars, settings, rulebook, end=end, feed=feed)
    path = write_artifact(made, Path(own.folder)).absolute() if made else ""
    if made:
        note_fit(live.state_dir, str(path), end)
    note = {"forecaster": live.forecaster.partition("@")[0], "artifact": str(path), "end": end}
    write_atomic(live.state_dir / NOTE, orjson.dumps(note))


@dataclass
class Refitter:
    """Make a new fit whenever one is due.

    Parameters
    ----------
    load : callable
        Returns the current settings.
    feeds : callable
        Returns, by asset, the name of the feed whose cached bars are used.
    clock : Clock
    fitted : Event
        Set after each new fit.

    Attributes
    ----------
    error : str
        Why the last fit failed; empty if it did not.
    """

    load: Callable[[], LoadedSettings]
    feeds: Callable[[], Mapping[str, str]]
    clock: Clock
    fitted: Event
    error: str = ""

    def run(self, stop: Event) -> None:
        """Fit when due until `stop` is set; retry ten minutes after a failure."""
        while not stop.is_set():
            try:
                again = self.step(stop)
            except Exception as error:  # noqa: BLE001  nothing may end this thread
                self.error = str(error) if isinstance(error, EwmalabError) else f"{type(error).__name__}: {error}"
                log.error("fit failed: %s", self.error)
                again = self.clock.now() + _RETRY
            self.clock.wait(again, stop)

    def step(self, stop: Event) -> float:
        """Fit if one is due; return the market time of the next check."""
        now = self.clock.now()
        settings = self.load()
        live, every = settings.values.live, settings.values.fit.every
        if not refitted(live.forecaster, settings, load_rulebook()):
            self.error = ""  # settings that could not be read are as they were
            return now + _RETRY
        due = boundary(int(now), every)
        if _note_since(settings, due) or self._fit(settings, due, stop):
            self.error = ""
            return due + every + _AFTER_DUE
        return now + _RETRY

    def _fit(self, settings: LoadedSettings, due: int, stop: Event) -> bool:
        """Fit in a separate process; return whether it succeeded."""
        log.info("fitting on bars closed by %s", iso(due))
        child = multiprocessing.get_context("spawn").Process(
            target=refit_now, args=(settings, dict(self.feeds()), due), daemon=True
        )
        child.start()
        while child.is_alive() and not stop.is_set():
            child.join(0.2)
        if stop.is_set():
            child.terminate()
            return False
        note = _note_since(settings, due)
        if child.exitcode or note is None:
            self.error = f"process ended with code {child.exitcode}"
            log.error("fit failed (code %s): the previous fit stays in use", child.exitcode)
            return False
        log.info("fitted: %s", note["artifact"] or "too few bars; forecasts continue with the prior, or without a fit")
        self.fitted.set()
        return True


def _note_since(settings: LoadedSettings, due: int) -> dict[str, Any] | None:
    """Return the note of the newest fit unless its end is before a time."""
    note = read_note(settings.values.live.state_dir, settings.values.live.forecaster)
    return note if note is not None and note["end"] >= due else None
