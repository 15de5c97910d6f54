"""Send a miner signed prompts over HTTP as a validator does, and judge the answers by the validator's rules."""

from __future__ import annotations

import hashlib
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
import requests
from requests.adapters import HTTPAdapter

from ewmalab.errors import RulebookError
from ewmalab.forecast.protocol import Prompt
from ewmalab.live.miner.admission import signed_text
from ewmalab.live.miner.app import PATH
from ewmalab.live.miner.chain import Key
from ewmalab.rulebook import Rulebook, load_rulebook
from ewmalab.scoring.validation import CORRECT, validate_response
from ewmalab.times import iso

NO_BODY = hashlib.sha3_256(b"").hexdigest()
"""The digest that validators sign in place of the body's."""

RESPONSE_FORMATS: tuple[str, ...] = tuple(load_rulebook().response_formats())
TIMEOUT = 20.0
_VERSION = "10005000"  # of the client that validators use


@dataclass(frozen=True, slots=True)
class Reply:
    """The result of one prompt.

    Attributes
    ----------
    prompt : Prompt
    status : int
        HTTP status, 0 if there was no answer.
    seconds : float
        Time from sending to the last byte.
    verdicts : mapping of response format to text
        ``CORRECT``, or the validator's complaint.
    size : int
        Bytes of the answer.
    sha256 : str
        SHA-256 of the answer.
    """

    prompt: Prompt
    status: int
    seconds: float
    verdicts: Mapping[str, str]
    size: int
    sha256: str

    @property
    def accepted(self) -> bool:
        """Return whether the answer passes the format rules of every date."""
        return self.status == 200 and all(verdict == CORRECT for verdict in self.verdicts.values())


def signed_headers(key: Key, axon: str, nonce: int, process: str, *, timeout: float = TIMEOUT) -> dict[str, str]:
    """Return the headers of a validator's request.

    Parameters
    ----------
    key : Key
        The caller's.
    axon : str
        The miner's hotkey.
    nonce : int
        Nanoseconds since 1970-01-01 UTC; must increase with every request of one `process`.
    process : str
        Id of the caller's process.
    timeout : float
        Seconds that the caller waits for the answer.
    """
    signature = key.sign(signed_text(str(nonce), key.ss58_address, axon, process, NO_BODY))
    return {
        "name": PATH.strip("/"),
        "timeout": str(timeout),
        "total_size": "0",
        "header_size": "0",
        "bt_header_input_obj_simulation_input": "e30=",  # the empty object, in base64
        "computed_body_hash": NO_BODY,
        "bt_header_dendrite_ip": "127.0.0.1",
        "bt_header_dendrite_version": _VERSION,
        "bt_header_dendrite_hotkey": key.ss58_address,
        "bt_header_dendrite_nonce": str(nonce),
        "bt_header_dendrite_uuid": process,
        "bt_header_dendrite_signature": f"0x{signature.hex()}",
        "bt_header_axon_hotkey": axon,
    }


def body_of(prompt: Prompt) -> bytes:
    """Return the body of a validator's request."""
    asked = {
        "asset": prompt.asset,
        "start_time": iso(prompt.start_time).replace("Z", "+00:00"),
        "time_increment": prompt.time_increment,
        "time_length": prompt.time_length,
        "num_simulations": prompt.num_simulations,
    }
    return orjson.dumps({"simulation_input": asked, "simulation_output": None})


def judge(prompt: Prompt, answer: bytes, seconds: float) -> dict[str, str]:
    """Return a validator's verdict on an answer under the format rule of every date."""
    try:
        data = orjson.loads(answer)
        output = data["simulation_output"] if "simulation_input" in data else None
    except (orjson.JSONDecodeError, KeyError, TypeError):
        output = None
    return {
        name: validate_response(
            output,
            start_time=prompt.start_time,
            time_increment=prompt.time_increment,
            time_length=prompt.time_length,
            num_simulations=prompt.num_simulations,
            response_format=name,
            process_time=seconds,
        )
        for name in RESPONSE_FORMATS
    }


