"""Bars obey their rules, cannot change, and are known only once closed."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from twins import random_bars

from ewmalab.errors import BarsError
from ewmalab.market.bars import Bars
from ewmalab.market.quality import COLUMNS
from ewmalab.times import MINUTE

NAN, INF = math.nan, math.inf


def columns(n: int = 5, **changes: Any) -> dict[str, Any]:
    """Valid columns of n minutes, some of them replaced."""
    base = {
        "timestamp": [600 + 60 * i for i in range(n)],
        "open": [100.0] * n,
        "high": [102.0] * n,
        "low": [99.0] * n,
        "close": [101.0] * n,
    }
    return base | changes


def swap(name: str, row: int, value: float) -> dict[str, Any]:
    table = columns()
    table[name][row] = value
    return table


def nan_rows(*rows: int, **changes: Any) -> dict[str, Any]:
    table = columns(**changes)
    for row in rows:
        for name in ("open", "high", "low"):
            table[name][row] = NAN
    return table


minutes = st.lists(st.integers(0, 400), min_size=1, max_size=60, unique=True).map(sorted)


@st.composite
def any_bars(draw: st.DrawFn) -> Bars:
    """Valid bars with gaps; some of them close-only."""
    t = np.array(draw(minutes)) * MINUTE
    price = st.floats(1e-6, 1e8)
    rows = []
    for _ in t:
        prices = sorted(draw(st.tuples(price, price, price, price)))
        first, last = draw(st.sampled_from([(1, 2), (2, 1), (0, 3), (3, 0)]))
        row = [prices[first], prices[3], prices[0], prices[last]]
        rows.append([NAN, NAN, NAN, row[3]] if draw(st.booleans()) else row)
    return Bars(t, *np.array(rows).T)


# ------------------------------------------------------------------------------------------------------ rules

BROKEN = [
    (columns(timestamp=[600, 660, 660, 720, 780]), "1 x duplicate timestamp (first: row 2, timestamp 660)"),
    (columns(timestamp=[600, 660, 720, 540, 600]), "1 x out of order (first: row 3, timestamp 540)"),
    (columns(timestamp=[600, 660, 721, 780, 841]), "2 x timestamp not a multiple of 60 s (first: row 2"),
    (swap("close", 1, NAN), "1 x close missing or not finite (first: row 1, timestamp 660)"),
    (swap("close", 0, INF), "1 x close missing or not finite (first: row 0"),
    (swap("close", 4, 0.0), "1 x price not positive (first: row 4"),
    (swap("close", 4, -1.0), "1 x price not positive (first: row 4"),
    (swap("open", 2, -5.0), "1 x price not positive (first: row 2"),
    (swap("low", 2, 0.0), "1 x price not positive (first: row 2"),
    (swap("high", 2, -0.0), "1 x price not positive (first: row 2"),
    (swap("high", 3, INF), "1 x open, high or low not finite (first: row 3"),
    (swap("open", 3, INF), "1 x open, high or low not finite (first: row 3"),
    (swap("low", 3, -INF), "1 x open, high or low not finite (first: row 3"),
    (swap("open", 1, NAN), "1 x open, high, low only partly present (first: row 1"),
    (swap("high", 1, NAN), "1 x open, high, low only partly present (first: row 1"),
    (swap("low", 1, NAN), "1 x open, high, low only partly present (first: row 1"),
    (swap("high", 2, 98.0), "1 x high below low (first: row 2"),
    (swap("close", 2, 102.5), "1 x close outside low..high (first: row 2"),
    (swap("close", 2, 98.5), "1 x close outside low..high (first: row 2"),
    (swap("open", 2, 102.5), "1 x open outside low..high (first: row 2"),
    (swap("open", 2, 98.5), "1 x open outside low..high (first: row 2"),
]


@pytest.mark.parametrize(("table", "reason"), BROKEN)
def test_a_broken_rule_is_refused_counted_and_located(table, reason):
    with pytest.raises(BarsError) as caught:
        Bars.from_columns(table)
    assert reason in str(caught.value)


def test_every_broken_rule_is_named_at_once():
    table = columns(timestamp=[600, 660, 660, 725, 780])
    table["close"] = [NAN, 101.0, -1.0, 101.0, 101.0]
    with pytest.raises(BarsError) as caught:
        Bars.from_columns(table)
    for rule in ("1 x duplicate", "1 x timestamp not a multiple", "1 x close missing", "1 x price not positive"):
        assert rule in str(caught.value)


@given(any_bars(), st.data())
def test_one_bad_row_among_good_ones_is_always_found(bars, data):
    row = data.draw(st.integers(0, len(bars) - 1))
    table = {k: v.copy() for k, v in bars.columns().items()}
    table["close"][row] = data.draw(st.sampled_from([NAN, INF, -INF, 0.0, -3.0]))
    with pytest.raises(BarsError, match=rf"first: row {row}, timestamp {bars.timestamp[row]}"):
        Bars.from_columns(table)


def test_touching_limits_are_allowed():
    flat = {"open": [5.0] * 5, "high": [5.0] * 5, "low": [5.0] * 5, "close": [5.0] * 5}
    assert len(Bars.from_columns(columns(**flat))) == 5


def test_the_resolution_decides_which_labels_are_allowed():
    table = columns(timestamp=[0, 300, 600, 1500, 1800])
    assert len(Bars.from_columns(table, 300)) == 5
    with pytest.raises(BarsError, match="4 x timestamp not a multiple of 3600 s"):
        Bars.from_columns(table, 3600)


def test_columns_of_different_lengths_are_refused():
    with pytest.raises(BarsError, match="columns differ in length"):
        Bars.from_columns(columns(close=[101.0] * 4))


def test_tables_are_refused_as_columns():
    with pytest.raises(BarsError, match="'open' has 2 dimensions"):
        Bars.from_columns(columns(open=[[100.0] * 5]))


def test_empty_bars_are_bars():
    bars = Bars.empty()
    assert len(bars) == 0
    assert bars.gaps() == []
    assert len(bars.known_at(10**10)) == 0
    assert np.isnan(bars.closes_at([0, 60])).all()
    assert Bars.concatenate([]).digest() == bars.digest()


# ------------------------------------------------------------------------------------------------ immutability


@pytest.mark.parametrize("name", COLUMNS)
@pytest.mark.parametrize(
    "view",
    [
        lambda b: b,
        lambda b: b.rows(1, 3),
        lambda b: b.between(600, 800),
        lambda b: b.known_at(800),
        lambda b: next(iter(b)),
        lambda b: Bars.concatenate([b]),
    ],
)
def test_no_view_lets_anyone_write(name, view):
    bars = view(Bars.from_columns(columns()))
    with pytest.raises(ValueError, match="read-only"):
        getattr(bars, name)[0] = 1
    with pytest.raises(AttributeError):
        setattr(bars, name, None)


def test_bars_keep_their_own_copy():
    close = np.full(5, 101.0)
    bars = Bars.from_columns(columns(close=close))
    close[:] = -1
    assert (bars.close == 101).all()


# ---------------------------------------------------------------------------------------- what is known, and when


@pytest.mark.parametrize("resolution", [60, 300])
def test_a_bar_is_known_exactly_from_its_end_on(resolution):
    label = 9000
    bars = Bars.from_closes([label - resolution, label], [1.0, 2.0], resolution)
    assert bars.count_known_at(label + resolution - 1) == 1
    assert bars.count_known_at(label + resolution) == 2
    assert bars.count_known_at(label - 1) == 0
    assert bars.count_known_at(label) == 1


@given(any_bars(), st.integers(-100, 30_000))
def test_known_bars_are_those_whose_end_has_come(bars, when):
    known = bars.known_at(when)
    expected = bars.timestamp[bars.timestamp + MINUTE <= when]
    np.testing.assert_array_equal(known.timestamp, expected)
    assert bars.count_known_at(when) == len(expected)


@given(any_bars(), st.integers(-100, 30_000), st.integers(-100, 30_000))
def test_between_is_half_open(bars, start, end):
    inside = bars.between(start, end)
    t = bars.timestamp
    np.testing.assert_array_equal(inside.timestamp, t[(t >= start) & (t < end)])


@given(any_bars())
def test_closes_are_found_by_label_and_absent_elsewhere(bars):
    table = dict(zip(bars.timestamp.tolist(), bars.close.tolist(), strict=True))
    asked = np.concatenate([np.arange(-120, 24_300, 60), [30, 61, 10**9]])
    np.testing.assert_array_equal(bars.closes_at(asked), [table.get(t, NAN) for t in asked.tolist()])


def test_closes_keep_the_order_and_repeats_of_the_question():
    bars = Bars.from_closes([0, 60, 180], [1.0, 2.0, 3.0])
    np.testing.assert_array_equal(bars.closes_at([180, 0, 120, 180]), [3, 1, NAN, 3])


@given(any_bars())
def test_gaps_and_bars_together_cover_every_minute_once(bars):
    covered = list(bars.timestamp) + [t for a, b in bars.gaps() for t in range(a, b, MINUTE)]
    assert sorted(covered) == list(range(bars.timestamp[0], bars.timestamp[-1] + 1, MINUTE))


@given(any_bars(), st.data())
def test_cut_and_joined_bars_are_the_same(bars, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(bars)), max_size=5)))
    edges = [0, *cuts, len(bars)]
    parts = [bars.rows(a, b) for a, b in pairwise(edges)]
    assert Bars.concatenate(parts).digest() == bars.digest()
    assert Bars.concatenate(list(bars)).digest() == bars.digest()


def test_parts_out_of_order_or_overlapping_are_not_joined():
    bars = random_bars(10)
    with pytest.raises(BarsError, match="out of order"):
        Bars.concatenate([bars.rows(5, 10), bars.rows(0, 5)])
    with pytest.raises(BarsError, match="duplicate timestamp"):
        Bars.concatenate([bars.rows(0, 5), bars.rows(4, 10)])


def test_different_resolutions_are_not_joined():
    with pytest.raises(BarsError, match="different resolutions"):
        Bars.concatenate([Bars.from_closes([0], [1.0]), Bars.from_closes([300], [1.0], 300)])


@given(any_bars(), st.data())
def test_a_digest_changes_with_any_value(bars, data):
    row = data.draw(st.integers(0, len(bars) - 1))
    table = {k: v.copy() for k, v in bars.columns().items()}
    assert Bars.from_columns(table).digest() == bars.digest()
    close = table["close"][row]
    # the smallest change that keeps the bar valid: towards the middle of its range, or up where there is none
    target = INF if np.isnan(table["high"][row]) else (table["high"][row] + table["low"][row]) / 2
    table["close"][row] = np.nextafter(close, target)
    if table["close"][row] != close:
        assert Bars.from_columns(table).digest() != bars.digest()
    table = {k: v.copy() for k, v in bars.columns().items()}
    table["timestamp"] += MINUTE
    assert Bars.from_columns(table).digest() != bars.digest()


def test_a_digest_tells_resolutions_and_columns_apart():
    a = Bars.from_closes([0, 300], [1.0, 2.0])
    b = Bars.from_closes([0, 300], [1.0, 2.0], 300)
    assert a.digest() != b.digest()


def test_has_range_tells_close_only_bars():
    bars = Bars.from_columns(nan_rows(1, 3))
    assert bars.has_range.tolist() == [True, False, True, False, True]
    assert not Bars.from_closes([0], [1.0]).has_range.any()
