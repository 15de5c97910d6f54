"""A live updater whose feed has wrong bars, and a miner that answers all the while; for a test and a benchmark."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import planted
from live_rig import SettableClock
from test_live_updater import BEGIN, Bench, Market, final_bars

from ewmalab.errors import ForecasterError, FormatError
from ewmalab.forecast.protocol import Prompt
from ewmalab.live.audit.answer_log import AnswerLog
from ewmalab.live.miner.admission import Refusal
from ewmalab.live.miner.answers import Answerer
from ewmalab.live.miner.spot import Spots, SpotSource
from ewmalab.market.bars import Bars
from ewmalab.rulebook import load_rulebook
from ewmalab.times import MINUTE

HORIZONS = (("crypto-1h", 60, 3600), ("crypto-24h", 300, 86_400))
NORMAL = 0.01  # largest error of an anchor, in log


@dataclass(frozen=True)
class Outcome:
    """What came of a stretch of live minutes.

    Attributes
    ----------
    asked, answered : int
        Prompts.
    worst_anchor : float
        Largest distance between an anchor and the true price, in log.
    longest : int
        Longest run of minutes in which a prompt was refused or an anchor was wrong.
    taken : int
        Wrong rows that came into the state.
    wrong : int
        Wrong rows that were served.
    """

    asked: int
    answered: int
    worst_anchor: float
    longest: int
    taken: int
    wrong: int


def served(kind: str, count: int, minutes: int, seed: int = 1) -> planted.Planted:
    """Return the bars that the feed serves: final ones, with faults from `BEGIN` on."""
    good = final_bars("BTC")
    live = good.between(BEGIN, BEGIN + minutes * MINUTE)
    count = 1 if "frozen" in kind else count  # which takes as long as all others
    fault = planted.plant(live.columns(), kind, count, seed, margin=12)
    first = int(np.searchsorted(good.timestamp, BEGIN))
    columns = {name: np.array(column) for name, column in good.columns().items()}
    wrong = np.zeros(len(good), bool)
    wrong[first : first + len(live)] = fault.wrong
    for name, column in fault.columns.items():
        columns[name][first : first + len(live)] = column
    return planted.Planted(columns, wrong)


def answerer_of(bench: Bench, clock: SettableClock, spot: bool) -> Answerer:
    """Return a miner's part that answers, with the true spot price if there is one."""
    good = final_bars("BTC")

    def ask() -> dict[str, tuple[float, float | None]]:
        return {"BTC": (float(good.known_at(int(clock.now())).close[-1]), None)}

    spots = Spots([SpotSource("binance", ("BTC",), ask)] if spot else [], clock)
    return Answerer(bench.settings, load_rulebook(), ("BTC",), bench.updater.store, spots, clock)


def live_through(
    bench: Bench, fault: planted.Planted, minutes: int, *, spot: bool = True, log: AnswerLog | None = None
) -> Outcome:
    """Update each minute and answer a prompt of each horizon; log the answers if there is a log."""
    columns: dict[str, Any] = dict(fault.columns)
    bench.markets["BTC"] = market = Market(Bars.trusted(columns, MINUTE), bench.host.now)
    for symbol in load_rulebook().asset("BTC").symbols.values():
        bench.server.bars[symbol] = market
    good, wrong = final_bars("BTC"), set(fault.columns["timestamp"][fault.wrong].tolist())
    answerer = answerer_of(bench, bench.ours, spot)
    asked = answered = taken = run = longest = 0
    worst = 0.0
    for minute in bench.minutes(minutes):
        answerer.reload()
        answerer.spots.refresh()
        taken = max(taken, len(wrong & set(bench.follower().bars.timestamp.tolist())))
        normal = True
        for competition, step, length in HORIZONS:
            asked += 1
            prompt = Prompt(int(bench.ours.now()), competition, "BTC", minute + 2 * MINUTE, step, length, 10)
            try:
                answer = answerer.answer(prompt)
            except (Refusal, ForecasterError, FormatError):
                normal = False
                continue
            answered += 1
            if log is not None:
                log.put({"received": bench.ours.now(), **answer.record}, answer.paths)
            true = float(good.known_at(int(bench.ours.now())).close[-1])
            error = abs(float(np.log(answer.record["anchor"]["price"] / true)))
            worst, normal = max(worst, error), normal and error < NORMAL
        run = 0 if normal else run + 1
        longest = max(longest, run)
    return Outcome(asked, answered, worst, longest, taken, int(fault.wrong.sum()))
