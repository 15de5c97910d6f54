"""The health of a miner: its status, and problems in words that say what to do."""

from __future__ import annotations

import os
import shutil
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ewmalab.live.alarms import TOLD_BY_HEALTH, Problem
from ewmalab.live.audit.answer_log import AnswerLog
from ewmalab.live.miner.admission import NONCE_PAST, SKEW
from ewmalab.live.miner.answers import Answerer
from ewmalab.live.miner.callers import Callers
from ewmalab.live.miner.directory import Directory
from ewmalab.live.miner.endpoint import Endpoint, announced_endpoint
from ewmalab.live.miner.metrics import Metrics
from ewmalab.live.processes import own_restarts, own_supervisor
from ewmalab.live.status import read_heartbeat
from ewmalab.times import iso

_MIN_DISK = 100 * 2**20
_CHAIN_OLD = 3600.0
_RESTARTED_LATELY = 3600.0
_SPOT_GRACE = 15.0  # real seconds: the first price of a process takes a moment
_NONCE_OLD = NONCE_PAST / 2  # callers sign some seconds before they send
_OWNERS = {"feed": "feed's", "chain": "chain's", "callers": "callers'"}
Note = dict[str, Any]
"""An updater's heartbeat."""
_RANK = {"ok": 0, "degraded": 1, "failing": 2}


