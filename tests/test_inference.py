"""Intervals cover, tests keep their size and sets keep the best, in dependent series as short as a week of prompts."""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
from examples import some
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import lfilter

from ewmalab.inference.bootstrap import optimal_block, resampled_means
from ewmalab.inference.confidence_set import _model_confidence_set, confidence_set
from ewmalab.inference.intervals import MIN_STRETCHES, ConfidenceInterval, Dependence, mean_intervals
from ewmalab.inference.paired_tests import diebold_mariano, equivalent, holm

Floats = npt.NDArray[np.float64]

SERIES = 120
REPLICATIONS = 200


def moving_sum(width: int, shape: tuple[int, ...], rng: np.random.Generator) -> Floats:
    """Series of unit variance, each point of which shares noise with its neighbours, like prompts that overlap."""
    noise = rng.standard_normal((shape[0] + width - 1, *shape[1:]))
    windows = np.lib.stride_tricks.sliding_window_view(noise, width, axis=0)
    return np.asarray(windows.sum(axis=-1) / np.sqrt(width))


def autoregression(phi: float, n: int, rng: np.random.Generator) -> Floats:
    return np.asarray(lfilter([1.0], [1.0, -phi], rng.standard_normal(n + 200))[200:])


KINDS = {
    "iid": (lambda rng: rng.standard_normal(168), 1),
    "autoregressive": (lambda rng: autoregression(0.5, 840, rng), 1),
    "overlapping by 5": (lambda rng: moving_sum(5, (840,), rng), 5),
    "overlapping by 24": (lambda rng: moving_sum(24, (168,), rng), 24),  # a week of day-long prompts, one an hour
}


@lru_cache(maxsize=len(KINDS))
def simulated(kind: str) -> list[tuple[Floats, Dependence]]:
    """Series whose true mean is zero."""
    draw, overlap = KINDS[kind]
    series = [draw(np.random.default_rng([i, len(kind)])) for i in range(SERIES)]
    return [(x, Dependence.of(x, overlap)) for x in series]


def coverage(series: list[tuple[Floats, Dependence]]) -> float:
    """Share of the intervals that hold the true mean, zero."""
    return float(np.mean([mean_intervals(x[:, None], dependence)[0].sign == 0 for x, dependence in series]))


def rejected(series: list[tuple[Floats, Dependence]], shift: float = 0.0) -> float:
    """Share of the series whose mean the test finds to differ from zero."""
    return float(np.mean([diebold_mariano(x + shift, dependence) < 0.05 for x, dependence in series]))


def independent(rows: int) -> Dependence:
    return Dependence(rows, 1.0, 1.0)


# ------------------------------------------------------------------------------------------------------- blocks


@pytest.mark.parametrize("n", [1, 2, 7, 8, 10, 15, 16, 30, 168, 840])
@pytest.mark.parametrize("overlap", [0.5, 1.0, 2.5, 24.0, 1000.0])
def test_blocks_are_at_least_twice_the_overlap_however_short_the_series(n: int, overlap: float) -> None:
    rng = np.random.default_rng(n)
    for x in (rng.standard_normal(n), rng.standard_normal(n).cumsum(), np.zeros(n)):
        found = Dependence.of(x, overlap)
        assert found.block >= (2 * overlap if overlap > 1 else 1)
        assert found.stretches <= n / max(1.0, overlap)
        assert 1 <= found.freedom <= max(1, n)


def test_blocks_grow_with_autocorrelation() -> None:
    means = [
        np.mean([Dependence.of(autoregression(phi, 840, np.random.default_rng(i))).block for i in range(20)])
        for phi in (0.0, 0.3, 0.6, 0.9)
    ]
    assert all(longer > 1.3 * shorter for shorter, longer in pairwise(means))


def test_of_several_series_the_longest_block_counts() -> None:
    rng = np.random.default_rng(0)
    table = np.stack([np.zeros(840), *(autoregression(phi, 840, rng) for phi in (0.2, 0.9, 0.5))], axis=1)
    blocks = [Dependence.of(column).block for column in table.T]
    assert Dependence.of(table).block == max(blocks) == blocks[2] > 1.3 * blocks[3]


