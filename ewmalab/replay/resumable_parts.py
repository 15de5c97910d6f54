"""A long replay in parts: each is a pure function of its description, so any process or machine can run it."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import Timeout

from ewmalab.atomic_files import acquire_lock, write_atomic
from ewmalab.errors import EngineError
from ewmalab.experiments.store import content_hash, write_results
from ewmalab.forecast.load import code_version, members_of
from ewmalab.replay.engines import OTHER_WORKER, Workers, run_tasks
from ewmalab.replay.plan import BacktestPlan, plan_backtest
from ewmalab.replay.results import collect, ordered, results_schema
from ewmalab.replay.schedule import Scheduled
from ewmalab.rulebook import RuleChoice
from ewmalab.settings import LoadedSettings
from ewmalab.times import DAY

STRETCH = 7 * DAY
"""Range of start times of a part, seconds."""
_KEPT_FOR = 30 * DAY  # unfinished replays
_REMARKS = b"remarks"


@dataclass(frozen=True, eq=False)
class Part:
    """A part of a replay: the prompts of a stretch of time, of one asset unless forecasters are refitted.

    A fit sees several assets. The parts of a replay with refits hold all of them, so that each fit is made once.

    Attributes
    ----------
    index : int
        Place in the replay.
    stretch : int
        Index of its stretch of time.
    settings : LoadedSettings
        Without secrets.
    forecasters : tuple of str
    rules : RuleChoice
    partial : bool
    prompts : list of Scheduled
        In time order.
    code : str
        Digest of the code that must run it.
    keep : Path or None
        Folder for the ensembles, which all workers must share.
    """

    index: int
    stretch: int
    settings: LoadedSettings
    forecasters: tuple[str, ...]
    rules: RuleChoice
    partial: bool
    prompts: list[Scheduled]
    code: str
    keep: Path | None = None

    @property
    def work(self) -> int:
        """Return the number of forecasts."""
        return len(self.prompts) * len(self.forecasters)


@dataclass(frozen=True, eq=False)
class Finished:
    """What running a part returned: its results as Parquet, and the digests of the days that it read."""

    index: int
    data: bytes
    seen: Mapping[str, str]


def cut(plan: BacktestPlan, keep: Path | None = None) -> list[Part]:
    """Cut a plan into parts, in time order; the cut depends on nothing but the plan.

    Parameters
    ----------
    plan : BacktestPlan
    keep : Path, optional
        Folder for the ensembles.
    """
    settings = plan.settings.without_secrets()
    if plan.refits and not settings.values.fit.assets:
        settings = settings.with_flags({"fit.assets": list(plan.data.needs)})
    found: dict[tuple[int, str], list[Scheduled]] = {}
    for (_, asset), items in plan.groups.items():
        for item in items:
            stretch = (item.prompt.start_time - plan.start) // STRETCH
            found.setdefault((stretch, "" if plan.refits else asset), []).append(item)
    code = _code_of(plan.forecasters, plan.settings)
    partial = bool(plan.options.get("partial"))
    return [
        Part(
            index,
            stretch,
            settings,
            plan.forecasters,
            plan.choice,
            partial,
            sorted(items, key=lambda item: item.prompt),
            code,
            keep,
        )
        for index, ((stretch, _), items) in enumerate(sorted(found.items(), key=lambda entry: entry[0]))
    ]


def run_part(part: Part, threads: int = 1, progress: Callable[[int], None] | None = None) -> Finished:
    """Replay a part.

    Parameters
    ----------
    part : Part
    threads : int
    progress : callable, optional
        Called with the number of forecasts just done.

    Raises
    ------
    EngineError
        If this process has other code than the one that cut the replay.
    """
    if _code_of(part.forecasters, part.settings) != part.code:
        raise EngineError(OTHER_WORKER)
    first, last = part.prompts[0].prompt.start_time, part.prompts[-1].prompt.start_time
    plan = plan_backtest(
        part.settings,
        forecasters=part.forecasters,
        scheduled=part.prompts,
        start=first,
        days=(last - first) / DAY,
        rules=part.rules,
        partial=part.partial,
    )
    schema = results_schema(plan.rules, (item.prompt for item in part.prompts))
    table = collect(plan.blocks(threads=threads, progress=progress, keep=part.keep), plan.forecasters, schema)
    remarks = {name: fits.remarks for name, fits in plan.refits.items()}
    sink = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata({_REMARKS: orjson.dumps(remarks)}), sink, write_page_checksum=True)
    return Finished(part.index, bytes(sink.getvalue()), {key: e.digest for key, e in plan.partitions.items()})


class PartStore:
    """Results of finished parts on disk, so that an interrupted replay resumes.

    Parameters
    ----------
    experiments : Path
        The folder of experiments.
    plan : BacktestPlan
    now : int
        Current time, seconds since 1970-01-01 UTC; parts of replays interrupted long ago are deleted.
    keep : Path, optional
        Folder of the ensembles: a replay that keeps them does not resume one that did not.
    """

    def __init__(self, experiments: Path, plan: BacktestPlan, now: int, keep: Path | None = None) -> None:
        root = experiments / ".unfinished" / "backtest"
        described = {"inputs": plan.inputs(), "code": _code_of(plan.forecasters, plan.settings)} | (
            {"keep": str(keep)} if keep else {}
        )
        whole = content_hash(described)[:16]
        for folder in root.glob("*"):
            if folder.name != whole and folder.stat().st_mtime < now - _KEPT_FOR:
                shutil.rmtree(folder, ignore_errors=True)
        self._forecasters = plan.forecasters
        self._schema = results_schema(
            plan.rules, (item.prompt for items in plan.groups.values() for item in (items[0], items[-1]))
        )
        number = 1
        while True:
            self.folder = root / (whole if number == 1 else f"{whole}-{number}")
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                self._lock = acquire_lock(self.folder / ".lock", 0, "the setting run.experiments_dir")
                break
            except Timeout:  # the same replay runs in another process
                number += 1

    def close(self, *, finished: bool) -> None:
        """Release the store; delete the parts if the replay is finished, or nothing was kept."""
        finished = finished or not any(self.folder.glob("*.parquet"))
        self._lock.release()
        if finished:
            shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def kept(self) -> int:
        """Return the number of finished parts."""
        return len(list(self.folder.glob("[0-9]*.parquet")))

    def put(self, finished: Finished) -> None:
        """Keep a part's results."""
        write_atomic(self._path(finished.index), finished.data)

    def get(self, part: Part) -> pa.Table | None:
        """Return a part's results, None if there are none or they are damaged."""
        try:
            return pq.read_table(self._path(part.index), page_checksum_verification=True)
        except (OSError, pa.ArrowException):
            return None

    def join(self, parts: Sequence[Part], path: Path) -> dict[str, dict[str, int]]:
        """Write the results of all parts as one file.

        The rows are ordered by forecaster, start time, competition and asset. One stretch of time is in memory at a
        time.

        Returns
        -------
        dict of forecaster to dict of remark to int
            The remarks on the fits, and the number of fits that each is about.
        """
        remarks: dict[str, dict[str, int]] = {}
        for part in parts:
            found = orjson.loads((pq.read_schema(self._path(part.index)).metadata or {})[_REMARKS])
            for name, counts in found.items():
                known = remarks.setdefault(name, {})
                for words, count in counts.items():
                    known[words] = known.get(words, 0) + count
        write_results(path, self._schema, self._tables(parts))
        return remarks

    def _tables(self, parts: Sequence[Part]) -> Iterator[pa.Table]:
        stretches: dict[int, list[Path]] = {}
        for part in parts:
            stretches.setdefault(part.stretch, []).append(self._path(part.index))
        for name in self._forecasters:
            for paths in stretches.values():
                found = (pq.read_table(path, filters=[("forecaster", "=", name)]) for path in paths)
                yield ordered([_conformed(table, self._schema) for table in found], [name])

    def _path(self, index: int) -> Path:
        return self.folder / f"{index:05d}.parquet"


