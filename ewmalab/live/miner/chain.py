"""The chain and the keys, behind one small interface that hides bittensor."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from queue import Empty, Queue
from threading import Thread
from typing import Any, Protocol

from ewmalab.errors import ChainError, ConfigError
from ewmalab.live.miner.admission import Neuron
from ewmalab.rulebook import Rulebook, Rules
from ewmalab.settings.schema import LiveSettings

CHAIN_SECONDS = 60.0  # time limit of one query
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
