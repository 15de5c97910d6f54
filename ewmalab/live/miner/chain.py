"""The chain and the keys, behind one small interface that hides bittensor."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from queue import Empty, Queue
from threading import Event, Thread
from typing import Any, Protocol

import orjson

from ewmalab.atomic_files import write_atomic
from ewmalab.errors import ChainError, ConfigError
from ewmalab.live.miner.admission import Neuron
from ewmalab.rulebook import Rulebook, Rules
from ewmalab.settings.schema import LiveSettings

log = logging.getLogger("ewmalab.chain")

SNAPSHOT = "neurons.json"
CHAIN_SECONDS = 60.0  # time limit of one query
_SOON = 10.0  # seconds until the chain is queried again after a failure
_BLOCK_AGE = 30.0  # seconds that the newest block may be old: two blocks of 12 s, and the query
_FEW = 4  # keys of which the loss of half can be true
_DOUBT = 6 * 3600.0  # seconds for which an answer that lacks half is not taken; then it must be true
_PROTOCOL = 4  # protocol number of the announced axon: HTTP


def verify(message: bytes, signature: bytes, address: str) -> bool:
    """Return whether the key of an SS58 address signed a message (sr25519)."""
    from bittensor import sp_core

    return bool(sp_core.verify(message, signature, address, sp_core.CRYPTO_SR25519))


class Key(Protocol):
    """A key pair."""

    ss58_address: str

    def sign(self, data: bytes) -> bytes:
        """Return a signature."""
        ...


class Chain(Protocol):
    """What a miner needs from the chain."""

    def neurons(self) -> list[Neuron]:
        """Return all keys registered on the subnet.

        Raises
        ------
        ChainError
        """
        ...

    def announce(self, ip: str, port: int) -> None:
        """Announce this miner's address to the subnet.

        Raises
        ------
        ChainError
        """
        ...


class AllowList:
    """A list of keys that may call, used instead of a chain for development."""

    def __init__(self, hotkeys: Iterable[str]) -> None:
        self._neurons = [Neuron(hotkey, uid, float("inf"), True, "") for uid, hotkey in enumerate(hotkeys)]

    def neurons(self) -> list[Neuron]:
        """Return the listed keys."""
        return list(self._neurons)

    def announce(self, ip: str, port: int) -> None:
        """Do nothing."""


class BittensorChain:
    """The real chain.

    Its `block_time` is the time of the newest block at the last query, None if unknown.

    Parameters
    ----------
    network : str
        ``finney``, ``test`` or an endpoint.
    netuid : int
    wallet : object, optional
        Signs announcements.
    substrate : object, optional
        A fake connection, for tests.
    """

    def __init__(self, network: str, netuid: int, wallet: Any = None, substrate: Any = None) -> None:
        self._network, self._netuid, self._wallet, self._substrate = network, netuid, wallet, substrate
        self.block_time: float | None = None

    def neurons(self) -> list[Neuron]:
        """Return all keys registered on the subnet; see `Chain.neurons`."""
        graph, self.block_time = self._call(
            lambda client: (client.subnets.metagraph(self._netuid, commitments=False), _block_time(client))
        )
        if graph is None:
            raise ChainError(f"{self._network}: no subnet {self._netuid}")
        return [
            Neuron(n.hotkey, n.uid, float(n.total_stake.amount), bool(n.validator_permit), _served(n.axon))
            for n in graph.neurons
        ]

    def announce(self, ip: str, port: int) -> None:
        """Announce this miner's address to the subnet; see `Chain.announce`."""
        import bittensor as bt

        intent = bt.ServeAxon(netuid=self._netuid, ip=ip, port=port, protocol=_PROTOCOL)
        result = self._call(lambda client: client.execute(intent, self._wallet))
        if not getattr(result, "success", True):
            raise ChainError(f"{self._network}: the axon was not announced: {result}")

    def _call(self, ask: Callable[[Any], Any]) -> Any:
        import bittensor as bt

        def run() -> None:
            # A new connection each time: queries are rare, and a connection that has died cannot hang.
            try:
                client = bt.SyncClient(self._network, substrate=self._substrate)
                try:
                    found = ask(client)
                finally:
                    client.close()
            except Exception as error:  # noqa: BLE001  raised in the waiting thread
                outcome.put((False, error))
            else:
                outcome.put((True, found))

        # An endpoint may accept a query and never answer, so the wait has a time limit.
        outcome: Queue[tuple[bool, Any]] = Queue()
        Thread(target=run, daemon=True, name="chain").start()
        try:
            answered, found = outcome.get(timeout=CHAIN_SECONDS)
        except Empty:
            raise ChainError(f"{self._network}: no answer within {CHAIN_SECONDS:.0f} s") from None
        if not answered:
            raise ChainError(f"{self._network}: query failed: {type(found).__name__}: {found}") from found
        return found


