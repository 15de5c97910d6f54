"""What strangers try: refused in few words before any simulation, and nobody else waits for it."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import hashlib
import logging
import multiprocessing
import random
import resource
import select
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import orjson
import pytest
from bittensor import sp_core
from live_rig import MINER, PATIENCE, STRANGER, VALIDATOR, Rig, rig, until

from ewmalab.forecast.protocol import Prompt
from ewmalab.live.audit.probe import Prober, Reply, body_of, judge, signed_headers
from ewmalab.live.miner import app as app_module
from ewmalab.live.miner import connection_room as room_module
from ewmalab.live.miner import serve as serve_module
from ewmalab.live.miner.admission import Neuron
from ewmalab.live.miner.prompt_body import MAX_BODY
from ewmalab.live.miner.serve import MAX_PER_IP, GuardedProtocol
from ewmalab.scoring.validation import CORRECT
from ewmalab.times import iso

POOR = sp_core.Keypair.create_from_uri("//Poor")
UNPERMITTED = sp_core.Keypair.create_from_uri("//Unpermitted")
OTHER_MINER = sp_core.Keypair.create_from_uri("//OtherMiner")
ROWS = [
    Neuron(VALIDATOR.ss58_address, 0, 1e6, True, ""),
    Neuron(POOR.ss58_address, 1, 65_000.0, True, ""),
    Neuron(UNPERMITTED.ss58_address, 2, 1e6, False, ""),
    Neuron(MINER.ss58_address, 3, 10.0, False, ""),
    Neuron(OTHER_MINER.ss58_address, 4, 10.0, False, ""),
]

HONEST, ATTACK = 17, 1000  # paths: they tell whose prompt was computed
HURRY = 0.3  # seconds that a head or a body may take where a test waits for the end of that time
OURS = "127.0.0.2"  # the address of honest callers, whose heads may take as long as they like: machines are busy
MAX_GROWTH = 50.0  # MB
FILES = 2048  # that this process needs
HUNG = -1  # neither answered nor closed
REFUSED = frozenset(range(400, 500))
CLOSED = 0  # without a word


class RowsChain:
    """A chain on which `ROWS` are registered."""

    def neurons(self) -> list[Neuron]:
        return ROWS

    def announce(self, ip: str, port: int) -> None:
        """Do nothing."""


class Errors(logging.Handler):
    """Keeps what is logged as an error, by any part: an exception that a request caused ends there."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{record.name}: {record.getMessage()} {record.exc_info or ''}")


@dataclass
class Target:
    """A miner that is attacked, with what it computed and what it logged as an error."""

    rig: Rig
    computed: list[Prompt]
    errors: list[str]
    validator: Prober
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _last: int = 0

    @property
    def port(self) -> int:
        assert self.rig.miner.port
        return self.rig.miner.port

    def honest(self, minutes: int = 3) -> Reply:
        """Ask as a validator does, on a connection of its own."""
        prompt = self.rig.prompt(horizon="1h", paths=HONEST, minutes=minutes)
        began = time.perf_counter()
        status, body = exchange(self.port, self.request(body_of(prompt), process="honest"), source=OURS)
        return self.validator.reply(prompt, status, time.perf_counter() - began, body)

    def nonce(self) -> int:
        """Return a nonce larger than all before it."""
        with self._lock:
            self._last = max(time.time_ns(), self._last + 1)
            return self._last

    def body(self, **fields: Any) -> bytes:
        """Return the body of a good request, some of its fields changed (left out: ...)."""
        asked = orjson.loads(body_of(self.rig.prompt(paths=ATTACK)))["simulation_input"] | fields
        return orjson.dumps({"simulation_input": {name: value for name, value in asked.items() if value is not ...}})

    def start(self, seconds: float) -> str:
        """Return a start time some seconds from now."""
        return iso(int(self.rig.clock.now() + seconds))

    def request(
        self,
        body: bytes | None = None,
        *,
        key: Any = VALIDATOR,
        axon: str = MINER.ss58_address,
        process: str = "",
        age: float = 0.0,
        change: Mapping[str, str | None] | None = None,
        add: Iterable[tuple[str, str]] = (),
        method: str = "POST",
        path: str = "/Simulation",
        framing: str | None = None,
    ) -> bytes:
        """Return a signed request as it goes over the wire.

        `change` replaces headers after the signing (None: leaves them out), `add` appends some, `framing` stands
        instead of the content length.
        """
        content = self.body() if body is None else body
        nonce = self.nonce() - int(age * 1e9)
        sent: dict[str, str | None] = dict(
            signed_headers(key, axon, nonce, process or f"attacker-{threading.get_ident()}", timeout=12.0)
        )
        lines = [f"{name}: {value}" for name, value in (sent | dict(change or {})).items() if value is not None]
        lines += [f"{name}: {value}" for name, value in add]
        lines.append(f"content-length: {len(content)}" if framing is None else framing)
        head = "\r\n".join([f"{method} {path} HTTP/1.1", "host: miner", "content-type: application/json", *lines])
        return head.encode("latin-1") + b"\r\n\r\n" + content


@pytest.fixture(scope="module")
def many_files() -> Iterator[None]:
    """Both ends of a thousand connections are files of this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < FILES:
        if hard != resource.RLIM_INFINITY and hard < FILES:
            pytest.skip(f"needs {FILES} open files, {hard} are allowed")
        resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory, many_files: None) -> Iterator[Target]:
    errors = Errors()
    logging.getLogger().addHandler(errors)
    with rig(tmp_path_factory.mktemp("attacked"), chain=RowsChain()) as running:
        computed, answerer = [], running.miner.answerer
        answer = answerer.answer

        def spy(prompt: Prompt) -> Any:
            computed.append(prompt)
            return answer(prompt)

        answerer.answer = spy  # type: ignore[method-assign]
        made = Target(running, computed, errors.lines, running.prober(connections=4))
        assert made.honest().accepted
        yield made
    logging.getLogger().removeHandler(errors)


def hurry(patch: pytest.MonkeyPatch) -> None:
    """Let the miner lose patience sooner with everybody but honest callers."""
    expire = GuardedProtocol._expire
    patch.setattr(serve_module, "HEAD_SECONDS", HURRY)
    patch.setattr(app_module, "BODY_SECONDS", HURRY)
    patch.setattr(GuardedProtocol, "_expire", lambda self: expire(self) if self._ip != OURS else None)


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    hurry(monkeypatch)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the miner wait for heads, bodies and readers longer than a test does."""
    monkeypatch.setattr(serve_module, "HEAD_SECONDS", 2 * PATIENCE)
    monkeypatch.setattr(app_module, "BODY_SECONDS", 2 * PATIENCE)
    monkeypatch.setattr(app_module, "SEND_SECONDS", 2 * PATIENCE)


