"""Speed and accuracy of a sweep over half-lives, against the predecessor's way, one thread, both sides in one run.

    python benchmarks/sweep.py [--json]

The work is the predecessor's calibration: 8 half-lives, 9 assets with hourly 24h prompts and 4 assets with 1h prompts
every 12 minutes, 7 days, on synthetic bars. The rival's time is that of its stand-in for a prompt (see kernels.py)
times the number of prompts and values; its own logs say 840 s per value.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from time import perf_counter

import numpy as np
from kernels import ANCHOR, HALF_LIFE, NU, SIGMA, medians, numpy_round, predecessor_paths, python_round, validator_score
from machine import describe

from ewmalab.forecast.ewma.kernels import decay_of, ewma_paths
from ewmalab.forecast.streams import RandomStream
from ewmalab.report.text.tables import plain_table
from ewmalab.rulebook import Competition, RuleChoice, load_rulebook
from ewmalab.scoring.crps import score_log_returns, score_paths
from ewmalab.scoring.scale_free import Observations, scale_free_scores
from ewmalab.settings import load_settings
from ewmalab.sweeps.parameters import resolve
from ewmalab.sweeps.run import run_sweep
from ewmalab.sweeps.sweep import judge_sweep, workload_of
from ewmalab.times import parse_time

VALUES = ["15m", "30m", "1h", "2h", "4h", "8h", "12h", "1d"]
PUBLISHED_SECONDS = 840.0  # per value, from the predecessor's logs
GATE = 10_000


def predecessor_seconds(rules: dict[str, Competition], prompts: dict[str, int]) -> dict[str, float]:
    """Return what the stand-in would take for all prompts of one value, by how it rounds."""
    rng = np.random.default_rng(1)
    total = {"numpy numbers": 0.0, "python numbers": 0.0}
    for name, count in prompts.items():
        competition = rules[name]
        decay = decay_of(HALF_LIFE, competition.time_increment)
        real = ANCHOR * np.exp(np.concatenate([[0.0], np.cumsum(rng.standard_normal(competition.steps) * SIGMA)]))

        def prompt(rounding, competition=competition, decay=decay, real=real) -> float:
            rounded = rounding(predecessor_paths(rng, competition.steps, decay))
            return validator_score(np.array(rounded), real, competition)

        took = medians(
            {
                "numpy numbers": (lambda p=prompt: p(numpy_round), 1),
                "python numbers": (lambda p=prompt: p(python_round), 1),
            }
        )
        for kind, seconds in took.items():
            total[kind] += seconds * count
    return total


def errors(rules: dict[str, Competition]) -> dict[str, tuple[float, float]]:
    """Return, by competition, the largest relative errors, fused and scale-free, of scores on the same paths."""
    rng = np.random.default_rng(2)
    out = {}
    for name in ("24h", "1h"):
        competition, count = rules[name], 20
        steps, dt = competition.steps, competition.time_increment
        log_returns = np.empty((steps + 1, 1024), np.float32)
        lanes = RandomStream.of(1, "BTC", name, 0).lanes(1024)
        ewma_paths(lanes, NU, decay_of(HALF_LIFE, dt), 1e-6, np.ones(steps, np.float32), log_returns)
        volatility = np.exp(rng.uniform(-1, 1, count))
        moves = rng.standard_t(4, (count, steps)) * 1e-3 * volatility[:, None]
        real = ANCHOR * np.exp(np.cumsum(np.concatenate([np.zeros((count, 1)), moves], axis=1), axis=1))
        truth = np.array(
            [
                score_paths(
                    (ANCHOR * np.exp(v * log_returns.astype(np.float64))).T, path, competition.scoring, dt
                ).total
                for v, path in zip(volatility, real, strict=True)
            ]
        )
        fused = np.array(
            [
                score_log_returns(np.float32(v) * log_returns, ANCHOR, path, competition.scoring, dt).total
                for v, path in zip(volatility, real, strict=True)
            ]
        )
        observations = Observations.of(competition.scoring, dt, np.full(count, ANCHOR), real)
        free = scale_free_scores(log_returns, volatility, observations)
        out[name] = (float(np.abs(fused / truth - 1).max()), float(np.abs(free / truth - 1).max()))
    return out


def main() -> int:
    """Print the table; exit code 1 if a gate is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=2)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        settings = load_settings(
            environ={},
            flags={"data.feed": "simulated", "data.cache_dir": folder, "run.experiments_dir": str(Path(folder) / "e")},
        )
        rules = load_rulebook().at(parse_time("2026-01-28")).competitions

        def once(forecaster: str, replicates: int | None, exact: bool) -> tuple[float, float, dict[str, int]]:
            workload = workload_of(
                settings,
                forecaster=forecaster,
                start=parse_time("2026-01-08"),
                days=7,
                rules=RuleChoice.parse("2026-01-28"),
                exact=exact,
            )
            names = ("half_life_1m", "half_life_5m")
            parameters = [resolve(n, VALUES, workload.settings, workload.forecaster) for n in names]
            begin = perf_counter()
            done = run_sweep(workload, parameters, now=1_780_000_000, replicates=replicates)
            scored = perf_counter()
            judge_sweep(done, replicates=replicates)
            counts: dict[str, int] = {}
            for cell in done.cells:
                counts[cell.competition] = counts.get(cell.competition, 0) + len(cell.starts)
            return scored - begin, perf_counter() - scored, counts

        once("ewma@seed", 1, False)  # compiles, and makes the bars
        kinds = {
            "one ensemble of 1000 paths": ("ewma@seed", 1, False),
            "four ensembles, as by default": ("ewma@seed", None, False),
            "equities by session, as by default": ("ewma", None, False),
            "--exact, one": ("ewma@seed", 1, True),
        }
        ours: dict[str, list[float]] = {kind: [] for kind in kinds}
        judging: list[float] = []
        rival: dict[str, list[float]] = {"numpy numbers": [], "python numbers": []}
        for _ in range(args.rounds):
            for kind, options in kinds.items():
                seconds, judged, counts = once(*options)
                ours[kind].append(seconds)
                judging.append(judged)
            for kind, seconds in predecessor_seconds(rules, counts).items():
                rival[kind].append(seconds * len(VALUES))
    theirs = {kind: float(np.median(values)) for kind, values in rival.items()}
    theirs["its own logs"] = PUBLISHED_SECONDS * len(VALUES)
    rows = []
    for kind, values in ours.items():
        seconds = float(np.median(values))
        rows.append((kind, seconds, {rounding: total / seconds for rounding, total in theirs.items()}))
    accuracy = errors(rules)
    gate_met = rows[0][2]["numpy numbers"] >= GATE
    accurate = all(fused <= 1e-6 and free <= 1e-9 for fused, free in accuracy.values())
    if args.json:
        print(json.dumps({"machine": describe(), "rival_seconds": theirs, "ours": rows, "errors": accuracy}))
        return int(not (gate_met and accurate))
    print(f"{describe()}; one thread; SYNTHETIC bars\n")
    print(
        f"the predecessor's 8 x {sum(counts.values())} prompts, seconds: "
        + ", ".join(f"{total:.0f} ({kind})" for kind, total in theirs.items())
        + "\n"
    )
    print(
        plain_table(
            ("our sweep", "seconds", *(f"times, {kind}" for kind in theirs)),
            [(kind, f"{s:.2f}", *(f"{ratio:.0f}" for ratio in ratios.values())) for kind, s, ratios in rows],
            "reading the bars included, judging not",
        )
    )
    print(f"\njudging 13 cells: {np.median(judging):.2f} s")
    for name, (fused, free) in accuracy.items():
        print(f"relative error of a score on the same paths, {name}: fused {fused:.0e}, scale-free {free:.0e}")
    print(f"gate {GATE} (numpy numbers, one ensemble): {'met' if gate_met else 'MISSED'}; errors: "
          f"{'within' if accurate else 'BEYOND'} 1e-6 and 1e-9")  # fmt: skip
    return int(not (gate_met and accurate))


if __name__ == "__main__":
    sys.exit(main())
