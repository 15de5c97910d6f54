"""Settings: defaults.toml < ewmalab.toml < ``EWMALAB__SECTION__KEY`` < flags, each value with its source.

Keys are accepted in any case. Only a plug-in's parameters keep their case, since they are passed to it as written,
except that a variable in capitals stands for lower case. Two spellings that differ only in case are refused.
"""

from __future__ import annotations

import hashlib
import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import orjson
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from ewmalab.close_names import did_you_mean
from ewmalab.errors import ConfigError
from ewmalab.settings.schema import MASK, SECRETS, Settings
from ewmalab.units import format_duration

Table = dict[str, Any]
"""A table of a settings file."""

PREFIX = "EWMALAB__"
DEFAULTS = Path(__file__).with_name("defaults.toml")
USER_FILE = "ewmalab.toml"
PRESET = "preset "  # prefix of the name of a preset's layer

Key = tuple[str, ...]  # the parts of a dotted key
# Variables that other tools also read.
_VARIABLES: dict[str, Key] = {
    "PYTH_API_KEY": ("feeds", "pyth", "api_key"),
    "BINANCE_API_HOST": ("feeds", "binance", "host"),
}


@dataclass(frozen=True)
class Layer:
    """One source of settings: its name, and its values by key. No value is a table, except an empty one."""

    name: str
    values: dict[Key, Any]

    @classmethod
    def of(cls, name: str, items: Iterable[tuple[Key, Any]]) -> Layer:
        """Return a layer of keys with their values or tables; raise `ConfigError` if a setting is given twice."""
        values: dict[Key, Any] = {}
        written: dict[Key, Key] = {}
        for key, value in (leaf for item in items for leaf in _leaves(*item)):
            spelled = _spell(key)
            if written.setdefault(spelled, key) != key:
                raise ConfigError(
                    f"{'.'.join(key)} and {'.'.join(written[spelled])} are the same setting (from {name})"
                )
            values[spelled] = value
        for stem in (key[:i] for key in values for i in range(1, len(key))):
            if stem in values:
                raise ConfigError(f"{'.'.join(stem)} is given both as a value and as a table (from {name})")
        return cls(name, values)

    @property
    def table(self) -> Table:
        """The values as nested tables."""
        return _nest(self.values)


@dataclass(frozen=True)
class LoadedSettings:
    """Validated settings with their layers, from weakest to strongest; the last layer holds the flags."""

    values: Settings
    layers: tuple[Layer, ...]

    def sources(self) -> dict[str, str]:
        """Return the name of the layer that set each dotted key (in lower case)."""
        return _sources(_merge(self.layers))

    def effective(self) -> list[tuple[str, Any, str]]:
        """Return every setting as dotted key, plain value (secrets masked) and name of its layer."""
        sources = self.sources()
        leaves = ((".".join(key), value) for key, value in _leaves((), self.values.plain()))
        return [(key, value, _source(key, sources)) for key, value in leaves]

    def with_preset(self, section: str, preset: str) -> LoadedSettings:
        """Return settings in which a preset overrides the file and the environment, but not the flags.

        Raises
        ------
        ConfigError
            If there is no such preset.
        """
        known = self.values.presets.get(section.replace("-", "_"), {})
        if preset not in known:
            raise ConfigError(
                f"{section!r} has no preset {preset!r}; known: {', '.join(known) or 'none'}"
                f"{did_you_mean(preset, known)}"
            )
        layer = Layer.of(f"{PRESET}{preset}", [((section.replace("-", "_"),), known[preset])])
        return _build((*self.layers[:-1], layer, self.layers[-1]))

    def with_flags(self, flags: Mapping[str, Any]) -> LoadedSettings:
        """Return settings with additional flags (dotted keys)."""
        merged = _merge((self.layers[-1], _flags(flags)))
        return _build((*self.layers[:-1], Layer("flag", {key: value for key, (value, _) in merged.items()})))

    def without_secrets(self) -> LoadedSettings:
        """Return settings whose layers hold no secrets, to be sent to other machines or written to disk."""
        bare = [{key: value for key, value in layer.values.items() if key not in SECRETS} for layer in self.layers]
        bare[0] |= dict.fromkeys(SECRETS, "")
        return _build(tuple(Layer(layer.name, values) for layer, values in zip(self.layers, bare, strict=True)))

    def dump(self) -> bytes:
        """Return all layers as JSON, without secrets; `read_settings` restores equal settings from it."""
        layers = [[layer.name, layer.table] for layer in self.without_secrets().layers]
        return orjson.dumps(layers, option=orjson.OPT_SORT_KEYS, default=str)

    def dump_digest(self) -> str:
        """Return the SHA-256 of `dump`."""
        return hashlib.sha256(self.dump()).hexdigest()


