"""The miner's HTTP interface: one path and one method; everything else is refused."""

from __future__ import annotations

import asyncio
import logging
import time
import zlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import orjson

from ewmalab.forecast.protocol import Prompt
from ewmalab.live.audit.answer_log import AnswerLog
from ewmalab.live.miner.admission import Admission, Refusal
from ewmalab.live.miner.answers import Answer, Answerer
from ewmalab.live.miner.metrics import Metrics
from ewmalab.live.miner.prompt_body import MAX_BODY, parse_prompt
from ewmalab.live.miner.turns import Turns

log = logging.getLogger("ewmalab.miner")

PATH = "/Simulation"
BODY_SECONDS = 5.0  # for a caller to send its body
SEND_SECONDS = 30.0  # for a caller to take its answer
_REFUSALS_LOGGED = 1.0  # seconds between logged refusals, so that strangers cannot fill the disk
_MAX_SHOWN = 80  # characters of a path that a log line shows
_LEAST_ZIPPED = 16 * 1024  # bytes; a smaller answer gains nothing
_ZIP_LEVEL = 1  # higher levels take many times as long and save little more

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class _Gone(Exception):
    """The caller hung up."""


@dataclass(frozen=True, slots=True)
class Computed:
    """An answer that is ready to be sent.

    Attributes
    ----------
    head : bytes
        What comes before the answer's body; it repeats the prompt.
    zipped : bytes or None
        Head, body and end as gzip, if the caller accepts that.
    """

    answer: Answer
    head: bytes
    zipped: bytes | None