@dataclass(frozen=True, slots=True)
class Health:
    """Checks everything that a miner depends on."""

    answerer: Answerer
    directory: Directory
    records: AnswerLog
    hotkey: str
    callers: Callers = field(default_factory=Callers)
    metrics: Metrics = field(default_factory=Metrics)

    def look(self) -> Note:
        """Return ``status`` (ok, degraded, failing), ``problems``, ``notes`` on the fit, and the figures behind."""
        problems: list[Problem] = []
        note = read_heartbeat(self.answerer.store.root)
        assets = self._assets(problems)
        self._updater(problems, note)
        self._disk(problems)
        self._chain(problems)
        callers = self._callers(problems)
        skews = self._clock(problems, note)
        self._prompts(problems)
        self._spots(problems)
        self._restarts(problems, note or {})
        lost, folder = self.records.lost, self.records.folder
        if lost:
            problems.append(
                Problem("answers_unlogged", "degraded", f"{lost} answers were not logged: is the disk full?")
            )
        if not self.records.recording:
            text = f"answers cannot be logged to {folder}: is the disk full?"
            problems.append(Problem("answers_unlogged", "degraded", text))
        status = max((problem.rank for problem in problems), key=_RANK.__getitem__, default="ok")
        alarms: dict[str, list[str]] = {}
        for problem in problems:
            alarms.setdefault(problem.alarm, []).append(problem.text)
        neuron = self.directory.neurons().get(self.hotkey)
        return {
            "status": status,
            "version": version("ewmalab"),
            "uptime": round(self.callers.age()),
            "restarts": self._restarted(note or {}),
            "problems": [problem.text for problem in problems],
            "alarms": alarms,
            "notes": list(self.answerer.remarks),
            "market_time": iso(int(self.answerer.clock.now())),
            "synthetic": any(k.saved.synthetic for k in self.answerer.known.values()),
            "pid": os.getpid(),
            "supervisor": asdict(supervisor) if (supervisor := own_supervisor()) else None,
            "hotkey": self.hotkey,
            "uid": neuron.uid if neuron else None,
            "chain_age": self.directory.age(),
            "callers": callers,
            "newest_calls": self.callers.newest(),
            "refusals": self.metrics.refusals(),
            "clock_skew": skews,
            "assets": assets,
        }

    def measure(self) -> None:
        """Update the gauges."""
        metrics, now = self.metrics, self.answerer.clock.now()
        for asset, known in self.answerer.known.items():
            metrics.state_age.labels(asset).set(self.answerer.age(known, now))
            spot = self.answerer.spots.latest(asset)
            if spot is not None:
                metrics.spot_age.labels(asset).set(now - spot.at)
        for source, count in self.answerer.spots.errors.items():
            metrics.spot_errors.labels(source).set(count)
        note = read_heartbeat(self.answerer.store.root)
        if note is not None:
            metrics.updates_missed.set(note["missed"])
            metrics.amendments_lost.set(note.get("unrecorded", 0))
            for asset, entry in note["assets"].items():
                metrics.feed_errors.labels(asset).set(entry["feed_errors"])
        age = self.directory.age()
        metrics.chain_age.set(float("inf") if age is None else age)
        metrics.chain_errors.set(self.directory.errors)
        metrics.answers_lost.set(self.records.lost)
        metrics.quiet.set(self.callers.quiet())
        metrics.uptime.set(self.callers.age())
        found = self.look()
        for process, count in found["restarts"].items():
            metrics.restarts.labels(process).set(count)
        for folder in (self.answerer.store.root, self.records.folder):
            if folder.exists():
                metrics.disk_free.labels(str(folder)).set(shutil.disk_usage(folder).free)
        for alarm in TOLD_BY_HEALTH:
            metrics.alarm.labels(alarm).set(alarm in found["alarms"])
        metrics.heard.set(found["callers"]["heard"])
        metrics.share_refused.set(found["callers"]["share_refused"])
        for whose, skew in found["clock_skew"].items():
            metrics.clock_skew.labels(whose).set(float("nan") if skew is None else skew)

    def _assets(self, problems: list[Problem]) -> Note:
        asked, live = self.answerer, self.answerer.settings.values.live
        now = asked.clock.now()
        found: Note = {}
        old: dict[str, list[str]] = {}
        for asset in asked.assets:
            known = asked.known.get(asset)
            age = None if known is None else asked.age(known, now)
            if age is None or age > live.refuse_after:
                old.setdefault("refused", []).append(asset)
            elif age > live.stale_after:
                old.setdefault("stale", []).append(asset)
            if asset in asked.problems:
                problems.append(Problem("forecaster_failed", "degraded", asked.problems[asset]))
            spot = asked.spots.latest(asset)
            found[asset] = {
                "age": None if age is None else round(age, 1),
                "generation": known.saved.generation if known else None,
                "feed": known.saved.feed if known else None,
                "spot_age": round(now - spot.at, 1) if spot else None,
            }
        if refused := old.get("refused"):
            rank = "failing" if len(refused) == len(asked.assets) else "degraded"
            text = f"refused, state missing or older than live.refuse_after: {' '.join(refused)}"
            problems.append(Problem("state_refused", rank, text))
        if stale := old.get("stale"):
            text = f"states are old, is the updater or its feed down? {' '.join(stale)}"
            problems.append(Problem("state_old", "degraded", text))
        return found

    def _updater(self, problems: list[Problem], note: Note | None) -> None:
        if note is None:
            text = "no updater has run here yet: `ewmalab live` starts one, or `ewmalab live updater`"
            problems.append(Problem("updater_silent", "degraded", text))
            return
        clock = self.answerer.clock
        silent = clock.system() - note["system_time"]
        if silent > 3 * note["interval"] / clock.speed + 30:
            text = f"the updater has been silent for {silent:.0f} s: has it stopped?"
            problems.append(Problem("updater_silent", "degraded", text))
        if note.get("fit_error"):
            problems.append(Problem("fit_failed", "degraded", f"updater: the last fit failed: {note['fit_error']}"))
        for asset, entry in note["assets"].items():
            if entry.get("instead_of"):
                text = f"{asset}: prices from {entry['feed']}, because {entry['instead_of']} has none"
                problems.append(Problem("feed_fallback", "degraded", text))
            if entry["error"]:
                problems.append(Problem("feed_failed", "degraded", f"updater: {asset}: {entry['error']}"))
            doubts = [f"updater: {asset}: {remark}" for remark in entry.get("notes", ())]
            problems += [Problem("bars_in_doubt", "degraded", text) for text in doubts]
        if note.get("unrecorded"):
            text = f"updater: {note['unrecorded']} changed bars were not recorded: is the disk full?"
            problems.append(Problem("amendments_unrecorded", "degraded", text))

    def _prompts(self, problems: list[Problem]) -> None:
        """Notice that nobody calls, or that nobody asks for an asset while others are asked for."""
        callers, alerts = self.callers, self.answerer.settings.values.live.alerts
        quiet = callers.quiet()
        if quiet > alerts.quiet_after:
            text = (
                f"no validator has called for {quiet / 60:.0f} min: is the port open, and the axon on the chain ours?"
            )
            problems.append(Problem("no_prompts", "degraded", text))
            return
        alone = [asset for asset in self.answerer.assets if callers.quiet(asset) > alerts.asset_quiet_after]
        if alone and len(alone) < len(self.answerer.assets):
            text = f"nobody has asked for {' '.join(alone)} for {alerts.asset_quiet_after / 3600:.1f} h"
            problems.append(Problem("asset_not_asked", "degraded", text))

    def _spots(self, problems: list[Problem]) -> None:
        asked, live = self.answerer, self.answerer.settings.values.live
        most = max(live.spot_max_age / (asked.clock.speed or 1.0), _SPOT_GRACE)
        now, spots = asked.clock.now(), asked.spots
        followed = {asset for source in spots.sources for asset in source.assets}
        served = [a for a, known in asked.known.items() if asked.age(known, now) <= live.stale_after]
        if old := [asset for asset in served if asset in followed and spots.silence(asset) > most]:
            text = f"spot prices are older than live.spot_max_age, paths start from the last close: {' '.join(old)}"
            problems.append(Problem("spot_old", "degraded", text))

    def _restarted(self, note: Note) -> dict[str, int]:
        return {"miner": own_restarts(), "updater": int(note.get("restarts", 0))}

    def _restarts(self, problems: list[Problem], note: Note) -> None:
        since = {"miner": self.callers.age()}
        since["updater"] = self.answerer.clock.system() - float(note.get("started", 0.0))
        for process, count in self._restarted(note).items():
            if count and since[process] < _RESTARTED_LATELY:
                text = (
                    f"the {process} was restarted {since[process] / 60:.0f} min ago, {count} times in all: see the log"
                )
                problems.append(Problem("restarts", "degraded", text))

    def _clock(self, problems: list[Problem], note: Note | None) -> dict[str, float | None]:
        """Return the seconds by which our clock is ahead of others'."""
        speed = self.answerer.clock.speed
        ahead = self.callers.report().ahead
        skews = {
            "feed": None if note is None or note["clock_skew"] is None else note["clock_skew"] / speed,
            "chain": self.directory.skew,
            "callers": None if ahead is None else -ahead,
        }
        for whose, skew in skews.items():
            most = _NONCE_OLD if whose == "callers" else SKEW
            if skew is not None and not -SKEW <= skew <= most:
                text = f"our clock differs from the {_OWNERS[whose]} by {skew:.0f} s: is NTP running?"
                problems.append(Problem("clock_skew", "degraded", text))
        return {whose: None if skew is None else round(skew, 1) for whose, skew in skews.items()}

    def _callers(self, problems: list[Problem]) -> Note:
        report = self.callers.report()
        if report.refused:
            kinds = ", ".join(f"{count} for {kind}" for kind, count in report.refused.items())
            text = f"of {report.heard} validators heard, {sum(report.refused.values())} are refused: {kinds}"
            problems.append(Problem("validators_refused", "degraded", text))
        return {"heard": report.heard, "refused": dict(report.refused), "share_refused": round(report.share, 3)}

    def _disk(self, problems: list[Problem]) -> None:
        for folder in dict.fromkeys((self.answerer.store.root, self.records.folder)):
            problem = disk_problem(folder)
            if problem:
                problems.append(Problem("disk", "degraded", problem))

    def _chain(self, problems: list[Problem]) -> None:
        directory, live = self.directory, self.answerer.settings.values.live
        age = directory.age()
        if not directory.neurons():
            text = f"no caller is admitted: the chain has not answered ({directory.error})"
            problems.append(Problem("chain_silent", "failing", text))
        elif age is None:
            text = f"the chain has not answered: only live.allow is admitted ({directory.error})"
            problems.append(Problem("chain_silent", "degraded", text))
        elif age > _CHAIN_OLD:
            text = f"the chain last answered {age / 60:.0f} min ago: {directory.error}"
            problems.append(Problem("chain_silent", "degraded", text))
        if live.chain and directory.neurons():
            own = directory.neurons().get(self.hotkey)
            if own is None:
                text = f"hotkey {self.hotkey} is not registered on the subnet"
                problems.append(Problem("not_registered", "degraded", text))
            elif (wanted := announced_endpoint(live)) and Endpoint.parse(own.axon) != wanted:
                text = f"our axon on the chain is {own.axon or 'not announced'}"
                problems.append(Problem("axon_differs", "degraded", text))


def disk_problem(folder: Path) -> str | None:
    """Return why a folder cannot be written to, or soon cannot, if so."""
    if not folder.exists():
        return None
    if os.statvfs(folder).f_flag & os.ST_RDONLY or not os.access(folder, os.W_OK):
        return f"{folder} is read-only: states and answers cannot be saved"
    free = shutil.disk_usage(folder).free
    return f"{folder}: only {free / 2**20:.0f} MiB of disk left" if free < _MIN_DISK else None
