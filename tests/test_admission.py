"""Who may ask and what: every refusal, every boundary, and checks that notice a gate with a known defect."""

from __future__ import annotations

import hashlib
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import orjson
import pytest
from bittensor import sp_core
from examples import examples
from hypothesis import example, given
from hypothesis import strategies as st

from ewmalab.forecast.protocol import Prompt
from ewmalab.live.audit.probe import NO_BODY, body_of, signed_headers
from ewmalab.live.miner import admission as gate_module
from ewmalab.live.miner import prompt_body as prompts_module
from ewmalab.live.miner.admission import NONCE_FUTURE, NONCE_PAST, Admission, Neuron, Refusal, signed_text
from ewmalab.live.miner.chain import verify as sr25519
from ewmalab.live.miner.prompt_body import EARLIEST, LATEST, MAX_BODY, parse_prompt
from ewmalab.rulebook import load_rulebook
from ewmalab.times import iso, parse_time

NOW = 1_796_000_000  # whole seconds: boundaries are exact
SECOND = 1_000_000_000  # nanoseconds
MIN_STAKE = 65_000.0
Headers = list[tuple[bytes, bytes]]


class Key:
    """A key whose signature costs nothing: a hash of its address and the message."""

    def __init__(self, name: str) -> None:
        letters = hashlib.sha256(name.encode()).hexdigest().replace("0", "z")
        self.ss58_address = f"5{letters[:47]}"

    def sign(self, data: bytes) -> bytes:
        return hashlib.sha512(self.ss58_address.encode() + data).digest()


def verify(message: bytes, signature: bytes, address: str) -> bool:
    return signature == hashlib.sha512(address.encode() + message).digest()


OURS, OTHER, STRANGER = Key("ours"), Key("other"), Key("stranger")
VALIDATOR, POOR, UNPERMITTED = Key("validator"), Key("poor"), Key("unpermitted")
NEURONS = {
    key.ss58_address: Neuron(key.ss58_address, uid, stake, permit, "")
    for uid, (key, stake, permit) in enumerate(
        [(VALIDATOR, 1e6, True), (POOR, MIN_STAKE, True), (UNPERMITTED, 1e6, False), (OURS, 0.0, False)]
    )
}


class Time:
    """The system's time, as a test wants it."""

    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def make(
    cls: type[Admission] = Admission, *, time: Time | None = None, started: float = NOW - 3600, **changes: Any
) -> Admission:
    parts: dict[str, Any] = {
        "hotkey": OURS.ss58_address,
        "verify": verify,
        "neurons": lambda: NEURONS,
        "min_stake": MIN_STAKE,
        "require_permit": True,
        "now": time or Time(),
        "started": started,
    }
    return cls(**parts | changes)


def signed(
    key: Key = VALIDATOR, *, axon: str = OURS.ss58_address, nonce: int = NOW * SECOND, process: str = "p", **extra: str
) -> Headers:
    """The headers of a request as they reach the gate; `extra` replaces some of them after the signing."""
    sent = signed_headers(key, axon, nonce, process) | extra
    return [(name.lower().encode(), value.encode("latin-1")) for name, value in sent.items()]


def without(headers: Headers, name: str) -> Headers:
    return [(key, value) for key, value in headers if key != name.encode()]


def refused(call: Callable[[], object]) -> Refusal:
    with pytest.raises(Refusal) as caught:
        call()
    assert 400 <= caught.value.status < 500
    assert caught.value.kind
    assert 0 < len(caught.value.reason) < 200
    return caught.value


DENDRITE = [f"bt_header_dendrite_{part}" for part in ("hotkey", "nonce", "uuid", "signature")]
WANTED = [*DENDRITE, "bt_header_axon_hotkey", "computed_body_hash"]


# -------------------------------------------------------------------------------------------- the gate


def test_a_signed_request_of_a_validator_is_admitted_by_its_hotkey() -> None:
    assert make().admit(signed()) == VALIDATOR.ss58_address


def test_headers_of_other_names_do_not_matter() -> None:
    noise = [(b"timeout", b"nan"), (b"timeout", b"-1"), (b"x", b"\xff"), (b"host", b""), (b"content-length", b"7")]
    assert make().admit(noise + signed() + noise) == VALIDATOR.ss58_address


def test_real_signatures_are_verified() -> None:
    ours, caller = (sp_core.Keypair.create_from_uri(uri) for uri in ("//Ours", "//Caller"))
    neurons = {caller.ss58_address: Neuron(caller.ss58_address, 0, 1e6, True, "")}
    gate = make(hotkey=ours.ss58_address, verify=sr25519, neurons=lambda: neurons)
    sent = signed(caller, axon=ours.ss58_address)
    forged = dict(sent)[b"bt_header_dendrite_signature"]
    forged = forged[:-1] + (b"0" if forged[-1:] != b"0" else b"1")
    bad = [*without(sent, "bt_header_dendrite_signature"), (b"bt_header_dendrite_signature", forged)]
    assert refused(lambda: gate.admit(bad)).kind == "signature"
    assert gate.admit(sent) == caller.ss58_address


