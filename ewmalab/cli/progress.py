"""Progress of long work on standard error, and what to do after an interruption."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

import typer

from ewmalab.cli import edge

SAME_COMMAND = "what is finished is kept; go on with: {command}"
RESUME_SWEEP = "finished trials are kept; go on with: ewmalab sweep --resume"
NOTHING_KEPT = "nothing was written; start again with: {command}"
SECONDS_BETWEEN_LINES = 15.0
"""Between two lines of progress where standard error is no terminal."""


@contextmanager
def progress(quiet: bool, what: str, hint: str = NOTHING_KEPT) -> Iterator[Callable[[int, int], None]]:
    """Show progress and the time left on standard error; yield the function that a step reports to.

    A terminal gets a bar, anything else a plain line now and then.

    Parameters
    ----------
    quiet : bool
    what : str
        What is counted.
    hint : str
        What is kept when the step is interrupted, and how to go on.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True, highlight=False, soft_wrap=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    watched = console.is_terminal and not quiet
    lines = None if watched or quiet else PlainProgress(what, edge.say)
    try:
        with Progress(*columns, console=console, transient=True, disable=not watched) as bar:
            task = bar.add_task("reading bars", total=None)

            def report(done: int, total: int) -> None:
                bar.update(task, description=what, completed=done, total=total)
                if lines:
                    lines.report(done, total, monotonic())

            yield report
    except KeyboardInterrupt as error:
        told = [*getattr(error, "__notes__", []), hint.format(command=edge.typed())]
        raise typer.Exit(edge.interrupted("\n".join(told))) from None


class PlainProgress:
    """Progress as lines of text, for logs and pipes.

    Parameters
    ----------
    what : str
        What is counted.
    say : callable
        Called with each line.
    """

    def __init__(self, what: str, say: Callable[[str], None]) -> None:
        self._what, self._say = what, say
        self._first: tuple[float, int] | None = None
        self._said = 0.0

    def report(self, done: int, total: int, now: float) -> None:
        """Print a line if the last one is long ago; `now` is in seconds of any clock."""
        if self._first is None:
            self._first, self._said = (now, done), now
        began, known = self._first
        if now - self._said < SECONDS_BETWEEN_LINES or not known < done < total:
            return
        self._said = now
        left = (now - began) / (done - known) * (total - done)
        self._say(f"{self._what}: {done} of {total}, {_duration(left)} left")


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 2:
        return f"{round(seconds)} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h"
