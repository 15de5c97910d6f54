"""Atomic writes of files."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from ewmalab.errors import ConfigError

TEMP_PREFIX = ".tmp-"


def check_folder(folder: Path) -> None:
    """Check that files can be written into a folder, which may not exist yet; nothing stays behind.

    Raises
    ------
    ConfigError
        Before long work, instead of after it.
    """
    there = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    try:
        if not there.is_dir():
            raise NotADirectoryError(0, f"{there} is a file")
        write_temp(there, b"", durable=False).unlink()
    except OSError as error:
        raise ConfigError(f"{folder}: nothing can be written there ({error.strerror}): choose another folder") from None


def write_temp(folder: Path, data: bytes, *, durable: bool = True) -> Path:
    """Write a uniquely named temporary file, which the caller renames or deletes; `durable` syncs it to disk."""
    path = folder / f"{TEMP_PREFIX}{os.getpid()}-{secrets.token_hex(6)}"
    try:
        with path.open("xb") as file:
            file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())
    except OSError:  # a full disk should not also keep the partial file
        path.unlink(missing_ok=True)
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