@dataclass
class MinerApp:
    """An ASGI application that answers validators.

    Parameters
    ----------
    gate : Admission
    answerer : Answerer
    records : AnswerLog
    metrics : Metrics
    turns : Turns
        Computes paths outside the event loop.
    """

    gate: Admission
    answerer: Answerer
    records: AnswerLog
    metrics: Metrics
    turns: Turns[Computed]
    _logged_at: float = field(default=0.0, repr=False)
    _unlogged: int = field(default=0, repr=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        began = time.perf_counter()
        try:
            await self._serve(scope, receive, send, began)
        except Refusal as refusal:
            self.metrics.refused.labels(refusal.kind).inc()
            self._log_refusal(scope, refusal)
            await _respond(send, refusal.status, orjson.dumps({"message": refusal.reason}))
        except (_Gone, TimeoutError):
            self.metrics.refused.labels("gone").inc()
            _tell(scope, "abort")
            await asyncio.sleep(0)

    async def _serve(self, scope: Scope, receive: Receive, send: Send, began: float) -> None:
        if scope["path"] != PATH:
            raise Refusal(404, "path", "not found")
        if scope["method"] != "POST":
            raise Refusal(405, "method", "POST only")
        received = self.gate.now()
        caller = self.gate.admit(scope["headers"])  # before the body, so that no stranger's body is read
        _tell(scope, "admitted")
        try:
            with self.turns.place(caller):
                record, answer = await self._answer_caller(caller, scope, receive, send, began)
        except Refusal as refusal:
            if not (refusal.kind == "asset" and self.answerer.settings.values.live.assets):  # else it is on purpose
                self.gate.callers.refuse(caller, refusal.kind)
            raise
        self.gate.callers.answered(record["asset"])
        record |= {"received": received, "caller": caller, "ip": (scope.get("client") or ("",))[0]}
        self.records.put(record, answer.paths)
        log.info("answered %s", orjson.dumps(_line(record)).decode())

    async def _answer_caller(
        self, caller: str, scope: Scope, receive: Receive, send: Send, began: float
    ) -> tuple[dict[str, Any], Answer]:
        """Read a prompt, send the answer, and return its record."""
        body = await _read_body(scope, receive)
        asked = self.answerer
        clock = asked.clock
        prompt = parse_prompt(
            body, assets=asked.assets, rulebook=asked.rulebook, now=clock.now(), speed=max(1.0, clock.speed)
        )
        head = _head(prompt, body)
        zips = _zips(scope, asked.settings.values.live.gzip)
        computed, shared = await self._answer(prompt, caller, head, zips)
        answer = computed.answer
        async with asyncio.timeout(SEND_SECONDS):
            if zips and computed.zipped is not None and computed.head == head:
                await _send(send, 200, [computed.zipped], zipped=True)
            else:
                await _send(send, 200, [head, answer.body, b"}"])
        seconds = time.perf_counter() - began
        self._count(prompt, answer, shared, seconds)
        times = answer.record["seconds"] | {"total": round(seconds, 6)}
        return answer.record | {"shared": shared, "seconds": times}, answer

    async def _answer(self, prompt: Prompt, caller: str, head: bytes, zips: bool) -> tuple[Computed, bool]:
        """Return the answer to a prompt; concurrent prompts for the same paths share one computation."""
        key = (prompt.asset, prompt.start_time, prompt.time_increment, prompt.time_length, prompt.num_simulations)
        result, shared = self.turns.take(caller, key, partial(_compute, self.answerer, prompt, head, zips))
        return await asyncio.shield(result), shared

    def _count(self, prompt: Prompt, answer: Answer, shared: bool, seconds: float) -> None:
        self.metrics.prompts.labels(prompt.asset, prompt.competition).inc()
        self.metrics.latency.observe(seconds)
        self.metrics.anchors.labels(answer.record["anchor"]["source"]).inc()
        if shared:
            self.metrics.shared.inc()
        else:
            self.metrics.simulation.observe(sum(answer.record["seconds"].values()))

    def _log_refusal(self, scope: Scope, refusal: Refusal) -> None:
        now = time.monotonic()
        if now - self._logged_at < _REFUSALS_LOGGED:
            self._unlogged += 1
            return
        line = {"status": refusal.status, "kind": refusal.kind, "reason": refusal.reason}
        line |= {
            "ip": (scope.get("client") or ("",))[0],
            "path": scope["path"][:_MAX_SHOWN],
            "unlogged": self._unlogged,
        }
        self._logged_at, self._unlogged = now, 0
        log.warning("refused %s", orjson.dumps(line).decode())


def _compute(answerer: Answerer, prompt: Prompt, head: bytes, zips: bool) -> Computed:
    answer = answerer.answer(prompt)
    zipped = None
    if zips and len(answer.body) >= _LEAST_ZIPPED:
        began = time.perf_counter()
        gzip = zlib.compressobj(_ZIP_LEVEL, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
        zipped = b"".join([*map(gzip.compress, (head, answer.body, b"}")), gzip.flush()])
        seconds = answer.record["seconds"]
        seconds["render"] = round(seconds["render"] + time.perf_counter() - began, 6)
    return Computed(answer, head, zipped)


def _zips(scope: Scope, choice: str) -> bool:
    """Return whether to compress: on one machine the bytes cost less than their compression."""
    ip = (scope.get("client") or ("",))[0]
    if choice == "never" or (choice == "auto" and (ip.startswith("127.") or ip == "::1")):
        return False
    accepted = b",".join(value for name, value in scope["headers"] if name == b"accept-encoding")
    choices = [choice.replace(b" ", b"").lower() for choice in accepted.split(b",")]
    return any(c == b"gzip" or (c.startswith(b"gzip;q=") and c[7:].strip(b"0.") != b"") for c in choices)


def _tell(scope: Scope, what: str) -> None:
    """Tell the connection, if the server has given a way to."""
    call = scope.get("state", {}).get(what)
    if call is not None:
        call()


_ECHOED = ("asset", "time_increment", "time_length", "num_simulations")


def _head(prompt: Prompt, body: bytes) -> bytes:
    """Return the beginning of an answer. It has the start time as it was written, since clients may compare it."""
    start = str(orjson.loads(body)["simulation_input"]["start_time"])
    echo = orjson.dumps({name: getattr(prompt, name) for name in _ECHOED} | {"start_time": start})
    return b'{"simulation_input":' + echo + b',"simulation_output":'


def _line(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a record that a log line shows."""
    names = ("competition", "asset", "start_time", "caller", "ip", "generation", "age", "anchor", "shared", "seconds")
    return {name: record[name] for name in names}


async def _read_body(scope: Scope, receive: Receive) -> bytes:
    for name, value in scope["headers"]:
        if name == b"content-length" and int(value) > MAX_BODY:
            raise Refusal(413, "body", "body is too long")
    body: bytes = b""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise _Gone
                body += message.get("body", b"")
                if len(body) > MAX_BODY:
                    raise Refusal(413, "body", "body is too long")
                if not message.get("more_body"):
                    return body
    except TimeoutError:
        raise Refusal(408, "body", "body did not arrive in time") from None


async def _respond(send: Send, status: int, body: bytes) -> None:
    try:
        async with asyncio.timeout(SEND_SECONDS):
            await _send(send, status, [body], close=True)
    except TimeoutError:
        return


async def _send(send: Send, status: int, parts: list[bytes], *, close: bool = False, zipped: bool = False) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", str(sum(map(len, parts))).encode())]
    if close:  # the rest of a refused request is not read
        headers.append((b"connection", b"close"))
    if zipped:
        headers.append((b"content-encoding", b"gzip"))
    if status == 200:  # a stock axon sends it, and some clients check it
        headers.append((b"bt_header_axon_status_code", b"200"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    for i, part in enumerate(parts):
        await send({"type": "http.response.body", "body": part, "more_body": i + 1 < len(parts)})
