"""The settings that a sweep varies, and their values."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from ewmalab.close_names import did_you_mean
from ewmalab.errors import ConfigError
from ewmalab.forecast.load import FORECASTER_SECTIONS, factory_of
from ewmalab.settings import LoadedSettings
from ewmalab.settings.schema import Settings, asset_value
from ewmalab.units import format_duration, magnitude

HALF_LIVES = ("5m", "10m", "20m", "40m", "80m", "3h", "6h", "12h", "1d", "2d")
DEGREES_OF_FREEDOM = (2.1, 2.5, 3, 4, 5, 6, 8, 10, 15, 30)
SHARES = (0, 0.25, 0.5, 0.75, 1)
_FACTORS = (0.25, 0.5, 1, 2, 4)

# A sweep may change the forecaster and how prompts are replayed. Changing the bars would compare markets.
_SECTIONS = (*FORECASTER_SECTIONS, "replay", "run")
_FIXED = ("run.threads", "run.experiments_dir", "replay.forecasters")

Overrides = tuple[tuple[str, Any], ...]  # dotted key and plain value, in the parameters' order


@dataclass(frozen=True, slots=True)
class Parameter:
    """A setting that is swept.

    Attributes
    ----------
    key : str
        Dotted, e.g. ``ewma.half_life_1m``.
    values : tuple
        Plain values as a settings file could hold them, ascending where they are numbers or durations.
    closed : (bool, bool)
        Whether the setting allows nothing below the first, and nothing above the last value.
    """

    key: str
    values: tuple[Any, ...]
    closed: tuple[bool, bool] = (False, False)

    @property
    def name(self) -> str:
        """Return the key without its section."""
        return self.key.partition(".")[2]

    def configured(self, settings: LoadedSettings, asset: str) -> Any:
        """Return an asset's configured value, plain."""
        value = _present(settings.values.plain(), self.key)
        return asset_value(value, asset) if isinstance(value, Mapping) and "default" in value else value

    @property
    def ordered(self) -> bool:
        """Return whether the values are ordered, so that the grid has edges."""
        return all(magnitude(value) is not None for value in self.values)


def resolve(name: str, values: Sequence[str] | None, settings: LoadedSettings, forecaster: str) -> Parameter:
    """Find the setting that a name denotes, and its grid.

    Parameters
    ----------
    name : str
        In upper or lower case; with its section (``replay.request_lead``), or without if it is one of the forecaster's
        own or unique.
    values : sequence of str, optional
        As on the command line; by default the grid of the setting's kind.
    settings : LoadedSettings
    forecaster : str
        Name without a preset.

    Raises
    ------
    ConfigError
        If there is no such setting, it cannot be swept, or a value is refused.
    """
    key = _find(name.strip(), settings, forecaster)
    present = _present(settings.values.plain(), key)
    sample = present["default"] if isinstance(present, Mapping) and "default" in present else present
    if isinstance(sample, Mapping | list | tuple):
        raise ConfigError(f"{key} is a {'table' if isinstance(sample, Mapping) else 'list'}: only single values vary")
    chosen = [_plain(text) for text in values] if values else _grid(key, sample)
    seen: dict[Any, Any] = {}
    for value in chosen:
        # Validated and normalised by the settings: 90m and 5400s are one value.
        try:
            loaded = settings.with_flags({key: value})
        except ConfigError:
            if values:
                raise
            continue  # a default grid reaches beyond what this setting allows
        plain = _present(loaded.values.plain(), key)
        seen[_normal(plain["default"] if isinstance(plain, Mapping) and "default" in plain else plain)] = None
    ordered = list(seen)
    if not ordered:
        raise ConfigError(f"{key} has no default grid: give --values A,B,C")
    if all(magnitude(v) is not None for v in ordered):
        ordered.sort(key=lambda v: magnitude(v) or 0.0)
        return Parameter(
            key, tuple(ordered), (_closed(key, ordered[0], -1, settings), _closed(key, ordered[-1], 1, settings))
        )
    return Parameter(key, tuple(ordered))


def resolve_all(
    parameters: Mapping[str, Sequence[str] | None] | Sequence[str], settings: LoadedSettings, forecaster: str
) -> list[Parameter]:
    """Find the settings that names denote: a mapping gives their values, a sequence takes the default grids.

    Raises
    ------
    ConfigError
        As in `resolve`, or for a duplicate setting.
    """
    chosen = dict(parameters) if isinstance(parameters, Mapping) else dict.fromkeys(parameters)
    resolved = [resolve(name, values, settings, forecaster) for name, values in chosen.items()]
    if len({parameter.key for parameter in resolved}) < len(resolved):
        raise ConfigError("duplicate parameter")
    return resolved


