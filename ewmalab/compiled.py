"""numba's `njit`, with a cache of compiled kernels that survives damage.

numba does not sync the files of its cache. After a power cut or on a full disk, one may be empty, cut or filled with
zeros, and every process that needs its kernel would end in an error, at every start. Here such a file counts as absent:
the kernel is compiled again, and a new file replaces it. This holds for the kernels of plug-ins too.
"""

from __future__ import annotations

import atexit
import hashlib
import logging
import os
import pickle
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from numba import config, njit
from numba.core import caching

from ewmalab.errors import ConfigError

__all__ = ["njit"]

log = logging.getLogger("ewmalab.compiled")

_DIGEST = hashlib.sha256().digest_size


class CheckedCacheFile(caching.IndexDataCacheFile):
    """The cached code of one function: what cannot be read is absent, and what cannot be written is not kept.

    A digest follows the code, where unpickling does not look. Code without its digest is not loaded, since damaged code
    could end the process.
    """

    def save(self, key: Any, data: Any) -> None:
        """Keep compiled code, if the disk allows it."""
        try:
            super().save(key, data)
        except OSError as error:
            log.warning("%s: compiled code cannot be kept: %s", self._cache_path, error)

    def _load_index(self) -> dict[Any, str]:
        try:
            return super()._load_index()  # type: ignore[no-any-return]
        except Exception as error:  # noqa: BLE001  unpickling damaged bytes can raise anything
            self._discard(self._index_path, type(error).__name__)
            return {}

    def _save_data(self, name: str, data: Any) -> None:
        content = self._dump(data)
        with self._open_for_write(self._data_path(name)) as file:
            file.write(content + hashlib.sha256(content).digest())

    def _load_data(self, name: str) -> Any:
        content = Path(self._data_path(name)).read_bytes()
        content, digest = content[:-_DIGEST], content[-_DIGEST:]
        if hashlib.sha256(content).digest() != digest:
            self._discard(self._data_path(name), "the digest differs")
            return None
        return pickle.loads(content)

    def _discard(self, path: str, why: str) -> None:
        """Delete a damaged file; its kernel is compiled again."""
        log.warning("%s: damaged (%s): compiled again", path, why)
        with suppress(OSError):
            os.unlink(path)


def private_folder() -> Path:
    """Return a folder for temporary files that no other user can write to.

    Code is loaded from it, so that a folder made by somebody else is not used.

    Raises
    ------
    ConfigError
        If no temporary file can be written anywhere.
    """
    try:
        folder = Path(tempfile.gettempdir()) / f"ewmalab-{os.getuid() if hasattr(os, 'getuid') else 'cache'}"
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            found = folder.lstat()
            if not folder.is_symlink() and found.st_uid == os.getuid() and not found.st_mode & 0o077:
                tempfile.TemporaryFile(dir=folder).close()
                return folder
        except OSError:
            pass
        folder = Path(tempfile.mkdtemp(prefix="ewmalab-"))
    except OSError as error:
        raise ConfigError(
            f"compiled kernels cannot be kept anywhere ({error}): "
            "set NUMBA_CACHE_DIR to a folder that can be written to"
        ) from error
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def choose_folder() -> None:
    """Let numba keep compiled code in a private temporary folder if it can write to no other."""
    try:
        caching.CompileResultCacheImpl(choose_folder)  # asks $NUMBA_CACHE_DIR, this package and the user's home
    except RuntimeError:
        os.environ["NUMBA_CACHE_DIR"] = str(private_folder())  # so that children use it too
        config.reload_config()
        log.warning(
            "no usual folder for compiled kernels can be written to: they are kept in %s; "
            "choose another with NUMBA_CACHE_DIR",
            os.environ["NUMBA_CACHE_DIR"],
        )


caching.IndexDataCacheFile = CheckedCacheFile  # type: ignore[misc]
choose_folder()
