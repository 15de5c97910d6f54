"""A backtest of logged prompts, by the engine that runs every backtest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any

import pytest

from ewmalab.forecast.model import Model, paths_digest
from ewmalab.forecast.protocol import LogReturns, Prompt
from ewmalab.live.audit.answer_log import LiveLog, prompt_of
from ewmalab.market.bars import Bars
from ewmalab.replay.knowledge import Knowledge, Moment
from ewmalab.replay.plan import plan_backtest
from ewmalab.replay.schedule import Scheduled, scheduled_at
from ewmalab.rulebook import RuleChoice, load_rulebook
from ewmalab.settings import LoadedSettings
from ewmalab.times import DAY, MINUTE


def backtest_digests(log: LiveLog, settings: LoadedSettings) -> dict[Prompt, str]:
    """Run a backtest of the logged prompts and return the digest of each prompt's paths.

    Parameters
    ----------
    log : LiveLog
        Its answers have one feed, one forecaster and one record of settings.
    settings : LoadedSettings
        Names the cache; all else is as recorded.
    """
    ((feed, name, recorded),) = {(a["feed"], a["forecaster"], a["settings"]) for a in log.answers}
    given = log.settings(recorded).with_flags(
        {"data.feed": feed, "data.cache_dir": str(settings.values.data.cache_dir)}
    )
    prompts = sorted(map(prompt_of, log.answers))
    book = load_rulebook()
    scheduled = [Scheduled(p, book.at(p.start_time).competitions[p.competition].scoring) for p in prompts]
    plan = plan_backtest(given, start=prompts[0].start_time, days=1, forecasters=[name], scheduled=scheduled)
    found: dict[Prompt, str] = {}
    paths_of = Moment.paths

    def noted(moment: Moment, model: Model, seed: int) -> LogReturns:
        paths = paths_of(moment, model, seed)
        found[moment.prompt] = paths_digest(paths)
        return paths

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Moment, "paths", noted)
        rows = plan.run(threads=1)
    assert all(row.score is not None for row in rows)
    return found


def without_new_beginnings(before: int) -> Knowledge:
    """Return knowledge by another rule: one state goes on from some seconds before the first prompt."""

    def knowledge(model: Model, bars: Bars, prompts: Iterable[Prompt]) -> Iterator[Moment]:
        asked = list(prompts)
        first = asked[0].request_time - before
        for prompt in asked:
            known = bars.known_at(prompt.request_time)
            state = model.forecaster.update(model.forecaster.initial_state(), known.between(first, 2**40))
            yield Moment(prompt, state, float(known.close[-1]), int(known.timestamp[-1]))

    return knowledge


def on_grid(
    settings: LoadedSettings, start: int, days: float, rules: RuleChoice | None = None, **names: Any
) -> list[Scheduled]:
    """Prompts at the multiples of their competition's cadence, a minute after their request: times that tests name."""
    book, choice, found = load_rulebook(), rules or RuleChoice(), []
    end, lead = start + round(days * DAY), settings.values.replay.request_lead or MINUTE
    for a, b in pairwise([start, *(t for t in choice.breakpoints(book) if start < t < end), end]):
        for competition in choice.at(book, a).select(names.get("competitions")):
            for asset in competition.assets:
                if names.get("assets") is None or asset in names["assets"]:
                    step = names.get("cadence") or competition.cadence[asset]
                    times = range(-(-a // step) * step, b, step)
                    found += [scheduled_at(competition, asset, t, lead, names.get("num_simulations")) for t in times]
    return sorted(found, key=lambda item: item.prompt)
