"""Atomic writes of files, and locks."""

from __future__ import annotations

import errno
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from filelock import BaseFileLock

from ewmalab.errors import ConfigError

TEMP_PREFIX = ".tmp-"
_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP}  # errors of network and FUSE mounts


def check_folder(folder: Path, room: int = 0, setting: str = "") -> None:
    """Check that files can be written into a folder, which may not exist yet; nothing stays behind.

    Parameters
    ----------
    folder : Path
    room : int
        Bytes that must fit.
    setting : str
        What chooses the folder, named in the error.

    Raises
    ------
    ConfigError
        Before long work, instead of after it.
    """
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    try:
        if not there.is_dir():
            raise NotADirectoryError(0, f"{there} is a file")
        write_temp(there, bytes(room), durable=False).unlink()
    except OSError as error:
        advice = "choose another folder" + (f" with {setting}" if setting else "")
        if error.errno == errno.ENOSPC:
            advice = f"free some space, or {advice}"
        raise ConfigError(f"{folder}: nothing can be written there ({error.strerror}): {advice}") from None


def write_temp(folder: Path, data: bytes, *, durable: bool = True) -> Path:
    """Write a uniquely named temporary file, which the caller renames or deletes; `durable` syncs it to disk.

    Raises
    ------
    OSError
        Names the folder.
    """
    path = folder / f"{TEMP_PREFIX}{os.getpid()}-{secrets.token_hex(6)}"
    try:
        with path.open("xb") as file:
            file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())
    except OSError as error:  # a full disk should not also keep the partial file
        path.unlink(missing_ok=True)
        error.filename = error.filename or str(folder)
        raise
    return path


def sync_folder(folder: Path) -> None:
    """Make renames in a folder durable."""
    if os.name == "nt":  # Windows cannot open folders
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_atomic(path: Path, data: bytes) -> None:
    """Replace a file's content atomically: readers see the old bytes or the new, even after a crash."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temp = write_temp(path.parent, data)
    try:
        temp.replace(path)
    except OSError:
        temp.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def delete_leftovers(folder: Path) -> int:
    """Delete the temporary files of interrupted writers and return their number; the caller holds the folder's lock."""
    count = 0
    for path in folder.glob(f"{TEMP_PREFIX}*"):
        path.unlink(missing_ok=True)
        count += 1
    return count


def acquire_lock(path: Path, wait: float, setting: str) -> BaseFileLock:
    """Return a lock on a file, held by this process until it is released.

    Parameters
    ----------
    path : Path
    wait : float
        Seconds to wait for another process.
    setting : str
        What chooses the folder, named in the error.

    Raises
    ------
    filelock.Timeout
        If another process holds the lock.
    OSError
        If the file system has no locks, or the file cannot be written.
    """
    from filelock import FileLock  # the supervisor, which must stay small, takes no lock

    lock = FileLock(path)
    try:
        lock.acquire(timeout=wait)
    except (OSError, NotImplementedError) as error:
        code = error.errno if isinstance(error, OSError) else errno.ENOSYS
        if code not in _NO_LOCKS:  # a Timeout has none
            raise
        advice = f"this file system has no file locks: choose a folder on a local disk with {setting}"
        raise OSError(code, advice, str(path)) from error
    return lock