@pytest.mark.parametrize("name", [name for name in WANTED if name != "computed_body_hash"])
def test_a_missing_header_is_refused(name: str) -> None:
    refusal = refused(lambda: make().admit(without(signed(), name)))
    assert (refusal.status, refusal.kind, refusal.reason) == (401, "headers", f"header {name} is missing")


def test_a_body_hash_that_was_signed_but_not_sent_is_a_wrong_signature() -> None:
    assert refused(lambda: make().admit(without(signed(), "computed_body_hash"))).kind == "signature"


@pytest.mark.parametrize("name", WANTED)
def test_a_header_that_is_sent_twice_is_refused_even_with_one_value(name: str) -> None:
    sent = signed()
    again = (name.encode(), dict(sent)[name.encode()])
    assert refused(lambda: make().admit([*sent, again])).kind == "headers"
    assert refused(lambda: make().admit([again, *sent])).kind == "headers"


def test_the_reason_is_short_whatever_a_doubled_header_is_called() -> None:
    name = b"bt_header_" + b"x" * 7000
    refused(lambda: make().admit([*signed(), (name, b"1"), (name, b"1")]))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[(name, value) for name in DENDRITE for value in ("", " ", "\x00", "[null]", "\xff\xfe", "x" * 10_000)],
        *[("bt_header_dendrite_nonce", value) for value in ("-1", "+1", "1.5", "1e18", "nan", "inf", "1_0", "9" * 21)],
        *[("bt_header_dendrite_nonce", f"{space}{NOW * SECOND}") for space in (" ", "\xa0", "\t")],
        ("bt_header_dendrite_nonce", f"{NOW * SECOND}\n"),
        ("bt_header_dendrite_signature", "0x"),
        ("bt_header_dendrite_signature", "0x" + "0" * 126),
        ("bt_header_dendrite_signature", "0x" + "0" * 130),
        ("bt_header_dendrite_signature", "0x" + "g" * 128),
        ("bt_header_dendrite_signature", "00" + "0" * 128),
        ("bt_header_dendrite_hotkey", "0" * 48),  # letters that base58 lacks
        ("bt_header_dendrite_hotkey", VALIDATOR.ss58_address[:39]),
        ("bt_header_dendrite_hotkey", VALIDATOR.ss58_address + "1" * 13),
        ("bt_header_dendrite_uuid", "x" * 65),
        ("bt_header_dendrite_uuid", "a.b"),  # dots separate the parts of what is signed
        ("bt_header_axon_hotkey", ""),
        ("bt_header_axon_hotkey", f"{OURS.ss58_address} "),
        ("computed_body_hash", "0" * 129),
        ("computed_body_hash", "xyz"),
    ],
)
def test_a_malformed_header_is_refused_before_anything_is_verified(name: str, value: str) -> None:
    def unused(*_: object) -> bool:
        raise AssertionError("verified")

    gate = make(verify=unused)
    refusal = refused(lambda: gate.admit(signed(**{name: value})))
    assert (refusal.status, refusal.kind) == (401, "headers")


def test_digits_of_other_scripts_are_no_digits() -> None:
    sent = without(signed(), "bt_header_dendrite_nonce")
    nonce = str(NOW * SECOND).translate({ord("0") + i: 0x660 + i for i in range(10)}).encode()
    refused(lambda: make().admit([*sent, (b"bt_header_dendrite_nonce", nonce)]))


@pytest.mark.parametrize(
    "change",
    [
        {"bt_header_dendrite_nonce": str(NOW * SECOND + 1)},
        {"bt_header_dendrite_uuid": "q"},
        {"computed_body_hash": hashlib.sha3_256(b"x").hexdigest()},
        {"computed_body_hash": NO_BODY.upper()},
        {"bt_header_dendrite_signature": "0x" + "0" * 128},
        {"bt_header_dendrite_signature": "0x" + OTHER.sign(b"").hex()},
    ],
)
def test_every_signed_part_is_covered(change: dict[str, str]) -> None:
    refusal = refused(lambda: make().admit(signed(**change)))
    assert (refusal.status, refusal.kind) == (401, "signature")


def test_the_signature_of_another_caller_is_refused() -> None:
    theirs = signed(POOR, bt_header_dendrite_hotkey=VALIDATOR.ss58_address)
    assert refused(lambda: make().admit(theirs)).kind == "signature"


def test_what_was_signed_for_another_axon_is_refused_whatever_its_header_says() -> None:
    assert refused(lambda: make().admit(signed(axon=OTHER.ss58_address))).kind == "other_axon"
    redirected = signed(axon=OTHER.ss58_address, bt_header_axon_hotkey=OURS.ss58_address)
    assert refused(lambda: make().admit(redirected)).kind == "signature"