def _block_time(client: Any) -> float | None:
    """Return the time of the newest block; None if the client does not tell, which no list of neurons depends on."""
    try:
        return float(client.timestamp().timestamp())
    except Exception:  # noqa: BLE001  whatever the client raises
        return None


def _served(axon: str | None) -> str:
    return axon if axon and not axon.startswith(("0.0.0.0:", "[::]:")) else ""


def _skew(now: float, block_time: float | None) -> float | None:
    """Return by how many seconds our clock is certainly ahead of the chain's: its newest block may be old."""
    return None if block_time is None else min(0.0, now - block_time) + max(0.0, now - block_time - _BLOCK_AGE)


def netuid_of(live: LiveSettings, rulebook: Rulebook) -> int:
    """Return the subnet's number on the network.

    Raises
    ------
    ConfigError
        If the rulebook does not know the network and ``live.netuid`` is not set.
    """
    if live.netuid:
        return live.netuid
    if live.network in rulebook.netuids:
        return rulebook.netuids[live.network]
    raise ConfigError(f"live.network = {live.network!r}: set live.netuid as well; known: {dict(rulebook.netuids)}")


def make_chain(live: LiveSettings, rulebook: Rulebook, wallet: Any) -> Chain:
    """Return the chain that the settings name, or their list of allowed keys.

    Raises
    ------
    ConfigError
        If there is neither a chain nor an allowed key.
    """
    if live.chain:
        return BittensorChain(live.network, netuid_of(live, rulebook), wallet)
    if not live.allow:
        raise ConfigError("without a chain nobody may call: name hotkeys with --allow HOTKEY (setting live.allow)")
    return AllowList(live.allow)


def min_stake_of(live: LiveSettings, rules: Rules) -> float:
    """Return the stake that callers must exceed: the setting, else the rulebook's."""
    return rules.min_stake if live.min_stake < 0 else live.min_stake


def with_allowed(neurons: Iterable[Neuron], allow: Iterable[str]) -> dict[str, Neuron]:
    """Return neurons by address, in which allowed hotkeys may call whatever the chain says of them."""
    found = {neuron.hotkey: neuron for neuron in neurons}
    for hotkey in allow:
        neuron = found.get(hotkey, Neuron(hotkey, -1, 0.0, False, ""))
        found[hotkey] = replace(neuron, stake=float("inf"), permit=True)
    return found


def may_call(neuron: Neuron, live: LiveSettings, rules: Rules) -> bool:
    """Return whether a key has the stake and the permit to call."""
    return neuron.stake > min_stake_of(live, rules) and (neuron.permit or not live.require_permit)


def allowed_ips(neurons: Iterable[Neuron], live: LiveSettings, rules: Rules) -> list[str]:
    """Return the sorted addresses of the validators that may call, for a firewall."""
    return sorted({n.ip for n in neurons if n.ip and may_call(n, live, rules)})


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
        try:
            data = orjson.loads(self.path.read_bytes())
            found = {n["hotkey"]: Neuron(**{**n, "stake": float(n["stake"])}) for n in data["neurons"]}
            at = float(data["at"])
        except FileNotFoundError:
            return
        except (OSError, orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
            log.warning("%s: cannot be used (%s); waiting for the chain", self.path, error)
            return
        self._use(found.values())
        self.at = at

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
