"""The chain and the keys: who is registered, who may call, and what happens while nobody answers."""

from __future__ import annotations

import gc
import ipaddress
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import bittensor as bt
import orjson
import pytest
from bittensor import sp_core
from bittensor.result import ChainError as NoSymbols
from live_rig import MINER, PATIENCE, STRANGER, VALIDATOR, until
from websockets.sync.server import serve

from ewmalab.errors import ChainError, ConfigError
from ewmalab.live.miner import chain as chain_module
from ewmalab.live.miner.admission import Neuron
from ewmalab.live.miner.chain import AllowList, BittensorChain, make_chain, netuid_of, verify
from ewmalab.live.miner.directory import SNAPSHOT, Directory
from ewmalab.live.miner.firewall import allowlist, render
from ewmalab.live.miner.wallet import load_wallet
from ewmalab.rulebook import load_rulebook
from ewmalab.settings import load_settings
from ewmalab.settings.schema import LiveSettings

# The client closes neither its event loops nor the sockets of a failed connection: they go with the garbage.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

RULEBOOK = load_rulebook()
NETUID = 50
REFUSED = "ws://127.0.0.1:1"


@pytest.fixture(scope="module", autouse=True)
def tidy() -> Iterator[None]:
    """Leave the client's garbage to no other module's tests."""
    yield
    gc.collect()


def live(**values: Any) -> LiveSettings:
    return load_settings(environ={}, flags={f"live.{key}": value for key, value in values.items()}).values.live


def axon(ip: str, port: int) -> dict[str, int]:
    address = ipaddress.ip_address(ip)
    return {"ip": int(address), "port": port, "ip_type": address.version, "protocol": 4}


class FakeSubstrate:
    """A chain with one subnet of four keys."""

    def __init__(self) -> None:
        self.token_symbols: dict[int, str] = {}
        self.open = 0
        self.asked: list[tuple[str, str, list[Any]]] = []

    def balance(self, rao: int, netuid: int = 0) -> Any:
        return bt.Balance.from_rao(rao, netuid)

    async def connect(self) -> None:
        self.open += 1

    async def close(self) -> None:
        self.open -= 1

    async def block_number(self) -> int:
        return 1000

    async def block_hash(self, block: int | None = None) -> str:
        return f"0x{block or 1000:064x}"

    async def query_map(self, *_: Any, **__: Any) -> Any:
        raise NoSymbols("no symbols")  # so that none are cached for real networks

    async def runtime_call(self, api: str, method: str, params: list[Any], block_hash: str | None = None) -> Any:
        self.asked.append((api, method, params))
        if params != [NETUID]:
            return None
        keys = [VALIDATOR.ss58_address, MINER.ss58_address, STRANGER.ss58_address, "5" + "A" * 47]
        return {
            "hotkeys": keys, "coldkeys": keys, "validator_permit": [True, False, True, False],
            "total_stake": [65_000_500_000_000, 0, 10**9, 1],
            "axons": [axon("203.0.113.7", 8091), axon("2001:db8::1", 80), axon("0.0.0.0", 0), None],
            "block": 1000, "tempo": 360, "last_step": 900, "blocks_since_last_step": 100, "owner_hotkey": keys[0],
            "owner_coldkey": keys[0], "network_registered_at": 1, "symbol": [], "name": [],
        }  # fmt: skip


# ------------------------------------------------------------------------------------------------- bittensor


def test_neurons_have_the_stake_permit_and_axon_of_the_chain() -> None:
    substrate = FakeSubstrate()
    found = BittensorChain("test", NETUID, substrate=substrate).neurons()
    assert found == [
        Neuron(VALIDATOR.ss58_address, 0, 65_000.5, True, "203.0.113.7:8091"),
        Neuron(MINER.ss58_address, 1, 0.0, False, "[2001:db8::1]:80"),
        Neuron(STRANGER.ss58_address, 2, 1.0, True, ""),
        Neuron("5" + "A" * 47, 3, 1e-9, False, ""),
    ]
    assert [neuron.ip for neuron in found] == ["203.0.113.7", "2001:db8::1", "", ""]
    assert [type(neuron.stake) for neuron in found] == [float] * 4
    assert substrate.open == 0  # closed again


