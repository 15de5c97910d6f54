"""Admission of callers: each request is signed by a validator that the chain knows, and is accepted only once.

The signature covers the caller's hotkey, our hotkey, a nonce and the id of the caller's process, but not the body. The
body is checked in `ewmalab.live.miner.prompt_body`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from ewmalab.live.miner.callers import Callers

NONCE_PAST, NONCE_FUTURE = 30.0, 30.0
"""Limits of a nonce's age, in seconds. Time limits in the headers are ignored.

A replay is refused because nonces must grow. The window only bounds what must be remembered for that, so it is as wide
ahead as it is back, for clocks that are off, ours or the caller's. A stock miner takes any nonce ahead, and one that is
4 s older than the caller's own time limit. That limit is not signed, so nothing depends on it here; 30 s cover limits
of up to 26 s.
"""
SKEW = 10.0
"""Seconds by which our clock may differ from others' before health degrades, long before callers are refused."""

_PREFIX = b"bt_header_"
_WANTED = {
    "hotkey": b"bt_header_dendrite_hotkey",
    "nonce": b"bt_header_dendrite_nonce",
    "uuid": b"bt_header_dendrite_uuid",
    "signature": b"bt_header_dendrite_signature",
    "axon": b"bt_header_axon_hotkey",
    "body_hash": b"computed_body_hash",
}
_SHAPES = {
    "hotkey": re.compile(r"[1-9A-HJ-NP-Za-km-z]{40,60}"),
    "nonce": re.compile(r"[0-9]{1,20}", re.ASCII),
    "uuid": re.compile(r"[0-9A-Za-z-]{1,64}", re.ASCII),
    "signature": re.compile(r"0x[0-9a-fA-F]{128}", re.ASCII),
    "axon": re.compile(r"[1-9A-HJ-NP-Za-km-z]{40,60}"),
    "body_hash": re.compile(r"[0-9a-fA-F]{0,128}", re.ASCII),
}
_MAX_PROCESSES = 1024  # nonces remembered per caller: a validator runs a handful of processes

Verify = Callable[[bytes, bytes, str], bool]


