"""Strangers who attack a miner at a modest rate, each kind on a thread, from loopback addresses of their own."""

from __future__ import annotations

import itertools
import os
import socket
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import orjson
from bittensor import sp_core
from live_stack import Stack

from ewmalab.live.audit.probe import body_of, next_prompts, signed_headers
from ewmalab.live.miner.app import PATH
from ewmalab.rulebook import load_rulebook

CARELESS = sp_core.Keypair.create_from_uri("//Careless")
"""A validator whose prompts are malformed."""
STRANGER = sp_core.Keypair.create_from_uri("//Stranger")
SIGNED = ("nonce", "uuid", "signature", "hotkey")
IDLE = 60  # connections that are kept open
PATIENCE = 15.0
ORIGINAL = "what is replayed later: a good prompt"

Tally = dict[str, Counter[str]]


def attack(stack: Stack, stop: Any, tally: Any) -> None:
    """Attack until `stop` is set; then put what became of it into `tally`, by kind and result."""
    os.nice(5)
    strangers = Strangers(stack)
    kinds: list[tuple[str, float, Callable[[], str]]] = [
        ("idle connection", 0.2, strangers.idle),
        ("slow head", 2.0, strangers.slow),
        ("unsigned, chunked garbage", 0.5, strangers.garbage),
        ("unsigned, large body", 1.0, strangers.large),
        (ORIGINAL, 20.0, strangers.original),
        ("replay", 1.0, strangers.replay),
        ("signed field changed", 0.5, strangers.mutated),
        ("unknown key", 1.0, strangers.unknown),
        ("admitted key, malformed body", 2.0, strangers.careless),
        ("other paths and methods", 1.0, strangers.elsewhere),
        ("noise", 1.0, strangers.noise),
    ]
    found: Tally = {name: Counter() for name, _, _ in kinds}

    def run(name: str, pause: float, send: Callable[[], str]) -> None:
        while not stop.wait(pause):
            try:
                result = send()
            except OSError as error:
                result = type(error).__name__
            found[name][result] += 1

    threads = [threading.Thread(target=run, args=kind) for kind in kinds]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    tally.put(found)


class Strangers:
    """One method for each kind of attack; it returns what became of it, as a status or in words."""

    def __init__(self, stack: Stack) -> None:
        self._port, self._validator, self._axon = stack.port, stack.validator, stack.miner.ss58_address
        self._clock = stack.clock()
        self._idle: list[socket.socket] = []
        self._kept = b""
        self._turns = itertools.count()

    def idle(self) -> str:
        """Open a connection and say nothing; the oldest of many is given up."""
        self._idle.append(self._connect(10))
        if len(self._idle) <= IDLE:
            return "open"
        with self._idle.pop(0) as oldest:
            oldest.settimeout(0.0)
            try:
                return "closed" if oldest.recv(1) == b"" else "answered"
            except BlockingIOError:
                return "held open"
            except OSError:
                return "closed"

    def slow(self) -> str:
        """Send a head byte by byte."""
        with self._connect(11) as connection:
            for byte in b"POST /Simulation HTTP/1.1\r\nhost: a\r\n":
                try:
                    connection.sendall(bytes([byte]))
                    time.sleep(0.4)
                except OSError:
                    return "closed"
            return self._read(connection)

    def garbage(self) -> str:
        """Send random bytes in chunks, without a signature."""
        head = f"POST {PATH} HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n".encode()
        chunk = b"1000\r\n" + os.urandom(4096) + b"\r\n"
        return self._send(12, head + chunk * 20 + b"0\r\n\r\n")

    def large(self) -> str:
        """Send a megabyte."""
        head = f"POST {PATH} HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\n".encode()
        return self._send(13, head + bytes(1_000_000))

    def original(self) -> str:
        """Ask a good prompt with an admitted key; it is answered, and what was sent is kept."""
        rules, now = load_rulebook().at(int(self._clock.now())), int(self._clock.now())
        name = next(c.name for c in rules.competitions.values() if c.time_length == 3600)
        request = self._request(CARELESS, body_of(next_prompts(load_rulebook(), "BTC", name, now, 1)[0]))
        result = self._send(14, request)
        self._kept = request  # only now, or what sends it again would be the first
        return result

    def replay(self) -> str:
        """Send again what an admitted validator has sent."""
        return self._send(14, self._kept) if self._kept else "nothing to send yet"

    def mutated(self) -> str:
        """Change one signed field of a good request."""
        name = f"bt_header_dendrite_{SIGNED[int.from_bytes(os.urandom(1), 'big') % len(SIGNED)]}"
        headers = self._headers(self._validator)
        text = headers[name]
        place = 4 + int.from_bytes(os.urandom(2), "big") % (len(text) - 4)
        headers[name] = text[:place] + ("1" if text[place] != "1" else "2") + text[place + 1 :]
        return self._send(15, self._bytes(headers, b"{}"))

    def unknown(self) -> str:
        """Sign with a key that nobody knows."""
        return self._send(16, self._request(STRANGER, b"{}"))

    def careless(self) -> str:
        """Sign with an admitted key, and ask for something impossible."""
        asked = {"asset": "BTC", "start_time": "soon", "time_increment": -1, "time_length": 1e300, "num_simulations": 9}
        return self._send(17, self._request(CARELESS, orjson.dumps({"simulation_input": asked})))

    def elsewhere(self) -> str:
        """Ask for what is not there."""
        first = ("GET /Simulation", "GET /docs", "POST /Ping", "DELETE /")[next(self._turns) % 4]
        return self._send(18, f"{first} HTTP/1.1\r\nhost: a\r\n\r\n".encode())

    def noise(self) -> str:
        """Send what is no HTTP."""
        return self._send(19, os.urandom(2000))

    def _headers(self, key: Any) -> dict[str, str]:
        return signed_headers(key, self._axon, time.time_ns(), str(uuid.uuid4()))

    def _request(self, key: Any, body: bytes) -> bytes:
        return self._bytes(self._headers(key), body)

    def _bytes(self, headers: dict[str, str], body: bytes) -> bytes:
        lines = [f"POST {PATH} HTTP/1.1", "host: a", *(f"{k}: {v}" for k, v in headers.items())]
        return "\r\n".join([*lines, f"content-length: {len(body)}", "", ""]).encode() + body

    def _connect(self, address: int) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self._port), PATIENCE, (f"127.0.0.{address}", 0))

    def _send(self, address: int, data: bytes) -> str:
        with self._connect(address) as connection:
            with suppress(OSError):  # refused before all was sent
                connection.sendall(data)
            return self._read(connection)

    def _read(self, connection: socket.socket) -> str:
        try:
            answer = connection.recv(100)
        except TimeoutError:
            return "hung"
        except OSError:
            return "closed"
        return answer[9:12].decode("latin-1") if answer.startswith(b"HTTP/1.1 ") else "closed"
