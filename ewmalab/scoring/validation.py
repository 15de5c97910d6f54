"""The validator's verdict on an answer, in the validator's words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import chain
from math import isfinite
from typing import Any

import numpy as np
import numpy.typing as npt

CORRECT = "CORRECT"

_DIGITS = 8
# Halfway between the largest float32 and the next power of two, and half the smallest float32 above zero.
# Values from the first on round to infinity, values up to the second to zero (ties go to the even mantissa).
_OVERFLOW = (2.0 - 2.0**-24) * 2.0**127
_UNDERFLOW = 2.0**-150
_TENS = np.array([float(f"1e{power}") for power in range(23)])  # the powers of ten that float64 holds exactly


def validate_response(
    response: object,
    *,
    start_time: int,
    time_increment: int,
    time_length: int,
    num_simulations: int,
    response_format: str,
    process_time: str | float | None,
) -> str:
    """Return a validator's verdict on an answer to a prompt.

    Parameters
    ----------
    response : object
        The answer as Python reads it from JSON: ``[start, increment, [path], ...]``, or anything else.
    start_time : int
        Start time of the prompt, seconds since 1970-01-01 UTC.
    time_increment, time_length : int
        Increment and length of the prompt, seconds.
    num_simulations : int
        Number of paths requested.
    response_format : {"digits8_text", "float32_8sig"}
        From the rulebook: ``load_rulebook().at(date).response_format``.

        * ``digits8_text``: a price printed by Python has at most 8 characters besides the point;
        * ``float32_8sig``: a price is finite, fits float32 and has at most 8 significant digits.
    process_time : str, float or None
        Time that the validator measured for the miner; None if no answer came in time.

    Returns
    -------
    str
        ``CORRECT``, or the validator's message about the first fault.

    Raises
    ------
    ValueError
        If the response format is unknown. No response raises.

    Examples
    --------
    >>> prompt = dict(start_time=0, time_increment=60, time_length=60, num_simulations=1, process_time=1.2)
    >>> validate_response([0, 60, [1.5, 0.12345678]], response_format="digits8_text", **prompt)
    'Price format is incorrect: too many digits 0.12345678'
    """
    if response_format not in _RULES:
        raise ValueError(f"unknown response format {response_format!r}; known are {', '.join(_RULES)}")
    if process_time is None:
        return "time out or internal server error (process time is None)"
    if response is None:
        return "Response is empty"
    if not isinstance(response, tuple | list):
        return f"Response format is incorrect: expected tuple or list, got {type(response)}"
    if not response:
        return "Response is empty"
    paths = response[2:]
    return (
        _header_error(response, start_time, time_increment)
        or _count_error(len(paths), num_simulations)
        or _RULES[response_format](paths, time_length // time_increment + 1)
        or CORRECT
    )


def _header_error(response: Sequence[object], start_time: int, time_increment: int) -> str | None:
    start = response[0]
    if not isinstance(start, int):
        return f"Start time format is incorrect: expected int, got {type(start)}"
    if len(response) == 1:  # a validator crashes here; the verdict is ours
        return "Time increment format is incorrect: expected int, got nothing"
    increment = response[1]
    if not isinstance(increment, int):
        return f"Time increment format is incorrect: expected int, got {type(increment)}"
    if start != start_time:
        return f"Start time timestamp is incorrect: expected {start_time}, got {_text(start)}"
    if increment != time_increment:
        return f"Time increment is incorrect: expected {time_increment}, got {_text(increment)}"
    return None


def _count_error(count: int, expected: int) -> str | None:
    return None if count == expected else f"Number of paths is incorrect: expected {expected}, got {count}"


def _shape_error(path: object, points: int) -> str | None:
    if not isinstance(path, list):
        return f"Path format is incorrect: expected list, got {type(path)}"
    if len(path) != points:
        return f"Number of time points is incorrect: expected {points}, got {len(path)}"
    return None


def _digits8_text(paths: Sequence[Any], points: int) -> str | None:
    """Check path by path, as validators did: a bad price of one path comes before a bad shape of the next."""
    for path in paths:
        if error := _shape_error(path, points):
            return error
        for price in path:
            if not isinstance(price, int | float):
                return _type_error(price)
            text = _text(price)
            if len(text) - text.count(".") > _DIGITS:
                return f"Price format is incorrect: too many digits {text}"
    return None


def _float32_8sig(paths: Sequence[Any], points: int) -> str | None:
    """Check all shapes, then all prices; prices that one pass over the array cannot accept are checked singly."""
    for path in paths:
        if error := _shape_error(path, points):
            return error
    prices = list(chain.from_iterable(paths))
    doubtful: Sequence[int] = range(len(prices))
    if set(map(type, prices)) <= {int, float}:
        with suppress(OverflowError):  # an int beyond float64
            doubtful = np.flatnonzero(~_has_8_digits(np.array(prices, np.float64))).tolist()
    for index in doubtful:
        if error := _number_error(prices[index]):
            return error
    return None


def _has_8_digits(prices: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Return where a price is certainly accepted: an 8-digit integer times a power of ten, or zero.

    In this range both the integer and the power are exact in float64, so one correctly rounded product or
    quotient is the number that the decimal text denotes. The range lies within that of float32.
    """
    size = np.abs(prices)
    inside = (size >= 1e-14) & (size < 1e29)
    x = np.where(inside, size, 1.0)
    shift = _DIGITS - 1 - np.floor(np.log10(x)).astype(np.int64)
    up, down = _TENS[np.clip(shift, 0, 22)], _TENS[np.clip(-shift, 0, 22)]
    digits = np.rint(x * up / down)
    certain: npt.NDArray[np.bool_] = inside & (digits < 10**_DIGITS) & (digits * down / up == x)
    certain |= prices == 0.0
    return certain


def _number_error(price: object) -> str | None:
    if isinstance(price, bool) or not isinstance(price, int | float):
        return _type_error(price)
    try:
        value = float(price)
    except OverflowError:
        return f"Price format is incorrect: too many digits {_text(price)}"
    if not isfinite(value):
        return f"Price format is incorrect: non-finite value {_text(price)}"
    if abs(value) >= _OVERFLOW:
        return f"Price format is incorrect: exceeds float32 range {_text(price)}"
    if value != 0.0 and abs(value) <= _UNDERFLOW:
        return f"Price format is incorrect: underflows float32 {_text(price)}"
    if float(f"{value:.{_DIGITS - 1}e}") != value:
        return f"Price format is incorrect: too many digits {_text(price)}"
    return None


def _type_error(price: object) -> str:
    return f"Price format is incorrect: expected int or float, got {type(price)}"


def _text(number: float) -> str:
    """Return a number as Python prints it, or the size of an int that has too many digits for Python to print."""
    try:
        return str(number)
    except ValueError:
        return f"(an int of {int(number).bit_length()} bits)"


_RULES: dict[str, Callable[[Sequence[Any], int], str | None]] = {
    "digits8_text": _digits8_text,
    "float32_8sig": _float32_8sig,
}