def test_a_verifier_that_cannot_read_a_key_refuses() -> None:
    def unreadable(*_: object) -> bool:
        raise ValueError("no such address")

    assert refused(lambda: make(verify=unreadable).admit(signed())).kind == "signature"


@pytest.mark.parametrize(
    ("nonce", "admitted"),
    [
        ((NOW - int(NONCE_PAST)) * SECOND, True),
        ((NOW - int(NONCE_PAST)) * SECOND - 1000, False),
        ((NOW + int(NONCE_FUTURE)) * SECOND, True),
        ((NOW + int(NONCE_FUTURE)) * SECOND + 1000, False),
        (0, False),
        (NOW, False),  # seconds instead of nanoseconds
        (NOW * 1000, False),
        (NOW * SECOND * 1000 % 10**20, False),
        (10**20 - 1, False),
    ],
)
def test_nonces_are_of_the_present(nonce: int, admitted: bool) -> None:
    if admitted:
        make().admit(signed(nonce=nonce))
    else:
        refusal = refused(lambda: make().admit(signed(nonce=nonce)))
        assert (refusal.status, refusal.kind) == (401, "nonce")


@pytest.mark.parametrize("timeout", ["nan", "inf", "-inf", "-1", "1e308", "1e999", "", "x", "12.0"])
@pytest.mark.parametrize("version", ["0", "6.9.3", "10.5.0", "nan", None])
def test_no_header_prolongs_a_nonce(timeout: str, version: str | None) -> None:
    extra = {"timeout": timeout} | ({} if version is None else {"bt_header_dendrite_version": version})
    for seconds in (-NONCE_PAST - 1, NONCE_FUTURE + 1):
        sent = signed(nonce=int((NOW + seconds) * SECOND), **extra)
        assert refused(lambda sent=sent: make().admit(sent)).kind == "nonce"
    assert make().admit(signed(**extra))


def test_nonces_from_before_the_start_are_refused() -> None:
    gate = make(started=NOW - 5)
    assert refused(lambda: gate.admit(signed(nonce=(NOW - 5) * SECOND - 1000))).kind == "nonce"
    assert gate.admit(signed(nonce=(NOW - 5) * SECOND))


def test_a_request_is_taken_once() -> None:
    gate = make()
    gate.admit(signed())
    refusal = refused(lambda: gate.admit(signed()))
    assert (refusal.status, refusal.kind) == (401, "replay")


def test_a_request_is_taken_once_also_across_a_restart() -> None:
    time = Time()
    sent = signed(nonce=NOW * SECOND)
    make(time=time).admit(sent)
    time.now += 1
    assert refused(lambda: make(time=time, started=time.now).admit(sent)).kind == "nonce"


def test_no_nonce_is_taken_again_after_a_restart_in_whatever_order_they_came() -> None:
    """Clocks are ahead of ours, and the newest nonce comes first. What a caller used binds no other caller."""
    time, told = Time(), dict[str, int]()

    def remember(caller: str, nonce: int) -> None:
        told[caller] = max(nonce, told.get(caller, 0))

    gate = make(time=time, remember=remember)
    sent = [signed(nonce=(NOW + 9 - i) * SECOND, process=f"p{i}") for i in range(9)]
    for headers in sent:
        gate.admit(headers)
    time.now += 2
    rich = {**NEURONS, OTHER.ss58_address: Neuron(OTHER.ss58_address, 9, 1e6, True, "")}
    again = make(time=time, started=time.now, earlier=told, neurons=lambda: rich)
    for headers in sent:
        assert refused(lambda headers=headers: again.admit(headers)).kind == "nonce"
    assert again.admit(signed(OTHER, nonce=int(time.now) * SECOND))
    assert again.admit(signed(nonce=(NOW + 10) * SECOND))


def test_a_remembered_nonce_of_a_wrong_clock_locks_nobody_out() -> None:
    gate = make(earlier={VALIDATOR.ss58_address: (NOW + 3600) * SECOND})
    assert gate.admit(signed())


def test_after_the_clock_is_set_back_the_start_follows() -> None:
    """Our clock was an hour ahead at the start, and is right now: validators must not wait for an hour."""
    time, uptime = Time(NOW + 3600), Time(0)
    gate = make(time=time, started=NOW + 3600, uptime=uptime)
    uptime.now += 20
    time.now = NOW
    assert gate.admit(signed())
    assert refused(lambda: gate.admit(signed(nonce=(NOW - 21) * SECOND, process="q"))).kind == "nonce"
    assert gate.admit(signed(nonce=(NOW - 19) * SECOND, process="q"))


def test_of_concurrent_copies_one_is_taken() -> None:
    gate, barrier = make(), threading.Barrier(8)

    def ask(_: int) -> bool:
        barrier.wait()
        try:
            gate.admit(signed())
        except Refusal:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        # The gate lives on one thread; that it holds here too is owed to the interpreter's lock.
        assert sum(pool.map(ask, range(8))) == 1


