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
from ewmalab.errors import EwmalabError, ForecasterError
from ewmalab.live.clock import Clock
from ewmalab.market.cache import local_cache
from ewmalab.replay.fits import boundary, read_artifact, refit, refitted, write_artifact
from ewmalab.rulebook import load_rulebook
from ewmalab.settings import LoadedSettings
from ewmalab.times import MINUTE, iso

NOTE = "fit.json"
"""File in the state folder that names the current artifact and the end of its fit."""
_RETRY = 10 * MINUTE
_AFTER_DUE = 5.0  # seconds after a boundary at which to look, so as not to look just before it

log = logging.getLogger("ewmalab.updater")


def read_note(folder: Path, forecaster: str) -> dict[str, Any] | None:
    """Return the note of a forecaster's newest fit.

    Return None, so that a fit is due, if the note is missing or is for another forecaster, or if the note or its
    artifact is damaged.
    """
    try:
        note = orjson.loads((folder / NOTE).read_bytes())
        if not (isinstance(note["end"], int) and isinstance(note["artifact"], str)):
            return None
        if note["forecaster"] != forecaster.partition("@")[0]:
            return None
        if note["artifact"]:
            read_artifact(note["artifact"])
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError, ForecasterError):
        return None
    return note  # type: ignore[no-any-return]


def with_newest_fit(settings: LoadedSettings) -> LoadedSettings:
    """Return settings that name the newest fit, if the live forecaster is refitted."""
    live = settings.values.live
    if not refitted(live.forecaster, settings, load_rulebook()):
        return settings
    note = read_note(live.state_dir, live.forecaster)
    if note is None or not note["artifact"]:
        return settings
    others = [path for path in settings.values.fit.artifacts if read_artifact(path).forecaster != note["forecaster"]]
    return settings.with_flags({"fit.artifacts": [*others, note["artifact"]]})


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
    """

    load: Callable[[], LoadedSettings]
    feeds: Callable[[], Mapping[str, str]]
    clock: Clock
    fitted: Event

    def run(self, stop: Event) -> None:
        """Fit when due until `stop` is set; retry ten minutes after a failure."""
        while not stop.is_set():
            try:
                again = self.step(stop)
            except (EwmalabError, OSError) as error:
                log.error("fit failed: %s", error)
                again = self.clock.now() + _RETRY
            self.clock.wait(again, stop)

    def step(self, stop: Event) -> float:
        """Fit if one is due; return the market time of the next check."""
        now = self.clock.now()
        settings = self.load()
        live, every = settings.values.live, settings.values.fit.every
        if not refitted(live.forecaster, settings, load_rulebook()):
            return now + _RETRY
        due = boundary(int(now), every)
        if _note_since(settings, due) or self._fit(settings, due, stop):
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
            log.error("fit failed (code %s): the previous fit stays in use", child.exitcode)
            return False
        log.info("fitted: %s", note["artifact"] or "too few bars; forecasts continue without a fit")
        self.fitted.set()
        return True


def _note_since(settings: LoadedSettings, due: int) -> dict[str, Any] | None:
    """Return the note of the newest fit unless its end is before a time."""
    note = read_note(settings.values.live.state_dir, settings.values.live.forecaster)
    return note if note is not None and note["end"] >= due else None
