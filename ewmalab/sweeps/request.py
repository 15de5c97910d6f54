"""Check what a sweep is asked for before any bar is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ewmalab.errors import ConfigError
from ewmalab.forecast.load import apply_preset
from ewmalab.settings import LoadedSettings
from ewmalab.sweeps.parameters import Parameter, resolve_all
from ewmalab.units import parse_duration


def parse_walk_forward(text: str) -> tuple[int, int]:
    """Parse ``5d/1d`` and return the lengths of the choosing and the testing window, seconds.

    Raises
    ------
    ConfigError
    """
    train, slash, test = text.partition("/")
    try:
        if not slash:
            raise ValueError("two durations with a slash between them")
        windows = parse_duration(train), parse_duration(test)
    except ValueError as error:
        raise ConfigError(f"walk-forward {text!r}: {error}; write for example 5d/1d") from None
    if min(windows) < 3600:
        raise ConfigError(f"walk-forward {text!r}: windows must be an hour or longer")
    return windows


def check_request(
    settings: LoadedSettings,
    parameters: Mapping[str, Sequence[str] | None],
    forecaster: str,
    forward: str | None = None,
) -> list[Parameter]:
    """Return the parameters; refuse values and windows that cannot be swept, before any bar is read.

    Parameters
    ----------
    settings, parameters, forward
        As in `sweep`.
    forecaster : str
        With or without a preset.

    Raises
    ------
    ConfigError, ForecasterError
    """
    base, applied = apply_preset(forecaster, settings)
    if forward:
        parse_walk_forward(forward)
    return list(resolve_all(parameters, applied, base))
