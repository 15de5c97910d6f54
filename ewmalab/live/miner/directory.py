"""The list of registered keys: queried in the background, doubted, and kept over restarts."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from threading import Event

import orjson

from ewmalab.atomic_files import write_atomic
from ewmalab.errors import ChainError
from ewmalab.live.miner.admission import Neuron
from ewmalab.live.miner.chain import AllowList, Chain

log = logging.getLogger("ewmalab.chain")

SNAPSHOT = "neurons.json"
"""File in the state folder with the last list."""
_SOON = 10.0  # seconds until the chain is queried again after a failure
_BLOCK_AGE = 30.0  # seconds that the newest block may be old: two blocks of 12 s, and the query
_FEW = 4  # keys of which the loss of half can be true
_DOUBT = 6 * 3600.0  # seconds for which an answer that lacks half is not taken; then it must be true


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A saved list.

    Attributes
    ----------
    at : float
        The system's time when the chain gave it.
    neurons : tuple of Neuron
    """

    at: float
    neurons: tuple[Neuron, ...]


def read_snapshot(path: Path) -> Snapshot | None:
    """Return the list that a `Directory` saved; None if there is none, or, with a warning, if it is damaged."""
    try:
        data = orjson.loads(path.read_bytes())
        found = tuple(Neuron(**{**n, "stake": float(n["stake"])}) for n in data["neurons"])
        return Snapshot(float(data["at"]), found)
    except FileNotFoundError:
        return None
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        log.warning("%s: cannot be used (%s); waiting for the chain", path, error)
        return None


def with_allowed(neurons: Iterable[Neuron], allow: Iterable[str]) -> dict[str, Neuron]:
    """Return neurons by address, in which allowed hotkeys may call whatever the chain says of them."""
    found = {neuron.hotkey: neuron for neuron in neurons}
    for hotkey in allow:
        neuron = found.get(hotkey, Neuron(hotkey, -1, 0.0, False, ""))
        found[hotkey] = replace(neuron, stake=float("inf"), permit=True)
    return found


@dataclass
class Directory:
    """The list of registered keys, refreshed in the background; the last list survives a restart.

    Parameters
    ----------
    chain : Chain
    path : Path
        File of the last list.
    now : callable
        Returns the system's time.
    allow : sequence of str
        Hotkeys that may call, whatever the chain says.

    Attributes
    ----------
    skew : float or None
        Seconds by which our clock is certainly ahead of the chain's, at the last query.
    """

    chain: Chain
    path: Path
    now: Callable[[], float]
    allow: tuple[str, ...] = ()
    at: float | None = None
    errors: int = 0
    error: str = ""
    skew: float | None = None
    _known: tuple[Neuron, ...] = field(default=(), repr=False)
    _doubted_since: float | None = None

    def __post_init__(self) -> None:
        self._use(())

    def neurons(self) -> Mapping[str, Neuron]:
        """Return the registered and the allowed keys by address; empty while none are known."""
        return self._neurons

    def allow_also(self, hotkeys: tuple[str, ...]) -> None:
        """Let these hotkeys call from now on, instead of those allowed before."""
        self.allow = hotkeys
        self._use(self._known)

    def _use(self, neurons: Iterable[Neuron]) -> None:
        self._known = tuple(neurons)
        self._neurons = with_allowed(self._known, self.allow)

    def age(self) -> float | None:
        """Return the seconds since the chain last answered, None if it never did."""
        return None if self.at is None else self.now() - self.at

    def restore(self) -> None:
        """Load the list saved by the previous process, if there is one."""
        saved = read_snapshot(self.path)
        if saved is not None:
            self._use(saved.neurons)
            self.at = saved.at

    def refresh(self) -> bool:
        """Query the chain once; a failure, or an answer that cannot be true, leaves the list unchanged."""
        try:
            found = self.chain.neurons()
            self._doubt(found)
            self._use(found)
        except Exception as error:  # noqa: BLE001  nothing may end the thread that refreshes
            self.errors += 1
            self.error = str(error) if isinstance(error, ChainError) else f"{type(error).__name__}: {error}"
            log.warning("%s", self.error)
            return False
        self.at, self.error = self.now(), ""
        self.skew = _skew(self.at, getattr(self.chain, "block_time", None))
        if not isinstance(self.chain, AllowList):
            try:
                write_atomic(self.path, orjson.dumps({"at": self.at, "neurons": [asdict(n) for n in found]}))
            except OSError as error:
                log.warning("%s cannot be written: %s", self.path, error)
        return True

    def _doubt(self, found: list[Neuron]) -> None:
        """Raise `ChainError` if an answer is empty, or lacks half of the keys or permits, and has not for long."""
        lost = []
        for what, before, after in (
            ("keys", len(self._known), len(found)),
            ("permits", sum(n.permit for n in self._known), sum(n.permit for n in found)),
        ):
            if before >= _FEW and 2 * after <= before:
                lost.append(f"{after} {what} instead of {before}")
        if not lost and found:
            self._doubted_since = None
            return
        since = self._doubted_since = self.now() if self._doubted_since is None else self._doubted_since
        if not found or self.now() - since < _DOUBT:
            raise ChainError(f"the chain's answer is not taken: {', '.join(lost) or 'no keys'}")
        self._doubted_since = None

    def run(self, interval: float, stop: Event) -> None:
        """Refresh every `interval` seconds until `stop` is set, sooner after a failure."""
        while not stop.is_set():
            stop.wait(interval if self.refresh() else min(_SOON, interval))


def _skew(now: float, block_time: float | None) -> float | None:
    """Return by how many seconds our clock is certainly ahead of the chain's: its newest block may be old."""
    return None if block_time is None else min(0.0, now - block_time) + max(0.0, now - block_time - _BLOCK_AGE)
