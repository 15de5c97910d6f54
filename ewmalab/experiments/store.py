"""Experiment directories ``<experiments>/<utc time>-<name>-<hash>/``, written atomically."""

from __future__ import annotations

import errno
import hashlib
import importlib.metadata
import os
import platform
import secrets
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from ewmalab.atomic_files import TEMP_PREFIX, sync_folder, write_atomic
from ewmalab.close_names import did_you_mean
from ewmalab.errors import ExperimentError

Document = dict[str, Any]
"""An object of a JSON file."""

FORMAT = 2
RANKING, TAGS = "ranking.json", "tags.json"
"""Files that later steps attach: the standings of a leaderboard, and what people call a run."""
_PRETTY = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
_LIBRARIES = ("numpy", "numba", "scipy", "pandas", "pyarrow", "pydantic")


@dataclass(frozen=True)
class Experiment:
    """One finished run.

    Parameters
    ----------
    path : Path
        The experiment's directory.

    Raises
    ------
    ExperimentError
        On access, if a file is missing, damaged or has an unknown format.
    """

    path: Path

    @property
    def name(self) -> str:
        """Return the directory's name."""
        return self.path.name

    @cached_property
    def manifest(self) -> Document:
        """Return settings, data fingerprint, rulebook version, seed and package versions."""
        data = self._json("manifest.json")
        if data.get("format") not in range(1, FORMAT + 1):
            raise ExperimentError(f"{self.path}: format {data.get('format')!r}, this version reads 1 to {FORMAT}")
        missing = {"inputs", "notes", "hash", "results_sha256", "versions"} - data.keys()
        if missing:
            raise ExperimentError(f"{self.path / 'manifest.json'}: damaged: it lacks {', '.join(sorted(missing))}")
        return data

    @cached_property
    def summary(self) -> list[Document]:
        """Return mean CRPS per competition, asset and forecaster."""
        rows: list[Document] | None = self._json("summary.json").get("rows")
        if not isinstance(rows, list):
            raise ExperimentError(f"{self.path / 'summary.json'}: damaged: it holds no rows")
        return rows

    @cached_property
    def results(self) -> pa.Table:
        """Return one row per forecaster and prompt, its hash checked against the manifest."""
        path = self.path / "results.parquet"
        try:
            data = path.read_bytes()
        except OSError as error:
            raise ExperimentError(f"{path}: cannot be read: {error.strerror}") from error
        if hashlib.sha256(data).hexdigest() != self.manifest["results_sha256"]:
            raise ExperimentError(f"{path}: damaged: its sha256 differs from the manifest's")
        return pq.read_table(pa.BufferReader(data))

    def attach(self, name: str, data: Any) -> None:
        """Write plain data as a JSON file of the experiment beside those of the run; `attached` reads it."""
        write_atomic(self.path / name, orjson.dumps(data, option=_PRETTY))

    def attached(self, name: str) -> Document | None:
        """Return what `attach` wrote; None if nothing was attached under the name."""
        return self._json(name) if (self.path / name).exists() else None

    def _json(self, name: str) -> Document:
        path = self.path / name
        try:
            data = orjson.loads(path.read_bytes())
            if not isinstance(data, dict):
                raise ValueError("not a JSON object")
            return data
        except OSError as error:
            raise ExperimentError(f"{self.path}: not an experiment: {name}: {error.strerror}") from error
        except ValueError as error:
            raise ExperimentError(f"{path}: damaged: {error}") from error


def write_results(path: Path, schema: pa.Schema, tables: Iterable[pa.Table]) -> None:
    """Write tables, one after the other, as one Parquet file; equal tables give equal bytes.

    Parameters
    ----------
    path : Path
    schema : pyarrow.Schema
    tables : iterable of pyarrow.Table
        Each is held in memory only while it is written.
    """
    floats = [field.name for field in schema if pa.types.is_floating(field.type)]
    others = [name for name in schema.names if name not in floats]
    with pq.ParquetWriter(
        path, schema, compression="zstd", use_dictionary=others, use_byte_stream_split=floats, write_page_checksum=True
    ) as writer:
        for table in tables:
            writer.write_table(table)


def content_hash(inputs: Mapping[str, Any]) -> str:
    """Return the identity of a run: the sha256 of what determines its results."""
    return hashlib.sha256(orjson.dumps(dict(inputs), option=orjson.OPT_SORT_KEYS)).hexdigest()


def versions() -> dict[str, str]:
    """Return the versions that results may depend on."""
    found = {name: importlib.metadata.version(name) for name in _LIBRARIES}
    return {"ewmalab": importlib.metadata.version("ewmalab"), "python": platform.python_version(), **found}


@cache
def environment_hash() -> str:
    """Return the sha256 over the distributions, with versions, that were installed when this process first asked."""
    installed = sorted({f"{d.name.lower()}=={d.version}" for d in importlib.metadata.distributions()})
    return hashlib.sha256("\n".join(installed).encode()).hexdigest()


