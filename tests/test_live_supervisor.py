"""Children kept running, ended in order, and what a service manager is told."""

from __future__ import annotations

import http.server
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from ewmalab.errors import StateError
from ewmalab.live import supervisor
from ewmalab.live.orphans import refuse_if_taken
from ewmalab.live.processes import SUPERVISOR, Supervisor, end_with_supervisor, own_supervisor
from ewmalab.live.state_store import StateStore
from ewmalab.live.status import HEARTBEAT, miner_responds, read_health, updater_responds
from ewmalab.live.supervisor import Stack, notify, supervise
from ewmalab.settings import load_settings
from ewmalab.settings.layers import parse_assignments


@dataclass
class Child(supervisor.Child):
    """A child whose ends are counted."""

    restarts: int = 0

    def tend(self, now: float) -> None:
        before = self.process
        super().tend(now)
        self.restarts += before is not None and self.process is None


PYTHON = (sys.executable, "-S", "-E", "-c")
SLEEPS = (*PYTHON, "import time; time.sleep(3600)")
PATIENCE = 300.0  # seconds until a test fails that waits for something
FAILS = (*PYTHON, "raise SystemExit(3)")

# argv: a name, a file of what happened, what to do on SIGTERM
NOTES = """
import signal, sys, time
name, path, on_term = sys.argv[1:]
def note(what):
    with open(path, "a") as file:
        file.write(f"{name} {what}\\n")
def term(*_):
    time.sleep(float(on_term))
    note("ended")
    raise SystemExit(0)
signal.signal(signal.SIGTERM, signal.SIG_IGN if on_term == "ignore" else term)
signal.signal(signal.SIGHUP, lambda *_: note("hangup"))
note("began")
while True:
    time.sleep(0.01)
"""


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "_LOOK", 0.01)
    monkeypatch.setattr(supervisor, "FIRST_PAUSE", 1.0)
    monkeypatch.setattr(supervisor, "MAX_PAUSE", 4.0)
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)


def noting(name: str, path: Path, on_term: str = "0") -> Child:
    return Child(name, (*PYTHON, NOTES, name, str(path), on_term))


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def soon(holds: Callable[[], Any]) -> None:
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end, "did not happen"
        time.sleep(0.01)


@contextmanager
def supervised(children: Sequence[Child], **options: Any) -> Iterator[threading.Event]:
    """Supervise on a thread; all children have ended afterwards."""
    stop, failed = threading.Event(), []

    def run() -> None:
        try:
            supervise(children, stop, **{"check_every": 0.02, **options})
        except Exception as error:  # noqa: BLE001
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield stop
    finally:
        stop.set()
        thread.join(PATIENCE)
    assert not thread.is_alive()
    assert not failed
    assert all(child.process is None or child.process.returncode is not None for child in children)


def crash(child: Child, now: float) -> None:
    """Let a child that fails run and end at `now`."""
    child.tend(now)
    assert child.process is not None
    child.process.wait()
    child.tend(now)


# ----------------------------------------------------------------------------------------------------- restarts


def test_pause_before_a_restart_doubles_up_to_the_longest() -> None:
    child, now = Child("child", FAILS), 100.0
    for restarts, pause in enumerate((1.0, 2.0, 4.0, 4.0), 1):
        crash(child, now)
        assert child.restarts == restarts
        child.tend(now + pause - 0.01)
        assert child.process is None
        now += pause


@pytest.mark.parametrize(("ran", "pause"), [(299.0, 4.0), (301.0, 1.0)])
def test_pause_begins_anew_only_after_a_steady_run(ran: float, pause: float) -> None:
    child = Child("child", FAILS)
    crash(child, 0.0)
    crash(child, 1.0)  # the next pause is 4 s
    child.tend(10.0)
    assert child.process is not None
    child.process.wait()
    child.tend(10.0 + ran)
    child.tend(10.0 + ran + pause - 0.01)
    assert child.process is None
    child.tend(10.0 + ran + pause)
    assert child.process is not None
    child.end()