def connect(port: int, *, source: str = "127.0.0.1", receive: int = 0) -> socket.socket:
    connection = socket.socket()
    if receive:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive)
    connection.bind((source, 0))
    connection.settimeout(PATIENCE)
    connection.connect(("127.0.0.1", port))
    return connection


def readable(connection: socket.socket) -> bool:
    """Tell whether an answer, or the end, has arrived."""
    poll = select.poll()  # `select` takes no more than 1024 files
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(0))


def read_answer(connection: socket.socket, before: bytes = b"") -> tuple[int, bytes, bytes]:
    """Return status (`CLOSED`, `HUNG`), body, and what came after it."""
    data = before
    try:
        while True:
            head, found, rest = data.partition(b"\r\n\r\n")
            if found and head.startswith(b"HTTP/1.1 1"):  # 100 Continue
                data = rest
                continue
            if found:
                status = int(head.split(b" ", 2)[1])
                lengths = [line[15:] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
                if lengths and len(rest) >= int(lengths[0]):
                    return status, rest[: int(lengths[0])], rest[int(lengths[0]) :]
            chunk = connection.recv(1 << 20)
            if not chunk:
                return (status, rest, b"") if found else (CLOSED, data, b"")
            data += chunk
    except TimeoutError:
        return HUNG, data, b""
    except OSError:  # reset: what it had not read was thrown away
        return (int(data[9:12]), b"", b"") if data.startswith(b"HTTP/1.1 ") else (CLOSED, data, b"")


def exchange(port: int, *pieces: bytes, pause: float = 0.0, source: str = "127.0.0.1") -> tuple[int, bytes]:
    """Send pieces, whether or not anybody reads them; return status and body of the first answer."""
    with connect(port, source=source) as connection:
        with contextlib.suppress(OSError):
            for piece in pieces:
                connection.sendall(piece)
                if pause:
                    if readable(connection):
                        break
                    time.sleep(pause)
        status, body, _ = read_answer(connection)
        return status, body


def rss() -> float:
    """The resident memory of this process once garbage is collected, MB."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of what is free, the C library keeps much to itself
    if trim is not None:
        trim(0)
    return resident("self")


def resident(pid: int | str) -> float:
    """The resident memory of a process, MB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024


def connections(target: Target) -> int:
    """How many connections the miner holds."""
    return target.rig.miner.room.count()


# ------------------------------------------------------------------------------------- the attack table

Attack = Callable[[Target], tuple[int, bytes]]
TABLE: dict[str, tuple[Attack, frozenset[int]]] = {}
"""By name: what to do, and the statuses that may come of it."""


def row(name: str, *statuses: int) -> Callable[[Attack], Attack]:
    """Put an attack into the table."""

    def put(attack: Attack) -> Attack:
        assert name not in TABLE
        TABLE[name] = attack, frozenset(statuses)
        return attack

    return put


def sends(name: str, make: Callable[[Target], bytes], *statuses: int) -> None:
    """Put an attack into the table that is one request."""
    row(name, *statuses)(lambda t: exchange(t.port, make(t)))


SIGNATURE = "bt_header_dendrite_signature"
for _name, _value in {
    "absent": None, "empty": "", "garbage": "garbage", "of zeros": "0x" + "00" * 64, "of ones": "0x" + "ff" * 64,
    "short": "0x" + "ab" * 63, "without 0x": "ab" * 64, "not hex": "0x" + "zz" * 64, "long": "0x" + "ab" * 4000,
}.items():  # fmt: skip
    sends(f"signature {_name}", lambda t, v=_value: t.request(change={SIGNATURE: v}), 401)
for _name in ("hotkey", "nonce", "uuid"):
    sends(f"no {_name}", lambda t, n=_name: t.request(change={f"bt_header_dendrite_{n}": None}), 401)
sends("no axon hotkey", lambda t: t.request(change={"bt_header_axon_hotkey": None}), 401)
sends("no headers", lambda _: b"POST /Simulation HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}", 401)
sends("signed for another axon", lambda t: t.request(axon=OTHER_MINER.ss58_address), 401)
sends(
    "signed for another axon, redirected",
    lambda t: t.request(axon=OTHER_MINER.ss58_address, change={"bt_header_axon_hotkey": MINER.ss58_address}),
    401,
)
sends(
    "a stranger's signature under a validator's name",
    lambda t: t.request(key=STRANGER, change={"bt_header_dendrite_hotkey": VALIDATOR.ss58_address}),
    401,
)
sends("the signature covers the uuid", lambda t: t.request(change={"bt_header_dendrite_uuid": "another"}), 401)
sends("the signature covers the nonce", lambda t: t.request(change={"bt_header_dendrite_nonce": str(t.nonce())}), 401)
sends(
    "the signature covers the body's hash",
    lambda t: t.request(change={"computed_body_hash": hashlib.sha3_256(b"{}").hexdigest()}),
    401,
)

for _age, _what in ((31.0, "stale"), (-60.0, "future"), (86_400.0, "a day old"), (-1e9, "decades ahead")):
    sends(f"nonce {_what}", lambda t, a=_age: t.request(age=a), 401)
    for _timeout in ("1e308", "nan", "-1", "inf", "999999999"):
        sends(
            f"nonce {_what}, timeout {_timeout}",
            lambda t, a=_age, s=_timeout: t.request(age=a, change={"timeout": s}),
            401,
        )
    for _version in ("0", "6.9.3", "600"):
        sends(
            f"nonce {_what}, version {_version}",
            lambda t, a=_age, v=_version: t.request(age=a, change={"bt_header_dendrite_version": v}),
            401,
        )
for _value in ("-1", "nan", "1e30", "9" * 400, "0"):
    sends(f"nonce {_value[:8]}", lambda t, v=_value: t.request(change={"bt_header_dendrite_nonce": v}), 401)

sends("a stranger", lambda t: t.request(key=STRANGER), 403)
sends("stake at the minimum", lambda t: t.request(key=POOR), 403)
sends("no permit", lambda t: t.request(key=UNPERMITTED), 403)
sends("the miner's own key", lambda t: t.request(key=MINER), 403)
sends("another miner", lambda t: t.request(key=OTHER_MINER), 403)

for _method in ("GET", "PUT", "HEAD", "DELETE", "OPTIONS", "PATCH", "TRACE", "BREW", "post"):
    sends(f"{_method} of the path", lambda t, m=_method: t.request(method=m), 405)
for _path in (
    "/", "/docs", "/redoc", "/openapi.json", "/Synapse", "/health", "/metrics", "/Ping", "/favicon.ico", "/simulation",
    "/Simulation/", "//Simulation", "/Simulation%00", "/x/../Simulation", "/./Simulation", "/Simulation;x", "*",
    "http://miner/Simulation", "/%2e%2e/%2e%2e/etc/passwd", "/Simulation%2f", "/" + "a" * 8000,
):  # fmt: skip
    sends(f"POST {_path[:20]}", lambda t, p=_path: t.request(path=p), 404)
    sends(f"GET {_path[:20]}", lambda _, p=_path: f"GET {p} HTTP/1.1\r\nhost: miner\r\n\r\n".encode(), 404)
sends("CONNECT", lambda t: t.request(method="CONNECT", path="miner:443"), 404)

sends("a body that says it is too long", lambda t: t.request(b"", framing=f"content-length: {MAX_BODY + 1}"), 413)
sends("a body that says it is huge", lambda t: t.request(b"", framing=f"content-length: {10**18}"), 413)
sends("a length beyond all numbers", lambda t: t.request(b"", framing=f"content-length: {'9' * 500}"), 400)
for _length in ("-1", "+5", "0x10", "1e3", "5.0", "five", "5, 6", "\xb2"):
    sends(f"content length {_length}", lambda t, n=_length: t.request(b"hello", framing=f"content-length: {n}"), 400)
sends("two lengths", lambda t: t.request(b"hello", framing="content-length: 5\r\ncontent-length: 6"), 400)
sends("another transfer encoding", lambda t: t.request(framing="transfer-encoding: gzip, chunked"), 400, 501)
sends("a body of 8 MB", lambda t: t.request(b"x" * 8_000_000), 413, CLOSED)
sends("a body of white space", lambda t: t.request(t.body() + b" " * MAX_BODY), 413, CLOSED)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


CHUNKED = "transfer-encoding: chunked"
sends(
    "a body too long in chunks",
    lambda t: t.request(chunk(t.body()) + chunk(b" " * 1000) * 66 + b"0\r\n\r\n", framing=CHUNKED),
    413,
    CLOSED,
)
sends(
    "one chunk that says it is huge",
    lambda t: t.request(b"fffffffffff\r\n" + b"x" * 100_000, framing=CHUNKED),
    413,
    CLOSED,
)
sends("a chunk of no size", lambda t: t.request(b"zz\r\nhello\r\n", framing=CHUNKED), 400)
sends("a chunk of negative size", lambda t: t.request(b"-5\r\nhello\r\n", framing=CHUNKED), 400)
sends("a chunk's size without end", lambda t: t.request(b"0" * 100_000, framing=CHUNKED), 400, CLOSED)
sends("chunks that end badly", lambda t: t.request(b"5\r\nhelloXX5\r\n", framing=CHUNKED), 400)
sends("trailers without end", lambda t: t.request(b"0\r\n" + b"a: b\r\n" * 20_000, framing=CHUNKED), 400, CLOSED)
sends("no length at all", lambda t: t.request(framing="x: y"), 400)
sends(
    "a compressed body", lambda t: t.request(b"\x1f\x8b\x08\x00" + bytes(60), add=[("content-encoding", "gzip")]), 400
)
sends(
    "a body that the caller waits to send",
    lambda t: t.request(b"", framing="content-length: 9\r\nexpect: 100-continue"),
    408,
)

for _name, _body in {
    "empty": b"", "white space": b"   ", "cut": b'{"simulation_input": {"asset"', "not UTF-8": b'{"\xff\xfe": 1}',
    "UTF-16": '{"simulation_input": {}}'.encode("utf-16"), "NUL": bytes(100), "single quotes": b"{'a': 1}",
    "two documents": b"{}{}", "deep lists": b"[" * 60_000, "deep and closed": b"[" * 30_000 + b"]" * 30_000,
    "deep objects": b'{"a":' * 12_000, "deep in a field": b'{"simulation_input":' * 3000 + b"1" + b"}" * 3000,
    "a number": b"1", "null": b"null", "a list": b"[]", "no input": b"{}", "input null": b'{"simulation_input":null}',
    "input a list": b'{"simulation_input":[1]}', "input a text": b'{"simulation_input":"BTC"}', "NaN": b"NaN",
    "lone surrogate": b'{"simulation_input":{"asset":"\\ud800"}}', "XML": b"<?xml version='1.0'?><!DOCTYPE x>",
    "pickle": b"\x80\x04\x95c__builtin__\neval\n(V1\ntR.", "form": b"asset=BTC&num_simulations=1",
}.items():  # fmt: skip
    sends(f"body: {_name}", lambda t, b=_body: t.request(b), 400, CLOSED) if len(_body) > 30_000 else sends(
        f"body: {_name}", lambda t, b=_body: t.request(b), 400
    )

for _field, _values in {
    "num_simulations": (0, -1, 1001, 10**9, 2**63, True, 1.5, 1000.0, "1000", None, [1000], {}, ...),
    "time_increment": (0, -1, 1, 61, 299, 10**12, 2**64 - 1, True, 300.0, "300", None, [], ...),
    "time_length": (0, -86_400, 1, 86_399, 86_700, 10**15, 86_400.0, "86400", None, ...),
    "asset": ("", "btc", "DOGE", "ETH", "../BTC", "BTC\x00", "B" * 50_000, None, 1, ["BTC"], {}, ...),
    "start_time": ("", "now", 0, 1e300, None, True, [], {}, "9" * 100, "2026-01-01T00:00:00Z", "0001-01-01", ...),
}.items():  # fmt: skip
    for _index, _value in enumerate(_values):
        _shown = f"{_field} {'left out' if _value is ... else repr(_value)[:16]}"
        sends(
            f"{_shown} ({_index})",
            lambda t, f=_field, v=_value: t.request(t.body(**{f: v})),
            *((400, CLOSED) if _value == "B" * 50_000 else (400,)),
        )
for _seconds in (-70, 1800, 86_400, -(10**9), 10**10):
    sends(f"start time {_seconds} s away", lambda t, s=_seconds: t.request(t.body(start_time=t.start(s))), 400)
for _text in ("1" + "0" * 5000, "1e400", "-1e400", "NaN", "Infinity", "0x3e8", "1_000", "１"):
    sends(
        f"num_simulations {_text[:8]}, as it stands",
        lambda t, n=_text: t.request(t.body(num_simulations="#").replace(b'"#"', n.encode())),
        400,
    )

for _twice in ("hotkey", "nonce", "uuid", "signature", "version"):
    sends(
        f"two headers {_twice}",
        lambda t, n=_twice: t.request(add=[(f"bt_header_dendrite_{n}", "1"), (f"Bt_Header_Dendrite_{n.title()}", "1")]),
        401,
    )
sends("two axon hotkeys", lambda t: t.request(add=[("bt_header_axon_hotkey", MINER.ss58_address)]), 401)
sends("two body hashes", lambda t: t.request(add=[("computed_body_hash", "")]), 401)
sends("two hosts", lambda t: t.request(add=[("host", "another")]), 400)
sends("a long name twice", lambda t: t.request(add=[("bt_header_" + "x" * 6000, "1")] * 2), 401)
sends("a header of 8 MB", lambda t: t.request(add=[("x", "y" * 8_000_000)]), 400, 431, CLOSED)
sends("8 MB of headers", lambda t: t.request(b"", framing=("x: " + "y" * 70 + "\r\n") * 100_000), 400, 431, CLOSED)
sends("a path of 1 MB", lambda t: t.request(path="/" + "a" * 1_000_000), 400, 414, 431, CLOSED, 404)
sends("a head of 8 MB without end", lambda _: b"POST /Simulation HTTP/1.1\r\nx: " + b"y" * 8_000_000, 400, 431, CLOSED)
for _name, _line in {
    "without a colon": "colon", "without a name": ": x", "with a space in its name": "a b: c", "with NUL": "a: \x00b",
    "with a lone CR": "a: b\rc: d", "with a control character": "a: \x01", "with letters beyond ASCII": "\xe9: x",
}.items():  # fmt: skip
    sends(f"a header {_name}", lambda t, s=_line: t.request(framing=f"{s}\r\ncontent-length: 2"), 400)

UPGRADE = (
    "connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n"
    "sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA=="
)
for _path, _status in (("/Simulation", 405), ("/", 404)):
    sends(
        f"websocket upgrade of {_path}",
        lambda _, p=_path: f"GET {p} HTTP/1.1\r\nhost: x\r\n{UPGRADE}\r\n\r\n".encode(),
        _status,
    )
HELLO = bytes.fromhex("16030100c8010000c403035bf7") + bytes(range(200))
for _name, _data in {
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9), "TLS hello": HELLO, "SSH": b"SSH-2.0-x\r\n\r\n",
    "HTTP/0.9": b"GET /\r\n\r\n", "HTTP/9.9": b"POST /Simulation HTTP/9.9\r\nhost: x\r\n\r\n", "NUL": bytes(5000),
    "no host": b"POST /Simulation HTTP/1.1\r\n\r\n", "HTTP/1.0": b"POST /Simulation HTTP/1.0\r\n\r\n",
    "noise": random.Random(1).randbytes(5000) + b"\r\n\r\n", "a proxy": b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n\r\n",
    "a folded line": b"POST /Simulation HTTP/1.1\r\n host: x\r\n\r\n", "SOCKS": b"\x05\x01\x00\r\n\r\n",
    "redis": b"*1\r\n$4\r\nPING\r\n\r\n", "a lone line feed": b"POST /Simulation HTTP/1.1\nhost: x\n\n",
}.items():  # fmt: skip
    sends(f"not our protocol: {_name}", lambda _, d=_data: d, *REFUSED, CLOSED)
