"""The newest nonce of each caller, kept over a restart, so that no request is answered again."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from threading import Event, Thread

import orjson

from ewmalab.atomic_files import write_temp

log = logging.getLogger("ewmalab.miner")


class NewestNonces:
    """The newest accepted nonce of each caller, in a file of the state folder.

    A thread writes the file, so no answer waits for the disk. The file is not synced: a restart of the machine takes
    longer than the window of nonces, and the file of a killed process is intact without it.

    Parameters
    ----------
    folder : Path
    hotkey : str
        Our own: miners of several hotkeys may share a folder.
    """

    def __init__(self, folder: Path, hotkey: str) -> None:
        self.path = folder / f"nonces-{hotkey}.json"
        self._newest = self._read()
        self.earlier: Mapping[str, int] = dict(self._newest)
        self._changed, self._stop = Event(), Event()
        self._thread: Thread | None = None
        self._failed = False

    def take(self, caller: str, nonce: int) -> None:
        """Remember a nonce, unless a newer one of the caller is remembered."""
        if nonce > self._newest.get(caller, -1):
            self._newest[caller] = nonce
            self._changed.set()

    def start(self) -> None:
        """Start the thread that writes."""
        self._thread = Thread(target=self._run, name="nonces", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Write what is not written yet, and end the thread."""
        self._stop.set()
        self._changed.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            self._changed.wait()
            self._changed.clear()
            self._write()

    def _write(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            temp = write_temp(self.path.parent, orjson.dumps(dict(self._newest)), durable=False)
            try:
                temp.replace(self.path)
            except OSError:
                temp.unlink(missing_ok=True)
                raise
        except OSError as error:
            if not self._failed:
                log.error(
                    "%s cannot be written (%s): after a restart, requests may be answered again", self.path, error
                )
            self._failed = True
        else:
            self._failed = False

    def _read(self) -> dict[str, int]:
        try:
            told = orjson.loads(self.path.read_bytes())
            return {str(caller): nonce for caller, nonce in told.items() if type(nonce) is int}
        except (OSError, ValueError, AttributeError):
            return {}
