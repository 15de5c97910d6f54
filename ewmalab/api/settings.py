"""Settings and rules in force. Nothing heavy is imported here, so that a look-up is quick."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ewmalab.api.result import Outcome
from ewmalab.errors import ConfigError
from ewmalab.report.text.rules import rules_text, settings_text
from ewmalab.rulebook import RuleChoice, Rules, load_rulebook
from ewmalab.settings import LoadedSettings, load_settings
from ewmalab.times import iso, parse_time


def show_settings(
    settings: LoadedSettings | None = None, *, changed: bool = False, preset: str | None = None
) -> Outcome[list[tuple[str, Any, str]]]:
    """Return every setting, its value (secrets masked) and where the value came from.

    Parameters
    ----------
    settings : LoadedSettings, optional
    changed : bool
        Only what differs from the defaults.
    preset : str, optional
        With this preset, such as ``ewma@seed``.

    Raises
    ------
    ConfigError
    """
    settings = settings or load_settings()
    if preset:
        from ewmalab.forecast.load import apply_preset

        if not preset.partition("@")[2]:
            raise ConfigError(f"preset {preset!r}: name a forecaster and a preset, such as ewma@seed")
        _, settings = apply_preset(preset, settings)
    rows = [row for row in settings.effective() if not row[0].startswith("presets.")]
    rows = [row for row in rows if not changed or row[2] != "defaults"]
    return Outcome("Settings", rows, settings_text, lambda found: [_setting(*row) for row in found])


def check_settings(settings: LoadedSettings | None = None) -> Outcome[list[str]]:
    """Check the settings of all layers and presets, also against the rulebook; return the layers' names.

    Raises
    ------
    ConfigError
        One line per fault.
    """
    from ewmalab.replay.settings_check import check_all

    settings = settings or load_settings()
    check_all(settings, load_rulebook())
    layers = [layer.name for layer in settings.layers if layer.table]
    return Outcome(
        "Valid settings",
        layers,
        lambda names: f"settings are valid (from {', '.join(names)})\n",
        lambda names: {"valid": True, "layers": names},
    )


def show_rules(on: str = "latest") -> Outcome[Rules]:
    """Return competitions, scoring, weights and feeds in force on a date.

    Parameters
    ----------
    on : str
        A date, or ``latest``.

    Raises
    ------
    RulebookError
    """
    rulebook = load_rulebook()
    when = rulebook.breakpoints()[-1] if on == "latest" else parse_time(on)
    return Outcome(
        "Rules",
        RuleChoice().at(rulebook, when),
        lambda rules: rules_text(rulebook.version, when, rules),
        lambda rules: {"rulebook": rulebook.version, "on": iso(when), **asdict(rules)},
    )


def _setting(key: str, value: Any, source: str) -> dict[str, Any]:
    return {"key": key, "value": value, "source": source}
