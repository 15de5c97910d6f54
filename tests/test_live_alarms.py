"""Alarms: each is raised by its condition, told once, and named as the miner exports it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any

import orjson
import pytest
import requests
from live_rig import VALIDATOR, Rig, rig

from ewmalab import api
from ewmalab.analysis.field_miner import NewestRank
from ewmalab.live.alarms import ALARMS, MINER_DOWN, TOLD_BY_HEALTH, Problem, prometheus_rules
from ewmalab.live.miner import health as health_module
from ewmalab.live.processes import RESTARTS
from ewmalab.live.status import HEARTBEAT
from ewmalab.live.updater.webhooks import SENT, Alerts, Hook, hooks_of, raised_by
from ewmalab.report.text.status import status_text
from ewmalab.settings import load_settings

ROOT = Path(__file__).resolve().parents[1]
RULES, DASHBOARD = ROOT / "deploy/prometheus-rules.yml", ROOT / "deploy/grafana-dashboard.json"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with rig(tmp_path_factory.mktemp("alarms"), assets=("BTC", "ETH")) as made:
        yield made


@pytest.fixture
def calm(running: Rig, monkeypatch: pytest.MonkeyPatch) -> Rig:
    """The running miner, after a heartbeat and a prompt, so that no alarm is on."""
    monkeypatch.delenv(RESTARTS, raising=False)
    running.updater._skews.clear()  # a busy machine is late
    running.updater.heartbeat(int(running.clock.now()))
    assert running.prober().ask(running.prompt()).accepted
    assert alarms(running) == {}
    return running


def alarms(made: Rig) -> dict[str, list[str]]:
    return made.miner.health()["alarms"]  # type: ignore[no-any-return]


def later(made: Rig, seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the miner believe that some time has passed without a call."""
    monkeypatch.setattr(made.miner.gate.callers, "uptime", lambda: time.monotonic() + seconds)


# ------------------------------------------------------------------------------------ conditions