class Prober:
    """Sends prompts to one miner.

    Parameters
    ----------
    url : str
        ``http://host:port``.
    key : Key
    axon : str
        The miner's hotkey.
    connections : int
        Most connections open at the same time.
    """

    def __init__(self, url: str, key: Key, axon: str, *, connections: int = 1) -> None:
        self.url, self.key, self.axon = url.rstrip("/"), key, axon
        self._connections = connections
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.mount("http://", HTTPAdapter(pool_maxsize=connections))
        self._processes = threading.local()

    def ask(self, prompt: Prompt, *, timeout: float = TIMEOUT) -> Reply:
        """Send one prompt and judge its answer."""
        status, seconds, answer = self.send(prompt, timeout=timeout)
        return self.reply(prompt, status, seconds, answer)

    def reply(self, prompt: Prompt, status: int, seconds: float, answer: bytes) -> Reply:
        """Return the verdict on the result of `send`.

        Parameters
        ----------
        prompt : Prompt
        status : int
            HTTP status, 0 if there was no answer.
        seconds : float
            Time from sending to the last byte.
        answer : bytes
            Body of the answer, or the error's name if there was none.
        """
        said = (
            judge(prompt, answer, seconds) if status == 200 else dict.fromkeys(RESPONSE_FORMATS, _why(status, answer))
        )
        return Reply(prompt, status, seconds, said, len(answer), hashlib.sha256(answer).hexdigest())

    def send(self, prompt: Prompt, *, timeout: float = TIMEOUT) -> tuple[int, float, bytes]:
        """Send one prompt; return HTTP status (0 if there was no answer), seconds and body."""
        # each thread has its own process id, since the nonces of one process must increase
        if not hasattr(self._processes, "id"):
            self._processes.id = str(uuid.uuid1())
        began = time.perf_counter()
        headers = signed_headers(self.key, self.axon, time.time_ns(), self._processes.id, timeout=timeout)
        try:
            response = self._session.post(
                self.url + PATH,
                data=body_of(prompt),
                headers={"Content-Type": "application/json", **headers},
                timeout=timeout,
            )
            content = response.content
        except requests.RequestException as error:
            return 0, time.perf_counter() - began, type(error).__name__.encode()
        return response.status_code, time.perf_counter() - began, content

    def load(
        self, prompts: Iterable[Prompt], on_reply: Callable[[Reply], None] | None = None, *, timeout: float = TIMEOUT
    ) -> list[Reply]:
        """Send many prompts over all connections, then judge the answers.

        Judging takes longer than answering; done meanwhile, it would slow down the miner.
        """
        asked = list(prompts)
        with ThreadPoolExecutor(self._connections) as pool:
            came = list(pool.map(lambda prompt: self.send(prompt, timeout=timeout), asked))
        replies = []
        for prompt, result in zip(asked, came, strict=True):
            replies.append(self.reply(prompt, *result))
            if on_reply:
                on_reply(replies[-1])
        return replies


def next_prompts(rulebook: Rulebook, asset: str, competition: str | None, now: int, count: int) -> list[Prompt]:
    """Return prompts for an asset that start within the next minutes.

    Parameters
    ----------
    rulebook : Rulebook
    asset : str
    competition : str or None
        Name or alias; None takes all competitions of the asset in turn.
    now : int
        Seconds since 1970-01-01 UTC; the request time of every prompt.
    count : int
        Number of prompts.

    Raises
    ------
    RulebookError
        If the asset does not compete.
    """
    rules = rulebook.at(now)
    found = [c for c in rules.select([competition] if competition else None) if asset in c.assets]
    if not found:
        names = ", ".join(c.name for c in rules.competitions.values() if asset in c.assets)
        raise RulebookError(
            f"{asset} is not prompted in {competition or 'any competition'}; its competitions: {names or 'none'}"
        )
    first = now - now % 60 + 120
    return [
        Prompt(
            first + 60 * (i // len(found) % 10), c.name, asset, now, c.time_increment, c.time_length, c.num_simulations
        )
        for i in range(count)
        for c in [found[i % len(found)]]
    ]


def summarise(replies: list[Reply]) -> dict[str, Any]:
    """Return counts and latency percentiles of replies."""
    seconds = np.array([reply.seconds for reply in replies if reply.status])
    faults: dict[str, int] = {}
    for reply in replies:
        for text in {v for v in reply.verdicts.values() if v != CORRECT}:
            faults[text] = faults.get(text, 0) + 1
    quantiles = {"p50": 50, "p90": 90, "p99": 99, "max": 100}
    return {
        "prompts": len(replies),
        "accepted": sum(reply.accepted for reply in replies),
        "faults": faults,
        "seconds": {k: round(float(np.percentile(seconds, q)), 4) for k, q in quantiles.items()}
        if len(seconds)
        else {},
    }


def _why(status: int, answer: bytes) -> str:
    text = answer[:120].decode("utf-8", "replace")
    return f"no answer ({text})" if status == 0 else f"HTTP {status}: {text}"
