"""Who gives way when there are too many: connections of strangers, and prompts of one caller."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from ewmalab.live.miner import connection_room as room_module
from ewmalab.live.miner.admission import Refusal
from ewmalab.live.miner.connection_room import Room
from ewmalab.live.miner.turns import Turns

VALIDATOR, STRANGER, OTHER, NEW = "1.1.1.1", "2.2.2.2", "3.3.3.3", "4.4.4.4"


class Line:
    """A connection that a room may drop; it is left soon after, as a socket is."""

    def __init__(self, ip: str) -> None:
        self.ip, self.dropped = ip, False

    def drop(self) -> None:
        self.dropped = True


class Time:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> Room:
    """A small room in which one address is known."""
    for name, most in (("MAX_CONNECTIONS", 8), ("MAX_STRANGERS", 6), ("MAX_PER_IP", 4)):
        monkeypatch.setattr(room_module, name, most)
    return Room(lambda: {VALIDATOR})


def enter(room: Room, *ips: str) -> list[Line]:
    lines = [Line(ip) for ip in ips]
    for line in lines:
        before = list(room._idle)
        room.enter(line)
        for gone in {*before, line} - set(room._idle):
            room.leave(gone)
    return lines


def test_the_oldest_idle_stranger_gives_way_and_no_validator(room: Room) -> None:
    known = enter(room, VALIDATOR, VALIDATOR)
    strangers = enter(room, *[STRANGER, OTHER] * 3)
    assert not any(line.dropped for line in known + strangers)
    enter(room, NEW)
    assert [line.dropped for line in strangers] == [True] + [False] * 5
    enter(room, VALIDATOR)
    assert [line.dropped for line in strangers] == [True] * 2 + [False] * 4
    assert not any(line.dropped for line in known)


def test_some_room_is_never_given_to_strangers(room: Room) -> None:
    strangers = enter(room, *[STRANGER, OTHER, NEW] * 3)
    assert sum(line.dropped for line in strangers) == 3
    assert not any(line.dropped for line in strangers[3:])
    assert not any(line.dropped for line in strangers + enter(room, VALIDATOR, VALIDATOR) if line not in strangers[:3])


def test_one_address_gives_way_to_itself(room: Room) -> None:
    other = enter(room, OTHER)
    strangers = enter(room, *[STRANGER] * 6)
    assert [line.dropped for line in strangers] == [True, True, False, False, False, False]
    assert not other[0].dropped


def test_a_connection_whose_prompt_was_admitted_stays_and_its_address_is_known_for_a_day(room: Room) -> None:
    time = Time()
    room._uptime = time
    (caller,) = enter(room, NEW)
    room.admit(caller)
    strangers = enter(room, *[STRANGER, OTHER] * 5)
    room.rest(caller)
    strangers += enter(room, *[STRANGER, OTHER] * 5)
    assert not caller.dropped
    assert sum(not line.dropped for line in strangers) == 6
    time.now += 86_401
    enter(room, *[STRANGER, OTHER] * 5)
    assert caller.dropped


# ------------------------------------------------------------------------------------------------- turns


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as made:
        yield made


def test_a_caller_waits_for_its_turn_and_not_for_all_prompts_of_another(pool: ThreadPoolExecutor) -> None:
    done: list[str] = []

    def work(name: str) -> Callable[[], str]:
        return lambda: done.append(name) or name  # type: ignore[func-returns-value]

    async def ask() -> None:
        turns: Turns[str] = Turns(pool, 1)
        wanted = [turns.take("greedy", f"g{i}", work(f"g{i}"))[0] for i in range(20)]
        wanted += [turns.take("honest", f"h{i}", work(f"h{i}"))[0] for i in range(3)]
        assert await asyncio.gather(*wanted) == [f"g{i}" for i in range(20)] + [f"h{i}" for i in range(3)]
        assert not turns._jobs
        assert not turns._waiting

    asyncio.run(ask())
    assert done[:7] == ["g0", "g1", "h0", "g2", "h1", "g3", "h2"]


def test_work_that_several_want_is_done_once_and_at_the_first_of_their_turns(pool: ThreadPoolExecutor) -> None:
    done: list[str] = []

    async def ask() -> None:
        turns: Turns[None] = Turns(pool, 1)
        wanted = [turns.take("greedy", f"g{i}", lambda i=i: done.append(f"g{i}")) for i in range(9)]  # type: ignore[misc]
        wanted.append(turns.take("honest", "g8", lambda: done.append("again")))
        assert [shared for _, shared in wanted] == [False] * 9 + [True]
        await asyncio.gather(*(result for result, _ in wanted))

    asyncio.run(ask())
    assert sorted(done) == [f"g{i}" for i in range(9)]
    assert done.index("g8") == 2


def test_a_quota_refuses_one_caller_and_no_other(pool: ThreadPoolExecutor) -> None:
    turns: Turns[None] = Turns(pool, 1, quota=2)
    with turns.place("greedy"):
        with turns.place("greedy"), turns.place("honest"):
            with pytest.raises(Refusal) as caught, turns.place("greedy"):
                raise AssertionError("has a place")
            assert caught.value.status == 429
        with turns.place("greedy"):
            pass
    assert not turns._held


def test_an_error_reaches_all_who_wait_and_ends_no_turn(pool: ThreadPoolExecutor) -> None:
    free = threading.Event()

    def fail() -> str:
        free.wait()
        raise Refusal(503, "stale", "too old")

    async def ask() -> None:
        turns: Turns[str] = Turns(pool, 1)
        failing = [turns.take(caller, "bad", fail)[0] for caller in "ab"]
        good, _ = turns.take("c", "good", lambda: "good")
        free.set()
        found = await asyncio.gather(*failing, return_exceptions=True)
        assert [type(error) for error in found] == [Refusal, Refusal]
        assert await good == "good"

    asyncio.run(ask())
