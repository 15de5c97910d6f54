"""Take turns at computing answers: each caller's prompts wait behind its own, not behind another's."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Generic, TypeVar

from ewmalab.live.miner.admission import Refusal

T = TypeVar("T")

QUOTA = 256
"""Prompts of one hotkey in progress, from admission to the last byte sent; more than any validator sends at once."""


@dataclass(eq=False)
class _Job(Generic[T]):
    key: Hashable
    work: Callable[[], T]
    result: asyncio.Future[T]
    started: bool = False


@dataclass
class Turns(Generic[T]):
    """Runs work on a pool, a few at a time, with the callers in turn. Equal work that is wanted at once is done once.

    Parameters
    ----------
    pool : Executor
    slots : int
        Works done at the same time.
    quota : int
        Most prompts of one caller in progress.
    """

    pool: Executor
    slots: int
    quota: int = QUOTA
    _jobs: dict[Hashable, _Job[T]] = field(default_factory=dict, repr=False)
    _waiting: dict[str, deque[_Job[T]]] = field(default_factory=dict, repr=False)  # first is whose turn it is
    _held: Counter[str] = field(default_factory=Counter, repr=False)
    _running: int = 0

    @contextmanager
    def place(self, caller: str) -> Iterator[None]:
        """Hold one of a caller's places for a prompt in progress.

        Raises
        ------
        Refusal
            If the caller has no place left; other callers' places are their own.
        """
        if self._held[caller] >= self.quota:
            raise Refusal(429, "busy", "too many prompts of one hotkey at once")
        self._held[caller] += 1
        try:
            yield
        finally:
            self._held[caller] -= 1
            if not self._held[caller]:
                del self._held[caller]

    def take(self, caller: str, key: Hashable, work: Callable[[], T]) -> tuple[asyncio.Future[T], bool]:
        """Return the future result of some work, and whether another caller has asked for it before.

        Parameters
        ----------
        caller : str
        key : hashable
            Works with equal keys are equal.
        work : callable
            Called on the pool.
        """
        job = self._jobs.get(key)
        shared = job is not None
        if job is None:
            job = self._jobs[key] = _Job(key, work, asyncio.get_running_loop().create_future())
        if not job.started:  # wanted by several, it waits in the queue of each
            self._waiting.setdefault(caller, deque()).append(job)
            self._start()
        return job.result, shared

    def _start(self) -> None:
        while self._running < self.slots:
            job = self._next()
            if job is None:
                return
            job.started = True
            self._running += 1
            running = asyncio.get_running_loop().run_in_executor(self.pool, job.work)
            running.add_done_callback(partial(self._done, job))

    def _next(self) -> _Job[T] | None:
        while self._waiting:
            caller = next(iter(self._waiting))
            jobs = self._waiting.pop(caller)
            job = jobs.popleft()
            if jobs:
                self._waiting[caller] = jobs  # behind the others
            if not job.started:
                return job
        return None

    def _done(self, job: _Job[T], finished: asyncio.Future[T]) -> None:
        self._running -= 1
        del self._jobs[job.key]
        error = finished.exception()
        if error is None:
            job.result.set_result(finished.result())
        else:
            job.result.set_exception(error)
            job.result.exception()  # retrieve it here, in case every caller has hung up
        self._start()
