"""The note in the state folder that names the newest fit; updater and miner adopt the fit together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from ewmalab.errors import ForecasterError
from ewmalab.replay.artifacts import read_artifact
from ewmalab.replay.fits import refitted
from ewmalab.rulebook import load_rulebook
from ewmalab.settings import LoadedSettings

NOTE = "fit.json"
"""File in the state folder that names the current artifact and the end of its fit."""


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
