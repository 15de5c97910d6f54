"""The prompts that validators would have sent."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypedDict

from ewmalab.errors import RulebookError
from ewmalab.forecast.protocol import Prompt
from ewmalab.rulebook import Rulebook, RuleChoice, ScoringRule
from ewmalab.times import iso


@dataclass(frozen=True, slots=True)
class Scheduled:
    """A prompt and the rule it is scored by."""

    prompt: Prompt
    rule: ScoringRule


class Selection(TypedDict, total=False):
    """The prompts of a replay: keywords that backtests, sweeps and checks share.

    Attributes
    ----------
    start : int
        Start time of the first prompts, seconds since 1970-01-01 UTC.
    days : float
        Length of the range of start times.
    rules : RuleChoice or None
        By default the rules of each prompt's own date.
    competitions, assets : sequence of str or None
        Only these.
    cadence, num_simulations : int or None
        Seconds between prompts and paths per prompt, instead of the rulebook's.
    partial : bool
        Score what can be scored if realised prices are missing.
    """

    start: int
    days: float
    rules: RuleChoice | None
    competitions: Sequence[str] | None
    assets: Sequence[str] | None
    cadence: int | None
    num_simulations: int | None
    partial: bool


def schedule(
    rulebook: Rulebook,
    choice: RuleChoice,
    start: int,
    end: int,
    *,
    competitions: Iterable[str] | None = None,
    assets: Iterable[str] | None = None,
    cadence: int | None = None,
    request_lead: int = 60,
    num_simulations: int | None = None,
) -> list[Scheduled]:
    """List the prompts with a start time in ``[start, end)``, in time order.

    Every asset of a competition is prompted at multiples of its cadence since 1970. Validators spread the assets over a
    cycle, but the minute of each asset is not recorded.

    Parameters
    ----------
    rulebook : Rulebook
    choice : RuleChoice
        The date of the rules: each prompt's own, or one for all.
    start, end : int
        Seconds since 1970-01-01 UTC.
    competitions, assets : iterable of str, optional
        Only these. A competition's name, or ``24h`` or ``1h`` for all of that length.
    cadence : int, optional
        Seconds between prompts, instead of the rulebook's.
    request_lead : int
        Seconds between a prompt's request and its start time.
    num_simulations : int, optional
        Paths per prompt, instead of the rulebook's.

    Raises
    ------
    RulebookError
        If a name is unknown, a wanted asset is in none of the competitions at that time, or no prompt is in the range.
    """
    wanted = list(dict.fromkeys(assets)) if assets else None
    for symbol in wanted or ():
        rulebook.asset(symbol)
    names = list(competitions) if competitions else None
    edges = [start, *(b for b in choice.breakpoints(rulebook) if start < b < end), end]
    found: list[Scheduled] = []
    for a, b in pairwise(edges):
        for competition in choice.at(rulebook, a).select(names):
            for asset in competition.assets:
                if wanted is not None and asset not in wanted:
                    continue
                step = cadence or competition.cadence[asset]
                found.extend(
                    Scheduled(
                        Prompt(
                            start_time=t,
                            competition=competition.name,
                            asset=asset,
                            request_time=t - request_lead,
                            time_increment=competition.time_increment,
                            time_length=competition.time_length,
                            num_simulations=num_simulations or competition.num_simulations,
                        ),
                        competition.scoring,
                    )
                    for t in range(-(-a // step) * step, b, step)
                )
    absent = [s for s in wanted or () if s not in {f.prompt.asset for f in found}]
    if absent:
        joined = rulebook.first_prompted(absent[0])
        raise RulebookError(
            f"{', '.join(absent)}: in none of the competitions between {iso(start)} and {iso(end)} under the rules "
            f"{choice}; choose other rules, for example --rules latest{f' or --rules {iso(joined)}' if joined else ''} "
            "(`ewmalab rules show --on DATE` lists who competes when)"
        )
    if not found:
        raise RulebookError(f"no prompt between {iso(start)} and {iso(end)}: the range is shorter than the cadence")
    return sorted(found, key=lambda s: s.prompt)
