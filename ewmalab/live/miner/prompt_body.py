"""Parse a request's body as a prompt, with limits on every field, since the signature does not cover the body."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import orjson

from ewmalab.errors import RulebookError
from ewmalab.forecast.protocol import Prompt
from ewmalab.live.miner.admission import Refusal
from ewmalab.rulebook import Rulebook
from ewmalab.times import parse_time

MAX_BODY = 64 * 1024
EARLIEST, LATEST = -60.0, 900.0
"""Accepted start times, seconds from now. An answer that arrives after the start time is not scored."""

_NUMBERS = ("time_increment", "time_length", "num_simulations")


def parse_prompt(body: bytes, *, assets: Collection[str], rulebook: Rulebook, now: float, speed: float = 1.0) -> Prompt:
    """Return the prompt in a request's body.

    Parameters
    ----------
    body : bytes
        JSON: ``{"simulation_input": {...}, ...}``; other keys are ignored.
    assets : collection of str
        Served assets.
    rulebook : Rulebook
    now : float
        Market time.
    speed : float
        Market seconds per real second; a caller's delay is in real seconds.

    Raises
    ------
    Refusal
    """
    asked = _fields(body)
    asset, start = asked.get("asset"), asked.get("start_time")
    if not isinstance(asset, str) or not isinstance(start, str) or len(start) > 40:
        raise Refusal(400, "fields", "asset and start_time must be strings")
    if asset not in assets:
        raise Refusal(400, "asset", "asset is not served")
    try:
        start_time = parse_time(start)
    except (RulebookError, OverflowError):
        raise Refusal(400, "start_time", "start_time is not an ISO time in whole seconds") from None
    if not EARLIEST * speed <= start_time - now <= LATEST:
        raise Refusal(400, "start_time", "start_time is not in the next minutes")
    increment, length, count = (asked.get(name) for name in _NUMBERS)
    if type(increment) is not int or type(length) is not int or type(count) is not int:
        raise Refusal(400, "fields", f"{', '.join(_NUMBERS)} must be integers")
    competition = rulebook.at(start_time).competition_of(asset, increment, length)
    if competition is None:
        raise Refusal(400, "shape", "no competition has this time_increment and time_length")
    if not 1 <= count <= competition.num_simulations:
        raise Refusal(400, "num_simulations", f"num_simulations must be 1 to {competition.num_simulations}")
    return Prompt(start_time, competition.name, asset, int(now), increment, length, count)


def _fields(body: bytes) -> dict[str, Any]:
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise Refusal(400, "json", "body is not JSON") from None
    asked = data.get("simulation_input") if isinstance(data, dict) else None
    if not isinstance(asked, dict):
        raise Refusal(400, "fields", "body has no simulation_input")
    return asked
