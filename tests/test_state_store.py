"""States on disk: bit for bit or refused, never lost to a full disk, and written by one process alone."""

from __future__ import annotations

import errno
import hashlib
import multiprocessing as mp
import os
import re
import stat
import struct
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from twins import random_bars

from ewmalab.atomic_files import TEMP_PREFIX, write_atomic
from ewmalab.errors import StateError
from ewmalab.live.state_store import FORMAT, QUARANTINE, SCHEMA, AssetState, SavedState, StateStore, decode, encode
from ewmalab.market.bars import Bars
from ewmalab.market.quality import COLUMNS

ASSET = "BTC"
DIGEST = "5e" * 32
SPAWN = mp.get_context("spawn")
PATIENCE = 300.0  # seconds that a race waits for a contestant


def made(generation: int = 1, *, asset: str = ASSET, count: int = 40, **changes: Any) -> AssetState:
    """A state whose bars and numbers tell its generation."""
    parts: dict[str, Any] = {
        "feed": "pyth",
        "synthetic": False,
        "saved_at": 1_768_435_200 + 60 * generation,
        "bars": random_bars(count, seed=generation, missing=0.1, close_only=0.3),
        "states": {"ewma": SavedState(DIGEST, {"version": 1, "minute": [float(generation).hex(), "nan"]})},
    }
    return AssetState(asset=asset, generation=generation, **(parts | changes))


def bits(value: Any) -> Any:
    """A value in a form that tells each bit, and 1 from 1.0 and True."""
    if isinstance(value, float):
        return "float", struct.pack("<d", value)
    if isinstance(value, dict):
        return [(key, bits(inner)) for key, inner in value.items()]
    if isinstance(value, list):
        return ["list", *(bits(inner) for inner in value)]
    return type(value).__name__, value


def everything(state: AssetState) -> list[Any]:
    """All that a state holds, in a form that tells each bit."""
    return [
        *(bits(getattr(state, name)) for name in ("asset", "feed", "synthetic", "generation", "saved_at")),
        state.bars.resolution,
        *(getattr(state.bars, name).tobytes() for name in COLUMNS),
        [(name, saved.parameters, bits(saved.state)) for name, saved in state.states.items()],
    ]


def sealed(payload: bytes, /, **changes: Any) -> bytes:
    """Bytes as `encode` writes them around any payload."""
    whole = {"format": FORMAT, "schema": SCHEMA, "sha256": hashlib.sha256(payload).digest(), "payload": payload}
    return bytes(msgpack.packb(whole | changes))


def payload_of(state: AssetState) -> dict[str, Any]:
    inner: dict[str, Any] = msgpack.unpackb(msgpack.unpackb(encode(state))["payload"])
    return inner


def temporary(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.name.startswith(TEMP_PREFIX)]


def contents(root: Path) -> dict[str, bytes]:
    """The files of a folder, the lock aside."""
    return {p.name: p.read_bytes() for p in root.iterdir() if p.is_file() and p.name != ".lock"}


@pytest.fixture
def store(tmp_path: Path) -> StateStore:
    root = tmp_path / "state"
    root.mkdir()
    return StateStore(root)


def generation(store: StateStore, asset: str = ASSET) -> int | None:
    """The generation that `load` gives, after a look at each bit of it."""
    state, _ = store.load(asset)
    if state is None:
        return None
    assert everything(state) == everything(made(state.generation, asset=asset))
    return state.generation


# --------------------------------------------------------------------------------------------- bit for bit


@st.composite
def any_bars(draw: st.DrawFn) -> Bars:
    """Bars with gaps, some or all of them close-only."""
    share = st.sampled_from([0.0, 0.1, 0.6, 1.0])
    count, seed = draw(st.integers(1, 120)), draw(st.integers(0, 10_000))
    bars = random_bars(count, seed=seed, missing=draw(st.sampled_from([0.0, 0.3])), close_only=draw(share))
    return bars if len(bars) else random_bars(1, seed=seed)


TEXT = st.text(max_size=5)
LEAF = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.floats(), TEXT, st.binary(max_size=5)
)  # fmt: skip
VALUE = st.recursive(
    LEAF, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3), max_leaves=6
)


