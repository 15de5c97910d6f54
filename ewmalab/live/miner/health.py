"""The health of a miner: its status, and problems in words that say what to do."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ewmalab.live.audit.answer_log import AnswerLog
from ewmalab.live.miner.admission import NONCE_PAST, SKEW
from ewmalab.live.miner.answers import Answerer
from ewmalab.live.miner.callers import Callers
from ewmalab.live.miner.chain import Directory
from ewmalab.live.miner.metrics import Metrics
from ewmalab.live.status import read_heartbeat
from ewmalab.times import iso

_MIN_DISK = 100 * 2**20
_CHAIN_OLD = 3600.0
_NONCE_OLD = NONCE_PAST / 2  # callers sign some seconds before they send
_OWNERS = {"feed": "feed's", "chain": "chain's", "callers": "callers'"}
_RANK = {"ok": 0, "degraded": 1, "failing": 2}


@dataclass(frozen=True, slots=True)
class Health:
    """Checks everything that a miner depends on."""

    answerer: Answerer
    directory: Directory
    records: AnswerLog
    hotkey: str
    callers: Callers = field(default_factory=Callers)

    def look(self) -> dict[str, Any]:
        """Return ``status`` (ok, degraded, failing), ``problems``, ``notes`` on the fit, and the figures behind."""
        problems: list[tuple[str, str]] = []
        assets = self._assets(problems)
        self._updater(problems)
        self._disk(problems)
        self._chain(problems)
        callers = self._callers(problems)
        skews = self._clock(problems)
        if self.records.lost:
            problems.append(("degraded", f"{self.records.lost} answers were not logged: is the disk full?"))
        if not self.records.recording:
            problems.append(("degraded", f"answers cannot be logged to {self.records.folder}: is the disk full?"))
        status = max((rank for rank, _ in problems), key=_RANK.__getitem__, default="ok")
        neuron = self.directory.neurons().get(self.hotkey)
        return {
            "status": status,
            "problems": [text for _, text in problems],
            "notes": list(self.answerer.remarks),
            "market_time": iso(int(self.answerer.clock.now())),
            "synthetic": any(k.saved.synthetic for k in self.answerer.known.values()),
            "hotkey": self.hotkey,
            "uid": neuron.uid if neuron else None,
            "chain_age": self.directory.age(),
            "callers": callers,
            "clock_skew": skews,
            "assets": assets,
        }

    def measure(self, metrics: Metrics) -> None:
        """Update the gauges."""
        now = self.answerer.clock.now()
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
            for asset, entry in note["assets"].items():
                metrics.feed_errors.labels(asset).set(entry["feed_errors"])
        age = self.directory.age()
        metrics.chain_age.set(float("inf") if age is None else age)
        metrics.chain_errors.set(self.directory.errors)
        metrics.answers_lost.set(self.records.lost)

    def _assets(self, problems: list[tuple[str, str]]) -> dict[str, Any]:
        asked, live = self.answerer, self.answerer.settings.values.live
        now = asked.clock.now()
        found: dict[str, Any] = {}
        old: dict[str, list[str]] = {}
        for asset in asked.assets:
            known = asked.known.get(asset)
            age = None if known is None else asked.age(known, now)
            if age is None or age > live.refuse_after:
                old.setdefault("refused", []).append(asset)
            elif age > live.stale_after:
                old.setdefault("stale", []).append(asset)
            if asset in asked.problems:
                problems.append(("degraded", asked.problems[asset]))
            spot = asked.spots.latest(asset)
            found[asset] = {
                "age": None if age is None else round(age, 1),
                "generation": known.saved.generation if known else None,
                "feed": known.saved.feed if known else None,
                "spot_age": round(now - spot.at, 1) if spot else None,
            }
        if refused := old.get("refused"):
            rank = "failing" if len(refused) == len(asked.assets) else "degraded"
            problems.append((rank, f"refused, state missing or older than live.refuse_after: {' '.join(refused)}"))
        if stale := old.get("stale"):
            problems.append(("degraded", f"states are old, is the updater or its feed down? {' '.join(stale)}"))
        return found

    def _updater(self, problems: list[tuple[str, str]]) -> None:
        note = read_heartbeat(self.answerer.store.root)
        if note is None:
            problems.append(("degraded", "no updater has run here: start `ewmalab live updater`"))
            return
        clock = self.answerer.clock
        silent = clock.system() - note["system_time"]
        if silent > 3 * note["interval"] / clock.speed + 30:
            problems.append(("degraded", f"the updater has been silent for {silent:.0f} s: has it stopped?"))
        for asset, entry in note["assets"].items():
            if entry.get("instead_of"):
                text = f"{asset}: prices from {entry['feed']}, because {entry['instead_of']} has none"
                problems.append(("degraded", text))
            if entry["error"]:
                problems.append(("degraded", f"updater: {asset}: {entry['error']}"))
            problems += [("degraded", f"updater: {asset}: {remark}") for remark in entry.get("notes", ())]

    def _clock(self, problems: list[tuple[str, str]]) -> dict[str, float | None]:
        """Return the seconds by which our clock is ahead of others'."""
        note, speed = read_heartbeat(self.answerer.store.root), self.answerer.clock.speed
        ahead = self.callers.report().ahead
        skews = {
            "feed": None if note is None or note["clock_skew"] is None else note["clock_skew"] / speed,
            "chain": self.directory.skew,
            "callers": None if ahead is None else -ahead,
        }
        for whose, skew in skews.items():
            most = _NONCE_OLD if whose == "callers" else SKEW
            if skew is not None and not -SKEW <= skew <= most:
                problems.append(
                    ("degraded", f"our clock differs from the {_OWNERS[whose]} by {skew:.0f} s: is NTP running?")
                )
        return {whose: None if skew is None else round(skew, 1) for whose, skew in skews.items()}

    def _callers(self, problems: list[tuple[str, str]]) -> dict[str, Any]:
        report = self.callers.report()
        if report.refused:
            kinds = ", ".join(f"{count} for {kind}" for kind, count in report.refused.items())
            problems.append(
                ("degraded", f"of {report.heard} validators heard, {sum(report.refused.values())} are refused: {kinds}")
            )
        return {"heard": report.heard, "refused": dict(report.refused), "share_refused": round(report.share, 3)}

    def _disk(self, problems: list[tuple[str, str]]) -> None:
        for folder in dict.fromkeys((self.answerer.store.root, self.records.folder)):
            problem = disk_problem(folder)
            if problem:
                problems.append(("degraded", problem))

    def _chain(self, problems: list[tuple[str, str]]) -> None:
        directory, live = self.directory, self.answerer.settings.values.live
        age = directory.age()
        if not directory.neurons():
            problems.append(("failing", f"no caller is admitted: the chain has not answered ({directory.error})"))
        elif age is None:
            text = f"the chain has not answered: only live.allow is admitted ({directory.error})"
            problems.append(("degraded", text))
        elif age > _CHAIN_OLD:
            problems.append(("degraded", f"the chain last answered {age / 60:.0f} min ago: {directory.error}"))
        if live.chain and directory.neurons():
            own = directory.neurons().get(self.hotkey)
            if own is None:
                problems.append(("degraded", f"hotkey {self.hotkey} is not registered on the subnet"))
            elif live.external_ip and own.axon != f"{live.external_ip}:{live.port}":
                problems.append(("degraded", f"our axon on the chain is {own.axon or 'not announced'}"))


def disk_problem(folder: Path) -> str | None:
    """Return why a folder cannot be written to, or soon cannot, if so."""
    if not folder.exists():
        return None
    if os.statvfs(folder).f_flag & os.ST_RDONLY or not os.access(folder, os.W_OK):
        return f"{folder} is read-only: states and answers cannot be saved"
    free = shutil.disk_usage(folder).free
    return f"{folder}: only {free / 2**20:.0f} MiB of disk left" if free < _MIN_DISK else None