def test_killed_child_comes_back_and_its_sibling_is_left_alone() -> None:
    children = [Child("one", SLEEPS, _pause=0.05), Child("two", SLEEPS, _pause=0.05)]
    with supervised(children):
        soon(lambda: all(child.process for child in children))
        one, two = (child.process.pid for child in children if child.process)
        os.kill(one, signal.SIGKILL)
        soon(lambda: children[0].restarts == 1 and children[0].process)
        assert children[0].process is not None
        assert children[0].process.pid != one
        assert children[1].process is not None
        assert (children[1].process.pid, children[1].restarts) == (two, 0)


def test_child_that_does_not_respond_is_killed_and_started_again(caplog: pytest.LogCaptureFixture) -> None:
    hung = Child("hung", SLEEPS, lambda: hung.restarts > 0, _pause=0.02)
    ready = threading.Event()
    with supervised([hung], patience=0.1, on_ready=ready.set):
        assert ready.wait(PATIENCE)
        assert hung.restarts == 1
    assert "hung does not respond: killed" in caplog.text


def test_child_is_killed_only_after_it_was_silent_for_the_patience() -> None:
    works = True
    child = Child("child", SLEEPS, lambda: works)
    assert not child.check(0.0, 10.0)  # not started
    child.tend(0.0)
    assert child.process is not None
    assert child.check(50.0, 10.0)
    works = False
    assert not child.check(60.0, 10.0)
    assert child.process.poll() is None
    works = True
    assert child.check(61.0, 10.0)
    works = False
    assert not child.check(71.0, 10.0)
    assert child.process.poll() is None
    assert not child.check(71.1, 10.0)
    assert child.process.wait(PATIENCE) == -signal.SIGKILL


def test_started_child_has_the_whole_patience_again() -> None:
    child = Child("child", SLEEPS, lambda: False)
    child.tend(0.0)
    assert child.process is not None
    child.check(11.0, 10.0)
    assert child.process.wait(PATIENCE) == -signal.SIGKILL
    child.tend(12.0)
    child.tend(20.0)
    assert child.process is not None
    child.check(29.0, 10.0)
    assert child.process.poll() is None
    child.end()


# ----------------------------------------------------------------------------------------------------- the end


def test_last_child_has_ended_before_the_first_is_told_to(tmp_path: Path) -> None:
    path = tmp_path / "notes"
    with supervised([noting("first", path), noting("last", path, "0.3")]):
        soon(lambda: len(lines(path)) == 2)
    assert lines(path)[2:] == ["last ended", "first ended"]


def test_child_that_ignores_the_end_is_killed_after_the_grace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "notes"
    children = [noting("good", path), noting("bad", path, "ignore")]

    def end() -> None:
        with monkeypatch.context() as patch:  # the other's grace stays as it is
            patch.setattr(supervisor, "_GRACE", 0.3)
            Child.end(children[1])

    monkeypatch.setattr(children[1], "end", end)
    with supervised(children):
        soon(lambda: len(lines(path)) == 2)
        began = time.monotonic()
    assert time.monotonic() - began >= 0.3
    assert [child.process.returncode for child in children if child.process] == [0, -signal.SIGKILL]
    assert lines(path)[2:] == ["good ended"]


def test_stop_during_a_pause_starts_nothing_more() -> None:
    child = Child("child", FAILS, _pause=60.0)
    with supervised([child]):
        soon(lambda: child.restarts == 1)
    assert child.process is None


def test_nothing_is_started_if_the_stop_came_first() -> None:
    child, stop = Child("child", SLEEPS), threading.Event()
    stop.set()
    supervise([child], stop)
    assert child.process is None


def test_hangup_is_passed_on_to_every_child_once(tmp_path: Path) -> None:
    path, reload = tmp_path / "notes", threading.Event()
    with supervised([noting("one", path), noting("two", path)], reload=reload):
        soon(lambda: len(lines(path)) == 2)
        reload.set()
        soon(lambda: len(lines(path)) == 4)
    assert sorted(lines(path)[2:4]) == ["one hangup", "two hangup"]
    assert sorted(lines(path)[4:]) == ["one ended", "two ended"]
    assert not reload.is_set()


def test_child_that_cannot_be_started_does_not_leave_the_others_behind(tmp_path: Path) -> None:
    good = Child("good", SLEEPS)
    with pytest.raises(FileNotFoundError):
        supervise([good, Child("absent", [str(tmp_path / "absent")])], threading.Event())
    assert good.process is not None
    assert good.process.returncode is not None


# --------------------------------------------------------------------------------------------- a lost supervisor

