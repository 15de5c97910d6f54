"""Means by bin: sums of parts add up to those of the whole, survive being stored, and equal pandas'."""

from __future__ import annotations

import itertools

import numpy as np
import orjson
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ewmalab.inference.aggregate import Bins, Means, paired

NAN = float("nan")
crps = st.one_of(st.just(NAN), st.floats(0.0, 1e5))
rows = st.lists(st.tuples(st.sampled_from(["BTC", "ETH", "XAU"]), st.integers(0, 3), crps, crps), max_size=60)
Rows = list[tuple[str, int, float, float]]


def sums(of: Rows) -> Means:
    asset, hour, own, base = (list(column) for column in zip(*of, strict=True)) if of else ([], [], [], [])
    return Means.of(Bins.of(asset, np.array(hour, np.int64)), {"own": own, "base": base})


def assert_equal(one: Means, other: Means, rel: float = 0.0) -> None:
    assert one.keys == other.keys
    for name in ("own", "base"):
        assert one.count[name].tolist() == other.count[name].tolist()
        assert one.total[name] == pytest.approx(other.total[name], rel=rel, abs=0.0)
        assert one.mean(name) == pytest.approx(other.mean(name), rel=rel, abs=0.0, nan_ok=True)


@given(rows, st.lists(st.integers(0, 60), max_size=4))
def test_chunked_equals_direct(of: Rows, cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(of)]
    total = sums([])
    for start, end in itertools.pairwise(edges):
        total = total + sums(of[start:end])
    assert_equal(total, sums(of), rel=1e-12)


@given(rows, rows)
def test_sums_add_up_in_either_order(one: Rows, other: Rows) -> None:
    assert_equal(sums(one) + sums(other), sums(other) + sums(one))


@given(rows)
def test_sums_survive_being_stored_bit_for_bit(of: Rows) -> None:
    made = sums(of)
    assert_equal(Means.read(orjson.loads(orjson.dumps(made.plain()))), made)


@given(rows)
def test_means_are_those_of_pandas(of: Rows) -> None:
    made = sums(of)
    frame = pd.DataFrame(of, columns=["asset", "hour", "own", "base"]).groupby(["asset", "hour"])[["own", "base"]]
    assert made.keys == list(frame.groups)
    for name in ("own", "base"):
        assert made.mean(name) == pytest.approx(frame.mean()[name].to_numpy(), rel=1e-12, nan_ok=True)
        assert made.count[name].tolist() == frame.count()[name].tolist()


@pytest.mark.parametrize("bins", [1, 40, 2000])
def test_sums_of_bins_are_bit_for_bit_those_of_their_rows(bins: int) -> None:
    rng = np.random.default_rng(bins)
    values = rng.standard_normal(5000) * 10.0 ** rng.integers(-5, 5, 5000)
    values[rng.random(5000) < 0.1] = NAN
    names = np.array([f"bin {i}" for i in rng.integers(0, bins, 5000)], object)
    found = Means.of(Bins.of(names), {"x": values})
    assert found.keys == sorted((str(name),) for name in set(names))
    rows = [values[(names == name) & ~np.isnan(values)] for (name,) in found.keys]
    assert found.total["x"].tolist() == [row.sum() for row in rows]


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(-5, 5)), max_size=40))
def test_every_row_is_in_the_bin_of_its_key_and_in_no_other(of: list[tuple[str, int]]) -> None:
    bins = Bins.of([letter for letter, _ in of], np.array([number for _, number in of], np.int64))
    assert [bins.keys[i] for i in bins.of_row] == of
    assert bins.keys == sorted(set(of))
    assert [[of[i] for i in at] for at in bins.rows()] == [[key] * of.count(key) for key in bins.keys]
    assert sorted(i for at in bins.rows() for i in at) == list(range(len(of)))
    assert bins.sizes.tolist() == [of.count(key) for key in bins.keys]


def test_sums_of_other_statistics_do_not_add_up() -> None:
    one, other = (Means.of(Bins.of(["BTC"]), {name: [1.0]}) for name in ("crps", "pit"))
    with pytest.raises(KeyError):
        one + other


def test_a_pair_is_of_one_prompt_and_counts_only_where_both_have_a_number() -> None:
    start, reference = np.array([3, 1, 2, 1, 2, 3, 4]), np.array([1, 1, 1, 0, 0, 0, 0], bool)
    values = [30.0, NAN, 20.0, 11.0, NAN, 33.0, 44.0]
    own, theirs = paired(Bins.of(start), reference, values)
    assert own[~reference].tolist() == pytest.approx([NAN, NAN, 33.0, NAN], nan_ok=True)
    assert theirs[~reference].tolist() == pytest.approx([NAN, NAN, 30.0, NAN], nan_ok=True)