def test_metagraph_is_the_only_question_asked() -> None:
    substrate = FakeSubstrate()
    BittensorChain("test", NETUID, substrate=substrate).neurons()
    assert substrate.asked == [("SubnetInfoRuntimeApi", "get_metagraph", [NETUID])]


@pytest.mark.parametrize("port", [8091, 1])
@pytest.mark.parametrize("nowhere", ["0.0.0.0", "::"])
def test_axon_of_nowhere_is_none(nowhere: str, port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    substrate = FakeSubstrate()
    monkeypatch.setattr("test_live_chain.axon", lambda *_: {"ip": int(ipaddress.ip_address(nowhere)), "port": port})
    assert {n.axon for n in BittensorChain("test", NETUID, substrate=substrate).neurons()} == {""}


def test_missing_subnet_is_named() -> None:
    with pytest.raises(ChainError, match=r"test: no subnet 51"):
        BittensorChain("test", 51, substrate=FakeSubstrate()).neurons()


def test_any_failure_of_the_client_is_a_chain_error() -> None:
    substrate = FakeSubstrate()
    substrate.runtime_call = lambda *_, **__: (_ for _ in ()).throw(KeyError("surprise"))  # type: ignore[method-assign]
    with pytest.raises(ChainError, match=r"test: query failed: KeyError: 'surprise'"):
        BittensorChain("test", NETUID, substrate=substrate).neurons()
    assert substrate.open == 0


def test_unreachable_endpoint_is_a_chain_error_at_once() -> None:
    """Other words would tell that the patience with a chain had run out."""
    for ask in (
        BittensorChain(REFUSED, NETUID).neurons,
        lambda: BittensorChain(REFUSED, NETUID, bt.Wallet()).announce("203.0.113.7", 8091),
    ):
        with pytest.raises(ChainError, match=r"ws://127.0.0.1:1: query failed: RpcConnectionError"):
            ask()


def test_network_that_is_no_address_is_a_chain_error() -> None:
    with pytest.raises(ChainError, match="nonsense"):
        BittensorChain("nonsense", NETUID).neurons()


@pytest.mark.slow
def test_endpoint_that_never_shakes_hands_is_a_chain_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.raises(ChainError, match="handshake"):
        BittensorChain(f"ws://127.0.0.1:{server.getsockname()[1]}", NETUID).neurons()


@pytest.mark.slow  # leaves bittensor's loop behind, which nobody closes
def test_endpoint_that_takes_questions_and_never_answers_is_a_chain_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain_module, "CHAIN_SECONDS", 3.0)
    came: list[str] = []

    def ask(url: str) -> None:
        try:
            BittensorChain(url, NETUID).neurons()
        except ChainError as error:
            came.append(str(error))

    with serve(lambda connection: [None for _ in connection], "127.0.0.1", 0) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        asking = threading.Thread(target=ask, args=(f"ws://127.0.0.1:{server.socket.getsockname()[1]}",), daemon=True)
        asking.start()
        asking.join(PATIENCE)
        bounded = not asking.is_alive()
        server.shutdown()
    serving.join()
    assert bounded, "still waiting: who is registered would never be refreshed"
    assert came


class RecordingClient:
    """Stands in for the client: keeps what is executed."""

    done: list[Any] = []  # noqa: RUF012
    success = True

    def __init__(self, network: str, substrate: Any) -> None:
        self.network = network

    def __enter__(self) -> RecordingClient:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def close(self) -> None:
        pass

    def execute(self, intent: Any, wallet: Any) -> Any:
        self.done.append((intent, wallet))
        return SimpleNamespace(success=self.success)


def test_announcement_is_an_http_axon_signed_by_the_wallet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bt, "SyncClient", RecordingClient)
    monkeypatch.setattr(RecordingClient, "done", [])
    BittensorChain("test", NETUID, "wallet").announce("203.0.113.7", 8091)
    [(intent, wallet)] = RecordingClient.done
    assert isinstance(intent, bt.ServeAxon)
    assert (intent.netuid, intent.ip, intent.port, intent.protocol) == (NETUID, "203.0.113.7", 8091, 4)
    assert wallet == "wallet"