@pytest.mark.parametrize(
    ("rows", "overlap", "words"),
    [
        (0, 1.0, "too few independent prompts: 0.0 of the 4 needed"),
        (24, 24.0, "too few independent prompts: 1.0 of the 4 needed"),  # a day of hourly day-long prompts
        (95, 24.0, "too few independent prompts: 3.9 of the 4 needed"),
        (96, 24.0, ""),
        (7, 1.0, "too few prompts: 7 of the 8 needed"),
        (8, 1.0, ""),
        (24, 6.0, ""),  # four hours of hour-long prompts, one every ten minutes
    ],
)
def test_independent_prompts_are_counted_in_overlaps(rows: int, overlap: float, words: str) -> None:
    found = Dependence(rows, overlap, 2 * overlap if overlap > 1 else 1.0)
    assert found.shortage == words
    assert found.enough == (not words)
    assert found.stretches == pytest.approx(rows / overlap)
    assert MIN_STRETCHES == 4


def test_what_is_too_short_gets_no_interval_no_p_and_no_verdict() -> None:
    x = moving_sum(24, (72, 2), np.random.default_rng(0)) + np.array([0.0, 50.0])
    few = Dependence.of(x, 24.0)
    assert not few.enough
    assert all(np.isinf([one.low, one.high]).all() and one.sign == 0 for one in mean_intervals(x, few))
    assert diebold_mariano(x[:, 1], few) == 1.0
    assert confidence_set(x, few, np.random.default_rng(0)).all()
    assert not equivalent(np.zeros(72), few, 1.0)


@pytest.mark.parametrize("kind", KINDS)
def test_blocks_suit_the_autocorrelation_as_in_arch(kind: str) -> None:
    from arch.bootstrap import optimal_block_length  # slow to import

    for x, _ in simulated(kind)[:40]:
        assert optimal_block(x) == optimal_block_length(x)["stationary"].item()


# ---------------------------------------------------------------------------------------------------- intervals


@pytest.mark.parametrize("shape", [(1, 1), (9, 1), (168, 3), (840, 2)])
@pytest.mark.parametrize("block", [0.3, 1.0, 2.5, 24.0, 280.0])
def test_means_are_of_the_rows_that_arch_draws(shape: tuple[int, int], block: float) -> None:
    from arch.bootstrap import StationaryBootstrap  # slow to import

    x = 100.0 + moving_sum(5, shape, np.random.default_rng(0))
    rival = StationaryBootstrap(max(1, round(block)), x, seed=np.random.default_rng(1))
    expected = rival.apply(lambda rows: rows.mean(axis=0), 50)
    ours = resampled_means(x, block, np.random.default_rng(1), 50)
    np.testing.assert_allclose(ours, expected, rtol=1e-13)


def test_means_do_not_depend_on_how_many_series_are_held_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    x = moving_sum(5, (100, 2), np.random.default_rng(0))
    whole = resampled_means(x, 4.0, np.random.default_rng(1), 50)
    monkeypatch.setattr("ewmalab.inference.bootstrap._CELLS", 400)
    assert np.array_equal(resampled_means(x, 4.0, np.random.default_rng(1), 50), whole)


@pytest.mark.parametrize("kind", KINDS)
def test_intervals_cover_the_mean_about_as_often_as_they_say(kind: str) -> None:
    # 95 % nominal; an interval that is never wrong would be of no use either
    assert 0.88 <= coverage(simulated(kind)) <= 0.99


def test_intervals_that_ignored_the_overlap_would_be_noticed() -> None:
    assert coverage([(x, independent(len(x))) for x, _ in simulated("overlapping by 24")]) < 0.9


@pytest.mark.parametrize("days", some([4, 5, 7, 14, 60], 4, 7))
@pytest.mark.parametrize("kind", ["white", "clusters"])
def test_short_windows_of_day_long_prompts_are_judged_honestly(days: int, kind: str) -> None:
    series = []
    for i in range(300):
        rng = np.random.default_rng([i, days])
        noise = rng.standard_normal(24 * days + 23)
        if kind == "clusters":
            noise *= np.exp(0.7 * autoregression(0.97, len(noise), rng) * np.sqrt(1 - 0.97**2))
        total = np.cumsum(np.concatenate([[0.0], noise]))
        x = total[24:] - total[:-24]
        series.append((x, Dependence.of(x, 24.0)))
    assert 0.915 <= coverage(series) <= 0.99  # 0.95, with the noise of 300 windows
    assert rejected(series) == pytest.approx(1 - coverage(series))


