"""Golden ensembles: their CRPS under the dated scoring rules, computed in plain numpy."""

from __future__ import annotations

import math
import warnings
from itertools import cycle
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Case = dict[str, Any]

NAN_PATTERNS = ("none", "first", "last", "block", "alternate", "random20", "only_first_last", "all")
GAPS = {f"0_{minutes}min_gaps": 60 * minutes for minutes in range(5, 61, 5)}
INTERVALS = {
    "24h": {"5min": 300, "30min": 1800, "3hour": 10_800, "24hour_abs": 86_400},
    "1h": {"1min": 60, "2min": 120, "5min": 300, "15min": 900, "30min": 1800, "60min_abs": 3600, **GAPS},
}
STEP = {"24h": 300, "1h": 60}
STEPS = {"24h": 288, "1h": 60}
VOLATILITY_BLOCKS = {3600: 5.25 / 3, 900: 5.25 / 12, 300: 5.25 / 36}  # seconds, weight
DATES = ("2026-02-01", "2026-05-01", "2026-10-01")  # gaps as series; first gap alone; with the volatility term


def crps_inputs(case: Case) -> tuple[Floats, Floats]:
    """Draw the paths (n, steps + 1) and realised prices (steps + 1,) of a case."""
    n, steps, sigma = case["num_simulations"], STEPS[case["horizon"]], case["sigma"]
    rng = np.random.default_rng(case["seed"])
    changes = rng.standard_t(case["dof"], size=(n, steps)) * sigma
    paths = case["price"] * np.exp(np.concatenate([np.zeros((n, 1)), np.cumsum(changes, axis=1)], axis=1))
    real = case["price"] * np.exp(np.concatenate([[0.0], np.cumsum(rng.standard_normal(steps) * sigma)]))
    size = len(real)
    missing: dict[str, Any] = {
        "none": [],
        "first": 0,
        "last": -1,
        "block": slice(size // 3, size // 2),
        "alternate": slice(1, None, 2),
        "random20": np.random.default_rng(case["seed"] + 10_000).random(size) < 0.2,
        "only_first_last": slice(1, -1),
        "all": slice(None),
    }
    real[missing[case["nan_pattern"]]] = np.nan
    if case["zero_price"]:
        paths[n // 2, steps // 2] = 0.0
    return paths, real


def crps(x: float, members: Floats) -> float:
    """Return ``mean|y_i - x| - 1 / (2 N**2) sum_ij |y_i - y_j|``, where properscoring agrees."""
    pairs = np.abs(members[:, None] - members[None, :])
    score = float(np.mean(np.abs(members - x)) - pairs.sum() / (2 * len(members) ** 2))
    with warnings.catch_warnings():  # it warns about its own dependencies on import, and compiles for seconds
        warnings.simplefilter("ignore")
        import properscoring
    other = float(properscoring.crps_ensemble(x, members))
    size = max(abs(x), float(np.abs(members).max()))
    if not math.isclose(score, other, rel_tol=1e-11, abs_tol=1e-14 * size):
        raise ArithmeticError(f"the plain CRPS {score!r} differs from properscoring's {other!r}")
    return score


def bp_changes(prices: Floats) -> Floats:
    """Return relative changes along the last axis in basis points."""
    return np.asarray(1e4 * (prices[..., 1:] - prices[..., :-1]) / prices[..., :-1])


def interval_score(name: str, seconds: int, step: int, paths: Floats, real: Floats, series: bool) -> tuple[float, int]:
    """Return an interval's sum of CRPS and how many changes it scored; `series` scores gaps as the old defect did."""
    k = seconds // step
    if name.endswith("_abs"):
        while len(real[::k]) == 1:
            k -= 1
        truth, members = real[::k][1:], paths[:, ::k][:, 1:]
        unit = float(1e4 / real[-1])
    else:
        truth, members, unit = bp_changes(real[::k]), bp_changes(paths[:, ::k]), 1.0
        if name.endswith("_gaps") and not series:
            truth, members = truth[:1], members[:, :1]
    scores = [unit * crps(x, members[:, i]) for i, x in enumerate(truth.tolist()) if not math.isnan(unit * x)]
    return sum(scores), len(scores)


def volatility_blocks(paths: Floats, real: Floats) -> dict[int, float]:
    """Return the summed CRPS of the deviations inside blocks, per block length in seconds."""
    found = {}
    truth, members = bp_changes(real), bp_changes(paths)
    for seconds in VOLATILITY_BLOCKS:
        length, total = seconds // 60, 0.0
        for first in range(0, len(truth) - length + 1, length):
            seen = [x for x in truth[first : first + length].tolist() if not math.isnan(x)]
            if len(seen) >= 2:
                total += crps(float(np.std(seen, ddof=1)), np.std(members[:, first : first + length], axis=1, ddof=1))
        found[seconds] = total
    return found


def ensemble_score(case: Case, date: str) -> Case:
    """Score a case under the rules of a date."""
    paths, real = crps_inputs(case)
    if (paths == 0).any():
        return {"total": -1.0}
    horizon = case["horizon"]
    scored = {
        name: interval_score(name, seconds, STEP[horizon], paths, real, date < "2026-03-11")
        for name, seconds in INTERVALS[horizon].items()
    }
    result: Case = {
        "total": sum(score for score, _ in scored.values()),
        "changes": sum(count for _, count in scored.values()),
        "intervals": {name: score for name, (score, _) in scored.items()},
    }
    if horizon == "1h" and date >= "2026-09-22":
        blocks = volatility_blocks(paths, real)
        result["volatility"] = {str(seconds): value for seconds, value in blocks.items()}
        result["volatility_term"] = sum(weight * blocks[seconds] for seconds, weight in VOLATILITY_BLOCKS.items())
        result["total"] += result["volatility_term"]
    return result


def crps_cases() -> list[Case]:
    """Return every pattern of missing prices at both horizons, and a price of zero at each."""
    sizes, tails = cycle([25, 64, 150, 40, 1]), cycle([4.0, 8.0, 30.0])
    others = zip(sizes, tails, cycle([3e-4, 1e-3, 2.5e-3]), cycle([95e3, 0.61, 142.5, 4.2]))
    cases = []
    for number, (pattern, zero) in enumerate([(p, False) for p in NAN_PATTERNS] + [("none", True)]):
        for horizon in STEPS:
            n, dof, sigma, price = next(others)
            case: Case = {
                "horizon": horizon,
                "seed": 7000 + 10 * number + (horizon == "1h"),
                "num_simulations": n,
                "price": price,
                "sigma": sigma,
                "dof": dof,
                "nan_pattern": pattern,
                "zero_price": zero,
            }
            case["drawn"] = float(crps_inputs(case)[0][-1, -1])
            # the rules of the longer horizon did not change
            case["scores"] = {date: ensemble_score(case, date) for date in (DATES if horizon == "1h" else DATES[1:2])}
            cases.append(case)
    return cases
