"""One prediction from the newest cached bars, and the adapter's predictions along a replay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Unpack

import orjson

from ewmalab.adapters.offline import OfflineTest, offline_test
from ewmalab.api.inputs import Progress, Prompts, Time, counter, present, range_of, time_of
from ewmalab.api.named_forecasters import planned
from ewmalab.api.result import Outcome, Result
from ewmalab.errors import MissingDataError, RulebookError
from ewmalab.forecast.protocol import Prompt
from ewmalab.market.cache import Cache, open_cache
from ewmalab.market.feeds.make import cache_name
from ewmalab.replay.knowledge import moments
from ewmalab.replay.plan import plan_backtest
from ewmalab.replay.schedule import scheduled_at
from ewmalab.report.text.predictions import offline_text
from ewmalab.rulebook import Competition, load_rulebook
from ewmalab.scoring.answer_format import render
from ewmalab.settings import LoadedSettings, load_settings
from ewmalab.times import DAY, MINUTE, iso


@dataclass(frozen=True)
class Prediction(Result):
    """One prediction in the format of an answer to a validator.

    Attributes
    ----------
    prompt : Prompt
    answer : bytes
        JSON: ``[start, increment, [path], ...]``.
    notes : tuple of str
    """

    prompt: Prompt
    answer: bytes
    notes: tuple[str, ...] = ()

    def text(self) -> str:
        return self.answer.decode() + "\n"

    def json(self) -> Any:
        prompt = self.prompt
        asked = {
            "asset": prompt.asset,
            "start_time": iso(prompt.start_time),
            "time_increment": prompt.time_increment,
            "time_length": prompt.time_length,
            "num_simulations": prompt.num_simulations,
        }
        return {"simulation_input": asked, "prediction": orjson.loads(self.answer)}


def predict(
    asset: str,
    competition: str,
    *,
    forecaster: str | None = None,
    start: Time | None = None,
    num_simulations: int | None = None,
    settings: LoadedSettings | None = None,
) -> Prediction:
    """Predict from the bars in the cache that a request would know.

    Parameters
    ----------
    asset : str
    competition : str
        Its name, or ``24h`` or ``1h``.
    forecaster : str, optional
        By default the setting ``live.forecaster``.
    start : str or int, optional
        Start time; by default the first one whose request would know the newest cached bar.
    num_simulations : int, optional
        Number of paths, instead of the rulebook's.
    settings : LoadedSettings, optional
        Name feed and cache.

    Raises
    ------
    RulebookError, MissingDataError, ForecasterError, FormatError
    """
    settings, rulebook = settings or load_settings(), load_rulebook()
    values, symbol = settings.values, rulebook.asset(asset.upper()).symbol
    name = forecaster or values.live.forecaster
    if start is not None:
        when = time_of(start)
    elif values.data.feed == "simulated":
        when = present() // MINUTE * MINUTE + 3 * MINUTE
    else:
        known = _newest_close(open_cache(values.data.cache_dir), cache_name(values.data.feed, values), symbol)
        lead = values.replay.request_lead or _competition(symbol, competition, known).request_lead
        when = known - -lead // MINUTE * MINUTE  # the first minute whose request knows that close
    running = _competition(symbol, competition, when)
    item = scheduled_at(running, symbol, when, values.replay.request_lead, num_simulations)
    chosen = range_of([item])
    chosen["partial"] = True  # nothing is scored
    plan = plan_backtest(settings, forecasters=[name], now=present(), **chosen)
    model = plan.model(name, symbol, item.prompt.request_time)
    (moment,) = moments(model, plan.data.model[symbol], [item.prompt])
    paths = moment.paths(model, values.run.seed)
    answer = render(item.prompt.start_time, item.prompt.time_increment, moment.anchor, paths)
    notes = [
        f"{name}, {symbol} {item.prompt.competition} from {iso(when)}: {item.prompt.num_simulations} paths from "
        f"{moment.anchor:g}, the close of {iso(moment.anchor_time)}",
        *plan.warnings(),
    ]
    return Prediction(item.prompt, answer, tuple(notes))


def _newest_close(cache: Cache, feed: str, asset: str) -> int:
    """Return when the newest cached bar closed."""
    end = cache.newest(feed, asset)
    if end is None:
        raise MissingDataError(
            f"the cache has no bars of {feed} {asset}; get them with "
            f"`ewmalab data fetch --feed {feed} --assets {asset} --start DATE`"
        )
    bars = cache.read(feed, asset, end - DAY, end)
    return int(bars.timestamp[-1]) + MINUTE if len(bars) else end


def _competition(asset: str, name: str, when: int) -> Competition:
    for running in load_rulebook().at(when).select([name]):
        if asset in running.assets:
            return running
    raise RulebookError(f"{asset} is in no competition {name} on {iso(when)[:10]}; see `ewmalab rules show`")


def crps_test(
    *, settings: LoadedSettings | None = None, progress: Progress | None = None, **prompts: Unpack[Prompts]
) -> Outcome[OfflineTest]:
    """Score the adapter's functions prompt by prompt, called as by another program.

    Parameters
    ----------
    settings, progress, **prompts
        As in `backtest`; the forecaster is the setting ``live.forecaster``.
    """
    settings = settings or load_settings()
    plan = planned(settings, [settings.values.live.forecaster], {"partial": True, **prompts})
    found = offline_test(plan, counter(progress, plan.prompts))
    return Outcome(
        "Offline test",
        found,
        lambda test: offline_text(test.rows, test.synthetic),
        lambda test: {"synthetic": test.synthetic, "rows": test.rows},
    )
