"""What paths must be, whoever simulates them."""

from __future__ import annotations

from typing import Any

import numpy as np

from ewmalab.errors import ForecasterError
from ewmalab.forecast.kernels import LOG_RETURN_LIMIT, all_within
from ewmalab.forecast.protocol import Forecaster, LogReturns, Prompt


def check_paths(forecaster: Forecaster[Any], paths: LogReturns, prompt: Prompt) -> LogReturns:
    """Return paths that keep the protocol.

    Raises
    ------
    ForecasterError
        If shape, type or values are not what `Forecaster.simulate` promises.
    """
    wanted = (prompt.steps + 1, prompt.num_simulations)
    if not (isinstance(paths, np.ndarray) and paths.dtype == np.float32 and paths.shape == wanted):
        found = f"{getattr(paths, 'dtype', type(paths).__name__)} {getattr(paths, 'shape', '')}"
        raise ForecasterError(
            f"{type(forecaster).__name__}.simulate returned {found} for {prompt.asset}; expected float32 {wanted}"
        )
    if paths[0].any() or not all_within(paths, np.float32(LOG_RETURN_LIMIT)):
        raise ForecasterError(
            f"{type(forecaster).__name__}.simulate returned log-returns for {prompt.asset} that do not start at 0, or "
            "leave +-30"
        )
    return paths
