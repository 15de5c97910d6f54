"""A patient client for JSON over HTTP."""

from __future__ import annotations

import calendar
import math
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from email.utils import parsedate
from typing import Any, TypedDict
from urllib.parse import urlsplit

import orjson
import requests
import tenacity
import urllib3

from ewmalab.errors import ConfigError, FeedAuthError, FeedError, FeedUnavailable

SYNTHETIC_HEADER = "X-Synthetic"
"""Sent with every answer by servers of simulated prices."""

UNSTATED_SILENCE = 60.0
"""Seconds of silence after a 429 that does not say, in a form we can read, how long to wait."""

_FIRST_BACKOFF = 0.5
_READ_SIZE = 65_536
_SHORTEST_KEY = 8  # anything shorter could be part of a price
_BROKEN = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)


class HttpOptions(TypedDict, total=False):
    """The settings of `HttpClient` that a feed passes on unchanged."""

    timeout: tuple[float, float]
    attempts: int
    session: requests.Session | None
    sleep: Callable[[float], None]
    monotonic: Callable[[], float]
    max_backoff: float
    max_silence: float
    deadline: float
    max_bytes: int


class _Transient(Exception):
    """One attempt failed in a way that another attempt may mend."""


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    path: str
    headers: Mapping[str, str]
    payload: Mapping[str, Any]  # requests' own argument: params or json

    def without_keys(self, content: bytes) -> bytes:
        """Blot out the keys that an answer echoes, so that no message can quote them."""
        for name, value in self.headers.items():
            key = (value.split() or [""])[-1]  # the word after "Bearer"
            if name != "Accept" and len(key) >= _SHORTEST_KEY:
                content = content.replace(key.encode(), b"***")
        return content


class RateLimiter:
    """Where the threads of a client wait for their turn: a sliding-window rate limit and silences.

    Parameters
    ----------
    limit, period : int, float
        At most `limit` requests start within any `period` seconds.
    sleep, monotonic : callable
        The clock, replaceable in tests.
    """

    def __init__(
        self, limit: int, period: float, *, sleep: Callable[[float], None], monotonic: Callable[[], float]
    ) -> None:
        if limit < 1 or period < 0:
            raise ConfigError(f"rate {(limit, period)} is unusable; give (requests >= 1, seconds >= 0)")
        self._period = period
        self._limit = limit
        self._sleep = sleep
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._started: deque[float] = deque()
        self._silent_until = -math.inf

    def silence(self, seconds: float) -> None:
        """Let nobody through for `seconds` from now on; a longer silence in force stays."""
        with self._lock:
            self._silent_until = max(self._silent_until, self._monotonic() + seconds)

    def silence_left(self) -> float:
        """Return for how many seconds the silence lasts still (0: there is none)."""
        with self._lock:
            return max(0.0, self._silent_until - self._monotonic())

    def enter(self, max_silence: float) -> bool:
        """Wait for a turn and take it; return False at once if a silence longer than `max_silence` is on."""
        while True:
            with self._lock:
                now = self._monotonic()
                quiet = self._silent_until - now
                if quiet > max_silence:
                    return False
                while self._started and self._started[0] + self._period <= now:
                    self._started.popleft()
                full = len(self._started) >= self._limit
                wait = max(quiet, self._started[0] + self._period - now if full else 0.0)
                if wait <= 0:
                    self._started.append(now)
                    return True
            self._sleep(wait)  # without the lock; whoever wakes up first takes the turn


