"""Speed of the kernels as ratios against named rivals, both sides in one run, one thread.

    python benchmarks/kernels.py [--json]

Rivals: the validator's formula on properscoring (float64, one call per change); a stand-in for the predecessor's
prompt (numpy simulation step by step, every price rounded in a Python loop, validator's score), whose own rounding
is not at hand: a loop over numpy's numbers and one over plain floats bracket it; ``round`` + ``json.dumps`` over
plain floats; ``pandas.Series.ewm``, once per half-life. All data here is synthetic.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

for variable in ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import numpy as np
import pandas as pd
import properscoring
from machine import describe

from ewmalab.forecast.draws import BLOCK
from ewmalab.forecast.ewma.kernels import HOLD, decay_of, filter_variances, stratified_ewma_paths
from ewmalab.forecast.protocol import Prompt
from ewmalab.forecast.seasonal_har import SeasonalHar
from ewmalab.forecast.seasonal_har.parts import Shocks
from ewmalab.forecast.strata import student_t_strata
from ewmalab.forecast.streams import RandomStream
from ewmalab.market.bars import Bars
from ewmalab.report.text.tables import plain_table
from ewmalab.rulebook import Competition, load_rulebook
from ewmalab.scoring.answer_format import render
from ewmalab.scoring.crps import score_log_returns, score_paths
from ewmalab.times import parse_time

ANCHOR, NU, HALF_LIFE, SIGMA = 95_000.0, 6.0, 7200, 5e-4
PATHS = 1000


def medians(sides: dict[str, tuple[object, int]]) -> dict[str, float]:
    """Time each side in turn, again and again; median seconds per call."""
    samples: dict[str, list[float]] = {name: [] for name in sides}
    for function, _ in sides.values():
        function()
    for _ in range(5):
        for name, (function, repeats) in sides.items():
            for _ in range(repeats):
                begin = time.perf_counter()
                function()
                samples[name].append(time.perf_counter() - begin)
    return {name: float(np.median(values)) for name, values in samples.items()}


def validator_score(paths: np.ndarray, real: np.ndarray, competition: Competition) -> float:
    """The validator's formula: each change of each interval is one properscoring call."""
    total = 0.0
    for interval in competition.scoring.intervals:
        stride = interval.seconds // competition.time_increment
        sampled, truth = paths[:, ::stride], real[::stride]
        if interval.kind == "abs":
            for k in range(1, len(truth)):
                total += properscoring.crps_ensemble(truth[k], sampled[:, k]) / real[-1] * 1e4
            continue
        members = np.diff(sampled, axis=1) / sampled[:, :-1] * 1e4
        observed = np.diff(truth) / truth[:-1] * 1e4
        for k in range(1 if interval.kind == "gap" else len(observed)):
            total += properscoring.crps_ensemble(observed[k], members[:, k])
    return total


def predecessor_paths(rng: np.random.Generator, steps: int, decay: float) -> np.ndarray:
    """The predecessor's simulation: all paths at once, step by step."""
    price, h = np.full(PATHS, ANCHOR), np.full(PATHS, SIGMA**2)
    out = np.empty((PATHS, steps + 1))
    out[:, 0] = price
    for t in range(steps):
        r = np.sqrt(h) * rng.standard_t(NU, PATHS) * np.sqrt((NU - 2) / NU)
        price = price * np.exp(r)
        h = decay * h + (1 - decay) * r * r
        out[:, t + 1] = price
    return out


def walk_of_minutes(rng: np.random.Generator, end: int) -> Bars:
    """A day of synthetic minute bars."""
    times = end - 60 * np.arange(1440, 0, -1)
    return Bars.from_closes(times, ANCHOR * np.exp(np.cumsum(SIGMA * rng.standard_normal(1440))))