def run_parts(
    plan: BacktestPlan,
    parts: Sequence[Part],
    store: PartStore,
    workers: Workers,
    progress: Callable[[int], None] | None = None,
) -> int:
    """Run the parts that the store lacks; return how many forecasts it had.

    Parameters
    ----------
    plan : BacktestPlan
    parts : sequence of Part
        All of the plan's.
    store : PartStore
    workers : Workers
        Threads share the prompts of one part after the other; processes and clusters share the parts.
    progress : callable, optional
        Called with the number of forecasts just done.

    Raises
    ------
    EngineError
        Also if a worker read other bars than the plan found.
    """
    pending = [part for part in parts if store.get(part) is None]
    known = sum(part.work for part in parts) - sum(part.work for part in pending)
    if progress and known:
        progress(known)
    days = {key: entry.digest for key, entry in plan.partitions.items()}
    work = {part.index: part.work for part in pending}
    results: Iterable[Finished]
    if workers.engine == "threads":
        results = (run_part(part, workers.count, progress) for part in pending)
    else:
        results = run_tasks(
            run_part, pending, engine=workers.engine, workers=workers.count, scheduler=workers.scheduler
        )
    for finished in results:
        if not finished.seen.items() <= days.items():
            raise EngineError(OTHER_WORKER)
        store.put(finished)
        if progress and workers.engine != "threads":
            progress(work[finished.index])
    return known


def _conformed(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return a table with the columns of a schema; those that it lacks are null."""
    columns = [
        table[field.name] if field.name in table.column_names else pa.nulls(table.num_rows, field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)


def _code_of(forecasters: Iterable[str], settings: LoadedSettings) -> str:
    names = (one for name in forecasters for one in (name, *members_of(name, settings)))
    versions: list[Any] = [(name, code_version(name.partition("@")[0])) for name in names]
    return hashlib.sha256(orjson.dumps(versions)).hexdigest()