def test_nonces_of_one_process_grow_and_those_of_others_are_their_own() -> None:
    gate = make()
    gate.admit(signed(nonce=NOW * SECOND, process="a"))
    assert refused(lambda: gate.admit(signed(nonce=NOW * SECOND - 1, process="a"))).kind == "replay"
    gate.admit(signed(nonce=NOW * SECOND, process="b"))
    gate.admit(signed(nonce=NOW * SECOND + 1, process="a"))
    rich = {**NEURONS, OTHER.ss58_address: Neuron(OTHER.ss58_address, 9, 1e6, True, "")}
    gate.neurons = lambda: rich
    gate.admit(signed(OTHER, nonce=NOW * SECOND, process="a"))


def test_requests_of_two_uuids_with_one_nonce_are_two_requests() -> None:
    """A validator sends one nonce to all miners, and runs several processes under one hotkey."""
    gate = make()
    for _ in range(3):
        gate.admit(signed(process=str(uuid.uuid1())))


def test_a_refused_request_uses_up_no_nonce() -> None:
    gate = make()
    for bad in (
        signed(bt_header_dendrite_signature="0x" + "0" * 128),
        without(signed(), "bt_header_axon_hotkey"),
        signed(axon=OTHER.ss58_address),
    ):
        refused(lambda bad=bad: gate.admit(bad))
    assert gate.admit(signed()) == VALIDATOR.ss58_address


def test_the_memory_of_nonces_is_bounded_and_forgets_only_what_is_refused_anyway() -> None:
    time, most = Time(), gate_module._MAX_PROCESSES
    gate = make(time=time)
    for i in range(most):
        gate.admit(signed(process=f"p{i}"))
    refusal = refused(lambda: gate.admit(signed(process="one-more")))
    assert (refusal.status, refusal.kind) == (429, "processes")
    gate.admit(signed(process="p0", nonce=NOW * SECOND + 1))  # those that are known go on
    time.now += NONCE_PAST
    assert refused(lambda: gate.admit(signed(process="one-more", nonce=int(time.now) * SECOND))).status == 429
    time.now += 1
    gate.admit(signed(process="one-more", nonce=int(time.now) * SECOND))
    assert len(gate._seen[VALIDATOR.ss58_address]) <= most
    for i in range(most):  # none that was forgotten counts again
        assert refused(lambda i=i: gate.admit(signed(process=f"p{i}"))).kind in ("nonce", "replay")


def test_one_callers_processes_are_not_anothers() -> None:
    rich = {**NEURONS, OTHER.ss58_address: Neuron(OTHER.ss58_address, 9, 1e6, True, "")}
    gate = make(neurons=lambda: rich)
    for i in range(gate_module._MAX_PROCESSES):
        gate.admit(signed(process=f"p{i}"))
    assert gate.admit(signed(OTHER)) == OTHER.ss58_address


def test_strangers_leave_nothing_behind() -> None:
    gate = make()
    for i in range(200):
        for sent in (
            signed(Key(f"stranger {i}")),
            signed(POOR, process=f"p{i}"),
            signed(process=f"p{i}", bt_header_dendrite_signature="0x" + "0" * 128),
        ):
            refused(lambda sent=sent: gate.admit(sent))
    assert not gate._seen


@pytest.mark.parametrize(("key", "kind"), [(STRANGER, "stranger"), (POOR, "stake"), (UNPERMITTED, "permit")])
def test_those_who_may_not_call_are_refused(key: Key, kind: str) -> None:
    refusal = refused(lambda: make().admit(signed(key)))
    assert (refusal.status, refusal.kind) == (403, kind)


@pytest.mark.parametrize(("stake", "admitted"), [(MIN_STAKE, False), (MIN_STAKE + 0.01, True), (float("inf"), True)])
def test_callers_need_more_than_the_minimum_stake(stake: float, admitted: bool) -> None:
    neurons = {VALIDATOR.ss58_address: replace(NEURONS[VALIDATOR.ss58_address], stake=stake)}
    gate = make(neurons=lambda: neurons)
    if admitted:
        gate.admit(signed())
    else:
        assert refused(lambda: gate.admit(signed())).kind == "stake"


def test_a_stake_that_is_no_number_is_not_enough() -> None:
    neurons = {VALIDATOR.ss58_address: replace(NEURONS[VALIDATOR.ss58_address], stake=float("nan"))}
    refused(lambda: make(neurons=lambda: neurons).admit(signed()))


def test_the_permit_counts_only_where_it_is_required() -> None:
    assert make(require_permit=False).admit(signed(UNPERMITTED)) == UNPERMITTED.ss58_address


def test_nobody_is_admitted_while_the_chain_is_unknown() -> None:
    refusal = refused(lambda: make(neurons=dict).admit(signed()))
    assert (refusal.status, refusal.kind, refusal.reason) == (403, "stranger", "callers are not known yet")


def test_a_caller_that_was_deregistered_is_refused_from_then_on() -> None:
    neurons = dict(NEURONS)
    gate = make(neurons=lambda: neurons)
    gate.admit(signed())
    del neurons[VALIDATOR.ss58_address]
    assert refused(lambda: gate.admit(signed(nonce=NOW * SECOND + 1))).kind == "stranger"