def test_refused_announcement_is_a_chain_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bt, "SyncClient", RecordingClient)
    monkeypatch.setattr(RecordingClient, "success", False)
    with pytest.raises(ChainError, match="not announced"):
        BittensorChain("test", NETUID, "wallet").announce("203.0.113.7", 8091)


# ------------------------------------------------------------------------------------------- without a chain


def test_listed_keys_may_call_whatever_the_least_stake() -> None:
    found = AllowList(["A", "B"]).neurons()
    assert [(n.hotkey, n.uid, n.permit, n.axon) for n in found] == [("A", 0, True, ""), ("B", 1, True, "")]
    assert all(n.stake > 1e30 for n in found)


def test_allow_list_cannot_be_changed_through_its_answer() -> None:
    chain = AllowList(["A"])
    chain.neurons().clear()
    assert len(chain.neurons()) == 1


def test_settings_choose_between_chain_and_allow_list() -> None:
    assert isinstance(make_chain(live(network="test"), RULEBOOK, None), BittensorChain)
    assert isinstance(make_chain(live(chain=False, allow=["A"]), RULEBOOK, None), AllowList)
    with pytest.raises(ConfigError, match="--allow HOTKEY"):
        make_chain(live(chain=False), RULEBOOK, None)


def test_netuid_is_the_setting_else_the_rulebooks() -> None:
    assert [netuid_of(live(network=name), RULEBOOK) for name in RULEBOOK.netuids] == [*RULEBOOK.netuids.values()]
    assert netuid_of(live(network="finney", netuid=7), RULEBOOK) == 7
    assert netuid_of(live(network=REFUSED, netuid=7), RULEBOOK) == 7
    with pytest.raises(ConfigError, match=r"live\.netuid"):
        netuid_of(live(network=REFUSED), RULEBOOK)


def test_firewall_lets_in_whom_the_gate_would() -> None:
    rules = RULEBOOK.at(1_790_000_000)
    enough = rules.min_stake + 1
    neurons = [
        Neuron("a", 0, enough, True, "203.0.113.9:1"),
        Neuron("b", 1, enough, True, "203.0.113.9:2"),  # the same address
        Neuron("c", 2, enough, True, "[2001:db8::1]:3"),
        Neuron("d", 3, enough, False, "203.0.113.1:4"),
        Neuron("e", 4, rules.min_stake, True, "203.0.113.2:5"),  # must exceed it
        Neuron("f", 5, enough, True, ""),
    ]

    def addresses(**values: Any) -> tuple[str, ...]:
        return allowlist(neurons, live(network="test", **values), RULEBOOK, rules).addresses

    assert addresses() == ("2001:db8::1", "203.0.113.9")
    assert addresses(require_permit=False) == ("2001:db8::1", "203.0.113.1", "203.0.113.9")
    assert "203.0.113.2" in addresses(min_stake=0)
    assert addresses(min_stake=enough) == ()


# -------------------------------------------------------------------------------------------------- directory

ONE = [Neuron("A", 0, 1.5, True, "203.0.113.7:8091")]
TWO = [*ONE, Neuron("B", 1, 0.0, False, "")]


class Chains:
    """Answers in turn; None is a failure."""

    def __init__(self, *answers: list[Neuron] | None) -> None:
        self.answers = list(answers)

    def neurons(self) -> list[Neuron]:
        found = self.answers.pop(0)
        if found is None:
            raise ChainError("the chain is away")
        return found

    def announce(self, ip: str, port: int) -> None: ...


class Times:
    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def test_directory_knows_nobody_before_the_chain_answered(tmp_path: Path) -> None:
    directory = Directory(Chains(None), tmp_path / "n.json", Times())
    directory.restore()
    assert (directory.neurons(), directory.age()) == ({}, None)
    assert not directory.refresh()
    assert (directory.neurons(), directory.age(), directory.errors) == ({}, None, 1)
    assert not (tmp_path / "n.json").exists()


def test_failed_refresh_keeps_the_list_and_its_age(tmp_path: Path) -> None:
    times = Times()
    directory = Directory(Chains(TWO, None, None, ONE), tmp_path / "n.json", times)
    assert directory.refresh()
    assert directory.neurons() == {n.hotkey: n for n in TWO}
    for failures in (1, 2):
        times.now += 60
        assert not directory.refresh()
        assert directory.neurons() == {n.hotkey: n for n in TWO}
        assert (directory.age(), directory.errors, directory.error) == (60 * failures, failures, "the chain is away")
    assert directory.refresh()
    assert (directory.neurons(), directory.age(), directory.error) == ({"A": ONE[0]}, 0, "")


