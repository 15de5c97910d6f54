"""The evaluators of the ensemble CRPS, and the case that each serves.

All compute ``mean_i |x_i - y| - mean_ij |x_i - x_j| / 2`` on sorted members; the tests compare each with the plain
formula. They differ in their input and in the work that it saves:

* one sort per row, in float64: what validators compute, to the last digits;
* one sort per row, in float32: half the memory;
* the sorting network takes log-returns and sorts 64 changes of one ensemble side by side, in a quarter of the time;
* the evaluator of scaled changes takes sorted log-returns and several factors on them: one sort serves all factors;
* the scale-free evaluator sorts the changes of one ensemble once and serves any number of prompts whose ensembles are
  multiples of it, with a binary search and a dot product per change.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ewmalab.scoring.crps_kernels import sorted_float32, sorted_float64
from ewmalab.scoring.scale_free import scale_free_scores
from ewmalab.scoring.scaled_kernels import scaled_changes
from ewmalab.scoring.sorting_network import crps_of_changes


@dataclass(frozen=True, slots=True)
class Evaluator:
    """One way to compute the CRPS.

    Attributes
    ----------
    kernel : callable
        Its docstring describes the arguments.
    serves : str
        The case that it serves.
    error : float
        Largest relative error of a score against the formula in float64 on the same members.
    """

    kernel: Callable[..., Any]
    serves: str
    error: float


EVALUATORS: Mapping[str, Evaluator] = {
    "sorted_float64": Evaluator(
        sorted_float64, "`crps_ensemble` of float64 members; `score_paths`; deviations of the volatility term", 1e-12
    ),
    "sorted_float32": Evaluator(sorted_float32, "`crps_ensemble` of float32 members", 1e-6),
    "sorting_network": Evaluator(crps_of_changes, "`score_log_returns`: one prompt's paths, in replay and live", 1e-6),
    "scaled": Evaluator(scaled_changes, "sweeps: one prompt's paths, times each of several factors", 1e-6),
    "scale_free": Evaluator(
        scale_free_scores, "sweeps: many prompts from one ensemble, up to the volatility of each", 1e-8
    ),
}
