"""``ewmalab config``: the settings in force."""

from __future__ import annotations

from typing import Annotated

import typer

from ewmalab.cli import common

app = typer.Typer(
    no_args_is_help=True, help="Show and check settings.", epilog="Example:  ewmalab config show --changed"
)


@app.command()
def show(
    changed: Annotated[bool, typer.Option("--changed", help="Only what differs from the defaults.")] = False,
    preset: Annotated[
        str | None, typer.Option(metavar="FORECASTER@PRESET", help="With this preset, e.g. ewma@seed.")
    ] = None,
    json: common.Json = False,
    config: common.ConfigFile = None,
    set_: common.Assignments = None,
) -> None:
    """Print every setting, its value and where the value came from; secrets are masked.

    Layers, from weakest to strongest: defaults, ewmalab.toml, environment
    (EWMALAB__SECTION__KEY), preset, flags.

    Examples:

      ewmalab config show

      EWMALAB__EWMA__HALF_LIFE_1M__BTC=45m ewmalab config show --changed
    """
    loaded = common.settings(config, set_)
    if preset:
        name, _, which = preset.partition("@")
        loaded = loaded.with_preset(name, which)
    rows = [
        (key, value, source)
        for key, value, source in loaded.effective()
        if not key.startswith("presets.") and (not changed or source != "defaults")
    ]
    if json:
        common.print_json([{"key": k, "value": v, "source": s} for k, v, s in rows])
    elif rows:
        print(common.table(("setting", "value", "from"), ((k, str(v), s) for k, v, s in rows)))
    else:
        print("all settings have their defaults")


@app.command()
def validate(json: common.Json = False, config: common.ConfigFile = None, set_: common.Assignments = None) -> None:
    """Check the settings of all layers; exit code 2 and one line per fault if anything is wrong.

    Example:

      ewmalab config validate --config ewmalab.toml
    """
    from ewmalab.replay.backtest import check_settings
    from ewmalab.rulebook import load_rulebook

    loaded = common.settings(config, set_)
    check_settings(loaded.values, load_rulebook())
    names = [layer.name for layer in loaded.layers if layer.table]
    if json:
        common.print_json({"valid": True, "layers": names})
    else:
        print(f"settings are valid (from {', '.join(names)})")