@pytest.mark.parametrize(("axon", "ip"), [("1.2.3.4:80", "1.2.3.4"), ("[::1]:80", "::1"), ("", "")])
def test_a_neuron_tells_its_address_without_the_port(axon: str, ip: str) -> None:
    assert Neuron("x", 0, 0.0, False, axon).ip == ip


def test_the_signed_text_is_that_of_the_wire() -> None:
    assert signed_text("1", "caller", "axon", "id", "hash") == b"1.caller.axon.id.hash"


NAMES = st.sampled_from([name.encode() for name in [*WANTED, "timeout", "bt_header_dendrite_version", "name"]])


@given(
    st.lists(st.tuples(NAMES | st.binary(max_size=40).map(bytes.lower), st.binary(max_size=150)), max_size=12),
    st.booleans(),
)
def test_headers_that_nobody_signed_are_refused_and_never_anything_else(sent: Headers, base: bool) -> None:
    gate = make()
    headers = sent + (without(signed(), "bt_header_dendrite_signature") if base else [])
    assert refused(lambda: gate.admit(headers)).status in (401, 403)
    assert not gate._seen


@given(st.integers(0, 10**20 - 1) | st.integers((NOW - 60) * SECOND, (NOW + 60) * SECOND))
@example((NOW - 30) * SECOND)
@example((NOW + 30) * SECOND)
def test_a_nonce_is_admitted_exactly_in_its_window(nonce: int) -> None:
    seconds = nonce / 1e9
    gate = make()
    if NOW - NONCE_PAST <= seconds <= NOW + NONCE_FUTURE:
        gate.admit(signed(nonce=nonce))
    else:
        assert refused(lambda: gate.admit(signed(nonce=nonce))).kind == "nonce"


# ------------------------------------------------------------------ the checks notice known defects


class Clamping(Admission):
    """Lets the caller say for how long its nonce holds, clamped as one does it at first: nan passes both ends."""

    def admit(self, headers: Any) -> str:
        said = dict(headers).get(b"timeout", b"12")
        try:
            allowed = min(max(float(said), 0.0), 3600.0)
        except ValueError:
            allowed = 12.0
        nonce = int(dict(headers).get(b"bt_header_dendrite_nonce", b"0") or 0) / 1e9
        if self.now() - nonce > allowed:
            raise Refusal(401, "nonce", "too old")
        now, self.now = self.now, lambda: nonce
        try:
            return super().admit(headers)
        finally:
            self.now = now


class OldVersions(Admission):
    """Excuses versions that had no nonces yet."""

    def admit(self, headers: Any) -> str:
        version = dict(headers).get(b"bt_header_dendrite_version", b"999999")
        if not version.isdigit() or int(version) < 700:
            sent = dict(headers)
            now, self.now = self.now, lambda: int(sent[b"bt_header_dendrite_nonce"]) / 1e9
            try:
                return super().admit(headers)
            finally:
                self.now = now
        return super().admit(headers)


class Trusting(Admission):
    """Verifies against the axon that the header names."""

    def admit(self, headers: Any) -> str:
        ours, self.hotkey = self.hotkey, dict(headers)[b"bt_header_axon_hotkey"].decode()
        try:
            return super().admit(headers)
        finally:
            self.hotkey = ours


class Optional(Admission):
    """Verifies a signature if there is one."""

    def admit(self, headers: Any) -> str:
        sent = dict(headers)
        if not sent.get(b"bt_header_dendrite_signature"):
            return str(sent[b"bt_header_dendrite_hotkey"].decode())
        return super().admit(headers)


class Blind(Admission):
    def _verified(self, *_: object) -> bool:
        return True


class Forgetful(Admission):
    def _take(self, *_: object) -> None:
        return


class Reborn(Admission):
    """Does not mind what was before it."""

    def admit(self, headers: Any) -> str:
        self.started = 0.0
        return super().admit(headers)


class Lenient(Admission):
    """Takes the minimum stake itself for enough."""

    def _check_caller(self, caller: str) -> None:
        floor, self.min_stake = self.min_stake, self.min_stake - 1e-6
        try:
            super()._check_caller(caller)
        finally:
            self.min_stake = floor


class Unpermitting(Admission):
    def _check_caller(self, caller: str) -> None:
        self.require_permit = False
        super()._check_caller(caller)


class Hospitable(Admission):
    """Lets everybody in until the chain is known."""

    def _check_caller(self, caller: str) -> None:
        if self.neurons():
            super()._check_caller(caller)


class LastWins(Admission):
    """Takes the last of several headers."""

    def admit(self, headers: Any) -> str:
        return super().admit(list(dict(headers).items()))


FOREVER = ("nan", "1e9", "-1")  # what callers say of time limits