@examples(60)
@given(
    bars=any_bars(),
    states=st.dictionaries(TEXT, st.tuples(TEXT, st.dictionaries(TEXT, VALUE, max_size=4)), max_size=3),
    generation=st.integers(0, 2**63),
    saved_at=st.integers(0, 2**40),
    synthetic=st.booleans(),
    feed=st.text(),
)
def test_a_decoded_state_is_the_encoded_one_bit_for_bit(bars, states, generation, saved_at, synthetic, feed):
    saved = {name: SavedState(*pair) for name, pair in states.items()}
    state = AssetState(ASSET, feed, synthetic, generation, saved_at, bars, saved)
    back = decode(encode(state), "here")
    assert everything(back) == everything(state)
    assert encode(back) == encode(state)
    assert back.newest == state.bars.timestamp[-1]


@pytest.mark.parametrize(
    "bars",
    [
        Bars.from_closes([0], [1.0]),
        Bars.from_closes([-60, 0, 600], [5e-324, 1.0, 1.7e308]),
        Bars([0, 60], [np.nan, 0.1], [np.nan, 0.3], [np.nan, 0.1], [0.1 + 0.2, 0.3]),
        Bars.from_closes([300, 900], [1.0, 2.0], 300),
        random_bars(60, close_only=0.5).rows(7, 31),
    ],
    ids=["one bar", "extremes", "half close-only", "five minutes", "a slice"],
)
def test_bars_at_the_edges_come_back_bit_for_bit(bars):
    state = made(bars=bars)
    assert everything(decode(encode(state), "here")) == everything(state)


def test_a_decoded_states_bars_cannot_be_written_to():
    bars = decode(encode(made()), "here").bars
    with pytest.raises(ValueError, match="read-only"):
        bars.close[0] = 1.0


@pytest.mark.parametrize(
    "changes",
    [
        {"bars": Bars.empty()},
        {"states": {"mine": SavedState(DIGEST, {"volatility": {60: 1.0, 300: 2.0}})}},
        {"states": {"mine": SavedState(DIGEST, {"nested": 1.0, "value": [2**64]})}},
        {"states": {"mine": SavedState(DIGEST, {"value": np.float64(0.1)})}},
    ],
    ids=["no bars", "keys that are numbers", "a large integer", "a number of numpy"],
)
def test_what_cannot_be_read_back_is_not_written(changes):
    """A save that no load will accept pushes the readable generations out one by one."""
    state = made(**changes)
    try:
        data = encode(state)
    except (StateError, TypeError, ValueError, OverflowError):
        return
    assert encode(decode(data, "here")) == data


# --------------------------------------------------------------------------------------------- refused


def test_each_flipped_bit_and_each_truncation_is_refused():
    data = encode(made(count=3))
    for i in range(len(data)):
        for bit in range(8):
            flipped = bytearray(data)
            flipped[i] ^= 1 << bit
            with pytest.raises(StateError):
                decode(bytes(flipped), "here")
        with pytest.raises(StateError, match="here: damaged"):
            decode(data[:i], "here")
    with pytest.raises(StateError, match="here: damaged"):
        decode(data + b"\0", "here")


def damage(data: bytes, rng: np.random.Generator) -> tuple[str, bytes]:
    """One flipped bit, anywhere or near the ends where the structure is, or a truncation."""
    kind = ("flip", "flip at an end", "truncation")[rng.integers(3)]
    if kind == "truncation":
        return kind, data[: rng.integers(len(data))]
    at = int(rng.integers(len(data)))
    if kind == "flip at an end":
        at = int(rng.integers(200)) - 100
    changed = bytearray(data)
    changed[at] ^= 1 << int(rng.integers(8))
    return kind, bytes(changed)


def check_damage(rounds: int, store: StateStore, seed: int) -> Counter[str]:
    """Damage the files of two generations again and again, in turn the newest, the one before, and both."""
    rng = np.random.default_rng(seed)
    for i in (1, 2):
        store.save(made(i, count=400))
    newest, previous = store.path(ASSET), store.previous(ASSET)
    whole = {path: path.read_bytes() for path in (newest, previous)}
    want = {i: everything(made(i, count=400)) for i in (1, 2)}
    tally: Counter[str] = Counter()
    for i in range(rounds):
        damaged = ([newest], [previous], [newest, previous])[i % 3]
        for path in damaged:
            kind, data = damage(whole[path], rng)
            tally[kind] += 1
            path.write_bytes(data)
        state, problems = store.load(ASSET)
        expected = 2 if newest not in damaged else 1 if previous not in damaged else None
        got = None if state is None else state.generation
        assert got == expected
        tally[f"generation {got}"] += 1
        if state is not None:
            assert everything(state) == want[state.generation]
        met = [path for path in damaged if path == newest or newest in damaged]
        assert len(problems) == len(met)
        assert all(str(path) in problem for path, problem in zip(met, problems, strict=True))
        for path in damaged:
            path.write_bytes(whole[path])
    print(f"{rounds} rounds of damage: " + ", ".join(f"{count} x {what}" for what, count in sorted(tally.items())))
    return tally


