"""Interrupted sweeps: their requests stay on disk until they end, so that they can be resumed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

from ewmalab.atomic_files import write_atomic
from ewmalab.errors import ConfigError, EngineError

_FOLDER = ".unfinished/sweep"


@contextmanager
def kept_until_done(experiments: Path, request: Mapping[str, Any]) -> Iterator[None]:
    """Keep a request on disk until the block ends or fails; resuming a failed one would fail again.

    Parameters
    ----------
    experiments : Path
        The folder of experiments.
    request : mapping
        Plain data.
    """
    data = orjson.dumps(dict(request), option=orjson.OPT_SORT_KEYS)
    path = experiments / _FOLDER / f"{hashlib.sha256(data).hexdigest()[:16]}.json"
    write_atomic(path, data)
    try:
        yield
    except (EngineError, OSError) as error:  # interrupted: its workers are gone, or the disk is full
        error.add_note("finished trials are kept: `ewmalab sweep --resume` goes on")
        raise
    except Exception:
        path.unlink(missing_ok=True)
        raise
    path.unlink(missing_ok=True)


def newest_unfinished(experiments: Path) -> dict[str, Any]:
    """Return the request of the sweep that was interrupted last.

    Raises
    ------
    ConfigError
        If there is none.
    """
    paths = sorted((experiments / _FOLDER).glob("[0-9a-f]*.json"), key=lambda path: path.stat().st_mtime)
    if not paths:
        raise ConfigError("no sweep is unfinished; start one with `ewmalab sweep --param NAME`")
    return dict(orjson.loads(paths[-1].read_bytes()))
