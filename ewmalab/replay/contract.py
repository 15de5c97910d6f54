"""The contract of a forecaster, checked as a whole on a small synthetic market."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from ewmalab.errors import EwmalabError, ForecasterError
from ewmalab.forecast.load import Factory, is_importable, names_of
from ewmalab.forecast.model import Model
from ewmalab.forecast.protocol import Fittable, LogReturns, Prompt
from ewmalab.forecast.streams import RandomStream
from ewmalab.market.bars import Bars
from ewmalab.market.feeds.simulated import SimulatedFeed
from ewmalab.replay.lookahead import LookaheadReport, check_lookahead
from ewmalab.replay.plan import plan_backtest
from ewmalab.rulebook import Rulebook, load_rulebook
from ewmalab.settings import LoadedSettings
from ewmalab.times import DAY, HOUR, MINUTE, parse_time

DAYS = 3
"""Days of bars that a state is made from."""
_EARLIEST = parse_time("2026-01-15")


@dataclass(frozen=True, slots=True)
class Breach:
    """A rule that a forecaster breaks: the method, what it does, and what it should do."""

    method: str
    problem: str
    remedy: str

    @property
    def line(self) -> str:
        """Return the breach on one line."""
        return " ".join(f"{self.method}: {self.problem}; {self.remedy}".split())


@dataclass
class ContractReport:
    """The result of `check_contract`.

    Attributes
    ----------
    forecaster, asset : str
    kept, broken, untried : list of str
        The rules that concern the forecaster, in words.
    breaches : list of Breach
    speeds : dict of str to float
        Milliseconds of an answer with all its paths, by increment and length, and of an update with a day of bars.
    notes : list of str
        What could not be tried.
    """

    forecaster: str
    asset: str
    kept: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    untried: list[str] = field(default_factory=list)
    breaches: list[Breach] = field(default_factory=list)
    speeds: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Subject:
    """A forecaster on a small market.

    Attributes
    ----------
    model : Model
    settings : LoadedSettings
    rulebook : Rulebook
    start : int
        The market's last midnight, seconds since 1970-01-01 UTC.
    """

    model: Model
    settings: LoadedSettings
    rulebook: Rulebook
    start: int

    @cached_property
    def bars(self) -> Bars:
        """Return the bars of some days up to `start`, a few of them missing."""
        return self.market(self.model.asset.symbol)

    def market(self, asset: str, days: int = DAYS) -> Bars:
        """Return the bars of an asset on the days before `start`."""
        feed = SimulatedFeed(self.rulebook, seed=7, gaps=0.02)
        return feed.fetch(asset, self.start - days * DAY, self.start, self.start + DAY)

    @cached_property
    def state(self) -> Any:
        """Return the state after `bars`."""
        return self.model.updated(self.initial(), self.bars)

    def initial(self) -> Any:
        """Return a state before any bar."""
        with self.model.naming("initial_state"):
            return self.model.forecaster.initial_state()

    def prompts(self, paths: int | None = None) -> list[Prompt]:
        """Return a prompt of each increment and length of the rulebook, with all its paths or fewer."""
        asset, received = self.model.asset.symbol, self.start + 2 * MINUTE
        found: dict[tuple[int, int], Prompt] = {}
        for name, c in ((name, c) for era in self.rulebook.eras for name, c in era.competitions.items()):
            shape = c.time_increment, c.time_length
            found[shape] = Prompt(received, name, asset, self.start, *shape, paths or c.num_simulations)
        return list(found.values())

    def simulate(self, state: Any, prompt: Prompt, stream: RandomStream | None = None) -> LogReturns:
        """Return the paths as the forecaster returns them."""
        with self.model.naming("simulate", prompt.request_time):
            return self.model.forecaster.simulate(state, prompt, stream or prompt.stream(1))

    @property
    def importable(self) -> bool:
        """Return whether another process can make the forecaster."""
        return is_importable(self.model.name)


Rule = Callable[[Subject], Iterator[Breach]]


def subject_of(name: str, asset: str, settings: LoadedSettings) -> Subject:
    """Return a forecaster, unfitted, on a small market.

    Raises
    ------
    ForecasterError, RulebookError, ConfigError
    """
    rulebook = load_rulebook()
    known = rulebook.asset(asset)
    first = rulebook.first_prompted(known.symbol) or _EARLIEST
    start = max(_EARLIEST, (first // DAY + 2) * DAY)
    return Subject(Model.of(name, known, settings), settings, rulebook, start)


def check_contract(
    forecaster: str | Factory,
    asset: str,
    settings: LoadedSettings,
    *,
    environ: Mapping[str, str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ContractReport:
    """Check all that a forecaster owes.

    Parameters
    ----------
    forecaster : str, class or function
    asset : str
    settings : LoadedSettings
        With the parameters.
    environ : mapping, optional
        Environment of the fresh processes, by default that of this one.
    progress : callable, optional
        Called with rules tried and their number.

    Raises
    ------
    RulebookError, ConfigError
    """
    from ewmalab.replay.contract_rules import ESSENTIAL, rules_for, speeds

    (name,) = names_of([forecaster])
    report = ContractReport(name, asset)
    try:
        subject = subject_of(name, asset, settings)
    except ForecasterError as error:
        report.breaches.append(Breach("__init__", str(error), "make it accept an asset and its parameters"))
        report.untried = ["all others"]
        return report
    rules = {**rules_for(subject), "no forecast depends on its future": _leaks(environ, report)}
    for i, (words, rule) in enumerate(rules.items()):
        breaches = list(_tried(rule, subject))
        new = [breach for breach in breaches if breach not in report.breaches]
        report.breaches.extend(new)
        (report.broken if breaches else report.kept).append(words)
        if progress:
            progress(i + 1, len(rules))
        if breaches and words in ESSENTIAL:
            report.untried = list(rules)[i + 1 :]
            return report
    report.speeds = speeds(subject)
    if not subject.importable:
        report.notes.append("defined in this process: fresh processes were not tried; put it into a module")
    return report


def _tried(rule: Rule, subject: Subject) -> Iterator[Breach]:
    try:
        yield from rule(subject)
    except EwmalabError as error:
        named = re.fullmatch(r"\S+\.(\w+) ((?:failed|returned) .*)", str(error), re.DOTALL)
        other = "fit" if str(error).startswith("the fit of ") else "forecaster"
        method, problem = named.groups() if named else (other, str(error))
        yield Breach(method, problem, "correct what is named here")


def _leaks(environ: Mapping[str, str] | None, report: ContractReport) -> Rule:
    """Return the rule that no forecast depends on its future, on two assets."""

    def rule(subject: Subject) -> Iterator[Breach]:
        with tempfile.TemporaryDirectory(prefix="ewmalab-check-") as folder:
            flags: dict[str, Any] = {"data.cache_dir": folder, "data.feed": "simulated", "data.scored_feed": ""}
            flags["fit.artifacts"] = []
            if isinstance(subject.model.forecaster, Fittable):
                flags |= {"fit.every": "1d", "fit.history": "8d", "fit.assets": []}
            asset = subject.model.asset.symbol
            plan = plan_backtest(
                subject.settings.with_flags(flags),
                forecasters=[subject.model.name],
                start=subject.start + HOUR,  # not around midnight, so that one fit answers all
                days=0.2,
                assets=[asset, "ETH" if asset == "BTC" else "BTC"],
                cadence=3600,
                num_simulations=50,
                partial=True,
                now=subject.start + 3 * DAY,
            )
            found = check_lookahead(plan, cuts=2, fresh=subject.importable, environ=environ)
        report.notes.extend(found.notes)
        yield from _of_lookahead(found)

    return rule


def _of_lookahead(found: LookaheadReport) -> Iterator[Breach]:
    if found.unsteady:
        yield Breach(
            "simulate",
            "it is not deterministic: two runs on the same bars gave other bits",
            "draw random numbers only from `stream`, and read no clock",
        )
    if found.leaks:
        changes = ", ".join(sorted({leak.mutation for leak in found.leaks}))
        yield Breach(
            "simulate",
            f"{len(found.leaks)} forecasts changed when the future was another ({changes})",
            "use only the bars that `update` was given, and keep nothing between calls but the state",
        )
    for line in found.files:
        yield Breach("simulate", line, "read and write no files")
