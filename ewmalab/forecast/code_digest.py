"""Bytes that identify the code of a class or function, whether written in a file, a notebook or a function."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from types import CodeType
from typing import Any


def code_of(made: Any, below: Path) -> bytes:
    """Return the source file of a class or function, or the instructions of it and its bases if it has none.

    Parameters
    ----------
    made : class or callable
    below : Path
        Files in this folder are left out.

    Returns
    -------
    bytes
        Globals and closures that the code reads are left out unless they are in the same file.
    """
    source = _file_of(made)
    if source is None:
        return "\n".join(_described(made)).encode()
    return b"" if source.is_relative_to(below) else source.read_bytes()


def _file_of(made: Any) -> Path | None:
    try:
        name = inspect.getsourcefile(made)
    except (TypeError, OSError):  # built in, or defined without a file
        return None
    # A cell of a notebook has the name of a file that was never written.
    return Path(name) if name is not None and Path(name).is_file() else None


def _described(made: Any) -> Iterator[str]:
    """Yield names, constants and instructions."""
    made = getattr(made, "__func__", made)  # unwrap a static or class method
    code = getattr(made, "__code__", None)
    if isinstance(made, type):
        for kind in made.__mro__[:-1]:
            yield kind.__qualname__
            for name, value in sorted(vars(kind).items()):
                if inspect.isroutine(value) or isinstance(value, property) or not name.startswith("__"):
                    yield name
                    yield from _described(value)
    elif isinstance(made, property):
        yield from _described(made.fget)
    elif isinstance(code, CodeType):
        yield repr((made.__defaults__, made.__kwdefaults__))
        yield from _instructions(code)
    else:
        yield repr(made)


def _instructions(code: CodeType) -> Iterator[str]:
    yield repr((code.co_code, code.co_names, code.co_varnames, code.co_freevars))
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _instructions(constant)
        else:
            yield repr(sorted(map(repr, constant)) if isinstance(constant, frozenset) else constant)