LOSES = """
import os, subprocess, sys, time
from ewmalab.live.processes import SUPERVISOR, Supervisor
os.environ[SUPERVISOR] = str(Supervisor(os.getpid(), 1))
child = '''
import time
from ewmalab.live.processes import end_with_supervisor
end_with_supervisor()
print("ready", flush=True)
time.sleep(3600)
'''
subprocess.Popen([sys.executable, "-c", child])
time.sleep(3600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's signal is Linux's own")
def test_children_end_with_a_supervisor_that_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", LOSES], stdout=subprocess.PIPE) as supervising:
        assert supervising.stdout
        assert supervising.stdout.readline() == b"ready\n"
        supervising.kill()
        assert supervising.stdout.read() == b""  # the end of the pipe comes with the end of the last that holds it


def test_child_of_a_supervisor_that_has_ended_already_does_not_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = subprocess.Popen([*PYTHON, ""])
    ended.wait()
    monkeypatch.setattr("ctypes.CDLL", lambda _: SimpleNamespace(prctl=lambda *_: 0))
    monkeypatch.setenv(SUPERVISOR, str(Supervisor(ended.pid, 1)))
    with pytest.raises(StateError, match=f"process {ended.pid}, which started this one, has ended"):
        end_with_supervisor()


@pytest.mark.parametrize("text", ["", "7", "x 1", "1 x", "1 2 3"])
def test_process_without_a_supervisor_goes_on(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SUPERVISOR, text)
    assert own_supervisor() is None
    end_with_supervisor()


def test_supervisor_loads_only_the_standard_library_and_a_parser() -> None:
    code = (
        "import sys; before = set(sys.modules); import ewmalab.live.supervisor;"
        "print(sorted({m.split('.')[0] for m in set(sys.modules) - before} - sys.stdlib_module_names))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['ewmalab', 'orjson']"


# --------------------------------------------------------------------------------------------- a second supervisor


@contextmanager
def listening() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def live_on(folder: Path, port: int, monitor: int) -> Any:
    flags = {"live.host": "127.0.0.1", "live.port": port, "live.monitor_port": monitor, "live.state_dir": str(folder)}
    return load_settings(environ={}, flags=flags).values.live


def test_free_places_are_no_reason_to_refuse(tmp_path: Path) -> None:
    with listening() as port:
        pass
    for _ in range(2):
        refuse_if_taken(live_on(tmp_path / "state", port, 0))


def test_second_supervisor_names_the_first(tmp_path: Path) -> None:
    health = {"pid": 1, "supervisor": {"pid": os.getpid(), "since": 1}}
    with answering(orjson.dumps(health)) as monitor, pytest.raises(StateError) as caught:
        refuse_if_taken(live_on(tmp_path, 0, monitor))
    assert f"the supervisor with process id {os.getpid()} runs here" in str(caught.value)


def test_orphans_that_hold_a_port_or_the_states_are_named(tmp_path: Path) -> None:
    ended = subprocess.Popen([*PYTHON, ""])
    ended.wait()
    health = {"pid": os.getpid(), "supervisor": {"pid": ended.pid, "since": 1}}
    with answering(orjson.dumps(health)) as monitor, pytest.raises(StateError) as caught:
        refuse_if_taken(live_on(tmp_path, 0, monitor))
    assert f"without a supervisor, process ids {os.getpid()}" in str(caught.value)
    told = {"missed": 0, "updates": 1, "assets": {}, "clock_skew": None, "system_time": 1, "interval": 60}
    (tmp_path / HEARTBEAT).write_bytes(orjson.dumps(told | {"pid": os.getppid()}))
    with StateStore(tmp_path).writing(), pytest.raises(StateError) as caught:
        refuse_if_taken(live_on(tmp_path, 0, 0))
    assert f"process ids {os.getppid()}" in str(caught.value)
    assert "--state-dir" in str(caught.value)


def test_port_of_another_program_is_said_to_be_taken(tmp_path: Path) -> None:
    with listening() as port, pytest.raises(StateError, match="another program") as caught:
        refuse_if_taken(live_on(tmp_path, port, 0))
    assert f"127.0.0.1:{port}" in str(caught.value)
    assert "--port" in str(caught.value)


# --------------------------------------------------------------------------------------------- service manager


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The socket of a service manager."""
    if request.param == "abstract" and sys.platform != "linux":
        pytest.skip("abstract sockets are Linux's own")
    name = f"@ewmalab-{os.getpid()}" if request.param == "abstract" else str(tmp_path / "n")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind("\0" + name[1:] if name.startswith("@") else name)
        channel.settimeout(PATIENCE)
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        yield channel


