"""The files that a forecaster opens while it is checked, as far as Python sees them."""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ewmalab

_PACKAGE = Path(ewmalab.__file__).parent
_CODE = (".py", ".pyc", ".so", ".pyd", ".nbi", ".nbc", ".pth")
_INSTALLED = ("/site-packages/", "/dist-packages/", "/__pycache__/")
_SYSTEM = ("/proc", "/sys", "/dev", "/etc", "/usr/share")


_EDITABLE = "__editable__"  # a name that setuptools puts on the path for code installed in place; no such file exists


@dataclass(frozen=True)
class Touched:
    """Files that were opened outside of installed code and of a job's own folder: absolute paths."""

    read: tuple[str, ...] = ()
    written: tuple[str, ...] = ()


@dataclass
class Watch:
    """Collects the files that this process opens.

    Attributes
    ----------
    folder : Path
        The job's own folder, not reported; what lies in its copy of the working directory is reported as the original.
    origin : Path
        The original working directory.
    hidden : Path or None
        A part of it of which the job has a copy, not reported either.
    """

    folder: Path
    origin: Path
    hidden: Path | None = None
    _on: bool = False
    _opened: dict[tuple[str, bool], None] = field(default_factory=dict)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch; a hook cannot be removed, so a process should watch once."""
        sys.addaudithook(self._note)
        self._on = True
        try:
            yield
        finally:
            self._on = False

    def _note(self, event: str, arguments: Sequence[Any]) -> None:
        if not self._on or event not in ("open", "ewmalab.storage.read", "sqlite3.connect"):
            return
        path = arguments[0]
        if isinstance(path, str | bytes | os.PathLike):
            self._opened[os.path.abspath(os.fsdecode(path)), _writes(event, arguments)] = None

    def found(self) -> Touched:
        """Return what was opened."""
        files = sorted({(path, writes) for name, writes in self._opened if (path := self._original(name))})
        return Touched(
            tuple(path for path, writes in files if not writes), tuple(path for path, writes in files if writes)
        )

    def _original(self, name: str) -> str:
        """Return the path to report, empty if the file does not count."""
        path, copy = Path(name), self.folder / "work"
        if path.is_relative_to(copy):
            path = self.origin / path.relative_to(copy)
            return "" if self.hidden is not None and path.is_relative_to(self.hidden) else str(path)
        places = {sys.prefix, sys.base_prefix, *sysconfig.get_paths().values(), str(_PACKAGE), str(self.folder)}
        ignored = tuple(f"{place}{os.sep}" for place in (*places, *_SYSTEM))
        aside = name.startswith(ignored) or name.endswith(_CODE) or any(part in name for part in _INSTALLED)
        aside |= path.name.startswith(_EDITABLE)
        return "" if aside else name


def _writes(event: str, arguments: Sequence[Any]) -> bool:
    if event != "open":
        return False
    _, mode, flags = arguments
    if isinstance(mode, str):
        return any(letter in mode for letter in "wax+")
    return bool(flags & (os.O_WRONLY | os.O_RDWR))
