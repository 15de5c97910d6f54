"""Longer bars come out complete, at the right moment, and the same however the minutes arrive."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from twins import naive_resample, random_bars, rows_of

from ewmalab.market.bars import Bars
from ewmalab.market.quality import COLUMNS
from ewmalab.market.resample import CLOSE, HIGH, LABEL, LOW, OPEN, no_forming, resample
from ewmalab.times import MINUTE

START = 1_768_435_200


def same(a: Bars, b: Bars) -> None:
    assert a.resolution == b.resolution
    for name in COLUMNS:
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


def in_pandas(bars: Bars, resolution: int) -> pd.DataFrame:
    frame = pd.DataFrame({k: v for k, v in bars.columns().items() if k != "timestamp"})
    frame.index = pd.to_datetime(bars.timestamp, unit="s", utc=True)
    rules = {"open": "first", "high": "max", "low": "min", "close": "last"}
    return frame.resample(f"{resolution}s", label="left", closed="left").agg(rules).dropna()


@st.composite
def some_bars(draw: st.DrawFn) -> Bars:
    """Minutes of two hours from anywhere: with gaps and close-only bars."""
    share = st.sampled_from([0.0, 0.2, 0.7])
    return random_bars(
        draw(st.integers(1, 120)),
        seed=draw(st.integers(0, 1000)),
        start=START + MINUTE * draw(st.integers(0, 20)),
        missing=draw(share),
        close_only=draw(share),
    )


@pytest.mark.parametrize("resolution", [60, 300, 900, 3600])
def test_complete_minutes_equal_pandas(resolution):
    bars = random_bars(720)
    longer, forming = resample(bars, resolution, no_forming())
    frame = in_pandas(bars, resolution)
    assert len(longer) == 720 * 60 // resolution
    assert longer.resolution == resolution
    np.testing.assert_array_equal(longer.timestamp, frame.index.as_unit("s").asi8)
    for name in COLUMNS[1:]:
        np.testing.assert_array_equal(getattr(longer, name), frame[name])
    assert np.isnan(forming[LABEL])


def test_missing_minutes_equal_pandas_once_a_later_bar_has_begun():
    bars = random_bars(3000, missing=0.4, seed=3)
    longer, forming = resample(bars, 300, no_forming())
    frame = in_pandas(bars, 300)
    if not np.isnan(forming[LABEL]):
        frame = frame.iloc[:-1]
    np.testing.assert_array_equal(longer.timestamp, frame.index.as_unit("s").asi8)
    for name in COLUMNS[1:]:
        np.testing.assert_array_equal(getattr(longer, name), frame[name])


@given(some_bars())
def test_equals_bars_made_at_once_from_their_minutes(bars):
    longer, _ = resample(bars, 300, no_forming())
    expected = naive_resample(rows_of(bars), 300)
    assert len(longer) == len(expected)
    np.testing.assert_array_equal(rows_of(longer), expected)


@given(some_bars(), st.data())
def test_any_cutting_of_the_minutes_gives_the_same(bars, data):
    whole, end = resample(bars, 300, no_forming())
    cuts = sorted(data.draw(st.lists(st.integers(0, len(bars)), max_size=8)))
    for edges in ([0, *cuts, len(bars)], list(range(len(bars) + 1))):
        forming, parts = no_forming(), []
        for a, b in pairwise(edges):
            part, forming = resample(bars.rows(a, b), 300, forming)
            parts.append(part)
        same(Bars.concatenate(parts or [whole]), whole)
        np.testing.assert_array_equal(forming, end)


@given(some_bars())
def test_no_longer_bar_comes_out_before_it_has_ended(bars):
    forming = no_forming()
    for minute in bars:
        done, forming = resample(minute, 300, forming)
        known = minute.timestamp[0] + MINUTE  # a minute bar is known from its end on
        assert (done.timestamp + 300 <= known).all()


@given(some_bars())
def test_no_minute_is_lost_and_none_counted_twice(bars):
    longer, forming = resample(bars, 300, no_forming())
    labels = list(longer.timestamp) + ([] if np.isnan(forming[LABEL]) else [int(forming[LABEL])])
    assert labels == sorted(set((bars.timestamp // 300 * 300).tolist()))


def test_a_bar_without_its_last_minute_waits_for_a_later_one():
    bars = random_bars(5)
    first, forming = resample(bars.rows(0, 4), 300, no_forming())
    assert len(first) == 0
    assert forming[LABEL] == START
    later = random_bars(1, start=START + 3600)
    done, forming = resample(later, 300, forming)
    assert done.timestamp.tolist() == [START]
    assert done.close[0] == bars.close[3]
    assert forming[LABEL] == START + 3600


def test_one_minute_can_complete_two_bars():
    _, forming = resample(random_bars(2), 300, no_forming())
    done, forming = resample(random_bars(1, start=START + 540), 300, forming)
    assert done.timestamp.tolist() == [START, START + 300]
    assert np.isnan(forming[LABEL])


def test_the_forming_bar_holds_what_has_been_seen():
    bars = random_bars(3)
    _, forming = resample(bars, 300, no_forming())
    assert forming[[LABEL, OPEN, HIGH, LOW, CLOSE]].tolist() == [
        START,
        bars.open[0],
        bars.high.max(),
        bars.low.min(),
        bars.close[2],
    ]


def test_the_forming_bar_handed_in_is_not_modified():
    _, forming = resample(random_bars(3), 300, no_forming())
    before = forming.copy()
    resample(random_bars(4, start=START + 180), 300, forming)
    np.testing.assert_array_equal(forming, before)


@pytest.mark.parametrize("bare", [0, 2, 4])
def test_one_close_only_minute_makes_the_longer_bar_close_only(bare):
    bars = random_bars(10)
    table = {k: v.copy() for k, v in bars.columns().items()}
    for name in ("open", "high", "low"):
        table[name][bare] = math.nan
    longer, _ = resample(Bars.from_columns(table), 300, no_forming())
    assert longer.has_range.tolist() == [False, True]
    assert longer.close.tolist() == [bars.close[4], bars.close[9]]


def test_no_minutes_change_nothing():
    _, forming = resample(random_bars(3), 300, no_forming())
    done, after = resample(Bars.empty(), 300, forming)
    assert len(done) == 0
    np.testing.assert_array_equal(after, forming)


@given(some_bars())
def test_longer_bars_obey_the_rules_of_bars(bars):
    longer, _ = resample(bars, 300, no_forming())
    same(Bars.from_columns(longer.columns(), 300), longer)


def test_longer_bars_are_read_only_as_all_bars():
    longer, _ = resample(random_bars(10), 300, no_forming())
    for name in COLUMNS:
        assert not getattr(longer, name).flags.writeable, name