def test_damage_leaves_the_generation_before_or_nothing_but_no_wrong_state(store):
    assert check_damage(100, store, seed=1)["generation None"] > 20


@pytest.mark.slow
def test_much_damage_leaves_the_generation_before_or_nothing_but_no_wrong_state(store):
    tally = check_damage(2000, store, seed=2)
    assert min(tally[f"generation {i}"] for i in (1, 2, None)) > 500
    assert min(tally[kind] for kind in ("flip", "flip at an end", "truncation")) > 500


@examples(300)
@given(data=st.binary(max_size=300))
def test_arbitrary_bytes_are_refused(data):
    with pytest.raises(StateError, match="here: damaged"):
        decode(data, "here")


ANY = st.recursive(
    LEAF | st.builds(msgpack.ExtType, st.integers(0, 127), st.binary(max_size=8)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT | st.integers(0, 9), inner, max_size=3),
    max_leaves=6,
)


@given(value=ANY)
def test_arbitrary_messages_are_refused(value):
    with pytest.raises(StateError):
        decode(msgpack.packb(value), "here")


@given(key=st.sampled_from(["format", "schema", "sha256", "payload"]), value=ANY)
def test_an_arbitrary_part_of_the_envelope_is_refused(key, value):
    with pytest.raises(StateError):
        decode(sealed(msgpack.packb({"asset": ASSET}), **{key: value}), "here")


@given(data=st.data())
def test_no_payload_raises_anything_but_a_state_error(data):
    """A right checksum does not make a payload right: another program may have written it."""
    payload = payload_of(made(count=3))
    key = data.draw(st.sampled_from([*payload, "timestamp", "close"]))
    value = data.draw(ANY)
    if key in payload:
        payload[key] = value
    else:
        payload["bars"][key] = data.draw(st.binary(max_size=40)) if data.draw(st.booleans()) else value
    if data.draw(st.booleans()):
        payload.pop(data.draw(st.sampled_from([*payload])))
    with suppress(StateError):
        decode(sealed(msgpack.packb(payload)), "here")


@pytest.mark.parametrize("resolution", [0, [0], 2**63, "60", None])
def test_bars_of_no_resolution_are_refused(resolution):
    payload = payload_of(made(count=3)) | {"resolution": resolution}
    with pytest.raises(StateError, match="here: damaged"):
        decode(sealed(msgpack.packb(payload)), "here")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("asset", 7), ("feed", None), ("synthetic", "no"), ("synthetic", 1), ("generation", "3"), ("generation", 1.5),
        ("generation", True), ("saved_at", None), ("saved_at", 1.5), ("states", {"ewma": ["digest", 7]}),
        ("states", {"ewma": [7, {}]}), ("states", {7: ["digest", {}]}), ("states", []),
    ],
)  # fmt: skip
def test_values_of_another_type_are_refused_like_damage(key, value, store):
    data = sealed(msgpack.packb(payload_of(made(2)) | {key: value}))
    with pytest.raises(StateError, match="here: damaged"):
        decode(data, "here")
    store.save(made(1))
    store.save(made(2))
    store.path(ASSET).write_bytes(data)
    state, problems = store.load(ASSET)
    assert state is not None
    assert state.generation == 1
    assert problems
    assert store.set_aside(ASSET)


def test_bars_that_break_a_rule_are_refused():
    payload = payload_of(made(count=3))
    payload["bars"]["close"] = np.array([1.0, -1.0, 1.0]).tobytes()
    with pytest.raises(StateError, match=r"here: damaged \(BarsError: .*price not positive"):
        decode(sealed(msgpack.packb(payload)), "here")


