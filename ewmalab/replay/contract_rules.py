"""The rules of the contract of a forecaster; each yields what breaks it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from ewmalab.errors import ForecasterError
from ewmalab.forecast.model import Model, paths_digest, state_digest
from ewmalab.forecast.paths import LOG_RETURN_LIMIT
from ewmalab.forecast.protocol import Ageing, LogReturns, Prompt, ScaleFree
from ewmalab.forecast.streams import RandomStream
from ewmalab.market.bars import Bars
from ewmalab.replay.contract import DAYS, Breach, Rule, Subject
from ewmalab.replay.fresh_process import Job, Tick, run_fresh
from ewmalab.times import DAY, HOUR, MINUTE

PATHS = 50
"""Paths of an answer where their number does not matter."""
_THREADS = 4
_STREAM = "draw random numbers from `stream.generator()` only, and read no clock"
_ORDER = "add up bar by bar in the order of time (np.cumsum, not np.sum), and keep the last bar's values in the state"


def states(subject: Subject) -> Iterator[Breach]:
    """Bars give a state, and no bars change nothing."""
    before = _dumped(subject, subject.state)
    with subject.model.naming("update"):
        after = subject.model.forecaster.update(subject.state, Bars.empty())
    if _dumped(subject, after) != before:
        yield Breach("update", "no bars changed the state", "return the state as it is when `bars` is empty")


def shapes(subject: Subject) -> Iterator[Breach]:
    """Paths have the right shape and type for every increment and length of the rulebook."""
    for prompt in subject.prompts():
        yield from wrong_paths(subject.simulate(subject.state, prompt), prompt)


def wrong_paths(paths: LogReturns, prompt: Prompt, where: str = "") -> Iterator[Breach]:
    """Yield what is wrong with paths; `where` says after which bars."""
    wanted = (prompt.steps + 1, prompt.num_simulations)
    asked = f"increments of {prompt.time_increment} s over {prompt.time_length} s"
    if not (isinstance(paths, np.ndarray) and paths.dtype == np.float32 and paths.shape == wanted):
        found = f"{getattr(paths, 'dtype', type(paths).__name__)} {getattr(paths, 'shape', '')}".strip()
        remedy = f"return float32 {wanted}: a row for each point, a column for each path"
        yield Breach("simulate", f"it returned {found} for {asked}", remedy)
        return
    if paths[0].any():
        yield Breach("simulate", "row 0 is not zero", "the paths start at the anchor: set row 0 to 0")
    if not np.isfinite(paths).all():
        yield Breach("simulate", f"some paths are not finite{where}", "return finite log-returns, whatever the bars")
    elif np.abs(paths).max() > LOG_RETURN_LIMIT:
        remedy = "return cumulative log-returns, not prices or percent"
        yield Breach("simulate", f"log-returns leave +-{LOG_RETURN_LIMIT:g}{where}", remedy)


def determinism(subject: Subject) -> Iterator[Breach]:
    """The same stream gives the same paths, and another stream gives others."""
    prompt = subject.prompts(PATHS)[0]
    first = subject.simulate(subject.state, prompt).copy()
    if not np.array_equal(first, subject.simulate(subject.state, prompt)):
        yield Breach("simulate", "the same state, prompt and stream gave other paths", _STREAM)
        return
    later = replace(prompt, start_time=prompt.start_time + HOUR, request_time=prompt.request_time + HOUR)
    for stream in (prompt.stream(2), later.stream(1)):
        if np.array_equal(first[1:], subject.simulate(subject.state, prompt, stream)[1:]):
            yield Breach("simulate", "another stream gave the same paths", _STREAM)
            return


def new_arrays(subject: Subject) -> Iterator[Breach]:
    """Writing into the returned paths changes no other answer."""
    prompt = subject.prompts(PATHS)[0]
    paths = subject.simulate(subject.state, prompt)
    kept = paths.copy()
    try:
        paths[:] = 7
    except ValueError:
        return  # read-only
    if not np.array_equal(kept, subject.simulate(subject.state, prompt)):
        yield Breach("simulate", "it returned an array that it keeps", "return a new array from every call")


def divisions(subject: Subject) -> Iterator[Breach]:
    """The state does not depend on how bars are divided into calls."""
    bars = subject.bars.rows(0, 700)
    whole = _dumped(subject, subject.model.updated(subject.initial(), bars))
    for cuts in ([350], [1, 2, 3, 61, 300, 307], list(range(1, 700, 7)), list(range(1, 200))):
        state = subject.initial()
        for begin, end in zip([0, *cuts], [*cuts, len(bars)], strict=True):
            state = subject.model.updated(state, bars.rows(begin, end))
        if _dumped(subject, state) != whole:
            yield Breach("update", f"bars in {len(cuts) + 1} calls gave another state than in one", _ORDER)
            return


def arguments(subject: Subject) -> Iterator[Breach]:
    """No method modifies the state that it is given."""
    forecaster, state, until = subject.model.forecaster, subject.state, subject.start + DAY
    prompt = subject.prompts(PATHS)[0]
    calls: dict[str, Any] = {
        "update": lambda: forecaster.update(state, _later(subject, DAY)),
        "simulate": lambda: forecaster.simulate(state, prompt, prompt.stream(1)),
        "dump_state": lambda: forecaster.dump_state(state),
    }
    if isinstance(forecaster, Ageing):
        calls["aged"] = lambda: forecaster.aged(state, until)
    paths = subject.simulate(state, prompt).copy()
    expected = _dumped(subject, state)
    for method, call in calls.items():
        with subject.model.naming(method):
            call()
        if _dumped(subject, state) != expected or not np.array_equal(paths, subject.simulate(state, prompt)):
            yield Breach(method, "it modified the state that it was given", "return a new state and leave that one")
            return


def dumps(subject: Subject) -> Iterator[Breach]:
    """A state survives JSON, bit for bit, and one of another version is refused."""
    with subject.model.naming("dump_state"):
        data = subject.model.forecaster.dump_state(subject.state)
    if not (isinstance(data, dict) and type(data.get("version")) is int):
        yield Breach("dump_state", "it has no integer `version`", 'return a dict with "version": 1')
        return
    try:
        text = orjson.dumps(data)
    except TypeError as error:
        remedy = "return plain numbers, texts and lists (array.tolist(), float(x))"
        yield Breach("dump_state", f"JSON cannot hold it: {error}", remedy)
        return
    back = subject.model.loaded(orjson.loads(text))
    later, prompt = _later(subject, 0), subject.prompts(PATHS)[0]
    ways = [subject.model.updated(state, later) for state in (subject.state, back)]
    paths = [subject.simulate(state, prompt) for state in (subject.state, back, *ways)]
    same = np.array_equal(paths[0], paths[1]) and np.array_equal(paths[2], paths[3])
    if not same or _dumped(subject, back) != _dumped(subject, subject.state):
        remedy = "dump all that the state holds; NaN becomes null in JSON, so write such a number as float.hex()"
        yield Breach("load_state", "the state that came back through JSON is another", remedy)
    yield from _refusal(subject, data | {"version": 99}, "a state of version 99")


def _refusal(subject: Subject, data: dict[str, Any], what: str) -> Iterator[Breach]:
    try:
        subject.model.forecaster.load_state(data)
    except ForecasterError:
        return
    except Exception as error:  # noqa: BLE001 - whatever it raises
        yield Breach("load_state", f"{what} raised {type(error).__name__}", "raise ewmalab's ForecasterError")
        return
    yield Breach("load_state", f"it accepted {what}", "raise ForecasterError unless `version` is the present one")


def threads(subject: Subject) -> Iterator[Breach]:
    """Threads that share a forecaster get the same paths."""
    prompt = subject.prompts(PATHS)[0]
    streams = [RandomStream.of(seed, "threads", "", 0) for seed in range(8 * _THREADS)]
    alone = [paths_digest(subject.simulate(subject.state, prompt, stream)) for stream in streams]
    with ThreadPoolExecutor(_THREADS) as pool:
        together = list(pool.map(lambda s: paths_digest(subject.simulate(subject.state, prompt, s)), streams))
    if alone != together:
        remedy = "share no buffers or generators between calls; keep them local"
        yield Breach("simulate", f"{_THREADS} threads got other paths than one", remedy)


def processes(subject: Subject) -> Iterator[Breach]:
    """A fresh process gives the same state and paths."""
    ((found, _),) = run_fresh([Job(in_process, subject)], os.environ, lambda: None)
    if found[0] != _dumped(subject, subject.state):
        remedy = "depend on nothing but asset, parameters and bars: no globals, clock, files, or order of a set"
        yield Breach("update", "a fresh process gave another state", remedy)
    elif found[1] != _answers(subject):
        remedy = "depend on nothing but state, prompt and stream: no globals, clock, files, or order of a set"
        yield Breach("simulate", "a fresh process gave other paths", remedy)


def in_process(subject: Subject, folder: Path, tick: Tick) -> tuple[str, list[str]]:
    """Return digests of the state and the paths."""
    model = Model.of(subject.model.name, subject.model.asset, subject.settings)
    fresh = Subject(model, subject.settings, subject.rulebook, subject.start)
    return _dumped(fresh, fresh.state), _answers(fresh)


def silences(subject: Subject) -> Iterator[Breach]:
    """Gaps, bars without a range, a market that does not move, and a long silence give finite paths."""
    bars, prompt = subject.bars, subject.prompts(PATHS)[0]
    holes = np.arange(len(bars)) % 97 < 60
    flat = np.full(len(bars), bars.close[0])
    markets = {
        "after gaps of an hour": Bars.from_columns({k: v[holes] for k, v in bars.columns().items()}),
        "after bars without a range": Bars.from_closes(bars.timestamp, bars.close),
        "after a market that does not move": Bars(bars.timestamp, flat, flat, flat, flat),
        "after a silence of two days": bars.rows(0, len(bars) * (DAYS - 2) // DAYS),
    }
    for where, market in markets.items():
        state = subject.model.updated(subject.initial(), market)
        yield from wrong_paths(subject.simulate(state, prompt), prompt, f" {where}")
        if isinstance(subject.model.forecaster, Ageing):
            with subject.model.naming("aged", prompt.request_time):
                state = subject.model.forecaster.aged(state, prompt.request_time)
            yield from wrong_paths(subject.simulate(state, prompt), prompt, f" {where}, aged")


def scales(subject: Subject) -> Iterator[Breach]:
    """If paths are said to scale, they are the reference's times the relative volatility."""
    forecaster, prompt = subject.model.forecaster, subject.prompts(PATHS)[0]
    step = prompt.time_increment
    assert isinstance(forecaster, ScaleFree)
    if forecaster.shape(step) is None:
        return
    with subject.model.naming("relative_volatility"):
        volatility = forecaster.relative_volatility(subject.state, step)
        known = np.array([len(subject.bars)], np.int64)
        several = forecaster.relative_volatilities(subject.bars, known, step)
    reference = subject.simulate(forecaster.reference_state(), prompt).astype(float)
    if not np.allclose(volatility * reference, subject.simulate(subject.state, prompt), rtol=1e-4, atol=1e-7):
        remedy = "return None from `shape` if the paths are not the reference's times `relative_volatility`"
        yield Breach("shape", "the paths do not scale", remedy)
    if several.tolist() != [volatility]:
        remedy = "return the relative volatility of the state after each number of bars, bit for bit"
        yield Breach("relative_volatilities", "it differs from `relative_volatility`", remedy)