class HttpClient:
    """A JSON client for one host: time limits, bounded retries, a rate limit, and silence when asked for it.

    One client may serve many threads. Retried are 429, 5xx, timeouts, broken connections, truncated bodies
    and bodies that are not JSON; any other refusal is final. Redirects are never followed, so no header
    reaches another host. No message shows a header, and a key that an answer echoes is blotted out.

    Parameters
    ----------
    base_url : str
        ``http(s)://host[:port][/prefix]``.
    timeout : (float, float)
        Seconds to connect, and seconds without a byte while reading.
    attempts : int
        Requests per call, the first included.
    rate : (int, float)
        So many requests per so many seconds, over all threads.
    headers : mapping, optional
        Sent with every request.
    session : requests.Session, optional
        Used instead of one of our own; its owner closes it.
    sleep, monotonic : callable
        The clock, replaceable in tests.
    max_backoff : float
        Seconds; pauses between attempts double from 0.5 s up to this.
    max_silence : float
        Seconds; while the host wants a longer silence, calls fail at once instead of waiting.
    deadline : float
        Seconds that one answer may take to arrive, however steadily it trickles.
    max_bytes : int
        The longest (decoded) body.
    key_setting, host_setting : str, optional
        What a user sets to supply a key, or to choose another host; named in messages.
    silence_on : collection of int
        Statuses by which the host demands silence.

    Attributes
    ----------
    synthetic : bool
        Whether the host has said that its prices are simulated.

    Raises
    ------
    ConfigError
        If an argument is unusable.
    """

    def __init__(
        self,
        base_url: str,
        *,
        timeout: tuple[float, float] = (5, 20),
        attempts: int = 5,
        rate: tuple[int, float] = (30, 10.0),
        headers: Mapping[str, str] | None = None,
        session: requests.Session | None = None,
        sleep: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
        max_backoff: float = 30.0,
        max_silence: float = 600.0,
        deadline: float = 120.0,
        max_bytes: int = 64 * 2**20,
        key_setting: str | None = None,
        host_setting: str = "the feed's host",
        silence_on: Collection[int] = (429,),
    ) -> None:
        self.host = _host(base_url)
        if attempts < 1:
            raise ConfigError(f"attempts is {attempts}; at least one is needed")
        self._base_url = base_url.rstrip("/")
        self._timeout = timeout
        self._attempts = attempts
        self._headers = {"Accept": "application/json", **_sendable(headers or {})}
        self._own_session = session is None
        self._session = requests.Session() if session is None else session
        self._sleep = sleep
        self._monotonic = monotonic
        self._max_backoff = max_backoff
        self._max_silence = max_silence
        self._deadline = deadline
        self._max_bytes = max_bytes
        self._key_setting = key_setting
        self._host_setting = host_setting
        self._silence_on = frozenset(silence_on)
        self._gate = RateLimiter(*rate, sleep=sleep, monotonic=monotonic)
        self._told = threading.local()
        self.synthetic = False

    @property
    def host_time(self) -> float | None:
        """The host's own time at its last answer to this thread, seconds since 1970-01-01 UTC; None if untold."""
        return _http_date(getattr(self._told, "date", ""))

    def get_json(
        self,
        path: str,
        params: Mapping[str, str | int] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Return the decoded JSON answer of a GET.

        Parameters
        ----------
        path : str
            Appended to the base URL.
        params : mapping, optional
            The query.
        headers : mapping, optional
            Sent with this request only, on top of the client's.

        Raises
        ------
        FeedAuthError
            On 401 and 403.
        FeedUnavailable
            If every attempt failed, or the host wants a silence longer than `max_silence`.
        FeedError
            On any other refusal.
        """
        return self._call("GET", path, headers, params=params)

    def post_json(self, path: str, body: Any, *, headers: Mapping[str, str] | None = None) -> Any:
        """Return the decoded JSON answer of a POST of `body` as JSON; errors as in `get_json`."""
        return self._call("POST", path, headers, json=body)

    def close(self) -> None:
        """Close the connections."""
        if self._own_session:
            self._session.close()

    def __enter__(self) -> HttpClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _call(self, method: str, path: str, headers: Mapping[str, str] | None, **payload: Any) -> Any:
        request = _Request(method, path, {**self._headers, **_sendable(headers or {})}, payload)
        retrying = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(self._attempts),
            wait=tenacity.wait_exponential(multiplier=_FIRST_BACKOFF, max=self._max_backoff),
            retry=tenacity.retry_if_exception_type(_Transient),
            sleep=self._sleep,
            reraise=True,
        )
        try:
            return retrying(self._attempt, request)
        except _Transient as last:
            raise FeedUnavailable(
                f"{self.host}{path}: no usable answer in {self._attempts} attempts; the last one: {last}. "
                "Check the network and the host's status, then try again"
            ) from last

    def _attempt(self, request: _Request) -> Any:
        where = self.host + request.path
        if not self._gate.enter(self._max_silence):
            raise FeedUnavailable(
                f"{where}: the host wants silence for another {self._gate.silence_left():.0f} s, "
                f"longer than the {self._max_silence:.0f} s that a call waits; try again after that"
            )
        began = self._monotonic()
        try:
            response = self._session.request(
                request.method,
                self._base_url + request.path,
                headers=request.headers,
                timeout=self._timeout,
                allow_redirects=False,
                stream=True,
                auth=_as_it_is,
                **request.payload,
            )
        except _BROKEN as error:
            raise _Transient(self._what_failed(error)) from error
        except requests.RequestException as error:  # its text may quote headers: name only its kind
            raise FeedError(f"{where}: the request cannot be sent ({type(error).__name__})") from None
        with response:
            self._told.date = response.headers.get("Date", "")
            self.synthetic |= SYNTHETIC_HEADER in response.headers
            wait = self._silence_wanted(response)
            if wait is not None:
                self._gate.silence(wait)
            if response.status_code in self._silence_on or response.status_code >= 500:
                raise _Transient(f"HTTP {response.status_code}")
            if not 200 <= response.status_code < 300:
                raise self._refusal(request, response, where, began)
            return _decoded(request.without_keys(self._read(response, where, began)))

    def _silence_wanted(self, response: requests.Response) -> float | None:
        stated = retry_after(response.headers)
        if response.status_code in self._silence_on:
            return UNSTATED_SILENCE if stated is None else stated
        return stated if response.status_code >= 500 else None

    def _read(self, response: requests.Response, where: str, began: float) -> bytes:
        content = bytearray()
        try:
            # read1 returns what has arrived; other reads wait for a full block, out of the deadline's sight
            while block := response.raw.read1(_READ_SIZE, decode_content=True):
                content += block
                if len(content) > self._max_bytes:
                    raise FeedError(f"{where}: the answer exceeds the limit of {self._max_bytes} bytes")
                if self._monotonic() - began > self._deadline:
                    raise _Transient(f"the answer was not complete after {self._deadline:g} s")
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise _Transient(f"the body broke off after {len(content)} bytes ({_root(error)})") from error
        return bytes(content)

    def _refusal(self, request: _Request, response: requests.Response, where: str, began: float) -> FeedError:
        """Return the error for a status below 500 that no retry mends."""
        status = response.status_code
        elsewhere = f"set {self._host_setting} to another host"
        if status < 400:
            return FeedError(f"{where}: HTTP {status}, redirects are not followed; {elsewhere}")
        if status == 451:
            return FeedError(f"{where}: HTTP 451, not available from this location; {elsewhere}")
        try:
            content = request.without_keys(self._read(response, where, began))
        except (_Transient, FeedError):  # the status says enough
            content = b""
        html = not content or content.lstrip().startswith(b"<")
        said = "" if html else f" (it says: {printable(content.decode('utf-8', 'replace'))})"
        if status not in (401, 403):
            return FeedError(f"{where}: HTTP {status}, the request was refused{said}")
        if self._key_setting is None:
            return FeedAuthError(f"{where}: HTTP {status}, refused though it takes no key; {elsewhere}{said}")
        return FeedAuthError(f"{where}: HTTP {status}, key missing or refused; set {self._key_setting}{said}")

    def _what_failed(self, error: Exception) -> str:
        connect, read = self._timeout
        if isinstance(error, requests.ConnectTimeout):
            return f"no connection within {connect:g} s"
        if isinstance(error, requests.Timeout):
            return f"no answer within {read:g} s"
        return f"the connection failed ({_root(error)})"


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that ``Retry-After`` asks for, None if it is absent.

    An HTTP date is measured against the answer's own ``Date``, the host's clock; what cannot be read counts
    as `UNSTATED_SILENCE`.
    """
    stated = headers.get("Retry-After")
    if stated is None:
        return None
    stated = stated.strip()
    if re.fullmatch(r"\d+", stated, re.ASCII):
        return float(stated)
    until, present = _http_date(stated), _http_date(headers.get("Date", ""))
    return UNSTATED_SILENCE if until is None or present is None else max(0.0, until - present)


def printable(text: str) -> str:
    """Return foreign text fit for a message: one line of ASCII, at most 200 characters."""
    text = "".join(c if " " <= c <= "~" else " " for c in text)
    return text if len(text) <= 200 else text[:197] + "..."


def _host(base_url: str) -> str:
    """Return ``host[:port]`` of a URL, without any user name or password in it."""
    try:
        parts = urlsplit(base_url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    web = host and parts.scheme in ("http", "https")
    if not web or not host or "@" in parts.netloc or parts.query or parts.fragment:
        raise ConfigError("a feed's host is not of the form http(s)://name[:port][/prefix]; correct it")
    return host if port is None else f"{host}:{port}"


def _sendable(headers: Mapping[str, str]) -> Mapping[str, str]:
    for name, value in headers.items():
        # requests would quote the value, which may be a key, in its own complaint
        if not (value.isascii() and value.isprintable()):
            raise ConfigError(f"header {name} holds characters that no header may carry (value not shown)")
    return headers


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Authenticate nothing: without this, requests would replace our key by an entry of ``~/.netrc``."""
    return request


def _decoded(content: bytes) -> Any:
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError as error:
        start = content.lstrip()[:1]
        kind = "empty" if not start else "HTML" if start == b"<" else "not JSON"
        raise _Transient(f"the body is {kind} ({len(content)} bytes)") from error


def _root(error: BaseException) -> str:
    """Return the name of the exception at the bottom of those that requests and urllib3 wrap."""
    inner: object = error
    while isinstance(inner, BaseException):
        error = inner
        inner = getattr(error, "reason", None) or (error.args[-1] if error.args else None)
    return type(error).__name__


def _http_date(text: str) -> float | None:
    try:
        date = parsedate(text)
        return None if date is None else float(calendar.timegm(date))
    except (ValueError, IndexError, TypeError, OverflowError):
        return None