def test_nesting_without_end_is_refused():
    for data in (b"\x91" * 100_000, sealed(b"\x91" * 100_000), sealed(b"\x81\xa0" * 100_000)):
        with pytest.raises(StateError, match="here: damaged"):
            decode(data, "here")


def test_another_schema_is_refused_and_named(store):
    store.save(made(1))
    store.save(made(2))
    newer = sealed(msgpack.unpackb(encode(made(2)))["payload"], schema=SCHEMA + 1)
    store.path(ASSET).write_bytes(newer)
    state, problems = store.load(ASSET)
    assert state is not None
    assert state.generation == 1
    assert problems == [
        f"{store.path(ASSET)}: schema {SCHEMA + 1}, this version reads {SCHEMA}; it will be rebuilt from the cache"
    ]


def test_a_file_that_holds_another_asset_is_not_taken_for_this_one(store):
    store.save(made(1))
    store.save(made(2))
    store.path(ASSET).write_bytes(encode(made(9, asset="ETH")))
    state, problems = store.load(ASSET)
    assert state is not None
    assert (state.asset, state.generation) == (ASSET, 1)
    assert problems == [f"{store.path(ASSET)}: holds ETH"]


# --------------------------------------------------------------------------------------------- generations


def test_nothing_saved_is_none_without_a_problem(store):
    assert store.load(ASSET) == (None, [])
    assert StateStore(store.root / "absent").load(ASSET) == (None, [])


def test_the_newest_generation_is_loaded_and_the_one_before_kept(store):
    for i in range(1, 6):
        store.save(made(i))
        assert generation(store) == i
        kept = contents(store.root)
        assert kept.pop("BTC.msgpack") == encode(made(i))
        assert kept == ({"BTC.previous.msgpack": encode(made(i - 1))} if i > 1 else {})


def test_without_the_newest_the_generation_before_is_loaded(store):
    for i in (1, 2, 3):
        store.save(made(i))
    store.path(ASSET).unlink()
    assert store.load(ASSET)[1] == []
    assert generation(store) == 2
    store.save(made(4))
    assert generation(store) == 4
    assert decode(store.previous(ASSET).read_bytes(), "here").generation == 2


def test_assets_do_not_touch_each_other(store):
    for asset in ("BTC", "ETH", "SPYX"):
        for i in (1, 2):
            store.save(made(i, asset=asset))
    store.path("ETH").write_bytes(b"")
    assert {asset: generation(store, asset) for asset in ("BTC", "ETH", "SPYX")} == {"BTC": 2, "ETH": 1, "SPYX": 2}


# --------------------------------------------------------------------------------------------- set aside


@pytest.mark.parametrize("bad", [(), ("path",), ("previous",), ("path", "previous")])
@pytest.mark.parametrize("kind", ["truncated", "another asset's", "another schema's"])
def test_only_unreadable_files_are_set_aside(store, bad, kind):
    for i in (1, 2):
        store.save(made(i))
    data = {
        "truncated": encode(made(3))[:-1],
        "another asset's": encode(made(3, asset="ETH")),
        "another schema's": sealed(b"", schema=SCHEMA + 1),
    }[kind]
    for name in bad:
        getattr(store, name)(ASSET).write_bytes(data)
    before = generation(store)
    moved = store.set_aside(ASSET)
    assert len(moved) == len(bad)
    for path in moved:
        assert path.parent == store.root / QUARANTINE
        assert path.read_bytes() == data
    assert store.load(ASSET)[1] == []
    assert generation(store) == before == {(): 2, ("path",): 1, ("previous",): 2}.get(bad)


def test_after_setting_aside_a_save_does_not_push_out_the_readable_generation(store):
    for i in (1, 2):
        store.save(made(i))
    store.path(ASSET).write_bytes(b"damaged")
    store.set_aside(ASSET)
    store.save(made(2))
    assert decode(store.previous(ASSET).read_bytes(), "here").generation == 1
    assert generation(store) == 2


def test_everything_can_be_set_aside(store):
    for i in (1, 2):
        store.save(made(i))
        store.save(made(i, asset="ETH"))
    moved = store.set_aside(ASSET, everything=True)
    assert sorted(decode(path.read_bytes(), "here").generation for path in moved) == [1, 2]
    assert store.load(ASSET) == (None, [])
    assert generation(store, "ETH") == 2
    assert store.set_aside(ASSET, everything=True) == []