sends("not our protocol: empty lines", lambda _: b"\r\n" * 20_000, 400, CLOSED)


@row("a connection without a word", CLOSED)
def silent(t: Target) -> tuple[int, bytes]:
    return exchange(t.port)


@row("a head that stops", CLOSED)
def half_head(t: Target) -> tuple[int, bytes]:
    return exchange(t.port, t.request()[:200])


@row("a head that comes slowly", CLOSED)
def slow_head(t: Target) -> tuple[int, bytes]:
    return exchange(t.port, *(bytes([byte]) for byte in t.request()), pause=0.05)


@row("a body that comes slowly", 408)
def slow_body(t: Target) -> tuple[int, bytes]:
    head, end, body = t.request().partition(b"\r\n\r\n")
    return exchange(t.port, head + end, *(bytes([byte]) for byte in body), pause=0.05)


@row("a body that never comes", 408)
def no_body(t: Target) -> tuple[int, bytes]:
    head, end, _ = t.request().partition(b"\r\n\r\n")
    return exchange(t.port, head + end)


@row("chunks that come slowly", 408)
def slow_chunks(t: Target) -> tuple[int, bytes]:
    head, end, _ = t.request(b"", framing=CHUNKED).partition(b"\r\n\r\n")
    return exchange(t.port, head + end, *[chunk(b" ")] * 100, pause=0.05)