def attacks(cls: type[Admission]) -> Iterator[tuple[str, Callable[[], object]]]:
    """Requests that no gate may admit; what a replay copies has been admitted before."""
    old, early = (NOW - 31) * SECOND, (NOW + 31) * SECOND
    for timeout in FOREVER:
        yield f"stale, timeout {timeout}", lambda t=timeout: make(cls).admit(signed(nonce=old, timeout=t))
        yield f"future, timeout {timeout}", lambda t=timeout: make(cls).admit(signed(nonce=early, timeout=t))
    yield (
        "stale, old version",
        lambda: make(cls).admit(signed(nonce=old, bt_header_dendrite_version="600", timeout="12")),
    )
    yield "other axon", lambda: make(cls).admit(signed(axon=OTHER.ss58_address))
    yield "no signature", lambda: make(cls).admit(without(signed(), "bt_header_dendrite_signature"))
    yield "empty signature", lambda: make(cls).admit(signed(bt_header_dendrite_signature=""))
    yield "wrong signature", lambda: make(cls).admit(signed(bt_header_dendrite_signature="0x" + "ab" * 64))

    def replay() -> None:
        gate = make(cls)
        gate.admit(signed())
        gate.admit(signed())

    yield "replay", replay
    yield "replay after a restart", lambda: make(cls, started=NOW - 1).admit(signed(nonce=(NOW - 2) * SECOND))
    yield "stranger", lambda: make(cls).admit(signed(STRANGER))
    yield "stake at the limit", lambda: make(cls).admit(signed(POOR))
    yield "no permit", lambda: make(cls).admit(signed(UNPERMITTED))
    yield "chain unknown", lambda: make(cls, neurons=dict).admit(signed())
    twice = [(b"bt_header_dendrite_nonce", b"1"), *signed()]
    yield "nonce twice", lambda: make(cls).admit(twice)


def admitted(cls: type[Admission]) -> set[str]:
    """The attacks that a gate lets pass."""
    passed = set()
    for name, attack in attacks(cls):
        try:
            attack()
        except (Refusal, KeyError):
            continue
        passed.add(name)
    return passed


def test_the_gate_admits_none_of_the_attacks() -> None:
    assert admitted(Admission) == set()


@pytest.mark.parametrize(
    ("cls", "passed"),
    [
        (
            Clamping,  # whose clock seems to be set back, too
            {
                "stale, timeout nan",
                "stale, timeout 1e9",
                "replay after a restart",
                *(f"future, timeout {t}" for t in FOREVER),
            },
        ),
        (OldVersions, {"stale, old version"}),
        (Trusting, {"other axon"}),
        (Optional, {"no signature", "empty signature"}),
        (Blind, {"wrong signature"}),
        (Forgetful, {"replay"}),
        (Reborn, {"replay after a restart"}),
        (Lenient, {"stake at the limit"}),
        (Unpermitting, {"no permit"}),
        (Hospitable, {"chain unknown"}),
        (LastWins, {"nonce twice"}),
    ],
)  # fmt: skip
def test_a_gate_with_a_known_defect_is_noticed(cls: type[Admission], passed: set[str]) -> None:
    assert admitted(cls) == passed


# ------------------------------------------------------------------------------------------ the prompt

BOOK = load_rulebook()
MARKET = parse_time("2026-10-03T04:00:30")
RULES = BOOK.at(MARKET)
ASSETS = ("BTC", "XAU", "NVDAX")
DAILY = {"asset": "BTC", "time_increment": 300, "time_length": 86_400, "num_simulations": 1000}
LIMITS = {c.name: c for c in RULES.competitions.values()}


def ask(now: float = MARKET, assets: tuple[str, ...] = ASSETS, **fields: Any) -> Prompt:
    given_fields = {"start_time": iso(MARKET + 90), **DAILY, **fields}
    asked = {name: value for name, value in given_fields.items() if value is not ...}
    return parse_prompt(orjson.dumps({"simulation_input": asked}), assets=assets, rulebook=BOOK, now=now)


def parse(body: bytes, now: float = MARKET) -> Prompt:
    return parse_prompt(body, assets=ASSETS, rulebook=BOOK, now=now)


def bad_request(call: Callable[[], object], kind: str) -> None:
    refusal = refused(call)
    assert (refusal.status, refusal.kind) == (400, kind)


def test_a_prompt_is_what_was_asked() -> None:
    assert ask(now=MARKET + 0.9) == Prompt(MARKET + 90, "crypto-24h", "BTC", MARKET, 300, 86_400, 1000)


@pytest.mark.parametrize("competition", LIMITS.values(), ids=LIMITS)
def test_every_competition_is_served_by_its_shape(competition: Any) -> None:
    for asset in set(ASSETS) & set(competition.assets):
        prompt = ask(
            asset=asset,
            time_increment=competition.time_increment,
            time_length=competition.time_length,
            num_simulations=competition.num_simulations,
        )
        assert prompt.competition == competition.name


