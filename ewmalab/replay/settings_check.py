"""Check settings against what they name: assets of the rulebook, forecasters, presets."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel

from ewmalab.close_names import did_you_mean
from ewmalab.errors import ConfigError, UnknownForecaster
from ewmalab.forecast.load import FORECASTER_SECTIONS, apply_preset, factory_of
from ewmalab.rulebook import Rulebook
from ewmalab.settings import LoadedSettings
from ewmalab.settings.schema import Settings


def check_settings(settings: Settings, rulebook: Rulebook) -> None:
    """Refuse per-asset settings for assets that the rulebook does not know.

    Raises
    ------
    ConfigError
    """
    known = {"default", *rulebook.symbols}
    for section, table in settings:
        for key, value in table if isinstance(table, BaseModel) else ():
            if isinstance(value, dict) and "default" in value and value.keys() - known:
                raise ConfigError(f"{section}.{key}: {_unknown_assets(value.keys() - known, rulebook)}")


def check_all(settings: LoadedSettings, rulebook: Rulebook) -> None:
    """Check everything that settings name, also in presets that nothing uses yet.

    Raises
    ------
    ConfigError
        One line per fault.
    """
    if faults := list(_faults(settings, rulebook)):
        raise ConfigError("\n".join(dict.fromkeys(faults)))


def _faults(settings: LoadedSettings, rulebook: Rulebook) -> Iterator[str]:
    own = ""
    try:
        check_settings(settings.values, rulebook)
    except ConfigError as error:
        own = str(error)
        yield own
    for section, presets in settings.values.presets.items():
        if section not in FORECASTER_SECTIONS:
            near = did_you_mean(section, FORECASTER_SECTIONS)
            yield f"presets.{section}: no such section; known: {', '.join(FORECASTER_SECTIONS)}{near}"
            continue
        for preset in presets:
            try:
                check_settings(settings.with_preset(section, preset).values, rulebook)
            except ConfigError as error:
                if str(error) != own:  # else it is not the preset's fault
                    yield f"presets.{section}.{preset}: {error}"
    values = settings.values
    named = [("replay.forecasters", name) for name in values.replay.forecasters]
    for key, name in (*named, ("live.forecaster", values.live.forecaster)):
        try:
            _check_name(name, settings)
        except (ConfigError, UnknownForecaster) as error:
            yield f"{key}: {error}"
    for key, assets in (("live.assets", values.live.assets), ("fit.assets", values.fit.assets)):
        if wrong := set(assets) - set(rulebook.symbols):
            yield f"{key}: {_unknown_assets(wrong, rulebook)}"


def _check_name(name: str, settings: LoadedSettings) -> None:
    """Refuse an unknown name; a module of the user's is left to be imported where it is needed."""
    if ":" not in name:
        factory_of(name.partition("@")[0])
        apply_preset(name, settings)


def _unknown_assets(wrong: set[str], rulebook: Rulebook) -> str:
    first, *_ = names = sorted(wrong)
    known = rulebook.symbols
    return f"unknown asset {', '.join(names)}; known: {', '.join(known)}{did_you_mean(first, known)}"
