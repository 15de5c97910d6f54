"""Read predictions and realised prices from users' JSON files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ewmalab.errors import PredictionError

MAX_BYTES = 256 * 2**20  # a day of 1000 paths takes 3 MB


def read_prediction(path: Path) -> list[Any]:
    """Read a prediction as a miner sends it to a validator, or as the subnet's backtester stores it.

    Parameters
    ----------
    path : Path
        A JSON file that holds one of

        * ``[start, increment, [path], ...]``, as sent to a validator;
        * ``{"start_timestamp": ..., "time_increment": ..., "paths": [[...], ...], ...}``;
        * ``{"simulation_input": {...}, "prediction": [start, increment, [path], ...]}``.

    Returns
    -------
    list
        ``[start, increment, [path], ...]``, ints and floats as written. The items are not checked; use
        `ewmalab.scoring.validation.validate_response`.

    Raises
    ------
    PredictionError
        If the file cannot be read, is larger than 256 MiB, is not JSON, or holds none of these.
    """
    content = _load(path)
    if isinstance(content, list):
        return content
    if not isinstance(content, dict):
        raise PredictionError(f"{path} holds {_kind(content)}, not a prediction; {_SHAPES}")
    if "prediction" in content:
        prediction = content["prediction"]
        if not isinstance(prediction, list):
            raise PredictionError(f"{path}: 'prediction' must be a list, not {_kind(prediction)}; {_SHAPES}")
        return prediction
    missing = [key for key in ("start_timestamp", "time_increment", "paths") if key not in content]
    if missing:
        raise PredictionError(f"{path} lacks {', '.join(map(repr, missing))}; {_SHAPES}")
    if not isinstance(content["paths"], list):
        raise PredictionError(f"{path}: 'paths' must be a list, not {_kind(content['paths'])}; {_SHAPES}")
    return [content["start_timestamp"], content["time_increment"], *content["paths"]]


def read_realised(path: Path) -> npt.NDArray[np.float64]:
    """Read the realised prices of a prompt.

    Parameters
    ----------
    path : Path
        A JSON file with a list of prices, one per grid point; null if a price is missing.

    Returns
    -------
    (steps + 1,) float64
        NaN where missing.

    Raises
    ------
    PredictionError
        If the file cannot be read, is larger than 256 MiB, is not JSON, or holds anything but positive,
        finite prices and nulls.
    """
    content = _load(path)
    if not isinstance(content, list) or not content:
        raise PredictionError(f"{path} holds {_kind(content)}, not a list of realised prices (null where missing)")
    return np.array([_price(path, index, entry) for index, entry in enumerate(content)])


_SHAPES = (
    "expected [start, increment, [path], ...], or an object with 'start_timestamp', 'time_increment' and "
    "'paths', or one with 'prediction'"
)


def _price(path: Path, index: int, entry: object) -> float:
    if entry is None:
        return float("nan")
    if isinstance(entry, bool) or not isinstance(entry, int | float):
        raise PredictionError(f"{path}: entry {index} is {_kind(entry)}, not a price or null")
    try:
        price = float(entry)
    except OverflowError:
        price = float("inf")
    # NaN is not valid JSON, but Python writes it for a missing price.
    if price <= 0.0 or price == float("inf"):
        raise PredictionError(
            f"{path}: entry {index} is {price}; prices are positive and finite, or null where missing"
        )
    return price


def _load(path: Path) -> Any:
    """Parse with Python's json, as validators do; faster parsers turn ints beyond 64 bits into floats."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise PredictionError(f"cannot read {path}: {error.strerror or error}") from None
    if len(data) > MAX_BYTES:
        raise PredictionError(f"{path} is larger than {MAX_BYTES // 2**20} MiB; 1000 paths over a day take about 3 MB")
    try:
        return json.loads(data)
    except RecursionError:
        raise PredictionError(f"{path} nests lists or objects too deeply to be a prediction") from None
    except ValueError as error:  # broken syntax, not UTF-8, or an int of thousands of digits
        raise PredictionError(f"{path} is not valid JSON: {error}") from None


def _kind(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case list():
            return "a list" if value else "an empty list"
    return "an object"
