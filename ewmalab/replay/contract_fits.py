"""The rules for a forecaster with a fit; see `ewmalab.replay.contract_rules`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import orjson

from ewmalab.errors import EwmalabError, ForecasterError, MissingDataError
from ewmalab.forecast.model import Model
from ewmalab.forecast.protocol import Fittable
from ewmalab.replay.contract import Breach, Subject
from ewmalab.replay.contract_rules import PATHS, wrong_paths
from ewmalab.times import MINUTE


def fits(subject: Subject) -> Iterator[Breach]:
    """A fit is deterministic, survives JSON, and is for all assets."""
    maker, asset = subject.model.forecaster, subject.model.asset
    if not isinstance(maker, Fittable):
        yield Breach("fit", "it has only one of `fit` and `with_fit`", "write both, or neither")
        return
    bars = {symbol: subject.market(symbol, 9) for symbol in dict.fromkeys((asset.symbol, "BTC", "ETH"))}
    assets = {symbol: subject.rulebook.asset(symbol) for symbol in bars}
    other = Model.of(subject.model.name, assets["ETH"], subject.settings).forecaster
    assert isinstance(other, Fittable)
    with subject.model.naming("fit", subject.start):
        found = [one.fit(bars, assets, end=subject.start) for one in (maker, maker, other)]
    try:
        texts = [orjson.dumps(numbers, option=orjson.OPT_SORT_KEYS) for numbers in found]
    except TypeError as error:
        remedy = "return plain numbers, texts, lists and tables"
        yield Breach("fit", f"JSON cannot hold what it returned: {error}", remedy)
        return
    if texts[0] != texts[1]:
        yield Breach(
            "fit", "the same bars gave other numbers", "draw no random numbers, and keep nothing between calls"
        )
    elif texts[0] != texts[2]:
        yield Breach("fit", "the forecaster of another asset gave other numbers", "do not use the asset of `self`")
    yield from _unfinished(found[0])
    yield from _fitted(subject, orjson.loads(texts[0]))
    few = {symbol: own.rows(0, 3) for symbol, own in bars.items()}
    try:
        maker.fit(few, assets, end=int(few[asset.symbol].timestamp[-1]) + MINUTE)
    except (MissingDataError, ForecasterError):
        return
    except Exception as error:  # noqa: BLE001 - whatever it raises
        yield Breach("fit", f"three bars raised {type(error).__name__}", "raise MissingDataError if bars are too few")


def _unfinished(numbers: Any) -> Iterator[Breach]:
    text = orjson.dumps(numbers)
    if orjson.loads(text) != numbers and b"null" in text:
        yield Breach("fit", "some numbers are not finite", "return finite numbers, or raise MissingDataError")


def _fitted(subject: Subject, numbers: Any) -> Iterator[Breach]:
    maker, prompt = subject.model.forecaster, subject.prompts(PATHS)[0]
    assert isinstance(maker, Fittable)
    with subject.model.naming("with_fit"):
        forecaster = maker.with_fit(numbers)
    fitted = replace(subject.model, forecaster=forecaster)
    state = fitted.updated(forecaster.initial_state(), subject.bars)
    with fitted.naming("simulate", prompt.request_time):
        paths = forecaster.simulate(state, prompt, prompt.stream(1))
    yield from wrong_paths(paths, prompt, " after a fit")
    try:
        maker.with_fit({"nothing": "known"})
    except EwmalabError:
        return
    except Exception as error:  # noqa: BLE001 - whatever it raises
        remedy = "raise ForecasterError for numbers that do not come from `fit`"
        yield Breach("with_fit", f"foreign numbers raised {type(error).__name__}", remedy)