@row("empty lines that come slowly", 400, CLOSED)
def slow_lines(t: Target) -> tuple[int, bytes]:
    return exchange(t.port, *[b"\r\n"] * 100, pause=0.05)


@row("half a connection closed in the head", CLOSED)
def closed_in_head(t: Target) -> tuple[int, bytes]:
    with connect(t.port) as connection:
        connection.sendall(t.request()[:300])
        connection.shutdown(socket.SHUT_WR)
        status, body, _ = read_answer(connection)
        return status, body


@row("half a connection closed in the body", CLOSED, 400, 408)
def closed_in_body(t: Target) -> tuple[int, bytes]:
    with connect(t.port) as connection:
        connection.sendall(t.request()[:-10])
        connection.shutdown(socket.SHUT_WR)
        status, body, _ = read_answer(connection)
        return status, body


@row("connections that are reset", CLOSED)
def resets(t: Target) -> tuple[int, bytes]:
    request = t.request()
    for i in range(50):
        with connect(t.port) as connection:
            connection.sendall(request[: i * (len(request) - 1) // 50])
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return CLOSED, b""


@row("garbage after a refused request", 401)
def garbage_behind(t: Target) -> tuple[int, bytes]:
    return exchange(t.port, t.request(change={SIGNATURE: None}) + b"\x00\xff" * 1000)


@row("garbage after a request's head", 400, 408)
def garbage_for_chunks(t: Target) -> tuple[int, bytes]:
    head, end, _ = t.request(b"", framing=CHUNKED).partition(b"\r\n\r\n")
    return exchange(t.port, head + end, b"\xff" * 50, pause=0.05)


@row("pipelined refusals", 401)
def pipelined(t: Target) -> tuple[int, bytes]:
    """The first refusal ends the connection: a caller cannot queue work on it."""
    with connect(t.port) as connection:
        with contextlib.suppress(OSError):
            connection.sendall(b"".join(t.request(change={SIGNATURE: None}) for _ in range(20)))
        status, body, rest = read_answer(connection)
        again, _, _ = read_answer(connection, rest)
        assert again == CLOSED
        return status, body


@pytest.mark.parametrize("name", TABLE)
def test_an_attack_is_refused_before_any_simulation_and_delays_nobody(
    target: Target, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    attack, statuses = TABLE[name]
    if statuses & {CLOSED, 408}:  # where it may be the miner's patience that ends it
        hurry(monkeypatch)
    computed, errors = len(target.computed), len(target.errors)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(attack, target)
        during = target.honest()
        status, body = running.result()
    assert status in statuses, (status, body[:200])
    assert len(body) < 300
    assert during.accepted, during.verdicts
    assert target.honest().accepted
    assert {p.num_simulations for p in target.computed[computed:]} == {HONEST}
    assert target.errors[errors:] == []


def test_refusals_are_json_with_a_reason(target: Target) -> None:
    for request, word in (
        (target.request(change={SIGNATURE: None}), "signature"),
        (target.request(key=STRANGER), "registered"),
        (target.request(b"{"), "JSON"),
        (target.request(path="/docs"), "not found"),
    ):
        _, body = exchange(target.port, request)
        assert word in orjson.loads(body)["message"]


def serve_apart(folder: Path, channel: Connection) -> None:
    """Run a miner alone in this process; tell its port and clock, then its memory and connections when asked."""
    with pytest.MonkeyPatch.context() as patch, rig(folder, chain=RowsChain()) as running:
        hurry(patch)
        channel.send((running.miner.port, running.clock))
        while channel.recv():
            channel.send((rss(), running.miner.room.count()))


@pytest.fixture
def apart(tmp_path: Path) -> Iterator[tuple[Target, Connection, int]]:
    """A miner in a process of its own: its memory is not that of the attackers."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=serve_apart, args=(tmp_path, theirs))
    process.start()
    try:
        assert ours.poll(PATIENCE)
        port, clock = ours.recv()
        running = Rig(None, None, SimpleNamespace(port=port), clock, tmp_path)  # type: ignore[arg-type]
        prober = Prober(f"http://127.0.0.1:{port}", VALIDATOR, MINER.ss58_address, connections=4)
        yield Target(running, [], [], prober), ours, process.pid or 0
        ours.send(False)
        process.join(PATIENCE)
    finally:
        process.kill()
        process.join()


@pytest.mark.ci
def test_memory_stays_flat_over_the_whole_table_and_no_connection_is_left(
    apart: tuple[Target, Connection, int],
) -> None:
    target, channel, pid = apart

    def told() -> tuple[float, int]:
        channel.send(True)
        return channel.recv()  # type: ignore[no-any-return]

    def attack_once(attack: Attack) -> float:
        attack(target)
        return resident(pid)

    def attack_all() -> tuple[float, float]:
        with ThreadPoolExecutor(4) as pool:
            most = max(pool.map(attack_once, (attack for attack, _ in TABLE.values())))
        return most - before, told()[0] - before

    assert target.honest().accepted
    before, _ = told()
    grown = [attack_all() for _ in range(2)]
    shown = ", ".join(f"{most:+.1f} ({left:+.1f} in the end)" for most, left in grown)
    print(f"memory of the miner over two rounds of {len(TABLE)} attacks, MB: {shown}")
    assert max(most for most, _ in grown) < MAX_GROWTH
    assert max(left for _, left in grown) < MAX_GROWTH / 2
    target.validator._session.close()
    assert until(lambda: told()[1] == 0)
    assert target.honest().accepted


# --------------------------------------------------------------------------------------------- replay


@pytest.mark.usefixtures("patient")
def test_of_fifty_copies_at_once_one_is_answered(target: Target) -> None:
    request, barrier = target.request(process="copied"), threading.Barrier(50)

    def ask(_: int) -> int:
        with connect(target.port) as connection:
            barrier.wait()
            connection.sendall(request)
            return read_answer(connection)[0]

    with ThreadPoolExecutor(50) as pool:
        assert Counter(pool.map(ask, range(50))) == {200: 1, 401: 49}
    assert exchange(target.port, request)[0] == 401
    assert target.honest().accepted


def test_an_answered_request_is_refused_by_a_gate_that_was_made_later(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = target.request()
    assert exchange(target.port, request)[0] == 200
    later = replace(target.rig.miner.gate, started=time.time(), _seen={})
    monkeypatch.setattr(target.rig.miner.app, "gate", later)
    status, body = exchange(target.port, request)
    assert (status, orjson.loads(body)["message"]) == (401, "nonce is older than this process")
    assert target.honest().accepted


def test_an_answered_request_is_refused_by_a_miner_that_starts_later(target: Target, tmp_path: Path) -> None:
    request = target.request()
    assert exchange(target.port, request)[0] == 200
    with rig(tmp_path, chain=RowsChain()) as restarted:
        assert restarted.miner.port
        status, body = exchange(restarted.miner.port, request)
        assert (status, orjson.loads(body)["message"]) == (401, "nonce is older than this process")
        assert restarted.prober().ask(restarted.prompt(paths=HONEST)).accepted


def test_a_request_that_was_refused_for_its_body_cannot_be_sent_again_with_another(target: Target) -> None:
    """The signature does not cover the body: a copy with a better one is still a copy."""
    request = target.request(b"{}")
    head, end, _ = request.partition(b"\r\n\r\n")
    assert exchange(target.port, request)[0] == 400
    body = target.body()
    copy = head.replace(b"content-length: 2", b"content-length: %d" % len(body)) + end + body
    assert exchange(target.port, copy)[0] == 401


# ---------------------------------------------------------------------------- what is allowed stays so


def test_the_largest_body_is_read(target: Target) -> None:
    body = target.body()
    for request in (
        target.request(body + b" " * (MAX_BODY - len(body))),
        target.request(chunk(body) + chunk(b" " * (MAX_BODY - len(body))) + b"0\r\n\r\n", framing=CHUNKED),
    ):
        assert exchange(target.port, request)[0] == 200


@pytest.mark.parametrize(
    "variant",
    [
        {"path": "/Simulation?x=1"},
        {"path": "/%53imulation"},
        {"change": {"timeout": "nan"}},
        {"change": {"timeout": "-1", "bt_header_dendrite_version": "0"}},
        {"add": [("accept-encoding", "gzip, deflate, br")]},
        {"add": [("expect", "100-continue")]},
        {"add": [("connection", "close")]},
        {"add": [("connection", "Upgrade, HTTP2-Settings"), ("upgrade", "h2c"), ("http2-settings", "AAMAAABk")]},
        {"add": [("x", "y" * 8000)]},
    ],
    ids=str,
)
def test_harmless_oddities_of_a_validator_are_answered(target: Target, variant: dict[str, Any]) -> None:
    prompt = target.rig.prompt(paths=HONEST)
    status, body = exchange(target.port, target.request(body_of(prompt), **variant))
    assert status == 200
    assert set(judge(prompt, body, 0.1).values()) == {CORRECT}


def test_pipelined_requests_of_a_validator_are_answered_in_turn(target: Target) -> None:
    prompts = [target.rig.prompt(paths=HONEST, minutes=2 + i % 5) for i in range(20)]
    with connect(target.port) as connection:
        connection.sendall(b"".join(target.request(body_of(prompt)) for prompt in prompts))
        rest = b""
        for prompt in prompts:
            status, body, rest = read_answer(connection, rest)
            assert status == 200
            assert set(judge(prompt, body, 0.1).values()) == {CORRECT}


@pytest.mark.ci
def test_a_pipelined_request_that_breaks_off_does_not_keep_its_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No bytes come after it that would start the time for its head: it counts as an idle connection."""
    monkeypatch.setattr(serve_module, "_KEEP_ALIVE", 1)
    with rig(tmp_path, chain=RowsChain()) as running:
        target = Target(running, [], [], running.prober())
        with connect(target.port) as connection:
            connection.sendall(target.request(target.body(num_simulations=HONEST)) + target.request()[:100])
            assert read_answer(connection)[0] == 200
            assert read_answer(connection)[0] == CLOSED


def test_a_connection_is_kept_for_the_next_prompt(target: Target) -> None:
    prompt = target.rig.prompt(paths=HONEST)
    with connect(target.port) as connection:
        for _ in range(3):
            connection.sendall(target.request(body_of(prompt)))
            assert read_answer(connection)[0] == 200


@pytest.mark.usefixtures("patient")
def test_the_time_for_a_head_begins_anew_with_each_request_of_a_connection(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends: list[float] = []  # when the time for a head ends, by the event loop's clock
    received = GuardedProtocol.data_received

    def noted(self: GuardedProtocol, data: bytes) -> None:
        received(self, data)
        if self._timer is not None:
            ends.append(self._timer.when())

    monkeypatch.setattr(GuardedProtocol, "data_received", noted)
    prompt = target.rig.prompt(paths=HONEST)
    with connect(target.port) as connection:
        for i in range(4):
            request = target.request(body_of(prompt))
            answered = time.monotonic()
            connection.sendall(request[:100])
            assert until(lambda count=i: len(ends) > count)
            connection.sendall(request[100:])
            assert read_answer(connection)[0] == 200
            if i:  # that of the first begins with the connection
                assert ends[i] >= answered + serve_module.HEAD_SECONDS
    assert len(ends) == 4


# --------------------------------------------------------------------------------- many connections


def ask_honestly(target: Target, count: int = 20) -> None:
    """Get the answers to honest prompts, none of which shares its paths with another."""
    for i in range(count):
        reply = target.honest(minutes=2 + i % 10)
        assert reply.accepted, reply.verdicts


def held_by_others(target: Target) -> int:
    """How many connections the miner holds of others than honest callers."""
    return target.rig.miner.room.count("127.0.0.1")


@pytest.mark.parametrize(("hard", "warned"), [(4096, False), (1024, True)])
def test_the_limit_of_open_files_is_raised_for_the_connections(
    hard: int, warned: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    limits = [(256, hard)]
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda _, limit: limits.append(limit))
    for _ in range(2):
        serve_module.allow_connections()
    assert limits[-1] == (min(hard, serve_module.MAX_CONNECTIONS + 256), hard)
    assert ("ulimit -n" in caplog.text) == warned


@pytest.mark.usefixtures("patient")
def test_five_hundred_idle_connections_delay_nobody(target: Target) -> None:
    """All answers come while nobody has lost patience with any of the others."""
    with contextlib.ExitStack() as stack:
        for i in range(500):
            connection = stack.enter_context(connect(target.port))
            if i % 2:
                connection.sendall(b"POST /Simulation HTTP/1.1\r\nhost: x\r\n"[: i % 37])
        ask_honestly(target)
        assert held_by_others(target) >= 500


@pytest.mark.usefixtures("hurried")
def test_idle_connections_are_closed(target: Target) -> None:
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(connect(target.port)) for _ in range(50)]
        for i, connection in enumerate(held):
            with contextlib.suppress(OSError):  # it may have been closed
                connection.sendall(b"POST /Simulation HTTP/1.1\r\nhost: x\r\n"[: i % 37])
        assert until(lambda: held_by_others(target) == 0)
        assert {read_answer(connection)[0] for connection in held} == {CLOSED}


@pytest.mark.usefixtures("patient")
def test_what_one_address_holds_leaves_room_for_others(target: Target) -> None:
    honest = target.rig.prompt(paths=HONEST)
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(connect(target.port)) for _ in range(MAX_PER_IP + 88)]
        assert until(lambda: connections(target) <= MAX_PER_IP)
        status, body = exchange(target.port, target.request(body_of(honest)), source=OURS)
        assert status == 200
        assert set(judge(honest, body, 0.1).values()) == {CORRECT}
        closed = [c for c in held if readable(c)]
        assert 88 <= len(closed) <= 92  # those too many, and nobody else
    assert until(lambda: connections(target) <= 2)
    assert target.honest().accepted


@pytest.mark.usefixtures("patient")
def test_idle_strangers_give_way_to_honest_callers_of_known_and_new_addresses(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two addresses hold all the connections that they may, and open others as fast as they are closed."""
    for name, most in (("MAX_CONNECTIONS", 40), ("MAX_STRANGERS", 30), ("MAX_PER_IP", 20)):
        monkeypatch.setattr(room_module, name, most)
    prompt = target.rig.prompt(paths=HONEST)
    with contextlib.ExitStack() as stack:
        for i in range(20):
            for source in ("127.0.0.3", "127.0.0.4"):
                held = [stack.enter_context(connect(target.port, source=source)) for _ in range(20 if i == 0 else 2)]
                assert until(lambda: connections(target) <= 40)
            source = OURS if i % 2 else f"127.0.1.{i}"
            status, body = exchange(target.port, target.request(body_of(prompt), process=f"v{i}"), source=source)
            assert status == 200
            assert set(judge(prompt, body, 0.1).values()) == {CORRECT}
        assert not readable(held[-1])  # the newest of them still waits
    assert until(lambda: connections(target) <= 2)


@pytest.mark.usefixtures("patient")
def test_bodies_that_never_come_delay_nobody(target: Target) -> None:
    with contextlib.ExitStack() as stack:
        for i in range(200):
            head, end, _ = target.request(process=f"bodiless-{i}").partition(b"\r\n\r\n")
            stack.enter_context(connect(target.port)).sendall(head + end)
        ask_honestly(target)
        assert held_by_others(target) >= 200


def test_a_flood_of_refused_requests_leaves_validators_their_answers(target: Target) -> None:
    stop, refused = threading.Event(), Counter[int]()

    def flood(i: int) -> None:
        while not stop.is_set():
            refused[exchange(target.port, target.request(key=STRANGER, process=f"flood-{i}"))[0]] += 1

    with ThreadPoolExecutor(4) as pool:
        running = [pool.submit(flood, i) for i in range(4)]
        try:
            assert until(lambda: refused[403] > 0)
            before = refused[403]
            ask_honestly(target)
            during = refused[403] - before
        finally:
            stop.set()
        for future in running:
            future.result()
    print(f"{during} refusals beside 20 answers")
    assert during > 0
    assert set(refused) == {403}


def test_what_strangers_can_log_is_bounded_and_names_what_they_asked_for(
    target: Target, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = target.request(b"zz\r\n", framing=CHUNKED, change={"bt_header_dendrite_signature": None})
    paths = [target.request(path="/" + "Other" * 1000), target.request(path="/Other")]
    errors = len(target.errors)
    monkeypatch.setattr(target.rig.miner.app, "_logged_at", 0.0)
    began = time.monotonic()
    with caplog.at_level(logging.INFO):
        for i in range(120):
            status, body = exchange(target.port, [bad, bad, *paths][i % 4])
            assert status in (CLOSED, 400, 401, 404), (status, body)
        seconds = time.monotonic() - began
    assert target.errors[errors:] == []
    assert all(record.name.startswith("ewmalab") for record in caplog.records)
    lines = [record.getMessage() for record in caplog.records]
    assert 1 <= len(lines) <= seconds + 1
    assert max(map(len, lines)) < 400
    caplog.clear()
    monkeypatch.setattr(target.rig.miner.app, "_logged_at", 0.0)
    exchange(target.port, target.request(path="/Other"))
    (line,) = (record.getMessage() for record in caplog.records)
    assert '"path":"/Other"' in line
    assert '"unlogged":' in line


# ----------------------------------------------------------------------------------------- slow readers


@contextlib.contextmanager
def slow_readers(target: Target, count: int) -> Iterator[list[socket.socket]]:
    """Validators that ask for as much as they may and read nothing of it."""
    with contextlib.ExitStack() as stack:
        readers = []
        for i in range(count):
            connection = stack.enter_context(connect(target.port, receive=4096))
            connection.sendall(target.request(process=f"reader-{i}"))
            readers.append(connection)
        yield readers


@pytest.mark.usefixtures("patient")
def test_callers_that_read_nothing_delay_nobody(target: Target) -> None:
    computed = len(target.computed)
    with slow_readers(target, 30):
        assert until(lambda: len(target.computed) > computed)
        ask_honestly(target)
        assert held_by_others(target) >= 30
    assert until(lambda: connections(target) <= 2)


def test_a_caller_that_reads_nothing_loses_its_connection(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer of megabytes that nobody takes must not lie in memory for as long as the caller likes."""
    monkeypatch.setattr(app_module, "SEND_SECONDS", 0.5)
    target.validator._session.close()
    assert until(lambda: connections(target) == 0)
    computed = len(target.computed)
    with slow_readers(target, 5):
        assert until(lambda: len(target.computed) > computed)
        assert until(lambda: connections(target) == 0), f"{connections(target)} connections are held"
    assert target.honest().accepted


def test_a_caller_that_asks_on_without_reading_holds_two_answers_at_most(target: Target) -> None:
    prompt = target.rig.prompt(paths=ATTACK)
    computed = len(target.computed)
    with connect(target.port, receive=4096) as connection:
        connection.sendall(b"".join(target.request(body_of(prompt), process="greedy") for _ in range(50)))
        assert until(lambda: len(target.computed) > computed)
        time.sleep(0.5)  # for more than two to show
        assert len(target.computed) - computed <= 3
        assert target.honest().accepted
    assert until(lambda: connections(target) <= 2)


def test_a_caller_that_hangs_up_while_its_answer_is_computed_harms_nobody(target: Target) -> None:
    errors = len(target.errors)
    for i in range(20):
        with connect(target.port) as connection:
            connection.sendall(target.request(process=f"gone-{i}"))
            if i % 2:
                time.sleep(0.002)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert target.honest().accepted
    assert target.errors[errors:] == []


# ------------------------------------------------------------------------------------------------ fuzz

NASTY: list[Any] = [
    None, True, False, 0, -1, 1, 2**31, 2**63 - 1, 2**64 - 1, -(2**63), 0.0, -0.0, 1.5, 1e308, 5e-324, "", " ", "BTC",
    "btc", "nan", "\x00", "\x7f", "é", "💥", "a" * 500, [], [[]], [None], {}, {"": None}, {"asset": {}}, [1] * 50,
    "300", "2026-10-03T04:02:00Z", "2026-10-03T04:02:00.1Z", "0000-00-00", "9999-12-31T23:59:59+14:00",
]  # fmt: skip
FIELDS = ("asset", "start_time", "time_increment", "time_length", "num_simulations", "simulation_input")


def flipped(data: bytes, rng: random.Random, most: int = 4) -> bytes:
    """Bytes of which some are others, are gone, or come twice."""
    out = bytearray(data)
    for _ in range(rng.randint(1, most)):
        at = rng.randrange(len(out)) if out else 0
        match rng.randrange(4):
            case 0 if out:
                out[at] ^= 1 << rng.randrange(8)
            case 1:
                del out[at : at + rng.randint(1, 8)]
            case 2:
                out[at:at] = rng.randbytes(rng.randint(1, 8))
            case _:
                out[at:at] = out[at : at + rng.randint(1, 40)]
    return bytes(out)


def nasty_body(target: Target, rng: random.Random) -> bytes:
    data: Any = orjson.loads(target.body(num_simulations=rng.randint(1, 50)))
    for _ in range(rng.randint(1, 3)):
        where, name = data.get("simulation_input"), rng.choice(FIELDS)
        if rng.random() < 0.2 or not isinstance(where, dict):
            data[name] = rng.choice(NASTY)
        elif rng.random() < 0.2:
            where.pop(name, None)
        else:
            where[name] = rng.choice(NASTY)
    return orjson.dumps(data)


def mutated(target: Target, rng: random.Random) -> bytes:
    """A request that was good before something happened to it."""
    process = f"fuzz-{threading.get_ident()}"
    body = target.body(num_simulations=rng.randint(1, 50))
    request = target.request(body, process=process)
    match rng.randrange(8):
        case 0:  # headers
            head, end, rest = request.partition(b"\r\n\r\n")
            first, *lines = head.split(b"\r\n")
            for _ in range(rng.randint(1, 3)):
                at = rng.randrange(len(lines)) if lines else 0
                match rng.randrange(4):
                    case 0 if lines:
                        del lines[at]
                    case 1 if lines:
                        lines.append(lines[at])
                    case 2 if lines:
                        lines[at] = flipped(lines[at], rng)
                    case _:
                        name, _, value = (lines[at] if lines else b"a: b").partition(b": ")
                        lines[at : at + 1] = [name + b": " + rng.choice([b"", value * 2, rng.randbytes(9), b"nan"])]
            return b"\r\n".join([first, *lines]) + end + rest
        case 1:  # the body, its length unchanged
            out = bytearray(body)
            for _ in range(rng.randint(1, 5)):
                out[rng.randrange(len(out))] = rng.randrange(256)
            return target.request(bytes(out), process=process)
        case 2:  # the body, of any length
            return target.request(flipped(body, rng, 8), process=process)
        case 3:
            return target.request(nasty_body(target, rng), process=process)
        case 4:
            return flipped(request, rng, 6)
        case 5:
            return rng.randbytes(rng.randint(1, 2000)) + rng.choice([b"", b"\r\n\r\n"])
        case 6:
            return request[: rng.randrange(len(request))]
        case _:  # chunks
            parts = [chunk(body[i : i + 40]) for i in range(0, len(body), 40)]
            whole = b"".join(parts) + b"0\r\n\r\n"
            return target.request(
                flipped(whole, rng) if rng.random() < 0.7 else whole, process=process, framing=CHUNKED
            )


def fuzz(target: Target, count: int, seed: int, workers: int = 32) -> Counter[int]:
    """Send mutated requests; return how often each status came."""
    computed, errors, before = len(target.computed), len(target.errors), rss()
    began = time.monotonic()

    def work(worker: int) -> Counter[int]:
        seen: Counter[int] = Counter()
        for i in range(worker, count, workers):
            rng = random.Random(f"{seed} {i}")
            data = mutated(target, rng)
            status, body = exchange(target.port, data)
            assert status == CLOSED or status == 200 or status in REFUSED, (i, status, data, body[:200])
            assert status == 200 or len(body) < 300, (i, status, data, body[:200])
            seen[status] += 1
        return seen

    statuses: Counter[int] = Counter()
    with ThreadPoolExecutor(workers) as pool:
        for seen in pool.map(work, range(workers)):
            statuses += seen
    print(
        f"fuzz, seed {seed}: {count} requests in {time.monotonic() - began:.1f} s, statuses "
        f"{dict(sorted(statuses.items()))}, memory {rss() - before:+.1f} MB"
    )
    assert target.errors[errors:] == []
    for prompt in target.computed[computed:]:
        assert prompt.asset == "BTC"
        assert 1 <= prompt.num_simulations <= 1000
        assert prompt.steps in (60, 288)
    assert target.honest().accepted
    assert rss() - before < MAX_GROWTH
    return statuses


@pytest.mark.ci
@pytest.mark.usefixtures("hurried")
def test_mutated_requests_are_refused_or_answered(target: Target) -> None:
    statuses = fuzz(target, 600, seed=1)
    assert {200, 400, 401} <= set(statuses)


@pytest.mark.slow
@pytest.mark.usefixtures("hurried")
def test_many_mutated_requests_are_refused_or_answered(target: Target) -> None:
    statuses = fuzz(target, 20_000, seed=2)
    assert {200, 400, 401, 404, 408} <= set(statuses)


def test_the_miner_is_as_it_was_after_all_this(target: Target) -> None:
    reply = target.validator.ask(target.rig.prompt(paths=1000))
    assert reply.accepted
    assert target.rig.miner.health()["status"] != "failing"
    assert np.isfinite(reply.seconds)
