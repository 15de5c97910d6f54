"""Settings: defaults.toml < ewmalab.toml < ``EWMALAB__SECTION__KEY`` < flags, each value with its source.

Keys are lower case in files; any case is accepted. Asset symbols inside per-asset tables are upper case.
"""

from __future__ import annotations

import hashlib
import os
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from pydantic import ValidationError

from ewmalab.errors import ConfigError
from ewmalab.settings.schema import MASK, Settings

PREFIX = "EWMALAB__"
DEFAULTS = Path(__file__).with_name("defaults.toml")
USER_FILE = "ewmalab.toml"
PRESET = "preset "  # how the layer of a preset is called

# Variables that other tools of the field read too.
_VARIABLES = (("PYTH_API_KEY", "pyth", "api_key"), ("BINANCE_API_HOST", "binance", "host"))


@dataclass(frozen=True)
class Layer:
    """One source of settings: a nested table and what to call it."""

    name: str
    table: Mapping[str, Any]


@dataclass(frozen=True)
class LoadedSettings:
    """Validated settings with the layers they came from.

    Attributes
    ----------
    values : Settings
    layers : sequence of Layer
        From weakest to strongest.
    """

    values: Settings
    layers: tuple[Layer, ...]

    def sources(self) -> dict[str, str]:
        """Return, for each dotted key, the name of the layer that set it."""
        return _merge(self.layers)[1]

    def effective(self) -> list[tuple[str, Any, str]]:
        """Return every setting as dotted key, plain value (secrets masked) and the layer it came from."""
        sources = self.sources()
        rows = []
        for key, value in _leaves(self.values.plain()):
            low = key.lower()
            rows.append((key, value, sources.get(low) or sources.get(low.removesuffix(".default")) or "defaults"))
        return rows

    def with_preset(self, section: str, preset: str) -> LoadedSettings:
        """Return settings in which a preset lies over the file and the environment, under the flags.

        Raises
        ------
        ConfigError
            If there is no such preset.
        """
        known = self.values.presets.get(section.replace("-", "_"), {})
        if preset not in known:
            raise ConfigError(f"{section!r} has no preset {preset!r}; known: {', '.join(known) or 'none'}")
        layer = Layer(f"{PRESET}{preset}", {section.replace("-", "_"): known[preset]})
        return _build((*self.layers[:-1], layer, self.layers[-1]))

    def without_secrets(self) -> LoadedSettings:
        """Return settings whose layers hold no key: to be sent to other machines, or written down."""
        layers = []
        for layer in self.layers:
            table = _canonical(layer.table)
            if isinstance(table.get("feeds"), dict) and isinstance(table["feeds"].get("pyth"), dict):
                table["feeds"]["pyth"].pop("api_key", None)
            layers.append(Layer(layer.name, table))
        layers[0] = Layer(layers[0].name, _merge((layers[0], Layer("", {"feeds": {"pyth": {"api_key": ""}}})))[0])
        return _build(tuple(layers))

    def dump(self) -> bytes:
        """Return all layers as JSON, without secrets: what `read_settings` turns into equal settings."""
        layers = [[layer.name, layer.table] for layer in self.without_secrets().layers]
        return orjson.dumps(layers, option=orjson.OPT_SORT_KEYS, default=str)

    def dump_digest(self) -> str:
        """Return the sha256 of what `dump` writes."""
        return hashlib.sha256(self.dump()).hexdigest()

    def with_flags(self, flags: Mapping[str, Any]) -> LoadedSettings:
        """Return settings with more flags (dotted keys) on top."""
        table = _nest(flags)
        merged, _ = _merge((self.layers[-1], Layer("flag", table)))
        return _build((*self.layers[:-1], Layer("flag", merged)))


def load_settings(
    *,
    file: Path | None = None,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, Any] | None = None,
) -> LoadedSettings:
    """Read, merge and validate all layers.

    Parameters
    ----------
    file : Path, optional
        A settings file that must exist; by default ``ewmalab.toml`` in the working directory, if there is one.
    environ : mapping, optional
        By default the process environment.
    flags : mapping of dotted key to value, optional
        The strongest layer: ``{"ewma.half_life_1m": "30m"}``.

    Raises
    ------
    ConfigError
        Naming the key, the value, the limit and the source.
    """
    env = os.environ if environ is None else environ
    layers = [Layer("defaults", _read(DEFAULTS))]
    path = file or Path(USER_FILE)
    if file is not None or path.exists():
        layers.append(Layer(str(path), _read(path)))
    layers.append(Layer("environment", _environment(env)))
    layers.append(Layer("flag", _nest(flags or {})))
    return _build(tuple(layers))


