"""The prompts that validators would have sent."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, TypedDict, get_args

from ewmalab.errors import RulebookError
from ewmalab.forecast.protocol import Prompt
from ewmalab.market.ranges import Range
from ewmalab.rulebook import Competition, Rulebook, RuleChoice, Rules, ScoringRule
from ewmalab.times import DAY, FOREVER, MINUTE, iso

Which = Literal["scored", "sent"]
WHICH: tuple[Which, ...] = get_args(Which)


@dataclass(frozen=True, slots=True)
class Scheduled:
    """A prompt and the rule it is scored by.

    Attributes
    ----------
    prompt : Prompt
    rule : ScoringRule
    published : bytes
        The prices that validators scored it against, (steps + 1,) float64, if they are known; otherwise it is scored
        against the bars.
    """

    prompt: Prompt
    rule: ScoringRule
    published: bytes = b""


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
    which : {"scored", "sent"}
        The prompts that validators score, by default, or all that they send.
    scheduled : sequence of Scheduled or None
        Exactly these prompts, in time order.
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
    which: Which
    scheduled: Sequence[Scheduled] | None
    cadence: int | None
    num_simulations: int | None
    partial: bool


def schedule(
    rulebook: Rulebook,
    choice: RuleChoice,
    start: int,
    end: int,
    *,
    which: Which = "scored",
    competitions: Iterable[str] | None = None,
    assets: Iterable[str] | None = None,
    cadence: int | None = None,
    request_lead: int = 0,
    num_simulations: int | None = None,
) -> list[Scheduled]:
    """List the prompts with a start time in ``[start, end)``, in time order.

    Parameters
    ----------
    rulebook : Rulebook
    choice : RuleChoice
        The date of the rules: each prompt's own, or one for all.
    start, end : int
        Seconds since 1970-01-01 UTC.
    which : {"scored", "sent"}
        The prompts that validators score, or all that they send.
    competitions, assets : iterable of str, optional
        Only these. A competition's name, or ``24h`` or ``1h`` for all of that length.
    cadence : int, optional
        Seconds: a prompt at each multiple since 1970, instead of those of the rulebook.
    request_lead : int
        Seconds between a prompt's request and its start time; 0: as the rulebook says.
    num_simulations : int, optional
        Paths per prompt, instead of the rulebook's.

    Raises
    ------
    RulebookError
        If a name is unknown, a wanted asset is in none of the competitions at that time, or no prompt is in the range.

    Notes
    -----
    Validators go round the assets of a horizon, so their prompts are staggered; the minutes are not recorded. Here an
    asset's prompts are a whole cadence apart, and its first minute is drawn for each day by a hash, so that over days
    all minutes of the hour occur. Which prompt of a bucket is scored is drawn by a hash too, of asset, competition and
    bucket. Both are the same in every run.
    """
    wanted = list(dict.fromkeys(assets)) if assets else None
    for symbol in wanted or ():
        rulebook.asset(symbol)
    names = list(competitions) if competitions else None
    edges = [start, *(b for b in choice.breakpoints(rulebook) if start < b < end), end]
    found: list[Scheduled] = []
    for a, b in pairwise(edges):
        rules = choice.at(rulebook, a)
        era = rulebook.era_of(a) if choice.on == "as-of" else (-FOREVER, FOREVER)
        for competition in rules.select(names):
            for asset in competition.assets if wanted is None else [a for a in competition.assets if a in wanted]:
                if cadence:
                    times = list(range(-(-a // cadence) * cadence, b, cadence))
                elif which == "sent":
                    times = _sent(rules, competition, asset, a, b)
                else:
                    times = _scored(rules, competition, asset, (a, b), era)
                found += [scheduled_at(competition, asset, t, request_lead, num_simulations) for t in times]
    absent = [s for s in wanted or () if s not in {f.prompt.asset for f in found}]
    if absent:
        raise _in_no_competition(absent, rulebook, choice, start, end)
    if not found:
        raise RulebookError(f"no prompt between {iso(start)} and {iso(end)}: the range is shorter than the cadence")
    return sorted(found, key=lambda s: s.prompt)


def _in_no_competition(
    absent: Sequence[str], rulebook: Rulebook, choice: RuleChoice, start: int, end: int
) -> RulebookError:
    joined = rulebook.first_prompted(absent[0])
    return RulebookError(
        f"{', '.join(absent)}: in none of the competitions between {iso(start)} and {iso(end)} under the rules "
        f"{choice}; choose other rules, for example --rules latest{f' or --rules {iso(joined)}' if joined else ''} "
        "(`ewmalab rules show --on DATE` lists who competes when)"
    )


def scheduled_at(
    competition: Competition, asset: str, start_time: int, request_lead: int = 0, num_simulations: int | None = None
) -> Scheduled:
    """Return a prompt of a competition and its rule.

    Parameters
    ----------
    competition : Competition
    asset : str
    start_time : int
        Seconds since 1970-01-01 UTC.
    request_lead : int
        Seconds between request and start time; 0: as the rulebook says.
    num_simulations : int, optional
        Number of paths, instead of the rulebook's.
    """
    prompt = Prompt(
        start_time=start_time,
        competition=competition.name,
        asset=asset,
        request_time=start_time - (request_lead or competition.request_lead),
        time_increment=competition.time_increment,
        time_length=competition.time_length,
        num_simulations=num_simulations or competition.num_simulations,
    )
    return Scheduled(prompt, competition.scoring)


def _sent(rules: Rules, competition: Competition, asset: str, start: int, end: int) -> list[int]:
    """Return the start times in ``[start, end)`` of the prompts that validators send for an asset."""
    step = competition.cadence[asset]
    cycle = [
        symbol for c in rules.competitions.values() if c.time_length == competition.time_length for symbol in c.assets
    ]
    place = step * cycle.index(asset) // len(cycle) // MINUTE * MINUTE
    times: list[int] = []
    for day in range(start - start % DAY, end, DAY):
        first = (place + _draw(f"{competition.time_length}/{day}", step // MINUTE) * MINUTE) % step
        times += range(day + first, day + DAY, step)
    return [t for t in times if start <= t < end]


def _scored(rules: Rules, competition: Competition, asset: str, span: Range, era: Range) -> list[int]:
    """Return the start times in a range of the prompts that validators score.

    Parameters
    ----------
    rules : Rules
    competition : Competition
    asset : str
    span : (int, int)
        Range of start times.
    era : (int, int)
        Range of times in which the rules are in force: prompts outside of it share no bucket with these.
    """
    bucket = competition.bucket
    if not bucket:
        return _sent(rules, competition, asset, *span)
    first, last = span[0] // bucket * bucket, -(-span[1] // bucket) * bucket
    buckets: dict[int, list[int]] = {}
    for t in _sent(rules, competition, asset, max(first, era[0]), min(last, era[1])):
        buckets.setdefault(t // bucket, []).append(t)
    kept = [
        times[_draw(f"{asset}/{competition.name}/{index}", len(times)) if competition.kept == "drawn" else 0]
        for index, times in buckets.items()
    ]
    return [t for t in kept if span[0] <= t < span[1]]


def _draw(key: str, count: int) -> int:
    """Return a number below `count` that depends on a text alone."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "little") % count
