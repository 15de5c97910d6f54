"""Fits of forecasters, once and at regular times, for `ewmalab fit`, replays with ``--refit`` and the live updater."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from ewmalab.errors import ForecasterError, MissingDataError
from ewmalab.forecast.load import load_forecaster, members_of
from ewmalab.forecast.model import Model, fit_of
from ewmalab.forecast.plugin_errors import naming_plugin
from ewmalab.forecast.protocol import Explained, Fittable
from ewmalab.market.bars import Bars
from ewmalab.replay.artifacts import Artifact, artifact_from, read_artifact
from ewmalab.replay.priors import joined, prior_at, prior_of
from ewmalab.replay.schedule import Scheduled
from ewmalab.rulebook import Asset, Rulebook
from ewmalab.settings import LoadedSettings
from ewmalab.times import iso

if TYPE_CHECKING:
    from ewmalab.replay.data import FitHistory

_PRIOR_SERVES = "too few bars for a fit: the prior serves"


def boundary(time: int, every: int) -> int:
    """Return when the fit in force at a time was due: the last multiple of `every` since 1970.

    Examples
    --------
    >>> from ewmalab.times import iso, parse_time
    >>> iso(boundary(parse_time("2026-01-15T14:59"), 86_400))
    '2026-01-15T00:00:00Z'
    """
    return time - time % every


def fittable(name: str, asset: Asset, settings: LoadedSettings) -> Fittable | None:
    """Return a forecaster before any fit; None if it cannot be fitted."""
    forecaster = load_forecaster(name, asset, settings)
    return forecaster if isinstance(forecaster, Fittable) else None


def refitted(name: str, settings: LoadedSettings, rulebook: Rulebook) -> bool:
    """Return whether a forecaster is refitted during replays."""
    if not settings.values.fit.every:
        return False
    return fittable(name, rulebook.asset(rulebook.symbols[0]), settings) is not None


def make_artifact(
    name: str, bars: Mapping[str, Bars], settings: LoadedSettings, rulebook: Rulebook, *, end: int, feed: str = ""
) -> Artifact:
    """Fit a forecaster on the bars closed at a time, shrunk towards its prior if that has seen nothing later.

    Parameters
    ----------
    name : str
    bars : mapping of asset to Bars
        The fit does not see bars after `end`.
    settings : LoadedSettings
    rulebook : Rulebook
    end : int
        Time of the fit, seconds since 1970-01-01 UTC.
    feed : str
        For the record.

    Raises
    ------
    ForecasterError
        If the forecaster cannot be fitted, or its numbers are not finite.
    MissingDataError
        If the bars are too few.
    """
    known = {asset: own.known_at(end) for asset, own in bars.items()}
    assets = {asset: rulebook.asset(asset) for asset in known}
    maker = fittable(name, next(iter(assets.values())), settings)
    base = name.partition("@")[0]
    if maker is None:
        raise ForecasterError(f"{name} cannot be fitted: it has no methods `fit` and `with_fit`")
    prior = prior_at(name, settings, end)
    threads = settings.values.run.threads or os.cpu_count() or 1
    with naming_plugin(maker, f"{type(maker).__name__}.fit", ", ".join(assets), end):
        numbers = fit_of(maker, known, assets, end=end, prior=prior.fit.numbers if prior else None, threads=threads)
    return artifact_from(base, numbers, known, end=end, feed=feed, prior=prior.fit.digest if prior else "")


def artifact_of(name: str, settings: LoadedSettings) -> Artifact | None:
    """Return the artifact of a forecaster that the settings name, or None.

    Raises
    ------
    ForecasterError
        If one cannot be read, or the settings name two.
    """
    base = name.partition("@")[0]
    found = [a for path in settings.values.fit.artifacts if (a := read_artifact(path)).forecaster == base]
    if len(found) > 1:
        raise ForecasterError(f"fit.artifacts names {len(found)} artifacts of {base}: keep one")
    return found[0] if found else None


def artifact_at(name: str, settings: LoadedSettings, when: int) -> Artifact | None:
    """Return the artifact that serves prompts from a time on: that of the settings, else the prior.

    A blend without an artifact of its own has those of its members.

    Parameters
    ----------
    name : str
    settings : LoadedSettings
    when : int
        Seconds since 1970-01-01 UTC. A prior that has seen later bars does not serve.

    Raises
    ------
    ForecasterError
    """
    members = members_of(name, settings)
    theirs = joined(name, {member: artifact_at(member, settings, when) for member in members})
    return artifact_of(name, settings) or theirs or prior_at(name, settings, when)


def load_model(name: str, asset: Asset, settings: LoadedSettings, when: int) -> Model:
    """Return the model of an asset: with the fit that the settings name, else with the prior.

    Parameters
    ----------
    name : str
    asset : Asset
    settings : LoadedSettings
    when : int
        Time from which on it answers prompts, seconds since 1970-01-01 UTC. Before the end of the prior the forecaster
        runs without a fit; `fit_remarks` says so.

    Raises
    ------
    ForecasterError, ConfigError
        As in `Model.of`, or if the forecaster needs a fit, the settings name none, and it has no prior.
    """
    artifact = artifact_at(name, settings, when)
    model = Model.of(name, asset, settings, artifact.fit if artifact else None)
    if artifact or settings.values.fit.every or not isinstance(model.forecaster, Fittable):
        return model
    if prior_of(name, settings) is None:
        raise ForecasterError(
            f"{name} has not been fitted: run `ewmalab fit` and set fit.artifacts, or refit during the replay: "
            "--refit 1d"
        )
    return model


def fit_remarks(
    name: str, settings: LoadedSettings, rulebook: Rulebook, feeds: Mapping[str, str], when: int
) -> list[str]:
    """Return remarks for users on a forecaster's fit.

    Parameters
    ----------
    name : str
    settings : LoadedSettings
    rulebook : Rulebook
    feeds : mapping of asset to str
        The feed that serves each asset.
    when : int
        As in `load_model`.
    """
    artifact, prior = artifact_at(name, settings, when), prior_of(name, settings)
    if early := later_prior(name, settings, when):
        lines = [_too_early(early)]
    else:
        words = (_remark(name, rulebook.asset(asset), settings, artifact) for asset in feeds)
        lines = [*_foreign(artifact, prior, feeds), *(line for line in words if line)]
    return [f"{name}: {line}" for line in lines]


def later_prior(name: str, settings: LoadedSettings, when: int) -> Artifact | None:
    """Return the prior of a forecaster that runs without a fit at a time, because the prior has seen later bars."""
    return prior_of(name, settings) if artifact_at(name, settings, when) is None else None


def _too_early(prior: Artifact) -> str:
    return (
        f"not fitted, and the prior has seen bars up to {iso(prior.fit.end)}, so it serves no earlier prompts: "
        "volatility without a season, from recent days only; fit on earlier bars (`ewmalab fit`), or refit (--refit 1d)"
    )


def _foreign(artifact: Artifact | None, prior: Artifact | None, feeds: Mapping[str, str]) -> list[str]:
    """Return a line if the fit is the prior, or was made on other feeds than those that it serves."""
    if artifact is None:
        return []
    if prior is not None and artifact.fit.digest == prior.fit.digest:
        return [
            f"no fit of its own: it uses the prior ({artifact.feed}, up to {iso(artifact.fit.end)}); its level follows "
            "the closes that it serves"
        ]
    known = artifact.feed.split(", ")
    others = {asset: feed for asset, feed in feeds.items() if feed not in known}
    if not artifact.feed or not others:
        return []
    return [
        f"fitted on {artifact.feed}, and serves {', '.join(dict.fromkeys(others.values()))} ({', '.join(others)}): its "
        "level follows how smooth the closes are that it serves"
    ]


def _remark(name: str, asset: Asset, settings: LoadedSettings, artifact: Artifact | None) -> str:
    forecaster: object = load_forecaster(name, asset, settings)
    numbers = artifact.fit.numbers if artifact else None
    return forecaster.fit_remark(numbers) if isinstance(forecaster, Explained) else ""


@dataclass
class Refits:
    """The fits of a forecaster during a replay; each is made once, while the prompts before it are answered.

    Attributes
    ----------
    name : str
    settings : LoadedSettings
    rulebook : Rulebook
    history : FitHistory
        Bars for the fits, from the first one's history on.
    assets : sequence of str
        Assets that are forecast.
    remarks : dict of str to int
        Remarks for users, and the number of fits that each is about.
    """

    name: str
    settings: LoadedSettings
    rulebook: Rulebook
    history: FitHistory
    assets: Sequence[str]
    remarks: dict[str, int] = field(default_factory=dict)
    _made: dict[int, Future[Artifact | None]] = field(default_factory=dict)
    _maker: Executor = field(default_factory=lambda: ThreadPoolExecutor(1))  # fits one after the other

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key not in ("_made", "_maker")}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.__dict__.update(state, _made={}, _maker=ThreadPoolExecutor(1))

    def model_at(self, time: int, asset: str) -> Model:
        """Return the model in force at a time: with the newest fit before it, else the prior, else without a fit."""
        artifact = self._start(boundary(time, self.settings.values.fit.every)).result()
        return Model.of(self.name, self.rulebook.asset(asset), self.settings, artifact.fit if artifact else None)

    def stretches(self, asset: str, items: Sequence[Scheduled]) -> Iterator[tuple[Model, list[Scheduled]]]:
        """Yield each model with the prompts between its fit and the next, in time order."""
        every = self.settings.values.fit.every
        blocks: dict[int, list[Scheduled]] = {}
        for item in items:
            blocks.setdefault(boundary(item.prompt.request_time, every), []).append(item)
        begins = sorted(blocks)
        for begin, following in zip_longest(begins, begins[1:]):
            model = self.model_at(begin, asset)
            if following is not None:
                self._start(following)
            yield model, blocks[begin]

    def _start(self, end: int) -> Future[Artifact | None]:
        if end not in self._made:
            self._made[end] = self._maker.submit(self._make, end)
        return self._made[end]

    def _make(self, end: int) -> Artifact | None:
        bars, feed = self.history.bars, self.history.feed
        made = refit(self.name, bars, self.settings, self.rulebook, end=end, feed=feed)
        if made is None and (made := prior_at(self.name, self.settings, end)):
            self.remarks[_PRIOR_SERVES] = self.remarks.get(_PRIOR_SERVES, 0) + 1
        for asset in self.assets:
            if words := _remark(self.name, self.rulebook.asset(asset), self.settings, made):
                self.remarks[words] = self.remarks.get(words, 0) + 1
        return made


def refit(
    name: str, bars: Mapping[str, Bars], settings: LoadedSettings, rulebook: Rulebook, *, end: int, feed: str
) -> Artifact | None:
    """Fit on the history that the settings allow.

    Parameters
    ----------
    name, settings, rulebook, end, feed
        As in `make_artifact`.
    bars : mapping of asset to Bars
        Bars from ``end - fit.history`` up to `end` are used.

    Returns
    -------
    Artifact or None
        None if no asset has enough bars; the forecaster then answers with its prior, or unfitted.

    Raises
    ------
    ForecasterError
    """
    history = settings.values.fit.history
    cut = {asset: found.between(end - history, end) for asset, found in bars.items()}
    seen = {asset: found for asset, found in cut.items() if len(found)}
    try:
        return make_artifact(name, seen, settings, rulebook, end=end, feed=feed) if seen else None
    except MissingDataError:
        return None