def test_nobody_who_calls_is_an_alarm(calm: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    later(calm, 1700, monkeypatch)
    assert "no_prompts" not in alarms(calm)
    later(calm, 1900, monkeypatch)
    assert list(alarms(calm)) == ["no_prompts"]


def test_a_process_that_nobody_ever_called_raises_it_too(calm: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calm.miner.gate.callers, "_heard", {})
    later(calm, 1900, monkeypatch)
    assert "no_prompts" in alarms(calm)


def test_an_asset_that_alone_is_not_asked_for_is_an_alarm(calm: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    later(calm, 7 * 3600, monkeypatch)
    assert calm.prober().ask(calm.prompt("BTC")).accepted
    assert "ETH" in alarms(calm)["asset_not_asked"][0]
    assert "BTC" not in alarms(calm)["asset_not_asked"][0]
    assert calm.prober().ask(calm.prompt("ETH")).accepted
    assert "asset_not_asked" not in alarms(calm)


def test_spot_prices_that_stay_away_are_an_alarm(calm: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calm.miner.answerer.spots, "silence", lambda asset: 31.0 if asset == "ETH" else 29.0)
    (text,) = alarms(calm)["spot_old"]
    assert text.endswith(": ETH")


def test_a_validator_that_is_refused_is_an_alarm(calm: Rig) -> None:
    callers = calm.miner.gate.callers
    (caller,) = callers.newest()
    callers.refuse(caller, "nonce")
    assert list(alarms(calm)) == ["validators_refused"]


@pytest.mark.parametrize(
    ("change", "alarm"),
    [
        ({"fit_error": "no bars"}, "fit_failed"),
        ({"clock_skew": -30.0}, "clock_skew"),
        ({"unrecorded": 2}, "amendments_unrecorded"),
        ({"restarts": 1}, "restarts"),
    ],
)
def test_what_the_updater_tells_is_an_alarm(calm: Rig, change: dict[str, Any], alarm: str) -> None:
    path = calm.miner.store.root / HEARTBEAT
    path.write_bytes(orjson.dumps(orjson.loads(path.read_bytes()) | change))
    assert list(alarms(calm)) == [alarm]


def test_a_restart_is_an_alarm_for_an_hour(calm: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(RESTARTS, "3")
    assert "the miner was restarted" in alarms(calm)["restarts"][0]
    later(calm, 3601, monkeypatch)
    assert not any("the miner was restarted" in text for text in alarms(calm).get("restarts", []))


def test_a_full_disk_is_an_alarm(calm: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health_module, "disk_problem", lambda folder: f"{folder}: full")
    assert list(alarms(calm)) == ["disk"]


def test_the_list_has_every_alarm_that_health_raises_and_no_other() -> None:
    raised = set(re.findall(r'Problem\(\s*"(\w+)"', Path(health_module.__file__).read_text()))
    assert raised == set(TOLD_BY_HEALTH)
    with pytest.raises(ValueError, match="no such alarm"):
        Problem("no_such", "degraded", "")


# ------------------------------------------------------------------------------------ Prometheus and Grafana


def unknown_metrics(text: str, exported: str) -> set[str]:
    """Return the metrics that a text names and a miner does not export."""
    known: set[str] = set()
    for name, kind in re.findall(r"(?m)^# TYPE (\w+) (\w+)$", exported):
        known |= {name, f"{name}_bucket", f"{name}_sum", f"{name}_count"} if kind == "histogram" else {name}
    return set(re.findall(r"\bewmalab_\w+", text)) - known


@pytest.fixture(scope="module")
def exported(running: Rig) -> str:
    return requests.get(f"http://127.0.0.1:{running.miner.monitor_port}/metrics", timeout=60).text


@pytest.mark.parametrize("file", [RULES, DASHBOARD])
def test_every_metric_that_is_named_is_exported(file: Path, exported: str) -> None:
    text = file.read_text()
    assert unknown_metrics(text, exported) == set()
    assert unknown_metrics(text.replace("ewmalab_alarm", "ewmalab_alarms"), exported) == {"ewmalab_alarms"}


def test_every_alarm_of_the_rules_has_its_series(exported: str) -> None:
    for alarm in re.findall(r'alarm=\\"(\w+)\\"', RULES.read_text()):
        assert f'ewmalab_alarm{{alarm="{alarm}"}}' in exported
    assert RULES.read_text() == prometheus_rules()


def test_promtool_accepts_the_rules() -> None:
    if not shutil.which("promtool"):
        pytest.skip("promtool is not installed")
    done = subprocess.run(["promtool", "check", "rules", str(RULES)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"{len(ALARMS)} rules found" in done.stdout


def test_the_dashboard_is_json_whose_panels_each_ask_something() -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    assert all(target["expr"] for panel in panels for target in panel["targets"])
    assert len({panel["id"] for panel in panels}) == len(panels)


# ------------------------------------------------------------------------------------ messages


class Receiver(ThreadingHTTPServer):
    """A server of hooks that keeps what it gets, and answers with a status."""

    def __init__(self) -> None:
        self.got: list[tuple[str, dict[str, Any]]] = []
        self.status = 200
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                receiver.got.append((self.path, body))
                self.send_response(receiver.status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Stay silent."""

        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


class Desk:
    """Alerts on a clock that is set."""

    def __init__(self, folder: Path, hooks: list[Hook]) -> None:
        self.time, self.folder, self.hooks = 1e9, folder, hooks
        self.alerts = Alerts(folder / SENT, lambda: self.time)

    def look(self, after: float, *names: str) -> None:
        self.time += after
        self.alerts.tell({("", name): f"text of {name}" for name in names}, self.hooks, 3600)

    def restart(self) -> None:
        self.alerts = Alerts(self.folder / SENT, lambda: self.time)


def told(receiver: Receiver) -> list[tuple[str, bool]]:
    return [(body["alarm"], body["began"]) for _, body in receiver.got]


def test_an_alarm_that_lasts_is_sent_once_an_hour_and_its_end_once(receiver: Receiver, tmp_path: Path) -> None:
    desk = Desk(tmp_path, [Hook("webhook", receiver.url)])
    desk.look(0, "no_prompts")
    assert told(receiver) == []  # it may be over soon
    desk.look(130, "no_prompts")
    desk.look(1800, "no_prompts")
    assert told(receiver) == [("no_prompts", True)]
    desk.look(1801, "no_prompts")
    assert told(receiver) == [("no_prompts", True)] * 2
    desk.look(30)
    desk.look(30)
    assert told(receiver) == [("no_prompts", True)] * 2 + [("no_prompts", False)]


def test_an_alarm_that_comes_and_goes_is_sent_once_an_hour(receiver: Receiver, tmp_path: Path) -> None:
    desk = Desk(tmp_path, [Hook("webhook", receiver.url)])
    for _ in range(5):
        desk.look(60, "disk")
        desk.look(60)
    assert told(receiver) == [("disk", True), ("disk", False)]


def test_a_miner_that_does_not_answer_ends_none_of_its_alarms(receiver: Receiver, tmp_path: Path) -> None:
    desk = Desk(tmp_path, [Hook("webhook", receiver.url)])
    desk.look(0, "disk")
    desk.look(30, MINER_DOWN)
    desk.look(30, MINER_DOWN)
    assert told(receiver) == [("disk", True)]
    desk.look(30)
    assert told(receiver) == [("disk", True), ("disk", False)]


def test_a_restart_neither_repeats_an_alarm_nor_forgets_its_end(receiver: Receiver, tmp_path: Path) -> None:
    desk = Desk(tmp_path, [Hook("webhook", receiver.url)])
    desk.look(0, "disk")
    desk.restart()
    desk.look(60, "disk")
    assert told(receiver) == [("disk", True)]
    desk.restart()
    desk.look(60)
    assert told(receiver) == [("disk", True), ("disk", False)]
    (tmp_path / SENT).write_bytes(b"[1")
    desk.restart()
    desk.look(60, "disk")
    assert told(receiver)[2:] == [("disk", True)]


def test_each_service_gets_its_own_form(receiver: Receiver, tmp_path: Path) -> None:
    urls = {"slack": "/s", "discord": "/d", "telegram": "/bot1:x/sendMessage?chat_id=-5", "webhook": "/w?key=1"}
    settings = load_settings(environ={}, flags={f"live.alerts.{k}": receiver.url + path for k, path in urls.items()})
    Desk(tmp_path, hooks_of(settings.values.live.alerts)).look(0, "disk")
    got = dict(receiver.got)
    assert "disk: text of disk. What to do: make room" in got["/s"]["text"]
    assert "text of disk" in got["/d"]["content"]
    assert got["/bot1:x/sendMessage"]["chat_id"] == "-5"
    assert (got["/w?key=1"]["alarm"], got["/w?key=1"]["began"]) == ("disk", True)


def test_a_hook_that_fails_is_tried_again_and_stops_no_other(
    receiver: Receiver, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    dead = Hook("slack", "http://127.0.0.1:9/services/SECRET")
    desk = Desk(tmp_path, [dead, Hook("webhook", receiver.url)])
    receiver.status = 500
    desk.look(0, "disk")
    receiver.status = 200
    desk.look(30, "disk")
    desk.look(30, "disk")
    assert told(receiver) == [("disk", True)] * 2
    assert "did not take the alarm disk: status 500" in caplog.text
    assert "ConnectionError" in caplog.text
    assert "SECRET" not in caplog.text


def test_a_miner_that_does_not_answer_is_an_alarm_and_one_that_does_tells_its_own(
    calm: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = load_settings(environ={}, flags={"live.monitor_port": calm.miner.monitor_port}).values.live
    dead = load_settings(environ={}, flags={"live.monitor_port": 9}).values.live
    assert raised_by({"": live}) == {}
    monkeypatch.setenv(RESTARTS, "1")
    assert list(raised_by({"a": live, "b": dead})) == [("a", "restarts"), ("b", MINER_DOWN)]


def test_addresses_of_hooks_are_secret_wherever_settings_are_shown_or_kept() -> None:
    secret = "https://example.org/SECRET"
    flags = {f"live.alerts.{kind}": secret for kind in ("webhook", "slack", "discord", "telegram")}
    settings = load_settings(environ={}, flags=flags)
    assert len(hooks_of(settings.values.live.alerts)) == 4
    assert "SECRET" not in str(settings.effective()) + settings.dump().decode() + repr(settings.values)
    with pytest.raises(Exception, match=r"\*\*\*\*: expected an address") as caught:
        load_settings(environ={}, flags={"live.alerts.slack": "SECRET"})
    assert "SECRET" not in str(caught.value)


# ------------------------------------------------------------------------------------ status


def watching(made: Rig) -> Any:
    return load_settings(
        environ={}, flags={"live.monitor_port": made.miner.monitor_port, "data.cache_dir": str(made.folder / "empty")}
    )


def test_the_status_names_callers_refusals_restarts_and_version(calm: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    assert requests.get(calm.url + "/nothing", timeout=60).status_code == 404
    monkeypatch.setenv(RESTARTS, "2")
    text = api.status(watching(calm)).text()
    assert re.search(rf"{VALIDATOR.ss58_address} +\d+ s ago +-", text)
    assert re.search(r"refused since the start, strangers included: .*\d+ for path", text)
    assert re.search(r"ewmalab \d\S+, up for \d+ s; restarts: miner 2", text)
    monkeypatch.setattr(calm.miner.gate.callers, "_heard", {})
    assert "no validator has called since the start" in api.status(watching(calm)).text()


def test_the_status_names_the_newest_rank_of_the_cached_field(calm: Rig) -> None:
    health = api.status(watching(calm)).value | {"ranks": [asdict(NewestRank("crypto-1h", 1_800_000_000, 12, 240))]}
    assert "rank in crypto-1h: 12 of 240 on 2027-01-15" in status_text(health)


def test_a_watch_goes_on_while_the_miner_does_not_answer(calm: Rig) -> None:
    stop, shown = Event(), []

    def show(text: str) -> None:
        shown.append(text)
        if len(shown) == 2:
            stop.set()

    dead = load_settings(environ={}, flags={"live.monitor_port": 9})
    api.watch_status(dead, every=0.0, stop=stop, show=show)
    assert len(shown) == 2
    assert all("no miner answers" in text for text in shown)
