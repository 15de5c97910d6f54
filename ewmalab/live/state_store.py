"""States on disk: ``<state_dir>/<ASSET>.msgpack`` and the previous generation of each, written atomically."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from filelock import Timeout

from ewmalab.atomic_files import acquire_lock, delete_leftovers, sync_folder, write_temp
from ewmalab.errors import BarsError, StateError
from ewmalab.live.status import make_spare, spare_folder
from ewmalab.market.bars import Bars
from ewmalab.market.quality import COLUMNS

FORMAT = "ewmalab-state"
SCHEMA = 1
QUARANTINE = "quarantine"
LOCK = ".lock"
_DAMAGED = (BarsError, LookupError, TypeError, ValueError, ArithmeticError, AttributeError)  # that a payload can cause
_TYPES = {"asset": str, "feed": str, "synthetic": bool, "generation": int, "saved_at": int}
_STATE_TYPES = (str, str, dict)  # of the forecaster's name, its parameters' digest and what it dumped


@dataclass(frozen=True, slots=True)
class SavedState:
    """A forecaster's saved state.

    Attributes
    ----------
    parameters : str
        Digest of the parameters it was computed with; see `ewmalab.forecast.model.Model`.
    state : dict
        Returned by `Forecaster.dump_state`.
    """

    parameters: str
    state: dict[str, Any]


@dataclass(frozen=True, slots=True)
class AssetState:
    """Everything that a miner needs to know about one asset.

    Attributes
    ----------
    asset, feed : str
        Symbol, and the feed's folder in the cache.
    synthetic : bool
        Whether the prices are simulated.
    generation : int
        Number of saves.
    saved_at : int
        Market time of the save.
    bars : Bars
        Bars of the last days.
    states : mapping of forecaster to SavedState
    """

    asset: str
    feed: str
    synthetic: bool
    generation: int
    saved_at: int
    bars: Bars
    states: Mapping[str, SavedState]

    @property
    def newest(self) -> int:
        """Return the label of the newest bar."""
        return int(self.bars.timestamp[-1])


def encode(state: AssetState) -> bytes:
    """Return a state as bytes with schema and checksum.

    Raises
    ------
    StateError
        If a forecaster's state has values that could not be read back.
    """
    try:
        data = _encode(state)
        decode(data, f"new state of {state.asset}")
        return data
    except (TypeError, ValueError, OverflowError) as error:
        raise StateError(f"state of {state.asset} cannot be written: {error}") from error


def _encode(state: AssetState) -> bytes:
    import msgpack  # in the extra `live`: what only names states works without it

    columns = {name: np.ascontiguousarray(getattr(state.bars, name)).tobytes() for name in COLUMNS}
    payload = msgpack.packb(
        {
            "asset": state.asset,
            "feed": state.feed,
            "synthetic": state.synthetic,
            "generation": state.generation,
            "saved_at": state.saved_at,
            "resolution": state.bars.resolution,
            "bars": columns,
            "states": {name: [saved.parameters, saved.state] for name, saved in state.states.items()},
        }
    )
    whole = {"format": FORMAT, "schema": SCHEMA, "sha256": hashlib.sha256(payload).digest(), "payload": payload}
    return bytes(msgpack.packb(whole))


def decode(data: bytes, where: str) -> AssetState:
    """Return the state that `encode` wrote.

    Raises
    ------
    StateError
        If the bytes are damaged or another version wrote them.
    """
    import msgpack

    try:
        whole = msgpack.unpackb(data)
        found, schema, payload = whole["format"], whole["schema"], whole["payload"]
        if found == FORMAT and schema != SCHEMA:
            raise StateError(
                f"{where}: schema {schema}, this version reads {SCHEMA}; it will be rebuilt from the cache"
            )
        if found != FORMAT or hashlib.sha256(payload).digest() != whole["sha256"]:
            raise ValueError("checksum differs")
        parts = msgpack.unpackb(payload)
        columns: dict[str, npt.NDArray[np.generic]] = {
            name: np.frombuffer(parts["bars"][name], np.int64 if name == "timestamp" else np.float64)
            for name in COLUMNS
        }
        resolution = parts["resolution"]
        if type(resolution) is not int or not 0 < resolution < 2**31:
            raise ValueError(f"resolution {resolution!r}")
        bars = Bars.from_columns(columns, resolution)
        if not len(bars):
            raise ValueError("no bars")
        states = {name: SavedState(digest, state) for name, (digest, state) in parts["states"].items()}
        own = {name: parts[name] for name in _TYPES}
        wrong = [name for name, value in own.items() if type(value) is not _TYPES[name]]
        wrong += [name for name, s in states.items() if (type(name), type(s.parameters), type(s.state)) != _STATE_TYPES]
        if wrong:
            raise TypeError(f"{', '.join(map(str, wrong))} of another type")
        return AssetState(**own, bars=bars, states=states)
    except StateError:
        raise
    except (*_DAMAGED, msgpack.UnpackException) as error:
        raise StateError(f"{where}: damaged ({type(error).__name__}: {error})") from error


@dataclass(frozen=True, slots=True)
class StateStore:
    """A folder of states. One process writes it, under a lock; any number of processes read it without a lock."""

    root: Path

    def path(self, asset: str) -> Path:
        """Return the file of the newest generation."""
        return self.root / f"{asset}.msgpack"

    def previous(self, asset: str) -> Path:
        """Return the file of the previous generation."""
        return self.root / f"{asset}.previous.msgpack"

    def stamps(self, asset: str) -> tuple[tuple[int, int] | None, ...]:
        """Return what changes whenever a state is saved: inode and time of the files that may be the newest."""
        return tuple(map(_stamp, self._newest(asset)))

    def _newest(self, asset: str) -> list[Path]:
        spare = spare_folder(self.root)
        return [self.path(asset)] if spare is None else [self.path(asset), spare / self.path(asset).name]

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Acquire the writer lock and delete leftover temporary files.

        Raises
        ------
        StateError
            If another process holds the lock.
        OSError
            If the file system has no locks.
        """
        if not self.root.exists():
            self.root.mkdir(parents=True, exist_ok=True)
            sync_folder(self.root.parent)
        try:
            lock = acquire_lock(self.root / LOCK, 0, "--state-dir")
        except Timeout:
            raise StateError(
                f"{self.root}: another updater writes to this folder; stop it first, or choose another --state-dir"
            ) from None
        try:
            delete_leftovers(self.root)
            yield
        finally:
            lock.release()

    def save(self, state: AssetState) -> None:
        """Save a state as the newest generation. After a crash, either it or the previous generation is read.

        Raises
        ------
        OSError
            If the disk is full or read-only; the newest generation is unchanged.
        StateError
            If the state could not be read back.
        """
        data = encode(state)
        path, previous = self.path(state.asset), self.previous(state.asset)
        temp = write_temp(self.root, data)
        try:
            # Between the two renames the newest generation has the previous one's name, which readers try next.
            known = path.exists()
            if known:
                path.replace(previous)
            try:
                temp.replace(path)
            except OSError:
                if known:
                    previous.replace(path)
                raise
        except BaseException:
            temp.unlink(missing_ok=True)
            raise
        sync_folder(self.root)

    def save_spare(self, state: AssetState) -> None:
        """Save a state in memory, because the disk does not take it: the miner need not do without.

        Raises
        ------
        OSError
            If there is no memory for it.
        """
        StateStore(make_spare(self.root)).save(state)

    def load(self, asset: str) -> tuple[AssetState | None, list[str]]:
        """Return the newest readable generation, and the problems of unreadable ones.

        None means that no generation can be read; the state must be rebuilt from the cache.
        """
        state, problems = self._load(asset)
        spare = self._newest(asset)[-1]
        if spare != self.path(asset) and spare.exists():
            kept, _ = StateStore(spare.parent)._load(asset)
            if kept is not None and (state is None or kept.saved_at > state.saved_at):
                return kept, problems
        return state, problems

    def _load(self, asset: str) -> tuple[AssetState | None, list[str]]:
        problems: list[str] = []
        for path in (self.path(asset), self.previous(asset)):
            try:
                state = decode(path.read_bytes(), str(path))
            except FileNotFoundError:
                continue
            except (StateError, OSError) as error:
                problems.append(str(error))
                continue
            if state.asset == asset:
                return state, problems
            problems.append(f"{path}: holds {state.asset}")
        return None, problems

    def set_aside(self, asset: str, *, everything: bool = False) -> list[Path]:
        """Move an asset's unreadable files (or all) to quarantine, so that no save replaces a readable file."""
        moved = []
        for path in (self.path(asset), self.previous(asset)):
            try:
                if decode(path.read_bytes(), str(path)).asset == asset and not everything:
                    continue
            except FileNotFoundError:
                continue
            except (StateError, OSError):
                pass
            folder = self.root / QUARANTINE
            folder.mkdir(exist_ok=True)
            moved.append(path.replace(folder / f"{path.stem}-{secrets.token_hex(4)}{path.suffix}"))
        return moved


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_ino, stat.st_mtime_ns