def test_files_set_aside_twice_do_not_replace_each_other(store):
    moved = []
    for i in range(5):
        store.path(ASSET).write_bytes(bytes([i]))
        moved += store.set_aside(ASSET)
    assert sorted(path.read_bytes() for path in moved) == [bytes([i]) for i in range(5)]


def unreadable(monkeypatch: pytest.MonkeyPatch, bad: Path) -> None:
    """Let the disk give an error instead of a file's bytes."""
    real = Path.read_bytes

    def read(path: Path) -> bytes:
        if path == bad and path.exists():
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        return real(path)

    monkeypatch.setattr(Path, "read_bytes", read)


def test_a_file_on_a_bad_sector_leaves_the_generation_before(store, monkeypatch):
    for i in (1, 2):
        store.save(made(i))
    unreadable(monkeypatch, store.path(ASSET))
    state, problems = store.load(ASSET)
    assert state is not None
    assert state.generation == 1
    assert len(problems) == 1
    assert os.strerror(errno.EIO) in problems[0]


def test_a_file_on_a_bad_sector_is_set_aside(store, monkeypatch):
    for i in (1, 2):
        store.save(made(i))
    unreadable(monkeypatch, store.path(ASSET))
    assert len(store.set_aside(ASSET)) == 1
    assert store.load(ASSET)[1] == []
    assert generation(store) == 1


# --------------------------------------------------------------------------------------------- full and read-only disks

STEPS = ("open", "write", "data sync", "first replace", "second replace", "folder sync")


