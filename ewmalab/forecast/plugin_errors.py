"""Errors raised inside a forecaster: one line that names it, the asset, the time, and the forecaster's own file."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from traceback import FrameSummary, extract_tb

import ewmalab
from ewmalab.errors import EwmalabError, ForecasterError
from ewmalab.times import iso

_PACKAGE = Path(ewmalab.__file__).parent


@contextmanager
def naming_plugin(kind: object, what: str, asset: str = "", when: int | None = None) -> Iterator[None]:
    """Turn an error raised inside a forecaster into a `ForecasterError` that says where it arose.

    Parameters
    ----------
    kind : class, function or forecaster
        What is called.
    what : str
        Name of the call: ``Recent.simulate``.
    asset : str
    when : int, optional
        Time that the call is about, seconds since 1970-01-01 UTC.

    Raises
    ------
    ForecasterError
        With the original as ``__cause__``. An error that this package raises for users passes unchanged.
    """
    try:
        yield
    except Exception as error:
        frames = extract_tb(error.__traceback__)[1:]  # without the frame of the caller
        theirs = [frame for frame in frames if not Path(frame.filename).is_relative_to(_PACKAGE)]
        if isinstance(error, EwmalabError) and not (type(error) is ForecasterError and theirs):
            raise
        subject = f" for {asset}" if asset else ""
        subject += "" if when is None else f" at {iso(when)}"
        reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        if isinstance(error, ForecasterError):
            reason = str(error)
        place = _place(theirs or list(frames), kind)
        raise ForecasterError(f"{what} failed{subject}: {reason}{place}") from error


def _place(frames: list[FrameSummary], kind: object) -> str:
    """Return the innermost line of the forecaster's own module, or else the outermost line beyond this package."""
    if not frames:
        return ""
    kind = kind if hasattr(kind, "__qualname__") else type(kind)
    file = getattr(sys.modules.get(getattr(kind, "__module__", "")), "__file__", None)
    own = [frame for frame in frames if frame.filename == file]
    frame = own[-1] if own else frames[0]
    return f" ({frame.filename}, line {frame.lineno}, in {frame.name})"
