"""The edge of the command line: errors as one line on standard error, as JSON with ``--json``, and exit codes."""

from __future__ import annotations

import itertools
import logging
import os
import shlex
import sys
import warnings
from functools import cache
from typing import Any

import typer
from typer.main import get_command

from ewmalab import api

# typer brings its own copy of click, or uses the package, by version
_ClickError: type[Exception] = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")
FAILED, USAGE, DATA, INTERRUPTED = 1, 2, 3, 130
"""Exit codes, beside those of errors."""
EXTRAS = {
    "bittensor": "live",
    "h11": "live",
    "msgpack": "live",
    "prometheus_client": "live",
    "uvicorn": "live",
    "distributed": "dask",
    "mlflow": "mlflow",
}
"""The extra that installs an optional module."""


_command = cache(get_command)  # it takes a fifth of a second to make, and a process may run several


def run(app: typer.Typer) -> int:
    """Run the command line; return the exit code. Errors that a user can fix are printed without a traceback."""
    if empty := _empty_word():
        return fail(empty, "UsageError", USAGE)
    try:
        code = _command(app)(prog_name="ewmalab", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except typer.Abort:
        return interrupted()
    except KeyboardInterrupt as error:
        return interrupted("\n".join(getattr(error, "__notes__", [])))
    except BrokenPipeError:  # the reader of a pipe has ended, e.g. `| head`
        sys.stderr.close()
        return FAILED
    except _ClickError as error:
        return _usage(error)
    except ModuleNotFoundError as error:
        extra = EXTRAS.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        return fail(f"this command needs an extra: pip install 'ewmalab[{extra}]'", "ConfigError", USAGE)
    except api.EwmalabError as error:
        return fail(_with_notes(error, str(error)), type(error).__name__, error.exit_code)
    except OSError as error:  # a full or read-only disk, a folder without permission
        return fail(_with_notes(error, _system_error(error)), "OSError", DATA)


def fail(message: str, kind: str, code: int) -> int:
    """Print an error on standard error, and with ``--json`` as an object on standard output; return its exit code."""
    print(f"ewmalab: {message}", file=sys.stderr)
    if "--json" in sys.argv:
        import orjson

        found = {"error": {"kind": kind, "message": message, "exit_code": code}}
        sys.stdout.write(orjson.dumps(found, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE).decode())
    return code


def say(text: str) -> None:
    """Print a line on standard error."""
    print(text, file=sys.stderr)


def quiet_libraries() -> None:
    """Keep the warnings of libraries from the terminal, unless Python was asked for them (-W, PYTHONWARNINGS)."""
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
        os.environ.setdefault("PYTHONWARNINGS", "ignore")  # of the processes that this one starts
    if not logging.getLogger().handlers:
        logging.getLogger().addHandler(logging.NullHandler())  # else Python prints what nobody listens to


def typed() -> str:
    """Return the command as it was typed, to be run again."""
    return shlex.join(["ewmalab", *sys.argv[1:]])


def interrupted(kept: str = "") -> int:
    """Say that a command was stopped, and what is kept; return the exit code."""
    return fail("\n".join(filter(None, ("stopped", kept))), "Interrupted", INTERRUPTED)


def _empty_word() -> str:
    """Return what is wrong if a word that was typed is empty; as a path it would mean the working directory."""
    for before, word in itertools.pairwise(["", *sys.argv[1:]]):
        option, sign, value = word.partition("=")
        if not option.startswith("--") or not sign:
            option, value = before, word
        if not value.strip():
            what = f"invalid value for {option!r}: it" if option.startswith("-") else "an argument"
            return f"{what} is empty; give it a value, or leave it out"
    return ""


def _usage(error: Any) -> int:
    """Print what is wrong with the words typed, and where to look; a group without a command prints its help."""
    context = getattr(error, "ctx", None)
    path = context.command_path if context else "ewmalab"
    if type(error).__name__ == "NoArgsIsHelpError":
        print(error.message, file=sys.stderr)  # empty where rich has printed it
        return USAGE
    message = error.format_message().strip().rstrip(".")
    message = " ".join(message.split()).replace(": Input should", ": it should")
    return fail(f"{message[:1].lower()}{message[1:]} (see `{path} --help`)", "UsageError", USAGE)


def _system_error(error: OSError) -> str:
    """Return a system's error with its file first, as the other messages name theirs."""
    if error.filename is None or error.strerror is None:
        return str(error)
    return f"{error.filename}: {error.strerror}"


def _with_notes(error: BaseException, message: str) -> str:
    return "\n".join([message, *getattr(error, "__notes__", [])])
