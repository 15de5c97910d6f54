"""The alarms of a running miner: one list, for ``/health``, ``/metrics``, Prometheus' rules and messages."""

from __future__ import annotations

import json
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something that an operator should know.

    Attributes
    ----------
    name : str
        Its label in ``/health`` and in the metric ``ewmalab_alarm``.
    meaning : str
        When it is on.
    advice : str
        What to do.
    lasting : int
        Seconds that it must be on before anybody is told.
    expression : str
        Prometheus' own condition, for what a miner cannot tell of itself; empty: ``ewmalab_alarm``.
    """

    name: str
    meaning: str
    advice: str
    lasting: int = 120
    expression: str = ""

    @property
    def title(self) -> str:
        """Return its name in Prometheus."""
        return "Ewmalab" + "".join(word.capitalize() for word in self.name.split("_"))

    @property
    def condition(self) -> str:
        """Return its condition as Prometheus evaluates it."""
        return self.expression or f'ewmalab_alarm{{alarm="{self.name}"}} == 1'


MINER_DOWN = "miner_down"

ALARMS = (
    Alarm(
        MINER_DOWN,
        "the miner's monitor does not answer",
        "look at `journalctl -u ewmalab`; start `ewmalab live`",
        300,
        'up{job="ewmalab"} == 0',
    ),
    Alarm(
        "restarts",
        "a process was restarted by its supervisor within the last hour",
        "its last messages before the restart say why: `journalctl -u ewmalab`",
        0,
    ),
    Alarm(
        "no_prompts",
        "no validator has called for live.alerts.quiet_after, or since the start of the process",
        "check port and firewall from another machine, and that the axon on the chain is ours: `ewmalab status`",
    ),
    Alarm(
        "asset_not_asked",
        "nobody has asked for an asset for live.alerts.asset_quiet_after, while others are asked for",
        "compare live.assets with `ewmalab rules show`",
    ),
    Alarm(
        "validators_refused",
        "the newest request of a validator that may call was refused",
        "`ewmalab status` says for what; for nonce: run an NTP client",
    ),
    Alarm(
        "spot_old",
        "spot prices are older than live.spot_max_age, so that paths start from the last close",
        "the log names the source that fails; check the network and the feed's status",
    ),
    Alarm(
        "state_old",
        "the newest bar of an asset is older than live.stale_after",
        "the log of the updater names the feed that fails",
    ),
    Alarm(
        "state_refused",
        "prompts of an asset are refused: its state is missing or older than live.refuse_after",
        "the log of the updater names the feed that fails",
    ),
    Alarm("forecaster_failed", "a state cannot be used", "the text of the alarm names file and fault"),
    Alarm("updater_silent", "the updater has not reported", "look at its last messages; `ewmalab live` restarts it"),
    Alarm("feed_failed", "an update of an asset failed", "the text names the fault; it is retried each minute", 300),
    Alarm("feed_fallback", "an asset is served from the scored feed instead of its own", "check the feed's status"),
    Alarm("bars_in_doubt", "bars of an asset are set aside, or wait", "the text says what to do", 300),
    Alarm("clock_skew", "our clock differs from the feed's, the chain's or the callers'", "run an NTP client"),
    Alarm("chain_silent", "the chain has not answered for an hour, or never", "check live.network and the network"),
    Alarm("not_registered", "our hotkey is not registered on the subnet", "register it, or set live.hotkey", 0),
    Alarm(
        "axon_differs",
        "the chain has another address of ours than is announced",
        "check live.external_ip and live.external_port; the miner's log says why an announcement failed; a restart "
        "announces again",
        900,
    ),
    Alarm("disk", "a disk is nearly full or read-only", "make room; lower live.log_limit or live.keep_answers_for", 0),
    Alarm("answers_unlogged", "answers were not logged", "make room on the disk of live.log_dir"),
    Alarm("amendments_unrecorded", "changed bars were not recorded", "make room on the disk of live.log_dir"),
    Alarm(
        "fit_failed",
        "the last background fit failed; the one before stays in use",
        "the log of the updater says why; try `ewmalab fit`",
        0,
    ),
    Alarm(
        "answers_slow",
        "one answer in a hundred takes longer than 5 s",
        "look for other programs that use the processor",
        600,
        "histogram_quantile(0.99, sum by (le, instance) (rate(ewmalab_answer_seconds_bucket[1h]))) > 5",
    ),
)
BY_NAME = {alarm.name: alarm for alarm in ALARMS}
TOLD_BY_HEALTH = tuple(alarm.name for alarm in ALARMS if not alarm.expression)
"""Names of the alarms that ``/health`` can raise."""


@dataclass(frozen=True, slots=True)
class Problem:
    """An alarm that is on.

    Attributes
    ----------
    alarm : str
        Name of the `Alarm`.
    rank : str
        The health it leaves: ``degraded`` or ``failing``.
    text : str
    """

    alarm: str
    rank: str
    text: str

    def __post_init__(self) -> None:
        if self.alarm not in BY_NAME:
            raise ValueError(f"{self.alarm!r}: no such alarm")


def prometheus_rules() -> str:
    """Return the rules of all alarms, as a rule file of Prometheus."""
    lines = ["# made by docs/generate.py from ewmalab/live/alarms.py", "groups:", "  - name: ewmalab", "    rules:"]
    for alarm in ALARMS:
        lines += [
            f"      - alert: {alarm.title}",
            f"        expr: {json.dumps(alarm.condition)}",
            f"        for: {alarm.lasting}s",
            "        annotations:",
            f"          summary: {json.dumps(alarm.meaning)}",
            f"          advice: {json.dumps(alarm.advice)}",
        ]
    return "\n".join(lines) + "\n"


def alarm_table() -> str:
    """Return the list of alarms as a Markdown page."""
    lines = [
        "# Alarms",
        "",
        "`/health` and `ewmalab status` show the alarms that are on. `/metrics` has each as `ewmalab_alarm`.",
        "[Monitoring](../operations.md#monitoring) says how to be told.",
        "",
        "| alarm | on if | told after | what to do |",
        "|---|---|---|---|",
    ]
    lines += [f"| `{a.name}` | {a.meaning} | {a.lasting} s | {a.advice} |" for a in ALARMS]
    return "\n".join(lines) + "\n"