def test_an_asset_that_is_not_in_a_competition_of_the_shape_gets_the_first_of_them() -> None:
    """It may be prompted before the rulebook knows."""
    outside = next(a for a in ASSETS if a not in LIMITS["crypto-1h"].assets)
    assert ask(asset=outside, time_increment=60, time_length=3600).asset == outside


def test_the_probes_own_body_is_read_as_the_prompt_it_was_made_of() -> None:
    prompt = Prompt(MARKET + 90, "crypto-1h", "BTC", MARKET, 60, 3600, 10)
    assert parse(body_of(prompt)) == prompt


def test_other_fields_of_a_body_are_ignored() -> None:
    body = {
        "simulation_input": {"start_time": iso(MARKET + 90), **DAILY, "sigma": "1e999", "price": None},
        "simulation_output": ["x"] * 10,
        "dendrite": {"hotkey": "forged"},
        "timeout": 12.0,
    }
    assert parse(orjson.dumps(body)) == ask()


@pytest.mark.parametrize(
    ("offset", "served"), [(EARLIEST, True), (EARLIEST - 1, False), (0, True), (LATEST, True), (LATEST + 1, False)]
)
def test_start_times_lie_in_the_next_minutes(offset: float, served: bool) -> None:
    start = iso(int(MARKET + offset))
    if served:
        assert ask(start_time=start).start_time == MARKET + offset
    else:
        bad_request(lambda: ask(start_time=start), "start_time")


def test_the_window_of_start_times_follows_the_exact_time() -> None:
    bad_request(lambda: ask(now=MARKET + 0.001, start_time=iso(int(MARKET + EARLIEST))), "start_time")
    bad_request(lambda: ask(now=MARKET - 0.001, start_time=iso(int(MARKET + LATEST))), "start_time")


def test_a_clock_that_runs_faster_gives_callers_the_same_delay_and_no_more_future() -> None:
    def at(offset: float, speed: float) -> Prompt:
        body = orjson.dumps({"simulation_input": DAILY | {"start_time": iso(int(MARKET + offset))}})
        return parse_prompt(body, assets=ASSETS, rulebook=BOOK, now=MARKET, speed=speed)

    assert at(60 * EARLIEST, 60.0).start_time == MARKET + 60 * EARLIEST
    bad_request(lambda: at(60 * EARLIEST - 1, 60.0), "start_time")
    bad_request(lambda: at(LATEST + 1, 60.0), "start_time")


@pytest.mark.parametrize("text", ["2026-10-03T04:02:00Z", "2026-10-03T04:02:00+00:00", "2026-10-03T06:02:00+02:00"])
def test_a_start_time_may_name_its_offset(text: str) -> None:
    assert ask(start_time=text).start_time == parse_time("2026-10-03T04:02:00")


@pytest.mark.parametrize(
    "text",
    [
        "", "now", "1791000000", "2026-10-03T04:02:00.5Z", "2026-13-03T04:02:00Z", "2026-10-03T25:02:00Z", "nan",
        "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "9999-12-31T23:59:59Z", "-2026-10-03", "2026-10-03",
        "2026-10-03T04:02:00+99:99", "\x00", "２０２６-10-03T04:02:00Z", "2027-10-03T04:02:00Z", "2025-10-03T04:02:00Z",
    ],
)  # fmt: skip
def test_a_start_time_of_another_form_or_day_is_refused(text: str) -> None:
    bad_request(lambda: ask(start_time=text), "start_time")


@pytest.mark.parametrize("text", ["2026-10-03T04:02:00Z" + " " * 21, "x" * 41, "9" * 60_000])
def test_a_long_start_time_is_refused_unread(text: str) -> None:
    bad_request(lambda: ask(start_time=text), "fields")


@pytest.mark.parametrize("name", ["asset", "start_time"])
@pytest.mark.parametrize("value", [..., None, 1, 1.5, True, [], ["BTC"], {}, {"a": 1}])
def test_texts_are_texts(name: str, value: Any) -> None:
    bad_request(lambda: ask(**{name: value}), "fields")


@pytest.mark.parametrize("asset", ["", "btc", "BTC ", " BTC", "ETH", "../BTC", "BTC\x00", "X" * 60_000, "ＢＴＣ"])
def test_assets_that_are_not_served_are_refused(asset: str) -> None:
    bad_request(lambda: ask(asset=asset), "asset")


NUMBERS = ("time_increment", "time_length", "num_simulations")


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [..., None, "300", 300.0, 1.5, True, False, [], [300], {}, 1e308, -0.0])
def test_numbers_are_integers(name: str, value: Any) -> None:
    bad_request(lambda: ask(**{name: value}), "fields")


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize(
    "text", ["1" + "0" * 400, "-1" + "0" * 400, "1e400", "NaN", "Infinity", "-Infinity", "0x10", "01"]
)
def test_numbers_beyond_all_machines_are_refused(name: str, text: str) -> None:
    body = orjson.dumps({"simulation_input": {"start_time": iso(MARKET + 90), **DAILY, name: "#"}})
    refusal = refused(lambda: parse(body.replace(b'"#"', text.encode())))
    assert (refusal.status, refusal.kind) in [(400, "fields"), (400, "json")]