def read_settings(data: bytes) -> LoadedSettings:
    """Return the settings that `LoadedSettings.dump` wrote.

    Raises
    ------
    ConfigError
        If they are of another version, or damaged.
    """
    try:
        return _build(tuple(Layer(name, table) for name, table in orjson.loads(data)))
    except (orjson.JSONDecodeError, TypeError, ValueError) as error:
        raise ConfigError(f"recorded settings cannot be read: {error}") from error


def parse_assignments(assignments: Sequence[str]) -> dict[str, Any]:
    """Return flags from ``section.key=value`` texts; values are read as TOML, else as text.

    Raises
    ------
    ConfigError
        If an item is not of that form.
    """
    flags: dict[str, Any] = {}
    for item in assignments:
        key, sign, value = item.partition("=")
        if not sign or "." not in key:
            raise ConfigError(f"{item!r} is not of the form section.key=value, e.g. ewma.half_life_1m=30m")
        flags[key.strip()] = _literal(value)
    return flags


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not a TOML file: {error}") from error


def _literal(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text.strip()


def _environment(env: Mapping[str, str]) -> dict[str, Any]:
    found = {
        name[len(PREFIX) :].replace("__", "."): _literal(value)
        for name, value in sorted(env.items())
        if name.startswith(PREFIX)
    }
    table = _nest(found)
    for name, feed, key in _VARIABLES:
        if env.get(name):
            table.setdefault("feeds", {}).setdefault(feed, {}).setdefault(key, env[name])
    return table


def _nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Turn dotted keys into nested tables."""
    root: dict[str, Any] = {}
    for key, value in flat.items():
        *path, last = key.lower().split(".")
        table = root
        for part in path:
            inner = table.setdefault(part, {})
            if not isinstance(inner, dict):
                raise ConfigError(f"{key}: {part!r} is given both as a value and as a table")
            table = inner
        table[last] = value
    return root


def _leaves(table: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        dotted = f"{path}.{key}" if path else key
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, dotted)
        else:
            yield dotted, value


def _merge(layers: Sequence[Layer]) -> tuple[dict[str, Any], dict[str, str]]:
    """Lay tables over each other; one value replaces a whole per-asset table, a table only its own keys."""
    merged: dict[str, Any] = {}
    sources: dict[str, str] = {}

    def lay(below: dict[str, Any], above: Mapping[str, Any], path: str, name: str) -> None:
        for key, value in above.items():
            dotted = f"{path}{key}"
            if isinstance(value, Mapping):
                inner = below.get(key)
                if not isinstance(inner, dict):
                    inner = {} if key not in below else {"default": inner}
                    below[key] = inner
                    if "default" in inner:
                        sources[f"{dotted}.default"] = sources.pop(dotted)
                lay(inner, value, f"{dotted}.", name)
            else:
                for old in [s for s in sources if s.startswith(f"{dotted}.")]:
                    del sources[old]
                below[key] = value
                sources[dotted] = name

    for layer in layers:
        lay(merged, _canonical(layer.table), "", layer.name)
    return merged, sources


def _canonical(table: Mapping[str, Any]) -> dict[str, Any]:
    """Write every key in lower case so that layers meet; symbols are put back in upper case by `_per_asset`."""
    return {str(k).lower(): _canonical(v) if isinstance(v, Mapping) else v for k, v in table.items()}


def _build(layers: tuple[Layer, ...]) -> LoadedSettings:
    merged, sources = _merge(layers)
    try:
        return LoadedSettings(Settings.model_validate(merged), layers)
    except ValidationError as error:
        raise ConfigError("\n".join(_explain(item, sources) for item in error.errors())) from None


def _explain(item: Any, sources: Mapping[str, str]) -> str:
    """Return one line: key, value, limit, source."""
    path = [str(part) for part in item["loc"] if not str(part).startswith("function-")]
    key = ".".join(path)
    low = key.lower()
    source = sources.get(low) or sources.get(low.removesuffix(".default"))
    if source is None:  # a table where a value belongs: whoever wrote most of it, the strongest layer
        inside = [s for k, s in sources.items() if k.startswith(f"{low}.")]
        source = next((s for s in reversed(inside) if s != "defaults"), "defaults")
    value = item["input"]
    secret = low.endswith("api_key")
    if item["type"] == "extra_forbidden":
        return f"{key}: unknown setting (from {source}); `ewmalab config show` lists the known ones"
    message = str(item["msg"]).removeprefix("Value error, ")
    return f"{key} = {MASK if secret else repr(value)}: {message[:1].lower()}{message[1:]} (from {source})"