def test_saved_list_and_its_age_survive_a_restart(tmp_path: Path) -> None:
    Directory(Chains(TWO), tmp_path / "n.json", Times(1000)).refresh()
    after = Directory(Chains(None), tmp_path / "n.json", Times(1100))
    after.restore()
    assert not after.refresh()
    assert after.neurons() == {n.hotkey: n for n in TWO}
    assert after.age() == 100


GOOD = {"hotkey": "A", "uid": 0, "stake": 1.5, "permit": True, "axon": ""}


@pytest.mark.parametrize(
    "text",
    [
        b"", b"{", b"null", b"[]", b"7", b"{}", b'{"at": 1}',
        orjson.dumps({"neurons": [GOOD]}), orjson.dumps({"neurons": [GOOD], "at": None}),
        orjson.dumps({"neurons": [GOOD, {}], "at": 1}), orjson.dumps({"neurons": [GOOD | {"extra": 1}], "at": 1}),
        orjson.dumps({"neurons": [GOOD | {"stake": None}], "at": 1}), b"\xff\xfe",
        orjson.dumps({"neurons": {"A": GOOD}, "at": 1}),
    ],
)  # fmt: skip
def test_damaged_list_is_ignored_as_a_whole(text: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "n.json"
    path.write_bytes(text)
    directory = Directory(Chains(ONE), path, Times())
    directory.restore()
    assert (directory.neurons(), directory.age()) == ({}, None)
    assert str(path) in caplog.text
    assert directory.refresh()
    assert directory.neurons() == {"A": ONE[0]}


def test_unwritable_folder_does_not_keep_the_list_from_use(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    directory = Directory(Chains(ONE), tmp_path / "file" / "n.json", Times())
    directory.restore()
    assert directory.refresh()
    assert directory.neurons() == {"A": ONE[0]}
    assert "cannot be written" in caplog.text


def test_allow_list_is_never_saved(tmp_path: Path) -> None:
    directory = Directory(AllowList(["A"]), tmp_path / "n.json", Times())
    assert directory.refresh()
    assert not any(tmp_path.iterdir())


MANY = [Neuron(f"N{i}", i, 1.0, i < 6, "") for i in range(12)]


@pytest.mark.parametrize(
    "answer",
    [[], MANY[:6], MANY[:1], MANY[6:], [replace(n, permit=n.uid < 3) for n in MANY]],
    ids=["empty", "halved", "one", "without permits", "half the permits"],
)
def test_an_empty_or_halved_answer_does_not_replace_the_list(answer: list[Neuron], tmp_path: Path) -> None:
    times = Times()
    directory = Directory(Chains(MANY, answer, answer, MANY[:7]), tmp_path / "n.json", times)
    assert directory.refresh()
    for _ in range(2):
        assert not directory.refresh()
        assert list(directory.neurons().values()) == MANY
        assert "the chain's answer is not taken" in directory.error
    assert directory.refresh()
    assert list(directory.neurons().values()) == MANY[:7]


def test_a_smaller_list_that_lasts_is_taken_but_never_an_empty_one(tmp_path: Path) -> None:
    times = Times()
    directory = Directory(Chains(MANY, MANY[:5], MANY[:5], [], []), tmp_path / "n.json", times)
    found = []
    for _ in range(5):
        found.append((directory.refresh(), len(directory.neurons())))
        times.now += 7 * 3600
    assert found == [(True, 12), (False, 12), (True, 5), (False, 5), (False, 5)]


def test_no_exception_ends_the_refreshing_thread(tmp_path: Path) -> None:
    class Broken:
        asked = 0

        def neurons(self) -> Any:
            self.asked += 1
            if self.asked == 1:
                raise ZeroDivisionError("planted")
            return [None] if self.asked == 2 else ONE

    stop: Any = Stop(3)
    directory = Directory(Broken(), tmp_path / "n.json", Times())  # type: ignore[arg-type]
    directory.run(300, stop)
    assert stop.waits == [10, 10, 300]
    assert directory.errors == 2
    assert directory.neurons() == {"A": ONE[0]}


def test_allowed_hotkeys_may_call_with_a_chain_too(tmp_path: Path) -> None:
    directory = Directory(Chains(None, TWO), tmp_path / "n.json", Times(), ("B", "C"))
    assert not directory.refresh()
    assert [n.stake for n in directory.neurons().values()] == [float("inf")] * 2
    assert directory.refresh()
    found = directory.neurons()
    assert set(found) == {"A", "B", "C"}
    assert found["A"] == TWO[0]
    assert (found["B"].uid, found["B"].stake, found["B"].permit) == (TWO[1].uid, float("inf"), True)
    assert len(orjson.loads((tmp_path / "n.json").read_bytes())["neurons"]) == 2
    directory.allow_also(())
    assert directory.neurons() == {n.hotkey: n for n in TWO}


def test_the_clock_is_compared_with_the_newest_blocks(tmp_path: Path) -> None:
    class Stamped(Chains):
        block_time = 1000.0

    times = Times(1000.0)
    directory = Directory(Stamped(*[ONE] * 9), tmp_path / "n.json", times)
    for now, skew in ((1000.0, 0.0), (1030.0, 0.0), (1045.0, 15.0), (980.0, -20.0)):
        times.now = now
        directory.refresh()
        assert directory.skew == skew


class Stop:
    """Records the waits; set after so many."""

    def __init__(self, most: int) -> None:
        self.waits: list[float] = []
        self.most = most

    def is_set(self) -> bool:
        return len(self.waits) >= self.most

    def wait(self, seconds: float) -> bool:
        self.waits.append(seconds)
        return self.is_set()


def test_chain_is_asked_again_soon_after_a_failure(tmp_path: Path) -> None:
    stop: Any = Stop(4)
    Directory(Chains(None, ONE, None, ONE), tmp_path / "n.json", Times()).run(300, stop)
    assert stop.waits == [10, 300, 10, 300]


# ------------------------------------------------------------------------------------------------------- keys


def test_signature_counts_for_its_message_and_its_key_alone() -> None:
    signature = VALIDATOR.sign(b"message")
    assert verify(b"message", signature, VALIDATOR.ss58_address)
    assert not verify(b"massage", signature, VALIDATOR.ss58_address)
    assert not verify(b"message", signature, STRANGER.ss58_address)
    assert not verify(b"message", signature[:-1] + bytes([signature[-1] ^ 1]), VALIDATOR.ss58_address)
    other = sp_core.Keypair.create_from_uri("//Validator", crypto_type=sp_core.CRYPTO_ED25519)
    assert not verify(b"message", other.sign(b"message"), VALIDATOR.ss58_address)


@pytest.mark.parametrize("signature", [b"", b"\0" * 63, b"\0" * 64, b"\xff" * 64, b"\0" * 65, b"x" * 1000])
def test_garbage_is_no_signature(signature: bytes) -> None:
    try:
        accepted = verify(b"message", signature, VALIDATOR.ss58_address)
    except ValueError:  # which the gate refuses as well
        accepted = False
    assert not accepted


@pytest.mark.parametrize("address", ["", "nonsense", "1" * 48, VALIDATOR.ss58_address[:-1] + "1"])
def test_garbage_is_no_address(address: str) -> None:
    try:
        accepted = verify(b"message", VALIDATOR.sign(b"message"), address)
    except ValueError:
        accepted = False
    assert not accepted


def test_hotkey_of_a_wallet_signs_what_verifies(tmp_path: Path) -> None:
    bt.Wallet("mine", "default", str(tmp_path)).create_new_hotkey(suppress=True)
    own = load_wallet(live(wallet="mine", wallet_path=str(tmp_path))).hotkey
    assert verify(b"message", own.sign(b"message"), own.ss58_address)


def test_missing_wallet_names_the_options(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_wallet(live(wallet="none", hotkey="such", wallet_path=str(tmp_path)))
    for text in ("'none'", "'such'", str(tmp_path), "--wallet,", "--hotkey", "--wallet-path"):
        assert text in str(caught.value)


def test_damaged_hotkey_file_names_the_options(tmp_path: Path) -> None:
    bt.Wallet("mine", "default", str(tmp_path)).create_new_hotkey(suppress=True)
    path = tmp_path / "mine" / "hotkeys" / "default"
    path.write_bytes(b"\0garbage")
    with pytest.raises(ConfigError, match="--hotkey"):
        load_wallet(live(wallet="mine", wallet_path=str(tmp_path)))


# -------------------------------------------------------------------------------------------------- allowlist


@pytest.fixture
def chained(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Give the command a chain that answers in turn; the signal that a service manager sends comes with the last."""
    before = [(number, signal.getsignal(number)) for number in (signal.SIGTERM, signal.SIGINT)]

    def use(*answers: list[Neuron] | None, stop: bool = False) -> None:
        chain = Chains(*answers)
        ask = chain.neurons

        def neurons() -> list[Neuron]:
            if stop and len(chain.answers) == 1:
                signal.raise_signal(signal.SIGTERM)
            return ask()

        chain.neurons = neurons  # type: ignore[method-assign]
        monkeypatch.setattr("ewmalab.live.miner.chain.make_chain", lambda *_: chain)

    yield use
    for number, handler in before:
        signal.signal(number, handler)


TESTNET = ("--network", "test")  # for which no addresses are published


def validator(ip: str) -> Neuron:
    return Neuron(ip, 0, 1e9, True, f"{ip}:8091")


def test_allowlist_prints_an_address_a_line(chained: Callable[..., None], ewmalab: Callable[..., Any]) -> None:
    chained([validator("203.0.113.9"), validator("203.0.113.10"), *TWO])
    result = ewmalab("live", "allowlist", *TESTNET, "--set", "live.min_stake=1000")  # whatever today's rules say
    assert (result.code, result.out) == (0, "203.0.113.10\n203.0.113.9\n")


def test_allowlist_fails_if_the_chain_does(
    chained: Callable[..., None], ewmalab: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "list").write_text("203.0.113.1\n")
    chained(None)
    result = ewmalab("live", "allowlist", *TESTNET, "--output", str(tmp_path / "list"))
    assert (result.code, result.out) == (4, "")
    assert "the chain is away; state/neurons.json has no saved list, so none is written" in result.err
    assert (tmp_path / "list").read_text() == "203.0.113.1\n"


@pytest.mark.parametrize("watch", [(), ("--watch",)])
def test_while_the_chain_is_away_the_list_that_a_miner_saved_serves_and_that_is_said(
    watch: tuple[str, ...], chained: Callable[..., None], ewmalab: Callable[..., Any], tmp_path: Path
) -> None:
    Directory(Chains([validator("203.0.113.9")]), tmp_path / SNAPSHOT, lambda: 1_790_000_000.0).refresh()
    chained(None, stop=bool(watch))
    result = ewmalab("live", "allowlist", "--set", f"live.state_dir={tmp_path}", *watch)
    assert (result.code, result.out.split()) == (0, sorted({"203.0.113.9", *PUBLISHED}))
    assert f"the chain is away; the list is made from {tmp_path / SNAPSHOT}, saved at 2026-09-21" in result.err


def test_watched_list_is_written_when_it_changed_and_only_then(
    chained: Callable[..., None], ewmalab: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[bytes] = []
    monkeypatch.setattr("ewmalab.api.live.write_atomic", lambda path, data: written.append(data))
    a, b = validator("203.0.113.1"), validator("203.0.113.2")
    chained([a], [a], [a, b], [b], stop=True)
    monkeypatch.setattr(threading.Event, "wait", lambda self, seconds=None: self.is_set())
    result = ewmalab("live", "allowlist", *TESTNET, "--watch", "--output", str(tmp_path / "list"))
    assert (result.code, result.out) == (0, "")
    assert written == [b"203.0.113.1\n", b"203.0.113.1\n203.0.113.2\n", b"203.0.113.2\n"]


def test_watched_list_stays_while_the_chain_is_away_and_a_stop_ends_the_watch(
    chained: Callable[..., None], ewmalab: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "list").write_text("203.0.113.1\n")
    chained(None, stop=True)
    result = ewmalab(
        "live", "allowlist", *TESTNET, "--watch", "--output", str(tmp_path / "list")
    )  # asks no second time
    assert result.code == 0
    assert "the list is unchanged" in result.err
    assert (tmp_path / "list").read_text() == "203.0.113.1\n"


def test_stop_ends_a_watch_that_waits_for_its_next_look(
    chained: Callable[..., None], ewmalab: Callable[..., Any], tmp_path: Path
) -> None:
    chained([validator("203.0.113.1")])
    path, main = tmp_path / "list", threading.main_thread().ident or 0

    def stop_it() -> None:
        if until(path.exists):  # from then on it waits
            signal.pthread_kill(main, signal.SIGTERM)

    stopper = threading.Thread(target=stop_it)
    stopper.start()
    assert ewmalab("live", "allowlist", *TESTNET, "--watch", "--every", "1h", "-o", str(path)).code == 0
    stopper.join()
    assert (tmp_path / "list").read_text() == "203.0.113.1\n"


PUBLISHED = RULEBOOK.validator_addresses


def test_published_addresses_are_added_on_finney_and_who_serves_no_axon_is_named(
    chained: Callable[..., None], ewmalab: Callable[..., Any]
) -> None:
    silent = Neuron("5Silent", 1, 1e9, True, "")
    chained([validator("203.0.113.9"), silent, Neuron("5Poor", 2, 0.0, True, "")])
    result = ewmalab("live", "allowlist")
    assert result.out.split() == sorted({"203.0.113.9", *PUBLISHED})
    assert len(PUBLISHED) == 3
    assert "5Silent may call and serves no axon" in result.err
    assert "5Poor" not in result.err


FOUR, SIX = "203.0.113.9", "2001:db8::1"


def test_every_format_keeps_the_families_apart_and_replaces_the_set_in_one_step() -> None:
    nft = render([SIX, FOUR], "nft", 8091).splitlines()
    assert f"add element inet synth validators4 {{ {FOUR} }}" in nft
    assert f"add element inet synth validators6 {{ {SIX} }}" in nft
    assert all(nft.index(f"flush set inet synth validators{v}") < len(nft) - 1 for v in (4, 6))
    ipset = render([SIX, FOUR], "ipset", 8091).splitlines()
    for name, address in (("ewmalab4", FOUR), ("ewmalab6", SIX)):
        steps = [f"flush {name}-new", f"add {name}-new {address}", f"swap {name} {name}-new", f"destroy {name}-new"]
        assert [line for line in ipset if line in steps] == steps
    ufw = render([SIX, FOUR], "ufw", 8099).splitlines()
    assert ufw == [f"ufw allow proto tcp from {a} to any port 8099 comment ewmalab" for a in (FOUR, SIX)]
    assert render([SIX, FOUR, FOUR], "plain", 8091).split() == [SIX, FOUR]


def test_an_empty_family_has_an_empty_set() -> None:
    text = render([FOUR], "nft", 8091)
    assert "flush set inet synth validators6" in text
    assert "add element inet synth validators6" not in text


def in_its_own_network(*command: str, text: str) -> None:
    """Run a firewall's program where it changes nothing; the test is skipped where that cannot be."""
    if not shutil.which(command[0]) or not shutil.which("unshare"):
        pytest.skip(f"{command[0]} or unshare is not installed")
    if subprocess.run(["unshare", "-n", "true"], capture_output=True, check=False).returncode:
        pytest.skip("a network of its own needs more rights")
    done = subprocess.run(["unshare", "-n", *command], input=text, capture_output=True, text=True, check=False)
    if "Operation not permitted" in done.stderr:
        pytest.skip(f"{command[0]} needs the right to change the firewall")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("addresses", [[], [FOUR], [FOUR, SIX]])
@pytest.mark.parametrize(("form", "command"), [("nft", ("nft", "-f", "-")), ("ipset", ("ipset", "restore"))])
def test_the_firewalls_program_accepts_the_file_once_and_again(
    form: str, command: tuple[str, ...], addresses: list[str]
) -> None:
    in_its_own_network(*command, text=2 * render(addresses, form, 8091))


def test_an_unknown_format_is_refused_before_the_chain_is_asked(ewmalab: Callable[..., Any]) -> None:
    result = ewmalab("live", "allowlist", "--format", "pf")
    assert result.code == 2
    assert "plain, nft, ipset, ufw" in result.err
