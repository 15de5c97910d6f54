"""Golden answers: what validators say of them before and after the format changed on 2026-07-16."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

Case = dict[str, Any]

PROMPT = {"start_time": 1_777_636_860, "time_increment": 60, "time_length": 120, "num_simulations": 2}
BOTH_SIDES = ("2026-07-15", "2026-07-17")


def text_fault(price: Any) -> str | None:
    """The rule until 2026-07-16: at most 8 characters besides the point, as Python prints a price."""
    if not isinstance(price, int | float):
        return f"expected int or float, got {type(price)}"
    return f"too many digits {price}" if len(str(price).replace(".", "")) > 8 else None


def number_fault(price: Any) -> str | None:
    """The rule since 2026-07-16: a number, no bool, that float32 can hold, with at most 8 significant digits."""
    if isinstance(price, bool) or not isinstance(price, int | float):
        return f"expected int or float, got {type(price)}"
    if not math.isfinite(price):
        return f"non-finite value {price}"
    with np.errstate(over="ignore", under="ignore"):
        single = float(np.float32(price))
    if math.isinf(single):
        return f"exceeds float32 range {price}"
    if single == 0.0 and price != 0:
        return f"underflows float32 {price}"
    return None if float(f"{price:.7e}") == price else f"too many digits {price}"


def judge(response: Any, process_time: str | None, date: str) -> str:
    """Return what a validator says on a date."""
    if process_time is None:
        return "time out or internal server error (process time is None)"
    if response is None or response == []:
        return "Response is empty"
    if not isinstance(response, list):
        return f"Response format is incorrect: expected tuple or list, got {type(response)}"
    start, increment, paths = response[0], response[1], response[2:]
    for name, value in (("Start time", start), ("Time increment", increment)):
        if not isinstance(value, int):
            return f"{name} format is incorrect: expected int, got {type(value)}"
    if start != PROMPT["start_time"]:
        return f"Start time timestamp is incorrect: expected {PROMPT['start_time']}, got {start}"
    if increment != PROMPT["time_increment"]:
        return f"Time increment is incorrect: expected {PROMPT['time_increment']}, got {increment}"
    if len(paths) != PROMPT["num_simulations"]:
        return f"Number of paths is incorrect: expected {PROMPT['num_simulations']}, got {len(paths)}"
    return next(filter(None, faults(paths, date)), "CORRECT")


def faults(paths: list[Any], date: str) -> list[str | None]:
    """Return the faults of paths in the order in which validators come upon them."""
    old = date < "2026-07-16"
    points = PROMPT["time_length"] // PROMPT["time_increment"] + 1
    shapes: list[str | None] = []
    prices: list[list[str | None]] = []
    for path in paths:
        shape = None
        if not isinstance(path, list):
            shape = f"Path format is incorrect: expected list, got {type(path)}"
        elif len(path) != points:
            shape = f"Number of time points is incorrect: expected {points}, got {len(path)}"
        shapes.append(shape)
        found = [(text_fault if old else number_fault)(price) for price in path] if shape is None else []
        prices.append([fault and f"Price format is incorrect: {fault}" for fault in found])
    if old:  # path by path; since then all shapes come before all prices
        return [fault for shape, found in zip(shapes, prices, strict=True) for fault in (shape, *found)]
    return shapes + [fault for found in prices for fault in found]


def verdict_cases() -> list[Case]:
    """Return answers, and what validators say of each on both sides of the change of 2026-07-16."""
    start, good = PROMPT["start_time"], [2381.4402, 2380.1, 2379.97]
    answers: list[tuple[Any, str | None]] = [
        ([start, 60, good, good], "0.8"),
        ([start, 60, good, good], None),
        (None, "0.8"),
        ([], "0.8"),
        ("paths", "0.8"),
        ({"paths": [good, good]}, "0.8"),
        ([float(start), 60, good, good], "0.8"),
        ([start + 60, 60, good, good], "0.8"),
        ([start, "60", good, good], "0.8"),
        ([start, 300, good, good], "0.8"),
        ([start, 60, good], "0.8"),
        ([start, 60, good, good, good], "0.8"),
        ([start, 60, good, good[:2]], "0.8"),
        ([start, 60, good, {"0": 1.0}], "0.8"),
        ([start, 60, [1.0, None, 2.0], good[:1]], "0.8"),  # a bad price before a bad shape
    ]
    prices: list[Any] = [0.6123457, 0.61234567, 0.612345678, 12345678, 12345678.9, 123456789, 1234567.8, 123456780.0]
    prices += [2381.44021, 2381.440213, 1e-05, 1.5e-07, 1.2345678e-20, 0, 0.0, -0.0, -2381.4402, 1e20, 10**20]
    prices += [3.4e38, 3.5e38, -1e300, 1e-46, True, False, "2381.44", None, [1.0], math.nan, math.inf]
    answers += [([start, 60, good, [good[0], price, good[2]]], "0.8") for price in prices]
    return [
        {
            "response": response,
            "process_time": took,
            "verdicts": {date: judge(response, took, date) for date in BOTH_SIDES},
        }
        for response, took in answers
    ]
