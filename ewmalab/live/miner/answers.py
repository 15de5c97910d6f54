"""Compute the bytes of an answer to a prompt, and the record from which they can be reproduced."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ewmalab.errors import ForecasterError, FormatError
from ewmalab.forecast.model import Model, paths_digest, state_digest
from ewmalab.forecast.protocol import LogReturns, Prompt
from ewmalab.live.clock import Clock
from ewmalab.live.miner.admission import Refusal
from ewmalab.live.miner.spot import Spots, choose_anchor
from ewmalab.live.state_store import AssetState, StateStore
from ewmalab.live.status import waiting_closes
from ewmalab.replay.fits import load_model
from ewmalab.rulebook import Rulebook
from ewmalab.scoring.answer_format import render
from ewmalab.settings import LoadedSettings
from ewmalab.times import MINUTE

log = logging.getLogger("ewmalab.miner")

_BEFORE = 30  # closes before the newest that judge it


@dataclass(frozen=True, slots=True)
class Known:
    """What the miner knows about one asset.

    Attributes
    ----------
    state : object
        The forecaster's state after the newest bar.
    digest : str
        Digest of the state; equal digests mean equal states.
    """

    saved: AssetState
    model: Model
    state: Any
    digest: str


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer.

    Attributes
    ----------
    body : bytes
        ``[start, increment, [path 1], ...]`` as JSON.
    record : dict
        Everything that determines the paths, and their hash.
    paths : (steps + 1, n) float32
        Cumulative log-returns from the anchor.
    """

    body: bytes
    record: dict[str, Any]
    paths: LogReturns


class Answerer:
    """Answers prompts from the newest states.

    Parameters
    ----------
    settings : LoadedSettings
    rulebook : Rulebook
    assets : sequence of str
    store : StateStore
        Read only.
    spots : Spots
    clock : Clock
    remarks : sequence of str
        On the forecaster's fit, for its users.
    """

    def __init__(
        self,
        settings: LoadedSettings,
        rulebook: Rulebook,
        assets: tuple[str, ...],
        store: StateStore,
        spots: Spots,
        clock: Clock,
        remarks: Sequence[str] = (),
    ) -> None:
        self.remarks = tuple(remarks)
        self.settings, self.rulebook, self.assets = settings, rulebook, assets
        self.store, self.spots, self.clock = store, spots, clock
        name, now = settings.values.live.forecaster, int(clock.now())
        self.models = {asset: load_model(name, rulebook.asset(asset), settings, now) for asset in assets}
        self.settings_digest = settings.dump_digest()
        self.problems: dict[str, str] = {}
        self.waiting: Mapping[str, float] = {}
        self._known: dict[str, Known] = {}
        self._seen: dict[str, object] = {}

    @property
    def known(self) -> Mapping[str, Known]:
        """Return what is known about each asset."""
        return self._known

    def reload(self) -> list[str]:
        """Load every state that has changed on disk; return their assets."""
        self.waiting = waiting_closes(self.store.root)
        changed = []
        for asset in self.assets:
            seen = self.store.stamps(asset)
            if self._seen.get(asset) == seen or not any(seen):
                continue
            self._seen[asset] = seen
            saved, problems = self.store.load(asset)
            if problems:
                log.warning("%s", "; ".join(problems))
                self.problems[asset] = problems[0]
            else:
                self.problems.pop(asset, None)
            known = self._known.get(asset)
            if problems and saved is not None and known is not None and saved.generation < known.saved.generation:
                continue  # the newest file is damaged now, but was read before
            if saved is not None:
                self._known[asset] = self._take_up(saved)
                changed.append(asset)
        return changed

    def adopt(self, before: Answerer) -> None:
        """Take over what another answerer knows of assets whose states are not on disk now."""
        for asset, known in before.known.items():
            model = self.models.get(asset)
            if asset not in self._known and model is not None and model.parameters == known.model.parameters:
                self._known[asset] = known

    def _take_up(self, saved: AssetState) -> Known:
        model = self.models[saved.asset]
        found = saved.states.get(model.name)
        state = None
        if found is not None and found.parameters == model.parameters:
            try:
                state = model.loaded(found.state)
            except ForecasterError as error:
                log.warning("%s: %s", saved.asset, error)
        if state is None:  # saved with other parameters or by another version: use the configured ones
            state = model.state_of(saved.bars)
        return Known(saved, model, state, state_digest(model.forecaster, state))

    def age(self, known: Known, now: float) -> float:
        """Return the seconds since the newest known bar closed."""
        return now - (known.saved.newest + MINUTE)

    def answer(self, prompt: Prompt) -> Answer:
        """Return the answer to a prompt; call it outside the event loop.

        Raises
        ------
        Refusal
            If the asset has no state, its state is too old, or the forecaster fails.
        """
        began = time.perf_counter()
        now = self.clock.now()
        live = self.settings.values.live
        known = self._known.get(prompt.asset)
        if known is None:
            raise Refusal(503, "no_state", "no state of this asset yet")
        age = self.age(known, now)
        if age > live.refuse_after:
            raise Refusal(503, "stale", "state is too old")
        saved = known.saved
        close = float(saved.bars.close[-1])
        spot = self.spots.latest(prompt.asset)
        before = saved.bars.close[-_BEFORE - 1 : -1].tolist()
        waiting = self.waiting.get(prompt.asset)
        anchor, at, source = choose_anchor(
            spot, close, saved.newest, now, live.spot_max_age, before=before, waiting=waiting
        )
        seed = self.settings.values.run.seed
        try:
            paths = known.model.paths(known.state, saved.newest, prompt, seed)
            simulated = time.perf_counter()
            body = render(prompt.start_time, prompt.time_increment, anchor, paths)
        except (ForecasterError, FormatError) as error:
            log.error("%s: no answer: %s", prompt.asset, error)
            raise Refusal(503, "forecaster", "no forecast") from error
        record = {
            **asdict(prompt),
            "forecaster": known.model.name,
            "parameters": known.model.parameters,
            "fit": known.model.fit.digest if known.model.fit else "",
            "settings": self.settings_digest,
            "seed": seed,
            "feed": saved.feed,
            "synthetic": saved.synthetic,
            "generation": saved.generation,
            "saved_at": saved.saved_at,
            "newest": saved.newest,
            "age": round(age, 3),
            "aged": known.model.is_stale(saved.newest, prompt.request_time),
            "state_sha256": known.digest,
            "anchor": {"price": anchor, "at": at, "source": source},
            "paths_sha256": paths_digest(paths),
            "body_sha256": hashlib.sha256(body).hexdigest(),
            "seconds": {"simulate": round(simulated - began, 6), "render": round(time.perf_counter() - simulated, 6)},
        }
        return Answer(body, record, paths)
