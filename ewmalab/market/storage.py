"""Read files from a folder, or from a URL of any filesystem that pyarrow supports."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa

from ewmalab.errors import ConfigError, DataError


@dataclass(frozen=True)
class Storage:
    """Files below a root, for reading.

    Parameters
    ----------
    root : Path or str
        A folder, or a URL such as ``s3://bucket/data_cache``, ``gs://bucket/data_cache``, ``file:///mnt/data_cache``.
    """

    root: Path | str

    @cached_property
    def _place(self) -> tuple[Any, str]:
        """Return the filesystem and the root's path in it."""
        from pyarrow import fs

        if isinstance(self.root, Path):
            return fs.LocalFileSystem(), str(self.root)
        try:
            system, path = fs.FileSystem.from_uri(self.root)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise ConfigError(f"cache {self.root}: {error}; pyarrow reads file, s3, gs, abfs and hdfs URLs") from error
        return system, path.rstrip("/")

    def list(self, folder: str, suffix: str = "") -> list[str]:
        """Return the sorted names of a folder's files with a suffix, or of its subfolders if there is no suffix.

        Raises
        ------
        ConfigError
            If pyarrow does not support the filesystem.
        DataError
            If the folder exists but cannot be listed.
        """
        from pyarrow import fs

        system, root = self._place
        kind = fs.FileType.File if suffix else fs.FileType.Directory
        try:
            found = system.get_file_info(fs.FileSelector(f"{root}/{folder}", allow_not_found=True))
        except FileNotFoundError:  # its first writer is just creating it
            return []
        except OSError as error:
            raise DataError(f"{self.root}/{folder}: cannot be listed: {error}") from error
        return sorted(info.base_name for info in found if info.type == kind and info.base_name.endswith(suffix))

    def read(self, path: str, how: Callable[[Any], bytes]) -> bytes:
        """Return what `how` reads from the open file.

        Raises
        ------
        FileNotFoundError
            If the file does not exist.
        DataError
            If the file exists but cannot be read.
        """
        system, root = self._place
        sys.audit("ewmalab.storage.read", f"{root}/{path}")  # pyarrow opens files unseen by Python
        try:
            with system.open_input_file(f"{root}/{path}") as file:
                return how(file)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise DataError(f"{self.root}/{path}: cannot be read: {error}") from error
