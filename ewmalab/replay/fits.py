"""Fits as files and at regular times: shared by `ewmalab fit`, replays with ``--refit``, and the live updater."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from inspect import signature
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import orjson

from ewmalab.atomic_files import write_atomic
from ewmalab.errors import ForecasterError, MissingDataError
from ewmalab.forecast.load import load_forecaster
from ewmalab.forecast.model import Fit, Model
from ewmalab.forecast.plugin_errors import naming_plugin
from ewmalab.forecast.protocol import Explained, Fittable
from ewmalab.market.bars import Bars
from ewmalab.replay.schedule import Scheduled
from ewmalab.rulebook import Asset, Rulebook
from ewmalab.settings import LoadedSettings
from ewmalab.times import iso, parse_time

if TYPE_CHECKING:
    from ewmalab.replay.data import FitHistory

FORMAT: Final = 3


@dataclass(frozen=True, slots=True)
class Artifact:
    """A fit with its provenance.

    Attributes
    ----------
    forecaster : str
        Name without a preset.
    fit : Fit
    feed : str
        Source of the bars.
    seen : mapping of asset to mapping
        ``bars, first, last, sha256`` of the bars that the fit saw.
    """

    forecaster: str
    fit: Fit
    feed: str
    seen: Mapping[str, Mapping[str, Any]]


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
    """Fit a forecaster on the bars closed at a time.

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
    shared: dict[str, Any] = {}
    if "threads" in signature(maker.fit).parameters:
        shared["threads"] = settings.values.run.threads or os.cpu_count() or 1
    with naming_plugin(maker, f"{type(maker).__name__}.fit", ", ".join(assets), end):
        numbers = maker.fit(known, assets, end=end, **shared)
    _refuse_unfinished(base, numbers)
    seen = {
        asset: {
            "bars": len(own),
            "first": iso(int(own.timestamp[0])),
            "last": iso(int(own.timestamp[-1])),
            "sha256": own.digest(),
        }
        for asset, own in known.items()
        if len(own)
    }
    data = _encode(base, end, feed, seen, numbers)
    return Artifact(base, Fit(end, orjson.loads(data)["numbers"], _digest(data)), feed, seen)


def write_artifact(artifact: Artifact, folder: Path) -> Path:
    """Write ``<forecaster>-<digest>.json``, named by its content, and return its path."""
    fit = artifact.fit
    short = re.sub(r"[^A-Za-z0-9-]+", "-", artifact.forecaster.rpartition(":")[2])
    data = _encode(artifact.forecaster, fit.end, artifact.feed, artifact.seen, fit.numbers)
    path = folder / f"{short}-{_digest(data)}.json"
    write_atomic(path, data)
    return path


@lru_cache(maxsize=16)
def read_artifact(path: str) -> Artifact:
    """Read an artifact and check its bytes against its name.

    Raises
    ------
    ForecasterError
        If it cannot be read, is damaged, or has another format.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise ForecasterError(f"{path}: {error.strerror}; `ewmalab fit` makes an artifact") from error
    if _digest(data) not in Path(path).name:
        raise ForecasterError(
            f"{path}: its content does not match the digest in its name: fit again, or restore the file's name"
        )
    found: dict[str, Any] = orjson.loads(data)
    if found.get("format") != FORMAT:
        raise ForecasterError(f"{path}: format {found.get('format')!r}, this version reads {FORMAT}: fit again")
    fit = Fit(parse_time(found["end"]), found["numbers"], _digest(data))
    return Artifact(found["forecaster"], fit, found["feed"], found["seen"])


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


def load_model(name: str, asset: Asset, settings: LoadedSettings) -> Model:
    """Return the model of an asset, with the fit that the settings name.

    Raises
    ------
    ForecasterError, ConfigError
        As in `Model.of`, or if the forecaster needs a fit and the settings name none.
    """
    artifact = artifact_of(name, settings)
    model = Model.of(name, asset, settings, artifact.fit if artifact else None)
    if artifact is None and not settings.values.fit.every and isinstance(model.forecaster, Fittable):
        raise ForecasterError(
            f"{name} has not been fitted: run `ewmalab fit` and set fit.artifacts, or refit during the replay: "
            "--refit 1d"
        )
    return model


def fit_remarks(name: str, settings: LoadedSettings, assets: Iterable[Asset]) -> list[str]:
    """Return remarks for users on a forecaster's fit: a line for each asset that it lacks."""
    artifact = artifact_of(name, settings)
    words = (_remark(name, asset, settings, artifact) for asset in assets)
    return [f"{name}: {line}" for line in words if line]


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
        """Return the model in force at a time: that of the newest fit before it, if the bars allowed one."""
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
        None if no asset has enough bars; the forecaster then answers unfitted.

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


def _encode(name: str, end: int, feed: str, seen: Mapping[str, Any], numbers: Mapping[str, Any]) -> bytes:
    whole = {"format": FORMAT, "forecaster": name, "end": iso(end), "feed": feed, "seen": seen, "numbers": numbers}
    options = orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    try:
        return orjson.dumps(whole, option=options)
    except TypeError as error:
        raise ForecasterError(f"the fit of {name} returned what JSON cannot hold: {error}") from error


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def _refuse_unfinished(name: str, numbers: object, where: str = "") -> None:
    """Refuse numbers that are not finite, which JSON would hold as null.

    Raises
    ------
    ForecasterError
    """
    if isinstance(numbers, Mapping):
        for key, value in numbers.items():
            _refuse_unfinished(name, value, f"{where}.{key}" if where else str(key))
    elif isinstance(numbers, list | tuple):
        for i, value in enumerate(numbers):
            _refuse_unfinished(name, value, f"{where}[{i}]")
    elif isinstance(numbers, float) and not -1e308 < numbers < 1e308:
        raise ForecasterError(f"the fit of {name} failed: {where} is {numbers}; check the bars: `ewmalab data list`")
