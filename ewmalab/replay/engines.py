"""Engines that run tasks: threads of this process, processes of this machine, or a Dask cluster.

Every task is a pure function of its arguments, so results are bit for bit independent of the engine and of order.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from ewmalab.errors import ConfigError, EngineError

Engine = Literal["threads", "processes", "dask"]
ENGINES: tuple[Engine, ...] = ("threads", "processes", "dask")
# A task must take long compared with the cost of submitting it.
MIN_SECONDS: dict[Engine, float] = {"threads": 0.02, "processes": 0.2, "dask": 0.2}

OTHER_WORKER = (
    "a worker sees other bars or runs other code than the calling process: give all the same data.cache_dir (a shared "
    "folder or a URL) and the same versions; if the cache has changed meanwhile, run the same command again"
)

_PATIENCE = 20  # seconds between checks of a cluster that finishes nothing

Task = TypeVar("Task")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Workers:
    """Where the parts of a long job run; the results are the same.

    Attributes
    ----------
    engine : {"threads", "processes", "dask"}
    count : int
        Threads or processes; 0: one per processor.
    scheduler : str or None
        Address of a running Dask scheduler.
    """

    engine: Engine = "threads"
    count: int = 0
    scheduler: str | None = None


def check_engine(engine: str, scheduler: str | None = None) -> None:
    """Refuse an unknown engine, and a scheduler for an engine that takes none.

    Raises
    ------
    ConfigError
    """
    if engine not in ENGINES:
        raise ConfigError(f"unknown engine {engine!r}: choose {', '.join(ENGINES)}")
    if scheduler and engine != "dask":
        raise ConfigError(f"a scheduler belongs to --engine dask, not to {engine}")


def run_tasks(
    function: Callable[[Task], Result],
    tasks: Sequence[Task],
    *,
    engine: Engine = "threads",
    workers: int = 1,
    scheduler: str | None = None,
) -> Iterator[Result]:
    """Yield the results of tasks in order of completion.

    Parameters
    ----------
    function : callable
        Importable by name, for processes and clusters.
    tasks : sequence
    engine : {"threads", "processes", "dask"}
    workers : int
        Threads or processes; without `scheduler`, also the workers of a Dask cluster started for this run.
    scheduler : str, optional
        Address of a running Dask scheduler, ``tcp://host:port``.

    Raises
    ------
    EngineError
        If the cluster cannot be reached, or a task is lost permanently.
    ConfigError
        If the engine's library is not installed, or a scheduler is given to another engine.
    """
    check_engine(engine, scheduler)
    if engine == "dask":
        yield from _dask(function, tasks, workers, scheduler)
    elif engine == "processes":
        yield from _processes(function, tasks, workers)
    else:
        yield from _threads(function, tasks, workers)


def _threads(function: Callable[[Any], Any], tasks: Sequence[Any], workers: int) -> Iterator[Any]:
    with ThreadPoolExecutor(workers) as pool:
        futures = [pool.submit(function, task) for task in tasks]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _processes(function: Callable[[Any], Any], tasks: Sequence[Any], workers: int) -> Iterator[Any]:
    from joblib import Parallel, delayed, parallel_config

    # One thread each: the workers are the parallelism.
    with parallel_config(backend="loky", inner_max_num_threads=1):
        parallel = Parallel(n_jobs=min(workers, max(1, len(tasks))), batch_size=1, return_as="generator_unordered")
        results = parallel(delayed(function)(task) for task in tasks)
        try:
            # Not `yield from`: that would close joblib's generator where its warning is not silenced.
            for result in results:  # noqa: UP028
                yield result
        except BrokenProcessPool as error:
            raise EngineError(
                f"a worker process died, perhaps because memory ran out: {error}; try fewer --workers"
            ) from error
        finally:
            with warnings.catch_warnings():  # joblib warns of unfinished tasks, which were cancelled on purpose
                warnings.simplefilter("ignore")
                results.close()


def _dask(function: Callable[[Any], Any], tasks: Sequence[Any], workers: int, scheduler: str | None) -> Iterator[Any]:
    try:
        from distributed import Client, KilledWorker, LocalCluster
        from distributed.client import FutureCancelledError, FuturesCancelledError
    except ImportError as error:
        raise ConfigError("--engine dask needs an extra: pip install 'ewmalab[dask]'") from error
    with ExitStack() as stack:
        if scheduler is None:
            cluster = stack.enter_context(
                LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=":0", silence_logs=50)
            )
            client = stack.enter_context(Client(cluster, set_as_default=False))
        else:
            try:
                client = stack.enter_context(Client(scheduler, timeout="10s", set_as_default=False))
            except (OSError, TimeoutError, ValueError) as error:
                raise EngineError(
                    f"no Dask scheduler answers at {scheduler}: {error}; start one with `dask scheduler`, and workers "
                    f"with `dask worker {scheduler}`"
                ) from error
            if not client.scheduler_info()["workers"]:
                raise EngineError(f"{scheduler} has no workers; start them with `dask worker {scheduler}`")
        # Not pure: Dask's own cache of results must not replace ours. With retries a dying worker loses no task.
        futures = client.map(function, tasks, pure=False, retries=3)
        try:
            yield from _collected(client, futures)
        except (KilledWorker, FutureCancelledError, FuturesCancelledError) as error:
            raise EngineError(
                f"Dask lost a task: {error}. A task that kills every worker needs more memory; a stopped scheduler "
                "must be restarted. Finished trials are kept"
            ) from error
        except BaseException:
            client.cancel(futures, force=True)
            raise


def _collected(client: Any, futures: Sequence[Any]) -> Iterator[Any]:
    """Yield results in order of completion; give up after a while without workers."""
    from distributed import wait

    pending, idle = set(futures), 0
    while pending:
        try:
            with client.as_current():
                done, pending = wait(pending, timeout=_PATIENCE, return_when="FIRST_COMPLETED")
        except TimeoutError:
            idle = idle + 1 if not client.scheduler_info()["workers"] else 0
            if idle > 2:
                raise EngineError(
                    f"the Dask scheduler has had no worker for {3 * _PATIENCE} s; start some with `dask worker` and "
                    "run again: finished trials are kept"
                ) from None
            continue
        idle = 0
        for future in done:
            yield future.result()
