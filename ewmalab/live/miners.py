"""Several miners on one machine: one updater keeps the states, each hotkey has a miner of its own."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from ewmalab.errors import ConfigError
from ewmalab.settings import LoadedSettings
from ewmalab.settings.schema import LiveSettings


def own_settings(settings: LoadedSettings) -> LoadedSettings:
    """Return the settings of the miner that ``live.miner`` names.

    Raises
    ------
    ConfigError
        If no such miner is configured, or miners are and none is named.
    """
    live = settings.values.live
    if not live.miner and not live.miners:
        return settings
    if live.miner not in live.miners:
        known = ", ".join(live.miners) or "none"
        what = f"live.miner = {live.miner!r}: no such miner" if live.miner else "several miners are configured"
        raise ConfigError(f"{what}; name one with --miner NAME; known: {known}")
    own = {f"live.{key}": value for key, value in live.miners[live.miner].items()}
    return settings.with_flags(own)


def all_miners(settings: LoadedSettings) -> dict[str, LoadedSettings]:
    """Return the settings of every miner by name; a miner that is the only one has no name.

    Raises
    ------
    ConfigError
        If two of them have the same port or the same hotkey.
    """
    live = settings.values.live
    if live.miner or not live.miners:
        return {live.miner: own_settings(settings)}
    found = {name: own_settings(settings.with_flags({"live.miner": name})) for name in live.miners}
    each = [one.values.live for one in found.values()]
    ports = Counter(port for one in each for port in (one.port, one.monitor_port) if port)
    keys = Counter(f"{one.wallet}/{one.hotkey}" for one in each)
    for what, counts in (("port", ports), ("hotkey", keys)):
        for value, count in counts.items():
            if count > 1:
                raise ConfigError(f"live.miners: {what} {value} is used {count} times; give each miner its own")
    return found


def log_folder(live: LiveSettings) -> Path:
    """Return the folder of a miner's answer log."""
    return live.log_dir / live.miner
