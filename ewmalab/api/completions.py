"""Names for the completion of a shell. A key is waited for, so nothing heavy is imported, and no fault is reported."""

from __future__ import annotations

import json
from collections.abc import Callable

from ewmalab.errors import EwmalabError
from ewmalab.settings import LoadedSettings, load_settings

_BUILT_IN = ("ewma", "random-walk", "seasonal-har", "blend")


def complete(kind: str, incomplete: str) -> list[str]:
    """Return the names of a kind that a text may become; of a list with commas, the last name is completed.

    Parameters
    ----------
    kind : {"assets", "competitions", "experiments", "feeds", "forecasters", "named", "parameters", "presets",
        "tags"}
        ``named`` are forecasters and experiments.
    incomplete : str
    """
    before, comma, last = incomplete.rpartition(",") if kind in ("assets", "competitions") else ("", "", incomplete)
    try:
        names = _KINDS[kind](load_settings())
    except (EwmalabError, OSError, ValueError, KeyError, TypeError):
        return []
    return [f"{before}{comma}{name}" for name in names if name.lower().startswith(last.lower())]


def _assets(_: LoadedSettings) -> list[str]:
    from ewmalab.rulebook import load_rulebook

    return list(load_rulebook().symbols)


def _competitions(_: LoadedSettings) -> list[str]:
    from ewmalab.rulebook import load_rulebook

    every = [competition for era in load_rulebook().eras for competition in era.competitions.values()]
    return list(dict.fromkeys([*(c.name for c in every), *(alias for c in every for alias in c.aliases)]))


def _experiments(settings: LoadedSettings) -> list[str]:
    """Return the names of experiments, the newest first."""
    found = settings.values.run.experiments_dir.glob("[!.]*-*/manifest.json")
    return ["latest", *sorted((path.parent.name for path in found), reverse=True)]


def _tags(settings: LoadedSettings) -> list[str]:
    """Return the tags of all experiments."""
    files = settings.values.run.experiments_dir.glob("[!.]*-*/tags.json")
    return sorted({tag for path in files for tag in json.loads(path.read_bytes())["tags"]})


def _feeds(_: LoadedSettings) -> list[str]:
    from typing import get_args

    from ewmalab.settings.schema import FeedName

    return list(get_args(FeedName))


def _forecasters(settings: LoadedSettings) -> list[str]:
    return [*_BUILT_IN, *_presets(settings)]


def _presets(settings: LoadedSettings) -> list[str]:
    presets = settings.values.presets.items()
    return [f"{section.replace('_', '-')}@{name}" for section, found in presets for name in found]


def _parameters(settings: LoadedSettings) -> list[str]:
    values = settings.values
    own = [key for section in (values.ewma, values.seasonal_har, values.random_walk) for key, _ in section]
    return [*own, *(f"plugin.{key}" for key in values.plugin)]


_KINDS: dict[str, Callable[[LoadedSettings], list[str]]] = {
    "assets": _assets,
    "competitions": _competitions,
    "experiments": _experiments,
    "feeds": _feeds,
    "forecasters": _forecasters,
    "named": lambda settings: [*_forecasters(settings), *_experiments(settings)],
    "parameters": _parameters,
    "presets": _presets,
    "tags": _tags,
}