def test_an_interval_holds_the_values_that_the_test_does_not_reject() -> None:
    for x, dependence in simulated("overlapping by 5")[:20]:
        (found,) = mean_intervals(x[:, None], dependence)
        for bound in (found.low, found.high):
            assert diebold_mariano(x - bound, dependence) == pytest.approx(0.05, abs=1e-9)
        inside, outside = (found.mean + share * (found.high - found.mean) for share in (0.9, 1.1))
        assert diebold_mariano(x - inside, dependence) > 0.05 > diebold_mariano(x - outside, dependence)


def test_equivalent_is_what_two_one_sided_tests_prove() -> None:
    x = moving_sum(5, (840,), np.random.default_rng(0))
    dependence = Dependence.of(x, 5.0)
    (inner,) = mean_intervals(x[:, None], dependence, level=0.9)
    margin = max(-inner.low, inner.high)
    assert equivalent(x, dependence, 1.01 * margin)
    assert not equivalent(x, dependence, 0.99 * margin)
    proven = np.mean([equivalent(x + 0.5, d, 0.5) for x, d in simulated("overlapping by 5")])
    assert proven <= 0.1  # a difference at the margin itself is taken for none in one case of twenty


def test_intervals_move_and_scale_with_the_differences() -> None:
    x = moving_sum(5, (200, 1), np.random.default_rng(0))
    dependence = Dependence.of(x, 5.0)
    plain, moved, mirrored = (mean_intervals(y, dependence)[0] for y in (x, 3.0 * x + 7.0, -x))
    assert (moved.mean, moved.low, moved.high) == pytest.approx(
        [3 * b + 7 for b in (plain.mean, plain.low, plain.high)]
    )
    assert (mirrored.low, mirrored.high) == pytest.approx((-plain.high, -plain.low))


def test_a_higher_level_gives_a_wider_interval() -> None:
    x = moving_sum(5, (200, 1), np.random.default_rng(0))
    narrow, wide = (mean_intervals(x, Dependence.of(x, 5.0), level=level)[0] for level in (0.8, 0.99))
    assert wide.low < narrow.low < narrow.mean == x.mean() < narrow.high < wide.high


def test_too_few_differences_bound_nothing() -> None:
    interval = mean_intervals(np.arange(7.0)[:, None], independent(7))[0]
    assert interval == ConfidenceInterval(3.0, -np.inf, np.inf)
    assert interval.sign == 0


@pytest.mark.parametrize(
    ("low", "high", "sign"), [(1.0, 2.0, 1), (-2.0, -1.0, -1), (-1.0, 1.0, 0), (0.0, 1.0, 0), (-1.0, 0.0, 0)]
)
def test_an_interval_has_a_sign_where_zero_lies_outside(low: float, high: float, sign: int) -> None:
    assert ConfidenceInterval((low + high) / 2, low, high).sign == sign


# ------------------------------------------------------------------------------------------------ Diebold-Mariano


@pytest.mark.parametrize("kind", KINDS)
def test_a_difference_of_zero_is_seldom_taken_for_real(kind: str) -> None:
    assert 0.0 < rejected(simulated(kind)) <= 0.1


def test_a_test_that_ignored_the_overlap_would_be_noticed() -> None:
    assert rejected([(x, independent(len(x))) for x, _ in simulated("overlapping by 24")]) > 0.12


def test_a_clear_difference_is_found() -> None:
    assert rejected(simulated("iid"), shift=0.5) > 0.99
    assert rejected(simulated("iid"), shift=-0.5) > 0.99
    assert rejected(simulated("overlapping by 5"), shift=0.5) > 0.95  # 6 standard errors


