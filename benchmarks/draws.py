"""What draws cost in score and in time: the penalty of 1000 paths against the exact CRPS, and the speed of answers.

    python benchmarks/draws.py
    python benchmarks/draws.py --against CHECKOUT

An ensemble of M paths scores worse than the distribution that they come from: by the integral of the squared error of
its distribution function, whatever the observation. It is measured here for each scored change, weighted as in the
score, in percent of the CRPS of a calibrated forecast. *Independent* paths are 1000 of 64 000, *mirrored* ones 500 of
these with their mirror images, *stratified* ones an answer's. States are warmed on SYNTHETIC bars. With `--against`,
answers are timed instead, in turns with those of another checkout.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

for variable in ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import numpy as np
from machine import describe

from ewmalab.forecast.ewma import Ewma
from ewmalab.forecast.protocol import Prompt
from ewmalab.forecast.seasonal_har import SeasonalHar
from ewmalab.market.bars import Bars
from ewmalab.report.text.tables import plain_table
from ewmalab.rulebook import Competition, load_rulebook
from ewmalab.scoring.change_plan import plan_changes
from ewmalab.settings import load_settings
from ewmalab.settings.schema import asset_parameters
from ewmalab.times import parse_time

DATE, PATHS, ANSWERS, CHANGES = "2026-05-01", 1000, 64, 8
NAMES = ("ewma", "seasonal-har")
Floats = np.ndarray[Any, np.dtype[np.float64]]


class Maker:
    """A forecaster of BTC, warmed on a day of synthetic bars."""

    def __init__(self, name: str) -> None:
        asset, now = load_rulebook().asset("BTC"), parse_time(DATE)
        section = load_settings(environ={}).values.ewma
        self.forecaster: Any = (
            SeasonalHar(asset) if name == "seasonal-har" else Ewma(asset, **asset_parameters(section, "BTC"))
        )
        moves = 5e-4 * np.random.default_rng(1).standard_normal(1440)
        bars = Bars.from_closes(now - 60 * np.arange(1440, 0, -1), 95_000 * np.exp(np.cumsum(moves)))
        self.state = self.forecaster.update(self.forecaster.initial_state(), bars)

    def paths(self, competition: Competition, seed: int, count: int = PATHS) -> Any:
        """Simulate an answer."""
        now, step = parse_time(DATE), competition.time_increment
        prompt = Prompt(now, competition.name, "BTC", now, step, step * competition.steps, count)
        return self.forecaster.simulate(self.state, prompt, prompt.stream(seed))


def penalty(ensembles: Floats, everyone: Floats) -> tuple[float, float]:
    """Return the mean penalty of ensembles (answers, M), and the CRPS of a calibrated forecast, both exact.

    `everyone` are so many members, ascending, that they stand for the distribution.
    """
    n, m = len(everyone), ensembles.shape[1]
    below = np.concatenate([[0.0], np.cumsum(everyone)])
    spread = float(((2.0 * np.arange(n) - n + 1) * everyone).sum() / n**2)
    found = 0.0
    for x in np.sort(ensembles, axis=1):
        k = np.searchsorted(everyone, x)
        between = ((2.0 * k - n) * x - 2 * below[k] + below[-1]).mean() / n
        found += between - float(((2.0 * np.arange(m) - m + 1) * x).sum() / m**2) - spread
    return found / len(ensembles), spread


def penalties(name: str, competition: Competition) -> list[tuple[str, ...]]:
    """Return a row per kind of draws: percent over all changes, and by their length."""
    plan = plan_changes(competition.scoring, competition.time_increment, competition.steps)
    counted = np.bincount(plan.series_of, minlength=plan.series_count)[plan.series]
    maker, lengths = Maker(name), plan.end - plan.begin
    crowd = maker.paths(competition, 0, PATHS * ANSWERS)
    reference = maker.paths(competition, 1, 2 * PATHS * ANSWERS)
    answers = [maker.paths(competition, 2 + i) for i in range(ANSWERS)]
    shown = [int(length) for length in np.unique(lengths)]
    cost = {kind: {length: [0.0, 0.0] for length in shown} for kind in ("independent", "mirrored", "stratified")}
    for length in shown:
        rows = np.flatnonzero(lengths == length)
        for row in rows[:: max(1, len(rows) // CHANGES)]:
            a, b = plan.begin[row], plan.end[row]
            everyone = np.sort((reference[b] - reference[a]).astype(np.float64))
            many = (crowd[b] - crowd[a]).astype(np.float64).reshape(ANSWERS, PATHS)
            half = many[:, : PATHS // 2]
            own = np.array([paths[b] - paths[a] for paths in answers], np.float64)
            kinds = {"independent": many, "mirrored": np.concatenate([half, -half], axis=1), "stratified": own}
            for kind, ensembles in kinds.items():
                cost[kind][length] = np.add(cost[kind][length], penalty(ensembles, everyone)).tolist()
    weight = {length: counted[lengths == length].sum() for length in shown}
    table = []
    for kind, by_length in cost.items():
        sampled = {n: len(np.flatnonzero(lengths == n)[:: max(1, (lengths == n).sum() // CHANGES)]) for n in shown}
        extra, exact = (sum(weight[n] * by_length[n][i] / sampled[n] for n in shown) for i in (0, 1))
        ends = [f"{100 * by_length[n][0] / by_length[n][1]:.3f}" for n in (shown[0], shown[1], shown[-1])]
        table.append((competition.name, name, kind, f"{100 * extra / exact:.3f}", *ends))
    return table


def serve() -> None:
    """Simulate the answers named on standard input, one a line, and print the seconds of each."""
    competitions = load_rulebook().at(parse_time(DATE)).competitions
    makers = {name: Maker(name) for name in NAMES}
    for line in sys.stdin:
        name, competition = line.split()
        began = time.perf_counter()
        makers[name].paths(competitions[competition], 1)
        print(time.perf_counter() - began, flush=True)


def against(checkout: Path, rounds: int) -> None:
    """Print the times of another checkout and of this one, taken in turns."""
    servers = []
    for root in (checkout.resolve(), Path(__file__).resolve().parents[1]):
        environment = {**os.environ, "PYTHONPATH": str(root)}
        command = [sys.executable, __file__, "--serve"]
        servers.append(
            subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        )
    rows = []
    for answer in (f"{name} {competition}" for name in NAMES for competition in ("24h", "1h")):
        took = []
        for _ in range(rounds + 1):
            for server in servers:
                assert server.stdin
                assert server.stdout
                print(answer, file=server.stdin, flush=True)
                took.append(1e3 * float(server.stdout.readline()))
        samples = np.reshape(took[2:], (rounds, 2))
        least, (before, now) = samples.min(axis=0), np.median(samples, axis=0)
        shown = (f"{before:.3f}", f"{now:.3f}", f"{now / before:.2f}", f"{least[0]:.3f}", f"{least[1]:.3f}")
        rows.append((*answer.split(), *shown, f"{least[1] / least[0]:.2f}"))
    for server in servers:
        server.communicate()
    columns = ("paths", "of", "before", "now", "ratio", "least before", "now ", "ratio ")
    print(plain_table(columns, rows, "milliseconds: medians, and the least"))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", type=Path, help="a checkout of another version, to time")
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--serve", action="store_true", help="answer another process of this script")
    options = parser.parse_args()
    if options.serve:
        serve()
        return
    print(describe() + "; one thread; SYNTHETIC bars\n")
    if options.against:
        against(options.against, options.rounds)
        return
    competitions = load_rulebook().at(parse_time(DATE)).competitions
    rows = [row for c in ("24h", "1h") for name in NAMES for row in penalties(name, competitions[c])]
    columns = ("competition", "forecaster", "draws", "penalty, %", "one step", "next length", "longest")
    print(
        plain_table(columns, rows, f"penalty of {PATHS} paths against the exact CRPS, all scored changes and by length")
    )


if __name__ == "__main__":
    main()