class HalfWritten:
    """A file on a disk that becomes full halfway."""

    def __init__(self, file: Any, error: OSError) -> None:
        self.file, self.error = file, error

    def write(self, data: bytes) -> int:
        self.file.write(data[: len(data) // 2])
        raise self.error

    def __enter__(self) -> HalfWritten:
        return self

    def __exit__(self, *reason: object) -> None:
        self.file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


def break_disk(patch: pytest.MonkeyPatch, step: str, code: int) -> None:
    """Let one step of `StateStore.save` fail."""
    error = OSError(code, os.strerror(code))
    open_, fsync, replace = Path.open, os.fsync, os.replace

    def broken_open(path: Path, mode: str = "r", *rest: Any, **more: Any) -> Any:
        writes = any(letter in mode for letter in "wxa+")
        if writes and step == "open":
            raise error
        file = open_(path, mode, *rest, **more)
        return HalfWritten(file, error) if writes and step == "write" else file

    def broken_fsync(handle: int) -> None:
        if step == ("folder sync" if stat.S_ISDIR(os.fstat(handle).st_mode) else "data sync"):
            raise error
        fsync(handle)

    def broken_replace(source: Any, target: Any, **more: Any) -> None:
        if step == ("first replace" if str(target).endswith(".previous.msgpack") else "second replace"):
            raise error
        replace(source, target, **more)

    patch.setattr(Path, "open", broken_open)
    patch.setattr(os, "fsync", broken_fsync)
    patch.setattr(os, "replace", broken_replace)


FAULTS = [(step, errno.ENOSPC) for step in STEPS] + [(step, errno.EROFS) for step in ("open", "second replace")]
FAULT_NAMES = [f"{step}-{errno.errorcode[code]}" for step, code in FAULTS]


def fail_to_save(store: StateStore, earlier: int, step: str, code: int) -> bool:
    """Save while one step fails; return whether the step was reached."""
    caught = None
    with pytest.MonkeyPatch.context() as patch:
        break_disk(patch, step, code)
        try:
            store.save(made(earlier + 1))
        except OSError as error:
            caught = error
    assert caught is None or caught.errno == code
    return caught is not None


@pytest.mark.parametrize("earlier", [0, 1, 2])
@pytest.mark.parametrize(("step", "code"), FAULTS, ids=FAULT_NAMES)
def test_a_failed_save_leaves_the_old_state_and_nothing_unfinished(store, earlier, step, code):
    for i in range(1, earlier + 1):
        store.save(made(i))
    failed = fail_to_save(store, earlier, step, code)
    assert failed == (earlier > 0 or step != "first replace")
    assert store.load(ASSET)[1] == []
    old, new = earlier or None, earlier + 1
    # A folder sync that failed comes after everything else: the new state is there, but a crash may take it.
    assert generation(store) == (old if failed and step != "folder sync" else new)
    assert temporary(store.root) == []
    store.save(made(new))
    assert generation(store) == new
    assert temporary(store.root) == []


@pytest.mark.parametrize("earlier", [0, 1, 2])
@pytest.mark.parametrize(("step", "code"), FAULTS, ids=FAULT_NAMES)
def test_a_failed_save_leaves_the_newest_generation_as_it_was(store, earlier, step, code):
    """Where the last rename fails it may have the previous one's name; the one before it is gone then."""
    for i in range(1, earlier + 1):
        store.save(made(i))
    before = contents(store.root)
    if fail_to_save(store, earlier, step, code) and step != "folder sync":
        after = {name: data for name, data in contents(store.root).items() if not name.startswith(TEMP_PREFIX)}
        assert after == before or (step == "second replace" and generation(store) == earlier)


def test_saves_on_a_disk_that_stays_full_do_not_fill_it_further(store):
    store.save(made(1))
    before = contents(store.root)
    for _ in range(20):
        assert fail_to_save(store, 1, "write", errno.ENOSPC)
    assert contents(store.root) == before


def test_a_file_that_may_not_grow_is_an_error_and_leaves_the_old_state(store):
    """No stand-in: the system itself cuts the write short."""
    resource = pytest.importorskip("resource")
    store.save(made(1))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, hard))
    try:
        with pytest.raises(OSError, match=os.strerror(errno.EFBIG)):
            store.save(made(2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert generation(store) == 1
    assert temporary(store.root) == []


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root writes to any folder")
def test_a_folder_that_may_not_be_written_can_be_read(store):
    store.save(made(1))
    store.root.chmod(0o500)
    try:
        with pytest.raises(PermissionError):
            store.save(made(2))
        assert generation(store) == 1
    finally:
        store.root.chmod(0o700)


def test_a_note_that_cannot_be_written_leaves_the_old_one(store):
    write_atomic(store.root / "updater.json", b"old")
    for step in ("open", "write", "data sync", "second replace"):
        with pytest.MonkeyPatch.context() as patch:
            break_disk(patch, step, errno.ENOSPC)
            with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
                write_atomic(store.root / "updater.json", b"new" * 100)
        assert contents(store.root) == {"updater.json": b"old"}, step


# --------------------------------------------------------------------------------------------- one writer, many readers


def test_a_second_writer_in_the_same_process_is_refused(store):
    with store.writing():
        with pytest.raises(StateError, match=re.escape(f"{store.root}: another updater writes to this folder")):
            StateStore(store.root).writing().__enter__()
        store.save(made(1))
    with store.writing():
        store.save(made(2))
    assert generation(store) == 2


def test_a_writer_that_fails_lets_the_next_one_in(store):
    with pytest.raises(ZeroDivisionError), store.writing():
        _ = 1 / 0
    with store.writing():
        pass


def test_a_writer_makes_its_folder_and_sweeps_it(tmp_path):
    store = StateStore(tmp_path / "deep" / "state")
    with store.writing():
        store.save(made(1))
    (store.root / f"{TEMP_PREFIX}1-abc").write_bytes(b"left by a killed writer")
    with pytest.raises(StateError), store.writing(), store.writing():
        pass
    (store.root / f"{TEMP_PREFIX}2-abc").write_bytes(b"left by another")
    with store.writing():
        assert temporary(store.root) == []
        assert generation(store) == 1


def test_a_second_writer_does_not_sweep_what_the_first_is_writing(store):
    with store.writing():
        unfinished = store.root / f"{TEMP_PREFIX}1-abc"
        unfinished.write_bytes(b"being written")
        with pytest.raises(StateError):
            StateStore(store.root).writing().__enter__()
        assert unfinished.exists()


def contend(root: Path, rounds: int, together: Barrier, said: Any) -> None:
    """Try to become the writer at the same moment as the others, again and again; say which rounds were won."""
    wins = []
    for i in range(rounds):
        together.wait(PATIENCE)
        try:
            with StateStore(root).writing():
                wins.append(i)
                together.wait(PATIENCE)  # hold it until everyone has tried
        except StateError:
            together.wait(PATIENCE)
        together.wait(PATIENCE)
    said.put(wins)


def crowd(root: Path, turns: int, together: Barrier, said: Any) -> None:
    """Become the writer as often as possible; while one is, a file says so, and there must be no other."""
    held = refused = met = 0
    sign = root / "held"
    together.wait(PATIENCE)
    while held < turns:
        try:
            with StateStore(root).writing():
                try:
                    os.close(os.open(sign, os.O_CREAT | os.O_EXCL))
                except FileExistsError:
                    met += 1
                held += 1
                sign.unlink(missing_ok=True)
        except StateError:
            refused += 1
    said.put((held, refused, met))


def run_together(work: Callable[..., None], root: Path, count: int, number: int = 3) -> list[Any]:
    """Run work in several processes that start it at once; return what each said."""
    together, said = SPAWN.Barrier(number), SPAWN.Queue()
    processes = [SPAWN.Process(target=work, args=(root, count, together, said)) for _ in range(number)]
    for process in processes:
        process.start()
    try:
        answers = [said.get(timeout=PATIENCE) for _ in processes]
        for process in processes:
            process.join(PATIENCE)
            assert process.exitcode == 0
    finally:
        for process in processes:
            process.kill()  # each by its own id, where it still runs
            process.join()
            process.close()
        said.close()
    return answers


def check_races(rounds: int, store: StateStore) -> None:
    wins = run_together(contend, store.root, rounds)
    assert sorted(i for won in wins for i in won) == list(range(rounds))
    print(f"{rounds} races of {len(wins)} writers, one winner each; wins: {sorted(map(len, wins))}")


def check_crowd(turns: int, store: StateStore) -> None:
    answers = run_together(crowd, store.root, turns)
    assert [met for _, _, met in answers] == [0] * len(answers)
    refused = sum(refused for _, refused, _ in answers)
    print(f"{turns * len(answers)} turns of {len(answers)} writers, never two at once; {refused} refused")


@pytest.mark.ci
def test_of_writers_that_start_at_once_one_wins(store):
    check_races(10, store)


@pytest.mark.slow
def test_of_writers_that_start_at_once_one_wins_each_of_200_times(store):
    check_races(200, store)


@pytest.mark.slow
def test_there_are_never_two_writers_at_once(store):
    check_crowd(500, store)


def write_generations(root: Path, count: int, together: Barrier, said: Any) -> None:
    store = StateStore(root)
    with store.writing():
        store.save(made(1))
        together.wait(PATIENCE)
        for i in range(2, count + 1):
            store.save(made(i))
        said.put("done")
        together.wait(PATIENCE)  # the lock is held until the reader has seen the last


def check_reader(count: int, store: StateStore) -> None:
    """Read without the lock while another process saves: always a whole state, none older than the one before."""
    together, said = SPAWN.Barrier(2), SPAWN.Queue()
    writer = SPAWN.Process(target=write_generations, args=(store.root, count, together, said))
    writer.start()
    try:
        together.wait(PATIENCE)
        seen = [1]
        reads = 0
        while seen[-1] < count:
            state, problems = store.load(ASSET)
            reads += 1
            assert problems == []
            assert state is not None
            assert state.generation >= seen[-1]
            if state.generation > seen[-1]:
                assert everything(state) == everything(made(state.generation))
                seen.append(state.generation)
        with pytest.raises(StateError, match="another updater"), store.writing():
            pass
        together.wait(PATIENCE)
        assert said.get(timeout=PATIENCE) == "done"
        writer.join(PATIENCE)
        assert writer.exitcode == 0
    finally:
        writer.kill()
        writer.join()
        writer.close()
        said.close()
    print(f"{reads} reads beside {count} saves met {len(seen)} generations")


@pytest.mark.ci
def test_a_reader_needs_no_lock_and_always_finds_a_whole_state(store):
    check_reader(100, store)


@pytest.mark.slow
def test_a_reader_beside_many_saves_always_finds_a_whole_state(store):
    check_reader(3000, store)


def test_a_reader_leaves_nothing_behind(store):
    store.save(made(1))
    before = sorted(path.name for path in store.root.iterdir())
    store.load(ASSET)
    store.load("ETH")
    assert sorted(path.name for path in store.root.iterdir()) == before


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_file_system_without_locks_is_one_error_with_path_and_advice(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("fcntl.flock", unsupported)
    with pytest.raises(OSError, match="--state-dir") as caught, StateStore(tmp_path).writing():
        pass
    assert str(tmp_path) in str(caught.value)
    assert "local disk" in str(caught.value)