@pytest.mark.parametrize("differences", [np.zeros(0), np.zeros(50), np.full(7, 1.0), np.tile([1.0, -1.0], 20)])
def test_where_there_is_no_difference_or_too_few_of_them_p_is_one(differences: Floats) -> None:
    assert diebold_mariano(differences, independent(len(differences))) == 1.0


def test_a_constant_difference_is_certain() -> None:
    assert diebold_mariano(np.full(50, 0.1), independent(50)) < 1e-9


def test_p_depends_neither_on_the_sign_nor_on_the_unit() -> None:
    x = moving_sum(5, (200,), np.random.default_rng(0)) + 0.3
    dependence = Dependence.of(x, 5.0)
    p = diebold_mariano(x, dependence)
    assert 0.0 < p < 1.0
    assert diebold_mariano(-x, dependence) == pytest.approx(p, rel=1e-9)
    assert diebold_mariano(1e-6 * x, dependence) == pytest.approx(p, rel=1e-9)
    assert diebold_mariano(1e6 * x, dependence) == pytest.approx(p, rel=1e-9)


# ---------------------------------------------------------------------------------------------------------- Holm


@pytest.mark.parametrize(
    ("raw", "adjusted"),
    [
        ([], []),
        ([0.2], [0.2]),
        ([0.01, 0.01], [0.02, 0.02]),
        ([0.04, 0.001, 0.03, 0.02], [0.06, 0.004, 0.06, 0.06]),  # 4 * 0.001, 3 * 0.02, and never below the one before
        ([0.5, 0.9, 0.6], [1.0, 1.0, 1.0]),
    ],
)
def test_adjusted_p_values_are_those_of_the_procedure(raw: list[float], adjusted: list[float]) -> None:
    assert holm(raw).tolist() == pytest.approx(adjusted)
    assert holm(p for p in raw).tolist() == holm(raw).tolist()


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=12))
def test_adjustment_keeps_the_order_and_never_makes_a_difference_surer(raw: list[float]) -> None:
    adjusted = holm(raw)
    assert (adjusted >= raw).all()
    assert (adjusted <= np.minimum(1.0, len(raw) * np.array(raw)) * (1 + 1e-12)).all()  # Bonferroni
    assert (np.diff(adjusted[np.argsort(raw, kind="stable")]) >= 0.0).all()


# ------------------------------------------------------------------------------------------------ confidence sets

FIELDS = 60


def field(seed: int, width: int, n: int) -> tuple[Floats, Dependence]:
    """Losses of 6 columns: the first is best by little, the last is clearly worst."""
    rng = np.random.default_rng([seed, width])
    losses = 10.0 + 2.0 * moving_sum(width, (n, 1), rng) + moving_sum(width, (n, 6), rng)
    losses += [0.0, 0.02, 0.04, 0.06, 0.08, 1.0]
    return losses, Dependence.of(losses - losses[:, :1], width)


def chosen(losses: Floats, dependence: Dependence | None = None, seed: int = 0) -> list[bool]:
    known = dependence or Dependence(len(losses), 5.0, 10.0)
    return confidence_set(losses, known, np.random.default_rng(seed), replications=200).tolist()


def plain_set(losses: Floats, dependence: Dependence, seed: int = 0) -> set[int]:
    """The columns of the model confidence set alone, of the same draws."""
    from arch.bootstrap import MCS  # slow to import

    found = MCS(losses, size=0.05, reps=100, block_size=round(dependence.block), seed=np.random.default_rng(seed))
    found.compute()
    return {int(column) for column in found.included}


@pytest.mark.ci
def test_the_best_is_kept_and_the_clearly_worse_is_dropped() -> None:
    sets = np.array([chosen(*field(seed, 5, 840), seed) for seed in range(FIELDS)])
    assert sets[:, 0].mean() >= 0.9
    assert not sets[:, 5].any()


@pytest.mark.ci
def test_the_best_is_kept_where_few_blocks_fit_which_the_model_confidence_set_alone_does_not() -> None:
    fields = [field(seed, 24, 168) for seed in range(FIELDS)]
    ours = [chosen(*few, seed)[0] for seed, few in enumerate(fields)]
    alone = [0 in plain_set(*few, seed) for seed, few in enumerate(fields)]
    assert np.mean(ours) >= 0.9 > np.mean(alone)


