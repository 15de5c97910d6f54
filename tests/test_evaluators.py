"""All evaluators of the CRPS agree with the plain formula, and so with one another."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest

from ewmalab.scoring import sorting_network as network
from ewmalab.scoring.evaluators import EVALUATORS
from ewmalab.scoring.scale_free import Observations

Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]
Evaluate = Callable[[Singles, Floats], Floats]

CHANGES = 70  # more than stand side by side


def ensemble(n: int, seed: int) -> tuple[Singles, Floats]:
    """Log-returns (CHANGES + 1, n) whose differences float32 holds exactly, and what came, in basis points."""
    rng = np.random.default_rng(seed)
    moves = np.round(rng.standard_t(4, (CHANGES, n)) * 1e-3 * 2**20) / 2**20
    log_returns = np.concatenate([np.zeros((1, n)), np.cumsum(moves, axis=0)])
    assert np.abs(log_returns).max() < 8  # below 24 bits of 2**-20
    return log_returns.astype(np.float32), rng.standard_normal(CHANGES) * 10


def members_of(log_returns: Singles) -> Floats:
    return np.asarray(1e4 * np.expm1(np.diff(log_returns.astype(np.float64), axis=0)))


def by_the_formula(log_returns: Singles, observed: Floats, pairs: float | None = None) -> Floats:
    """mean|x - y| - sum|x - x'| / (2 n**2), pair by pair; `pairs` replaces the number of pairs n**2."""
    x = members_of(log_returns)
    n = x.shape[1]
    spread = np.array([np.abs(row[:, None] - row).sum() for row in x])
    return np.asarray(np.abs(x - observed[:, None]).mean(axis=1) - spread / 2 / (pairs or n * n))


def by_sorting(name: str, dtype: type) -> Evaluate:
    def evaluate(log_returns: Singles, observed: Floats) -> Floats:
        out = np.empty(CHANGES)
        EVALUATORS[name].kernel(np.sort(members_of(log_returns).astype(dtype), axis=1), observed, out)
        return out

    return evaluate


def by_the_network(log_returns: Singles, observed: Floats) -> Floats:
    out, index = np.empty(CHANGES), np.arange(CHANGES)
    buffer = np.empty(network.padded(log_returns.shape[1]) * network.WIDTH, np.float32)
    kernel = EVALUATORS["sorting_network"].kernel
    kernel(log_returns, index, index + 1, index, np.full(CHANGES, 1e4), observed, buffer, out)
    return out


def by_factors(log_returns: Singles, observed: Floats) -> Floats:
    """Half of twice the ensemble, beside other factors."""
    rows = np.sort(2 * np.diff(log_returns, axis=0), axis=1)
    factors, weight, found = np.array([3.0, 0.5, 0.1], np.float32), np.array([1e4]), []
    for i in range(CHANGES):
        out = np.zeros(len(factors))
        EVALUATORS["scaled"].kernel(rows[i : i + 1], factors, observed[i : i + 1] / 1e4, weight, out)
        found.append(out[1])
    return np.array(found)


def by_scaling(log_returns: Singles, observed: Floats) -> Floats:
    """A prompt per change, to which nothing else came; the ensemble is the reference itself, or a half of twice it."""
    index = np.arange(CHANGES)
    change = np.full((CHANGES, CHANGES), np.nan)
    np.fill_diagonal(change, observed / 1e4)
    observations = Observations(
        begin=index,
        end=index + 1,
        weight=np.full(CHANGES, 1e4),
        absolute=np.zeros(CHANGES, bool),
        change=change,
        log_change=np.log1p(change).astype(np.float32),
        price_ratio=np.ones(CHANGES),
    )
    return np.asarray(EVALUATORS["scale_free"].kernel(2 * log_returns, np.full(CHANGES, 0.5), observations))


EVALUATE: dict[str, Evaluate] = {
    "sorted_float64": by_sorting("sorted_float64", np.float64),
    "sorted_float32": by_sorting("sorted_float32", np.float32),
    "sorting_network": by_the_network,
    "scaled": by_factors,
    "scale_free": by_scaling,
}
SIZES = [1, 2, 7, 64, 127, 129, 300]


def test_no_evaluator_goes_unchecked() -> None:
    assert EVALUATE.keys() == EVALUATORS.keys()


@pytest.mark.parametrize("name", EVALUATORS)
@pytest.mark.parametrize("n", SIZES)
def test_evaluators_agree_with_the_formula_within_the_error_they_state(name: str, n: int) -> None:
    log_returns, observed = ensemble(n, seed=n)
    found, exact = EVALUATE[name](log_returns, observed), by_the_formula(log_returns, observed)
    error = EVALUATORS[name].error
    np.testing.assert_allclose(found, exact, rtol=10 * error, atol=10 * error)  # a change; errors of many cancel
    assert found.sum() == pytest.approx(exact.sum(), rel=error)


@pytest.mark.parametrize("name", EVALUATORS)
def test_a_pair_term_without_the_diagonal_would_be_noticed(name: str) -> None:
    log_returns, observed = ensemble(300, seed=1)
    fair = by_the_formula(log_returns, observed, pairs=300 * 299).sum()
    assert EVALUATE[name](log_returns, observed).sum() != pytest.approx(fair, rel=100 * EVALUATORS[name].error)
