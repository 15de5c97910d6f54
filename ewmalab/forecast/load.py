"""Forecasters by name: ``ewma``, ``ewma@seed``, ``random-walk``, ``package.module:attribute``."""

from __future__ import annotations

import importlib
from typing import Any

from ewmalab.errors import ForecasterError
from ewmalab.forecast.ewma import Ewma
from ewmalab.forecast.protocol import Forecaster
from ewmalab.forecast.random_walk import RandomWalk
from ewmalab.rulebook import Asset
from ewmalab.settings import LoadedSettings, asset_parameters

BUILT_IN: dict[str, Any] = {"ewma": Ewma, "random-walk": RandomWalk}


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
