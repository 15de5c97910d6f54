"""The float32 polynomials are the fits they claim to be, and accurate over the whole range they are used on."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from numba import njit
from numpy.polynomial import Polynomial

from ewmalab import elementary
from ewmalab.elementary import FAST, cos_2pi_uniform, exp2m1, expm1, minus_log2_uniform

Floats = npt.NDArray[np.float64]
EPSILON = 2.0**-24  # half a unit in the last place of a float32 at 1
TOP = 2**32 - 1
EDGES = [0, 1, 2, 3, 255, 2**23 - 1, 2**23, 2**24, 2**24 + 1, 2**30, 2**31 - 1, 2**31, 2**31 + 1, 2**32 - 129]
EDGES += [3 * 2**30, TOP - 256, TOP - 128, TOP - 127, TOP - 1, TOP]


@njit(fastmath=FAST)
def _all(u, y, logs, cosines, powers, exps):  # type: ignore[no-untyped-def]
    for i in range(len(u)):
        logs[i] = minus_log2_uniform(u[i])
        cosines[i] = cos_2pi_uniform(u[i])
    for i in range(len(y)):
        powers[i] = exp2m1(y[i])
        exps[i] = expm1(y[i])


def evaluate(u: npt.ArrayLike = (), y: npt.ArrayLike = ()) -> dict[str, Floats]:
    """Every function on uniforms `u` or arguments `y`, computed as the kernels do and widened to float64."""
    draws, args = np.array(u, np.uint32), np.array(y, np.float32)
    out = [np.empty(len(a), np.float32) for a in (draws, draws, args, args)]
    _all(draws, args, *out)
    return dict(zip(("log", "cos", "exp2m1", "expm1"), (x.astype(np.float64) for x in out), strict=True))


def uniforms() -> npt.NDArray[np.uint32]:
    rng = np.random.default_rng(1)
    small = (2.0 ** rng.uniform(0, 32, 200_000)).astype(np.uint64)  # every magnitude alike
    return np.concatenate([rng.integers(0, 2**32, 1_000_000), small, EDGES]).clip(0, TOP).astype(np.uint32)


def chebyshev_fit(f: Callable[[Floats], Floats], low: float, high: float, terms: int) -> Polynomial:
    """Least squares on Chebyshev nodes of [low, high]."""
    nodes = (low + high) / 2 + (high - low) / 2 * np.cos(np.pi * (np.arange(2000) + 0.5) / 2000)
    return Polynomial.fit(nodes, f(nodes), terms - 1).convert()


def parabolic_sine(z: Floats) -> Floats:
    """sin(2 pi x) / x as a function of x**2."""
    x = np.sqrt(z)
    return np.sin(2 * np.pi * x) / x


FITS = [
    pytest.param(elementary._LOG, lambda m: np.log1p(m) / m / math.log(2), 0.0, 1.0, 3e-7, id="log2"),
    pytest.param(elementary._EXP, lambda f: np.expm1(f * math.log(2)) / f, -0.5, 0.5, 2e-8, id="exp2"),
    pytest.param(elementary._SIN, parabolic_sine, 0.0, 1 / 16, 3e-7, id="sin"),
]


@pytest.mark.parametrize(("coefficients", "f", "low", "high", "bound"), FITS)
def test_coefficients_are_as_good_as_a_fresh_fit(coefficients, f, low, high, bound):
    x = np.linspace(low, high, 20_001)[1:]
    x = x[x != 0]
    stored = np.abs(Polynomial([float(c) for c in coefficients])(x) - f(x)).max()
    fresh = chebyshev_fit(f, low, high, len(coefficients))
    refit = np.abs(Polynomial(fresh.coef.astype(np.float32).astype(float))(x) - f(x)).max()
    # rounding coefficients to float32 costs at most their own last places
    rounding = sum(abs(float(c)) * EPSILON * max(abs(low), abs(high)) ** i for i, c in enumerate(coefficients))
    assert stored <= refit + rounding
    assert stored < bound


@pytest.mark.parametrize(("coefficients", "f", "low", "high", "bound"), FITS)
def test_every_coefficient_matters_to_a_thousandth(coefficients, f, low, high, bound):
    x = np.linspace(low, high, 2_001)[1:]
    x = x[x != 0]
    for i in range(len(coefficients)):
        changed = [float(c) for c in coefficients]
        changed[i] *= 1.001 if i + 1 < len(changed) else 1.01
        assert np.abs(Polynomial(changed)(x) - f(x)).max() > bound


@pytest.mark.ci
def test_log_is_accurate_for_every_magnitude_of_the_draw():
    u = uniforms()
    truth = 32 - np.log2(u.astype(np.float64) + 0.5)
    error = np.abs(evaluate(u)["log"] - truth)
    assert (error <= 25 * EPSILON * np.maximum(truth, 1)).all()


def test_log_never_turns_negative_where_the_draw_rounds_to_one():
    top = np.concatenate([np.arange(2**31, 2**32, 256), np.arange(2**32 - 2**16, 2**32)])
    assert evaluate(top)["log"].min() >= 0


def test_log_at_the_edges():
    found = evaluate([0, TOP])["log"]
    assert found[0] == pytest.approx(33, abs=1e-6)
    assert found[1] == 0  # (2**32 - 1/2) / 2**32 rounds to 1


def test_log_falls_as_the_draw_rises_but_for_rounding():
    u = np.sort(uniforms())
    assert np.diff(evaluate(u)["log"]).max() < 4e-6


def test_cosine_is_accurate_for_every_draw():
    u = uniforms()
    truth = np.cos(2 * np.pi * (u / 2**32))
    assert np.abs(evaluate(u)["cos"] - truth).max() < 5e-7


def test_cosine_at_the_edges():
    found = evaluate([0, 2**30, 2**31, 3 * 2**30, TOP])["cos"]
    np.testing.assert_allclose(found, [1, 0, -1, 0, 1], atol=3e-7)
    assert np.abs(evaluate(uniforms())["cos"]).max() < 1 + 3e-7


def test_exp2m1_is_relatively_accurate_also_near_zero():
    rng = np.random.default_rng(2)
    y = np.concatenate(
        [rng.uniform(-125.9, 125.9, 400_000), rng.uniform(-1, 1, 400_000), 2.0 ** rng.uniform(-40, 0, 100_000)]
    )
    y = np.concatenate([y, -y, [0.5, -0.5, 1, -1, 125.99, -125.99]]).astype(np.float32)
    truth = np.expm1(y.astype(np.float64) * math.log(2))
    assert np.abs(evaluate(y=y)["exp2m1"] / truth - 1).max() < 4e-7


def test_exp2m1_is_exact_at_whole_powers():
    whole = np.arange(-20, 21)
    np.testing.assert_array_equal(evaluate(y=whole)["exp2m1"], 2.0**whole - 1)


def test_expm1_is_relatively_accurate():
    rng = np.random.default_rng(3)
    small = 2.0 ** rng.uniform(-30, 0, 100_000)
    x = np.concatenate([rng.uniform(-86.9, 86.9, 300_000), small, -small]).astype(np.float32)
    truth = np.expm1(x.astype(np.float64))
    # the argument of 2**y is rounded: that costs half a unit in its last place, times ln 2
    bound = 6e-7 + 2 * EPSILON * np.abs(x)
    found = evaluate(y=x)["expm1"]
    assert (np.abs(found / truth - 1) < bound).all()


def test_exponentials_of_zero_are_zero():
    found = evaluate(y=[0.0, -0.0])
    assert not found["exp2m1"].any()
    assert not found["expm1"].any()