@pytest.mark.parametrize(("width", "n"), [(5, 840), (24, 168)])
def test_the_model_confidence_set_is_that_of_arch(width: int, n: int) -> None:
    for seed in range(30):
        losses, dependence = field(seed, width, n)
        best = int(np.argmin(losses.mean(axis=0)))
        relative, rng = np.delete(losses - losses[:, [best]], best, axis=1), np.random.default_rng(seed)
        ours = np.insert(
            _model_confidence_set(relative, dependence.block, rng, level=0.95, replications=100), best, True
        )
        assert set(np.flatnonzero(ours).tolist()) == plain_set(losses, dependence, seed)


@pytest.mark.parametrize("seed", [7, 17])
def test_what_the_model_confidence_set_holds_is_kept_though_a_test_rejects_it(seed: int) -> None:
    losses, dependence = field(seed, 5, 840)
    best = int(np.argmin(losses.mean(axis=0)))
    p = holm(diebold_mariano(losses[:, j] - losses[:, best], dependence) for j in range(6) if j != best)
    assert sum(p > 0.05) + 1 < len(plain_set(losses, dependence, seed)) <= sum(chosen(losses, dependence, seed))


def test_equal_columns_get_equal_answers() -> None:
    losses, _ = field(0, 5, 840)
    near, best, worst = losses[:, 1], losses[:, 0], losses[:, 5]
    assert chosen(np.stack([worst, near, best, near, best, worst], axis=1)) == [False, True, True, True, True, False]
    assert chosen(np.stack([best, best, best], axis=1)) == [True, True, True]


def test_columns_of_equal_mean_that_differ_are_kept() -> None:
    rng = np.random.default_rng(0)
    x = np.tile([2.0, 6.0, 4.0, 4.0], 50)  # of which every sum is exact
    a, b, c = (rng.permutation(x) for _ in range(3))
    assert chosen(np.stack([a, b], axis=1)) == [True, True]
    assert chosen(np.stack([a, c + 4.0, b], axis=1)) == [True, False, True]


def test_a_constant_difference_decides_without_a_variance() -> None:
    x, y = moving_sum(5, (200, 2), np.random.default_rng(0)).T + 10.0
    assert chosen(np.stack([x + 0.1, x], axis=1)) == [False, True]
    assert chosen(np.stack([y + 5.0, x, y + 5.1, x + 0.1], axis=1)) == [False, True, False, False]
    for same in (0.0, 2.5):
        assert chosen(np.full((200, 3), same)) == [True, True, True]


def test_columns_that_differ_by_rounding_are_equal() -> None:
    losses, _ = field(0, 5, 840)
    best, worst = losses[:, 0], losses[:, 5]
    third, next_up = best / 3.0 * 3.0, np.nextafter(best, np.inf)  # one errs either way, the other always upwards
    assert (third != best).any()
    for table in ([best, third, next_up, worst], [third, best, next_up, worst], [next_up, third, best, worst]):
        assert chosen(np.stack(table, axis=1)) == [True, True, True, False]


def test_the_order_of_columns_does_not_matter() -> None:
    losses, _ = field(1, 5, 840)
    assert chosen(losses[:, ::-1]) == chosen(losses)[::-1]


def test_too_few_rows_drop_nothing() -> None:
    losses = np.arange(7.0)[:, None] + [0.0, 1e6]
    assert chosen(losses, independent(7)) == [True, True]


def test_a_column_alone_is_the_best() -> None:
    assert chosen(np.random.default_rng(0).standard_normal((50, 1))) == [True]


def test_the_same_generator_gives_the_same_set() -> None:
    losses = np.random.default_rng(3).standard_normal((60, 6)) + 0.12 * np.arange(6)
    sets = [chosen(losses, Dependence(60, 1.0, 2.0), seed) for seed in range(8)]
    assert sets == [chosen(losses, Dependence(60, 1.0, 2.0), seed) for seed in range(8)]
    assert any(one != sets[0] for one in sets)  # a column stands so near the edge that the draws decide