def load_settings(
    *, file: Path | None = None, environ: Mapping[str, str] | None = None, flags: Mapping[str, Any] | None = None
) -> LoadedSettings:
    """Read, merge and validate all layers.

    Parameters
    ----------
    file : Path, optional
        A settings file that must exist; by default ``ewmalab.toml`` in the working directory, if it exists.
    environ : mapping, optional
        By default the process environment.
    flags : mapping of dotted key to value, optional
        The strongest layer: ``{"ewma.half_life_1m": "30m"}``.

    Raises
    ------
    ConfigError
        If a setting is invalid; the message names the key, the value, the limit and the source.
    """
    layers = [_defaults()]
    path = file or Path(USER_FILE)
    if file is not None or path.exists():
        layers.append(Layer.of(str(path), [((), _read(path))]))
    layers.append(_environment(os.environ if environ is None else environ))
    layers.append(_flags(flags or {}))
    return _build(tuple(layers))


def read_settings(data: bytes) -> LoadedSettings:
    """Return the settings that `LoadedSettings.dump` wrote; settings that came later have their defaults.

    Raises
    ------
    ConfigError
        If they are damaged or from another version.
    """
    try:
        first, *others = (Layer.of(name, [((), table)]) for name, table in orjson.loads(data))
        layers = _completed(first), *others
    except (orjson.JSONDecodeError, TypeError, ValueError) as error:
        raise ConfigError(f"recorded settings cannot be read: {error}") from error
    try:
        return _build(layers)
    except ConfigError as error:
        raise ConfigError(
            "recorded settings are of another version of ewmalab, which alone can reproduce what they made: "
            + str(error).partition("\n")[0]
        ) from error


_WITHOUT_PATHS = {"run", "data", "feeds", "field", "live"}  # sections that determine no path
_SHARED = {"replay", "fit"}  # sections that may determine the paths of any forecaster


def _completed(recorded: Layer) -> Layer:
    """Return recorded defaults with those of settings that did not exist yet, unless they may have determined paths.

    The section of a forecaster that did not exist yet cannot have.
    """
    present, known = _defaults(), {key[:2] for key in recorded.values}
    harmless = _WITHOUT_PATHS | ({k[0] for k in present.values} - {key[0] for key in known} - _SHARED)
    added = {k: v for k, v in present.values.items() if k[0] in harmless and k[:2] not in known}
    return Layer(recorded.name, added | recorded.values)


def parse_assignments(assignments: Sequence[str]) -> Table:
    """Return flags from ``section.key=value`` texts; values are read as TOML, else as text.

    Raises
    ------
    ConfigError
        If an item has another form.
    """
    flags: Table = {}
    for item in assignments:
        key, sign, value = item.partition("=")
        if not sign or "." not in key or not all(part.strip() for part in key.split(".")):
            raise ConfigError(f"{item!r} does not have the form section.key=value, e.g. ewma.half_life_1m=30m")
        flags[key.strip()] = _literal(value)
    return flags


@cache
def _defaults() -> Layer:
    return Layer.of("defaults", [((), _read(DEFAULTS))])


def _read(path: Path) -> Table:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))  # editors of Windows write a mark first
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not a TOML file: {error}") from error