class Refusal(Exception):
    """A request that is not answered.

    Attributes
    ----------
    status : int
        HTTP status.
    reason : str
        Short text, sent to the caller.
    kind : str
        Label of the metric that counts refusals.
    """

    def __init__(self, status: int, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.status, self.kind, self.reason = status, kind, reason


@dataclass(frozen=True, slots=True)
class Neuron:
    """A key registered on the subnet.

    Attributes
    ----------
    hotkey : str
        SS58 address.
    uid : int
    stake : float
        In the subnet's own token.
    permit : bool
        Whether it has a validator permit.
    axon : str
        Its address, as ``ip:port``; empty if it has none.
    """

    hotkey: str
    uid: int
    stake: float
    permit: bool
    axon: str

    @property
    def ip(self) -> str:
        """Return the address without its port."""
        return self.axon.rpartition(":")[0].strip("[]")


def may_call(neuron: Neuron, min_stake: float, require_permit: bool) -> bool:
    """Return whether a key has the stake and the permit to call."""
    return not _lacks(neuron, min_stake, require_permit)


def _lacks(neuron: Neuron, min_stake: float, require_permit: bool) -> str:
    """Return what a key lacks to call, as the kind of its refusal; empty if nothing."""
    if not neuron.stake > min_stake:  # NaN is not
        return "stake"
    return "permit" if require_permit and not neuron.permit else ""


def signed_text(nonce: str, caller: str, axon: str, uuid: str, body_hash: str) -> bytes:
    """Return the text that a caller signs.

    Parameters
    ----------
    nonce : str
        Nanoseconds since 1970-01-01 UTC, in decimal.
    caller, axon : str
        Hotkeys (SS58 addresses) of the caller and of the miner.
    uuid : str
        Id of the caller's process.
    body_hash : str
        Hexadecimal digest that the caller sends as ``computed_body_hash``.
    """
    return f"{nonce}.{caller}.{axon}.{uuid}.{body_hash}".encode()


@dataclass
class Admission:
    """Decides which requests are answered.

    Parameters
    ----------
    hotkey : str
        Our own; only signatures for it are accepted.
    verify : callable
        Returns whether an address signed a message.
    neurons : callable
        Returns the registered keys by address; empty while none are known.
    min_stake : float
        Callers need more stake than this.
    require_permit : bool
    now : callable
        Returns the system's time, seconds.
    started : float
        The system's time at the start. Older nonces are refused; so a lost memory of nonces does no harm. If the
        system's clock is set back, so is this time.
    earlier : mapping of str to int
        Newest nonces that earlier processes accepted, by caller.
    remember : callable, optional
        Called with caller and nonce of each admitted request.
    callers : Callers
        Notes what becomes of requests of those who may call.
    uptime : callable
        Returns a monotonic time, seconds.
    """

    hotkey: str
    verify: Verify
    neurons: Callable[[], Mapping[str, Neuron]]
    min_stake: float
    require_permit: bool
    now: Callable[[], float]
    started: float
    earlier: Mapping[str, int] = field(default_factory=dict)
    remember: Callable[[str, int], None] = lambda _caller, _nonce: None
    callers: Callers = field(default_factory=Callers)
    uptime: Callable[[], float] = time.monotonic
    _seen: dict[str, dict[str, int]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self._since = self.uptime()
        self._addresses: frozenset[str] = frozenset()
        self._addresses_of: tuple[Mapping[str, Neuron], tuple[float, bool]] | None = None

    def admit(self, headers: Iterable[tuple[bytes, bytes]]) -> str:
        """Return the hotkey of an admitted caller, and remember its nonce.

        Parameters
        ----------
        headers : iterable of (name, value)
            Names in lower case.

        Raises
        ------
        Refusal
        """
        sent = self._read(headers)
        caller, nonce = sent["hotkey"], int(sent["nonce"])
        if sent["axon"] != self.hotkey:
            raise Refusal(401, "other_axon", "signed for another axon")
        now = self.now()
        untimely = self._untimely(caller, nonce, now)
        if untimely is not None:
            self._note_refusal(sent, now)
            raise untimely
        self._check_caller(caller)
        self._check_signature(sent)
        self._take(caller, sent["uuid"], nonce, now)
        self.callers.hear(caller, nonce, nonce / 1e9 - now)
        self.remember(caller, nonce)
        return caller

    def addresses(self) -> frozenset[str]:
        """Return the addresses that the chain knows of those who may call."""
        neurons = self.neurons()
        whose, rules = self._addresses_of, (self.min_stake, self.require_permit)
        if whose is None or whose[0] is not neurons or whose[1] != rules:
            self._addresses = frozenset(n.ip for n in neurons.values() if n.ip and may_call(n, *rules))
            self._addresses_of = (neurons, rules)
        return self._addresses

    def _untimely(self, caller: str, nonce: int, now: float) -> Refusal | None:
        """Return the refusal of a nonce that is not of the present, or may have been used before this process."""
        if not now - NONCE_PAST <= nonce / 1e9 <= now + NONCE_FUTURE:
            return Refusal(401, "nonce", "nonce is too old or in the future")
        self.started = min(self.started, now - (self.uptime() - self._since))
        used = self.earlier.get(caller, -1)
        if used / 1e9 > now + NONCE_FUTURE:  # damaged, or from a clock that was wrong: it must not lock a caller out
            used = -1
        if nonce / 1e9 < self.started or nonce <= used:
            return Refusal(401, "nonce", "nonce is older than this process")
        return None

    def _note_refusal(self, sent: Mapping[str, str], now: float) -> None:
        """Note that a caller is refused for its nonce, if the request is really its own and new."""
        caller, nonce = sent["hotkey"], int(sent["nonce"])
        if self.callers.knows(caller, nonce):
            return
        try:
            self._check_caller(caller)
            self._check_signature(sent)
        except Refusal:
            return
        self.callers.hear(caller, nonce, nonce / 1e9 - now, "nonce")

    def _read(self, headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
        found: dict[bytes, bytes] = {}
        for name, value in headers:
            if name.startswith(_PREFIX) or name == _WANTED["body_hash"]:
                if name in found:
                    raise Refusal(401, "headers", f"header {name[:40].decode('ascii', 'replace')} is sent twice")
                found[name] = value
        sent = {}
        for key, name in _WANTED.items():
            text = found.get(name, b"").decode("latin-1")
            if not _SHAPES[key].fullmatch(text):
                what = "malformed" if text else "missing"
                raise Refusal(401, "headers", f"header {name.decode()} is {what}")
            sent[key] = text
        return sent

    def _check_caller(self, caller: str) -> None:
        neurons = self.neurons()
        neuron = neurons.get(caller)
        if neuron is None:
            raise Refusal(403, "stranger", "not registered" if neurons else "callers are not known yet")
        lacks = _lacks(neuron, self.min_stake, self.require_permit)
        if lacks:
            reasons = {"stake": f"stake is not above {self.min_stake:g}", "permit": "no validator permit"}
            raise Refusal(403, lacks, reasons[lacks])

    def _check_signature(self, sent: Mapping[str, str]) -> None:
        message = signed_text(sent["nonce"], sent["hotkey"], self.hotkey, sent["uuid"], sent["body_hash"])
        if not self._verified(message, bytes.fromhex(sent["signature"][2:]), sent["hotkey"]):
            raise Refusal(401, "signature", "signature does not match")

    def _verified(self, message: bytes, signature: bytes, caller: str) -> bool:
        try:
            return self.verify(message, signature, caller)
        except ValueError:  # malformed signature or address
            return False

    def _take(self, caller: str, uuid: str, nonce: int, now: float) -> None:
        """Remember the nonce of a verified caller; others do not get here, so they cannot fill the memory."""
        seen = self._seen.setdefault(caller, {})
        if nonce <= seen.get(uuid, -1):
            raise Refusal(401, "replay", "nonce was used before")
        if uuid not in seen and len(seen) >= _MAX_PROCESSES:
            oldest = (now - NONCE_PAST) * 1e9
            for other in [u for u, n in seen.items() if n < oldest]:  # too old to be accepted again
                del seen[other]
            if len(seen) >= _MAX_PROCESSES:
                raise Refusal(429, "processes", "too many processes of one hotkey")
        seen[uuid] = nonce
