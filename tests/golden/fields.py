"""Golden fields of miners: prompt scores under each transformation, and leaderboards, computed in plain Python."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

Case = dict[str, Any]
DAY = 86_400


def field(case: Case) -> list[float]:
    """Draw the CRPS of a field of miners, -1 where an answer is missing."""
    rng = np.random.default_rng(case["seed"])
    crps = 1000.0 * np.exp(0.3 * rng.standard_normal(case["miners"]))
    crps[rng.permutation(case["miners"])[: case["garbage"]]] *= 1e6
    crps[rng.permutation(case["miners"])[: case["missing"]]] = -1.0
    crps[rng.permutation(case["miners"])[: case["perfect"]]] = 0.0
    return [float(x) for x in crps]


def percentile(values: Sequence[float], share: float) -> float:
    """Return the percentile that lies between the two nearest ranks in proportion."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def transformed(crps: Sequence[float], transformation: str) -> Case | None:
    """Return the prompt scores of a field; None where nobody has a valid score."""
    valid = [x for x in crps if x != -1.0]
    if not valid:
        return None
    cap = math.inf
    if transformation == "p90_cap":
        cap = fill = percentile(valid, 0.9)
    elif transformation == "p95_fill":
        fill = percentile(valid, 0.95)
    else:
        cap = 10.0 * percentile(valid, 0.5)
        if cap == 0.0:
            cap = math.inf
        fill = percentile([x for x in valid if x <= cap] or valid, 0.95)
    scores = [fill if x == -1.0 else min(x, cap) for x in crps]
    lowest = min(scores)
    return {"scores": [x - lowest for x in scores], "fill": fill, "lowest": lowest}


def prompt_score_cases() -> list[Case]:
    """Return fields with missing answers, garbage, ties at zero, one miner and none."""
    shapes = [
        (20, 0, 0, 0),
        (20, 5, 0, 0),
        (21, 4, 3, 0),
        (12, 3, 5, 1),
        (7, 2, 1, 5),
        (2, 1, 0, 0),
        (1, 0, 0, 0),
        (3, 3, 0, 0),
    ]
    cases = []
    for number, (miners, missing, garbage, perfect) in enumerate(shapes):
        case: Case = {
            "seed": 7500 + number,
            "miners": miners,
            "missing": missing,
            "garbage": garbage,
            "perfect": perfect,
        }
        crps = field(case)
        case["drawn"] = crps[-1]
        case["scores"] = {name: transformed(crps, name) for name in ("p90_cap", "p95_fill", "median10_cap")}
        cases.append(case)
    return cases


WEIGHTS: dict[str, dict[str, float]] = {  # from the date on
    "2025-12-02": {"BTC": 1.0, "ETH": 0.6210893136676585, "XAU": 1.4550630831254674, "SOL": 0.5021491038021751},
    "2026-01-20": {
        "BTC": 1.0,
        "ETH": 0.6715516528608204,
        "XAU": 2.262003561659039,
        "SOL": 0.5883682889710361,
        "SPYX": 2.9914378891824693,
        "NVDAX": 1.3885444209082594,
    },
    "2026-04-07": {
        "BTC": 1.0,
        "ETH": 0.7064366394033871,
        "XAU": 1.7370922597118699,
        "SOL": 0.6310037175639559,
        "XRP": 0.5658394110809131,
        "HYPE": 0.4784547133706857,
        "WTIOIL": 0.8475062847978935,
        "SP500": 3.437935601155441,
        "NVDAX": 1.6028217601617174,
    },
}
# end of the window, competition, days, beta, share, assets
BOARDS: list[tuple[str, str, int, float, float, list[str]]] = [
    ("2026-01-10T12:00:00Z", "24h", 10, -0.1, 1 / 2, ["BTC", "ETH", "XAU", "SOL"]),
    ("2026-02-15T00:00:00Z", "24h", 10, -0.1, 1 / 2, ["BTC", "XAU", "SPYX", "NVDAX", "OTHER"]),
    ("2026-02-15T00:00:00Z", "1h", 3, -0.2, 1 / 2, ["BTC", "ETH", "XAU", "SOL"]),
    ("2026-05-01T17:00:00Z", "24h", 10, -0.1, 1 / 2, ["BTC", "ETH", "XRP", "HYPE", "WTIOIL"]),
    ("2026-07-10T06:00:00Z", "crypto-1h", 5, -0.3, 1 / 3, ["BTC", "ETH", "SOL", "XRP", "HYPE"]),
    ("2026-10-01T06:00:00Z", "com-equ-24h", 10, -0.15, 1 / 4, ["XAU", "NVDAX", "WTIOIL", "SP500"]),
]

