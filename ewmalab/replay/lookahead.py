"""Check that no forecast of a replay depends on its future."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock
from typing import Any

from ewmalab.forecast.load import is_importable
from ewmalab.market.bars import Bars
from ewmalab.market.cache import open_cache
from ewmalab.replay.artifacts import Artifact
from ewmalab.replay.engines import run_tasks
from ewmalab.replay.fits import artifact_of
from ewmalab.replay.fresh_process import Job, Tick, run_fresh
from ewmalab.replay.knowledge import Knowledge, moments
from ewmalab.replay.opened_files import Touched
from ewmalab.replay.plan import BacktestPlan
from ewmalab.replay.priors import prior_at
from ewmalab.replay.trials import Answers, Cut, Remake, Trial, Variant, cuts_of, run_remake, run_trial
from ewmalab.replay.worlds import FUTURES
from ewmalab.times import MINUTE, iso, parse_time

REPEATED = "repeated"
FIT = "fit"
ORDER: tuple[Variant, ...] = (*FUTURES, "truth", "again")
"""In one process first those that see no true future, which could be remembered."""
UNCONFIRMED = "the cache does not have the bars that it saw"
OTHER_PRIOR = "it was shrunk towards another prior than that of fit.prior"
_OTHER_FIT = (
    "its numbers do not follow from the bars that it says it saw: it saw others, or its code or settings have changed "
    "since; fit again"
)
_MADE = 2 + 2 + len(FUTURES)  # times that each forecast is made
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Leak:
    """A forecast that changed with its future.

    Attributes
    ----------
    forecaster, competition, asset : str
    request_time : int
    mutation : {"removed", "scaled", "shaken", "repeated"}
        What was done to the future; or the replay was repeated in the same process, with all that it remembered.
    """

    forecaster: str
    competition: str
    asset: str
    request_time: int
    mutation: str


@dataclass(frozen=True, slots=True)
class LookaheadReport:
    """The result of `check_lookahead`.

    Attributes
    ----------
    cuts, forecasts : int
        Cuts that were tried, and forecasts at them, each made several times.
    leaks : list of Leak
    unsteady : dict of str to int
        Forecasters that give other bits for the same bars and stream, and how many of their forecasts did. Nothing can
        be said about their leaks.
    fits : dict of str to str
        Forecasters whose fit was not confirmed, and why.
    files : list of str
        Findings about files: a forecaster reads the user's cache itself, or what it has written.
    notes : list of str
        What the check could not change or try.
    apart, fitted : bool
        Whether every forecaster was tried in fresh processes, and whether any has a fit that was made once more.
    """

    cuts: int
    forecasts: int
    leaks: list[Leak]
    unsteady: dict[str, int] = field(default_factory=dict)
    fits: dict[str, str] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    apart: bool = False
    fitted: bool = False

    @property
    def ok(self) -> bool:
        """Return whether nothing was found."""
        return not (self.leaks or self.unsteady or self.fits or self.files)


@dataclass
class _Tried:
    """What was found about one forecaster: forecasts by variant, and the files that each opened."""

    name: str
    cuts: list[Cut]
    answers: dict[str, list[Answers]] = field(default_factory=dict)
    touched: dict[str, Touched] = field(default_factory=dict)
    fit: str = ""


def check_lookahead(
    plan: BacktestPlan,
    *,
    cuts: int = 12,
    knowledge: Knowledge = moments,
    fresh: bool = True,
    environ: Mapping[str, str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> LookaheadReport:
    """Compare the forecasts of a replay, bit for bit, with those made where nothing later exists.

    A cut is the request time of a prompt: every bar not closed by then is changed, or removed. Each kind of future, the
    replay itself, and the replay again run in fresh processes, so that no global, environment variable or temporary
    file helps. Those with another future have a cache on disk that ends at each cut, for all assets, and fits that are
    made as if nothing after their end existed.

    Parameters
    ----------
    plan : BacktestPlan
    cuts : int
        Per forecaster, competition, asset and fit; each is tried with every kind of future.
    knowledge : callable
        As in `ewmalab.replay.engine.replay`; another one needs ``fresh=False``.
    fresh : bool
        Whether fresh processes are started. Without them a forecaster's memory may hide a leak. A forecaster that
        another process cannot import is always tried in this one.
    environ : mapping, optional
        Environment of the processes, by default that of this one.
    progress : callable, optional
        Called with forecasts made and the total.
    """
    found = [_Tried(name, cuts_of(plan, name, cuts)) for name in plan.forecasters]
    tick = _counter(progress, _MADE * sum(len(cut.asked) for tried in found for cut in tried.cuts))
    outside = [tried for tried in found if fresh and is_importable(tried.name)]
    inside = [tried for tried in found if tried not in outside]
    for tried in inside:
        for kind in ORDER:
            tried.answers[kind] = Trial(plan, tried.name, kind, tried.cuts, knowledge).run(None, tick)
    if outside:
        _try_apart(outside, plan, dict(os.environ if environ is None else environ), tick)
    report = _report(plan, found)
    if fresh:
        report.notes.extend(
            f"{tried.name} is defined in this process and was tried here: what it remembers between calls may hide a "
            "leak; put it into a module"
            for tried in inside
        )
    return report


def _counter(progress: Callable[[int, int], None] | None, total: int) -> Tick:
    lock, done = Lock(), 0

    def tick() -> None:
        nonlocal done
        with lock:
            done = min(done + 1, total)
            if progress:
                progress(done, total)

    return tick


def _try_apart(found: Sequence[_Tried], plan: BacktestPlan, environ: Mapping[str, str], tick: Tick) -> None:
    """Run all variants in fresh processes; the second run of the truth comes from another interpreter."""
    _ = plan.data.model, [refits.history.bars for refits in plan.refits.values()]  # read once, not in each process
    root = plan.data.cache.root
    hidden = root.absolute() if isinstance(root, Path) else None
    first: dict[tuple[int, str], Job] = {}
    second: dict[tuple[int, str], Job] = {}
    for i, tried in enumerate(found):
        refits = {name: fits for name, fits in plan.refits.items() if name == tried.name}
        alone = replace(plan, forecasters=(tried.name,), refits=refits)
        if (artifact := None if refits else artifact_of(tried.name, plan.settings)) is not None:
            tried.fit, bars = _seen_by(artifact, plan)
            if bars:
                first[i, FIT] = Job(run_remake, Remake(alone, tried.name, bars), hidden)
        for kind in ORDER:
            batch = second if kind == "again" else first
            batch[i, kind] = Job(
                run_trial, Trial(alone, tried.name, kind, tried.cuts), hidden if kind in FUTURES else None
            )

    def run(jobs: dict[tuple[int, str], Job]) -> list[tuple[tuple[int, str], tuple[Any, Touched]]]:
        return list(zip(jobs, run_fresh(list(jobs.values()), environ, tick), strict=True))

    for results in run_tasks(run, [first, second], workers=2):
        for (i, variant), (value, touched) in results:
            found[i].touched[variant] = touched
            if variant == FIT:
                found[i].fit = "" if value else _OTHER_FIT
            else:
                found[i].answers[variant] = value


def _seen_by(artifact: Artifact, plan: BacktestPlan) -> tuple[str, dict[str, Bars]]:
    """Return what is wrong with the bars that a fit says it saw, and the bars, if the cache has them."""
    cache, end, bars = open_cache(plan.settings.values.data.cache_dir), artifact.fit.end, {}
    prior = prior_at(artifact.forecaster, plan.settings, end)
    if artifact.prior != (prior.fit.digest if prior else ""):
        return OTHER_PRIOR, {}
    for asset, seen in artifact.seen.items():
        first, last = parse_time(seen["first"]), parse_time(seen["last"])
        if last + MINUTE > end:
            return f"it saw bars of {asset} up to {iso(last)}, after its end, {iso(end)}; fit again", {}
        bars[asset] = cache.read(artifact.feed, asset, first, last + MINUTE)
        if bars[asset].digest() != seen["sha256"]:
            return UNCONFIRMED, {}
    return "", bars


def _report(plan: BacktestPlan, found: Sequence[_Tried]) -> LookaheadReport:
    report = LookaheadReport(
        sum(len(tried.cuts) for tried in found),
        sum(len(cut.asked) for tried in found for cut in tried.cuts),
        [],
        apart=all(tried.touched for tried in found),
        fitted=bool(plan.refits) or any(FIT in tried.touched for tried in found),
    )
    for tried in found:
        if count := _unsteady(tried):
            report.unsteady[tried.name] = count
        else:
            report.leaks.extend(_leaks(tried))
        if tried.fit in (UNCONFIRMED, OTHER_PRIOR):
            report.notes.append(f"the fit of {tried.name} was not confirmed: {tried.fit}")
        elif tried.fit:
            report.fits[tried.name] = tried.fit
        _files(report, tried, plan)
    return report


def _unsteady(tried: _Tried) -> int:
    """Return how many forecasts differ between two runs of the truth, or if made twice in a row."""
    first, second = tried.answers["again"]
    # Without fresh processes what is remembered makes the second run differ, which is a leak and not chance.
    held = tried.answers["truth"][0] if tried.touched else first
    return sum(not held[prompt] == first[prompt] == second[prompt] for prompt in held)


def _leaks(tried: _Tried) -> Iterator[Leak]:
    held, direct = tried.answers["truth"]
    changed = {REPEATED: direct, **{str(future): tried.answers[future][0] for future in FUTURES}}
    for cut in tried.cuts:
        for prompt in cut.asked:
            for mutation, answers in changed.items():
                if answers.get(prompt, held[prompt]) != held[prompt]:
                    yield Leak(tried.name, prompt.competition, prompt.asset, prompt.request_time, mutation)


def _files(report: LookaheadReport, tried: _Tried, plan: BacktestPlan) -> None:
    """Add what is to be said about the files that a forecaster opened."""
    root = Path(plan.data.cache.root).absolute() if isinstance(plan.data.cache.root, Path) else None
    fit = plan.settings.values.fit
    given = {str(Path(path).absolute()) for path in (*fit.artifacts, fit.prior)}

    def of_cache(path: str) -> bool:
        return root is not None and Path(path).is_relative_to(root)

    read = {path for touched in tried.touched.values() for path in touched.read} - given
    written = {path for touched in tried.touched.values() for path in touched.written}
    behind = [path for future in FUTURES if future in tried.touched for path in tried.touched[future].read]
    if any(map(of_cache, behind)):
        report.files.append(f"{tried.name} reads the cache in {root}, which the check cannot change")
    elif any(map(of_cache, read)):
        report.notes.append(f"{tried.name} reads the cache on disk; a forecaster gets its bars as arguments")
    report.files.extend(f"{tried.name} reads what it has written: {path}" for path in sorted(read & written))
    others = sorted(path for path in read ^ written if not of_cache(path))
    if others:
        listed = ", ".join(others[:_SHOWN]) + (" ..." if len(others) > _SHOWN else "")
        report.notes.append(f"{tried.name} opens files, which the check cannot change: {listed}")
