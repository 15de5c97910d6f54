"""The miner's HTTP interface: one path and one method; everything else is refused."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any

import orjson

from ewmalab.forecast.protocol import Prompt
from ewmalab.live.audit.answer_log import AnswerLog
from ewmalab.live.miner.admission import Admission, Refusal
from ewmalab.live.miner.answers import Answer, Answerer
from ewmalab.live.miner.metrics import Metrics
from ewmalab.live.miner.prompt_body import MAX_BODY, parse_prompt

log = logging.getLogger("ewmalab.miner")

PATH = "/Simulation"
BODY_SECONDS = 5.0  # for a caller to send its body
SEND_SECONDS = 30.0  # for a caller to take its answer
_MAX_AT_WORK = 256  # prompts being computed or queued; more than all validators send at once
_REFUSALS_LOGGED = 1.0  # seconds between logged refusals, so that strangers cannot fill the disk

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Key = tuple[str, int, int, int, int]


class _Gone(Exception):
    """The caller hung up."""


@dataclass
class MinerApp:
    """An ASGI application that answers validators.

    Parameters
    ----------
    gate : Admission
    answerer : Answerer
    records : AnswerLog
    metrics : Metrics
    pool : Executor
        Computes paths outside the event loop.
    """

    gate: Admission
    answerer: Answerer
    records: AnswerLog
    metrics: Metrics
    pool: Executor
    _at_work: dict[Key, asyncio.Future[Answer]] = field(default_factory=dict, repr=False)
    _logged_at: float = field(default=0.0, repr=False)

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
            abort = scope.get("state", {}).get("abort")
            if abort is not None:
                abort()
                await asyncio.sleep(0)

    async def _serve(self, scope: Scope, receive: Receive, send: Send, began: float) -> None:
        if scope["path"] != PATH:
            raise Refusal(404, "path", "not found")
        if scope["method"] != "POST":
            raise Refusal(405, "method", "POST only")
        received = self.gate.now()
        caller = self.gate.admit(scope["headers"])  # before the body, so that no stranger's body is read
        try:
            await self._answer_caller(caller, received, scope, receive, send, began)
        except Refusal as refusal:
            self.gate.callers.refuse(caller, refusal.kind)
            raise

    async def _answer_caller(
        self, caller: str, received: float, scope: Scope, receive: Receive, send: Send, began: float
    ) -> None:
        body = await _read_body(scope, receive)
        asked = self.answerer
        clock = asked.clock
        prompt = parse_prompt(
            body, assets=asked.assets, rulebook=asked.rulebook, now=clock.now(), speed=max(1.0, clock.speed)
        )
        answer, shared = await self._answer(prompt)
        echo = orjson.dumps({name: getattr(prompt, name) for name in _ECHOED} | {"start_time": _start_of(body)})
        head = b'{"simulation_input":' + echo + b',"simulation_output":'
        async with asyncio.timeout(SEND_SECONDS):
            await _send(send, 200, [head, answer.body, b"}"])
        seconds = time.perf_counter() - began
        self._count(prompt, answer, shared, seconds)
        record = answer.record | {
            "received": received,
            "caller": caller,
            "ip": (scope.get("client") or ("",))[0],
            "shared": shared,
        }
        record["seconds"] = answer.record["seconds"] | {"total": round(seconds, 6)}
        self.records.put(record, answer.paths)
        log.info("answered %s", orjson.dumps(_line(record)).decode())

    async def _answer(self, prompt: Prompt) -> tuple[Answer, bool]:
        """Return the answer to a prompt; concurrent prompts for the same paths share one computation."""
        key = (prompt.asset, prompt.start_time, prompt.time_increment, prompt.time_length, prompt.num_simulations)
        running = self._at_work.get(key)
        if running is not None:
            return await asyncio.shield(running), True
        if len(self._at_work) >= _MAX_AT_WORK:
            raise Refusal(429, "busy", "too many prompts at once")
        loop = asyncio.get_running_loop()
        future = asyncio.ensure_future(loop.run_in_executor(self.pool, self.answerer.answer, prompt))
        self._at_work[key] = future

        def done(finished: asyncio.Future[Answer]) -> None:
            del self._at_work[key]
            finished.exception()  # retrieve it here, in case every caller has hung up

        future.add_done_callback(done)
        return await asyncio.shield(future), False

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
        if refusal.status >= 500 or now - self._logged_at >= _REFUSALS_LOGGED:
            self._logged_at = now
            ip = (scope.get("client") or ("",))[0]
            line = {"status": refusal.status, "kind": refusal.kind, "reason": refusal.reason, "ip": ip}
            log.warning("refused %s", orjson.dumps(line).decode())


_ECHOED = ("asset", "time_increment", "time_length", "num_simulations")


def _start_of(body: bytes) -> str:
    """Return a prompt's start time as it was written, since clients may compare it."""
    return str(orjson.loads(body)["simulation_input"]["start_time"])


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


async def _send(send: Send, status: int, parts: list[bytes], *, close: bool = False) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", str(sum(map(len, parts))).encode())]
    if close:  # the rest of a refused request is not read
        headers.append((b"connection", b"close"))
    if status == 200:  # a stock axon sends it, and some clients check it
        headers.append((b"bt_header_axon_status_code", b"200"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    for i, part in enumerate(parts):
        await send({"type": "http.response.body", "body": part, "more_body": i + 1 < len(parts)})
