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

for variable in ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import numpy as np
import pandas as pd
import properscoring
from machine import describe

from ewmalab.forecast.ewma.kernels import HOLD, decay_of, ewma_paths, filter_variances
from ewmalab.forecast.protocol import Prompt
from ewmalab.forecast.seasonal_har import SeasonalHar
from ewmalab.forecast.seasonal_har.forecaster import Shocks
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
    """The paths of `seasonal-har` in numpy, at a constant volatility: all shocks at once, in mirrored pairs."""
    half, stay = PATHS // 2, 0.5 ** (step / shocks.wave_half_life)
    wave = np.empty((steps, half), np.float32)
    push = rng.standard_normal((steps, half), np.float32)
    wave[0] = push[0]
    for t in range(1, steps):
        wave[t] = stay * wave[t - 1] + math.sqrt(1 - stay * stay) * push[t]
    z = rng.standard_t(shocks.nu, (steps, half)) * math.sqrt((shocks.nu - 2) / shocks.nu)
    z *= SIGMA * np.exp(shocks.level * rng.standard_normal(half, np.float32) + shocks.wave * wave)
    out = np.zeros((steps + 1, PATHS), np.float32)
    np.cumsum(z, axis=0, out=out[1:, :half])
    out[1:, half:] = -out[1:, :half]
    return out


def python_round(paths: np.ndarray) -> list[list[float]]:
    """Round to 8 significant digits in a Python loop over plain floats."""
    return [[round(x, 7 - math.floor(math.log10(abs(x)))) for x in path] for path in paths.tolist()]


def numpy_round(paths: np.ndarray) -> list[list[float]]:
    """The same loop over numpy's numbers, as one writes it at first."""
    return [[round(x, 7 - math.floor(math.log10(abs(x)))) for x in path] for path in paths]