def _closed(key: str, value: Any, side: int, settings: LoadedSettings) -> bool:
    """Return whether a setting refuses values just beyond a value."""
    size = magnitude(value) or 0.0
    step = 0.02 * size or 0.02
    beyond: list[Any] = [size + side * step, round(size) + side]  # the latter for settings that are whole numbers
    if isinstance(value, str):
        beyond = [f"{round(number)}s" for number in beyond if number >= 0]
    return not any(_allowed(key, number, settings) for number in beyond)


def _allowed(key: str, value: Any, settings: LoadedSettings) -> bool:
    try:
        settings.with_flags({key: value})
    except ConfigError:
        return False
    return True


def combinations(parameters: Sequence[Parameter]) -> list[Overrides]:
    """Return every combination of the parameters' values."""
    keys = [p.key for p in parameters]
    return [tuple(zip(keys, combo, strict=True)) for combo in itertools.product(*(p.values for p in parameters))]


def label(overrides: Overrides) -> str:
    """Return a readable combination: ``30m``, or ``half_life_1m 30m, nu_1m 6`` for several settings."""
    if len(overrides) == 1:
        return show(overrides[0][1])
    return ", ".join(f"{key.partition('.')[2]} {show(value)}" for key, value in overrides)


def show(value: Any) -> str:
    """Return a value as a settings file would write it, without quotes."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def _find(name: str, settings: LoadedSettings, forecaster: str) -> str:
    own = factory_of(forecaster)[1]
    # a plug-in's parameters may have upper-case letters; no two differ only in case
    tables = {s: {key.lower(): key for key in dict(getattr(settings.values, s))} for s in _SECTIONS}
    section, dot, key = name.lower().partition(".")
    if dot:
        section = section.replace("-", "_")
        if section == "fit":
            raise ConfigError(f"{name}: a sweep uses one fit; compare backtests with --refit instead")
        if section not in _SECTIONS:
            raise ConfigError(
                f"{name}: a sweep varies a forecaster or the replay ({', '.join(_SECTIONS)}), not section {section!r}"
            )
        candidates = [section] if key in tables[section] else []
    else:
        key = section
        candidates = [own] if key in tables[own] else [s for s in _SECTIONS if s != "plugin" and key in tables[s]]
    dotted = [f"{s}.{tables[s][key]}" for s in candidates]
    if not dotted:
        known = ", ".join(sorted(tables[own].values())) or "none: give its parameters in [plugin]"
        near = did_you_mean(key, tables[own].values())
        raise ConfigError(f"no setting {name!r} to sweep; those of {forecaster} are {known}{near}")
    if len(dotted) > 1:
        raise ConfigError(f"{name!r} may be {' or '.join(dotted)}: name it with its section")
    section = candidates[0]
    if dotted[0] in _FIXED:
        raise ConfigError(f"{dotted[0]} does not change a forecast: there is nothing to sweep")
    if section in FORECASTER_SECTIONS and section != own:
        raise ConfigError(f"{dotted[0]} is not a setting of {forecaster}: choose another --forecaster")
    return dotted[0]


def _present(plain: Mapping[str, Any], key: str) -> Any:
    section, _, name = key.partition(".")
    return plain[section][name]


def _plain(text: str) -> Any:
    text = text.strip()
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return {"true": True, "false": False}.get(text.lower(), text)


def _normal(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _grid(key: str, sample: Any) -> list[Any]:
    """Return the default grid of a setting, by its kind."""
    section, _, name = key.partition(".")
    if isinstance(sample, bool):
        return [False, True]
    if name.startswith("nu_") or name == "nu":
        return list(DEGREES_OF_FREEDOM)
    if "half_life" in name and magnitude(sample) is not None and isinstance(sample, str):
        return list(HALF_LIVES)
    if section in Settings.model_fields and section != "plugin":
        field = Settings.model_fields[section].annotation.model_fields.get(name)  # type: ignore[union-attr]
        if field is not None and get_origin(field.annotation) is Literal:
            return list(get_args(field.annotation))
    if name in ("variance_mixing_alpha", "feedback"):
        return list(SHARES)
    if isinstance(sample, int | float) and sample and key != "run.seed":
        grid = [sample * factor for factor in _FACTORS]
        return [round(value) for value in grid] if isinstance(sample, int) else grid
    seconds = magnitude(sample)
    if seconds:
        return [format_duration(max(1, round(seconds * factor))) for factor in _FACTORS]
    raise ConfigError(f"{key} has no default grid: give --values A,B,C")