def save_experiment(
    root: Path,
    name: str,
    *,
    now: int,
    inputs: Mapping[str, Any],
    notes: Mapping[str, Any],
    results: pa.Table | Path,
    summary: list[Document],
    text: str,
) -> Experiment:
    """Write an experiment directory; if its folder fails, write it into the folder for temporary files.

    Parameters
    ----------
    root : Path
        Usually ``experiments/``.
    name : str
        Part of the directory's name.
    now : int
        Seconds since 1970-01-01 UTC.
    inputs : mapping
        Everything that determines the results; its hash names the run.
    notes : mapping
        Further provenance: timings, sources of the data.
    results : pyarrow.Table or Path
        A table, or a file from `write_results`.
    summary : list of dict
    text : str
        The summary for people.

    Returns
    -------
    Experiment
        Its path is elsewhere than in `root` if nothing could be written there; see `rescued`.
    """
    identity = content_hash(inputs)
    stamp = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ")
    manifest: Document = {
        "format": FORMAT,
        "name": name,
        "hash": identity,
        "created": datetime.fromtimestamp(now, UTC).isoformat().replace("+00:00", "Z"),
        "inputs": dict(inputs),
        "notes": dict(notes),
        "versions": versions(),
        "environment_sha256": environment_hash(),
        "platform": platform.platform(),
    }
    files = {"summary.json": orjson.dumps({"rows": summary}, option=_PRETTY), "summary.txt": text.encode()}
    label = f"{stamp}-{name}-{identity[:8]}"
    try:
        return Experiment(_write(root, label, manifest, results, files))
    except OSError as error:  # a full disk, a folder that was taken away: hours of work must not be lost with it
        elsewhere = Path(tempfile.mkdtemp(prefix="ewmalab-experiments-"))
        manifest["notes"]["rescued"] = f"{root}: {error.strerror or error}"
        return Experiment(_write(elsewhere, label, manifest, results, files))


def rescued(experiment: Experiment) -> tuple[str, ...]:
    """Return in words why and where an experiment was written elsewhere, if it was."""
    reason = experiment.manifest["notes"].get("rescued")
    return (f"note: {reason}; the results are in {experiment.path}: move that folder",) if reason else ()


def _write(root: Path, label: str, manifest: Document, results: pa.Table | Path, files: Mapping[str, bytes]) -> Path:
    """Write a directory of its own, and give it the first free name that starts with a label."""
    root.mkdir(parents=True, exist_ok=True)
    temp = root / f"{TEMP_PREFIX}{os.getpid()}-{secrets.token_hex(6)}"
    temp.mkdir()
    try:
        path = temp / "results.parquet"
        if isinstance(results, Path):
            shutil.copyfile(results, path)
        else:
            write_results(path, results.schema, [results])
        with path.open("rb") as file:
            manifest["results_sha256"] = hashlib.file_digest(file, "sha256").hexdigest()
        (temp / "manifest.json").write_bytes(orjson.dumps(manifest, option=_PRETTY))
        for file_name, data in files.items():
            (temp / file_name).write_bytes(data)
        target = _first_free(temp, root / label)
    except BaseException:
        shutil.rmtree(temp, ignore_errors=True)
        raise
    sync_folder(root)
    return target


def _first_free(temp: Path, wanted: Path) -> Path:
    """Rename a directory; of two writers with the same name, one gets a number."""
    number, target = 1, wanted
    while True:
        try:
            if not target.exists():
                return temp.rename(target)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
                raise
        number += 1
        target = wanted.with_name(f"{wanted.name}-{number}")


def list_experiments(root: Path) -> Iterator[Experiment]:
    """Yield the experiments below a folder, oldest first."""
    for path in sorted(root.glob("*-*/manifest.json")):
        if not path.parent.name.startswith("."):
            yield Experiment(path.parent)


def find_experiment(root: Path, name: str) -> Experiment:
    """Return the experiment with a path, a name, or a unique part of a name; "latest" is the newest.

    Raises
    ------
    ExperimentError
        If none or several match.
    """
    if (Path(name) / "manifest.json").exists():
        return Experiment(Path(name))
    known = list(list_experiments(root))
    if name == "latest" and known:
        return known[-1]
    matches = [e for e in known if name in e.name]
    exact = [e for e in matches if e.name == name]
    if len(exact or matches) == 1:
        return (exact or matches)[0]
    if matches:
        raise ExperimentError(f"{name!r} matches {len(matches)} experiments: {', '.join(e.name for e in matches[:5])}")
    if not known:
        raise ExperimentError(f"no experiment {name!r}: {root} has none yet; `ewmalab backtest` makes one")
    near = did_you_mean(name, ["latest", *(e.name for e in known)])
    raise ExperimentError(f"no experiment {name!r} in {root}; `ewmalab experiments list` lists them{near}")