def test_manager_is_told_ready_once_then_watched_then_stopping(manager: socket.socket) -> None:
    readies: list[int] = []
    with supervised([Child("child", SLEEPS)], on_ready=lambda: readies.append(1)):
        heard = [manager.recv(64) for _ in range(6)]
    manager.setblocking(False)
    with pytest.raises(BlockingIOError):  # noqa: PT012
        while True:
            heard.append(manager.recv(64))
    assert sorted(heard[:2]) == [b"READY=1", b"WATCHDOG=1"]
    assert heard[2:-1] == [b"WATCHDOG=1"] * (len(heard) - 3)
    assert heard[-1] == b"STOPPING=1"
    assert readies == [1]


def test_manager_hears_nothing_while_one_child_does_not_respond(manager: socket.socket) -> None:
    asked = []
    children = [Child("good", SLEEPS), Child("silent", SLEEPS, lambda: bool(asked.append(1)))]
    with supervised(children):
        soon(lambda: len(asked) >= 5)
    assert manager.recv(64) == b"STOPPING=1"


def test_watchdog_is_silent_while_a_child_is_down(manager: socket.socket) -> None:
    child = Child("child", SLEEPS, _pause=60.0)
    with supervised([child]):
        assert {manager.recv(64), manager.recv(64)} == {b"READY=1", b"WATCHDOG=1"}
        assert child.process is not None
        child.process.kill()
        soon(lambda: child.restarts == 1)
        manager.setblocking(False)
        with pytest.raises(BlockingIOError):  # noqa: PT012  what was under way
            while True:
                manager.recv(64)
        time.sleep(0.1)
        with pytest.raises(BlockingIOError):
            manager.recv(64)


