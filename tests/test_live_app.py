"""What a miner answers, from what it knows, and what it says of itself when that is not enough."""

from __future__ import annotations

import errno
import gc
import hashlib
import logging
import os
import re
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import requests
from faulty_feed import FaultyFeed, edit, status
from live_rig import (
    MINER,
    PATIENCE,
    START,
    STRANGER,
    VALIDATOR,
    SettableClock,
    Simulated,
    histories,
    live_settings,
    read_kept_paths,
    until,
)

from ewmalab.errors import ChainError, ConfigError, StateError
from ewmalab.forecast.model import Model, paths_digest, state_digest
from ewmalab.forecast.protocol import Prompt
from ewmalab.live import state_store
from ewmalab.live import status as status_module
from ewmalab.live.audit.answer_log import LiveLog, prompt_of
from ewmalab.live.audit.probe import TIMEOUT, Prober, Reply, body_of, signed_headers
from ewmalab.live.feeds import LEAD, choose_feeds, eras, live_assets
from ewmalab.live.miner import app as app_module
from ewmalab.live.miner import directory as directory_module
from ewmalab.live.miner import miner as miner_module
from ewmalab.live.miner import serve as serve_module
from ewmalab.live.miner.admission import NONCE_FUTURE, NONCE_PAST, Neuron, Refusal
from ewmalab.live.miner.chain import AllowList, Chain
from ewmalab.live.miner.directory import SNAPSHOT
from ewmalab.live.miner.miner import Miner
from ewmalab.live.miner.nonce_store import NewestNonces
from ewmalab.live.miner.serve import GuardedProtocol
from ewmalab.live.updater.process import keep_updating
from ewmalab.live.updater.updater import Updater
from ewmalab.rulebook import load_rulebook
from ewmalab.rulebook.load import DEFAULT_PATH
from ewmalab.settings import LoadedSettings
from ewmalab.times import DAY, MINUTE, iso, parse_time

BOOK = load_rulebook()
RULES = BOOK.at(START)
ASSETS = ("BTC", "XAU", "NVDAX")
CHAINED = {"live.chain": True, "live.allow": []}
FEW = 20  # paths, where their number does not matter
SECRET = "s3cr3t-of-pyth"
DOWN = status(503)
NO_SPOTS = edit(lambda told: "no prices" if told and "price" in told[0] else told)  # candles go on


class FakeChain:
    """A chain that answers, or not."""

    def __init__(self, *, down: bool = False) -> None:
        self.down = down
        self.rows = [
            Neuron(VALIDATOR.ss58_address, 7, 1e6, True, "1.2.3.4:8091"),
            Neuron(MINER.ss58_address, 42, 10.0, False, ""),
        ]

    def neurons(self) -> list[Neuron]:
        if self.down:
            raise ChainError("finney: query failed: gone fishing")
        return list(self.rows)

    def announce(self, ip: str, port: int) -> None:
        """Do nothing."""


@dataclass
class Stack:
    """A miner beside an updater that works when told to, on a clock that stands still until it is set."""

    feed: FaultyFeed
    updater: Updater
    miner: Miner
    clock: SettableClock
    folder: Path
    thread: threading.Thread
    settings: list[LoadedSettings]
    prober: Prober = field(init=False)

    def __post_init__(self) -> None:
        self.prober = Prober(self.url, VALIDATOR, MINER.ss58_address, connections=32)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.miner.port}"

    @property
    def log(self) -> Path:
        return self.folder / "log"

    @property
    def store(self) -> Any:
        return self.miner.store

    def update(self, now: float | None = None) -> None:
        """Set the clock, if told to, and bring the states up to it."""
        if now is not None:
            self.clock.set(now)
        self.updater.update(int(self.clock.now()))

    def take_up(self, now: float | None = None) -> None:
        """Update, and wait until the miner has noticed."""
        self.update(now)
        assert until(lambda: all(k.saved.newest == self.newest(a) for a, k in self.miner.answerer.known.items()))

    def newest(self, asset: str = "BTC") -> int:
        newest = self.updater.followers[asset].newest
        assert newest
        return newest

    def prompt(self, asset: str = "BTC", competition: str = "crypto-24h", paths: int = FEW, after: int = 120) -> Prompt:
        """Return a prompt that starts some seconds from now."""
        c = RULES.competitions[competition]
        start = int(self.clock.now()) + after
        return Prompt(start, c.name, asset, int(self.clock.now()), c.time_increment, c.time_length, paths)

    def ask(self, *arguments: Any, **options: Any) -> Reply:
        return self.prober.ask(self.prompt(*arguments, **options))

    def records(self) -> list[dict[str, Any]]:
        try:
            return LiveLog.read(self.log).answers
        except StateError:  # nothing is written yet
            return []

    def records_since(self, moment: float, count: int) -> list[dict[str, Any]]:
        """Wait for the records of answers to prompts that arrived since a time."""
        found: list[dict[str, Any]] = []

        def there() -> bool:
            found[:] = [record for record in self.records() if record["received"] >= moment]
            return len(found) >= count

        assert until(there), found
        assert len(found) == count
        return found

    def recorded(self, *arguments: Any, **options: Any) -> dict[str, Any]:
        """Ask, and return the record of the answer."""
        began = time.time()
        reply = self.ask(*arguments, **options)
        assert reply.accepted, reply.verdicts
        return self.records_since(began, 1)[0]

    def get(self, path: str) -> requests.Response:
        """Ask the monitor."""
        return requests.get(f"http://127.0.0.1:{self.miner.monitor_port}{path}", timeout=PATIENCE)

    def health(self, status: str) -> list[str]:
        """Return the problems that are told beside an expected status; all is well only beside an updater that runs."""
        if status == "ok":
            self.updater.heartbeat(int(self.clock.now()))
        answer = self.get("/health")
        found = answer.json()
        assert found["status"] == status, found
        assert answer.status_code == (503 if status == "failing" else 200)
        assert answer.headers["content-type"] == "application/json"
        problems: list[str] = found["problems"]
        return problems

    def metric(self, line: str) -> float:
        """Return a figure of the metrics, 0 if it is not there yet."""
        lines = self.get("/metrics").text.splitlines()
        return next((float(text.rpartition(" ")[2]) for text in lines if text.startswith(line + " ")), 0.0)


_SEEDS: dict[tuple[str, ...], dict[str, bytes]] = {}


def seed(folder: Path, assets: Sequence[str]) -> None:
    """Begin with the states of a stack before, if there was one of these assets: its days need not be fetched again."""
    folder.mkdir(exist_ok=True)
    if not list(folder.glob("*.msgpack")):
        for name, data in _SEEDS.get(tuple(assets), {}).items():
            (folder / name).write_bytes(data)


