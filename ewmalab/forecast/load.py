"""Forecasters by name: ``ewma``, ``ewma@seed``, ``random-walk``, ``package.module:attribute``."""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import inspect
from functools import cache
from pathlib import Path
from typing import Any

import ewmalab
from ewmalab.errors import ForecasterError
from ewmalab.forecast.ewma import Ewma
from ewmalab.forecast.protocol import Forecaster
from ewmalab.forecast.random_walk import RandomWalk
from ewmalab.forecast.seasonal_har import SeasonalHar
from ewmalab.rulebook import Asset
from ewmalab.settings import LoadedSettings
from ewmalab.settings.schema import asset_parameters

_LIBRARIES = ("numba", "numpy", "llvmlite")

BUILT_IN: dict[str, Any] = {"ewma": Ewma, "random-walk": RandomWalk, "seasonal-har": SeasonalHar}
FORECASTER_SECTIONS = (*(name.replace("-", "_") for name in BUILT_IN), "plugin")
"""Sections of the settings that hold parameters of forecasters."""


def load_forecaster(name: str, asset: Asset, settings: LoadedSettings) -> Forecaster[Any]:
    """Make the forecaster of one asset.

    Parameters
    ----------
    name : str
        A built-in name or ``package.module:attribute``, optionally followed by ``@preset``. The attribute is called as
        ``attribute(asset, **parameters)`` with the entries of the settings' table ``[plugin]``, per-asset tables
        resolved; presets of it stand under ``[presets.plugin.<preset>]``.
    asset : Asset
    settings : LoadedSettings

    Raises
    ------
    ForecasterError
        If the name cannot be imported, refuses its parameters, or lacks a method of the protocol.
    ConfigError
        If the preset is unknown.
    """
    base, settings = apply_preset(name, settings)
    factory, section = factory_of(base)
    parameters = asset_parameters(getattr(settings.values, section), asset.symbol)
    try:
        forecaster = factory(asset, **parameters)
    except TypeError as error:
        raise ForecasterError(f"{base} does not take these parameters: {error}") from error
    if not isinstance(forecaster, Forecaster):
        missing = [m for m in ("initial_state", "update", "simulate", "dump_state", "load_state")
                   if not callable(getattr(forecaster, m, None))]  # fmt: skip
        raise ForecasterError(f"{base} is not a forecaster: it lacks {', '.join(missing)}")
    return forecaster


def factory_of(base: str) -> tuple[Any, str]:
    """Return what makes a forecaster, and the section of the settings that its parameters stand in.

    Parameters
    ----------
    base : str
        Name without a preset.

    Raises
    ------
    ForecasterError
        If the name cannot be imported.
    """
    if base in BUILT_IN:
        return BUILT_IN[base], base.replace("-", "_")
    return _import(base), "plugin"


def apply_preset(name: str, settings: LoadedSettings) -> tuple[str, LoadedSettings]:
    """Return a forecaster's name without its preset, and settings in which the preset holds.

    Raises
    ------
    ConfigError
        If the preset is unknown.
    """
    base, _, preset = name.partition("@")
    return base, settings.with_preset(factory_of(base)[1], preset) if preset else settings


@cache
def code_version(forecaster: str) -> str:
    """Return a digest of this package's source, the forecaster's own, and the libraries that compile them."""
    sha = hashlib.sha256()
    root = Path(ewmalab.__file__).parent
    for path in sorted([*root.rglob("*.py"), *root.rglob("*.toml")]):
        sha.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    source = inspect.getsourcefile(factory_of(forecaster)[0])
    if source is not None and not Path(source).is_relative_to(root):
        sha.update(Path(source).read_bytes())
    for name in _LIBRARIES:
        sha.update(f"{name}=={importlib.metadata.version(name)}".encode())
    return sha.hexdigest()


def _import(name: str) -> Any:
    module, colon, attribute = name.partition(":")
    if not colon:
        raise ForecasterError(
            f"unknown forecaster {name!r}: choose {' or '.join(BUILT_IN)}, or name your own as package.module:attribute"
        )
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise ForecasterError(f"forecaster {name!r} cannot be imported: {error}") from error