def speeds(subject: Subject) -> dict[str, float]:
    """Return milliseconds of an answer with all its paths, and of an update with a day of bars."""
    found = {}
    for prompt in subject.prompts():
        began = time.perf_counter()
        subject.simulate(subject.state, prompt)
        found[f"simulate {prompt.time_increment}/{prompt.time_length}"] = time.perf_counter() - began
    began = time.perf_counter()
    subject.model.updated(subject.initial(), subject.bars.rows(0, 1440))
    found["update with a day"] = time.perf_counter() - began
    return {what: round(1e3 * seconds, 3) for what, seconds in found.items()}


def _dumped(subject: Subject, state: Any) -> str:
    return state_digest(subject.model.forecaster, state)


def _answers(subject: Subject) -> list[str]:
    return [paths_digest(subject.simulate(subject.state, prompt)) for prompt in subject.prompts(PATHS)]


def _later(subject: Subject, pause: int) -> Bars:
    """Return bars after those of the subject."""
    bars = subject.bars.rows(0, 100)
    shift = int(subject.bars.timestamp[-1] - bars.timestamp[0]) + MINUTE + pause
    return Bars(bars.timestamp + shift, bars.open, bars.high, bars.low, bars.close)


_ALWAYS: dict[str, Rule] = {
    "bars give a state that can be dumped": states,
    "paths have the right shape and type": shapes,
    "the same stream gives the same paths, another others": determinism,
    "every call returns a new array": new_arrays,
    "a state does not depend on how bars are divided into calls": divisions,
    "arguments are not modified": arguments,
    "a state survives JSON": dumps,
    "threads get the same paths": threads,
    "gaps and silence give finite paths": silences,
}
ESSENTIAL = tuple(_ALWAYS)[:2]
"""If one of these is broken, the others are not tried."""


def rules_for(subject: Subject) -> dict[str, Rule]:
    """Return the rules that concern a forecaster, except that it must not look ahead."""
    from ewmalab.replay.contract_fits import fits

    found, forecaster = dict(_ALWAYS), subject.model.forecaster
    if subject.importable:
        found["a fresh process gives the same bits"] = processes
    if hasattr(forecaster, "fit") or hasattr(forecaster, "with_fit"):
        found["a fit is deterministic and plain"] = fits
    if isinstance(forecaster, ScaleFree):
        found["paths scale where the forecaster says so"] = scales
    return found
