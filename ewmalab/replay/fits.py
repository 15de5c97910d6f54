"""Parts of a replay: where a forecaster is fitted along the way, each part has a fit of its own past."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ewmalab.forecast.load import apply_preset, load_forecaster
from ewmalab.forecast.protocol import Forecaster
from ewmalab.forecast.seasonal_har.artifact import entry_for, read_artifact
from ewmalab.forecast.seasonal_har.refit import boundary, refit
from ewmalab.market.bars import Bars
from ewmalab.replay.data import Group, warmup_start
from ewmalab.replay.schedule import Scheduled
from ewmalab.rulebook import Asset, Rulebook
from ewmalab.settings import LoadedSettings
from ewmalab.settings.schema import SeasonalHarSettings


def refitted(name: str, settings: LoadedSettings) -> SeasonalHarSettings | None:
    """Return how a forecaster is fitted along the way, None if it is not."""
    base, chosen = apply_preset(name, settings)
    own = chosen.values.seasonal_har
    return own if base == "seasonal-har" and own.refit else None


def fit_remarks(name: str, settings: LoadedSettings, assets: Iterable[Asset]) -> list[str]:
    """Return what a user should know about the fit that a forecaster was given: assets it was not made for."""
    base, chosen = apply_preset(name, settings)
    if base != "seasonal-har":
        return []
    path = chosen.values.seasonal_har.artifact
    found = read_artifact(path) if path else None
    return [f"{name}: {words}" for asset in assets for _, words in [entry_for(asset, found)] if words]


@dataclass(frozen=True)
class Part:
    """Prompts that the same forecasters answer.

    Attributes
    ----------
    names : tuple of str
    groups : mapping of (competition, asset) to prompts
    warmups : mapping of (competition, asset) to int
        Label of the first warm-up bar.
    """

    names: tuple[str, ...]
    groups: Mapping[Group, list[Scheduled]]
    warmups: Mapping[Group, int]
    rulebook: Rulebook
    settings: LoadedSettings
    fits: Fits | None = None
    begin: int = 0

    def make(self, name: str, asset: str) -> Forecaster[Any]:
        """Return a forecaster for an asset, fitted before this part's prompts were requested."""
        settings = self.fits.settings_at(self.begin) if self.fits else self.settings
        return load_forecaster(name, self.rulebook.asset(asset), settings)


@dataclass
class Fits:
    """The fits of a forecaster along a replay; each is made when it is first asked for.

    Attributes
    ----------
    name : str
    settings : LoadedSettings
    rulebook : Rulebook
    bars : mapping of asset to Bars
        What fits see, from the first one's history on.
    feed : str
    assets : sequence of str
        That are forecast.
    said : dict of str to int
        What a user should know, and of how many fits.
    """

    name: str
    settings: LoadedSettings
    rulebook: Rulebook
    bars: Mapping[str, Bars]
    feed: str
    assets: Sequence[str]
    said: dict[str, int] = field(default_factory=dict)
    _made: dict[int, LoadedSettings] = field(default_factory=dict)

    def settings_at(self, begin: int) -> LoadedSettings:
        """Return settings whose artifact knows the bars closed at `begin`, and no others."""
        if begin not in self._made:
            own = refitted(self.name, self.settings)
            assert own is not None
            path = refit(self.bars, self.rulebook, own, end=begin, feed=self.feed)
            for asset in self.assets:
                _, words = entry_for(self.rulebook.asset(asset), read_artifact(str(path)) if path else None)
                if words:
                    self.said[words] = self.said.get(words, 0) + 1
            self._made[begin] = self.settings.with_flags({"seasonal_har.artifact": str(path or "")})
        return self._made[begin]

    def parts(self, groups: Mapping[Group, Sequence[Scheduled]]) -> Iterator[Part]:
        """Yield the prompts between one fit and the next, in time order."""
        own = refitted(self.name, self.settings)
        assert own is not None
        blocks: dict[int, dict[Group, list[Scheduled]]] = {}
        for group, items in groups.items():
            for item in items:
                block = blocks.setdefault(boundary(item.prompt.request_time, own.refit), {})
                block.setdefault(group, []).append(item)
        for begin, block in sorted(blocks.items()):
            warmups = {g: warmup_start(items[0].prompt, self.settings.values.replay) for g, items in block.items()}
            yield Part((self.name,), block, warmups, self.rulebook, self.settings, self, begin)
