"""Checks of a forecaster's paths."""

from __future__ import annotations

from typing import Any

import numpy as np

from ewmalab.compiled import njit
from ewmalab.errors import ForecasterError
from ewmalab.forecast.protocol import Forecaster, LogReturns, Prompt

LOG_RETURN_LIMIT = 30.0
"""Largest absolute log-return of a path: a factor of e^30 exceeds every format; no real price comes near it."""


def check_paths(forecaster: Forecaster[Any], paths: LogReturns, prompt: Prompt) -> LogReturns:
    """Return a forecaster's paths if they satisfy the protocol.

    Parameters
    ----------
    forecaster : Forecaster
        Named in the error.
    paths : (steps + 1, num_simulations) float32
        Returned by its `simulate`.
    prompt : Prompt

    Raises
    ------
    ForecasterError
        If type or shape are wrong, row 0 is not zero, or a value is not finite or beyond LOG_RETURN_LIMIT.
    """
    wanted = (prompt.steps + 1, prompt.num_simulations)
    if not (isinstance(paths, np.ndarray) and paths.dtype == np.float32 and paths.shape == wanted):
        found = f"{paths.dtype} {paths.shape}" if isinstance(paths, np.ndarray) else type(paths).__name__
        raise ForecasterError(
            f"{type(forecaster).__name__}.simulate returned {found} for {prompt.asset}; expected float32 {wanted}"
        )
    if paths[0].any() or not _all_within(paths, LOG_RETURN_LIMIT):
        raise ForecasterError(
            f"{type(forecaster).__name__}.simulate returned log-returns for {prompt.asset} that do not start at 0, or "
            "leave +-30"
        )
    return paths


@njit(nogil=True, cache=True)
def _all_within(paths: LogReturns, limit: float) -> bool:
    """Return whether every value lies within +-limit; NaN does not."""
    for t in range(paths.shape[0]):
        inside = True
        for j in range(paths.shape[1]):
            inside &= abs(paths[t, j]) <= limit
        if not inside:
            return False
    return True