def main() -> int:
    """Print the table; exit code 1 if a gate is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    rules = load_rulebook().at(parse_time("2026-05-01"))
    rng = np.random.default_rng(1)
    rows: list[tuple[str, str, float, float, float, float]] = []  # name, unit, rival, ours, ratio, gate
    errors: list[tuple[str, float]] = []
    for name, gate, whole_gate in (("24h", 4, 400), ("1h", 6, 300)):
        competition = rules.competitions[name]
        steps, dt = competition.steps, competition.time_increment
        decay, scale = decay_of(HALF_LIFE, dt), np.ones(steps, np.float32)
        real = ANCHOR * np.exp(np.concatenate([[0.0], np.cumsum(rng.standard_normal(steps) * SIGMA)]))
        buffer = np.empty((steps + 1, PATHS), np.float32)
        stream = RandomStream.of(1, "BTC", name, 0)

        def simulate(stream=stream, decay=decay, scale=scale, buffer=buffer) -> np.ndarray:
            ewma_paths(stream.lanes(PATHS), NU, decay, SIGMA**2, scale, buffer)
            return buffer

        log_returns = simulate().copy()
        paths = np.ascontiguousarray(ANCHOR * np.exp(log_returns.astype(np.float64)).T)

        def ours(simulate=simulate, real=real, competition=competition, dt=dt) -> float:
            return score_log_returns(simulate(), ANCHOR, real, competition.scoring, dt).total

        def predecessor(rounding, steps=steps, decay=decay, real=real, competition=competition) -> float:
            rounded = rounding(predecessor_paths(rng, steps, decay))
            return validator_score(np.array(rounded), real, competition)

        took = medians(
            {
                "validator": (lambda p=paths, r=real, c=competition: validator_score(p, r, c), 6),
                "ours": (ours, 60),
                "python": (lambda p=predecessor: p(python_round), 1),
                "numpy": (lambda p=predecessor: p(numpy_round), 1),
            }
        )
        rows.append((f"validator's CRPS / our simulate + score, {name}", "ms", took["validator"], took["ours"],
                     took["validator"] / took["ours"], gate))  # fmt: skip
        for kind, least in (("numpy", whole_gate), ("python", 0)):
            rows.append((f"predecessor's prompt / ours, {name}, {kind} numbers", "ms", took[kind], took["ours"],
                         took[kind] / took["ours"], least))  # fmt: skip
        forecaster = SeasonalHar.unfitted(load_rulebook().asset("BTC"))
        now = parse_time("2026-05-01")
        prompt = Prompt(now, name, "BTC", now, dt, dt * steps, PATHS)
        state = forecaster.update(forecaster.initial_state(), walk_of_minutes(rng, now))
        took = medians(
            {
                "numpy": (lambda n=steps, f=forecaster, d=dt: numpy_volatility_paths(rng, n, f.shocks[d], d), 10),
                "ours": (lambda f=forecaster, s=state, p=prompt: f.simulate(s, p, p.stream(1)), 60),
            }
        )
        rows.append((f"numpy's stochastic volatility / seasonal-har, {name}", "ms", took["numpy"], took["ours"],
                     took["numpy"] / took["ours"], 0))  # fmt: skip
        exact = score_paths(paths, real, competition.scoring, dt).total
        errors.append(
            (
                f"float32 score against float64, same paths, {name}",
                abs(score_log_returns(log_returns, ANCHOR, real, competition.scoring, dt).total / exact - 1),
            )
        )

        errors.append((f"float64 score against properscoring, {name}",
                       abs(exact / validator_score(paths, real, competition) - 1)))  # fmt: skip
        if name == "24h":
            took = medians(
                {
                    "python": (lambda p=paths: json.dumps([0, 300, *python_round(p)]), 1),
                    "ours": (lambda L=log_returns: render(0, 300, ANCHOR, L), 40),
                }
            )
            rows.append(("rounding + json.dumps / our formatting, 24h", "ms", took["python"], took["ours"],
                         took["python"] / took["ours"], 80))  # fmt: skip
    half_lives = np.geomspace(300, 2 * 86_400, 64)
    squares = rng.standard_normal(20_000) ** 2 * SIGMA**2
    decays = np.array([decay_of(h, 60) for h in half_lives])
    track = np.empty((len(squares), len(decays)))

    def ewm() -> list[np.ndarray]:
        series = pd.Series(squares)
        return [series.ewm(alpha=1 - d, adjust=False).mean().to_numpy() for d in decays]

    def filtered() -> np.ndarray:
        filter_variances(squares, np.ones(len(squares)), decays, np.full(64, squares[0]), np.array([squares[0]]),
                         0.0, 1.0, False, HOLD, 1.0, track)  # fmt: skip
        return track

    errors.append(("our K = 64 states against pandas", float(np.abs(filtered() / np.array(ewm()).T - 1).max())))
    took = medians({"pandas": (ewm, 3), "ours": (filtered, 20)})
    rows.append(("pandas ewm / our K = 64 states, 20 000 bars", "ms", took["pandas"], took["ours"],
                 took["pandas"] / took["ours"], 10))  # fmt: skip
    limits = {"float32": 1e-6, "float64": 1e-12, "our K": 1e-9}
    bad = [name for name, error in errors if error > limits[name.split(" score")[0].split(" =")[0]]]
    missed = [row[0] for row in rows if row[4] < row[5]]
    if args.json:
        print(json.dumps({"machine": describe() + "; one thread", "ratios": rows, "errors": errors}, indent=2))
    else:
        print(describe() + "; one thread" + "\nsynthetic data; medians\n")
        print(
            plain_table(
                ("ratio", "rival (ms)", "ours (ms)", "times", "gate"),
                [
                    (n, f"{1e3 * a:.3f}", f"{1e3 * b:.3f}", f"{r:.1f}", f"{g:g}" if g else "-")
                    for n, _, a, b, r, g in rows
                ],
            )
        )
        print()
        print(plain_table(("largest relative error", "value"), [(n, f"{e:.1e}") for n, e in errors]))
        print("\nall gates reached" if not missed + bad else f"\nmissed: {'; '.join(missed + bad)}")
    return int(bool(missed or bad))


if __name__ == "__main__":
    sys.exit(main())
