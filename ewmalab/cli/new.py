"""``ewmalab new``: files to start from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ewmalab import api
from ewmalab.cli import common

app = typer.Typer(
    no_args_is_help=True, help="Write files to start from.", epilog="Example:  ewmalab new forecaster my_forecaster"
)


@app.callback()
def _new() -> None:
    """Write files to start from."""


@app.command()
def forecaster(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the module, e.g. my_forecaster.")],
    folder: Annotated[Path, typer.Option("--folder", metavar="DIR", help="Write the files here.")] = Path("."),
    json: common.Json = False,
) -> None:
    """Write a forecaster of your own and its test, NAME.py and test_NAME.py.

    Both work as they are: the forecaster passes `ewmalab check forecaster`,
    and the test passes under pytest. Existing files are not changed.

    Example:

      ewmalab new forecaster my_forecaster
    """
    common.show(api.new_forecaster(name, folder), json)