@contextmanager
def stack(
    folder: Path,
    assets: Sequence[str] = ("BTC",),
    *,
    chain: Chain | None = None,
    updated: bool = True,
    spots: bool = True,
    flags: Mapping[str, Any] | None = None,
    look: float = 0.05,
    start: int = START,
) -> Iterator[Stack]:
    """Run a miner; unless told otherwise its assets are up to date, and it looks for new states rather often."""
    for asset in assets:
        Simulated(asset).between(start - 7 * DAY, start + DAY)
    clock = SettableClock(start)
    with FaultyFeed(histories(assets), clock.now, synthetic=True) as feed:
        settings = [live_settings(folder, feed.url, assets, **(flags or {}))]
        updater = Updater.of(settings[0], clock)
        if updated and start == START:
            seed(updater.store.root, assets)
        with updater.store.writing():
            updater.restore()
            if updated:
                updater.update(start)
                if start == START:
                    saved = {p.name: p.read_bytes() for p in updater.store.root.glob("*.msgpack")}
                    _SEEDS.setdefault(tuple(assets), saved)
            feed.always = None if spots else NO_SPOTS
            miner = Miner(
                settings[0], MINER.ss58_address, chain or AllowList([VALIDATOR.ss58_address]), clock,
                lambda: settings[-1],
            )  # fmt: skip
            ready = threading.Event()
            thread = threading.Thread(target=miner.run, args=(ready.set,))
            made, patch = None, pytest.MonkeyPatch()
            patch.setattr(miner_module, "_LOOK", look)
            thread.start()
            try:
                assert ready.wait(PATIENCE)
                made = Stack(feed, updater, miner, clock, folder, thread, settings)
                if chain is None:
                    assert until(lambda: bool(miner.directory.neurons()))
                if spots:
                    assert until(lambda: all(miner.spots.latest(asset) for asset in assets))
                yield made
            finally:
                patch.undo()
                miner.stop.set()
                thread.join(PATIENCE)
                assert not thread.is_alive()
                if made is not None:
                    made.prober._session.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack that tests leave as they found it."""
    with stack(tmp_path_factory.mktemp("app"), ASSETS, flags={"live.keep_paths": True}) as made:
        yield made


@pytest.fixture
def healed(shared: Stack) -> Iterator[Stack]:
    """The shared stack, whose feed is well again afterwards, and its spot prices fresh."""
    yield shared
    shared.feed.always = None
    shared.miner.spots.refresh()


@dataclass
class Brake:
    """Holds up every computation of an answer until it is let go, and counts them."""

    prompts: list[Prompt] = field(default_factory=list)
    let_go: threading.Event = field(default_factory=threading.Event)
    admitted: int = 0


@pytest.fixture
def brake(shared: Stack, monkeypatch: pytest.MonkeyPatch) -> Iterator[Brake]:
    made = braked(shared, monkeypatch)
    yield made
    made.let_go.set()


def braked(of: Stack, monkeypatch: pytest.MonkeyPatch) -> Brake:
    made, answer, asked = Brake(), of.miner.answerer.answer, of.miner.app._answer

    def slow(prompt: Prompt) -> Any:
        made.prompts.append(prompt)
        assert made.let_go.wait(PATIENCE)
        return answer(prompt)

    async def counted(*arguments: Any) -> Any:
        made.admitted += 1
        return await asked(*arguments)

    monkeypatch.setattr(of.miner.answerer, "answer", slow)
    monkeypatch.setattr(of.miner.app, "_answer", counted)
    return made


def at_once(of: Stack, prompts: Sequence[Prompt], brake: Brake) -> list[tuple[int, bytes]]:
    """Send prompts at once, and let them go when all have arrived; return status and body of each."""
    with ThreadPoolExecutor(len(prompts)) as pool:
        running = [pool.submit(of.prober.send, prompt) for prompt in prompts]
        assert until(lambda: brake.admitted == len(prompts))
        brake.let_go.set()
        return [(status, body) for status, _, body in (future.result() for future in running)]


# -------------------------------------------------------------------------------------- what is answered

SERVED = [(c.name, asset) for c in RULES.competitions.values() for asset in ASSETS if asset in c.assets]


@pytest.mark.parametrize(("competition", "asset"), SERVED)
def test_every_competition_gets_answers_that_pass_the_format_of_every_date(
    shared: Stack, competition: str, asset: str
) -> None:
    most = RULES.competitions[competition].num_simulations
    prompt = shared.prompt(asset, competition, most)
    status, seconds, body = shared.prober.send(prompt)
    reply = shared.prober.reply(prompt, status, seconds, body)
    assert len(reply.verdicts) > 1
    assert reply.accepted, reply.verdicts
    answer = orjson.loads(body)
    assert answer["simulation_input"] == {
        "asset": asset,
        "start_time": iso(prompt.start_time).replace("Z", "+00:00"),
        "time_increment": prompt.time_increment,
        "time_length": prompt.time_length,
        "num_simulations": most,
    }
    start, increment, *paths = answer["simulation_output"]
    assert (start, increment, len(paths)) == (prompt.start_time, prompt.time_increment, most)
    anchor = shared.miner.spots.latest(asset)
    assert anchor is not None
    assert {path[0] for path in paths} == {paths[0][0]}
    assert paths[0][0] == pytest.approx(anchor.price, rel=1e-6)


def test_every_competition_of_the_newest_rules_is_among_them() -> None:
    assert {competition for competition, _ in SERVED} == set(RULES.competitions)


@pytest.mark.parametrize("zipped", [False, True])
def test_encodings_that_a_caller_accepts_do_not_change_the_answer(
    zipped: bool, shared: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On one machine nothing is compressed, unless the settings say so; then it is for those who accept it."""
    if zipped:
        always = shared.settings[-1].with_flags({"live.gzip": "always"})
        monkeypatch.setattr(shared.miner.answerer, "settings", always)
    prompt, bodies = shared.prompt(paths=1000), set()
    encodings = ("gzip, deflate", "GZIP;q=0.5", "gzip;q=0", "gzip; q=0.0", "identity", "br;q=1.0, *;q=0", "", None)
    for i, encoding in enumerate(encodings):
        headers = signed_headers(VALIDATOR, MINER.ss58_address, time.time_ns(), f"encoding-{zipped}-{i}")
        answer = requests.post(
            f"{shared.url}/Simulation", data=body_of(prompt), timeout=PATIENCE,
            headers={**headers, "Accept-Encoding": encoding},
        )  # fmt: skip
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "application/json"
        assert ("content-encoding" in answer.headers) == (zipped and i < 2)
        if zipped and i < 2:
            assert int(answer.headers["content-length"]) < 0.6 * len(answer.content)
        # a status that is no integer, or a time that is no number, would void the answer
        assert int(answer.headers.get("bt_header_axon_status_code", "200")) == 200
        assert "timeout" not in answer.headers
        bodies.add(answer.content)
    assert len(bodies) == 1


def test_the_same_prompt_from_the_same_state_gets_the_same_answer(shared: Stack) -> None:
    prompt = shared.prompt()
    assert shared.prober.ask(prompt).sha256 == shared.prober.ask(prompt).sha256
    others = [shared.prompt(after=121), shared.prompt("XAU", "com-equ-24h"), shared.prompt(paths=FEW + 1)]
    assert len({shared.prober.ask(other).sha256 for other in [prompt, *others]}) == 4


# ------------------------------------------------------------------------------------- shared computation


