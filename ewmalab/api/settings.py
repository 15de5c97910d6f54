"""Settings and rules in force. Nothing heavy is imported here: to look something up takes no time."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ewmalab.api.result import Result
from ewmalab.report.text.rules import rules_text, settings_text
from ewmalab.rulebook import RuleChoice, Rules, load_rulebook
from ewmalab.settings import LoadedSettings, load_settings
from ewmalab.times import iso, parse_time


@dataclass(frozen=True)
class SettingsInForce(Result):
    """Settings with their sources; secrets are masked.

    Attributes
    ----------
    rows : list of (key, value, source)
    """

    rows: list[tuple[str, Any, str]]

    def text(self) -> str:
        """Return a table."""
        return settings_text(self.rows)

    def json(self) -> Any:
        """Return the rows."""
        return [{"key": key, "value": value, "source": source} for key, value, source in self.rows]


@dataclass(frozen=True)
class ValidSettings(Result):
    """The layers of settings that are valid.

    Attributes
    ----------
    layers : list of str
    """

    layers: list[str]

    def text(self) -> str:
        """Return a line."""
        return f"settings are valid (from {', '.join(self.layers)})\n"

    def json(self) -> Any:
        """Return the layers."""
        return {"valid": True, "layers": self.layers}


@dataclass(frozen=True)
class RulesInForce(Result):
    """The rules of a time.

    Attributes
    ----------
    version : str
        Of the rulebook.
    when : int
    rules : Rules
    """

    version: str
    when: int
    rules: Rules

    def text(self) -> str:
        """Return competitions, scoring, weights and feeds."""
        return rules_text(self.version, self.when, self.rules)

    def json(self) -> Any:
        """Return the whole set."""
        return {"rulebook": self.version, "on": iso(self.when), **asdict(self.rules)}


def show_settings(
    settings: LoadedSettings | None = None, *, changed: bool = False, preset: str | None = None
) -> SettingsInForce:
    """Return every setting, its value and where the value came from.

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
        name, _, which = preset.partition("@")
        settings = settings.with_preset(name, which)
    rows = [row for row in settings.effective() if not row[0].startswith("presets.")]
    return SettingsInForce([row for row in rows if not changed or row[2] != "defaults"])


def check_settings(settings: LoadedSettings | None = None) -> ValidSettings:
    """Check the settings of all layers, also against the rulebook.

    Raises
    ------
    ConfigError
        With one line per fault.
    """
    from ewmalab.replay.backtest import check_settings as check

    settings = settings or load_settings()
    check(settings.values, load_rulebook())
    return ValidSettings([layer.name for layer in settings.layers if layer.table])


def show_rules(on: str = "latest") -> RulesInForce:
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
    return RulesInForce(rulebook.version, when, RuleChoice().at(rulebook, when))
