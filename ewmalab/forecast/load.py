"""Load forecasters by name (``ewma``, ``ewma@seed``, ``random-walk``, ``package.module:attribute``) or by class."""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
from collections.abc import Callable, Iterable
from functools import cache
from operator import attrgetter
from pathlib import Path
from traceback import extract_tb
from typing import Any

import ewmalab
from ewmalab.close_names import did_you_mean
from ewmalab.errors import ConfigError, ForecasterError, UnknownForecaster
from ewmalab.forecast.code_digest import code_of
from ewmalab.forecast.plugin_errors import naming_plugin
from ewmalab.forecast.protocol import Forecaster
from ewmalab.rulebook import Asset
from ewmalab.settings import LoadedSettings
from ewmalab.settings.schema import asset_parameters

Factory = Callable[..., Forecaster[Any]]
"""Makes a forecaster from an `Asset` and the parameters of the settings."""

_LIBRARIES = ("numba", "numpy", "llvmlite")

BUILT_IN = {
    "ewma": "ewmalab.forecast.ewma.forecaster:Ewma",
    "random-walk": "ewmalab.forecast.random_walk:RandomWalk",
    "seasonal-har": "ewmalab.forecast.seasonal_har.forecaster:SeasonalHar",
    "blend": "ewmalab.forecast.blend:blend",
}
"""Classes and functions by name; imported on first use, because their kernels are slow to import."""
FITTED = "seasonal-har"
"""The built-in forecaster that is fitted where none is named."""
FORECASTER_SECTIONS = (*(name.replace("-", "_") for name in BUILT_IN), "plugin")
"""Sections of the settings that hold parameters of forecasters."""

_given: dict[str, Any] = {}  # classes and functions given to this process that cannot be imported


def load_forecaster(name: str, asset: Asset, settings: LoadedSettings) -> Forecaster[Any]:
    """Make the forecaster of one asset.

    Parameters
    ----------
    name : str
        A built-in name or ``package.module:attribute``, optionally followed by ``@preset``. The attribute is called as
        ``attribute(asset, **parameters)`` with the entries of the settings' table ``[plugin]``, per-asset tables
        resolved. Its presets are ``[presets.plugin.<preset>]``.
    asset : Asset
    settings : LoadedSettings

    Raises
    ------
    ForecasterError
        If the name cannot be imported, does not take its parameters, or lacks a method of the protocol.
    ConfigError
        If the preset is unknown.
    """
    base, settings = apply_preset(name, settings)
    factory, section = factory_of(base)
    parameters = asset_parameters(getattr(settings.values, section), asset.symbol)
    if members := members_of(base, settings):
        parameters["members"] = {member: load_forecaster(member, asset, settings) for member in members}
    if not callable(factory):
        raise ForecasterError(f"{base} is of type {type(factory).__name__}: name a class or function")
    with naming_plugin(factory, base, asset.symbol):
        try:
            forecaster = factory(asset, **parameters)
        except TypeError as error:
            raise ForecasterError(f"{base} does not take these parameters: {error}") from error
    if not isinstance(forecaster, Forecaster):
        methods = ("initial_state", "update", "simulate", "dump_state", "load_state")
        missing = [method for method in methods if not callable(getattr(forecaster, method, None))]
        raise ForecasterError(f"{base} is not a forecaster: it lacks {', '.join(missing)}")
    return forecaster


def members_of(name: str, settings: LoadedSettings) -> tuple[str, ...]:
    """Return the names of the forecasters that a forecaster is made of: those of ``blend``, else none.

    Raises
    ------
    ConfigError
        If the preset is unknown.
    """
    base, settings = apply_preset(name, settings)
    return settings.values.blend.members if base == "blend" else ()


def identity_of(name: str, asset: str, settings: LoadedSettings) -> dict[str, Any]:
    """Return the base name and parameters of a forecaster, and those of its members with their code, as plain data.

    Raises
    ------
    ForecasterError, ConfigError
        As in `load_forecaster`.
    """
    base, settings = apply_preset(name, settings)
    parameters = asset_parameters(getattr(settings.values, factory_of(base)[1]), asset)
    members = [
        {**identity_of(member, asset, settings), "code": code_version(member.partition("@")[0])}
        for member in members_of(base, settings)
    ]
    return {"forecaster": base, "parameters": parameters} | ({"members": members} if members else {})


