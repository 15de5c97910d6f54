"""``ewmalab config``: the settings in force."""

from __future__ import annotations

from typing import Annotated

import typer

from ewmalab import api
from ewmalab.cli import common, complete

app = typer.Typer(
    no_args_is_help=True, help="Show and check settings.", epilog="Example:  ewmalab config show --changed"
)


@app.command()
def show(
    changed: Annotated[bool, typer.Option("--changed", help="Only what differs from the defaults.")] = False,
    preset: Annotated[
        str | None,
        typer.Option(
            metavar="FORECASTER@PRESET",
            help="With this preset, e.g. ewma@seed.",
            autocompletion=complete.names("presets"),
        ),
    ] = None,
    json: common.Json = False,
    config: common.ConfigFile = None,
    set_: common.Assignments = None,
) -> None:
    """Print every setting, its value and the value's source; secrets are masked.

    Layers, from weakest to strongest: defaults, ewmalab.toml, environment
    (EWMALAB__SECTION__KEY), preset, flags.

    Examples:

      ewmalab config show

      EWMALAB__EWMA__HALF_LIFE_1M__BTC=45m ewmalab config show --changed
    """
    common.show(api.show_settings(common.settings(config, set_), changed=changed, preset=preset), json)


@app.command()
def validate(json: common.Json = False, config: common.ConfigFile = None, set_: common.Assignments = None) -> None:
    """Check the settings of all layers; exit code 2 and one line per fault if any is wrong.

    Example:

      ewmalab config validate --config ewmalab.toml
    """
    common.show(api.check_settings(common.settings(config, set_)), json)
