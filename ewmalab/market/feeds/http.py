"""A client for JSON over HTTP, with retries and rate limits."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import requests
import tenacity
import urllib3

from ewmalab.errors import ConfigError, FeedAuthError, FeedError, FeedUnavailable
from ewmalab.market.feeds.answers import (
    UNSTATED_SILENCE,
    Transient,
    decoded,
    http_date,
    printable,
    retry_after,
    root_cause,
)
from ewmalab.market.feeds.host import PATIENT, Host, HttpOptions
from ewmalab.market.feeds.rate_limiter import RateLimiter

SYNTHETIC_HEADER = "X-Synthetic"
"""Header that servers of simulated prices send with every answer."""

_FIRST_BACKOFF = 0.5
_READ_SIZE = 65_536
_SHORTEST_KEY = 8  # characters; a shorter text could be part of a price
_BROKEN = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)


class HttpClient:
    """A JSON client for one host: time limits, bounded retries, a rate limit, and silence on the host's request.

    Many threads may share one client. It retries on 429, 5xx, timeouts, broken connections, truncated bodies and
    bodies that are not JSON; other error statuses are final. It never follows redirects, so no header reaches another
    host. No message shows a header, and a key that an answer echoes is masked.

    Parameters
    ----------
    host : Host
    options : HttpOptions
    headers : mapping, optional
        Sent with every request.

    Attributes
    ----------
    synthetic : bool
        Whether the host has said that its prices are simulated.

    Raises
    ------
    ConfigError
        If an argument is invalid.
    """

    def __init__(self, host: Host, options: HttpOptions = PATIENT, *, headers: Mapping[str, str] | None = None) -> None:
        self.host = host.name
        if options.attempts < 1:
            raise ConfigError(f"attempts is {options.attempts}; it must be at least 1")
        self._host, self._options = host, options
        self._headers = {"Accept": "application/json", **_sendable(headers or {})}
        self._session = requests.Session()
        self._limiter = RateLimiter(*host.rate, sleep=options.sleep, monotonic=options.monotonic)
        self._told = threading.local()
        self.synthetic = False

    @property
    def host_time(self) -> float | None:
        """The host's time at its last answer to this thread, seconds since 1970-01-01 UTC; None if unknown."""
        return http_date(getattr(self._told, "date", ""))

    def get_json(self, path: str, params: Mapping[str, str | int] | None = None) -> Any:
        """Return the decoded JSON answer of a GET, None if the host says that it has none (`Host.empty_on`).

        Parameters
        ----------
        path : str
            Appended to the base URL.
        params : mapping, optional
            The query.

        Raises
        ------
        FeedAuthError
            On 401 and 403.
        FeedUnavailable
            If every attempt failed, or the host is rate-limited for longer than `max_silence`.
        FeedError
            On any other error status.
        """
        return self._call("GET", path, params=params)

    def post_json(self, path: str, body: Any) -> Any:
        """Return the decoded JSON answer of a POST of `body` as JSON; raises as `get_json`."""
        return self._call("POST", path, json=body)

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def _call(self, method: str, path: str, **payload: Any) -> Any:
        retrying = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(self._options.attempts),
            wait=tenacity.wait_exponential(multiplier=_FIRST_BACKOFF, max=self._options.max_backoff),
            retry=tenacity.retry_if_exception_type(Transient),
            sleep=self._options.sleep,
            reraise=True,
        )
        try:
            return retrying(self._attempt, method, path, payload)
        except Transient as last:
            raise FeedUnavailable(
                f"{self.host}{path}: no usable answer in {self._options.attempts} attempts; last error: {last}. "
                "Check the network and the host's status, then try again"
            ) from last

    def _attempt(self, method: str, path: str, payload: Mapping[str, Any]) -> Any:
        where = self.host + path
        if not self._limiter.enter(self._options.max_silence):
            raise FeedUnavailable(
                f"{where}: rate-limited for another {self._limiter.silence_left():.0f} s, "
                f"longer than the {self._options.max_silence:.0f} s that a call waits; try again after that"
            )
        began = self._options.monotonic()
        try:
            response = self._session.request(
                method,
                self._host.url.rstrip("/") + path,
                headers=self._headers,
                timeout=self._options.timeout,
                allow_redirects=False,
                stream=True,
                auth=_as_it_is,
                **payload,
            )
        except _BROKEN as error:
            raise Transient(self._what_failed(error)) from error
        except requests.RequestException as error:  # its text may quote headers: name only its kind
            raise FeedError(f"{where}: the request cannot be sent ({type(error).__name__})") from None
        with response:
            self._told.date = response.headers.get("Date", "")
            self.synthetic |= SYNTHETIC_HEADER in response.headers
            wait = self._silence_wanted(response)
            if wait is not None:
                self._limiter.silence(wait)
            if response.status_code in self._host.silence_on or response.status_code >= 500:
                raise Transient(f"HTTP {response.status_code}")
            if response.status_code in self._host.empty_on:
                return None
            if not 200 <= response.status_code < 300:
                raise self._refusal(response, where, began)
            return decoded(self._read(response, where, began))

    def _silence_wanted(self, response: requests.Response) -> float | None:
        stated = retry_after(response.headers)
        if response.status_code in self._host.silence_on:
            return UNSTATED_SILENCE if stated is None else stated
        return stated if response.status_code >= 500 else None

    def _read(self, response: requests.Response, where: str, began: float) -> bytes:
        content = bytearray()
        try:
            # read1 returns what has arrived; other reads wait for a full block, during which no deadline is checked
            while block := response.raw.read1(_READ_SIZE, decode_content=True):
                content += block
                if len(content) > self._options.max_bytes:
                    raise FeedError(f"{where}: the answer exceeds the limit of {self._options.max_bytes} bytes")
                if self._options.monotonic() - began > self._options.deadline:
                    raise Transient(f"the answer was not complete after {self._options.deadline:g} s")
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise Transient(f"the body broke off after {len(content)} bytes ({root_cause(error)})") from error
        return self._without_keys(bytes(content))

    def _without_keys(self, content: bytes) -> bytes:
        """Mask the keys that an answer echoes, so that no message quotes them."""
        for name, value in self._headers.items():
            key = (value.split() or [""])[-1]  # the word after "Bearer"
            if name != "Accept" and len(key) >= _SHORTEST_KEY:
                content = content.replace(key.encode(), b"***")
        return content

    def _refusal(self, response: requests.Response, where: str, began: float) -> FeedError:
        """Return the error for a final status below 500."""
        status = response.status_code
        elsewhere = f"set {self._host.setting} to another host"
        if status < 400:
            return FeedError(f"{where}: HTTP {status}, redirects are not followed; {elsewhere}")
        if status == 451:
            return FeedError(f"{where}: HTTP 451, not available from this location; {elsewhere}")
        try:
            content = self._read(response, where, began)
        except (Transient, FeedError):  # the status is enough
            content = b""
        html = not content or content.lstrip().startswith(b"<")
        said = "" if html else f" (it says: {printable(content.decode('utf-8', 'replace'))})"
        if status not in (401, 403):
            return FeedError(f"{where}: HTTP {status}, the request was refused{said}")
        if self._host.key_setting is None:
            return FeedAuthError(f"{where}: HTTP {status}, refused though it takes no key; {elsewhere}{said}")
        return FeedAuthError(f"{where}: HTTP {status}, key missing or refused; set {self._host.key_setting}{said}")

    def _what_failed(self, error: Exception) -> str:
        connect, read = self._options.timeout
        if isinstance(error, requests.ConnectTimeout):
            return f"no connection within {connect:g} s"
        if isinstance(error, requests.Timeout):
            return f"no answer within {read:g} s"
        return f"the connection failed ({root_cause(error)})"


def _sendable(headers: Mapping[str, str]) -> Mapping[str, str]:
    for name, value in headers.items():
        # the error of requests would quote the value, which may be a key
        if not (value.isascii() and value.isprintable()):
            raise ConfigError(f"header {name} has characters that headers may not contain (value not shown)")
    return headers


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Return the request unchanged; otherwise requests would replace our key with an entry of ``~/.netrc``."""
    return request
