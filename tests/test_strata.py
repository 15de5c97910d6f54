"""Stratified draws: distribution, independence, and what they save; each detector with a planted defect."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from itertools import permutations

import numpy as np
import numpy.typing as npt
import pytest
import twins
from numba import njit
from scipy import stats
from twins import lane_state, xoshiro128pp

from ewmalab.forecast.draws import BLOCK, order_space, stratified, take_block
from ewmalab.forecast.ewma.kernels import ewma_paths, stratified_ewma_paths
from ewmalab.forecast.paths import LOG_RETURN_LIMIT
from ewmalab.forecast.strata import CELLS, Strata, normal_strata, student_t_strata
from ewmalab.forecast.streams import RandomStream

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Singles = npt.NDArray[np.float32]

COUNTS = [1, 2, 3, 7, 127, 128, 129, 1000]
Z = 5.0  # standard errors: the streams are fixed, so this leaves room and no flakiness


@njit
def _fill(lanes, strata, out):  # type: ignore[no-untyped-def]
    block = take_block(lanes, 0)
    order = order_space(out.shape[1])
    for t in range(out.shape[0]):
        stratified(block, strata, order, out[t])


def drawn(strata: Strata, steps: int, key: object = 0) -> Singles:
    """Draws of one stream: (steps, M)."""
    out = np.empty((steps, strata.shape[1]), np.float32)
    _fill(RandomStream.of(0, str(key), "test", 0).lanes(BLOCK), strata, out)
    return out


def numbered(count: int, offsets: int = 1) -> Strata:
    """Cells in place of quantiles, so that draws tell which they are."""
    return np.arange(count * offsets, dtype=np.float32).reshape(count, offsets).T.copy()


@lru_cache(maxsize=4)
def ranks(count: int, steps: int, key: object = 0) -> Ints:
    return drawn(numbered(count), steps, key).astype(np.int64)


def unit_t(nu: float) -> object:
    return stats.t(nu, scale=math.sqrt((nu - 2) / nu))


def stratified_paths(stream: RandomStream, count: int, steps: int, nu: float = 6.0, decay: float = 1.0) -> Singles:
    out = np.full((steps + 1, count), np.nan, np.float32)
    scale = np.ones(steps, np.float32)
    stratified_ewma_paths(stream.lanes(BLOCK), student_t_strata(nu, count), decay, 1e-6, scale, out)
    return out


# ---------------------------------------------------------------------------------------- tables and plain twins


@pytest.mark.parametrize("count", COUNTS)
def test_tables_hold_the_quantiles_of_equally_likely_cells(count):
    for table, law in ((student_t_strata(2.5, count), unit_t(2.5)), (normal_strata(count), stats.norm)):
        cells = table.T.ravel()
        assert cells.size >= CELLS
        np.testing.assert_allclose(law.cdf(cells), (np.arange(cells.size) + 0.5) / cells.size, atol=1e-7)
        np.testing.assert_array_equal(cells, -cells[::-1])
        assert not table.flags.writeable


def test_tables_equal_their_plain_twin():
    found = student_t_strata(5.0, 3000)
    for offset, row in enumerate(twins.strata_of(lambda u: u, 3000)):  # type: ignore[arg-type]
        np.testing.assert_allclose(found[offset, ::100], unit_t(5.0).ppf(row[::100]), rtol=1e-5, atol=1e-7)


@pytest.mark.ci
@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("offsets", [1, 3])
def test_draws_equal_their_plain_twin(count, offsets):
    strata, stream = numbered(count, offsets), RandomStream.of(0, "0", "test", 0)
    lanes = [xoshiro128pp(lane_state(stream.key, lane)) for lane in range(BLOCK)]
    expected = [twins.stratified(lanes, strata.tolist()) for _ in range(5)]
    np.testing.assert_array_equal(drawn(strata, 5), expected)


# ------------------------------------------------------------------------------------------------ permutations


@pytest.mark.ci
@pytest.mark.parametrize("count", COUNTS)
def test_each_step_holds_each_stratum_once(count):
    np.testing.assert_array_equal(np.sort(ranks(count, 50), axis=1), np.tile(np.arange(count), (50, 1)))


def pvalue_of_uniform(codes: Ints, kinds: int) -> float:
    """The chi-square test that all kinds are equally likely."""
    return float(stats.chisquare(np.bincount(codes, minlength=kinds)).pvalue)


def codes_of(found: Ints) -> Ints:
    """The index of each row among all permutations."""
    index = {one: i for i, one in enumerate(permutations(range(found.shape[1])))}
    return np.array([index[one] for one in map(tuple, found.tolist())])


def test_all_permutations_are_equally_likely_and_independent_from_step_to_step():
    assert pvalue_of_uniform(codes_of(ranks(4, 48_000)), 24) > 1e-3
    three = codes_of(ranks(3, 48_000))
    for lag in (1, 2, 3):
        assert pvalue_of_uniform(6 * three[lag:] + three[:-lag], 36) > 1e-3


def test_the_detector_catches_shuffles_that_are_not_uniform():
    rng = np.random.default_rng(1)

    def swapped(to: Callable[[int], int]) -> Ints:
        found = np.tile(np.arange(4), (8000, 1))
        for row in found:
            for i in range(4):
                j = to(i)
                row[i], row[j] = row[j], row[i]
        return found

    assert pvalue_of_uniform(codes_of(swapped(lambda i: int(rng.integers(i, 4)))), 24) > 1e-3
    assert pvalue_of_uniform(codes_of(swapped(lambda i: int(rng.integers(4)))), 24) < 1e-9  # any place, each time
    assert pvalue_of_uniform(codes_of(swapped(lambda i: int(rng.integers(min(i + 1, 3), 4)))), 24) < 1e-9


def test_offsets_are_equally_likely_and_independent_of_the_order():
    cells = drawn(numbered(3, 8), 48_000).astype(np.int64)
    offsets, order = cells % 8, codes_of(cells // 8)
    assert (offsets == offsets[:, :1]).all()
    assert pvalue_of_uniform(8 * order + offsets[:, 0], 48) > 1e-3
    assert pvalue_of_uniform(8 * offsets[1:, 0] + offsets[:-1, 0], 64) > 1e-3


# ----------------------------------------------------------------------------------------------- distribution


@pytest.mark.ci
@pytest.mark.parametrize("nu", [2.5, 6.0, 200.0])
def test_a_path_has_the_distribution_over_steps_and_a_step_over_paths(nu):
    law, x = unit_t(nu), drawn(student_t_strata(nu, 1000), 4000)
    for path in (0, 1, 500, 999):
        assert stats.kstest(x[:, path], law.cdf).pvalue > 1e-3
    for step in x[:20]:
        assert stats.kstest(step, law.cdf).statistic <= 1.001 / 1000  # 0.03 if they were independent


@pytest.mark.parametrize("wrong", [stats.t(6), unit_t(5.0), stats.t(6, loc=0.05, scale=math.sqrt(4 / 6))])
def test_the_distribution_test_rejects_a_missing_scale_a_wrong_nu_and_a_drift(wrong):
    step = drawn(student_t_strata(6.0, 1000), 1)[0]
    assert stats.kstest(wrong.cdf(step), "uniform").statistic > 5 / 1000


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_few_paths_have_the_distribution_too(count):
    u = stats.norm.cdf(drawn(normal_strata(count), 6000))
    for path in u.T:
        assert stats.kstest(path, "uniform").pvalue > 1e-3


@pytest.mark.parametrize("nu", [2.5, 5.0, 30.0])
def test_tail_probabilities_to_one_in_ten_thousand(nu):
    x = drawn(student_t_strata(nu, 1000), 3000)
    for level in (1e-2, 1e-3, 1e-4):
        q = unit_t(nu).isf(level)
        assert (x > q).mean() == pytest.approx(level, rel=0.25)
        assert (x < -q).mean() == pytest.approx(level, rel=0.25)


# ----------------------------------------------------------------------------------------------- independence


def scores(found: Ints) -> Floats:
    """Ranks of steps as values of mean 0 and variance 1."""
    centred = found - (found.shape[1] - 1) / 2
    return centred / centred.std(axis=1, keepdims=True)


def related_steps(found: Ints) -> float:
    """The largest correlation of two steps, in standard errors; that of neighbouring ones under any shift of paths."""
    x = scores(found)
    same = x @ x.T / math.sqrt(x.shape[1])
    np.fill_diagonal(same, 0.0)
    spectrum = np.fft.rfft(x, axis=1)
    shifted = np.fft.irfft(spectrum[1:] * spectrum[:-1].conj(), n=x.shape[1], axis=1) / math.sqrt(x.shape[1])
    return float(max(np.abs(same).max(), np.abs(shifted).max()))


def related_paths(found: Ints) -> float:
    """The largest correlation of two paths less what strata cause, -1 / (M - 1), in standard errors."""
    x = scores(found)
    excess = x.T @ x / len(x) + 1 / (x.shape[1] - 1)
    np.fill_diagonal(excess, 0.0)
    return float(np.abs(excess).max() * math.sqrt(len(x)))


FAR = 6.0  # standard errors that the largest of some 400 000 exceeds with a probability below 1e-3


def test_steps_share_nothing():
    assert related_steps(ranks(1000, 400)) < FAR
    assert related_steps(np.abs(2 * ranks(1000, 400) - 999)) < FAR  # sizes


def test_the_detector_catches_an_order_that_is_used_again():
    again = ranks(1000, 400).copy()
    again[300] = again[20]
    assert related_steps(again) > 4 * FAR
    again[300] = 999 - again[20]
    assert related_steps(again) > 4 * FAR
    shifted = ranks(1000, 400).copy()
    shifted[21] = np.roll(shifted[20], 17)
    assert related_steps(shifted) > 4 * FAR


def test_a_path_at_neighbouring_steps_fills_all_pairs_of_strata_evenly():
    tenths = ranks(1000, 400) // 100
    assert pvalue_of_uniform((10 * tenths[1:] + tenths[:-1]).ravel(), 100) > 1e-3


def test_paths_share_nothing_but_never_a_stratum():
    assert related_paths(ranks(500, 4000)) < FAR
    assert related_paths(ranks(3, 48_000)) < FAR
    few = scores(ranks(3, 48_000))
    assert (few[:, 0] * few[:, 1]).mean() == pytest.approx(-1 / 2, abs=0.02)


def test_the_detector_catches_mirrored_and_fixed_paths():
    mirrored = ranks(500, 4000).copy()
    mirrored[:, 250:] = 499 - mirrored[:, :250]
    assert related_paths(mirrored) > 4 * FAR
    blocks = ranks(500, 4000).copy()
    blocks.sort(axis=1)
    blocks[:, :250] = np.random.default_rng(0).permuted(blocks[:, :250], axis=1)  # paths keep to a half
    assert related_paths(blocks + ranks(500, 4000)) > 4 * FAR


START = 1_768_435_200
PROMPT = {"seed": 1, "asset": "BTC", "competition": "24h", "start_time": START}


def related_prompts(a: Singles, b: Singles) -> float:
    """The largest correlation of any path of one with any of the other, in standard errors."""
    x, y = (np.sign(np.diff(p.astype(np.float64), axis=0)) for p in (a, b))
    return float(np.abs(x.T @ y).max() / math.sqrt(len(x)))


@pytest.mark.parametrize(
    "change", [{"start_time": START + 60}, {"asset": "ETH"}, {"competition": "1h"}, {"seed": 2}], ids=str
)
def test_prompts_that_differ_in_one_thing_share_nothing(change):
    a, b = (stratified_paths(RandomStream.of(**given), 500, 288) for given in (PROMPT, PROMPT | change))
    assert related_prompts(a, b) < FAR


def test_the_detector_catches_paths_that_two_prompts_share():
    a, b = (stratified_paths(RandomStream.of(**PROMPT | {"seed": seed}), 500, 288) for seed in (1, 2))
    b[:, 7] = a[:, 480]
    assert related_prompts(a, b) > 2 * FAR


# ------------------------------------------------------------------------------------------------------- paths


@pytest.mark.parametrize("nu", [2.01, 6.0, 200.0])
@pytest.mark.parametrize("decay", [1.0, 0.8])
@pytest.mark.parametrize("count", [1, 2, 130])
def test_paths_equal_a_plain_float64_twin(nu, decay, count):
    stream, steps = RandomStream.of(**PROMPT), 60
    scale = np.where(np.arange(steps) % 7 < 3, 0.6, 1.0).astype(np.float32)
    out = np.empty((steps + 1, count), np.float32)
    strata = student_t_strata(nu, count)
    stratified_ewma_paths(stream.lanes(BLOCK), strata, decay, 2.5e-6, scale, out)
    lanes = [xoshiro128pp(lane_state(stream.key, lane)) for lane in range(BLOCK)]
    twin = twins.stratified_ewma_paths(lanes, strata.tolist(), decay, 2.5e-6, scale.tolist())
    np.testing.assert_allclose(out, twin, rtol=1e-5, atol=1e-5 * np.abs(np.diff(twin, axis=0)).max())


def test_all_degrees_of_freedom_use_the_same_random_numbers():
    light, heavy = (
        np.diff(stratified_paths(RandomStream.of(**PROMPT), 1000, 20, nu=nu).astype(np.float64), axis=0)
        for nu in (50.0, 3.0)
    )
    np.testing.assert_array_equal(light.argsort(axis=1), heavy.argsort(axis=1))


def test_the_first_steps_do_not_depend_on_the_horizon():
    long, short = (stratified_paths(RandomStream.of(**PROMPT), 50, steps) for steps in (288, 12))
    np.testing.assert_array_equal(long[:13], short)


@pytest.mark.parametrize("nu", [2.000001, 6.0, 1000.0])
@pytest.mark.parametrize("variance", [1e-10, 1.0, 1e30])
@pytest.mark.parametrize("decay", [1.0, 0.5, 0.0])
def test_paths_stay_finite_and_within_the_limit(nu, variance, decay):
    out = np.empty((101, 1000), np.float32)
    lanes = RandomStream.of(**PROMPT).lanes(BLOCK)
    stratified_ewma_paths(lanes, student_t_strata(nu, 1000), decay, variance, np.ones(100, np.float32), out)
    assert np.isfinite(out).all()
    assert np.abs(out).max() <= LOG_RETURN_LIMIT


# --------------------------------------------------------------------------------------- what they are there for


def penalty(make: Callable[[RandomStream], Singles], count: int, rounds: int) -> Floats:
    """By number of steps, how much worse than exact an ensemble scores: the integral of its squared error.

    In units of 1 / M of half the mean distance of two paths, which is what independent paths cost.
    """
    pooled = np.stack([make(RandomStream.of(0, "penalty", str(i), count))[1:] for i in range(rounds)]).astype(float)
    out = []
    for t in range(pooled.shape[1]):
        everyone = np.sort(pooled[:, t].ravel())
        n = len(everyone)
        below = np.concatenate([[0.0], np.cumsum(everyone)])
        spread = ((2 * np.arange(n) - n + 1) * everyone).sum() / n**2
        own = 0.0
        for x in np.sort(pooled[:, t], axis=1):
            k = np.searchsorted(everyone, x)
            between = ((2 * k - n) * x - 2 * below[k] + below[-1]).mean() / n
            own += between - ((2 * np.arange(count) - count + 1) * x).sum() / count**2 - spread
        out.append(own / (rounds - 1) * count / spread)
    return np.array(out)


def test_the_penalty_of_a_step_vanishes_and_that_of_a_sum_halves():
    count, scale = 100, np.ones(12, np.float32)

    def independent(stream: RandomStream) -> Singles:
        out = np.empty((13, count), np.float32)
        ewma_paths(stream.lanes(count), 6.0, 1.0, 1e-6, scale, out)
        return out

    def constant(stream: RandomStream) -> Singles:
        out = stratified_paths(stream, count, 12)
        out[1:] = out[1] * np.arange(1, 13)[:, None]  # planted: the same order at every step
        return out

    before = penalty(independent, count, 200)
    after = penalty(lambda stream: stratified_paths(stream, count, 12), count, 200)
    np.testing.assert_allclose(before, 1.0, atol=0.25)
    assert after[0] < 0.05
    assert 0.3 < after[-1] < 0.65
    assert penalty(constant, count, 200)[-1] < 0.05  # a single order would hide the sum's error: hence the tests above