ScoreRow = tuple[int, int, str, float | None, float, float]  # scored time, miner, asset, score, fill, lowest


def seconds_of(date: str) -> int:
    """Return a date as seconds since 1970-01-01 UTC."""
    return int(np.datetime64(date.removesuffix("Z"), "s").astype(np.int64))


def score_rows(case: Case) -> list[ScoreRow]:
    """Draw the prompt scores of a window and somewhat before it: late joiners, and answers without a score."""
    rng = np.random.default_rng(case["seed"])
    end, days = seconds_of(case["end"]), case["days"]
    joined = rng.integers(0, 30, case["miners"]) * (rng.random(case["miners"]) < 0.5)
    joined[-1] = 0
    rows: list[ScoreRow] = []
    for prompt in range(30):
        # three lie before the window; the fourth lies at its edge, which is outside too
        time = end - days * DAY + (prompt - 3) * days * DAY // 26
        asset, lowest = case["assets"][rng.integers(len(case["assets"]))], float(rng.uniform(400, 800))
        fill = lowest + float(rng.uniform(100, 200))
        scores = rng.exponential(30.0, case["miners"])
        lost = rng.random(case["miners"]) < 0.1
        for miner in range(case["miners"]):
            if prompt >= joined[miner]:
                absent = bool(lost[miner]) or miner == case["miners"] - 1  # the last one never has a score
                rows.append((time, miner, asset, None if absent else float(scores[miner]), fill, lowest))
    return rows


def board(case: Case) -> list[dict[str, Any]]:
    """Return each miner's rolling average and weight; None stands for an infinite average."""
    weights = WEIGHTS[max(date for date in WEIGHTS if date <= case["end"])]
    end = seconds_of(case["end"])
    rows = [row for row in score_rows(case) if end - case["days"] * DAY < row[0] <= end]
    prompts = {time: (asset, fill - lowest) for time, _, asset, _, fill, lowest in reversed(rows)}
    averages: dict[int, float] = {}
    for miner in sorted({row[1] for row in rows}):
        own = [row for row in rows if row[1] == miner]
        first = min(row[0] for row in own)
        scores = [(asset, worst) for time, (asset, worst) in prompts.items() if time < first]
        scores += [(row[2], row[3]) for row in own if row[3] is not None]
        mass = sum(weights.get(asset, 1.0) for asset, _ in scores)
        averages[miner] = sum(weights.get(a, 1.0) * s for a, s in scores) / mass if scores else math.inf
    powers = {miner: math.exp(case["beta"] * average) for miner, average in averages.items()}
    return [
        {
            "miner": miner,
            "average": None if math.isinf(average) else average,
            "weight": case["share"] * powers[miner] / sum(powers.values()),
        }
        for miner, average in averages.items()
    ]


def leaderboard_cases() -> list[Case]:
    """Return a leaderboard per era of weights, windows and betas."""
    cases = []
    for number, (end, competition, days, beta, share, assets) in enumerate(BOARDS):
        case: Case = {
            "seed": 7700 + number,
            "end": end,
            "competition": competition,
            "days": days,
            "beta": beta,
            "share": share,
            "assets": assets,
            "miners": 4 + number,
        }
        case["drawn"] = score_rows(case)[-1][-1]
        case["leaderboard"] = board(case)
        cases.append(case)
    return cases