def numpy_volatility_paths(rng: np.random.Generator, steps: int, shocks: Shocks, step: int) -> np.ndarray:
    """The paths of `seasonal-har` in numpy, at a constant volatility: all shocks at once, independent."""
    stay = 0.5 ** (step / shocks.wave_half_life)
    wave = np.empty((steps, PATHS), np.float32)
    push = rng.standard_normal((steps, PATHS), np.float32)
    wave[0] = push[0]
    for t in range(1, steps):
        wave[t] = stay * wave[t - 1] + math.sqrt(1 - stay * stay) * push[t]
    z = rng.standard_t(shocks.nu, (steps, PATHS)) * math.sqrt((shocks.nu - 2) / shocks.nu)
    z *= SIGMA * np.exp(shocks.level * rng.standard_normal(PATHS, np.float32) + shocks.wave * wave)
    out = np.zeros((steps + 1, PATHS), np.float32)
    np.cumsum(z, axis=0, out=out[1:])
    return out


def python_round(paths: np.ndarray) -> list[list[float]]:
    """Round to 8 significant digits in a Python loop over plain floats."""
    return [[round(x, 7 - math.floor(math.log10(abs(x)))) for x in path] for path in paths.tolist()]


def numpy_round(paths: np.ndarray) -> list[list[float]]:
    """The same loop over numpy's numbers, as one writes it at first."""
    return [[round(x, 7 - math.floor(math.log10(abs(x)))) for x in path] for path in paths]


class Ratio(NamedTuple):
    """A rival's time against ours."""

    name: str
    unit: str
    rival: float
    ours: float
    times: float
    gate: float

    @classmethod
    def of(cls, name: str, took: dict[str, float], rival: str = "rival", gate: float = 0) -> Ratio:
        """Compare two of the medians, seconds."""
        return cls(name, "ms", took[rival], took["ours"], took[rival] / took["ours"], gate)


class Error(NamedTuple):
    """A largest relative error and what it may be."""

    name: str
    value: float
    limit: float


Figures = tuple[list[Ratio], list[Error]]


def scoring(rng: np.random.Generator, competition: Competition, gate: float, whole_gate: float) -> Figures:
    """Time simulation and score of a prompt, and its formatting, against rivals."""
    name, steps, dt = competition.name, competition.steps, competition.time_increment
    decay, scale = decay_of(HALF_LIFE, dt), np.ones(steps, np.float32)
    real = ANCHOR * np.exp(np.concatenate([[0.0], np.cumsum(rng.standard_normal(steps) * SIGMA)]))
    buffer = np.empty((steps + 1, PATHS), np.float32)
    stream = RandomStream.of(1, "BTC", name, 0)

    def simulate() -> np.ndarray:
        stratified_ewma_paths(stream.lanes(BLOCK), student_t_strata(NU, PATHS), decay, SIGMA**2, scale, buffer)
        return buffer

    def score(log_returns: np.ndarray) -> float:
        return score_log_returns(log_returns, ANCHOR, real, competition.scoring, dt).total

    def predecessor(rounding: Callable[[np.ndarray], list[list[float]]]) -> float:
        return validator_score(np.array(rounding(predecessor_paths(rng, steps, decay))), real, competition)

    log_returns = simulate().copy()
    paths = np.ascontiguousarray(ANCHOR * np.exp(log_returns.astype(np.float64)).T)
    took = medians(
        {
            "validator": (lambda: validator_score(paths, real, competition), 6),
            "ours": (lambda: score(simulate()), 60),
            "python": (lambda: predecessor(python_round), 1),
            "numpy": (lambda: predecessor(numpy_round), 1),
        }
    )
    ratios = [
        Ratio.of(f"validator's CRPS / our simulate + score, {name}", took, "validator", gate),
        Ratio.of(f"predecessor's prompt / ours, {name}, numpy numbers", took, "numpy", whole_gate),
        Ratio.of(f"predecessor's prompt / ours, {name}, python numbers", took, "python"),
    ]
    exact = score_paths(paths, real, competition.scoring, dt).total
    theirs = validator_score(paths, real, competition)
    errors = [
        Error(f"float32 score against float64, same paths, {name}", abs(score(log_returns) / exact - 1), 1e-6),
        Error(f"float64 score against properscoring, {name}", abs(exact / theirs - 1), 1e-12),
    ]
    return [*ratios, volatility_paths(rng, competition), *formatting(name, paths, log_returns)], errors


