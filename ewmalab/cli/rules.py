"""``ewmalab rules``: the subnet's rules, by date."""

from __future__ import annotations

from typing import Annotated

import typer

from ewmalab import api
from ewmalab.cli import common

app = typer.Typer(
    no_args_is_help=True, help="Show the rulebook.", epilog="Example:  ewmalab rules show --on 2026-01-15"
)


@app.command()
def show(
    on: Annotated[str, typer.Option(metavar="DATE", help="A date, or latest.")] = "latest", json: common.Json = False
) -> None:
    """Print competitions, scoring, weights and feeds in force on a date.

    Examples:

      ewmalab rules show

      ewmalab rules show --on 2026-01-15 --json
    """
    common.show(api.show_rules(on), json)