def names_of(forecasters: Iterable[str | Factory]) -> tuple[str, ...]:
    """Return the names of forecasters without duplicates, and make classes and functions loadable by name.

    Parameters
    ----------
    forecasters : iterable of str or callable
        A class or function may be defined anywhere, even in a notebook or inside a function. One that cannot be
        imported by its name is remembered in this process only. The newest of a name counts.

    Raises
    ------
    ForecasterError
        If an object is neither a class nor a function, or two share a name.
    """
    found: dict[str, Factory | None] = {}
    for forecaster in forecasters:
        given = None if isinstance(forecaster, str) else forecaster
        name = forecaster if isinstance(forecaster, str) else _name_of(forecaster)
        before = found.setdefault(name, given)
        if given is not None and before not in (None, given):
            raise ForecasterError(f"two forecasters are called {name}: give one of them another name")
        found[name] = given or before
    for name, factory in found.items():
        if factory is not None:
            _remember(name, factory)
    return tuple(found)


def _name_of(factory: Factory) -> str:
    module, attribute = (getattr(factory, key, None) for key in ("__module__", "__qualname__"))
    if not callable(factory) or module is None or attribute is None:
        raise ForecasterError(
            f"{factory!r} is not a forecaster's name, class or function: wrap it in a function that takes an asset"
        )
    found = f"{module}:{attribute}"
    return next((name for name, place in BUILT_IN.items() if place == found), found)


def is_importable(name: str) -> bool:
    """Return whether another process can make a forecaster by its name, with or without a preset."""
    base = name.partition("@")[0]
    return base not in _given and not base.startswith("__main__:")


def _remember(name: str, factory: Factory) -> None:
    _given.pop(name, None)
    try:
        importable = factory_of(name)[0] is factory
    except ForecasterError:
        importable = False
    if not importable:
        _given[name] = factory


def factory_of(base: str) -> tuple[Any, str]:
    """Return a forecaster's factory and the section of the settings that holds its parameters.

    Parameters
    ----------
    base : str
        Name without a preset.

    Raises
    ------
    ForecasterError
        If the name cannot be imported; `UnknownForecaster` if it is no name of a forecaster.
    """
    if base in BUILT_IN:
        return _import(BUILT_IN[base]), base.replace("-", "_")
    return _given.get(base) or _import(base), "plugin"


def apply_preset(name: str, settings: LoadedSettings) -> tuple[str, LoadedSettings]:
    """Return a forecaster's name without its preset, and the settings with the preset applied.

    Raises
    ------
    ConfigError
        If the preset is unknown.
    """
    base, at, preset = name.partition("@")
    if at and not (base and preset):
        raise ConfigError(f"{name!r}: name a forecaster and a preset, such as ewma@seed, or the forecaster alone")
    return base, settings.with_preset(factory_of(base)[1], preset) if preset else settings


def code_version(forecaster: str) -> str:
    """Return a digest of the package's source, the forecaster's source, and the libraries that compile them."""
    return _code_version(factory_of(forecaster)[0])


@cache
def _code_version(factory: Any) -> str:
    return hashlib.sha256(_package() + code_of(factory, Path(ewmalab.__file__).parent)).hexdigest()


@cache
def _package() -> bytes:
    sha = hashlib.sha256()
    root = Path(ewmalab.__file__).parent
    for path in sorted([*root.rglob("*.py"), *root.rglob("*.toml"), *root.rglob("*.json")]):
        sha.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    for name in _LIBRARIES:
        sha.update(f"{name}=={importlib.metadata.version(name)}".encode())
    return sha.digest()


def _import(name: str) -> Any:
    module, colon, attribute = name.partition(":")
    if not colon:
        raise UnknownForecaster(
            f"unknown forecaster {name!r}: choose {' or '.join(BUILT_IN)}, or name your own as package.module:attribute"
            f"{did_you_mean(name, BUILT_IN)}"
        )
    if not all(part.isidentifier() for part in module.split(".")):
        raise ForecasterError(
            f"forecaster {name!r} cannot be imported: {module!r} is no module's name: write package.module:attribute"
        )
    try:
        return attrgetter(attribute)(importlib.import_module(module))
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        if module == "__main__" or "<" in attribute:
            raise ForecasterError(
                f"forecaster {name!r} is a class or function of another process, a notebook or script: move it to a "
                "module and name it as package.module:attribute"
            ) from error
        raise ForecasterError(f"forecaster {name!r} cannot be imported: {error}") from error
    except Exception as error:  # whatever its module does when it is imported
        frame = extract_tb(error.__traceback__)[-1]
        place = f" ({frame.filename}, line {frame.lineno})"
        if isinstance(error, SyntaxError):  # its text names the file and the line
            place = ""
        raise ForecasterError(
            f"forecaster {name!r} cannot be imported: {type(error).__name__}: {error}{place}"
        ) from error
