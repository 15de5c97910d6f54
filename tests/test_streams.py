"""A random stream depends on what a forecast is for, and on nothing else."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ewmalab.forecast.protocol import Prompt
from ewmalab.forecast.streams import RandomStream

START = 1_768_435_200
PROMPT = Prompt(START, "24h", "BTC", START - 60, 300, 86_400, 1000)
TEXT = st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), max_size=12)
ARGUMENTS = st.tuples(st.integers(0, 2**63 - 1), TEXT, TEXT, st.integers(-(2**40), 2**40))


def test_known_keys():
    # stored results are repeatable only while these stay
    assert RandomStream.of(20260115, "BTC", "24h", START).key == (0xA6ECE3FA4097E66D, 0xDBC20B738EE55D92)
    assert RandomStream.of(0, "", "", 0).key == (0xBC3A5A1B4AB00B31, 0xDFBFF7470CF01191)


@given(ARGUMENTS)
def test_key_is_the_blake2b_digest_of_the_parts(parts):
    text = "\0".join(["ewmalab/1", *map(str, parts)])
    whole = int(hashlib.blake2b(text.encode(), digest_size=16).hexdigest(), 16).to_bytes(16, "big")
    key = RandomStream.of(*parts).key
    assert key[0].to_bytes(8, "little") + key[1].to_bytes(8, "little") == whole


@given(ARGUMENTS, ARGUMENTS)
def test_equal_arguments_and_only_they_give_equal_streams(one, other):
    assert RandomStream.of(*one) == RandomStream.of(*one)
    assert hash(RandomStream.of(*one)) == hash(RandomStream.of(*one))
    assert (RandomStream.of(*one) == RandomStream.of(*other)) == (one == other)


def test_parts_do_not_run_into_each_other():
    assert RandomStream.of(1, "A", "BC", 2) != RandomStream.of(1, "AB", "C", 2)
    assert RandomStream.of(1, "A", "B", 12) != RandomStream.of(1, "A", "B1", 2)


def test_lanes_are_uint32_and_a_fresh_copy_each_time():
    stream = RandomStream((1, 2))
    first = stream.lanes(5)
    assert first.shape == (4, 5)
    assert first.dtype == np.uint32
    kept = first.copy()
    first[:] = 0  # kernels advance the states in place
    np.testing.assert_array_equal(stream.lanes(5), kept)


def test_lanes_differ_and_none_is_all_zero():
    states = RandomStream((0, 0)).lanes(100_000).T
    assert len(np.unique(states, axis=0)) == len(states)
    assert states.any(axis=1).all()


def test_generator_repeats_from_its_start():
    stream = RandomStream.of(1, "BTC", "24h", START)
    first = stream.generator().standard_normal(100)
    np.testing.assert_array_equal(stream.generator().standard_normal(100), first)


def test_generator_known_answer():
    assert RandomStream((1, 2)).generator().integers(0, 2**32, 3).tolist() == [3042142985, 1328497427, 564130602]


@pytest.mark.parametrize("other", [(1, 3), (2, 2), (2, 1), (1, 2 + 2**63)])
def test_both_halves_of_the_key_reach_the_generator_and_the_lanes(other):
    a, b = RandomStream((1, 2)), RandomStream(other)
    assert (a.generator().random(8) != b.generator().random(8)).all()
    assert (a.lanes(50) != b.lanes(50)).any(axis=0).all()


def test_generators_of_neighbouring_prompts_are_uncorrelated():
    draws = [RandomStream.of(1, "BTC", "24h", START + 300 * i).generator().standard_normal(20_000) for i in range(20)]
    correlations = np.corrcoef(draws)[np.triu_indices(20, 1)]
    assert np.abs(correlations).max() < 5 / np.sqrt(20_000)


def test_a_prompts_stream_depends_on_seed_asset_competition_and_start_alone():
    assert PROMPT.stream(3) == RandomStream.of(3, "BTC", "24h", START)
    later = Prompt(START, "24h", "BTC", START - 5, 60, 3600, 10)
    assert later.stream(3) == PROMPT.stream(3)
    assert PROMPT.stream(4) != PROMPT.stream(3)


def test_streams_do_not_depend_on_the_process():
    code = "from ewmalab.forecast.streams import RandomStream; print(RandomStream.of(1, 'BTC', '24h', 5).key)"
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": "99"}
    )
    assert printed.stdout.strip() == str(RandomStream.of(1, "BTC", "24h", 5).key)


def test_streams_are_immutable():
    with pytest.raises(AttributeError):
        RandomStream((1, 2)).key = (3, 4)  # type: ignore[misc]


def test_prompt_grid_runs_from_start_to_horizon():
    grid = PROMPT.grid()
    assert PROMPT.steps == 288
    assert grid.dtype == np.int64
    assert (grid[0], grid[-1], len(grid)) == (START, START + 86_400, 289)
    assert (np.diff(grid) == 300).all()