@pytest.mark.parametrize("name", ["time_increment", "time_length"])
@pytest.mark.parametrize("value", [0, -1, 1, 59, 61, 299, 301, 86_399, 86_401, 2**31, 2**62, -(2**63), 2**64 - 1])
def test_shapes_of_no_competition_are_refused(name: str, value: int) -> None:
    bad_request(lambda: ask(**{name: value}), "shape")


def test_the_parts_of_two_shapes_are_no_shape() -> None:
    bad_request(lambda: ask(time_increment=60), "shape")
    bad_request(lambda: ask(time_increment=300, time_length=3600), "shape")


@pytest.mark.parametrize("competition", LIMITS.values(), ids=LIMITS)
def test_paths_are_counted_from_one_to_the_competitions_number(competition: Any) -> None:
    asset = next(iter(competition.assets))
    shape = {"asset": asset, "time_increment": competition.time_increment, "time_length": competition.time_length}
    most = competition.num_simulations
    for count in (1, most):
        assert ask(assets=(asset,), **shape, num_simulations=count).num_simulations == count
    for count in (0, -1, most + 1, 2**31, 2**63, 2**64 - 1, -(2**63)):
        bad_request(lambda count=count: ask(assets=(asset,), **shape, num_simulations=count), "num_simulations")


@pytest.mark.parametrize(
    "body",
    [
        b"", b" ", b"{", b"}", b"\x00", b"\xff\xfe", b"\xef\xbb\xbf{}", b"{'a': 1}", b'{"a":1}{"a":1}', b'{"a":}',
        b'{"simulation_input":', b"nan", b"[" * 60_000, b'{"a":' * 10_000, b"[" * 30_000 + b"]" * 30_000,
        b'"' + b"\\ud800" * 2 + b'"', b'{"simulation_input":{"asset":"\xff"}}',
    ],
)  # fmt: skip
def test_what_is_not_json_is_refused(body: bytes) -> None:
    bad_request(lambda: parse(body), "json")


@pytest.mark.parametrize(
    "body",
    [
        b"null", b"1", b"true", b'"x"', b"[]", b"{}", b'[{"simulation_input":{}}]', b'{"simulation_input":null}',
        b'{"simulation_input":[]}', b'{"simulation_input":"x"}', b'{"simulation_input":{}}',
        b'{"Simulation_Input":{"asset":"BTC"}}', b'{"simulation_input":{"simulation_input":{}}}',
    ],
)  # fmt: skip
def test_json_of_another_shape_is_refused(body: bytes) -> None:
    bad_request(lambda: parse(body), "fields")


def attempt(body: bytes) -> Prompt | None:
    """The prompt of a body, None if it is refused as a bad request."""
    try:
        return parse(body)
    except Refusal:
        refusal = refused(lambda: parse(body))
    assert refusal.status == 400
    return None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=5,
)
FIELD = st.sampled_from(["asset", "start_time", *NUMBERS])


@given(st.binary(max_size=400))
def test_any_bytes_are_a_refusal(body: bytes) -> None:
    bad_request(lambda: parse(body), refused(lambda: parse(body)).kind)


@given(st.dictionaries(FIELD, JSON, max_size=3), JSON)
@examples(150)
def test_any_fields_give_a_prompt_within_bounds_or_a_refusal(changes: dict[str, Any], other: Any) -> None:
    asked = {"start_time": iso(MARKET + 90), **DAILY, **changes}
    try:
        body = orjson.dumps({"other": other, "simulation_input": asked})
    except orjson.JSONEncodeError:  # lone surrogates cannot be sent as JSON by this library
        return
    prompt = attempt(body)
    if prompt is None:
        return
    assert prompt.asset in ASSETS
    assert 1 <= prompt.num_simulations <= 1000
    assert (prompt.time_increment, prompt.time_length) in {(c.time_increment, c.time_length) for c in LIMITS.values()}
    assert EARLIEST <= prompt.start_time - MARKET <= LATEST
    assert all(type(getattr(prompt, name)) is int for name in ("start_time", "request_time", *NUMBERS))


@given(st.data())
def test_a_valid_body_with_flipped_bytes_is_a_prompt_or_a_refusal(data: st.DataObject) -> None:
    body = bytearray(body_of(ask()))
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    attempt(bytes(body))


def test_the_longest_body_is_what_the_interface_promises() -> None:
    assert MAX_BODY == 65_536


def test_a_parser_that_takes_truth_for_one_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """`isinstance(True, int)` holds, which is why the parser asks for the exact type."""
    monkeypatch.setattr(prompts_module, "type", lambda value: int if isinstance(value, int) else None, raising=False)
    assert ask(num_simulations=True).num_simulations == 1
    monkeypatch.undo()
    bad_request(lambda: ask(num_simulations=True), "fields")