def _literal(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text.strip()


def _environment(env: Mapping[str, str]) -> Layer:
    given = [name for name in sorted(env) if name.startswith(PREFIX)]
    layer = Layer.of("environment", ((_variable_key(name), _literal(env[name])) for name in given))
    for name, key in _VARIABLES.items():
        if env.get(name):
            layer.values.setdefault(key, env[name])
    return layer


def _variable_key(name: str) -> Key:
    section, *parts = name.removeprefix(PREFIX).split("__")
    if section.lower() == "plugin" and parts and parts[0].isupper():
        parts[0] = parts[0].lower()  # variables are written in capitals, parameters are not
    return (section, *parts)


def _flags(flags: Mapping[str, Any]) -> Layer:
    return Layer.of("flag", ((tuple(key.split(".")), value) for key, value in flags.items()))


def _spell(key: Key) -> Key:
    """Return a key in lower case, except for a plug-in's parameter, so that keys of all layers match."""
    lower = _lower(key)
    own = 1 if lower[0] == "plugin" else 3 if lower[:2] == ("presets", "plugin") else len(key)
    return lower[:own] + key[own:]


def _lower(key: Key) -> Key:
    return tuple(part.lower() for part in key)


def _leaves(key: Key, value: Any) -> Iterator[tuple[Key, Any]]:
    if not isinstance(value, Mapping) or (key and not value):
        yield key, value
        return
    for part, inner in value.items():
        yield from _leaves((*key, str(part)), inner)


def _nest(values: Mapping[Key, Any]) -> Table:
    root: Table = {}
    for key, value in values.items():
        table = root
        for part in key[:-1]:
            table = table.setdefault(part, {})
        table[key[-1]] = value
    return root


def _merge(layers: Sequence[Layer]) -> dict[Key, tuple[Any, str]]:
    """Merge the layers and return each value with its layer's name. A table replaces only its own keys.

    A value replaces a whole per-asset table. A per-asset table takes the value that it overrides as its default.
    """
    merged: dict[Key, tuple[Any, str]] = {}
    spellings: dict[Key, tuple[Key, str]] = {}
    for layer in layers:
        for key, value in layer.values.items():
            new = _lower(key) not in spellings  # then nothing can be inside
            for stem in (key[:i] for i in range(1, len(key) + 1)):
                other, source = spellings.setdefault(_lower(stem), (stem, layer.name))
                if other != stem:
                    raise ConfigError(
                        f"{'.'.join(stem)} (from {layer.name}) and {'.'.join(other)} (from {source}) differ only in "
                        "case: keep one of them"
                    )
                if stem != key and stem in merged:
                    below = merged.pop(stem)
                    if below[0] != {}:
                        merged[(*stem, "default")] = below
            inside = [] if new else [k for k in merged if k[: len(key)] == key and k != key]
            if value == {} and (inside or key in merged):
                continue  # an empty table sets nothing
            for old in inside:
                del merged[old]
            merged[key] = (value, layer.name)
    return merged


def _sources(merged: Mapping[Key, tuple[Any, str]]) -> dict[str, str]:
    return {".".join(key).lower(): name for key, (_, name) in merged.items()}


def _source(key: str, sources: Mapping[str, str]) -> str:
    """Return the name of a setting's layer; for a table, of the last layer that wrote into it, else the defaults."""
    low = re.sub(r"(\.\d+)+$", "", key.lower())  # an entry of a list
    found = sources.get(low) or sources.get(low.removesuffix(".default"))
    inside = [name for k, name in sources.items() if k.startswith(f"{low}.") and name != "defaults"]
    return found or (inside[-1] if inside else "defaults")


def _build(layers: tuple[Layer, ...]) -> LoadedSettings:
    merged = _merge(layers)
    try:
        values = Settings.model_validate(_nest({key: value for key, (value, _) in merged.items()}))
    except ValidationError as error:
        sources = _sources(merged)
        raise ConfigError("\n".join(_explain(item, sources) for item in error.errors())) from None
    return LoadedSettings(values, layers)


def _in_units(item: ErrorDetails) -> str:
    """Return pydantic's message; the limit of a duration is written as one."""
    limits = [value for value in item.get("ctx", {}).values() if isinstance(value, int)]
    if not isinstance(item["input"], str) or not limits or not item["type"].startswith(("less", "greater")):
        return item["msg"]
    return item["msg"].replace(str(limits[0]), format_duration(limits[0]))


def _known_keys(model: type[BaseModel] = Settings, prefix: str = "") -> list[str]:
    """Return sections and settings, as dotted keys."""
    found = []
    for name, field in model.model_fields.items():
        found.append(prefix + name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found += _known_keys(field.annotation, f"{prefix}{name}.")
    return found


def _explain(item: ErrorDetails, sources: Mapping[str, str]) -> str:
    """Return one line: key, value, limit, source."""
    key = ".".join(str(part) for part in item["loc"] if not str(part).startswith("function-"))
    source = f"(from {_source(key, sources)})"
    if item["type"] == "extra_forbidden":
        near = did_you_mean(key, _known_keys())
        return f"{key}: unknown setting {source}; `ewmalab config show` lists the known ones{near}"
    secret = tuple(key.lower().split(".")) in SECRETS or key.lower().endswith("api_key")
    value = MASK if secret else repr(item["input"])
    if item["type"] == "missing":
        return f"{key}: missing {source}"
    message = _in_units(item).removeprefix("Value error, ")
    choices = re.findall("'([^']+)'", item["ctx"]["expected"]) if item["type"] == "literal_error" else ()
    near = did_you_mean(str(item["input"]), choices)
    return f"{key} = {value}: {message[:1].lower()}{message[1:]} {source}{near}"
