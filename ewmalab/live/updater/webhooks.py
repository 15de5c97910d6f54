"""Send alarms to webhooks. It reads ``/health`` as any monitor would, so that no hook can disturb serving."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from threading import Event
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson
import requests

from ewmalab.atomic_files import write_atomic
from ewmalab.errors import EwmalabError, StateError
from ewmalab.live.alarms import BY_NAME, MINER_DOWN
from ewmalab.live.clock import Clock
from ewmalab.live.miners import all_miners
from ewmalab.live.processes import Load
from ewmalab.live.status import read_health
from ewmalab.settings.schema import AlertSettings, LiveSettings
from ewmalab.times import iso

SENT = "alerts.json"
"""File in the state folder that says when each alarm was last sent, so that a restart does not send it again."""
KINDS = ("webhook", "slack", "discord", "telegram")
_EVERY = 30.0  # seconds between two looks
_SECONDS = 10.0  # for a hook to answer

log = logging.getLogger("ewmalab.alerts")

Raised = Mapping[tuple[str, str], str]
"""The alarms that are on: their text by (miner, alarm)."""


@dataclass(frozen=True, slots=True)
class Notice:
    """That an alarm begins or ends.

    Attributes
    ----------
    miner : str
        Its name; empty if it is the only one.
    alarm : str
    began : bool
        False: it has ended.
    text, advice : str
    at : str
        The system's time.
    """

    miner: str
    alarm: str
    began: bool
    text: str
    advice: str
    at: str

    @property
    def line(self) -> str:
        """Return it as one message."""
        who = f"ewmalab {self.miner}".strip()
        if not self.began:
            return f"{who}: {self.alarm} has ended"
        return f"{who}: {self.alarm}: {self.text}. What to do: {self.advice}"


@dataclass(frozen=True, slots=True)
class Hook:
    """An address that gets notices.

    Attributes
    ----------
    kind : str
        ``webhook``, ``slack``, ``discord`` or ``telegram``.
    url : str
        Secret.
    """

    kind: str
    url: str

    def send(self, notice: Notice) -> str:
        """Send a notice; return what went wrong, in words without the address, else an empty text."""
        try:
            reply = requests.post(self._address(), json=self.body(notice), timeout=_SECONDS, allow_redirects=False)
        except requests.RequestException as error:
            return type(error).__name__
        return "" if reply.status_code < 300 else f"status {reply.status_code}"

    def body(self, notice: Notice) -> dict[str, Any]:
        """Return what is sent as JSON."""
        if self.kind == "slack":
            return {"text": notice.line}
        if self.kind == "discord":
            return {"content": notice.line[:2000], "allowed_mentions": {"parse": []}}
        if self.kind == "telegram":
            chat = parse_qs(urlsplit(self.url).query).get("chat_id", [""])[0]
            return {"chat_id": chat, "text": notice.line[:4096]}
        return asdict(notice)

    def _address(self) -> str:
        return urlsplit(self.url)._replace(query="").geturl() if self.kind == "telegram" else self.url


def hooks_of(alerts: AlertSettings) -> list[Hook]:
    """Return the hooks that the settings name."""
    urls = {kind: getattr(alerts, kind).get_secret_value() for kind in KINDS}
    return [Hook(kind, url) for kind, url in urls.items() if url]


@dataclass
class Alerts:
    """Decides what to send: an alarm that lasts once per `repeat_after`, and that it has ended.

    Parameters
    ----------
    path : Path
        File that remembers what was sent.
    now : callable
        Returns the system's time.
    """

    path: Path
    now: Callable[[], float]
    _since: dict[tuple[str, str], float] = field(default_factory=dict, repr=False)
    _sent: dict[str, dict[str, Any]] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        try:
            found = orjson.loads(self.path.read_bytes())
            self._sent = {k: {"at": float(v["at"]), "open": bool(v["open"])} for k, v in found.items()}
        except (OSError, orjson.JSONDecodeError, AttributeError, KeyError, TypeError, ValueError):
            self._sent = {}

    def tell(self, raised: Raised, hooks: list[Hook], repeat_after: float) -> None:
        """Send what is due to every hook; what a hook did not take is tried again at the next look."""
        now = self.now()
        self._since = {key: min(self._since.get(key, now), now) for key in raised}
        before = orjson.dumps(self._sent, option=orjson.OPT_SORT_KEYS)
        for hook in hooks:
            for key, text in raised.items():
                if now - self._since[key] >= BY_NAME[key[1]].lasting:
                    self._begin(hook, key, text, repeat_after)
            for name in [n for n, entry in self._sent.items() if entry["open"] and n.startswith(f"{hook.kind}/")]:
                _, miner, alarm = name.split("/")
                if (miner, alarm) not in raised and (
                    miner,
                    MINER_DOWN,
                ) not in raised:  # of a silent one nothing is known
                    self._end(hook, miner, alarm)
        after = orjson.dumps(self._sent, option=orjson.OPT_SORT_KEYS)
        if after != before:
            try:
                write_atomic(self.path, after)
            except OSError as error:
                log.warning("%s cannot be written: %s", self.path, error)

    def _begin(self, hook: Hook, key: tuple[str, str], text: str, repeat_after: float) -> None:
        name, now = "/".join((hook.kind, *key)), self.now()
        last = self._sent.get(name)
        if last is not None and 0 <= now - last["at"] < repeat_after:
            return
        if self._send(hook, Notice(*key, True, text, BY_NAME[key[1]].advice, iso(int(now)))):
            self._sent[name] = {"at": now, "open": True}

    def _end(self, hook: Hook, miner: str, alarm: str) -> None:
        advice = BY_NAME[alarm].advice if alarm in BY_NAME else ""
        if self._send(hook, Notice(miner, alarm, False, "", advice, iso(int(self.now())))):
            self._sent[f"{hook.kind}/{miner}/{alarm}"]["open"] = False

    def _send(self, hook: Hook, notice: Notice) -> bool:
        fault = hook.send(notice)
        if fault:
            log.warning("live.alerts.%s did not take the alarm %s: %s", hook.kind, notice.alarm, fault)
        return not fault


def raised_by(miners: Mapping[str, LiveSettings]) -> Raised:
    """Return the alarms of running miners; one that does not answer is an alarm as well."""
    raised: dict[tuple[str, str], str] = {}
    for name, live in miners.items():
        try:
            alarms = read_health(live.monitor_host, live.monitor_port).get("alarms", {})
        except StateError as error:
            alarms = {MINER_DOWN: [str(error)]}
        raised |= {(name, alarm): "; ".join(texts) for alarm, texts in alarms.items() if alarm in BY_NAME}
    return raised


def send_alerts(load: Load, clock: Clock, stop: Event) -> None:
    """Send the alarms of all miners until `stop` is set; nothing that fails here ends it."""
    alerts = Alerts(load().values.live.state_dir / SENT, clock.system)
    while not stop.wait(_EVERY):
        try:
            settings = load()
            live = settings.values.live
            if hooks := hooks_of(live.alerts):
                miners = {name: own.values.live for name, own in all_miners(settings).items()}
                alerts.tell(raised_by(miners), hooks, live.alerts.repeat_after)
        except EwmalabError as error:
            log.warning("alarms are not sent: %s", error)
        except Exception as error:  # noqa: BLE001  its text may hold an address
            log.warning("alarms are not sent: %s", type(error).__name__)
