"""Simulated paths have the distribution, the independence and the bounds that they claim."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from itertools import islice

import numpy as np
import numpy.typing as npt
import pytest
import twins
from examples import some
from numba import njit
from scipy import stats
from twins import ewma_path, lane_state, random_walk_path, xoshiro128pp

from ewmalab.forecast import draws as draws_module
from ewmalab.forecast.draws import BLOCK, put_block, seed_lanes, take_block
from ewmalab.forecast.ewma.kernels import ewma_paths
from ewmalab.forecast.paths import LOG_RETURN_LIMIT
from ewmalab.forecast.random_walk import random_walk_paths
from ewmalab.forecast.streams import RandomStream

Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]
Lanes = npt.NDArray[np.uint32]

NUS = [2.5, 3.0, 5.0, 10.0, 30.0, 200.0]
GOLDEN = 0x9E3779B97F4A7C15
Z = 5.0  # standard errors: the streams are fixed, so this leaves room and no flakiness


def run_ewma(
    lanes: Lanes, *, nu: float = 6.0, decay: float = 1.0, variance: float = 1e-6, steps: int = 288, scale: float = 1.0
) -> Singles:
    out = np.full((steps + 1, lanes.shape[1]), np.nan, np.float32)
    ewma_paths(lanes, nu, decay, variance, np.full(steps, scale, np.float32), out)
    return out


def run_walk(lanes: Lanes, sigma: float, steps: int = 288) -> Singles:
    out = np.full((steps + 1, lanes.shape[1]), np.nan, np.float32)
    random_walk_paths(lanes, sigma, out)
    return out


def lanes_of(key: int | str, count: int) -> Lanes:
    return RandomStream.of(0, str(key), "test", 0).lanes(count)


@lru_cache(maxsize=8)
def shocks(nu: float, lanes: int = 4_000, steps: int = 500) -> Floats:
    """Unit-variance shocks with the variance constant: (steps, lanes)."""
    sd = 1e-3  # the paths stay far from the limit, and float32 resolves every step
    paths = run_ewma(lanes_of(f"shocks {nu}", lanes), nu=nu, variance=sd**2, steps=steps).astype(np.float64)
    return np.diff(paths, axis=0) / sd


def unit_t(nu: float) -> object:
    return stats.t(nu, scale=math.sqrt((nu - 2) / nu))


# ---------------------------------------------------------------------------------------- against plain twins


@pytest.mark.parametrize("lane", [0, 1, 7, 999])
@pytest.mark.parametrize("key", [(0, 0), (2**64 - 1, 2**64 - 1), (0x0123456789ABCDEF, 0xFEDCBA9876543210)])
def test_lane_states_are_splitmix_hashes_of_key_and_lane(key, lane):
    found = seed_lanes(np.uint64(key[0]), np.uint64(key[1]), 1000)
    assert found[:, lane].tolist() == lane_state(key, lane)


def test_xoshiro_twin_gives_the_published_draws():
    # known answers for the state 1, 2, 3, 4: the crate rand_xoshiro's first ones, and PHP's of draw 102 401
    draws = xoshiro128pp([1, 2, 3, 4])
    assert [next(draws) for _ in range(5)] == [641, 1573767, 3222811527, 3517856514, 836907274]
    assert next(islice(draws, 102_400 - 5, None)) == int.from_bytes(bytes.fromhex("fa3c872c"), "little")


@njit
def _fill(lanes, nu, variance, uniforms, normals, shocks, squares):  # type: ignore[no-untyped-def]
    """Let each lane draw a uniform, a normal and a Student-t, row after row."""
    for first in range(0, lanes.shape[1], BLOCK):
        block = take_block(lanes, first)
        for t in range(uniforms.shape[0]):
            for j in range(block[0].shape[0]):
                u, lane = draws_module.uniform(draws_module.load_lane(block, j))
                z, lane = draws_module.normal(lane)
                x, square, lane = draws_module.student_t(lane, np.float32(2.0 / nu), np.float32((nu - 2.0) * variance))
                draws_module.store_lane(block, j, lane)
                uniforms[t, first + j], normals[t, first + j] = u, z
                shocks[t, first + j], squares[t, first + j] = x, square
        put_block(lanes, first, block)


@pytest.mark.ci
@pytest.mark.parametrize(("nu", "variance"), [(2.01, 1.0), (2.5, 1e-6), (6.0, 4.0), (200.0, 1.0)])
def test_draws_equal_their_plain_twins(nu, variance):
    key, rows, count = (11, 7), 400, BLOCK + 3  # more than one block
    lanes = seed_lanes(np.uint64(key[0]), np.uint64(key[1]), count)
    uniforms = np.empty((rows, count), np.uint32)
    normals, shocks, squares = (np.empty((rows, count), np.float32) for _ in range(3))
    _fill(lanes, nu, variance, uniforms, normals, shocks, squares)
    for lane in (0, 1, BLOCK - 1, BLOCK, BLOCK + 2):
        draws = xoshiro128pp(lane_state(key, lane))
        expected = [
            (twins.uniform(draws), twins.normal(draws), twins.student_t(draws, nu, variance)) for _ in range(rows)
        ]
        u, z, x = np.array(expected).T
        np.testing.assert_array_equal((uniforms[:, lane] + 0.5) / 2**32, u)
        np.testing.assert_allclose(normals[:, lane], z, rtol=2e-6, atol=2e-4)
        # the square root magnifies the draw's float32 rounding where the radius is close to 0
        np.testing.assert_allclose(shocks[:, lane], x, rtol=2e-5, atol=3e-4 * math.sqrt(variance))
        np.testing.assert_allclose(squares[:, lane], shocks[:, lane].astype(np.float64) ** 2, rtol=1e-6)


@pytest.mark.parametrize("nu", [2.01, 2.5, 6.0, 200.0])
@pytest.mark.parametrize("decay", [1.0, 0.99, 0.8])
def test_ewma_paths_equal_a_plain_float64_twin(nu, decay):
    key, steps = (17, 4), 120
    scale = np.where(np.arange(steps) % 7 < 3, 0.6, 1.0).astype(np.float32)
    out = np.empty((steps + 1, 12), np.float32)
    ewma_paths(seed_lanes(np.uint64(17), np.uint64(4), 12), nu, decay, 2.5e-6, scale, out)
    for lane in range(12):
        twin = ewma_path(xoshiro128pp(lane_state(key, lane)), nu, decay, 2.5e-6, scale.tolist())
        travelled = np.abs(np.diff(twin)).max()
        # sqrt(q) magnifies the draw's float32 rounding where q is close to 0: hence part of the bound is absolute
        np.testing.assert_allclose(out[:, lane], twin, rtol=2e-5, atol=2e-4 * travelled)


def test_an_exploding_variance_is_capped_as_in_the_twin():
    # a tiny scale keeps the paths themselves off their limit
    scale = np.full(60, 1e-4, np.float32)
    out = np.empty((61, 40), np.float32)
    ewma_paths(seed_lanes(np.uint64(3), np.uint64(3), 40), 3.0, 0.5, 9e3, scale, out)
    for lane in range(40):
        twin = ewma_path(xoshiro128pp(lane_state((3, 3), lane)), 3.0, 0.5, 9e3, scale.tolist())
        np.testing.assert_allclose(out[:, lane], twin, rtol=1e-4, atol=5e-4 * np.abs(np.diff(twin)).max())


def test_random_walk_paths_equal_a_plain_float64_twin():
    key = (5, 6)
    for sigma in (1e-4, 0.005, 0.03):
        paths = run_walk(seed_lanes(np.uint64(5), np.uint64(6), 12), sigma, 120)
        for lane in range(12):
            twin = random_walk_path(xoshiro128pp(lane_state(key, lane)), sigma, 120)
            np.testing.assert_allclose(paths[:, lane], twin, rtol=2e-5, atol=2e-4 * sigma)


def test_random_walk_series_holds_up_to_the_largest_permitted_volatility():
    # settings allow up to 0.1 an hour; at 5 minutes that is 0.029 a step
    step = 0.1 * math.sqrt(300 / 3600)
    paths = run_walk(lanes_of("wide", 2000), step, 12)
    changes = np.expm1(np.diff(paths.astype(np.float64), axis=0))
    assert changes.std() == pytest.approx(step, rel=Z / math.sqrt(2 * changes.size))


@pytest.mark.parametrize("run", [lambda lanes: run_ewma(lanes, decay=0.97), lambda lanes: run_walk(lanes, 1e-3)])
def test_generators_advance_by_two_draws_a_step(run: Callable[[Lanes], Singles]):
    lanes = seed_lanes(np.uint64(1), np.uint64(2), 3)
    run(lanes)
    states = []
    for lane in range(3):
        draws = xoshiro128pp(lane_state((1, 2), lane))
        for _ in range(2 * 288):
            next(draws)
        states.append(next(draws))
    after = (lanes[0].astype(np.uint64) + lanes[3]) % 2**32
    rotated = (after << np.uint64(7) | after >> np.uint64(25)) % 2**32
    assert ((rotated + lanes[0]) % 2**32).tolist() == states


# ----------------------------------------------------------------------------------------------- distribution


def anderson_darling(u: Floats) -> float:
    """A^2 of values that should be uniform; above 6 has a probability of about 1e-3."""
    u = np.sort(u)
    n = len(u)
    odd = 2 * np.arange(1, n + 1) - 1
    return float(-n - np.mean(odd * (np.log(u) + np.log1p(-u[::-1]))))


@pytest.mark.parametrize("nu", some(NUS, NUS[0], NUS[-1]))
def test_shocks_are_student_t_of_unit_variance(nu):
    u = unit_t(nu).cdf(shocks(nu, 2_500, 500).ravel())
    assert u.size >= 1_000_000
    assert stats.kstest(u, "uniform").pvalue > 1e-3
    assert anderson_darling(u) < 6


@pytest.mark.ci
@pytest.mark.parametrize("wrong", [stats.t(5), unit_t(5.2), stats.t(5, loc=0.004, scale=math.sqrt(3 / 5))])
def test_the_distribution_test_rejects_a_missing_scale_a_wrong_nu_and_a_drift(wrong):
    assert anderson_darling(wrong.cdf(shocks(5.0).ravel())) > 6


def check_tails(nu: float, chunks: int, levels: list[float]) -> None:
    million = 1_000_000
    quantiles = unit_t(nu).isf(levels)
    above, below = np.zeros(len(levels), int), np.zeros(len(levels), int)
    lanes = lanes_of(f"tails {nu}", million)
    for _ in range(chunks):  # the generators go on where they stopped
        first = run_ewma(lanes, nu=nu, variance=1e-6, steps=1)[1] / 1e-3
        extreme = first[np.abs(first) >= quantiles.min()]
        above += [(extreme > q).sum() for q in quantiles]
        below += [(extreme < -q).sum() for q in quantiles]
    for level, up, down in zip(levels, above, below, strict=True):
        for hits in (up, down):
            p = stats.binomtest(int(hits), chunks * million, level).pvalue
            assert p > 1e-5, f"nu {nu}: {hits} beyond the {level:g} quantile in {chunks} million"


@pytest.mark.parametrize("nu", NUS)
def test_tail_probabilities_to_one_in_a_hundred_thousand(nu):
    check_tails(nu, 10, [1e-2, 1e-3, 1e-4, 1e-5])


@pytest.mark.slow
@pytest.mark.parametrize("nu", NUS)
def test_tail_probabilities_to_one_in_a_hundred_million(nu):
    check_tails(nu, 200, [1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8])


@pytest.mark.parametrize("nu", [nu for nu in NUS if nu > 4])
def test_shocks_have_mean_zero_and_variance_one(nu):
    e = shocks(nu)
    kurtosis = 3 + (6 / (nu - 4))
    assert abs(e.mean()) < Z / math.sqrt(e.size)
    assert abs(e.var() - 1) < Z * math.sqrt((kurtosis - 1) / e.size)


def test_random_walk_changes_are_gaussian():
    sigma = 0.003
    paths = run_walk(lanes_of("gauss", 4000), sigma, 300).astype(np.float64)
    z = np.expm1(np.diff(paths, axis=0)).ravel() / sigma
    u = stats.norm.cdf(z)
    assert stats.kstest(u, "uniform").pvalue > 1e-3
    assert anderson_darling(u) < 6
    hits = (np.abs(z) > stats.norm.isf(5e-6)).sum()
    assert stats.binomtest(int(hits), z.size, 1e-5).pvalue > 1e-5


@pytest.mark.parametrize("nu", [2.01, 6.0, 1000.0])
def test_no_draw_whatever_gives_an_invalid_first_step(nu):
    # every float32 that a draw near the top rounds to, where -log2(u) touches 0, and every small draw
    top = np.concatenate([np.arange(2**31, 2**32, 256), 2**32 - 1 - np.arange(2**12), np.arange(2**16)])
    u = top.astype(np.uint32)
    lanes = np.zeros((4, len(u)), np.uint32)
    lanes[1], lanes[2] = 12_345, 99
    lanes[3] = u >> np.uint32(7) | u << np.uint32(25)  # with s0 = 0 the first draw is rotl(s3, 7)
    assert np.isfinite(run_ewma(lanes.copy(), nu=nu, steps=1)).all()
    assert np.isfinite(run_walk(lanes, 0.01, 1)).all()


# ----------------------------------------------------------------------------------- independence within a run


def correlation_z(a: Floats, b: Floats) -> float:
    """The correlation of two samples in standard errors of independent ones."""
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1] * math.sqrt(a.size))


TRANSFORMS = {"value": lambda e: e, "sign": np.sign, "square": lambda e: np.minimum(e**2, 25.0)}


@pytest.mark.parametrize("what", TRANSFORMS)
def test_steps_of_a_path_are_uncorrelated_without_feedback(what):
    e = TRANSFORMS[what](shocks(5.0))
    for lag in (1, 2, 3, 5, 17, 60):
        assert abs(correlation_z(e[lag:], e[:-lag])) < Z, lag


def test_squares_of_neighbouring_steps_are_correlated_with_feedback():
    # the control of the test above: it would notice a variance that moves
    paths = run_ewma(lanes_of("feedback", 4000), nu=5, decay=0.97, steps=300).astype(np.float64)
    e = TRANSFORMS["square"](np.diff(paths, axis=0) / 1e-3)
    assert correlation_z(e[1:], e[:-1]) > 10 * Z


@pytest.mark.parametrize("what", TRANSFORMS)
def test_lanes_are_uncorrelated(what):
    e = TRANSFORMS[what](shocks(5.0))
    for lag in (1, 2, 4, 16, 127, 128, 129, 1000):
        assert abs(correlation_z(e[:, lag:], e[:, :-lag])) < Z, lag


def test_lanes_are_uncorrelated_one_step_apart():
    e = shocks(5.0)
    assert abs(correlation_z(e[1:, 1:], e[:-1, :-1])) < Z
    assert abs(correlation_z(e[1:, :-1], e[:-1, 1:])) < Z


def test_the_two_uniforms_of_a_step_are_independent():
    # radius and angle: sign and magnitude of a shock share nothing, neither with the step before
    e = shocks(10.0)
    assert abs(correlation_z(np.sign(e), np.abs(e))) < Z
    assert abs(correlation_z(np.sign(e[1:]), np.abs(e[:-1]))) < Z


# --------------------------------------------------------------------------------- independence across prompts


def dependence(a: Singles, b: Singles) -> tuple[float, float]:
    """How much two ensembles (steps + 1, n) have in common.

    Returns the largest correlation of any path of one with any path of the other (about 5 / sqrt(steps) for
    independent ones, 1 for a shared path), and that of equal lanes pooled, in standard errors.
    """
    x, y = (np.sign(np.diff(p.astype(np.float64), axis=0)) for p in (a, b))
    largest = float(np.abs(x.T @ y).max() / len(x))
    return largest, correlation_z(x, y)


def independent(a: Singles, b: Singles) -> bool:
    largest, pooled = dependence(a, b)
    return largest < 0.5 and abs(pooled) < Z


def ensemble(stream: RandomStream, lanes: int = 500) -> Singles:
    return run_ewma(stream.lanes(lanes), steps=288)


START = 1_768_435_200
PROMPT = {"seed": 1, "asset": "BTC", "competition": "24h", "start_time": START}
NEIGHBOURS = [
    *({"start_time": START + d} for d in (1, -1, 60, 300, 3600, 86_400)),
    *({"asset": a} for a in ("ETH", "BTC ", "btc", "")),
    *({"competition": c} for c in ("1h", "crypto-24h", "24")),
    *({"seed": s} for s in (0, 2, -1, 1 + 2**32, 1 + GOLDEN % 2**63)),
]


@pytest.mark.parametrize("change", NEIGHBOURS, ids=str)
def test_prompts_that_differ_in_one_thing_share_nothing(change):
    assert independent(ensemble(RandomStream.of(**PROMPT)), ensemble(RandomStream.of(**PROMPT | change)))


@pytest.mark.ci
def test_a_day_of_prompts_shares_no_first_step():
    streams = [RandomStream.of(1, asset, "24h", START + 300 * i) for i in range(288) for asset in ("BTC", "ETH")]
    states = np.concatenate([s.lanes(1000).T for s in streams])
    assert len(np.unique(states, axis=0)) == len(states)


@pytest.mark.parametrize("step", [1, 2, 300, 2**32])
def test_even_affine_keys_give_independent_lanes(step):
    # hashing of the keys and mixing of the lanes each suffice alone
    assert independent(ensemble(RandomStream((7, 0))), ensemble(RandomStream((7 + step, 0))))


def test_the_detector_catches_keys_affine_in_the_lane_constant():
    # what made neighbouring prompts share 999 of 1000 paths: lane i + 1 of one is lane i of the next
    a, b = (ensemble(RandomStream(((7 + GOLDEN * i) % 2**64, 0))) for i in range(2))
    assert (a[:, 1:] == b[:, :-1]).all()
    assert dependence(a, b)[0] == 1
    assert not independent(a, b)


def test_the_detector_catches_lanes_that_are_counted_and_not_mixed():
    def lanes(key: int) -> Lanes:
        i = np.arange(500, dtype=np.uint64)
        z = np.uint64(key) + np.uint64(GOLDEN) * (i + np.uint64(1))
        return np.stack([z, z >> np.uint64(32), ~z, z ^ np.uint64(GOLDEN)]).astype(np.uint32)

    keys = [3, (3 + GOLDEN) % 2**64]
    assert not independent(*(run_ewma(lanes(k)) for k in keys))


def test_the_detector_catches_a_weak_common_factor():
    a, b, common = (ensemble(RandomStream((i, i))).astype(np.float64) for i in range(3))
    assert independent(a, b)
    assert not independent(a + 0.2 * common, b + 0.2 * common)


# ------------------------------------------------------------------------------------- structure of the recursion


@pytest.mark.parametrize("few", [1, 3, 10, 127, 128, 129, 130])
def test_a_path_does_not_depend_on_how_many_others_there_are(few):
    many = 1000
    wide = run_ewma(lanes_of("prefix", many), decay=0.98)
    np.testing.assert_array_equal(run_ewma(lanes_of("prefix", few), decay=0.98), wide[:, :few])
    np.testing.assert_array_equal(
        run_walk(lanes_of("prefix", few), 0.01), run_walk(lanes_of("prefix", many), 0.01)[:, :few]
    )


def test_the_first_steps_do_not_depend_on_the_horizon():
    np.testing.assert_array_equal(
        run_ewma(lanes_of("h", 50), decay=0.98, steps=12), run_ewma(lanes_of("h", 50), decay=0.98)[:13]
    )


def test_row_0_is_zero_and_no_cell_is_left_unwritten():
    for n in (1, 128, 200):
        for paths in (run_ewma(lanes_of("row", n)), run_walk(lanes_of("row", n), 0.01)):
            assert not paths[0].any()
            assert np.isfinite(paths).all()


@pytest.mark.parametrize("decay", [1.0, 0.9])
def test_paths_scale_with_the_square_root_of_the_variance(decay):
    one = run_ewma(lanes_of("scale", 300), decay=decay, variance=2.0**-20)
    four = run_ewma(lanes_of("scale", 300), decay=decay, variance=2.0**-18)
    np.testing.assert_array_equal(four, 2 * one)


def test_the_scale_moves_the_path_but_not_the_variance():
    full = run_ewma(lanes_of("factor", 300), decay=0.9)
    half = run_ewma(lanes_of("factor", 300), decay=0.9, scale=0.5)
    np.testing.assert_array_equal(half, full / 2)


@pytest.mark.parametrize(("decay", "constant"), [(1.0, True), (0.95, False)])
def test_decay_one_keeps_the_variance_constant(decay, constant):
    lanes = lanes_of("constant", 400)
    full = run_ewma(lanes.copy(), decay=decay, steps=51)
    run_ewma(lanes, decay=decay, steps=50)  # leaves the generators where step 51 begins
    fresh = run_ewma(lanes, decay=decay, steps=1)[1]  # at the start variance
    assert np.allclose(full[51] - full[50], fresh, rtol=1e-3, atol=1e-8) == constant


def test_feedback_thickens_the_tails_of_a_days_return():
    def kurtosis(decay: float) -> float:
        end = run_ewma(lanes_of("kurtosis", 20_000), nu=10, decay=decay, steps=100)[-1]
        return float(stats.kurtosis(end.astype(np.float64), fisher=False))

    assert kurtosis(1.0) == pytest.approx(3.01, abs=Z * math.sqrt(24 / 20_000))
    assert kurtosis(0.95) > 4


@pytest.mark.parametrize("nu", [2.000001, 2.01, 6.0, 1000.0])
@pytest.mark.parametrize("variance", [1e-10, 1.0, 1e4, 1e30])
@pytest.mark.parametrize("decay", [1.0, 0.99, 0.5, 0.0])
def test_paths_stay_finite_and_within_the_limit(nu, variance, decay):
    paths = run_ewma(lanes_of("limit", 1000), nu=nu, variance=variance, decay=decay, steps=100)
    assert np.isfinite(paths).all()
    assert np.abs(paths).max() <= LOG_RETURN_LIMIT


def test_a_path_at_the_limit_can_come_back():
    paths = run_ewma(lanes_of("back", 200), nu=3, variance=10.0, steps=500)
    at_limit = np.abs(paths).max(axis=0) == LOG_RETURN_LIMIT
    assert at_limit.any()
    assert (np.abs(paths[-1, at_limit]) < LOG_RETURN_LIMIT).any()
