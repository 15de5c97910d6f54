"""Streaming resampling of minute bars: a longer bar is returned once it is complete."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from ewmalab.compiled import njit
from ewmalab.market.bars import Bars

LABEL, OPEN, HIGH, LOW, CLOSE = range(5)


def no_forming() -> npt.NDArray[np.float64]:
    """Return the initial state of a resampler: (5,) NaN."""
    return np.full(5, np.nan)


def resample(bars: Bars, resolution: int, forming: npt.NDArray[np.float64]) -> tuple[Bars, npt.NDArray[np.float64]]:
    """Return the longer bars completed by `bars`, and the forming bar.

    A longer bar is complete after its last minute or after any minute of a later bar, so it is never returned before
    ``label + resolution``. Missing minutes inside it are ignored. It has a real range only if each of its minutes has.

    Parameters
    ----------
    bars : Bars
        Minute bars that follow those already processed.
    resolution : int
        Seconds of a longer bar, a multiple of ``bars.resolution``.
    forming : (5,) float64
        Label, open, high, low, close so far; initially `no_forming`. Not modified.

    Returns
    -------
    completed : Bars
    forming : (5,) float64
    """
    out = np.empty((len(bars) + 1, 5))
    state = forming.copy()
    count = _resample(
        bars.timestamp, bars.open, bars.high, bars.low, bars.close, bars.resolution, resolution, state, out
    )
    done = out[:count]
    columns = {
        "timestamp": done[:, LABEL].astype(np.int64),
        "open": np.ascontiguousarray(done[:, OPEN]),
        "high": np.ascontiguousarray(done[:, HIGH]),
        "low": np.ascontiguousarray(done[:, LOW]),
        "close": np.ascontiguousarray(done[:, CLOSE]),
    }
    return Bars.trusted(columns, resolution), state


@njit(nogil=True, cache=True)
def _resample(timestamp, opens, highs, lows, closes, step, resolution, forming, out):
    count = 0
    for i in range(timestamp.shape[0]):
        label = timestamp[i] - timestamp[i] % resolution
        if forming[LABEL] < label:  # False for NaN, when no bar is forming
            out[count] = forming
            count += 1
            forming[LABEL] = math.nan
        if math.isnan(forming[LABEL]):
            forming[LABEL] = label
            forming[OPEN] = opens[i]
            forming[HIGH] = highs[i]
            forming[LOW] = lows[i]
        elif math.isnan(highs[i]) or math.isnan(forming[HIGH]):
            forming[OPEN] = math.nan
            forming[HIGH] = math.nan
            forming[LOW] = math.nan
        else:
            forming[HIGH] = max(forming[HIGH], highs[i])
            forming[LOW] = min(forming[LOW], lows[i])
        forming[CLOSE] = closes[i]
        if timestamp[i] + step == label + resolution:
            out[count] = forming
            count += 1
            forming[LABEL] = math.nan
    return count