@pytest.mark.parametrize("address", [None, "", "nobody"])
def test_missing_manager_does_no_harm(address: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if address is not None:
        monkeypatch.setenv("NOTIFY_SOCKET", address and str(tmp_path / address))
    notify("READY=1")
    ready = threading.Event()
    with supervised([Child("child", SLEEPS)], on_ready=ready.set):
        assert ready.wait(PATIENCE)


# ------------------------------------------------------------------------------------------------ who responds


@contextmanager
def answering(body: bytes) -> Iterator[int]:
    """Serve one answer on loopback; return the port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(503)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def test_failing_miner_responds_all_the_same() -> None:
    with answering(b'{"status": "failing"}') as port:
        assert miner_responds("127.0.0.1", port)
        assert read_health("127.0.0.1", port) == {"status": "failing"}
    assert not miner_responds("127.0.0.1", port)


def test_answer_that_is_no_health_does_not_count() -> None:
    with answering(b"hello") as port:
        assert not miner_responds("127.0.0.1", port)


def test_health_is_asked_directly_whatever_proxy_the_environment_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with answering(b'{"status": "ok"}') as port:
        assert miner_responds("127.0.0.1", port)


@pytest.mark.parametrize("speed", [1.0, 60.0])
def test_updater_responds_until_its_heartbeat_is_old(
    speed: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    present = time.time()
    monkeypatch.setattr("ewmalab.live.status.time", SimpleNamespace(time=lambda: present))
    assert not updater_responds(tmp_path, speed)
    for age, responds in ((0, True), (120 + 170 / speed, True), (120 + 190 / speed, False)):
        told = {"missed": 0, "updates": 1, "assets": {}, "clock_skew": None}
        note = {"system_time": present - age, "interval": 60, **told}
        (tmp_path / HEARTBEAT).write_bytes(orjson.dumps(note))
        assert updater_responds(tmp_path, speed) is responds


@pytest.mark.parametrize("text", [b"", b"{", b"null", b"{}", b'{"system_time": "x", "interval": 60}'])
def test_damaged_heartbeat_counts_as_silence(text: bytes, tmp_path: Path) -> None:
    (tmp_path / HEARTBEAT).write_bytes(text)
    assert not updater_responds(tmp_path, 1.0)


# -------------------------------------------------------------------------------------------- `ewmalab live`


@pytest.fixture
def commanded(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Child]]:
    """The children that `ewmalab live` would run; signals and logging are as before afterwards."""
    found: list[Child] = []
    monkeypatch.setattr("ewmalab.live.stack.load_wallet", lambda live: None)
    monkeypatch.setattr("ewmalab.live.stack.refuse_if_taken", lambda live: None)  # others may test on the usual ports
    monkeypatch.setattr(
        "ewmalab.live.stack.os.execv", lambda _, command: found.extend(Stack(**json.loads(command[-1])).children())
    )
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield found
    root.handlers[:] = handlers
    root.setLevel(level)
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


def settings_of(child: Child) -> dict[str, Any]:
    """Return the settings that a child's command names."""
    command = list(child.command)
    assert command[1:4] == ["-m", "ewmalab", "live"]
    assert command[4] == child.name
    pairs = list(zip(command[5::2], command[6::2], strict=True))
    config = [Path(value) for option, value in pairs if option == "--config"]
    given = [value for option, value in pairs if option == "--set"]
    return load_settings(file=config[0] if config else None, flags=parse_assignments(given), environ={}).values.plain()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--wallet", "a b'\"=ü", "--port", "8123"), {"wallet": "a b'\"=ü", "port": 8123}),
        (("--assets", "btc,ETH", "--update-interval", "60"), {"assets": ["BTC", "ETH"]}),
        (("--no-chain", "--allow", "A", "--allow", "B"), {"chain": False, "allow": ["A", "B"]}),
        (("--wallet", "123", "--external-ip", "203.0.113.7"), {"wallet": "123", "external_ip": "203.0.113.7"}),
        (("--monitor-port", "9200", "--set", "live.monitor_port=9300"), {"monitor_port": 9200}),
        (("--set", "live.monitor_port=9300"), {"monitor_port": 9300}),
    ],
)
def test_children_have_the_settings_of_the_command(
    arguments: tuple[str, ...], expected: dict[str, Any], commanded: list[Child], ewmalab: Callable[..., Any]
) -> None:
    allow = () if "--allow" in arguments else ("--no-chain", "--allow", "A")
    assert ewmalab("live", *allow, *arguments).code == 0
    assert [child.name for child in commanded] == ["updater", "miner"]  # ended in reverse: nobody asks for a lost state
    for child in commanded:
        live = settings_of(child)["live"]
        assert {key: live[key] for key in expected} == expected


def test_kernels_are_compiled_before_any_child_starts(
    commanded: list[Child], ewmalab: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[int] = []
    monkeypatch.setattr("ewmalab.live.stack.warm_up", lambda *_: started.append(len(commanded)))
    assert ewmalab("live", "--no-chain", "--allow", "A").code == 0
    assert started == [0]
    assert commanded


def test_children_read_the_settings_file_of_the_command(
    commanded: list[Child], ewmalab: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "other.toml").write_text('[live]\nnetwork = "test"\nchain_refresh = "1m"\n')
    assert ewmalab("live", "--config", str(tmp_path / "other.toml")).code == 0
    for child in commanded:
        live = settings_of(child)["live"]
        assert (live["network"], live["chain_refresh"]) == ("test", load_settings(flags={
            "live.chain_refresh": "1m"}, environ={}).values.plain()["live"]["chain_refresh"])  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--no-chain",), "--allow"),
        (("--network", "ws://127.0.0.1:1"), "live.netuid"),
        (("--no-chain", "--allow", "A", "--forecaster", "nonsense"), "nonsense"),
        (("--no-chain", "--allow", "A", "--assets", "NONSENSE"), "NONSENSE"),
        (("--no-chain", "--allow", "A", "--state-dir", "/dev/null/a"), "/dev/null/a: nothing can be written there"),
        (
            ("--no-chain", "--allow", "A", "--set", "data.cache_dir=/dev/null/b"),
            "choose another folder with data.cache",
        ),
    ],
)
def test_what_no_child_could_run_with_is_refused_at_once(
    arguments: tuple[str, ...], named: str, commanded: list[Child], ewmalab: Callable[..., Any]
) -> None:
    result = ewmalab("live", *arguments)
    assert commanded == []
    assert result.code in (1, 2)
    assert named in result.err