def volatility_paths(rng: np.random.Generator, competition: Competition) -> Ratio:
    """Time the paths of `seasonal-har` against numpy."""
    steps, dt, now = competition.steps, competition.time_increment, parse_time("2026-05-01")
    forecaster = SeasonalHar(load_rulebook().asset("BTC"))
    prompt = Prompt(now, competition.name, "BTC", now, dt, dt * steps, PATHS)
    state = forecaster.update(forecaster.initial_state(), walk_of_minutes(rng, now))
    took = medians(
        {
            "rival": (lambda: numpy_volatility_paths(rng, steps, forecaster.fitted.shocks[dt], dt), 10),
            "ours": (lambda: forecaster.simulate(state, prompt, prompt.stream(1)), 60),
        }
    )
    return Ratio.of(f"numpy's stochastic volatility / seasonal-har, {competition.name}", took)


def formatting(name: str, paths: np.ndarray, log_returns: np.ndarray) -> list[Ratio]:
    """Time the text of an answer, the longer one alone."""
    if name != "24h":
        return []
    took = medians(
        {
            "rival": (lambda: json.dumps([0, 300, *python_round(paths)]), 1),
            "ours": (lambda: render(0, 300, ANCHOR, log_returns), 40),
        }
    )
    return [Ratio.of("rounding + json.dumps / our formatting, 24h", took, gate=80)]


def filtering(rng: np.random.Generator) -> Figures:
    """Time 64 half-lives at once against pandas."""
    squares = rng.standard_normal(20_000) ** 2 * SIGMA**2
    decays = np.array([decay_of(h, 60) for h in np.geomspace(300, 2 * 86_400, 64)])
    track = np.empty((len(squares), len(decays)))
    elapsed = np.ones(len(squares))

    def ewm() -> list[np.ndarray]:
        series = pd.Series(squares)
        return [series.ewm(alpha=1 - d, adjust=False).mean().to_numpy() for d in decays]

    def filtered() -> np.ndarray:
        variances, long_run = np.full(64, squares[0]), np.array([squares[0]])
        filter_variances(squares, elapsed, decays, variances, long_run, 0.0, 1.0, False, HOLD, 1.0, track)
        return track

    error = float(np.abs(filtered() / np.array(ewm()).T - 1).max())
    took = medians({"rival": (ewm, 3), "ours": (filtered, 20)})
    ratio = Ratio.of("pandas ewm / our K = 64 states, 20 000 bars", took, gate=10)
    return [ratio], [Error("our K = 64 states against pandas", error, 1e-9)]


def report(ratios: list[Ratio], errors: list[Error], missed: list[str]) -> None:
    """Print the figures as tables."""
    print(describe() + "; one thread" + "\nsynthetic data; medians\n")
    rows = [
        (r.name, f"{1e3 * r.rival:.3f}", f"{1e3 * r.ours:.3f}", f"{r.times:.1f}", f"{r.gate:g}" if r.gate else "-")
        for r in ratios
    ]
    print(plain_table(("ratio", "rival (ms)", "ours (ms)", "times", "gate"), rows))
    print()
    print(plain_table(("largest relative error", "value"), [(e.name, f"{e.value:.1e}") for e in errors]))
    print(f"\nmissed: {'; '.join(missed)}" if missed else "\nall gates reached")


def main() -> int:
    """Print the table; exit code 1 if a gate is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    competitions = load_rulebook().at(parse_time("2026-05-01")).competitions
    rng = np.random.default_rng(1)
    found = [scoring(rng, competitions["24h"], 4, 400), scoring(rng, competitions["1h"], 6, 300), filtering(rng)]
    ratios = [ratio for some, _ in found for ratio in some]
    errors = [error for _, some in found for error in some]
    missed = [r.name for r in ratios if r.times < r.gate] + [e.name for e in errors if e.value > e.limit]
    if args.json:
        figures = {"ratios": ratios, "errors": [(e.name, e.value) for e in errors]}
        print(json.dumps({"machine": describe() + "; one thread", **figures}, indent=2))
    else:
        report(ratios, errors, missed)
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
