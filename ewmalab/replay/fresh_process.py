"""Run functions in fresh processes that share nothing but the installed code: no globals, environment, or files.

Each job has a folder of its own, for temporary files too. A job may hide a folder: it then works in a copy of the
working directory made of links, and the paths that lead to the hidden folder, there and in environment variables, lead
to a folder of its own. Jobs of a batch are forks of one new interpreter, which has imported this package and nothing of
a user's.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import orjson

from ewmalab.errors import EngineError
from ewmalab.forecast.streams import RandomStream
from ewmalab.replay.opened_files import Touched, Watch

Tick = Callable[[], None]
INSTEAD = "instead"
"""Name of the folder, in a job's own, that stands for the hidden one."""
_BOOT = """
import sys, json, importlib
sys.path[:], modules = json.loads(sys.argv[1])
for name in modules:
    importlib.import_module(name)
from ewmalab.replay.fresh_process import serve
serve(sys.argv[2:])
"""


@dataclass(frozen=True)
class Job:
    """A call that runs in a fresh process.

    Attributes
    ----------
    call : callable
        Importable by name; takes `task`, the job's own folder, and a function to call after each step.
    task : object
        Can be pickled.
    hidden : Path or None
        A folder in whose place it has `INSTEAD` in its own folder.
    """

    call: Callable[[Any, Path, Tick], Any]
    task: Any
    hidden: Path | None = None


def run_fresh(batch: Sequence[Job], environ: Mapping[str, str], tick: Tick) -> list[tuple[Any, Touched]]:
    """Run the jobs of a batch, each in a process of its own.

    Parameters
    ----------
    batch : sequence of Job
    environ : mapping
        Environment of the processes.
    tick : callable
        Called after each step of a job.

    Returns
    -------
    list of (object, Touched)
        What each call returned, and the files that it opened.

    Raises
    ------
    EngineError
        If a process died. An error of a job is raised as it is.
    """
    if not hasattr(os, "fork") and len(batch) > 1:
        return [found for job in batch for found in run_fresh([job], environ, tick)]
    with tempfile.TemporaryDirectory(prefix="ewmalab-fresh-") as name:
        folders = [_prepare(Path(name) / str(i), job) for i, job in enumerate(batch)]
        modules = sorted({job.call.__module__ for job in batch})
        start = orjson.dumps([[os.path.abspath(entry) for entry in sys.path], modules]).decode()
        with subprocess.Popen(
            [sys.executable, "-c", _BOOT, start, *map(str, folders)],
            stdout=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            env={**environ, "OPENBLAS_NUM_THREADS": "1"},
            start_new_session=True,
        ) as process:
            assert process.stdout is not None
            try:
                for _ in process.stdout:
                    tick()
                process.wait()
            except BaseException:
                _kill(process)
                raise
        return [_result(folder, process.returncode) for folder in folders]


def serve(folders: Sequence[str]) -> None:
    """Run the jobs in some folders, as many at once as there are processors; what starts a fresh process calls it."""
    ticks = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a user's code prints is no tick
    if len(folders) == 1:
        _run(Path(folders[0]), ticks)
        return
    RandomStream((0, 0)).lanes(1)  # loads what compiled functions need, which forks then share
    running: set[int] = set()
    for folder in folders:
        if len(running) >= (os.cpu_count() or 1):
            running.discard(os.wait()[0])
        if (child := os.fork()) == 0:
            try:
                _run(Path(folder), ticks)
            finally:
                os._exit(0)
        running.add(child)
    while running:
        running.discard(os.wait()[0])


def _prepare(folder: Path, job: Job) -> Path:
    (folder / "tmp").mkdir(parents=True)
    (folder / INSTEAD).mkdir()
    if job.hidden is not None:
        _mirror(Path.cwd(), folder / "work", job.hidden, folder / INSTEAD)
    (folder / "job").write_bytes(pickle.dumps(job))
    return folder


def _mirror(source: Path, target: Path, hidden: Path, instead: Path) -> None:
    """Make a folder with links to the entries of another, and one to `instead` where the hidden folder is."""
    target.mkdir()
    for entry in source.iterdir():
        if not hidden.is_relative_to(entry):
            (target / entry.name).symlink_to(entry)
        elif hidden == entry:
            (target / entry.name).symlink_to(instead)
        else:
            _mirror(entry, target / entry.name, hidden, instead)


def _hide(hidden: Path, folder: Path) -> None:
    """Let the working directory and the environment lead to another folder than the hidden one."""
    for key, value in os.environ.items():
        if value and (path := Path(value).absolute()).is_relative_to(hidden):
            os.environ[key] = str(folder / INSTEAD / path.relative_to(hidden))
    os.chdir(folder / "work")


def _run(folder: Path, ticks: IO[str]) -> None:
    os.environ["TMPDIR"] = str(folder / "tmp")
    tempfile.tempdir = None
    answer: tuple[bool, Any]
    try:
        job: Job = pickle.loads((folder / "job").read_bytes())
        watched = Watch(folder, Path.cwd(), job.hidden)
        if job.hidden is not None:
            _hide(job.hidden, folder)
        with watched.watching():
            value = job.call(job.task, folder, lambda: print(file=ticks))
        answer = True, (value, watched.found())
        data = pickle.dumps(answer)
    except Exception as error:  # noqa: BLE001 - raised in the calling process
        try:
            pickle.loads(data := pickle.dumps((False, error)))
        except Exception:  # noqa: BLE001 - an error that cannot be sent
            data = pickle.dumps((False, EngineError(f"{type(error).__name__}: {error}")))
    (folder / "result").write_bytes(data)


def _result(folder: Path, code: int) -> tuple[Any, Touched]:
    try:
        found: tuple[bool, Any] = pickle.loads((folder / "result").read_bytes())
    except (OSError, EOFError, pickle.UnpicklingError) as error:
        raise EngineError(
            f"a fresh process ended without a result (exit code {code}); perhaps memory ran out, or a forecaster ended "
            "the process"
        ) from error
    good, value = found
    if not good:
        raise value
    return value  # type: ignore[no-any-return]


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End what is still running of a batch, forks included."""
    if hasattr(os, "killpg"):
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            return
    else:
        process.kill()