def test_identical_prompts_at_once_are_computed_once_and_get_the_same_bytes(shared: Stack, brake: Brake) -> None:
    began = time.time()
    answers = at_once(shared, [shared.prompt(paths=33)] * 20, brake)
    assert len(brake.prompts) == 1
    assert {status for status, _ in answers} == {200}
    assert len({body for _, body in answers}) == 1
    records = shared.records_since(began, 20)
    assert sorted(record["shared"] for record in records) == [False] + [True] * 19
    assert len({record["paths_sha256"] for record in records}) == 1


def test_different_prompts_at_once_share_nothing(shared: Stack, brake: Brake) -> None:
    prompts = [
        shared.prompt(),
        shared.prompt(after=121),
        shared.prompt(paths=FEW + 1),
        shared.prompt(competition="crypto-1h"),
        shared.prompt("XAU", "com-equ-24h"),
    ]
    answers = at_once(shared, prompts, brake)
    assert sorted(brake.prompts) == sorted(prompts)
    assert len({body for _, body in answers}) == len(prompts)


def test_a_later_prompt_is_computed_anew(shared: Stack, brake: Brake) -> None:
    brake.let_go.set()
    for _ in range(3):
        assert shared.ask().accepted
    assert len(brake.prompts) == 3


def test_a_refusal_reaches_all_who_share_it_and_nobody_after(shared: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    brake = braked(shared, monkeypatch)
    held = shared.miner.answerer.answer

    def refusing(prompt: Prompt) -> Any:
        held(prompt)
        raise Refusal(503, "forecaster", "no forecast")

    with monkeypatch.context() as patch:
        patch.setattr(shared.miner.answerer, "answer", refusing)
        answers = at_once(shared, [shared.prompt(paths=34)] * 5, brake)
        assert {status for status, _ in answers} == {503}
    assert shared.ask(paths=34).accepted


def test_an_answer_whose_first_caller_hangs_up_reaches_the_others(shared: Stack, brake: Brake) -> None:
    prompt = shared.prompt(paths=35)
    headers = signed_headers(VALIDATOR, MINER.ss58_address, time.time_ns(), "gone")
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode()
    body = body_of(prompt)
    with socket.create_connection(("127.0.0.1", shared.miner.port or 0)) as first:
        head = b"POST /Simulation HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n" % len(body)
        first.sendall(head + lines + b"\r\n" + body)
        assert until(lambda: len(brake.prompts) == 1)
        with ThreadPoolExecutor(1) as pool:
            second = pool.submit(shared.prober.send, prompt)
            assert until(lambda: brake.admitted == 2)
            held = shared.miner.room.count()
            first.close()
            assert until(lambda: shared.miner.room.count() < held)
            brake.let_go.set()
            assert second.result()[0] == 200
    assert len(brake.prompts) == 1


def test_an_unforeseen_error_costs_one_answer_and_not_the_miner(shared: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Prompt) -> Any:
        raise ZeroDivisionError("a plug-in's own")

    with monkeypatch.context() as patch:
        patch.setattr(shared.miner.answerer, "answer", broken)
        reply = shared.ask()
        assert reply.status in (500, 503)
        assert "plug-in" not in str(reply.verdicts)
    assert shared.ask().accepted


# ----------------------------------------------------------------------------------------------- anchor


def test_the_anchor_is_the_fresh_spot_price(shared: Stack) -> None:
    record = shared.recorded()
    assert record["anchor"] == {"price": shared.feed.spot("BTCUSDT"), "at": START, "source": "binance"}


def last_close(of: Stack, asset: str = "BTC") -> dict[str, Any]:
    bars = of.updater.followers[asset].bars
    return {"price": float(bars.close[-1]), "at": float(bars.timestamp[-1]) + MINUTE, "source": "close"}


def spot_told(price: str) -> Any:
    return edit(lambda rows: [row | {"price": price} for row in rows] if isinstance(rows, list) else rows)


def test_an_implausible_spot_price_is_not_used(healed: Stack) -> None:
    close = float(healed.updater.followers["BTC"].bars.close[-1])
    for factor, used in ((1.23, False), (0.81, False), (100, False), (1.2, True), (0.83, True)):
        healed.feed.always = spot_told(str(close * factor))
        healed.miner.spots.refresh()
        anchor = healed.recorded()["anchor"]
        if used:
            assert anchor["price"] == pytest.approx(close * factor)
        else:
            assert anchor == last_close(healed)


@pytest.mark.parametrize("price", ["0", "-1", "nan", "inf", "1e-300", "1e300", "", "null"])
def test_what_is_no_price_never_becomes_an_anchor(healed: Stack, price: str) -> None:
    healed.feed.always = spot_told(price)
    healed.miner.spots.refresh()
    anchor = healed.recorded()["anchor"]
    assert anchor == last_close(healed) or anchor["price"] == healed.feed.spot("BTCUSDT")


@pytest.mark.ci
def test_without_a_spot_price_the_anchor_is_the_last_close_and_moves_with_it(tmp_path: Path) -> None:
    with stack(tmp_path, spots=False) as made:
        seen = set()
        for i in range(1, 4):
            made.take_up(START + MINUTE * i)
            anchor = made.recorded()["anchor"]
            assert anchor == last_close(made)
            seen.add(anchor["price"])
        assert made.miner.spots.latest("BTC") is None
        assert made.miner.spots.errors["binance"] > 0
        assert len(seen) == 3


# --------------------------------------------------------------- old states, and the updates that end it


@pytest.fixture
def old(tmp_path: Path) -> Iterator[Stack]:
    flags = {"live.stale_after": "5m", "live.refuse_after": "1h", "ewma.gap_policy": "decay"}
    with stack(tmp_path, ("BTC", "XAU"), flags=flags) as made:
        made.feed.always = DOWN
        yield made


def test_an_old_state_ages_by_the_gap_rule_and_a_too_old_one_is_refused(old: Stack) -> None:
    closed = old.newest() + MINUTE
    known = old.miner.answerer.known["BTC"]
    for seconds, aged in ((45.0, False), (300.9, False), (301.0, True), (1800.0, True), (3600.0, True)):
        old.clock.set(closed + seconds)
        record = old.recorded()
        assert (record["age"], record["aged"]) == (seconds, aged)
        anchor = record["anchor"]
        forecaster, prompt = known.model.forecaster, prompt_of(record)
        states = {True: forecaster.aged(known.state, prompt.request_time), False: known.state}
        paths = {way: forecaster.simulate(s, prompt, prompt.stream(record["seed"])) for way, s in states.items()}
        assert paths_digest(paths[aged]) == record["paths_sha256"]
        # whole missing bars count, and the first of them is that of the silence itself
        assert not aged or paths_digest(paths[not aged]) != record["paths_sha256"]
        if seconds >= 1800:
            assert np.std(paths[True][-1]) < np.std(paths[False][-1])
        assert (anchor["source"] == "close") == (seconds > 60.0)  # the spot price is half a minute younger
        problems = old.health("degraded" if aged else "ok") if seconds != 300.9 else []
        assert any("states are old" in text and "BTC" in text for text in problems) == aged
    old.clock.set(closed + 3600.5)
    reply = old.ask()
    assert reply.status == 503
    assert "state is too old" in str(reply.verdicts)
    assert any("refused" in text and "BTC XAU" in text for text in old.health("failing"))
    old.feed.always = None
    old.take_up()
    old.miner.spots.refresh()
    record = old.recorded()
    assert (record["aged"], record["anchor"]["source"]) == (False, "binance")
    assert old.health("ok") == []


def test_one_asset_that_is_too_old_is_refused_and_the_others_are_answered(old: Stack) -> None:
    old.feed.always = None
    old.clock.set(START + 4000)
    old.updater.followers["XAU"].update(int(old.clock.now()))
    assert until(lambda: old.miner.answerer.known["XAU"].saved.newest == old.newest("XAU"))
    assert old.ask().status == 503
    assert old.ask("XAU").accepted
    assert any("refused" in text and "BTC" in text and "XAU" not in text for text in old.health("degraded"))


def test_a_spot_price_that_is_too_old_gives_way_to_the_last_close(old: Stack) -> None:
    spot = old.miner.spots.latest("BTC")
    assert spot is not None
    for seconds, source in ((30.0, "binance"), (30.5, "close")):
        old.clock.set(spot.at + seconds)
        assert old.recorded()["anchor"]["source"] == source
    assert old.recorded()["anchor"] == last_close(old)


@pytest.mark.ci
def test_a_new_state_is_taken_up_within_a_second_while_prompts_go_on(tmp_path: Path) -> None:
    assert miner_module._LOOK < 1.0  # seconds between two looks
    with stack(tmp_path, look=miner_module._LOOK) as made:
        stop = threading.Event()

        def keep_asking() -> set[int]:
            seen = set()
            while not stop.is_set():
                seen.add(made.ask().status)
            return seen

        with ThreadPoolExecutor(2) as pool:
            running = [pool.submit(keep_asking) for _ in range(2)]
            for minute in range(1, 4):
                made.update(START + MINUTE * minute)
                generation = made.updater.followers["BTC"].generation
                assert until(lambda g=generation: made.miner.answerer.known["BTC"].saved.generation == g)
            stop.set()
            assert {status for future in running for status in future.result()} == {200}
        record = made.recorded()
        assert (record["generation"], record["newest"]) == (generation, made.newest())
        follower = made.updater.followers["BTC"]
        assert record["state_sha256"] == state_digest(follower.model.forecaster, follower.state)


def test_before_the_first_state_prompts_are_refused_and_from_it_on_answered(tmp_path: Path) -> None:
    with stack(tmp_path, updated=False) as made:
        reply = made.ask()
        assert reply.status == 503
        assert "no state of this asset yet" in str(reply.verdicts)
        problems = made.health("failing")
        assert any("refused" in text and "BTC" in text for text in problems)
        assert any("no updater has run here" in text for text in problems)
        entry = made.get("/health").json()["assets"]["BTC"]
        assert (entry["age"], entry["generation"], entry["feed"]) == (None, None, None)
        made.update()
        assert until(lambda: made.ask().accepted)
        assert made.health("ok") == []


# ----------------------------------------------------------------------------------------- damaged states


@pytest.mark.ci
@pytest.mark.parametrize("saves", [1, 3])
def test_a_damaged_state_on_disk_leaves_the_one_in_memory(tmp_path: Path, saves: int) -> None:
    """Also where the generation before is still there: it is older than what the miner knows."""
    with stack(tmp_path) as made:
        for i in range(1, saves):
            made.take_up(START + MINUTE * i)
        before = made.recorded()
        path = made.store.path("BTC")
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
        assert until(lambda: "BTC" in made.miner.answerer.problems)
        assert any(str(path) in text and "damaged" in text for text in made.health("degraded"))
        after = made.recorded()
        assert {name: after[name] for name in ("generation", "newest", "state_sha256", "paths_sha256")} == {
            name: before[name] for name in ("generation", "newest", "state_sha256", "paths_sha256")
        }
        made.take_up(START + MINUTE * saves)
        assert until(lambda: not made.miner.answerer.problems)
        assert made.health("ok") == []
        assert made.recorded()["generation"] > before["generation"]


def test_no_bytes_in_place_of_a_state_harm_a_miner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with stack(tmp_path) as made:
        for content in (b"", b"\x00" * 1000, b"\xc1", b"\x81" * 5000):
            made.miner.answerer.problems.clear()
            made.store.path("BTC").write_bytes(content)
            assert until(lambda: "BTC" in made.miner.answerer.problems)
            assert made.ask().accepted
        looks, look = [], made.miner.answerer.reload
        monkeypatch.setattr(made.miner.answerer, "reload", lambda: (look(), looks.append(1)))
        made.store.path("BTC").unlink()
        seen = len(looks)
        assert until(lambda: len(looks) > seen + 1)
        assert made.ask().accepted


def test_a_state_that_was_damaged_before_the_start_leaves_the_generation_before(tmp_path: Path) -> None:
    with stack(tmp_path) as made:
        made.take_up(START + MINUTE)
        made.store.path("BTC").write_bytes(b"damaged")
        miner = Miner(made.settings[0], MINER.ss58_address, AllowList([]), made.clock)
        miner.answerer.reload()
        assert miner.answerer.known["BTC"].saved.generation == made.updater.followers["BTC"].generation - 1
        assert "BTC" in miner.answerer.problems


# --------------------------------------------------------------------------------------- changed settings


def reconfigured(of: Stack, **changes: Any) -> LoadedSettings:
    """Let a miner take up changed settings; return them."""
    answerer = of.miner.answerer
    of.settings.append(of.settings[-1].with_flags({key.replace("__", "."): value for key, value in changes.items()}))
    of.miner.reconfigure()
    assert until(lambda: of.miner.app.answerer is not answerer)
    return of.settings[-1]


def test_a_changed_half_life_is_taken_up_and_the_state_made_again_from_its_bars(tmp_path: Path) -> None:
    with stack(tmp_path) as made:
        before = made.recorded()
        settings = reconfigured(made, ewma__half_life_1m="7m", ewma__half_life_5m="23m")
        after = made.recorded()
        model = Model.of("ewma", BOOK.asset("BTC"), settings)
        bars = made.updater.followers["BTC"].bars
        saved, _ = made.store.load("BTC")
        assert saved.states["ewma"].parameters == before["parameters"] != after["parameters"] == model.parameters
        assert after["state_sha256"] == state_digest(model.forecaster, model.state_of(bars))
        assert after["paths_sha256"] != before["paths_sha256"]
        log = LiveLog.read(made.log)
        assert log.settings(after["settings"]).values == settings.values
        assert log.settings(before["settings"]).values == made.settings[0].values
        made.take_up(START + MINUTE)  # an updater of the settings before goes on too
        assert made.recorded()["parameters"] == model.parameters
        made.miner.spots.refresh()
        assert made.health("ok") == []


def test_spot_prices_that_are_known_and_fresh_are_used_under_changed_settings_too(tmp_path: Path) -> None:
    with stack(tmp_path) as made:
        before = made.recorded()["anchor"]
        made.feed.always = DOWN  # the first look of those to come may take its time
        reconfigured(made, ewma__half_life_1m="7m")
        assert made.recorded()["anchor"] == before


def test_prompts_go_on_while_settings_are_taken_up(tmp_path: Path) -> None:
    with stack(tmp_path) as made:
        stop = threading.Event()

        def keep_asking() -> set[int]:
            seen = set()
            while not stop.is_set():
                seen.add(made.ask().status)
            return seen

        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(keep_asking)
            for minutes in (7, 9):
                reconfigured(made, ewma__half_life_1m=f"{minutes}m")
            stop.set()
            assert running.result() == {200}


def test_an_answer_names_the_settings_that_it_was_made_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that was being computed while they changed."""
    with stack(tmp_path) as made:
        brake = braked(made, monkeypatch)
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(made.prober.send, made.prompt())
            assert until(lambda: len(brake.prompts) == 1)
            reconfigured(made, ewma__half_life_5m="23m")
            brake.let_go.set()
            assert running.result()[0] == 200
        assert until(lambda: len(made.records()) == 1)
        record = made.records()[0]
        settings = LiveLog.read(made.log).settings(record["settings"])
        assert Model.of("ewma", BOOK.asset("BTC"), settings).parameters == record["parameters"]


@pytest.mark.parametrize(
    "error", [ConfigError("live.forecaster: no such thing"), OSError("no such file"), KeyError("x")]
)
def test_settings_that_cannot_be_read_leave_those_before_and_states_go_on(tmp_path: Path, error: Exception) -> None:
    with stack(tmp_path) as made:
        asked = threading.Event()

        def unreadable() -> LoadedSettings:
            asked.set()
            raise error

        made.miner.load_settings = unreadable
        before = made.recorded()
        made.miner.reconfigure()
        assert asked.wait(PATIENCE)
        made.take_up(START + MINUTE)
        after = made.recorded()
        assert after["settings"] == before["settings"]
        assert after["generation"] == before["generation"] + 1


def test_settings_that_cannot_be_recorded_do_not_stop_the_states(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with stack(tmp_path) as made:
        tried = threading.Event()

        def full(_: LoadedSettings) -> str:
            tried.set()
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(made.miner.records, "record_settings", full)
        made.settings.append(made.settings[0].with_flags({"ewma.half_life_1m": "7m"}))
        made.miner.reconfigure()
        assert tried.wait(PATIENCE)
        made.take_up(START + MINUTE)
        assert made.recorded()["newest"] == made.newest()


def test_whom_to_admit_is_among_the_settings_that_are_taken_up(tmp_path: Path) -> None:
    """Ports, keys and folders need a restart; nothing else does."""
    chain = FakeChain()
    chain.rows[0] = Neuron(VALIDATOR.ss58_address, 7, 70_000.0, False, "")
    with stack(tmp_path, chain=chain, flags={"live.require_permit": False}) as made:
        assert until(lambda: made.ask().accepted)
        reconfigured(made, live__require_permit=True)
        assert until(lambda: made.ask().status == 403), "require_permit"
        reconfigured(made, live__require_permit=False, live__min_stake=80_000)
        assert until(lambda: made.ask().status == 403), "min_stake"


def test_keeping_paths_is_among_the_settings_that_are_taken_up(tmp_path: Path) -> None:
    with stack(tmp_path) as made:
        reconfigured(made, live__keep_paths=True)
        record = made.recorded()
        assert paths_digest(read_kept_paths(made.log, record)) == record["paths_sha256"]


# ------------------------------------------------------------------------------------------------ records


def test_each_answer_has_one_record_that_holds_what_determines_it(shared: Stack) -> None:
    began = time.time()
    prompts = [shared.prompt(after=120 + i) for i in range(5)]
    replies = [shared.prober.ask(prompt) for prompt in prompts]
    assert shared.ask("BTC", after=100_000).status == 400  # a refusal has none
    records = shared.records_since(began, 5)
    assert [prompt_of(record) for record in records] == prompts
    known = shared.miner.answerer.known["BTC"]
    for record, reply in zip(records, replies, strict=True):
        assert began <= record["received"] <= time.time()
        assert (record["caller"], record["ip"], record["shared"]) == (VALIDATOR.ss58_address, "127.0.0.1", False)
        assert (record["forecaster"], record["parameters"]) == ("ewma", known.model.parameters)
        assert (record["feed"], record["synthetic"]) == ("binance", True)
        assert record["seed"] == shared.settings[0].values.run.seed
        assert set(record["seconds"]) == {"simulate", "render", "total"}
        assert reply.size > 0
        paths = read_kept_paths(shared.log, record)
        assert paths_digest(paths) == record["paths_sha256"]
        assert paths.shape == (289, FEW)


def test_the_hash_in_a_record_is_that_of_the_bytes_sent(shared: Stack) -> None:
    began = time.time()
    _, _, body = shared.prober.send(shared.prompt())
    (record,) = shared.records_since(began, 1)
    output = body.partition(b'"simulation_output":')[2][:-1]
    assert hashlib.sha256(output).hexdigest() == record["body_sha256"]


def test_a_line_that_a_crash_cut_costs_no_other(tmp_path: Path) -> None:
    with stack(tmp_path) as made:
        made.recorded()
        (path,) = made.log.glob("answers-*.jsonl")
        whole = path.read_bytes()
        path.write_bytes(whole + whole[: len(whole) // 2])
        for _ in range(2):
            made.recorded()
        log = LiveLog.read(made.log)
        assert (len(log.answers), log.torn) == (3, 1)


def test_answers_go_on_without_their_log_and_health_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: Any) -> None:
        raise OSError(28, "No space left on device")

    with stack(tmp_path) as made:
        with monkeypatch.context() as patch:
            patch.setattr(made.miner.records, "_write", full)
            for _ in range(3):
                assert made.ask().accepted
            assert until(lambda: made.miner.records.lost == 3)
        assert any("3 answers were not logged" in text for text in made.health("degraded"))
        assert made.metric("ewmalab_answers_unlogged") == 3
        made.recorded()


def full(_: Path, *__: Any, **___: Any) -> Any:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_miner_starts_without_its_log_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    patch = pytest.MonkeyPatch()
    patch.setattr("ewmalab.live.audit.answer_log.write_atomic", full)
    try:
        with stack(tmp_path) as made:
            assert made.ask().accepted
            assert any(f"answers cannot be logged to {made.log}" in text for text in made.health("degraded"))
            assert until(lambda: made.miner.records.lost == 1)
            patch.undo()
            record = made.recorded()
            assert LiveLog.read(made.log).settings(record["settings"])
            assert made.miner.records.recording
    finally:
        patch.undo()


def test_on_a_full_disk_states_and_heartbeat_go_through_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "memory").mkdir()
    monkeypatch.setattr(status_module, "_MEMORY", tmp_path / "memory")
    with stack(tmp_path) as made:
        root, write, before = made.miner.store.root, state_store.write_temp, made.newest()

        def refused(folder: Path, data: bytes) -> Path:
            return full(folder) if folder == root else write(folder, data)

        with monkeypatch.context() as patch:
            patch.setattr(state_store, "write_temp", refused)
            patch.setattr(status_module, "write_atomic", full)
            made.take_up(START + 5 * MINUTE)
            assert made.newest() == made.miner.answerer.known["BTC"].saved.newest == before + 5 * MINUTE
            assert made.ask().accepted
            assert status_module.updater_responds(root, 1.0)
            assert any("the state cannot be saved" in problem for problem in made.health("degraded"))
            assert "it is kept in memory" in caplog.text
        made.take_up(START + 6 * MINUTE)
        assert made.recorded()["newest"] == before + 6 * MINUTE
        assert made.health("ok") == []


def test_no_secret_is_written_told_or_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    flags = {"feeds.pyth.api_key": SECRET, "live.feed": "binance"}
    with stack(tmp_path, flags=flags) as made:
        record = made.recorded()
        reconfigured(made, ewma__half_life_1m="7m")
        made.recorded()
        told = made.get("/health").text + made.get("/metrics").text
        recorded = LiveLog.read(made.log).settings(record["settings"])
    assert recorded.values.feeds.pyth.api_key.get_secret_value() == ""
    assert recorded.values.live == made.settings[0].values.live
    assert SECRET not in told
    assert SECRET not in caplog.text
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len([path for path in files if path.parent.name == "settings"]) == 2
    assert [path for path in files if SECRET.encode() in path.read_bytes()] == []


# ------------------------------------------------------------------------------------------- the monitor


def test_health_tells_what_the_miner_rests_on(shared: Stack) -> None:
    assert shared.health("ok") == []
    found = shared.get("/health").json()
    assert found["hotkey"] == MINER.ss58_address
    assert found["uid"] is None
    assert found["synthetic"] is True
    assert found["market_time"] == iso(START)
    assert 0 <= found["chain_age"] < 3600
    assert set(found["assets"]) == set(ASSETS)
    for asset, entry in found["assets"].items():
        assert entry == {
            "age": round(START - shared.newest(asset) - MINUTE, 1),
            "generation": 1,
            "feed": shared.updater.followers[asset].feed.name,
            "spot_age": 0.0,
        }


def test_metrics_count_answers_refusals_and_anchors(shared: Stack) -> None:
    names = {
        "answered": 'ewmalab_prompts_total{asset="BTC",competition="crypto-24h"}',
        "refused": 'ewmalab_refused_total{kind="stranger"}',
        "anchors": 'ewmalab_anchors_total{source="binance"}',
        "latency": "ewmalab_answer_seconds_count",
        "simulated": "ewmalab_simulation_seconds_count",
    }
    before = {name: shared.metric(line) for name, line in names.items()}
    for _ in range(2):
        assert shared.ask().accepted
    assert Prober(shared.url, STRANGER, MINER.ss58_address).ask(shared.prompt()).status == 403
    assert until(lambda: shared.metric(names["latency"]) == before["latency"] + 2)
    after = {name: shared.metric(line) for name, line in names.items()}
    assert {name: after[name] - before[name] for name in names} == {
        "answered": 2, "refused": 1, "anchors": 2, "latency": 2, "simulated": 2,
    }  # fmt: skip
    assert shared.metric('ewmalab_state_age_seconds{asset="BTC"}') == START - shared.newest() - MINUTE
    assert shared.metric('ewmalab_spot_age_seconds{asset="BTC"}') == 0
    assert 0 <= shared.metric("ewmalab_chain_age_seconds") < 3600


def test_metrics_count_open_connections(shared: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve_module, "HEAD_SECONDS", PATIENCE)
    shared.prober._session.close()
    assert until(lambda: shared.metric("ewmalab_connections") == 0)
    held = [socket.create_connection(("127.0.0.1", shared.miner.port or 0)) for _ in range(5)]
    try:
        assert until(lambda: shared.metric("ewmalab_connections") == 5)
    finally:
        for connection in held:
            connection.close()


def test_the_monitor_is_on_an_address_of_its_own(shared: Stack) -> None:
    assert shared.miner.monitor_port != shared.miner.port
    for path in ("/health", "/metrics"):
        assert shared.get(path).status_code == 200
        assert requests.get(shared.url + path, timeout=PATIENCE).status_code == 404
    for path in ("/", "/Simulation", "/docs", "/health/"):
        assert shared.get(path).status_code == 404


def test_the_monitor_listens_on_this_machine_alone_unless_told_otherwise(shared: Stack) -> None:
    assert shared.settings[0].values.live.monitor_host == "127.0.0.1"


def test_a_silent_updater_and_a_wrong_clock_are_told(tmp_path: Path) -> None:
    with stack(tmp_path) as made:
        path = made.miner.store.root / "updater.json"
        note = orjson.loads(path.read_bytes())
        for change, text in (
            ({"system_time": note["system_time"] - 1000}, "the updater has been silent for"),
            ({"clock_skew": -11.0}, "our clock differs from the feed's by -11 s"),
            ({"clock_skew": 11.0}, "our clock differs from the feed's by 11 s"),
            ({"assets": {"BTC": note["assets"]["BTC"] | {"error": "feed: 503"}}}, "updater: BTC: feed: 503"),
        ):
            path.write_bytes(orjson.dumps(note | change))
            assert any(text in problem for problem in made.health("degraded"))
        made.miner.directory.skew = -12.0
        assert any("our clock differs from the chain's by -12 s" in problem for problem in made.health("degraded"))
        path.write_bytes(b"{")
        assert any("no updater has run here" in problem for problem in made.health("degraded"))


@pytest.mark.parametrize("off", [-NONCE_PAST - 1, -NONCE_PAST + 5, NONCE_FUTURE - 5, NONCE_FUTURE + 1])
def test_a_clock_that_is_off_is_told_before_and_while_validators_are_refused(off: float, tmp_path: Path) -> None:
    """Whatever the feed's clock says: the signed nonces of those who may call tell it too."""
    with stack(tmp_path) as made:
        made.miner.gate.started -= 60  # it has been running for a while
        nonce = time.time_ns() + int(off * 1e9)
        headers = signed_headers(VALIDATOR, MINER.ss58_address, nonce, "off")
        answer = requests.post(made.url + "/Simulation", data=body_of(made.prompt()), headers=headers, timeout=20)
        told = made.health("degraded")
        assert any(re.search(rf"our clock differs from the callers' by {-off:.0f} s", p) for p in told), told
        found = made.get("/health").json()
        refused = not -NONCE_PAST <= off <= NONCE_FUTURE
        assert answer.ok != refused
        assert any("of 1 validators heard, 1 are refused: 1 for nonce" in problem for problem in told) == refused
        assert found["callers"]["share_refused"] == float(refused)
        assert made.ask().accepted
        assert made.get("/health").json()["callers"] == {"heard": 1, "refused": {}, "share_refused": 0.0}
        assert made.health("ok") == []


def test_strangers_and_copies_do_not_make_health_speak_of_refused_validators(tmp_path: Path) -> None:
    with stack(tmp_path) as made:
        assert made.ask().accepted
        old, body = time.time_ns() - 10**11, body_of(made.prompt())
        for key, change in (
            (STRANGER, {}),
            (VALIDATOR, {"bt_header_dendrite_signature": "0x" + "0" * 128}),
            (VALIDATOR, {}),
        ):
            headers = signed_headers(key, MINER.ss58_address, old, "old") | change
            assert requests.post(made.url + "/Simulation", data=body, headers=headers, timeout=20).status_code == 401
        assert made.get("/health").json()["callers"] == {"heard": 1, "refused": {}, "share_refused": 0.0}


# ------------------------------------------------------------------------------------ dates that pass


@pytest.mark.ci
def test_at_an_eras_hour_assets_and_feeds_change_without_a_restart(tmp_path: Path) -> None:
    """SP500 takes the place of SPYX, and BTC is scored on another feed; answers go on all the while."""
    begin, hour = parse_time("2026-07-22T23:58:30"), parse_time("2026-07-23")
    with stack(tmp_path, ("BTC", "SPYX", "SP500"), start=begin, spots=False) as made:
        made.feed.always = None
        known = made.miner.answerer.known
        assert {asset: known[asset].saved.feed for asset in known} == {
            "BTC": "pyth", "SPYX": "pyth", "SP500": "hyperliquid",
        }  # fmt: skip
        stop, adopted = threading.Event(), list[Updater]()
        given = (made.updater, lambda: made.settings[-1], stop, None, adopted.append)
        loop = threading.Thread(target=keep_updating, args=given)
        loop.start()
        try:
            assert made.ask(after=120).accepted
            made.clock.set(hour + 3)
            assert until(lambda: set(made.miner.answerer.assets) == {"BTC", "SP500"})
            assert made.ask(after=120).accepted
            assert until(lambda: made.miner.answerer.known["BTC"].saved.feed == "binance")
            assert made.recorded()["feed"] == "binance"
            assert {asset: f.feed.name for asset, f in adopted[-1].followers.items()} == {
                "BTC": "binance", "SP500": "hyperliquid",
            }  # fmt: skip
            assert made.ask("SPYX", "com-equ-24h").status == 400
            assert made.ask("SP500", "com-equ-24h").accepted
        finally:
            stop.set()
            loop.join()


def test_at_an_eras_hour_the_stake_floor_changes_without_a_restart(tmp_path: Path) -> None:
    *_, hour = (a.on for b, a in pairwise(BOOK.eras) if a.min_stake != b.min_stake)
    floors = [BOOK.at(when).min_stake for when in (hour - 1, hour)]
    with stack(tmp_path, start=hour - 1, updated=False, spots=False) as made:
        assert made.miner.gate.min_stake == floors[0]
        made.clock.set(hour)
        assert until(lambda: made.miner.gate.min_stake == floors[1])


def test_assets_are_followed_an_hour_before_their_first_prompts() -> None:
    settings = live_settings(Path("unused"), "http://127.0.0.1:9", ()).values
    joins = parse_time("2026-04-10T14:00")
    assert "XRP" not in live_assets(settings, BOOK, joins - LEAD - 1)
    assert "XRP" in live_assets(settings, BOOK, joins - LEAD)
    assert choose_feeds(settings, BOOK, joins - LEAD).feeds["XRP"] == BOOK.at(joins).assets["XRP"].scored_feed
    assert eras(BOOK, joins - LEAD - 1) != eras(BOOK, joins - LEAD) != eras(BOOK, joins)


def test_a_rulebook_that_is_dropped_in_is_taken_up_and_an_unusable_one_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path, text = tmp_path / "rules.toml", DEFAULT_PATH.read_text()
    floor = BOOK.at(START).min_stake
    path.write_text(text)
    monkeypatch.setenv("EWMALAB_RULEBOOK", str(path))
    with stack(tmp_path / "live", updated=False, spots=False) as made:
        assert made.miner.gate.min_stake == floor
        path.write_text(text.replace("version", "verzion", 1))
        answerer = made.miner.answerer
        made.miner.reconfigure()
        assert until(lambda: made.miner.app.answerer is not answerer)
        assert f"rulebook not changed: rulebook {path}: " in caplog.text
        assert made.miner.gate.min_stake == floor
        path.write_text(re.sub(r"value = 65_?000\b", "value = 70000", text))
        answerer = made.miner.answerer
        made.miner.reconfigure()
        assert until(lambda: made.miner.gate.min_stake == 70_000)


def test_a_heartbeat_of_another_form_does_not_silence_health(tmp_path: Path) -> None:
    """Whoever watches `/health` takes silence for a hanging miner, and would start it again and again."""
    with stack(tmp_path, spots=False) as made:
        for note in (b"{}", b"[]", b"null", b'{"system_time": "x"}', b"\xff"):
            (made.miner.store.root / "updater.json").write_bytes(note)
            assert any("updater" in problem for problem in made.health("degraded")), note
            assert made.get("/metrics").status_code == 200


# ---------------------------------------------------------------------------------------------- the chain


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the chain be asked again soon after a failure."""
    monkeypatch.setattr(directory_module, "_SOON", 0.1)


@pytest.mark.usefixtures("soon")
def test_without_chain_or_saved_list_nobody_is_admitted_until_the_chain_answers(tmp_path: Path) -> None:
    chain = FakeChain(down=True)
    with stack(tmp_path, chain=chain, flags=CHAINED) as made:
        reply = made.ask()
        assert reply.status == 403
        assert "callers are not known yet" in str(reply.verdicts)
        problems = made.health("failing")
        assert any("no caller is admitted" in text and "gone fishing" in text for text in problems)
        assert made.get("/health").json()["chain_age"] is None
        assert made.metric("ewmalab_chain_age_seconds") == float("inf")
        chain.down = False
        assert until(lambda: made.ask().accepted)
        assert made.health("ok") == []
        assert made.get("/health").json()["uid"] == 42


@pytest.mark.ci
@pytest.mark.usefixtures("soon")
def test_with_a_saved_list_a_miner_answers_before_the_chain_does(tmp_path: Path) -> None:
    with stack(tmp_path, chain=FakeChain(), flags=CHAINED) as made:
        assert until(lambda: made.ask().accepted)
    with stack(tmp_path, chain=FakeChain(down=True), flags=CHAINED) as made:
        assert made.ask().accepted
        assert until(lambda: made.miner.directory.errors > 0)
        assert made.health("ok") == []
    path = tmp_path / "state" / SNAPSHOT
    saved = orjson.loads(path.read_bytes())
    path.write_bytes(orjson.dumps(saved | {"at": saved["at"] - 7200}))
    with stack(tmp_path, chain=FakeChain(down=True), flags=CHAINED) as made:
        assert made.ask().accepted
        assert until(lambda: made.miner.directory.errors > 0)
        (problem,) = made.health("degraded")
        assert "the chain last answered 120 min ago" in problem
        assert "gone fishing" in problem


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"at": 1, "neurons": [{"hotkey": "x"}]}'])
@pytest.mark.usefixtures("soon")
def test_a_damaged_list_is_no_list(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / SNAPSHOT).write_bytes(content)
    chain = FakeChain(down=True)
    with stack(tmp_path, chain=chain, spots=False) as made:
        assert made.ask().status == 403
        chain.down = False
        assert until(lambda: made.ask().accepted)


@pytest.mark.usefixtures("soon")
def test_a_chain_that_is_lost_later_leaves_the_last_list(tmp_path: Path) -> None:
    chain = FakeChain()
    with stack(tmp_path, chain=chain, flags=CHAINED) as made:
        assert until(lambda: made.ask().accepted)
        chain.down = True
        assert not made.miner.directory.refresh()
        assert made.ask().accepted
        assert made.health("ok") == []
        made.miner.directory.at = time.time() - 3700
        assert any("the chain last answered" in text for text in made.health("degraded"))
        assert made.ask().accepted
        chain.down = False
        chain.rows = chain.rows[1:]
        assert made.miner.directory.refresh()
        assert made.ask().status == 403


@pytest.mark.usefixtures("soon")
def test_our_own_hotkey_that_is_not_registered_is_told(tmp_path: Path) -> None:
    chain = FakeChain()
    chain.rows = chain.rows[:1]
    with stack(tmp_path, chain=chain, flags=CHAINED) as made:
        assert until(lambda: made.ask().accepted)
        (problem,) = made.health("degraded")
        assert "not registered" in problem


# --------------------------------------------------------------------------------------------------- stop


def refuses(port: int) -> bool:
    """Tell whether nobody listens on a port."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=PATIENCE).close()
    except OSError:
        return True
    return False


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a miner wait for its callers longer than any test for the miner."""
    for module, name in (
        (serve_module, "HEAD_SECONDS"), (serve_module, "_KEEP_ALIVE"), (serve_module, "_LAST_ANSWERS"),
        (app_module, "BODY_SECONDS"), (app_module, "SEND_SECONDS"),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, int(2 * PATIENCE))


@pytest.mark.usefixtures("patient")
def test_a_stop_lets_answers_under_way_finish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with stack(tmp_path) as made:
        brake = braked(made, monkeypatch)
        with ThreadPoolExecutor(4) as pool:
            running = [pool.submit(made.prober.send, made.prompt(after=120 + i), timeout=TIMEOUT) for i in range(4)]
            assert until(lambda: brake.admitted == 4)
            made.miner.stop.set()
            assert until(lambda: refuses(made.miner.port or 0))  # no new ones meanwhile
            brake.let_go.set()
            assert {future.result()[0] for future in running} == {200}
        made.thread.join(PATIENCE)
        assert not made.thread.is_alive()
        assert len(made.records()) == 4


@pytest.mark.usefixtures("patient")
def test_a_stop_does_not_wait_for_those_who_say_nothing(tmp_path: Path) -> None:
    with stack(tmp_path) as made:
        assert made.ask().accepted
        held = [socket.create_connection(("127.0.0.1", made.miner.port or 0)) for _ in range(20)]
        for connection in held[::2]:
            connection.sendall(b"POST /Simulation HTTP/1.1\r\nhost:")
        assert until(lambda: made.miner.room.count() >= 20)
        made.miner.stop.set()
        made.thread.join(PATIENCE)
        assert not made.thread.is_alive()
        for connection in held:
            connection.close()


@pytest.mark.ci
@pytest.mark.usefixtures("patient")
def test_a_stop_waits_only_so_long_for_those_who_do_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve_module, "_LAST_ANSWERS", 1)
    with stack(tmp_path) as made:
        prompt = made.prompt(paths=1000)
        headers = signed_headers(VALIDATOR, MINER.ss58_address, time.time_ns(), "reader")
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode()
        body = body_of(prompt)
        with socket.socket() as reader:
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            reader.connect(("127.0.0.1", made.miner.port or 0))
            head = b"POST /Simulation HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n" % len(body)
            reader.sendall(head + lines + b"\r\n" + body)
            assert until(unread)
            made.miner.stop.set()
            made.thread.join(PATIENCE)
            assert not made.thread.is_alive()
        assert left_open() == 0


def unread() -> bool:
    """Tell whether part of an answer waits for a caller who does not read."""
    protocols = [thing for thing in gc.get_objects() if type(thing) is GuardedProtocol and thing.loop.is_running()]
    return any(p.transport.get_write_buffer_size() for p in protocols if p.transport)


def left_open() -> int:
    """Close the connections that a miner which has ended did not, and return how many those were."""
    protocols = [thing for thing in gc.get_objects() if type(thing) is GuardedProtocol and thing.loop.is_closed()]
    transports: list[Any] = [p.transport for p in protocols if getattr(p.transport, "_sock", None) is not None]
    for transport in transports:
        transport._sock.close()
        transport._sock = None
    return len(transports)


@pytest.mark.ci
def test_a_miner_that_is_started_again_goes_on_with_its_log_and_states(tmp_path: Path) -> None:
    with stack(tmp_path) as made:
        first = made.recorded()
    with stack(tmp_path, updated=False) as made:
        second = made.recorded()
        assert len(made.records()) == 2
    same = ("generation", "newest", "state_sha256", "paths_sha256", "parameters")
    assert {name: second[name] for name in same} == {name: first[name] for name in same}
    assert len(list((tmp_path / "log" / "settings").iterdir())) == 2  # the feed server's port is among them


@pytest.mark.ci
def test_no_request_is_answered_again_after_a_restart_whatever_order_the_nonces_came_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nine requests whose nonces are ahead of our clock, the newest first; one copy of each after the restart."""
    present = time.time()
    monkeypatch.setattr(SettableClock, "system", lambda _: present)
    sent = [signed_headers(VALIDATOR, MINER.ss58_address, int((present + 9 - i) * 1e9), f"p{i}") for i in range(9)]

    def statuses(of: Stack) -> list[int]:
        body, url = body_of(of.prompt()), of.url + "/Simulation"
        return [requests.post(url, data=body, headers=headers, timeout=20).status_code for headers in sent]

    with stack(tmp_path) as made:
        assert statuses(made) == [200] * 9
    with stack(tmp_path, updated=False) as made:
        assert statuses(made) == [401] * 9
        later = signed_headers(VALIDATOR, MINER.ss58_address, int((present + 9.5) * 1e9), "p9")
        assert requests.post(made.url + "/Simulation", data=body_of(made.prompt()), headers=later, timeout=20).ok


def test_each_of_our_hotkeys_remembers_its_own_nonces(tmp_path: Path) -> None:
    ours, other = (NewestNonces(tmp_path, name) for name in ("ours", "other"))
    for nonces, newest in ((ours, 7), (other, 5)):
        nonces.start()
        nonces.take("caller", newest)
        nonces.take("caller", 3)
        nonces.close()
    assert [NewestNonces(tmp_path, name).earlier for name in ("ours", "other")] == [{"caller": 7}, {"caller": 5}]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"9e99", b'{"caller": "x"}'])
def test_a_damaged_memory_of_nonces_is_none(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "nonces-ours.json").write_bytes(content)
    assert NewestNonces(tmp_path, "ours").earlier == {}


def test_callers_do_not_wait_for_a_disk_that_syncs_slowly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever's clock is ahead of ours: the answer is there while the disk still holds up whoever syncs."""
    with stack(tmp_path) as made:
        free, held = threading.Event(), threading.Event()

        def slow(_: int) -> None:
            held.set()
            free.wait(PATIENCE)

        monkeypatch.setattr(os, "fsync", slow)
        saver = threading.Thread(target=made.updater.heartbeat, args=(START,))
        saver.start()
        try:
            assert held.wait(PATIENCE)
            for i in range(3):
                ahead = signed_headers(VALIDATOR, MINER.ss58_address, time.time_ns() + 5 * 10**9, f"p{i}")
                body = body_of(made.prompt())
                assert requests.post(made.url + "/Simulation", data=body, headers=ahead, timeout=20).ok
                assert made.ask().accepted
        finally:
            free.set()
            saver.join()
