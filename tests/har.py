"""A fit of `seasonal-har` by hand: BTC by the week, SPYX by the trading day, XAU as others of its class."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from ewmalab.forecast.model import Fit
from ewmalab.forecast.seasonal_har.clock import CLASSES, WEEK_BINS
from ewmalab.forecast.seasonal_har.parts import HALF_LIVES
from ewmalab.replay.artifacts import Artifact, write_artifact


def entry(clock: str) -> dict[str, Any]:
    """Return the fitted parameters of an asset."""
    size = WEEK_BINS if clock == "week" else len(CLASSES)
    level = 1.0 + 0.5 * np.sin(np.arange(size))
    minute = 1.0 + 0.1 * np.cos(np.arange(60))
    curve = {"level": [-0.5, -0.4], "slopes": [[0.4, 0.5], [0.2, 0.7]], "memories": [1800, 259_200]}
    shocks = {"scale": 1.05, "nu": 20.0, "level": 0.3, "wave": 0.5, "wave_half_life": 10_800}
    return {
        "season": {"clock": clock, "level": level.tolist(), "minute": minute.tolist()},
        "curves": {"300": {"knots": [7.5, 700.0], **curve}, "60": {"knots": [1.5, 40.0], **curve}},
        "shocks": {"300": shocks, "60": shocks},
    }


def numbers() -> dict[str, Any]:
    """Return the numbers of the whole fit."""
    return {
        "half_lives": list(HALF_LIVES),
        "assets": {"BTC": entry("week"), "SPYX": entry("day")},
        "pooled": {"metal": entry("week") | {"of": 2}, "equity": entry("day") | {"of": 5}},
    }


def artifact(end: int = 0) -> Artifact:
    """Return it with where it came from."""
    return Artifact("seasonal-har", Fit(end, numbers(), ""), "by hand", {})


def written() -> Path:
    """Write it into a folder of its own."""
    return write_artifact(artifact(), Path(tempfile.mkdtemp(prefix="ewmalab-har-")))
